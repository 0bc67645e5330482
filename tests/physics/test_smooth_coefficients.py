"""Smooth coefficients from averages: against functions that are known everywhere."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose

from wprops.axes import FULL
from wprops.events.toy.truth import ToyTruth, bin_truth, coefficients, density
from wprops.physics.smooth_coefficients import (
    VANISH_AT_QT_0,
    VANISH_AT_Y_0,
    boson_nodes,
    density_nodes,
    fit_coefficients,
)

TRUTH = ToyTruth()
ABSY, QT = np.array(FULL.absy), np.array(FULL.qt)
#: Error of one event on each coefficient, about that of a flat decay.
ONE_EVENT = np.array([2.0, 2.3, 5.0, 2.0, 2.4, 2.3, 2.3, 2.0])


def averages(charge, n_events, seed):
    """Averages of the toy in bins, smeared by the errors of a number of events."""
    sigma, exact = bin_truth(TRUTH, charge, QT, ABSY)
    events = n_events * sigma / TRUTH.boson(charge).sigma
    errors = ONE_EVENT[:, None, None] / np.sqrt(events)
    noise = np.random.default_rng(seed).normal(size=exact.shape)
    return sigma, exact + errors * noise, errors


def points(charge, n=4000):
    """Points of the measured range, with the density of bosons."""
    rng = np.random.default_rng(3)
    qt, absy = rng.uniform(0, QT[-1], n), rng.uniform(0, ABSY[-1], n)
    weight = density(TRUTH, charge, qt, absy)
    return qt, absy, weight / weight.sum()


@pytest.mark.parametrize("charge", [1, -1])
@pytest.mark.parametrize("n_events", [1e6, 1e8])
def test_a_fit_comes_nearer_to_the_truth_than_the_bins(charge, n_events):
    sigma, values, errors = averages(charge, n_events, seed=5)
    smooth = fit_coefficients((ABSY, QT), sigma, values, errors)
    assert min(fit.p_value for fit in smooth.fits) > 1e-3
    qt, absy, weight = points(charge)
    truth = coefficients(TRUTH, charge, qt, absy)
    off = np.sqrt((smooth(qt, absy) - truth) ** 2 @ weight)
    # A step function: the value of the bin, of any point in it.
    row, column = np.digitize(absy, ABSY) - 1, np.digitize(qt, QT) - 1
    steps = np.sqrt((values[:, row, column] - truth) ** 2 @ weight)
    assert (off[:5] < 0.5 * steps[:5]).all()
    # About one error of a bin in the middle, which has 1 % of the bosons.
    assert (off < ONE_EVENT / np.sqrt(0.01 * n_events) + 2e-3).all()


def test_coefficients_vanish_where_they_have_to():
    sigma, values, errors = averages(1, 1e6, seed=6)
    # Even if the averages, of a mistaken simulation say, ask for something else.
    smooth = fit_coefficients((ABSY, QT), sigma, values + 0.1, errors)
    edge, some = np.zeros(5), np.linspace(0.0, 1.0, 5)
    for i in VANISH_AT_QT_0:
        assert_allclose(smooth(edge, 2.4 * some)[i], 0.0, atol=1e-15)
    for i in VANISH_AT_Y_0:
        assert_allclose(smooth(60 * some, edge)[i], 0.0, atol=1e-15)
    free = smooth(edge, 2.4 * some)[4], smooth(60 * some, edge)[0]
    assert all(abs(values[1:]).min() > 0.01 for values in free)


def test_polynomials_are_found_from_their_averages():
    """Exact averages of a low polynomial give it back, whatever the density."""

    def polynomial(qt, absy):
        return 0.3 * qt / 60 - 0.1 * (qt / 60) ** 2 * (1 + absy / 2.4)

    sigma = np.exp(-QT[1:] / 12) * np.ones((6, 1))
    in_absy, in_qt = boson_nodes((ABSY, QT), sigma)
    grid = polynomial(in_qt.points[None, None], in_absy.points[:, :, None, None])
    mean = np.einsum("ynqm,yn,qm->yq", grid, in_absy.weights, in_qt.weights)
    values = np.tile(mean, (8, 1, 1))
    smooth = fit_coefficients((ABSY, QT), sigma, values, np.full(values.shape, 1e-5))
    qt, absy, _ = points(1)
    assert_allclose(smooth(qt, absy)[0], polynomial(qt, absy), atol=1e-9)
    assert smooth.fits[0].parameters.shape == (2, 2)
    assert smooth.fits[0].ndf == 66 - 4


def test_noise_alone_is_no_coefficient():
    sigma, _, errors = averages(1, 1e7, seed=1)
    zero = errors * np.random.default_rng(8).normal(size=errors.shape)
    smooth = fit_coefficients((ABSY, QT), sigma, zero, errors)
    # Some of thirty numbers of polynomials may fit it by chance.
    assert max(fit.parameters.size for fit in smooth.fits) <= 2
    assert sum(fit.parameters.size == 0 for fit in smooth.fits[5:]) >= 2
    # The others keep a template, however small.
    assert all(fit.parameters.size for fit in smooth.fits[:5])
    assert min(fit.p_value for fit in smooth.fits) > 1e-3


def test_the_density_inside_of_bins_is_that_of_the_bosons():
    sigma, _ = bin_truth(TRUTH, 1, QT, [0.0, 2.4])
    nodes = density_nodes(QT, sigma[0], power=2)
    assert_allclose(nodes.weights.sum(axis=1), 1.0)
    found = (nodes.points * nodes.weights).sum(axis=1)
    for k, (low, high) in enumerate(pairwise(QT)):
        qt = np.linspace(low, high, 401)
        weight = density(TRUTH, 1, qt, 1.2)
        mean = (qt * weight).sum() / weight.sum()
        # The centre of the bin is up to 0.16 of it off.
        assert abs(found[k] - mean) < 0.02 * (high - low)


@pytest.mark.parametrize("sigma", [[0.0, 0.0], [1.0, -0.2]])
def test_bins_without_bosons_have_flat_weights(sigma):
    nodes = density_nodes([0.0, 1.0, 2.0], sigma, power=1)
    assert_allclose((nodes.points * nodes.weights).sum(axis=1)[1], 1.5, atol=1e-12)


def test_bins_that_are_not_known_are_left_out():
    sigma, values, errors = averages(1, 1e7, seed=9)
    gap, wrong = errors.copy(), values.copy()
    gap[:, 2, 3], wrong[:, 2, 3] = np.nan, 1e3
    smooth = fit_coefficients((ABSY, QT), sigma, wrong, gap)
    assert all(fit.ndf + fit.parameters.size == 65 for fit in smooth.fits)
    assert min(fit.p_value for fit in smooth.fits) > 1e-3


@pytest.mark.parametrize(
    ("qt", "absy", "message"),
    [
        ([1.0, 60.1], [0.0, 1.0], r"1 points .* first has qT = 60\.1 GeV and .* = 1$"),
        (
            [1.0, 2.0],
            [2.5, -0.1],
            r"2 points are outside of qT ≤ 60 GeV and |Y| ≤ 2\.4",
        ),
    ],
)
def test_there_are_no_coefficients_out_of_range(qt, absy, message):
    smooth = fit_coefficients((ABSY, QT), *averages(1, 1e6, seed=2))
    with pytest.raises(ValueError, match=message):
        smooth(qt, absy)


def test_edges_that_begin_late_and_too_few_bins_are_refused():
    sigma, values, errors = averages(1, 1e6, seed=2)
    with pytest.raises(ValueError, match=r"begin at \|Y\| = 0 and qT = 2, expected"):
        fit_coefficients((ABSY, QT[1:]), sigma[:, 1:], values[..., 1:], errors[..., 1:])
    errors[3].flat[1:] = np.inf
    with pytest.raises(ValueError, match="A3 is known in 1 bins, which is too few"):
        fit_coefficients((ABSY, QT), sigma, values, errors)
