import json

import correctionlib
import numpy as np
import pytest
import uproot
from click.testing import CliRunner
from numpy.testing import assert_allclose, assert_array_equal

from corrections.build_pileup import build_pileup, main, pileup_ratio
from corrections.common import Histogram, read_histogram, write_set
from tests.corrections.shared_data import DATA, needs_data
from wprops.corrections.pileup import open_pileup, pileup_weights
from wprops.errors import ConfigError, InputError

needs_files = needs_data("pileup")

EDGES = np.arange(6.0)
PROFILES = {
    "nominal": Histogram.from_arrays([10, 30, 40, 20, 0], EDGES),
    "up": Histogram.from_arrays([5, 25, 40, 30, 0], EDGES),
    "down": Histogram.from_arrays([20, 35, 30, 15, 0], EDGES),
}
MC = Histogram.from_arrays([1, 2, 1, 1, 0], EDGES)


@pytest.fixture
def own_file(tmp_path):
    path = tmp_path / "pileup.json"
    write_set(path, [build_pileup(PROFILES, MC)], "A test", [])
    return path


def test_weight_is_the_ratio_of_the_normalised_profiles():
    weights, lost = pileup_ratio(PROFILES["nominal"], MC)
    assert_allclose(weights, [0.1 / 0.2, 0.3 / 0.4, 0.4 / 0.2, 0.2 / 0.2, 0.0])
    assert lost == 0.0


def test_mean_weight_of_the_simulation_is_one_even_if_some_data_are_lost():
    data = Histogram.from_arrays([1000.0, 3000, 4000, 1996, 4], EDGES)
    weights, lost = pileup_ratio(data, MC)
    assert_allclose(lost, 4e-4)
    assert weights[4] == 0.0
    assert_allclose(weights @ MC.values / MC.values.sum(), 1.0, rtol=1e-14)


def test_normalisation_of_the_profiles_does_not_matter():
    scaled = Histogram.from_arrays(1e9 * PROFILES["up"].values, EDGES)
    expected, _ = pileup_ratio(PROFILES["up"], MC)
    assert_allclose(pileup_ratio(scaled, MC)[0], expected, rtol=1e-14)


@pytest.mark.parametrize("n", [4, 7])
def test_profiles_may_end_at_different_bins(n):
    data = Histogram.from_arrays(
        np.pad(PROFILES["nominal"].values, (0, 2))[:n], np.arange(n + 1.0)
    )
    expected, _ = pileup_ratio(PROFILES["nominal"], MC)
    assert_allclose(pileup_ratio(data, MC)[0], expected)


def test_evaluator_agrees_with_a_loop(own_file):
    n_true = np.random.default_rng(1).uniform(0.0, 9.0, 500)
    found = pileup_weights(open_pileup(own_file), n_true)
    for variation, profile in PROFILES.items():
        for n, weight in zip(n_true, found[variation], strict=True):
            i = min(int(n), 4)  # the last bin continues
            mc = MC.values[i] / 5.0
            expected = profile.values[i] / profile.values.sum() / mc if mc else 0.0
            assert_allclose(weight, expected, rtol=1e-8)


def test_reweighted_simulation_has_the_distribution_of_data(own_file):
    rng = np.random.default_rng(2)
    n_true = rng.choice(EDGES[:-1], 200_000, p=MC.values / MC.values.sum())
    for variation, weight in pileup_weights(open_pileup(own_file), n_true).items():
        found = np.bincount(n_true.astype(int), weight, minlength=5) / len(n_true)
        target = PROFILES[variation].values / PROFILES[variation].values.sum()
        # 4 standard deviations: per bin below sqrt(w p / n) with w up to 2.
        assert_allclose(found, target, atol=4 * np.sqrt(2 * 0.4 / len(n_true)))


def test_own_file_can_be_read_without_wprops(own_file):
    correction = correctionlib.CorrectionSet.from_file(str(own_file))["pileup"]
    assert_allclose(correction.evaluate(2.5, "nominal"), 2.0)
    assert correction.version == 1


def test_script_builds_the_same_from_root_files(tmp_path, own_file):
    path = tmp_path / "profiles.root"
    with uproot.recreate(path) as file:
        for name, profile in {**PROFILES, "mc": MC}.items():
            file[name] = profile.values, EDGES
    where = [f"{path}:{name}" for name in ("nominal", "mc", "up", "down")]
    output = tmp_path / "script.json"
    arguments = [*where[:2], "--up", where[2], "--down", where[3], "-o", str(output)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    written, expected = (json.loads(p.read_text()) for p in (output, own_file))
    assert written["corrections"] == expected["corrections"]


def test_variation_that_is_not_in_the_file_is_named(tmp_path):
    path = tmp_path / "nominal.json"
    write_set(path, [build_pileup({"nominal": PROFILES["nominal"]}, MC)], "A test", [])
    correction = open_pileup(path)
    assert_array_equal(pileup_weights(correction, [2.0], ["nominal"])["nominal"], 2.0)
    with pytest.raises(ConfigError, match=r"lacks one .* nominal, up, down.*--up"):
        pileup_weights(correction, [2.0])


@pytest.mark.parametrize(
    ("n_true", "message"),
    [
        ([1.0, np.nan], r"n_true\[1\] is nan, expected a finite number .1 of 2"),
        ([1.0, -99.0], r"n_true\[1\] is -99.*simulated"),
        ([[1.0]], r"n_true \(1, 1\); expected flat"),
    ],
)
def test_impossible_interactions_are_named(own_file, n_true, message):
    with pytest.raises(InputError, match=message):
        pileup_weights(open_pileup(own_file), n_true)


def test_no_events_have_no_weights(own_file):
    assert pileup_weights(open_pileup(own_file), [])["up"].shape == (0,)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Histogram.from_arrays([1, 1, 1], [-0.5, 0.5, 1.5, 2.5]), "different bins"),
        (Histogram.from_arrays([1, -1, 1], [0, 1, 2, 3]), "neither negative"),
        (Histogram.from_arrays([0, 0], [0, 1, 2]), "nor empty"),
        (Histogram.from_arrays([1, 1, 1, 1, 1], EDGES), "20.00% of arrays"),
        (Histogram.from_arrays([[1.0]], [0, 1], [0, 1]), "one-dimensional"),
    ],
)
def test_profiles_that_do_not_fit_are_refused(data, message):
    with pytest.raises(ConfigError, match=message):
        pileup_ratio(data, MC)


def test_script_wants_both_variations_and_files(tmp_path):
    arguments = ["x.root:a", "x.root:b", "-o", str(tmp_path / "out.json")]
    result = CliRunner().invoke(main, [*arguments, "--up", "x.root:c"])
    assert "both --up and --down" in result.output
    result = CliRunner().invoke(main, arguments)
    assert "Error: there is no file x.root" in result.output


#: nTrue = 10, 23, 40, from ../shared/data/README.md.
POG_VALUES = {"pre": [1.1483, 1.0434, 0.5787], "post": [0.2317, 1.0070, 2.2086]}


@needs_files
@pytest.mark.parametrize("era", ["pre", "post"])
def test_pog_file_is_evaluated(era):
    correction = open_pileup(
        DATA / f"pog/2016{era}VFP_UL_puWeights.json.gz",
        "Collisions16_UltraLegacy_goldenJSON",
    )
    found = pileup_weights(correction, [10, 23, 40])
    assert_allclose(found["nominal"], POG_VALUES[era], atol=5e-5)


@needs_files
@pytest.mark.parametrize("era", ["pre", "post"])
def test_builder_reproduces_the_pog_file_from_its_profiles(era):
    folder, name = DATA / "pileup", "PileupHistogram-goldenJSON-13tev-2016-"
    sections = {"nominal": 69200, "up": 72400, "down": 66000}
    mc = read_histogram(f"{folder}/mcPileupUL2016.root:pu_mc")
    pog = open_pileup(
        DATA / f"pog/2016{era}VFP_UL_puWeights.json.gz",
        "Collisions16_UltraLegacy_goldenJSON",
    )
    n_true = np.arange(99) + 0.5
    for variation, expected in pileup_weights(pog, n_true).items():
        where = f"{folder}/{name}{era}VFP-{sections[variation]}ub-99bins.root:pileup"
        weights, lost = pileup_ratio(read_histogram(where), mc)
        occupied = mc.values[:99] > 0
        assert lost < 1e-8
        # The profile is stored in single precision.
        assert_allclose(weights[:99][occupied], expected[occupied], rtol=1e-6)
        # Where there is no simulation the POG has 1 and this project 0.
        assert_array_equal(expected[~occupied], 1.0)
        assert_array_equal(weights[:99][~occupied], 0.0)


@needs_files
def test_profiles_of_2016_rereco_give_the_mean_of_data():
    folder = DATA / "pileup"
    mc = read_histogram(f"{folder}/pileup_profile_Summer16.root:pu_mc")
    where = f"{folder}/PileupData_GoldenJSON_Full2016.root"
    centre = np.arange(75) + 0.5
    # Means from ../shared/data/README.md, which counts bin centres.
    assert_allclose(mc.values @ centre / mc.values.sum(), 24.985, atol=6e-4)
    weights, _ = pileup_ratio(read_histogram(f"{where}:pileup"), mc)
    reweighted = weights * mc.values
    assert_allclose(reweighted @ centre / reweighted.sum(), 23.155, atol=6e-4)


@needs_files
def test_profiles_with_shifted_bins_are_refused():
    folder = DATA / "pileup"
    with pytest.raises(ConfigError, match=r"different bins.*-0\.5"):
        pileup_ratio(
            read_histogram(f"{folder}/pileup_2016BF.root:pileup"),
            read_histogram(f"{folder}/pileup_profile_Summer16.root:pu_mc"),
        )
