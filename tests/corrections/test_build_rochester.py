import gzip
import hashlib
import json

import pytest
from click.testing import CliRunner

from corrections.build_rochester import build_rochester, main
from corrections.roccor import read_roccor
from tests.corrections.roccor_file import small_file
from wprops import __version__


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "small.txt"
    path.write_text("\n".join(small_file()) + "\n")
    return path


def test_plain_and_gzipped_text_give_the_same_corrections(text_file, tmp_path):
    zipped = tmp_path / "small.txt.gz"
    zipped.write_bytes(gzip.compress(text_file.read_bytes()))
    one, other = (build_rochester(read_roccor(path)) for path in (text_file, zipped))
    assert one == other


def test_the_command_writes_the_same_bytes_each_time(text_file, tmp_path):
    outputs = [tmp_path / name for name in ("a.json.gz", "b.json.gz", "c.json")]
    for output in outputs:
        args = [str(text_file), "-o", str(output), "--era", "2018"]
        result = CliRunner().invoke(main, args)
        assert result.exit_code == 0, result.output
    first, second, plain = (output.read_bytes() for output in outputs)
    assert first == second
    assert plain == gzip.decompress(first)


def test_the_file_says_where_it_comes_from(text_file, tmp_path):
    output = tmp_path / "out.json"
    args = [str(text_file), "-o", str(output), "--era", "2016preVFP"]
    CliRunner().invoke(main, args, catch_exceptions=False)
    description = json.loads(output.read_text())["description"]
    digest = hashlib.sha256(text_file.read_bytes()).hexdigest()
    for fact in ("era 2016preVFP", f"wprops {__version__}", "small.txt", digest):
        assert fact in description


def test_the_command_reports_a_damaged_file(tmp_path):
    path = tmp_path / "empty.txt"
    path.write_text("")
    args = [str(path), "-o", str(tmp_path / "out.json"), "--era", "x"]
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 1
    assert "has no line NSET" in result.output
    result = CliRunner().invoke(main, ["none.txt", *args[1:]])
    assert "cannot read none.txt" in result.output


def test_the_output_has_a_name_that_correctionlib_reads(text_file, tmp_path):
    args = [str(text_file), "-o", str(tmp_path / "rochester.txt"), "--era", "x"]
    result = CliRunner().invoke(main, args)
    assert "call it .json or .json.gz" in result.output
