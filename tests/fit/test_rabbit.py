"""The input file of rabbit, against its formulas in numpy and against rabbit itself."""

import json
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.testing import assert_allclose

from tests.fit.conftest import build_set
from wprops.cli import main
from wprops.errors import TemplateError
from wprops.fit.arrays import template_set as from_arrays
from wprops.fit.external import Constraint
from wprops.fit.interpolation import smooth_abs
from wprops.fit.likelihood import Likelihood, relative_variance
from wprops.fit.model import build_model, observed
from wprops.interchange.rabbit_export import export_rabbit, write_rabbit
from wprops.interchange.rabbit_file import RabbitInput
from wprops.interchange.rabbit_model import SHIFTS, read_rabbit
from wprops.interchange.rabbit_templates import import_rabbit
from wprops.store import TemplateSet

RUNNER = Path(__file__).parents[2] / "benchmarks/rabbit_process.py"
needs_rabbit = pytest.mark.skipif(
    find_spec("rabbit") is None, reason="rabbit-fit and tf_keras are not installed"
)


def rabbit_yields(content, values):
    """Yields by process as rabbit 0.2.5 computes them, shape (n_bins, n_processes)."""
    header = content.header
    n_poi = header.n_signal
    strength = np.ones(len(header.processes))
    strength[:n_poi], theta = values[:n_poi], values[n_poi:]
    x = 2 * theta
    alpha = np.clip(x * (x**2 * (3 * x**2 - 10) + 15) / 8, -1, 1)
    odd_even = np.stack([theta, theta * alpha])[: content.effects.shape[2]]
    moved = np.einsum("ipsk,sk->ip", content.effects, odd_even)
    if header.systematic_type == "normal":
        return strength * content.nominal + moved
    return strength * content.nominal * np.exp(moved)


def rabbit_nll(content, values, *, barlow_beeston):
    """The value that rabbit minimises; constants as they come."""
    n, n_poi = content.data, content.header.n_signal
    nu = rabbit_yields(content, values)[: len(n)].sum(axis=1)
    theta = values[n_poi:]
    total = 0.5 * (content.header.weights * theta**2).sum()
    if barlow_beeston:
        k = (content.sum_of_weights**2 / content.variance)[: len(n)]
        beta = (n + k) / (nu + k)
        total += (k * (beta - 1 - np.log(beta))).sum()
        nu = nu * beta
    return total + (nu - n - n * np.log(nu / n)).sum()


def one_sided(templates):
    """Leave out all variations down, so that no effect is asymmetric."""
    systematics = tuple(
        s if s.kind == "norm" else replace(s, variations=("up",))
        for s in templates.systematics
    )
    declared = {label for s in systematics for label in s.labels}

    def process(p):
        kept = {k: v for k, v in p.variations.items() if k in declared}
        return replace(p, variations=kept)

    channels = {
        name: replace(c, processes={k: process(p) for k, p in c.processes.items()})
        for name, c in templates.channels.items()
    }
    return replace(templates, channels=channels, systematics=systematics)


def expressible(templates):
    """Keep what a log-normal file can hold: shapes of templates of one sign, norms."""
    signs = {
        p.name
        for c in templates.channels.values()
        for p in c.processes.values()
        if (p.nominal > 0).all()
    }
    systematics = tuple(
        s
        if s.kind == "norm"
        else replace(s, processes=frozenset(signs), interpolation="lognormal")
        for s in one_sided(templates).systematics
    )

    def process(p):
        # the background without variations answers to them with none
        own = {s.labels[0]: p.nominal for s in systematics if s.labels}
        return replace(
            p, variations=(own | dict(p.variations)) if p.name in signs else {}
        )

    channels = {
        name: replace(c, processes={k: process(p) for k, p in c.processes.items()})
        for name, c in one_sided(templates).channels.items()
    }
    return replace(templates, channels=channels, systematics=systematics)


@pytest.fixture(scope="module")
def exact_set():
    return expressible(build_set())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of each type with templates that change sign and effects on them."""
    folder = tmp_path_factory.mktemp("rabbit")
    templates = one_sided(build_set())
    paths = {kind: folder / f"{kind}.hdf5" for kind in ("log_normal", "normal")}
    for kind, path in paths.items():
        export_rabbit(templates, path, systematic_type=kind, approximate=True)
    return paths


def points(parameters, n=6):
    """Return the start, and points with parameters in all pieces of their curves."""
    rng = np.random.default_rng(4)
    spread = np.where(np.arange(len(parameters)) < parameters.n_poi, 0.1, 1.0)
    start = parameters.start
    return [start, *(start + spread * rng.normal(size=len(start)) for _ in range(n))]


def differences(model, counts, places, *, barlow_beeston):
    """NLL relative to the first point."""
    start = model.parameters.start
    noise = relative_variance(model, start) if barlow_beeston else np.zeros(len(counts))
    likelihood = Likelihood(model, counts, noise, start)
    values = np.array([likelihood.at(place).value for place in places])
    return values[1:] - values[0]


@pytest.mark.parametrize("barlow_beeston", [False, True])
def test_a_set_and_its_file_have_the_same_likelihood(
    exact_set, tmp_path, barlow_beeston
):
    path = tmp_path / "exact.hdf5"
    statement = export_rabbit(exact_set, path)
    assert "all effects of nuisance parameters" in str(statement)
    model, content = build_model(exact_set), RabbitInput.read(path)
    places = points(model.parameters)
    got = differences(
        model, observed(exact_set, model), places, barlow_beeston=barlow_beeston
    )
    # the file has parameters without a constraint before the others
    names = (*content.header.processes[:12], *content.header.systematics)
    order = [model.parameters.index(name) for name in names]
    there = [
        rabbit_nll(content, place[order], barlow_beeston=barlow_beeston)
        for place in places
    ]
    assert abs(got).min() > 1
    assert_allclose(got, np.array(there[1:]) - there[0], atol=1e-8)


@pytest.mark.parametrize("barlow_beeston", [False, True])
@pytest.mark.parametrize("kind", ["log_normal", "normal"])
def test_a_file_and_its_model_have_the_same_likelihood(files, kind, barlow_beeston):
    """Also where templates change sign, and where no strength multiplies a shift."""
    content = RabbitInput.read(files[kind])
    changing = (content.nominal > 0).any(0) & (content.nominal < 0).any(0)
    assert content.effects[:, changing].any()
    model, counts = read_rabbit(files[kind])
    places = points(model.parameters)
    for place in places:
        expected = rabbit_yields(content, place).sum(axis=1)
        assert_allclose(model.expected(place), expected, rtol=1e-13)
    got = differences(model, counts, places, barlow_beeston=barlow_beeston)
    there = [rabbit_nll(content, p, barlow_beeston=barlow_beeston) for p in places]
    assert abs(got).min() > 1
    assert_allclose(got, np.array(there[1:]) - there[0], atol=1e-8)


def run_rabbit(path, places, *, barlow_beeston=False):
    command = [sys.executable, RUNNER, path, "--points", json.dumps(places)]
    options = ["--barlow-beeston"] if barlow_beeston else []
    output = subprocess.run([*command, *options], capture_output=True, check=True)
    return json.loads(output.stdout.splitlines()[-1])


@needs_rabbit
@pytest.mark.parametrize("barlow_beeston", [False, True])
@pytest.mark.parametrize("kind", ["log_normal", "normal"])
def test_rabbit_agrees(files, kind, barlow_beeston):
    model, counts = read_rabbit(files[kind])
    places = points(model.parameters)
    result = run_rabbit(
        files[kind], [p.tolist() for p in places], barlow_beeston=barlow_beeston
    )
    assert tuple(result["names"]) == model.parameters.names
    for place, expected in zip(places, result["expected"], strict=True):
        assert_allclose(model.expected(place), expected, rtol=1e-13)
    got = differences(model, counts, places, barlow_beeston=barlow_beeston)
    there = np.array(result["nll"])
    assert_allclose(got, there[1:] - there[0], atol=1e-8)


@needs_rabbit
@pytest.mark.parametrize("sparse", [False, True])
def test_a_file_that_rabbit_wrote_is_read(tmp_path, sparse):
    script = f"""
import hist, numpy as np
from rabbit.tensorwriter import TensorWriter
writer = TensorWriter(sparse={sparse}, allow_negative_expectation=True)
axes = [hist.axis.Regular(n, 0, n, name=f"a{{n}}", flow=False) for n in (2, 3)]
writer.add_channel(axes, "ch")
n = np.array([[50.0, 20.0, 0.0], [10.0, -3.0, 30.0]])
b = np.full((2, 3), 40.0)
writer.add_data(n + b, "ch", variances=n + b)
writer.add_process(n, "sig", "ch", signal=True, variances=abs(n))
writer.add_process(b, "bkg", "ch", variances=b / 4)
writer.add_systematic(1.1 * n, "shape", "sig", "ch", groups=["theory"])
writer.add_systematic(0.9 * b, "shape", "bkg", "ch", groups=["theory"])
writer.add_systematic(1.2 * b, "free", "bkg", "ch", constrained=False)
writer.write({str(tmp_path)!r}, "written.hdf5")
"""
    subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    path = tmp_path / "written.hdf5"
    model, counts = read_rabbit(path)
    assert model.parameters.names == ("sig", "free", "shape")
    assert model.parameters.groups == ("signal", "free", "theory")
    assert model.blocks[0].shape == (2, 3)
    places = points(model.parameters)
    result = run_rabbit(path, [p.tolist() for p in places])
    got = differences(model, counts, places, barlow_beeston=False)
    there = np.array(result["nll"])
    assert_allclose(got, there[1:] - there[0], atol=1e-8)


def test_a_set_survives_export_and_import(exact_set, tmp_path):
    path = tmp_path / "exact.hdf5"
    export_rabbit(exact_set, path)
    back, statement = import_rabbit(path)
    assert "does not know the charge" in str(statement)
    back.write(tmp_path / "back.h5")
    back = TemplateSet.read(tmp_path / "back.h5")
    one, other = build_model(exact_set), build_model(back)
    assert set(one.parameters.names) == set(other.parameters.names)
    order = [one.parameters.index(name) for name in other.parameters.names]
    for attribute in ("groups", "precision", "start"):
        values = np.array(getattr(one.parameters, attribute))[order]
        assert (values == np.array(getattr(other.parameters, attribute))).all()
    assert (observed(exact_set, one) == observed(back, other)).all()
    for place in points(one.parameters):
        assert_allclose(one.expected(place), other.expected(place[order]), rtol=1e-12)
    start = one.parameters.start
    assert_allclose(one.variance(start), other.variance(start[order]), rtol=1e-12)
    for name, channel in exact_set.channels.items():
        assert (back.channels[name].pt_edges == channel.pt_edges).all()
        for key, process in channel.processes.items():
            assert back.channels[name].processes[key].role == process.role


@pytest.mark.parametrize("kind", ["log_normal", "normal"])
def test_a_model_survives_export_and_import(files, tmp_path, kind):
    model, counts = read_rabbit(files[kind])
    statement = write_rabbit(
        model, counts, tmp_path / "again.hdf5", systematic_type=kind
    )
    assert "all effects of nuisance parameters" in str(statement)
    again, same = read_rabbit(tmp_path / "again.hdf5")
    assert again.parameters.names == model.parameters.names
    assert again.parameters.groups == model.parameters.groups
    assert (again.parameters.precision == model.parameters.precision).all()
    assert (counts == same).all()
    for place in points(model.parameters):
        assert_allclose(again.expected(place), model.expected(place), rtol=1e-14)
    start = model.parameters.start
    assert_allclose(again.variance(start), model.variance(start), rtol=1e-13)


def test_eta_local_parameters_act_in_their_row(tmp_path):
    flat = np.full((2, 3), 100.0)
    templates = from_arrays(
        {"a": flat}, {}, data=flat, shapes={"sf": {"a": 1.1 * flat}}
    )
    local = replace(templates.systematics[0], eta_local=True)
    templates = replace(templates, systematics=(local,))
    export_rabbit(templates, tmp_path / "local.hdf5")
    content = RabbitInput.read(tmp_path / "local.hdf5")
    assert content.header.systematics == ("sf_eta00", "sf_eta01")
    expected = np.repeat(np.eye(2), 3, axis=0) * np.log(1.1)
    assert_allclose(content.effects[:, 0, 0], expected, atol=1e-15)
    # and come back as one column
    back, model = read_rabbit(tmp_path / "local.hdf5")[0], build_model(templates)
    assert back.blocks[0].columns.tolist() == model.blocks[0].columns.tolist()
    place = np.array([1.2, 0.7, -1.5])
    assert_allclose(back.expected(place), model.expected(place), rtol=1e-13)
    likelihood = [
        Likelihood(m, flat.ravel(), np.zeros(6), place) for m in (back, model)
    ]
    one, other = (term.at(place).hessian() for term in likelihood)
    assert_allclose(one, other, rtol=1e-12)


def test_parameters_of_some_rows_share_a_column(tmp_path):
    """Rows without a parameter of their own are left alone."""
    flat = np.full((3, 2), 100.0)
    bumps = {f"s{row}{i}": 1.0 * flat for row, i in ((0, 0), (0, 1), (2, 0))}
    for name, template in bumps.items():
        template[int(name[1])] *= 1.1 + 0.1 * int(name[2])
    shapes = {name: {"a": template} for name, template in bumps.items()}
    templates = from_arrays({"a": flat}, {}, data=flat, shapes=shapes)
    export_rabbit(templates, tmp_path / "rows.hdf5")
    back, model = read_rabbit(tmp_path / "rows.hdf5")[0], build_model(templates)
    assert len(back.blocks[0].columns) == 2
    place = np.array([0.9, 0.7, -1.5, 0.4])
    assert_allclose(back.expected(place), model.expected(place), rtol=1e-13)
    likelihood = [
        Likelihood(m, flat.ravel(), np.zeros(6), place) for m in (back, model)
    ]
    one, other = (term.at(place).hessian() for term in likelihood)
    assert_allclose(one, other, rtol=1e-12, atol=1e-11)


def test_masked_channels_come_last(exact_set, tmp_path):
    path = tmp_path / "masked.hdf5"
    plus = exact_set.channels["Wplus"]
    others = {k: p for k, p in plus.processes.items() if p.role == "background"}
    hidden = replace(plus, processes=others, shared=(), data=None)
    exact_set = replace(exact_set, channels=exact_set.channels | {"Wplus": hidden})
    export_rabbit(exact_set, path, masked=["Wplus"])
    header = RabbitInput.read(path).header
    assert [(c.name, c.masked) for c in header.channels] == [
        ("Wminus", False),
        ("Wplus", True),
    ]
    model, counts = read_rabbit(path)
    assert model.masked == {"Wplus"}
    n = model.blocks[1].n_bins
    assert np.isfinite(counts[:n]).all()
    assert np.isnan(counts[n:]).all()
    same = build_model(exact_set, masked=["Wplus"])
    place = points(same.parameters)[1]
    order = [same.parameters.index(name) for name in model.parameters.names]
    got, expected = model.expected(place[order]), same.expected(place)
    assert_allclose(got[n:], expected[:n], rtol=1e-13)


def test_what_cannot_be_expressed_is_said_by_name(template_set, tmp_path):
    path = tmp_path / "out.hdf5"
    with pytest.raises(TemplateError) as refused:
        export_rabbit(template_set, path)
    for part in (
        r"asymmetric log-normal effects .*\(4 times, first 'alphas' on 'W_UL_y0_qt0'",
        r"quadratic effects lose .*\(12 times, first 'mw'",
        r"linear effects are log-normal, equal to first order \(42 times",
    ):
        refused.match(part)
    with pytest.raises(TemplateError, match="not multiplied by the strength"):
        export_rabbit(template_set, path, systematic_type="normal")
    assert not path.exists()
    statement = export_rabbit(template_set, path, approximate=True)
    assert len(statement.approximated) == 4
    with pytest.raises(TemplateError, match="cannot be read exactly: asymmetric"):
        read_rabbit(path)


@pytest.mark.parametrize("kind", ["log_normal", "normal"])
def test_approximations_are_equal_to_first_order(template_set, tmp_path, kind):
    """The error falls with the square of the distance from the start."""
    path = tmp_path / "out.hdf5"
    export_rabbit(template_set, path, systematic_type=kind, approximate=True)
    content, model = RabbitInput.read(path), build_model(template_set)
    names = (*content.header.processes[:12], *content.header.systematics)
    where = [model.parameters.index(name) for name in names]
    start = model.parameters.start
    step = points(model.parameters)[1] - start
    error = []
    for size in (0.02, 0.01, 0.005):
        place = start + size * step
        there = rabbit_yields(content, place[where]).sum(axis=1)
        error.append(abs(there - model.expected(place)).max())
    assert error[-1] > 1e-6
    assert (np.diff(np.log2(error)) < -1.9).all()


def test_asymmetric_effects_agree_outside_their_joint(tmp_path):
    """And inside differ by no more than the statement says."""
    flat = np.full(3, 100.0)
    shapes = {"s": {"b": (1.3 * flat, 0.9 * flat)}}
    templates = from_arrays({"a": flat}, {"b": flat}, data=flat, shapes=shapes)
    path = tmp_path / "out.hdf5"
    export_rabbit(templates, path, approximate=True)
    content, model = RabbitInput.read(path), build_model(templates)
    for theta in (-2.0, -1.0, 0.0, 1.0, 1.5):
        place = np.array([1.0, theta])
        there = rabbit_yields(content, place).sum(axis=1)
        assert_allclose(model.expected(place), there, rtol=1e-14)
    theta = np.linspace(-1, 1, 2001)
    apart = abs(smooth_abs(2 * theta).value / 2 - smooth_abs(theta).value).max()
    assert 0.12 < apart < 0.13
    back, _ = import_rabbit(path, approximate=True)
    variations = back.channels["channel"].processes["b"].variations
    assert_allclose(variations["s_up"].ravel(), 1.3 * flat, rtol=1e-14)
    assert_allclose(variations["s_down"].ravel(), 0.9 * flat, rtol=1e-14)


def test_shifts_of_signals_have_a_process_of_their_own(files):
    model, _ = read_rabbit(files["normal"])
    assert {block.processes[-1] for block in model.blocks} == {SHIFTS}
    with pytest.raises(TemplateError, match="effects on signals are multiplied by"):
        import_rabbit(files["normal"])
    templates, _ = import_rabbit(files["normal"], approximate=True)
    start, same = model.parameters.start, build_model(templates)
    step = np.where(np.arange(len(start)) < model.parameters.n_poi, 0.0, 0.7)
    order = [model.parameters.index(name) for name in same.parameters.names]
    # at strengths of 1 nothing is approximated
    place = start + step
    assert_allclose(same.expected(place[order]), model.expected(place), rtol=1e-12)


def test_one_strength_in_two_channels_stays_one(exact_set, tmp_path):
    path = tmp_path / "two.hdf5"
    export_rabbit(exact_set, path)
    with h5py.File(path, "r+") as file:
        nominal = file["hnorm"][...]
        nominal[:, 0] = nominal[:, 6] = nominal[:, 0] + nominal[:, 6]
        file["hnorm"][...] = nominal
    with pytest.raises(TemplateError, match=r"one strength of .* acts on the channels"):
        import_rabbit(path)
    model, _ = read_rabbit(path)
    start = model.parameters.start
    place = start + 0.5 * (np.arange(len(start)) == 0)
    moved = model.split(model.expected(place) - model.expected(start))
    for part in moved.values():
        assert (part > 0).all()


def test_a_constraint_of_another_width_needs_a_model(exact_set, tmp_path):
    path = tmp_path / "wide.hdf5"
    export_rabbit(exact_set, path)
    with h5py.File(path, "r+") as file:
        file["hconstraintweights"][-1] = 0.25
    with pytest.raises(TemplateError, match=r"constraint of .* has the weight 0\.25"):
        import_rabbit(path)
    assert read_rabbit(path)[0].parameters.precision[-1] == 0.25


def test_external_constraints_are_refused(exact_set, tmp_path):
    constraint = Constraint([{"lumi": 1.0}], [0.0], [[1.0]])
    model = build_model(exact_set, constraints=[constraint])
    with pytest.raises(TemplateError, match="rabbit has no external constraints"):
        write_rabbit(model, observed(exact_set, model), tmp_path / "out.hdf5")


def test_a_description_with_code_is_refused(exact_set, tmp_path):
    path = tmp_path / "bad.hdf5"
    export_rabbit(exact_set, path)
    with h5py.File(path, "r+") as file:
        del file["meta/pickle_data"]
        stolen = pickle.dumps({"channel_info": subprocess.run})
        file["meta/pickle_data"] = np.frombuffer(stolen, np.uint8)
    with pytest.raises(TemplateError, match=r"holds subprocess\.run, which is no data"):
        read_rabbit(path)


@pytest.mark.parametrize("damage", [b"", b"\x80\x04", b"nothing"])
def test_a_damaged_description_is_named(exact_set, tmp_path, damage):
    path = tmp_path / "bad.hdf5"
    export_rabbit(exact_set, path)
    with h5py.File(path, "r+") as file:
        del file["meta/pickle_data"]
        file["meta/pickle_data"] = np.frombuffer(damage, np.uint8)
    with pytest.raises(TemplateError, match=r"bad\.hdf5"):
        read_rabbit(path)


def test_effects_of_another_length_are_named(exact_set, tmp_path):
    path = tmp_path / "bad.hdf5"
    export_rabbit(exact_set, path)
    with h5py.File(path, "r+") as file:
        name = "hlogk"
        values = file[name][...].ravel()[:-1]
        del file[name]
        file[name] = values
    with pytest.raises(TemplateError, match=r"bad\.hdf5 cannot be read as an input"):
        read_rabbit(path)


def test_a_file_that_is_no_input_is_named(tmp_path):
    with pytest.raises(TemplateError, match=r"no file .*missing\.hdf5"):
        read_rabbit(tmp_path / "missing.hdf5")
    (tmp_path / "text.hdf5").write_text("not HDF5")
    with pytest.raises(TemplateError, match=r"text\.hdf5 cannot be read as an input"):
        read_rabbit(tmp_path / "text.hdf5")
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["other"] = [1.0]
    with pytest.raises(TemplateError, match=r"other\.hdf5 cannot be read .*meta"):
        read_rabbit(tmp_path / "other.hdf5")


def test_the_command_line_exports_and_imports(exact_set, template_set, tmp_path):
    exact_set.write(tmp_path / "exact.h5")
    template_set.write(tmp_path / "all.h5")

    def invoke(*arguments):
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    rabbit = tmp_path / "exact.hdf5"
    result = invoke("export", tmp_path / "exact.h5", rabbit, "--format", "rabbit")
    assert result.exit_code == 0, result.output
    assert "exact: all effects of nuisance parameters" in result.output
    result = invoke("import", rabbit, "-o", tmp_path / "back.h5")
    assert result.exit_code == 0, result.output
    assert "approximated: a file of rabbit does not know the charge" in result.output
    assert set(TemplateSet.read(tmp_path / "back.h5").channels) == {"Wplus", "Wminus"}
    result = invoke("export", tmp_path / "all.h5", rabbit, "--format", "rabbit")
    assert result.exit_code == 1
    assert "wprops: error: a file of rabbit" in result.output


def test_the_example_of_the_guide_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    guide = Path(__file__).parents[2] / "docs/guide/interchange.md"
    (block,) = re.findall(r"```python\n(.*?)```", guide.read_text(), re.DOTALL)
    names: dict = {}
    exec(block, names)
    assert names["minimum"].values[0] == pytest.approx(1.5, abs=0.1)
    assert {path.name for path in tmp_path.iterdir()} == {
        "input.hdf5",
        "workspace.json",
    }
