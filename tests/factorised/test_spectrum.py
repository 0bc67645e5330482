"""The smooth boson spectrum against the toy's, which is known everywhere."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose

from wprops.axes import FULL
from wprops.errors import FitError, TemplateError
from wprops.events.toy.truth import ToyTruth, bin_truth, density
from wprops.factorised.panels import Panels
from wprops.factorised.spectrum import DEGREES_OF_RANGES, fit_boson, fit_spectrum

TRUTH, PANELS = ToyTruth(), Panels.of(FULL)
#: The panels of the measured range, and their edges.
MEASURED = slice(0, 12), slice(0, 24)
EDGES = PANELS.qt[:13], PANELS.absy[:25]


def exact(charge, n_events):
    """Expected events in all panels, of a sample of a number of events."""
    sigma, _ = bin_truth(TRUTH, charge, PANELS.qt, PANELS.absy)
    return sigma.T * (n_events / TRUTH.boson(charge).sigma)


def node_sums(fit):
    """Integrals over the panels, with the nodes of the templates."""
    q, y = PANELS.qt_weights, PANELS.absy_weights
    return np.einsum("...qiyj,qi,yj->...qy", fit.densities(PANELS), q, y)


class Sample(NamedTuple):
    counts: np.ndarray
    squares: np.ndarray


def weighted(rng, mean, n):
    """Samples of events of which nearly half have the weight −0.8, the others 1."""
    plus, minus = (rng.poisson(5 * mean, (n, *mean.shape)) for _ in range(2))
    return Sample(plus - 0.8 * minus, plus + 0.64 * minus)


@pytest.mark.parametrize(
    ("degrees", "chi2"), [((6, 3), 3.4), ((6, 2), 108.0), ((8, 3), 0.8)]
)
def test_misfit_of_the_exact_spectrum(degrees, chi2):
    # in the cells of the measurement, of which the last one is two panels
    counts = exact(1, 1e8)[MEASURED]
    counts = np.vstack([counts[:10], counts[10:].sum(axis=0)])
    edges = np.array(FULL.qt), EDGES[1]
    fit = fit_spectrum(counts, counts, *edges, degrees, accept=True)
    assert fit.chi2 == pytest.approx(chi2, rel=0.02)
    assert fit.ndf == 11 * 24 - (degrees[0] + 1) * (degrees[1] + 1)


@pytest.mark.parametrize("charge", [1, -1])
def test_all_ranges_describe_the_exact_spectrum_of_1e8_events(charge):
    counts = exact(charge, 1e8)
    fit = fit_boson(counts, counts, PANELS)
    assert [part.degrees for part in fit.parts] == list(DEGREES_OF_RANGES)
    assert max(part.chi2 for part in fit.parts) < 2
    sums = node_sums(fit)
    assert abs((sums - counts) / np.sqrt(counts)).max() < 0.3
    # cells of the measurement, which have up to 5e6 events
    cells, truth = (a[MEASURED].reshape(12, 6, 4).sum(axis=2) for a in (sums, counts))
    assert abs((cells - truth) / np.sqrt(truth)).max() < 0.35
    # at the nodes, not only on average in the panels
    qt, absy = PANELS.qt_nodes[MEASURED[0]], PANELS.absy_nodes[MEASURED[1]]
    points = qt[:, :, None, None], absy
    truth = density(TRUTH, charge, *points) * (1e8 / TRUTH.boson(charge).sigma)
    off = fit.measured.density(*points) / truth - 1
    assert np.sqrt(np.average(off**2, weights=truth)) < 1.3e-3


def test_counts_are_compared_with_integrals_over_cells():
    """One wide panel of a steep function: its centre is far from the average."""
    edges = np.array([0.0, 20.0, 40.0, 60.0]), np.array([0.0, 1.2, 2.4])
    a = 0.4

    def integral(low, high):
        # of q (1 + q/5)^a: a polynomial of degree 1 in the fit's variable
        x = 1 + np.array([low, high]) / 5
        return np.diff(25 * (x ** (a + 2) / (a + 2) - x ** (a + 1) / (a + 1)))[0]

    row = [integral(*edges[0][i : i + 2]) for i in range(3)]
    counts = 1e6 * np.outer(row, np.diff(edges[1]))
    fit = fit_spectrum(counts, counts, *edges, (1, 0))
    assert fit.chi2 < 1e-4
    q = np.array([1.0, 10.0, 55.0])
    assert_allclose(fit.density(q, 1.0), 1e6 * q * (1 + q / 5) ** a, rtol=1e-5)


def test_pulls_of_the_density_are_standard_normal_and_p_values_uniform():
    rng = np.random.default_rng(1)
    mean = exact(1, 1e6)[MEASURED]
    counts = rng.poisson(mean, (300, *mean.shape)).astype(float)
    fit = fit_spectrum(counts, counts, *EDGES)
    reference = fit_spectrum(mean, mean, *EDGES)
    qt, absy = (
        np.array([0.5, 3.0, 9.0, 25.0, 55.0]),
        np.array([0.1, 2.3, 1.0, 0.4, 2.0]),
    )
    basis = fit.basis(qt, absy)
    error = np.sqrt(np.einsum("pa,rab,pb->rp", basis, fit.covariance, basis))
    pulls = np.log(fit.density(qt, absy) / reference.density(qt, absy)) / error
    assert_allclose(np.sqrt(np.mean(pulls**2, axis=0)), 1.0, atol=0.15)
    assert abs(pulls.mean()) < 0.1
    assert abs(fit.p_value.mean() - 0.5) < 4 * np.sqrt(1 / 12 / 300)
    assert abs((fit.p_value < 0.1).mean() - 0.1) < 4 * np.sqrt(0.09 / 300)


def test_weights_of_both_signs_have_the_right_errors():
    rng = np.random.default_rng(2)
    mean = exact(-1, 5e4)[MEASURED]
    sample = weighted(rng, mean, 150)
    assert (sample.counts < 0).any()
    fit = fit_spectrum(*sample, *EDGES)
    reference = fit_spectrum(mean, mean, *EDGES)
    qt, absy = np.array([1.0, 7.0, 40.0]), np.array([0.3, 1.5, 2.2])
    basis = fit.basis(qt, absy)
    error = np.sqrt(np.einsum("pa,rab,pb->rp", basis, fit.covariance, basis))
    pulls = np.log(fit.density(qt, absy) / reference.density(qt, absy)) / error
    assert_allclose(np.sqrt(np.mean(pulls**2, axis=0)), 1.0, atol=0.2)
    assert abs(pulls.mean(axis=0)).max() < 0.3
    assert 0.4 < fit.p_value.mean() < 0.6


def test_sparse_samples_are_fitted_in_all_ranges():
    rng = np.random.default_rng(3)
    mean = exact(-1, 1e5)
    counts = rng.poisson(mean, (30, *mean.shape)).astype(float)
    fit = fit_boson(counts, counts, PANELS)
    assert (counts == 0).mean() > 0.01
    for part in fit.parts:
        assert 0.3 < part.p_value.mean() < 0.7
    assert_allclose(node_sums(fit).sum(axis=(1, 2)), counts.sum(axis=(1, 2)), rtol=2e-3)


def test_noise_cancels_in_the_difference_of_a_variation():
    rng = np.random.default_rng(4)
    mean = exact(1, 1e6)
    counts = rng.poisson(mean).astype(float)
    centre = np.sqrt(PANELS.qt[:-1] * PANELS.qt[1:] + 1)
    factors = np.stack([1 + 0.02 * (centre / 30), 1 - 0.02 * (centre / 30)])[..., None]
    nominal = fit_boson(counts, counts, PANELS)
    varied = fit_boson(counts * factors, counts, PANELS, nominal=nominal)
    plain = fit_boson(mean, mean, PANELS)
    expected = fit_boson(mean * factors, mean, PANELS, nominal=plain)
    qt, absy = np.array([2.0, 15.0, 50.0]), np.array([0.5, 1.5, 2.0])
    noise = np.log(
        nominal.measured.density(qt, absy) / plain.measured.density(qt, absy)
    )
    found, truth = (
        np.log(v.measured.density(qt, absy) / n.measured.density(qt, absy))
        for v, n in ((varied, nominal), (expected, plain))
    )
    assert abs(noise).max() > 1e-3
    assert_allclose(found, truth, atol=0.03 * abs(noise).max())


def test_a_structure_that_is_not_smooth_is_refused_by_name():
    counts = exact(1, 1e8)
    counts[4] *= 1.05
    with pytest.raises(FitError, match=r"W\+ spectrum does not.*chi2/ndf.*degrees"):
        fit_boson(counts, counts, PANELS, operator="W+ spectrum")
    fit = fit_boson(counts, counts, PANELS, accept=True)
    assert fit.measured.p_value < 1e-4
    assert fit.high_qt.p_value > 0.9


def test_bad_input_is_refused_by_name():
    counts = exact(1, 1e6)[MEASURED]
    with pytest.raises(TemplateError, match=r"shape \(12, 23\).*\(12, 24\) cells"):
        fit_spectrum(counts[:, 1:], counts[:, 1:], *EDGES)
    with pytest.raises(TemplateError, match=r"degrees \(12, 3\).*lower"):
        fit_spectrum(counts, counts, *EDGES, (12, 3))
    counts[2] = -1.0
    with pytest.raises(TemplateError, match="qT from 4 to 6 GeV"):
        fit_spectrum(counts, abs(counts), *EDGES)
