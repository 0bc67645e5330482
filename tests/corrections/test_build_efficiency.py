"""The builder of muon efficiencies: tables of counts, histograms of SMP-18-012."""

import csv

import correctionlib
import numpy as np
import pytest
import uproot
from click.testing import CliRunner
from numpy.testing import assert_allclose, assert_array_equal

from corrections.build_efficiency import (
    main,
    selection_factors,
    smp18012_factors,
    trigger_factors,
)
from corrections.efficiency_counts import COLUMNS, read_counts
from corrections.efficiency_fit import erf_model
from tests.corrections.efficiency_toys import (
    TOY_ETA,
    bin_of,
    muons,
    toy_counts,
    true_parameters,
)
from tests.corrections.shared_data import DATA, needs_data
from wprops.corrections.efficiency import muon_factors, open_step
from wprops.errors import ConfigError, FitError
from wprops.provenance import file_digest

needs_files = needs_data("smp18012_sf")


def test_scale_factors_of_toys_have_pulls_of_mean_0_and_width_1():
    data, mc = true_parameters()
    pulls, coefficients = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        factors, quality = trigger_factors(
            toy_counts(rng, data, 10_000), toy_counts(rng, mc, 100_000), pt_step=0.5
        )
        pt = (factors.edges[1][1:] + factors.edges[1][:-1]) / 2
        truth = [
            [erf_model(pt, d) / erf_model(pt, m) for d, m in zip(*rows, strict=True)]
            for rows in zip(data, mc, strict=True)
        ]
        relative = factors.nominal / truth - 1
        pulls.append(relative / np.sqrt(np.sum(factors.stat**2, axis=1)))
        # The coefficient of each variation is a standard normal number.
        norm = np.sum(factors.stat**2, axis=-1)
        coefficients.append(np.einsum("cep,cvep->cve", relative, factors.stat) / norm)
        assert "192 fits" in quality
    n = 4 * 2 * 48
    pulls = np.moveaxis(np.array(pulls), -1, 0).reshape(len(pt), n)
    coefficients = np.moveaxis(np.array(coefficients), 2, 0).reshape(3, n)
    for sample in (pulls[[0, 10, 25, 40, 59]], coefficients):
        assert_allclose(sample.mean(axis=1), 0.0, atol=4 / np.sqrt(n))
        assert_allclose(sample.std(axis=1), 1.0, atol=4 / np.sqrt(2 * n))


def write_table(path, data, mc):
    """Write the lines of a table in a mixed order."""
    rows = [
        [q, *data.eta[i : i + 2], *data.pt[j : j + 2]]
        + [sample[c, i, j] for d in (data, mc) for sample in (d.passing, d.total)]
        for c, q in enumerate((-1, 1))
        for i in range(len(data.eta) - 1)
        for j in range(len(data.pt) - 1)
    ]
    np.random.default_rng(9).shuffle(rows)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return path


@pytest.fixture
def table(tmp_path):
    """A table of 48 eta bins, and the counts in it."""
    rng = np.random.default_rng(10)
    data, mc = (toy_counts(rng, truth, 5000) for truth in true_parameters())
    return write_table(tmp_path / "trigger.csv", data, mc), data, mc


def test_table_is_read_back(table):
    path, *counts = table
    for found, expected in zip(read_counts(path), counts, strict=True):
        assert_array_equal(found.passing, expected.passing)
        assert_array_equal(found.total, expected.total)
        assert_array_equal(found.eta, expected.eta)
        assert_array_equal(found.pt, expected.pt)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mc_total", "all", "lacks mc_total; it needs"),
        ("\n1,-2.4,", "\n1,-2.45,", "eta bins overlap or leave gaps"),
        (
            "\n1,-2.4,",
            "\n0,-2.4,",
            "1056 lines, expected one for each of charge -1 and",
        ),
        ("\n1,-2.4,", "\nplus,-2.4,", "could not convert string to float: 'plus'"),
    ],
)
def test_tables_with_errors_are_refused(table, old, new, message):
    path = table[0]
    path.write_text(path.read_text().replace("\r\n", "\n").replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        read_counts(path)


def test_impossible_counts_are_named(tmp_path, table):
    _, data, mc = table
    data.passing[1, 3, 2] = data.total[1, 3, 2] + 1
    with pytest.raises(
        ConfigError, match=r"data_pass is not between .*'eta_low': -2\.1"
    ):
        read_counts(write_table(tmp_path / "bad.csv", data, mc))
    with pytest.raises(ConfigError, match="no file"):
        read_counts(tmp_path / "none.csv")


def test_failing_fit_names_its_bin(table):
    _, data, mc = table
    data.passing[1, 3] = 0
    with pytest.raises(FitError, match=r"toy, charge \+1, eta -2.1 to -2: 0 of"):
        trigger_factors(data, mc)


def test_selection_is_the_ratio_of_efficiencies(table):
    _, data, mc = table
    found = selection_factors(data, mc)
    c, i, j = 1, 20, 5
    expected = (data.passing[c, i, j] / data.total[c, i, j]) / (
        mc.passing[c, i, j] / mc.total[c, i, j]
    )
    assert_allclose(found.nominal[c, i, j], expected)
    mc.passing[0, 1, 2] = 0
    with pytest.raises(ConfigError, match=r"for charge -1, eta from -2\.3, pT"):
        selection_factors(data, mc)


def test_script_turns_tables_into_factors(table, tmp_path):
    path, data, mc = table
    contents = []
    for name in ("a.json.gz", "b.json.gz"):
        output = tmp_path / name
        arguments = ["tables", str(path), "--selection", str(path), "--pt-step", "1"]
        arguments += ["-o", str(output)]
        result = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert "192 fits, chi2/ndf" in result.output
        contents.append(output.read_bytes())
    assert contents[0] == contents[1]
    description = correctionlib.CorrectionSet.from_file(str(output))._data
    assert f"trigger.csv, sha256 {file_digest(path)}" in description
    assert "not inflated" in description
    steps = [open_step(output, name) for name in ("selection", "trigger")]
    found = muon_factors(steps, [1, -1], [0.05, -2.35], [40.1, 26.1])
    factors, _ = trigger_factors(data, mc, pt_step=1.0)
    for i, (c, e, j, k) in enumerate([(1, 24, 15, 6), (0, 0, 1, 0)]):
        selection = selection_factors(data, mc).nominal[c, e, k]
        expected = factors.nominal[c, e, j] * selection
        assert_allclose(found.nominal[i], expected, rtol=1e-8)
        assert_allclose(found.stat[i], factors.stat[c, :, e, j], rtol=1e-7)
    assert_array_equal(found.eta_bin, [24, 0])


def test_script_says_what_is_wrong(tmp_path):
    output = tmp_path / "out.json"
    for command, message in {"tables": "no file", "smp18012": "no file"}.items():
        arguments = [command, str(tmp_path / "none"), "-o", str(output)]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 1
        assert message in result.output


# ---- histograms of SMP-18-012


def make_smp_file(path, folder, shift=0.0):
    """A small file of the layout of SMP-18-012, and its contents."""
    rng = np.random.default_rng(11)
    pt = np.linspace(25.0, 55.0, 4)
    wide = np.round(np.linspace(-2.5, 2.5, 51), 10) + shift
    contents = {"Reco": (rng.normal(0.98, 0.01, (6, 3)), np.linspace(-2.4, 2.4, 7), pt)}
    for name in ("Plus", "Minus"):
        values = rng.normal(0.95, 0.02, (48, 3))
        contents[f"Trigger{name}"] = (values, TOY_ETA, pt)
        for i in range(3):
            key = f"ratios/Trigger{name}Syst{i}Ratio" if folder else None
            ratio = rng.normal(0.0, 0.01, (50, 6))
            finer = np.linspace(25.0, 55.0, 7)
            contents[key or f"Trigger{name}Syst{i}"] = (ratio, wide, finer)
    with uproot.recreate(path) as file:
        for key, content in contents.items():
            file[key] = content
    return contents


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize("inflate", [True, False])
def test_smp_histograms_are_looked_up(tmp_path, folder, inflate):
    path, output = tmp_path / "factors.root", tmp_path / "smp.json"
    contents = make_smp_file(path, folder)
    option = "--inflate" if inflate else "--no-inflate"
    arguments = ["smp18012", str(path), option, "-o", str(output)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    check_smp(output, contents, folder, np.sqrt(2.0) if inflate else 1.0)


def check_smp(output, contents, folder, inflation, n=300):
    """Compare a correction file to look-ups in the histograms it was made of."""
    steps = [open_step(output, name) for name in ("selection", "trigger")]
    charge, eta, pt = muons(n)
    found = muon_factors(steps, charge, eta, pt)
    ratio = "ratios/Trigger{}Syst{}Ratio" if folder else "Trigger{}Syst{}"

    def value(key, e, p):
        values, eta_edges, pt_edges = contents[key]
        e = min(max(e, -2.4), 2.3999)
        return values[bin_of(eta_edges, e), bin_of(pt_edges, p)]

    for i, (q, e, p) in enumerate(zip(charge, eta, pt, strict=True)):
        name = "Plus" if q > 0 else "Minus"
        nominal = value("Reco", e, p) * value(f"Trigger{name}", e, p)
        assert_allclose(found.nominal[i], nominal, rtol=3e-8)
        for k in range(3):
            expected = inflation * value(ratio.format(name, k), e, p)
            assert_allclose(found.stat[i, k], expected, rtol=2e-7)
        assert found.eta_bin[i] == bin_of(TOY_ETA, e)


def test_smp_ratios_in_other_bins_are_refused(tmp_path):
    path = tmp_path / "factors.root"
    make_smp_file(path, folder=True, shift=0.05)
    with pytest.raises(ConfigError, match=r"Syst0Ratio has eta bins from -2\.45 to 2"):
        smp18012_factors(path)


SMP_FILES = {"ScaleFactors.root": True, "ScaleFactors_OnTheFly.root": False}


@needs_files
@pytest.mark.parametrize("name", SMP_FILES)
def test_smp18012_file_is_looked_up_and_has_its_known_means(tmp_path, name):
    path, output = DATA / "smp18012_sf" / name, tmp_path / "smp.json.gz"
    arguments = ["smp18012", str(path), "--inflate", "-o", str(output)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    with uproot.open(path) as file:
        keys = file.keys(cycle=False, filter_classname="TH2*")
        contents = {key: file[key].to_numpy() for key in keys}
    # Edges such as -1.9000000000000004 are an accident of the axis.
    rounded = {k: (v, *(np.round(e, 9) for e in x)) for k, (v, *x) in contents.items()}
    check_smp(output, rounded, SMP_FILES[name], np.sqrt(2.0), n=1000)
    factors = smp18012_factors(path)
    # Means from ../shared/data/README.md.
    assert_allclose(factors["selection"].nominal.mean(), 0.9787, atol=5e-5)
    means = factors["trigger"].nominal.mean(axis=(1, 2))
    assert_allclose(means, [0.9835, 0.9824], atol=5e-5)


@needs_files
def test_up_histograms_of_smp18012_combine_different_bins():
    """Why the builder does not use them: see `smp18012_factors`."""
    with uproot.open(DATA / "smp18012_sf/ScaleFactors.root") as file:
        ratio = file["ratios/TriggerPlusSyst1Ratio"].values()
        up, nominal = (file[f"TriggerPlus{k}"].values() for k in ("Syst1Up", ""))
    relative = up / nominal - 1
    assert_allclose(relative, ratio[:48, :150], atol=1e-12)  # by bin number
    in_same_bin = ratio[1:49].reshape(48, 150, 2).mean(axis=2)
    assert np.abs(relative - in_same_bin).max() > 0.003
