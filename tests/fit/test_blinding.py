"""Blind results tell nothing before they are revealed, to whoever tries."""

import json
import re
import struct
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.testing import assert_allclose
from scipy.stats import kstest

from tests.fit.conftest import build_set
from wprops.cli import main
from wprops.errors import ConfigError, FitError, TemplateError
from wprops.fit.arrays import template_set
from wprops.fit.blinding import blind_fit, blinding, require_revealed, reveal
from wprops.fit.blinding_key import Key
from wprops.fit.derived import derive
from wprops.fit.model import build_model
from wprops.fit.results import FitResult
from wprops.fit.run import run_fit

OPTIONS = {
    "impacts": True,
    "scans": ({"m_W": np.linspace(80.35, 80.41, 3)}, {"lumi": np.linspace(-1, 1, 3)}),
    "intervals": ("mw",),
}
N_BLIND = 7  # six strengths and the mass


def with_data(*, seed, mw, strength):
    """Small templates with pseudo-data of some other truth."""
    templates = build_set(n_cells=1)
    model = build_model(templates)
    truth = model.parameters.start.copy()
    truth[: model.parameters.n_poi] = strength
    truth[model.parameters.index("mw")] = mw
    counts = np.random.default_rng(seed).poisson(model.expected(truth)).astype(float)
    channels = {
        name: replace(templates.channels[name], data=data)
        for name, data in model.split(counts).items()
    }
    return replace(templates, channels=channels)


@pytest.fixture(scope="module")
def data():
    return with_data(seed=1, mw=0.7, strength=1.15)


@pytest.fixture(scope="module")
def opened(data):
    return run_fit(data, **OPTIONS)


@pytest.fixture(scope="module")
def key_file(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("blind") / "fit.key"
    blind_fit(data, path)
    return path


@pytest.fixture(scope="module")
def blind_file(data, key_file):
    path = key_file.with_name("blind.h5")
    blind_fit(data, key_file, **OPTIONS).write(path)
    return path


@pytest.fixture(scope="module")
def blind(blind_file):
    return FitResult.read(blind_file)


def test_strengths_and_mass_are_shifted_by_the_key_and_nothing_else(
    blind, opened, key_file
):
    key = Key.read(key_file)
    offsets = key.offsets(blind.parameters)
    assert_allclose(blind.values + offsets, opened.values, rtol=1e-12, atol=1e-12)
    assert np.count_nonzero(offsets) == N_BLIND == len(key.widths)
    for name, width in blinding(blind).widths.items():
        error = blind.errors[blind.names.index(name)]
        assert 5 * error <= width <= 10 * error
        assert abs(offsets[blind.names.index(name)]) <= width
    assert blind.gof == opened.gof


def test_derived_quantities_follow_from_the_shifted_values(blind, data):
    expected = derive(data, blind.parameters, blind.values, blind.covariance)
    assert blind.derived.keys() == expected.keys()
    for name, quantity in blind.derived.items():
        assert_allclose(quantity.values, expected[name].values, rtol=1e-13)
        assert_allclose(quantity.covariance, expected[name].covariance, rtol=1e-10)
    assert blind.corrected is None


def contents(path):
    """All that a file holds, by name; JSON taken apart by its keys."""
    found = {}

    def add(name, item):
        if not isinstance(item, h5py.Dataset):
            return
        if item.dtype.kind != "S":
            found[name] = item[()].tobytes()
            return
        decoded = json.loads(bytes(item[()]))
        parts = decoded if isinstance(decoded, dict) else {"": decoded}
        for part, value in parts.items():
            found[f"{name}:{part}"] = json.dumps(value)

    with h5py.File(path) as file:
        file.visititems(add)
    return found


def test_of_the_data_a_blind_file_holds_values_and_goodness_of_fit_only(
    blind_file, key_file, tmp_path
):
    other = tmp_path / "other.h5"
    blind_fit(with_data(seed=2, mw=-1.0, strength=0.9), key_file, **OPTIONS).write(
        other
    )
    first, second = contents(blind_file), contents(other)
    assert first.keys() == second.keys()
    different = {name for name in first if first[name] != second[name]}
    derived = {name for name in first if name.startswith("derived/")}
    # scans and intervals are expected ones at the shifted best fit
    moved = {
        name
        for name in first
        if name.startswith(("scans/", "intervals/"))
        and name.rpartition("/")[2] in ("points", "best", "low", "high", "plain:best")
    }
    plain = {name for name in first if name.endswith((":nll", ":edm", ":iterations"))}
    goodness = {name for name in first if name.startswith("gof/")}
    # digest of the data and the time
    provenance = {name for name in first if name.endswith(":provenance")}
    allowed = {"values", *derived, *moved, *plain, *goodness, *provenance}
    assert different <= allowed
    assert "values" in different
    records = [json.loads(c[n]) for c in (first, second) for n in provenance]
    for record in records:
        del record["created"], record["template_digest"]
    assert records[0] == records[1]


def test_covariances_of_derived_quantities_follow_from_the_shifted_values_too(
    blind, data
):
    # their derivatives depend on the strengths: those of the data would tell them
    model = build_model(data)
    again = derive(data, model.parameters, blind.values, blind.covariance)
    true = run_fit(data)
    exposed = derive(data, model.parameters, true.values, blind.covariance)
    name = "Wplus/A4"
    assert blind.derived[name].errors == pytest.approx(again[name].errors, rel=1e-10)
    assert blind.derived[name].errors != pytest.approx(exposed[name].errors, rel=1e-4)


def test_no_true_number_is_among_the_bytes_of_the_file(blind_file, opened):
    content = blind_file.read_bytes()

    def is_written(number):
        forms = [struct.pack(form, number) for form in ("<d", ">d", "<f", ">f")]
        return any(form in content for form in [*forms, repr(number)[:9].encode()])

    names = [*opened.names[: opened.parameters.n_poi], "mw"]
    hidden = [opened.values[opened.names.index(name)] for name in names]
    hidden += [value for q in opened.derived.values() for value in q.values]
    hidden += [opened.errors[opened.names.index(name)] for name in names]
    hidden += [y.process_events[0] for y in opened.postfit_yields.values()]
    hidden += [opened.scans["m_W"].best[0], opened.intervals["mw"].low[0]]
    assert not [number for number in map(float, hidden) if is_written(number)]
    # what is not blind is found in this way
    assert is_written(float(opened.values[opened.names.index("pdf_01")]))


def test_other_parameters_and_goodness_of_fit_do_not_know_the_strengths(data, key_file):
    model = build_model(data)
    for mw, strength in ((0.7, 1.15), (-1.0, 0.9)):
        truth = model.parameters.start.copy()
        truth[: model.parameters.n_poi] = strength
        truth[model.parameters.index("mw")] = mw
        channels = {
            name: replace(data.channels[name], data=counts)
            for name, counts in model.split(model.expected(truth)).items()
        }
        blind = blind_fit(replace(data, channels=channels), key_file)
        visible = [
            i for i, n in enumerate(blind.names) if n not in blinding(blind).widths
        ]
        assert len(visible) == len(blind.names) - N_BLIND
        assert_allclose(blind.values[visible], 0.0, atol=1e-3)
        assert blind.gof.statistic == pytest.approx(0.0, abs=1e-6)


@pytest.fixture(scope="module")
def counting():
    """One strength, one bin and a known background; the data say 1.3."""
    return template_set(
        signal={"peak": [1000.0]}, background={"flat": [500.0]}, data=[1800.0]
    )


def test_the_strength_cannot_be_solved_from_what_a_fit_says(counting, tmp_path):
    signal, background = 1000.0, 500.0
    grid = {"channel/peak": np.linspace(0.9, 1.5, 7)}
    options = {"barlow_beeston": False, "scans": (grid,)}

    def attacks(result):
        (scan,) = result.scans.values()
        (postfit,) = result.postfit.values()
        (yields,) = result.postfit_yields.values()
        # σ² = n/s²: the error of a count tells the count, and so does the shape
        yield (result.covariance[0, 0] * signal**2 - background) / signal
        distance = (scan.points[0, 0] - scan.best[0]) * signal
        counts = np.linspace(1000.0, 2200.0, 12001)
        shape = distance - counts * np.log1p(distance / counts)
        found = counts[np.argmin(abs(shape - scan.nll[0]))]
        yield (found - background) / signal
        yield postfit.yields[0].sum() / signal
        yield (yields.events.sum() - background) / signal
        yield (postfit.data.sum() - background) / signal

    # they work on an open result and find the prediction in a blind one
    assert_allclose(list(attacks(run_fit(counting, **options))), 1.3, atol=2e-4)
    blind = blind_fit(counting, tmp_path / "key", **options)
    assert_allclose(list(attacks(blind)), 1.0, atol=2e-4)
    (scan,) = blind.scans.values()
    best = scan.points[np.argmin(scan.nll), 0]
    assert best - scan.best[0] == pytest.approx(0.0, abs=0.051)
    assert scan.best[0] == blind.values[0] != pytest.approx(1.3, abs=1e-9)


def test_many_keys_draw_offsets_uniform_in_their_width(blind):
    widths = dict.fromkeys(blind.names, 2.0)
    drawn = []
    for i in range(300):
        key = Key(f"{i:064x}", ("*",), widths)
        drawn.append(key.offsets(blind.parameters))
    drawn = np.array(drawn)
    assert kstest((drawn.ravel() + 2) / 4, "uniform").pvalue > 1e-3
    correlation = np.corrcoef(drawn.T)[np.triu_indices(len(widths), 1)]
    assert (abs(correlation) < 4.5 / np.sqrt(300)).all()


def test_fits_with_one_key_can_be_compared(data, opened, blind, key_file):
    naive = blind_fit(data, key_file, barlow_beeston=False)
    open_naive = run_fit(data, barlow_beeston=False)
    shift = naive.values - blind.values
    assert_allclose(shift, open_naive.values - opened.values, atol=1e-10)


def test_revealing_gives_the_open_fit(blind, data, opened, key_file):
    revealed = reveal(blind, data, Key.read(key_file))
    assert (revealed.values == opened.values).all()
    assert (revealed.covariance == opened.covariance).all()
    assert (revealed.scans["m_W"].points == opened.scans["m_W"].points).all()
    assert revealed.impacts is not None
    assert blinding(revealed) is None
    commitment = blinding(blind).commitment
    assert revealed.provenance["revealed"] == {"commitment": commitment}
    with pytest.raises(ConfigError, match="nothing to reveal"):
        reveal(revealed, data, Key.read(key_file))


def test_frozen_parameters_and_channels_are_the_same_when_revealed(data, tmp_path):
    options = {"channels": ["Wplus"], "freeze": {"pdf_*": 0.3, "lumi": None}}
    blind = blind_fit(data, tmp_path / "key", **options)
    blind.write(tmp_path / "blind.h5")
    blind = FitResult.read(tmp_path / "blind.h5")
    revealed = reveal(blind, data, Key.read(tmp_path / "key"))
    assert (revealed.values == run_fit(data, **options).values).all()
    assert set(revealed.frozen) == {"pdf_01", "lumi"}


def test_tampering_is_refused_by_name(blind, data, key_file, tmp_path):
    key = Key.read(key_file)
    other = replace(key, secret=64 * "0")
    with pytest.raises(ConfigError, match=f"another.*{other.commitment}"):
        reveal(blind, data, other)
    wider = {**key.widths, "mw": 2 * key.widths["mw"]}
    with pytest.raises(ConfigError, match="another, or was changed"):
        reveal(blind, data, replace(key, widths=wider))
    with pytest.raises(TemplateError, match="other templates or data"):
        reveal(blind, with_data(seed=3, mw=0.0, strength=1.0), key)
    values = blind.values.copy()
    values[blind.names.index("mw")] += 0.1
    with pytest.raises(FitError, match="other values of mw than"):
        reveal(replace(blind, values=values), data, key)


def test_a_key_belongs_to_its_owner_and_is_not_replaced(key_file):
    assert key_file.stat().st_mode & 0o777 == 0o600
    key = Key.read(key_file)
    assert len(bytes.fromhex(key.secret)) == 32
    with pytest.raises(ConfigError, match="name another"):
        key.write(key_file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not JSON", "cannot be read as the key"),
        ("[1, 2]", "cannot be read as the key"),
        ('{"secret": "ab", "patterns": null}', "'widths'"),
        ('{"secret": "ab", "patterns": null, "widths": {}}', "64 hexadecimal"),
    ],
)
def test_what_is_no_key_is_named(tmp_path, content, message):
    path = tmp_path / "some.key"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        Key.read(path)
    with pytest.raises(ConfigError, match=r"missing\.key cannot be read"):
        Key.read(tmp_path / "missing.key")


def test_a_choice_of_parameters_is_blind(data, opened, tmp_path):
    blind = blind_fit(data, tmp_path / "key", patterns=["mw", "Wplus/*A4*"])
    changed = [
        n
        for n, a, b in zip(blind.names, blind.values, opened.values, strict=True)
        if a != b
    ]
    assert changed == ["Wplus/W_A4_y0_qt0", "mw"]
    with pytest.raises(ConfigError, match="no parameter is called 'mz'"):
        blind_fit(data, tmp_path / "second", patterns=["mz"])
    with pytest.raises(ConfigError, match="says what is blind"):
        blind_fit(data, tmp_path / "key", patterns=["mw"])


def test_a_key_of_other_parameters_is_refused(data, tmp_path):
    blind_fit(data, tmp_path / "key", channels=["Wplus"])
    with pytest.raises(ConfigError, match="other parameters than 'Wminus/"):
        blind_fit(data, tmp_path / "key")


def test_a_scan_by_freezing_is_refused(data, key_file, tmp_path):
    for path in (key_file, tmp_path / "new"):
        with pytest.raises(ConfigError, match="mw cannot be blind and frozen"):
            blind_fit(data, path, freeze={"mw": 0.5})


@pytest.mark.parametrize("kind", ["asimov", "toy"])
def test_fits_without_data_are_never_blind(data, key_file, kind):
    with pytest.raises(ConfigError, match="knows no data"):
        blind_fit(data, key_file, data=kind)
    assert blinding(run_fit(data, data=kind)) is None


def test_what_needs_true_values_refuses_a_blind_result(blind, opened):
    with pytest.raises(ConfigError, match=r"no toys of a blind result.*reveal"):
        require_revealed(blind, "toys")
    require_revealed(opened, "toys")


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_commands_hide_and_reveal(data, opened, tmp_path):
    templates, key = tmp_path / "templates.h5", tmp_path / "alice.key"
    blind, result = tmp_path / "blind.h5", tmp_path / "fit.h5"
    data.write(templates)
    got = invoke("fit", templates, "-o", blind, "--blind", key)
    assert got.exit_code == 0, got.output
    assert got.output.startswith("BLIND: values are shifted")
    mass = opened.derived["m_W"].values[0]
    assert f"m_W = {mass:.4f}" not in got.output
    refused = invoke("report", blind, templates, "-o", tmp_path / "report.html")
    assert refused.exit_code == 1
    assert "no reports of a blind result" in refused.output
    got = invoke("reveal", blind, templates, "--key", key, "-o", result)
    assert got.exit_code == 0, got.output
    assert f"m_W = {mass:.4f}" in got.output
    assert (FitResult.read(result).values == opened.values).all()
    got = invoke("fit", templates, "--blind-only", "mw")
    assert got.exit_code == 2
    assert "give --blind KEY" in got.output


def test_the_example_of_the_guide_runs(data, opened, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data.write(Path("templates.h5"))
    page = Path(__file__).resolve().parents[2] / "docs/guide/blinding.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    namespace = {"Path": Path}
    exec(example, namespace)
    assert (namespace["result"].values == opened.values).all()
