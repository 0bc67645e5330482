"""Processors are found by name or by file, and travel by value."""

import subprocess
import sys

import cloudpickle
import pytest

from wprops.errors import ConfigError
from wprops.execution.processors import load_processor

ONE = """
from coffea.processor import ProcessorABC

class Mine(ProcessorABC):
    def process(self, events):
        return {"events": len(events)}
    def postprocess(self, accumulator):
        return accumulator
"""


def test_a_file_with_one_processor_needs_no_class_name(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(ONE)
    assert load_processor(str(path)).__name__ == "Mine"


def test_two_processors_in_a_file_are_named_in_the_error(tmp_path):
    path = tmp_path / "two.py"
    path.write_text(ONE + ONE.replace("Mine", "Other").split("\n", 2)[2])
    with pytest.raises(ConfigError, match="Mine, Other"):
        load_processor(str(path))
    assert load_processor(f"{path}:Other").__name__ == "Other"


def test_an_unknown_name_says_where_it_looked():
    with pytest.raises(ConfigError, match=r"no processor 'nonsense'.*nonsense\.py"):
        load_processor("nonsense")


def test_the_processors_of_the_project_are_found_by_name():
    assert load_processor("templates").__name__ == "TemplateProcessor"


def test_a_processor_travels_to_an_interpreter_that_lacks_its_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(ONE)
    pickled = cloudpickle.dumps(load_processor(str(path))())
    path.unlink()
    code = (
        "import sys, pickle; p = pickle.loads(sys.stdin.buffer.read()); "
        "print(p.process([1, 2, 3])['events'])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], input=pickled, capture_output=True, check=True
    )
    assert result.stdout.strip() == b"3"
