"""What the builders share."""

import gzip
import json
import runpy
import sys

import correctionlib
import numpy as np
import pytest
import uproot
from correctionlib import schemav2 as schema
from numpy.testing import assert_allclose, assert_array_equal

from corrections.common import (
    Histogram,
    binned,
    category,
    correction,
    formula,
    grid,
    read_histogram,
    variable,
    write_set,
)
from wprops import __version__
from wprops.errors import ConfigError
from wprops.provenance import file_digest

X = {"x": ("real", "A number")}


@pytest.mark.parametrize(
    "name", ["boson", "efficiency", "pileup", "prefire", "rochester"]
)
def test_each_builder_runs_as_a_module(name, monkeypatch, capsys):
    module = f"corrections.build_{name}"
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as finished:
        runpy.run_module(module, run_name="__main__")
    assert finished.value.code == 0
    assert "Usage: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("values", "edges", "message"),
    [
        ([1, 2], [0, 1], r"shape \(2,\).*expected \(1,\)"),
        ([1, 2], [0, 1, 1], "do not increase"),
        ([1, np.nan], [0, 1, 2], "NaN"),
    ],
)
def test_arrays_that_are_no_histogram_are_refused(values, edges, message):
    with pytest.raises(ConfigError, match=message):
        Histogram.from_arrays(values, edges)


def test_missing_files_and_keys_are_named(tmp_path):
    path = tmp_path / "some.root"
    with uproot.recreate(path) as file:
        file["folder/profile"] = np.ones(3), np.arange(4.0)
        file["text"] = "no histogram"
    (tmp_path / "bad.root").write_text("bad")
    for where, message in {
        str(path): "expected FILE.root:KEY",
        f"{tmp_path}/none.root:x": "no file",
        f"{path}:profile": "nothing called 'profile'.*folder/profile",
        f"{path}:text": "called 'text'.*expected a histogram",
        f"{tmp_path}/bad.root:x": "cannot read",
    }.items():
        with pytest.raises(ConfigError, match=message):
            read_histogram(where)
    assert_array_equal(read_histogram(f"{path}:folder/profile").values, 1.0)


def evaluated(tmp_path, *corrections):
    """Write corrections and open them again."""
    path = tmp_path / "set.json"
    write_set(path, corrections, "A test", [])
    return correctionlib.CorrectionSet.from_file(str(path))


@pytest.mark.parametrize("names", ["x", "xy", "xyz"])
def test_numbers_are_looked_up_in_half_open_bins(tmp_path, names):
    values = np.random.default_rng(1).normal(size=(2, 3, 4)[: len(names)])
    sizes = zip(names, values.shape, strict=True)
    edges = {name: np.arange(n + 1.0) for name, n in sizes}
    inputs = dict.fromkeys(names, X["x"])
    found = evaluated(tmp_path, correction("c", "Test", inputs, binned(edges, values)))
    for index in np.ndindex(values.shape):
        place = [float(i) for i in index]
        assert_allclose(found["c"].evaluate(*place), values[index], rtol=1e-8)
    assert found["c"].evaluate(*[-9.0] * len(names)) == pytest.approx(values.flat[0])
    assert found["c"].evaluate(*[9.0] * len(names)) == pytest.approx(values.flat[-1])


def test_bins_may_hold_the_parameters_of_a_formula(tmp_path):
    content = [
        schema.FormulaRef(nodetype="formularef", index=0, parameters=[p])
        for p in (2.0, 3.0)
    ]
    line = formula("[0] * x", "x")
    data = category("kind", {"a": grid({"x": [0.0, 1.0, 2.0]}, content), "b": 7.0})
    inputs = X | {"kind": ("string", "a or b")}
    c = correction("c", "Test", inputs, data, output="slope", generic=line)
    found = evaluated(tmp_path, c)["c"]
    assert found.evaluate(0.5, "a") == 1.0
    assert found.evaluate(1.5, "a") == 4.5
    assert found.evaluate(1.5, "b") == 7.0
    assert (found.output.name, found.version) == ("slope", 1)
    assert [v.description for v in found.inputs] == ["A number", "a or b"]


def test_compound_corrections_go_with_the_others(tmp_path):
    once = correction("double", "Test", X, formula("2 * x", "x"))
    twice = schema.CompoundCorrection(
        name="twice",
        inputs=[variable("x", *X["x"])],
        output=schema.Variable(name="value", type="real"),
        inputs_update=["x"],
        input_op="*",
        output_op="*",
        stack=["double", "double"],
    )
    found = evaluated(tmp_path, once, twice)
    assert list(found) == ["double"]
    # 2 x, and with x replaced by x (2 x), 2 x (2 x).
    assert found.compound["twice"].evaluate(3.0) == 6.0 * 36.0


def test_a_file_says_where_it_comes_from_and_is_reproducible(tmp_path):
    source = tmp_path / "input.txt"
    source.write_text("stands for a ROOT file")
    content = [correction("c", "Test", X, binned({"x": [0, 1]}, [1 / 3]))]
    for name in ("a.json", "b.json", "a.json.gz", "b.json.gz"):
        write_set(tmp_path / name, content, "A test", [source, source])
    plain, zipped = ((tmp_path / f"a.{k}").read_bytes() for k in ("json", "json.gz"))
    assert plain == gzip.decompress(zipped) == (tmp_path / "b.json").read_bytes()
    assert zipped == (tmp_path / "b.json.gz").read_bytes()
    description = json.loads(plain)["description"]
    origin = f"wprops {__version__} from input.txt, sha256 {file_digest(source)}"
    assert description == f"A test. Built by {origin}."
    with pytest.raises(ConfigError, match=r"\.json or \.json\.gz"):
        write_set(tmp_path / "out.txt", content, "", [])
