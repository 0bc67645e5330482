"""The command reads files, prints the table and writes what is asked for."""

import json

import pytest
from click.testing import CliRunner

from tests.study.sets import exact_set, noisy_set
from wprops.cli import main


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    exact_set().write(folder / "exact.h5")
    noisy_set(derivative="mw").write(folder / "noisy.h5")
    return folder


def invoke(*arguments):
    return CliRunner().invoke(
        main, ["study", "sensitivity", *(str(a) for a in arguments)]
    )


def test_table_file_and_figure_are_written(files, tmp_path):
    output = tmp_path / "out" / "s.json"
    result = invoke(
        *(files / "exact.h5", "--simulated", files / "noisy.h5", "-o", output),
        *("--cells", "5,3", "--cells", "1,1", "--prior", "0.02", "--strength", "1e4"),
        *("--table", tmp_path / "s.csv", "--figure", tmp_path / "s.png"),
        *("--reference", "10"),
    )
    assert result.exit_code == 0, result.output
    assert "A_i ± 0.02" in result.output
    assert "A_i smooth ± 0.01" in result.output
    rows = json.loads(output.read_text())["rows"]
    assert {(r["n_qt"], r["n_y"]) for r in rows} == {(5, 3), (1, 1)}
    assert (tmp_path / "s.csv").stat().st_size > 0
    assert (tmp_path / "s.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--cells", "5"), "not QT,Y"),
        (("--simulation", "4.7"), "--simulated"),
        (("--cells", "6,3"), "5 bins cannot be merged to 6"),
        (("--prior", "0"), "Invalid value"),
    ],
)
def test_bad_options_are_named(files, tmp_path, arguments, text):
    result = invoke(files / "exact.h5", "-o", tmp_path / "s.json", *arguments)
    assert result.exit_code != 0
    assert text in result.output
