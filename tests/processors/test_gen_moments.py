"""Generated moments against the truth of the toy, and against a slow sum."""

import dataclasses

import numpy as np
import pytest
import uproot
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from processors.gen_moments import MomentProcessor
from tests.events.nano import dataset, open_nano, open_sample, toy_catalog, write_mixed
from wprops.axes import COARSE
from wprops.errors import InputError, TemplateError
from wprops.events.samples import Sample, read_samples
from wprops.events.toy.theory import member
from wprops.events.toy.truth import ToyTruth, bin_truth, coefficients, density
from wprops.events.toy.yields import CROSS_SECTION_SCALES
from wprops.execution.run import run
from wprops.moment_maps import MomentMaps
from wprops.physics.collins_soper import boson_and_angles
from wprops.systematics.catalog import SCALES as MEMBERS
from wprops.systematics.catalog import Available, declare

TRUTH = ToyTruth()
CHARGES = {"Wplus": 1, "Wminus": -1, "Z": 0}
SAMPLES = {"Wplus": "Wplus_mu", "Wminus": "Wminus_mu", "Z": "Z_mumu"}
#: The toy's Z stands for more than the boson of its truth.
SCALES = {name: CROSS_SECTION_SCALES[sample] for name, sample in SAMPLES.items()}
FACTORS = np.array([20 / 3, 5, 20, 4, 4, 5, 5, 4])
#: A fixed seed leaves no chance: a smaller p-value would be a mistake.
P_MIN = 1e-3


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return toy_catalog(
        tmp_path_factory.mktemp("toy"),
        events=60_000,
        seed=77,
        samples=["Wplus_mu", "Wminus_mu", "Z_mumu", "Wplus_tau", "top"],
        events_per_file=25_000,
        fsr=True,
        negative_fraction=0.05,
    )


def produce(catalog, folder, binning=COARSE):
    chosen = MomentProcessor.from_catalog(catalog, binning)
    result = run(catalog, chosen, progress=False)
    path = folder / "moments.h5"
    chosen.save(result, path)
    return MomentMaps.read(path)


@pytest.fixture(scope="module")
def maps(catalog, tmp_path_factory):
    return produce(catalog, tmp_path_factory.mktemp("maps"))


@pytest.fixture(scope="module")
def events(catalog):
    """Bosons, weights and members of each sample, straight from the files."""
    return {name: read_events(catalog, sample) for name, sample in SAMPLES.items()}


def read_events(catalog, name):
    record = catalog.dataset(name)
    columns = {}
    for file in record.files:
        with uproot.open(file) as root:
            tree = root["Events"]
            momenta = [tree[f"GenPart_{n}"].array() for n in ("pt", "eta", "phi")]
            found = {
                # In the toy's list the leptons before radiation follow the boson.
                **{
                    f"{particle} {k}": momentum[:, place].to_numpy()
                    for place, particle in ((1, "lepton"), (2, "other"))
                    for k, momentum in enumerate(momenta)
                },
                "weight": tree["genWeight"].array().to_numpy().astype(float),
                "members": tree["LHEPdfWeight"].array().to_numpy().astype(float),
                "scales": tree["LHEScaleWeight"].array().to_numpy().astype(float),
            }
        for key, values in found.items():
            columns.setdefault(key, []).append(values)
    columns = {key: np.concatenate(values) for key, values in columns.items()}
    columns["weight"] *= record.xsec / columns["weight"].sum()
    columns["boson"] = boson_and_angles(
        [columns[f"lepton {k}"] for k in range(3)],
        [columns[f"other {k}"] for k in range(3)],
    )
    return columns


def in_bin(boson, iy, iqt):
    absy = np.abs(boson.y)
    low_y, high_y = COARSE.absy[iy : iy + 2]
    low_qt, high_qt = COARSE.qt[iqt : iqt + 2]
    return (
        (absy >= low_y) & (absy < high_y) & (boson.qt >= low_qt) & (boson.qt < high_qt)
    )


def harmonics(c, phi):
    s = np.sqrt(1 - c * c)
    return np.array(
        [
            (1 - 3 * c * c) / 2,
            2 * s * c * np.cos(phi),
            s * s * np.cos(2 * phi) / 2,
            s * np.cos(phi),
            c,
            s * s * np.sin(2 * phi),
            2 * s * c * np.sin(phi),
            s * np.sin(phi),
        ]
    )


@pytest.mark.parametrize("name", CHARGES)
def test_cross_sections_are_those_of_the_truth(maps, name):
    sigma, _ = bin_truth(TRUTH, CHARGES[name], COARSE.qt, COARSE.absy)
    found = maps.boson(name)
    pulls = (found.sigma["nominal"] - SCALES[name] * sigma) / found.sigma_error
    assert stats.chi2.sf((pulls**2).sum(), pulls.size) > P_MIN
    # The errors are no fiction either: bins are few, so the band is wide.
    assert (pulls**2).sum() > stats.chi2.ppf(P_MIN, pulls.size)


@pytest.mark.parametrize("name", CHARGES)
def test_coefficients_are_those_of_the_truth_with_their_covariance(maps, name):
    _, truth = bin_truth(TRUTH, CHARGES[name], COARSE.qt, COARSE.absy)
    found = maps.boson(name)
    difference = found.coefficients["nominal"] - truth
    chi2 = 0.0
    for iy, iqt in np.ndindex(3, 3):
        d = difference[:, iy, iqt]
        chi2 += d @ np.linalg.solve(found.covariance[:, :, iy, iqt], d)
    assert P_MIN < stats.chi2.sf(chi2, 72) < 1 - P_MIN
    for i in range(8):
        pulls = difference[i] / found.errors[i]
        assert stats.chi2.sf((pulls**2).sum(), 9) > P_MIN, f"A{i}"


def test_coefficients_of_opposite_bosons_differ_as_they_should(maps):
    plus, minus, z = (maps.boson(n).coefficients["nominal"] for n in CHARGES)
    assert (plus[4] < 0).all()
    assert (minus[4] > 0).all()
    # At high |Y| the Z has a tenth of the asymmetry of the W.
    assert (np.abs(z[4, 2]) < np.abs(minus[4, 2])).all()


@pytest.mark.parametrize("name", CHARGES)
@pytest.mark.parametrize(
    "label",
    ["nominal", "pdf_02_up", "alphas_up", "alphas_down", "scale_0_up", "scale_7_up"],
)
def test_maps_are_the_slow_sums(catalog, maps, events, name, label):
    columns = events[name]
    boson, weight = columns["boson"], columns["weight"]
    weight = weight * relative(catalog, columns, label)
    P = harmonics(boson.costheta, boson.phistar)
    found = maps.boson(name)
    for iy, iqt in np.ndindex(3, 3):
        chosen = in_bin(boson, iy, iqt)
        w = weight[chosen]
        means = (w * P[:, chosen]).sum(axis=1) / w.sum()
        A = FACTORS * means
        A[0] += 2 / 3
        # Thousands of weights summed in another order; directions of the parton
        # densities are sums in single precision.
        rounding = 1e-8 if label.startswith("pdf") else 1e-10
        assert_allclose(found.sigma[label][iy, iqt], w.sum(), rtol=rounding)
        assert_allclose(found.coefficients[label][:, iy, iqt], A, atol=rounding)
        if label == "nominal":
            error = np.sqrt((w**2).sum())
            assert_allclose(found.sigma_error[iy, iqt], error, rtol=1e-10)
            spread = FACTORS[:, None] * (P[:, chosen] - means[:, None]) * w / w.sum()
            assert_allclose(
                found.covariance[..., iy, iqt], spread @ spread.T, atol=1e-9
            )
            assert_allclose(
                found.errors[:, iy, iqt] ** 2, (spread**2).sum(axis=1), rtol=1e-8
            )


def relative(catalog, columns, label):
    members = columns["members"]
    if label == "nominal":
        return 1.0
    if label.startswith("alphas"):
        return members[:, 101 if label == "alphas_up" else 100]
    if label.startswith("scale"):
        return columns["scales"][:, int(label[6])] / columns["scales"][:, 4]
    matrix = np.loadtxt(catalog.datasets[0].weights.pdf.hessian, delimiter=",")
    return 1 + (members[:, :100] - 1) @ matrix[:, int(label[4:6]) - 1]


def bin_means(charge, iy, iqt, functions):
    """Means of functions of (qT, |Y|) over a bin, weighted by the cross section."""
    absy = np.linspace(*COARSE.absy[iy : iy + 2], 81)
    qt = np.linspace(*COARSE.qt[iqt : iqt + 2], 241)
    grid_y, grid_qt = np.meshgrid(absy, qt, indexing="ij")
    weight = density(TRUTH, charge, grid_qt, grid_y)

    def integral(values):
        return np.trapezoid(np.trapezoid(values, qt), absy)

    return [
        integral(weight * function(grid_qt, grid_y)) / integral(weight)
        for function in functions
    ]


@pytest.mark.parametrize("name", CHARGES)
@pytest.mark.parametrize("label", ["alphas_up", "alphas_down", "scale_5_up"])
def test_theory_changes_the_maps_as_the_truth_says(maps, events, name, label):
    charge, columns, found = CHARGES[name], events[name], maps.boson(name)
    boson, weight = columns["boson"], columns["weight"]
    ratio = relative(None, columns, label)
    truth = label.removesuffix("_up") if label.startswith("scale") else label
    P = harmonics(boson.costheta, boson.phistar)
    pulls = []
    for iy, iqt in np.ndindex(3, 3):

        def varied(k):
            return lambda qt, y, k=k: (
                member(TRUTH, truth, charge, qt, y).sigma_ratio
                * member(TRUTH, truth, charge, qt, y).coefficients[k]
            )

        expected, a0, a4 = bin_means(
            charge,
            iy,
            iqt,
            [
                lambda qt, y: member(TRUTH, truth, charge, qt, y).sigma_ratio,
                varied(0),
                varied(4),
            ],
        )
        nominal = bin_means(
            charge,
            iy,
            iqt,
            [lambda qt, y, k=k: coefficients(TRUTH, charge, qt, y)[k] for k in (0, 4)],
        )
        chosen = in_bin(boson, iy, iqt)
        w, r = weight[chosen], ratio[chosen]
        sigma = found.sigma[label][iy, iqt] / found.sigma["nominal"][iy, iqt]
        error = np.sqrt((w**2 * (r - r.mean()) ** 2).sum()) / w.sum()
        pulls.append((sigma - expected) / error)
        # The same events make both maps, so that their difference is known well.
        for i, value, start in ((0, a0, nominal[0]), (4, a4, nominal[1])):
            change = (
                found.coefficients[label][i, iy, iqt]
                - found.coefficients["nominal"][i, iy, iqt]
            )
            a = FACTORS[i] * P[i, chosen] + (2 / 3 if i == 0 else 0)
            spread = r / r.mean() * (a - value / expected) - (a - start)
            error = np.sqrt((w**2 * (spread - spread.mean()) ** 2).sum()) / w.sum()
            pulls.append((change - (value / expected - start)) / error)
    chi2 = np.square(pulls).sum()
    assert P_MIN < stats.chi2.sf(chi2, 27) < 1 - P_MIN


@pytest.mark.parametrize("name", ["Wplus", "Wminus"])
@pytest.mark.parametrize("label", ["mw_up", "mw_down"])
def test_the_mass_leaves_cross_sections_and_coefficients(maps, events, name, label):
    found, columns = maps.boson(name), events[name]
    pole, width = 80.379, 2.085
    new = pole + (0.05 if label == "mw_up" else -0.05)
    m = columns["boson"].mass
    raw = [m / ((m**2 - p**2) ** 2 + (p * width) ** 2) for p in (pole, new)]
    weight, ratio = columns["weight"], raw[1] / raw[0]
    pulls = []
    for iy, iqt in np.ndindex(3, 3):
        chosen = in_bin(columns["boson"], iy, iqt)
        w, r = weight[chosen], ratio[chosen]
        error = np.sqrt((w**2 * (r - r.mean()) ** 2).sum()) / w.sum()
        change = found.sigma[label][iy, iqt] / found.sigma["nominal"][iy, iqt] - 1
        pulls.append(change / error)
        difference = (
            found.coefficients[label][:, iy, iqt]
            - found.coefficients["nominal"][:, iy, iqt]
        )
        # Weights of 1 ± 0.03 scatter the coefficients by that share of their errors.
        assert (np.abs(difference) < 0.2 * found.errors[:, iy, iqt]).all()
    assert P_MIN < stats.chi2.sf(np.square(pulls).sum(), 9) < 1 - P_MIN


def test_each_boson_has_the_variations_of_its_process(maps):
    theory = [
        *(f"pdf_{k:02d}_up" for k in range(1, 10)),
        *("alphas_up", "alphas_down"),
        *(f"scale_{k}_up" for k in MEMBERS),
    ]
    expected = {
        "Wplus": ["nominal", "mw_up", "mw_down", *theory],
        "Wminus": ["nominal", "mw_up", "mw_down", *theory],
        "Z": ["nominal", *theory],
    }
    assert list(maps.bosons) == list(expected)
    for name, labels in expected.items():
        assert list(maps.boson(name).sigma) == labels
        assert list(maps.boson(name).coefficients) == labels


def test_a_file_holds_what_was_written(maps, tmp_path):
    path = tmp_path / "again.h5"
    maps.write(path)
    again = MomentMaps.read(path)
    assert again.provenance == maps.provenance
    assert list(again.bosons) == list(maps.bosons)
    for name, boson in maps.bosons.items():
        other = again.boson(name)
        for key in ("absy_edges", "qt_edges", "sigma_error", "covariance", "errors"):
            assert_array_equal(getattr(other, key), getattr(boson, key))
        for key in ("sigma", "coefficients"):
            first, second = getattr(boson, key), getattr(other, key)
            assert list(first) == list(second)
            for label, values in first.items():
                assert_array_equal(second[label], values)


def test_the_file_says_what_it_was_made_of(catalog, maps):
    assert maps.provenance["catalog_digest"] == catalog.digest
    assert maps.provenance["processor"] == "MomentProcessor"
    for boson in maps.bosons.values():
        assert_array_equal(boson.absy_edges, COARSE.absy)
        assert_array_equal(boson.qt_edges, COARSE.qt)


def test_a_boson_that_was_not_run_over_is_named(maps):
    with pytest.raises(TemplateError, match="moments of 'H'; the run had Wplus, Wmin"):
        maps.boson("H")


def test_neither_taus_nor_direct_muons_have_moments(catalog):
    chosen = MomentProcessor.from_catalog(catalog, COARSE)
    for name in ("Wplus_tau", "top"):
        out = chosen.process(open_sample(catalog, name))
        assert out[name] == {}


def test_a_run_without_bosons_says_what_is_needed(catalog, tmp_path):
    with pytest.raises(
        InputError, match="no W or Z → μμ was generated in Wplus_tau, top; run over"
    ):
        produce(catalog.only(["Wplus_tau", "top"]), tmp_path)


def test_one_sample_may_hold_all_decays_of_both_charges(tmp_path):
    numbers = {"Wplus_mu": 400, "Wminus_mu": 300, "Wplus_tau": 200}
    path = write_mixed(
        tmp_path / "mixed.root", numbers, TRUTH, seed=5, negative_fraction=0.0
    )
    record = dataset(name="W", process="W")
    binning = dataclasses.replace(COARSE, qt=(0.0, 200.0), absy=(0.0, 5.0))
    chosen = MomentProcessor(
        {"W": Sample(dataset=record)}, declare(Available())[1:], binning
    )
    events = open_nano(path, record=record, normalisation=2.0, chunk=0)
    blocks = chosen.process(events)["W"]
    # All bosons are inside of this bin; the second number is that of the generator.
    assert {name: int(block.entries.sum()) for name, block in blocks.items()} == {
        "Wplus": 400,
        "Wminus": 300,
    }
    assert_allclose(blocks["Wplus"].sums[0, 0], [800.0])


def test_moments_need_no_truth(catalog, maps, tmp_path):
    # Real samples have none.
    real = catalog.model_copy(
        update={
            "datasets": tuple(
                d.model_copy(update={"truth": None}) for d in catalog.datasets
            )
        }
    )
    assert all(sample.truth is None for sample in read_samples(real).values())
    found = produce(real, tmp_path)
    assert_array_equal(
        found.boson("Z").sigma["nominal"], maps.boson("Z").sigma["nominal"]
    )


def test_bins_without_events_have_no_moments(catalog, tmp_path):
    # The toy's bosons end at |Y| = 5 and qT = 200 GeV.
    binning = dataclasses.replace(COARSE, absy=(0.0, 5.0, 6.0), qt=(0.0, 200.0, 300.0))
    found = produce(catalog.only(["Wplus_mu"]), tmp_path, binning).boson("Wplus")
    empty = np.array([[False, True], [True, True]])
    for label in ("nominal", "pdf_01_up", "mw_up"):
        assert_array_equal(found.sigma[label] == 0, empty)
        missing = np.isnan(found.coefficients[label])
        assert_array_equal(missing, np.broadcast_to(empty, missing.shape))
    assert_array_equal(np.isnan(found.errors[3]), empty)
    assert_allclose(found.sigma["nominal"][0, 0], TRUTH.wplus.sigma, rtol=1e-12)
