"""The examples of the guide run as they are printed, and print what it says."""

import contextlib
import io
import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "fit.md"


def blocks():
    """Code and the output that follows it, empty where none does."""
    found = re.findall(
        r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", PAGE.read_text(), re.DOTALL
    )
    assert len(found) == 5
    return found


def test_the_examples_print_what_the_guide_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for code, expected in blocks():
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        assert printed.getvalue() == expected
    names = {path.stem for path in tmp_path.iterdir()}
    assert names == {"impacts", "groups", "scan", "prefit", "postfit"}
