"""Every notebook runs to its last cell, where the numbers are checked."""

import runpy
from pathlib import Path

import matplotlib as mpl
import pytest

NOTEBOOKS = sorted(Path(__file__).parents[1].joinpath("notebooks").glob("*.py"))


def marks(path):
    return [pytest.mark.dask] if "dask" in path.stem else []


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=marks(path), id=path.stem) for path in NOTEBOOKS]
)
def test_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("WPROPS_OUTPUT", str(tmp_path))
    with mpl.rc_context():  # notebooks set a style
        # Not as "__main__", which the workers of a local cluster import again.
        runpy.run_path(str(path), run_name="notebook")


def test_there_are_notebooks():
    assert NOTEBOOKS
