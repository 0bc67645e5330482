"""The examples of the guide on finite simulation print what it says."""

import contextlib
import io
import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "finite-mc.md"


def test_the_examples_print_what_the_guide_says():
    pattern = r"```python\n(.*?)```\n\n```text\n(.*?)```"
    found = re.findall(pattern, PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(found) == 3
    namespace = {}
    for code, expected in found:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        assert printed.getvalue() == expected
