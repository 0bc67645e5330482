"""The builder of the boson's weights, on small spectra and those of SMP-17-010."""

import csv

import hist
import numpy as np
import pytest
import uproot
from click.testing import CliRunner
from numpy.testing import assert_allclose, assert_array_equal

from corrections.boson_spectra import Spectra, read_spectra
from corrections.build_boson import build_boson, main, spectrum_weights
from corrections.common import Histogram
from tests.corrections.boson_examples import QT_EDGES, SPECTRA, bosons, write_boson
from tests.corrections.shared_data import DATA, needs_data
from wprops.corrections.boson import ABSY, QT, VARIATIONS, boson_weights, open_boson
from wprops.errors import ConfigError
from wprops.provenance import file_digest

needs_files = needs_data("smp18012_sf")


@pytest.mark.parametrize("content", ["density", "events"])
@pytest.mark.parametrize("name", [QT, ABSY])
def test_mean_weight_over_the_simulation_is_one(name, content):
    data, simulation = SPECTRA[name]
    events = simulation.values.copy()
    if content == "density":
        events *= np.diff(simulation.edges[0])
    for weights in spectrum_weights(data, simulation, content).values():
        assert weights @ events / events.sum() == pytest.approx(1.0, rel=1e-14)


def test_weighted_simulation_has_the_shape_of_data():
    data, simulation = SPECTRA[QT]
    weights = spectrum_weights(data, simulation, "density")["nominal"]
    ratio = weights * simulation.values / data.values
    assert_allclose(ratio, ratio[0], rtol=1e-14)


def test_densities_and_events_of_the_same_spectrum_give_the_same_weights():
    widths = np.diff(QT_EDGES)
    events = Spectra(
        *(
            Histogram.from_arrays(h.values * widths, QT_EDGES, errors=h.errors * widths)
            for h in SPECTRA[QT]
        )
    )
    expected = spectrum_weights(*SPECTRA[QT], "density")
    for variation, found in spectrum_weights(*events, "events").items():
        assert_allclose(found, expected[variation], rtol=1e-13)
    # The wrong choice changes the sum over bins, and with it the cross section.
    wrong = spectrum_weights(*SPECTRA[QT], "events")["nominal"]
    assert np.abs(wrong / expected["nominal"] - 1).max() > 0.01


def test_normalisation_of_the_spectra_does_not_matter():
    data, simulation = SPECTRA[QT]
    scaled = Histogram.from_arrays(
        1e6 * data.values, QT_EDGES, errors=1e6 * data.errors
    )
    expected = spectrum_weights(data, simulation, "density")
    for variation, found in spectrum_weights(scaled, simulation, "density").items():
        assert_allclose(found, expected[variation], rtol=1e-13)


def test_an_error_that_all_bins_share_changes_nothing():
    data, simulation = SPECTRA[QT]
    common = Histogram.from_arrays(data.values, QT_EDGES, errors=0.025 * data.values)
    weights = spectrum_weights(common, simulation, "density")
    for variation in ("up", "down"):
        assert_allclose(weights[variation], weights["nominal"], rtol=1e-13)


GOOD = Histogram.from_arrays([1.0, 2.0], [0.0, 1.0, 3.0], errors=[0.1, 0.1])


@pytest.mark.parametrize(
    ("data", "simulation", "message"),
    [
        (
            GOOD,
            Histogram.from_arrays([1, 2], [0, 1, 4]),
            "different bins .*to 4",
        ),
        (GOOD, Histogram.from_arrays([1, 2, 3], [0, 1, 3, 4]), "different bins .*3 bi"),
        (GOOD, Histogram.from_arrays([1, 0], [0, 1, 3]), "0 events from 1 to 3, expec"),
        (Histogram.from_arrays([-1, 2], [0, 1, 3]), GOOD, "-1 events from 0 to 1"),
        (
            Histogram.from_arrays([1, 2], [0, 1, 3], errors=[0.1, 2.5]),
            GOOD,
            "-1 events from 1 to 3, .*less their error; merge",
        ),
        (
            Histogram.from_arrays([1, 2], [0, 1, 3], errors=[0.1, -0.1]),
            GOOD,
            "errors from -0.1",
        ),
        (Histogram.from_arrays([[1.0]], [0, 1], [0, 1]), GOOD, "has 2 dimensions"),
    ],
)
def test_spectra_that_do_not_fit_are_named(data, simulation, message):
    with pytest.raises(ConfigError, match=message):
        spectrum_weights(data, simulation, "density")


def test_a_signed_variable_is_refused():
    signed = Histogram.from_arrays([1.0, 1.0], [-2.4, 0.0, 2.4])
    with pytest.raises(ConfigError, match=r"starts at -2.4, but absy is 0 or more"):
        build_boson(ABSY, Spectra(signed, signed), "density")


HEADER = "low,high,data,error,simulation"


def write_table(path, spectra, header=HEADER):
    data, simulation = spectra
    edges = data.edges[0]
    columns = (edges[:-1], edges[1:], data.values, data.errors, simulation.values)
    with path.open("w", newline="") as file:
        file.write(f"{header}\n")
        csv.writer(file).writerows(np.transpose(columns).tolist())
    return path


def test_table_is_read_back(tmp_path):
    path = write_table(tmp_path / "qt.csv", SPECTRA[QT])
    path.write_text(path.read_text() + "\n")  # an empty line at the end
    for found, expected in zip(read_spectra(path), SPECTRA[QT], strict=True):
        assert_array_equal(found.values, expected.values)
        assert_array_equal(found.errors, expected.errors)
        assert_array_equal(found.edges[0], expected.edges[0])


def test_columns_have_the_names_that_the_user_gives(tmp_path):
    path = write_table(tmp_path / "qt.csv", SPECTRA[QT], "# low, high,mc,mc_err,data")
    found = read_spectra(path, ("low", "high", "data", "mc_err", "mc"))
    assert_array_equal(found.data.values, SPECTRA[QT].simulation.values)
    assert_array_equal(found.data.errors, SPECTRA[QT].data.errors)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "0 lines with the columns , expected some with low, high"),
        (HEADER, "0 lines with the columns low"),
        ("low,high,data,error\n0,1,2,3", "columns low, high, data, error, expected so"),
        (f"{HEADER},data\n0,1,2,3,4,5", "each once"),
        (f"{HEADER}\n0,1,2,3,x", "could not convert string to float: 'x'; every"),
        (f"{HEADER}\n0,1,2,3", "every entry has to be a number"),
        (f"{HEADER}\n0,1,2,1,4\n1.5,2,3,1,5", "ends at 1 and the next starts at 1.5"),
        (f"{HEADER}\n0,1,2,1,4\n1,1,3,1,5", "edges do not increase"),
        (f"{HEADER}\n0,1,nan,1,4", "table.csv, data: found NaN"),
    ],
)
def test_tables_with_errors_are_named(tmp_path, content, message):
    path = tmp_path / "table.csv"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_spectra(path)
    with pytest.raises(ConfigError, match="no file"):
        read_spectra(tmp_path / "none.csv")


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_script_builds_the_same_from_tables_and_histograms(tmp_path):
    tables = [
        write_table(tmp_path / f"{name}.csv", pair) for name, pair in SPECTRA.items()
    ]
    root = tmp_path / "spectra.root"
    with uproot.recreate(root) as file:
        for name, (data, simulation) in SPECTRA.items():
            h = hist.Hist(hist.axis.Variable(data.edges[0]), storage="weight")
            h.values()[...], h.variances()[...] = data.values, data.errors**2
            file[f"{name}_data"] = h
            file[f"{name}_mc"] = simulation.values, simulation.edges[0]
    pairs = [[f"{root}:{name}_{s}" for s in ("data", "mc")] for name in SPECTRA]
    commands = {
        "a.json": ("tables", "--qt", tables[0], "--absy", tables[1]),
        "b.json": ("tables", "--qt", tables[0], "--absy", tables[1]),
        "root.json": ("histograms", "--qt", *pairs[0], "--absy", *pairs[1]),
    }
    for name, command in commands.items():
        result = run(*command, "--content", "density", "-o", tmp_path / name)
        assert result.exit_code == 0, result.output
        assert "boson_qt: weights 0." in result.output
    first, second, other = ((tmp_path / name).read_text() for name in commands)
    assert first == second
    qt, absy = bosons(100)
    expected = boson_weights(write_boson(tmp_path / "c.json", SPECTRA), qt, absy)
    for name in ("a.json", "root.json"):
        found = boson_weights(open_boson(tmp_path / name), qt, absy)
        for variation in VARIATIONS:
            assert_allclose(found[variation], expected[variation], rtol=1e-8)
    assert "data over simulation, contents of the bins taken as density" in first
    assert f"boson_qt.csv, sha256 {file_digest(tables[0])}" in first
    assert "boson_qt_data over boson_qt_mc, boson_absy_data over boson" in other
    assert f"spectra.root, sha256 {file_digest(root)}" in other


def test_script_says_what_is_wrong(tmp_path):
    table = write_table(tmp_path / "qt.csv", SPECTRA[QT])
    output = "-o", tmp_path / "out.json"
    density = "--content", "density"
    for arguments, message in (
        (("tables", "--qt", table, *output), "Missing option '--content'"),
        (("tables", *density, *output), "neither --qt nor --absy"),
        (
            ("tables", "--qt", table, "--columns", "a,b", *density, *output),
            "found 2 columns, expected those for low, high",
        ),
        (("tables", "--qt", "none.csv", *density, *output), "no file none.csv"),
        (
            ("histograms", "--qt", "no.root:a", "no.root:b", *density, *output),
            "no file no.root",
        ),
    ):
        result = run(*arguments)
        assert result.exit_code != 0
        assert message in result.output


# ---- the spectra of SMP-17-010

PUBLIC = ("low", "high", "data_unfolded", "data_err", "aMCatNLO")
TABLES = {
    QT: DATA / "smp18012_sf/z_qt_SMP17010_unfold_vs_MC.csv",
    ABSY: DATA / "smp18012_sf/z_absy_SMP17010_unfold_vs_MC.csv",
}


def original_weights(spectra):
    """Weights normalised with plain sums of the densities, as the thesis has them."""
    data, simulation = (spectrum.values for spectrum in spectra)
    return data / simulation * simulation.sum() / data.sum()


def mean_weight(weights, simulation):
    """Mean over simulated events: densities times widths."""
    events = simulation.values * np.diff(simulation.edges[0])
    return weights @ events / events.sum()


@needs_files
@pytest.mark.parametrize(("name", "original"), [(QT, 0.9724), (ABSY, 1.0)])
def test_plain_sums_lose_events_and_ours_do_not(name, original):
    spectra = read_spectra(TABLES[name], PUBLIC)
    with TABLES[name].open() as file:
        stored = [float(row["weight_as_in_code"]) for row in csv.DictReader(file)]
    theirs = original_weights(spectra)
    assert_allclose(theirs, stored, rtol=1e-6)
    assert mean_weight(theirs, spectra.simulation) == pytest.approx(original, abs=5e-5)
    ours = spectrum_weights(*spectra, "density")
    for weights in ours.values():
        assert mean_weight(weights, spectra.simulation) == pytest.approx(1.0, rel=1e-12)
    # Both have the same shape, and --content events is what the original did.
    ratio = ours["nominal"] / theirs
    assert_allclose(ratio, ratio[0], rtol=1e-12)
    events = spectrum_weights(*spectra, "events")["nominal"]
    assert_allclose(events, theirs, rtol=1e-12)


@needs_files
def test_tables_and_root_files_of_smp17010_give_the_same_weights(tmp_path):
    outputs = [tmp_path / "tables.json", tmp_path / "root.json"]
    options = "--content", "density", "-o"
    columns = "--columns", ",".join(PUBLIC)
    given = "--qt", TABLES[QT], "--absy", TABLES[ABSY]
    result = run("tables", *given, *columns, *options, outputs[0])
    assert result.exit_code == 0, result.output
    where = f"{DATA}/smp18012_sf/histoUnfoldingSyst{{0}}_nsel2_dy3_rebin1_default.root:"
    keys = ("unfold", "hDDil{0}LL")
    pairs = [[(where + key).format(kind) for key in keys] for kind in ("Pt", "Rap")]
    given = "--qt", *pairs[0], "--absy", *pairs[1]
    result = run("histograms", *given, *options, outputs[1])
    assert result.exit_code == 0, result.output
    qt, absy = bosons(1000)
    first, second = (boson_weights(open_boson(path), 10 * qt, absy) for path in outputs)
    for variation in VARIATIONS:
        # The tables have eight digits.
        assert_allclose(first[variation], second[variation], rtol=1e-6)
