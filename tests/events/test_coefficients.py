"""Coefficients that a simulation is measured to have, instead of its truth."""

import logging
from dataclasses import replace
from itertools import combinations_with_replacement

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import chi2

from tests.events.nano import dataset
from wprops.axes import COARSE, FULL, Binning
from wprops.catalog import Catalog
from wprops.errors import ConfigError, TemplateError
from wprops.events.coefficients import MeasuredCoefficients
from wprops.events.samples import Sample, read_samples
from wprops.events.toy.events import SAMPLES
from wprops.events.toy.generate import generate
from wprops.events.toy.sampling import sample_bosons
from wprops.events.toy.truth import ToyTruth, bin_truth, coefficients
from wprops.moment_maps import MomentMaps, moment_map
from wprops.physics.harmonics import harmonics
from wprops.physics.moments import helicity_weights
from wprops.templates.filling import bin_index, flat_index

TRUTH = ToyTruth()
N = 2_000_000
BOSONS = {"Wplus": 1, "Wminus": -1}


class Sums:
    """Sums over bosons in cells, one pair of columns at a time."""

    def __init__(self, binning, bosons, one):
        columns = np.ones((9, len(bosons.qt)))
        columns[1:] = harmonics(bosons.costheta, bosons.phistar)
        shape = len(binning.absy) - 1, len(binning.qt) - 1
        cell = flat_index(
            [
                bin_index(np.abs(bosons.y), binning.absy),
                bin_index(bosons.qt, binning.qt),
            ],
            shape,
        )
        inside = cell >= 0
        cell, columns = cell[inside], columns[:, inside] * one

        def total(weights):
            return np.bincount(cell, weights, minlength=binning.n_cells)

        self.sums = np.array([[total(column)] for column in columns])
        self.products = np.empty((9, 9, binning.n_cells))
        for i, j in combinations_with_replacement(range(9), 2):
            self.products[i, j] = self.products[j, i] = total(columns[i] * columns[j])
        self.entries = total(np.ones(len(cell))).astype(np.int64)


def measure(charge, binning=FULL, n=N, seed=1):
    """Maps of a toy, at a luminosity of 1/pb."""
    rng = np.random.default_rng([seed, charge + 1])
    bosons = sample_bosons(TRUTH, charge, n, rng)
    sums = Sums(binning, bosons, TRUTH.boson(charge).sigma / n)
    return moment_map(("nominal",), sums, binning, 1.0)


@pytest.fixture(scope="module")
def maps():
    return {name: measure(charge) for name, charge in BOSONS.items()}


@pytest.fixture(scope="module")
def path(maps, tmp_path_factory):
    path = tmp_path_factory.mktemp("moments") / "moments.h5"
    MomentMaps(maps).write(path)
    return path


@pytest.fixture(scope="module")
def measured(path):
    return MeasuredCoefficients.read(path)


def test_every_fit_is_reported(path, caplog):
    with caplog.at_level(logging.INFO, logger="wprops"):
        MeasuredCoefficients.read(path)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 16
    assert sum("moments.h5: Wminus: A4 with" in line for line in lines) == 1
    assert all("terms in qT and |Y|: chi2/ndf = " in line for line in lines)


@pytest.mark.parametrize("charge", [1, -1])
def test_coefficients_at_points_are_those_of_the_truth(measured, charge):
    """Nearer to it than the statistical error of one bin, at bosons of all bins."""
    fits = measured.smooth[charge].fits
    assert min(fit.p_value for fit in fits) > 1e-3
    bosons = sample_bosons(TRUTH, charge, 50_000, np.random.default_rng(9))
    inside = (bosons.qt < 60) & (np.abs(bosons.y) < 2.4)
    qt, y = bosons.qt[inside], bosons.y[inside]
    found = measured.coefficients(charge, qt, y)
    assert_allclose(found, measured.coefficients(charge, qt, -y))
    off = np.sqrt(np.mean((found - coefficients(TRUTH, charge, qt, y)) ** 2, axis=1))
    assert (off < np.median(measured.maps[charge].errors, axis=(1, 2))).all()


@pytest.mark.parametrize("binning", [FULL, COARSE], ids=["full", "coarse"])
@pytest.mark.parametrize("charge", [1, -1])
def test_maps_are_those_of_the_truth(measured, binning, charge):
    found = measured.generated_maps(binning)[charge]
    sigma, A = bin_truth(TRUTH, charge, binning.qt, binning.absy)
    assert found.sigma.shape == sigma.shape
    # Each event has the same weight, so the error is that of a count.
    error = np.sqrt(sigma * TRUTH.boson(charge).sigma / N)
    statistic = (((found.sigma - sigma) / error) ** 2).sum()
    assert chi2.sf(statistic, sigma.size) > 1e-3
    # Fits have smaller errors than the bins that they are made of.
    error = np.median(measured.maps[charge].errors, axis=(1, 2))
    off = np.sqrt(np.mean((found.coefficients - A) ** 2, axis=(1, 2)))
    assert (off < error).all()


def templates(weights, cell, events):
    """Nominal templates in wide bins of (eta, pT), shape (6, n_cells, n_muon)."""
    muons = events.reconstructed
    edges = np.linspace(-2.4, 2.4, 9), np.linspace(25.0, 55.0, 7)
    n_muon = 8 * 6
    place = flat_index(
        [
            cell,
            bin_index(muons.eta[:, 0], edges[0]),
            bin_index(muons.pt[:, 0], edges[1]),
        ],
        (COARSE.n_cells, 8, 6),
    )
    inside = place >= 0
    filled = [
        np.bincount(place[inside], w[inside], minlength=COARSE.n_cells * n_muon)
        for w in weights[:, :6].T
    ]
    return np.array(filled).reshape(6, COARSE.n_cells, n_muon)


@pytest.mark.parametrize("charge", [1, -1])
def test_templates_are_those_of_the_truth(measured, charge):
    """And not so where the averages of the cells stand for the coefficients."""
    sample = SAMPLES["Wplus_mu" if charge > 0 else "Wminus_mu"]
    events = generate(sample, 400_000, np.random.default_rng(17), TRUTH)
    g = events.generated
    cell = flat_index(
        [bin_index(np.abs(g.y), COARSE.absy), bin_index(g.qt, COARSE.qt)], (3, 3)
    )
    inside = cell >= 0
    A = np.zeros((3, 8, len(cell)))
    at = g.qt[inside], g.y[inside]
    A[0][:, inside] = coefficients(TRUTH, charge, *at)
    A[1][:, inside] = measured.coefficients(charge, *at)
    maps = measured.generated_maps(COARSE)[charge].coefficients.reshape(8, -1)
    A[2][:, inside] = maps[:, cell[inside]]

    def filled(values, weighting):
        angles = g.costheta, g.phistar, values
        return templates(helicity_weights(*angles, weighting=weighting), cell, events)

    def distance(values, weighting="sigma"):
        truth = filled(A[0], weighting)
        difference = np.abs(filled(values, weighting) - truth)
        return difference.sum(axis=(1, 2)) / np.abs(truth).sum(axis=(1, 2))

    # The shapes of pure harmonics, which the denominator alone distorts.
    smooth, averaged = distance(A[1]), distance(A[2])
    assert (smooth < 0.6 * averaged).all()
    assert smooth.max() < 0.015
    # With its own factor a template inherits the error of its coefficient: small for
    # A4, and for UL which has none.
    assert (distance(A[1], "sigma_A")[[0, 5]] < 0.02).all()


def test_samples_take_measured_coefficients_before_their_truth(path, measured):
    record = dataset(name="W", process="W_mu", coefficients=path)
    others = [
        dataset(name="again", process="W_mu", coefficients=path, files=("b.root",)),
        dataset(name="top", files=("c.root",)),
    ]
    catalog = Catalog(name="small", luminosity=1.0, datasets=[record, *others])
    samples = read_samples(catalog)
    point = [5.0, 30.0], [0.3, -2.0]
    expected = measured.coefficients(1, *point)
    for sample in (samples["W"], replace(samples["W"], truth=TRUTH)):
        assert_allclose(sample.coefficients(1, *point), expected)
        found = sample.generated_maps(COARSE)
        assert set(found) == {1, -1}
        assert_allclose(found[1].sigma, measured.generated_maps(COARSE)[1].sigma)
    # One file is one set of coefficients, which samples share.
    assert samples["again"].generated is samples["W"].generated
    assert samples["top"].measured is None


def test_the_truth_of_a_toy_has_maps_too():
    found = Sample(dataset=dataset(), truth=TRUTH).generated_maps(COARSE)
    for charge in (1, -1):
        sigma, A = bin_truth(TRUTH, charge, COARSE.qt, COARSE.absy)
        assert_allclose(found[charge].sigma, sigma)
        assert_allclose(found[charge].coefficients, A)


def written(folder, **maps):
    path = folder / "moments.h5"
    MomentMaps(maps).write(path)
    return path


def test_one_charge_is_enough_for_a_sample_of_one(maps, tmp_path):
    found = MeasuredCoefficients.read(written(tmp_path, Wplus=maps["Wplus"]))
    assert set(found.generated_maps(FULL)) == {1}
    assert found.coefficients(-1, [], []).shape == (8, 0)
    with pytest.raises(
        ConfigError, match=r"no moments of Wminus; run `--processor gen"
    ):
        found.coefficients(-1, [1.0], [0.0])


def test_a_file_without_w_bosons_is_refused(maps, tmp_path):
    path = written(tmp_path, Z=maps["Wplus"])
    with pytest.raises(
        ConfigError, match=r"moments\.h5 has moments of Z, and none of W"
    ):
        MeasuredCoefficients.read(path)
    with pytest.raises(TemplateError, match=r"there is no file .*other\.h5"):
        MeasuredCoefficients.read(tmp_path / "other.h5")


def test_what_no_polynomial_describes_is_refused(maps, tmp_path):
    wplus = maps["Wplus"]
    jagged = wplus.coefficients["nominal"].copy()
    jagged[3, :, ::2] += 20 * wplus.errors[3, :, ::2]
    jagged[3, ::2] -= 20 * wplus.errors[3, ::2]
    path = written(tmp_path, Wplus=replace(wplus, coefficients={"nominal": jagged}))
    with pytest.raises(
        ConfigError,
        match=r"moments\.h5: Wplus: no polynomial describes A3: the best one has "
        r"chi2/ndf = \d+\.\d/\d+, p = .*Measure the moments in finer bins",
    ):
        MeasuredCoefficients.read(path)


def test_coefficients_of_no_decay_are_refused(maps, tmp_path):
    wplus = maps["Wplus"]
    large = {"nominal": wplus.coefficients["nominal"] * 4}
    # Errors grow with the values, so that the fit is as good as before.
    covariance = wplus.covariance * 16
    path = written(
        tmp_path, Wplus=replace(wplus, coefficients=large, covariance=covariance)
    )
    with pytest.raises(ConfigError, match=r"Wplus: the fitted .*negative decay dens"):
        MeasuredCoefficients.read(path)


def test_too_few_events_are_refused(tmp_path):
    path = written(tmp_path, Wplus=measure(1, n=300))
    with pytest.raises(ConfigError, match=r"A0 is known in . bins.*of more events"):
        MeasuredCoefficients.read(path)


def test_templates_have_to_lie_within_the_map(measured):
    wide = replace(FULL, qt=(0.0, 20.0, 80.0))
    with pytest.raises(
        ConfigError, match=r"has the qT edges \[0\.0, 2\.0.*templates have \[0\.0, 20"
    ):
        measured.generated_maps(wide)
    with pytest.raises(
        ConfigError, match=r"moments\.h5: 1 points .*with a `--binning`"
    ):
        measured.coefficients(1, [70.0], [0.0])


def test_cells_are_sums_of_neighbouring_bins(measured):
    inner = Binning(eta=(), pt=(), qt=(4.0, 12.0, 36.0), absy=(0.4, 1.2))
    found = measured.generated_maps(inner)[1]
    sigma = measured.maps[1].sigma["nominal"]
    expected = [[sigma[1:3, 2:6].sum(), sigma[1:3, 6:10].sum()]]
    assert_allclose(found.sigma, expected)
