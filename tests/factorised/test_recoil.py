import numpy as np
import pytest
from numpy.polynomial.chebyshev import chebval
from numpy.testing import assert_allclose
from scipy import stats
from scipy.special import ndtr

from tests.factorised.gaussian_operators import recoil_width, residuals
from wprops.axes import FULL
from wprops.errors import TemplateError
from wprops.factorised.panels import RESIDUAL_PAR, RESIDUAL_PERP, Panels
from wprops.factorised.recoil import acceptance, chebyshev_order
from wprops.physics.kinematics import transverse_mass

# Every third of the fine bins, with the first and the last.
PT = Panels.of(FULL).pt_centres[np.r_[0:120:3, 119]]
AZIMUTH = np.linspace(0.05, 3.1, 25)


def evaluate(series, azimuth):
    """Values of series (n_order, n_pt) at azimuths, shape (n_azimuth, n_pt)."""
    return chebval(np.cos(azimuth), series).T


def transverse_masses(qt, azimuth, pt, residual):
    """mT of muons at an azimuth from bosons along x; residuals along and across."""
    vx = qt + residual[0] - pt * np.cos(azimuth)
    vy = residual[1] - pt * np.sin(azimuth)
    return transverse_mass(pt, azimuth, np.hypot(vx, vy), np.arctan2(vy, vx))


def gaussian(qt, azimuth, pt, par, perp, mean=0.0):
    """P(M_t² > c² + 2 c M_p) with M = V − p' and a Gaussian V, by equal steps in M_t.

    Shape (n_azimuth, n_pt).
    """
    cos, sin = np.cos(azimuth)[:, None, None], np.sin(azimuth)[:, None, None]
    p = pt[:, None]
    var_p = (par * cos) ** 2 + (perp * sin) ** 2
    var_t = (par * sin) ** 2 + (perp * cos) ** 2
    slope = (perp**2 - par**2) * sin * cos / var_t
    g = np.linspace(-7.0, 7.0, 561)
    weight = np.exp(-(g**2) / 2) / np.exp(-(g**2) / 2).sum()
    m_t = np.sqrt(var_t) * g
    m_p = (qt + mean) * cos - p + slope * m_t
    m_t = m_t - (qt + mean) * sin
    c = 40.0**2 / (2.0 * p)
    edge = (m_t**2 - c**2) / (2.0 * c)
    return ndtr((edge - m_p) / np.sqrt(var_p - slope**2 * var_t)) @ weight


@pytest.mark.parametrize("qt", [0.0, 4.0, 18.0, 48.0, 95.0, 130.0])
def test_gaussian_residuals_give_the_acceptance_of_a_gaussian(qt):
    width = float(recoil_width(qt))
    series = acceptance(residuals(width)[None], [qt], [qt], PT)
    expected = gaussian(qt, AZIMUTH, PT, width, width)
    assert_allclose(evaluate(series[0], AZIMUTH), expected, atol=1e-5)


def test_a_biased_elliptic_recoil_has_its_own_acceptance():
    par, perp, mean, qt = 16.0, 12.0, -3.0, 30.0
    series = acceptance(residuals(par, perp, mean)[None], [qt], [qt], PT)
    expected = gaussian(qt, AZIMUTH, PT, par, perp, mean)
    assert_allclose(evaluate(series[0], AZIMUTH), expected, atol=2e-5)


def test_acceptance_is_the_fraction_of_measured_muons():
    rng = np.random.default_rng(5)
    n, qt = 400_000, 25.0
    # A skewed residual with tails, as no formula has it.
    par = 11.0 * rng.standard_t(8, n) + 6.0 * (rng.standard_gamma(2.0, n) - 2.0)
    perp = 12.0 * rng.standard_t(8, n)
    counts, _, _ = np.histogram2d(
        np.clip(par, -89.0, 89.0),
        np.minimum(np.abs(perp), 89.0),
        [RESIDUAL_PAR, RESIDUAL_PERP],
    )
    azimuth = np.array([0.3, 1.4, 2.6])
    values = evaluate(acceptance(counts[None], [qt], [qt], PT)[0], azimuth)
    for k, angle in enumerate(azimuth):
        for j in (0, 20, 40):
            passes = [
                transverse_masses(qt, angle, PT[j], (par, side * perp)) > 40.0
                for side in (-1.0, 1.0)
            ]
            # Same events in both: what is left is the width of the cells.
            assert_allclose(values[k, j], np.mean(passes), atol=1.5e-3)


def test_events_that_are_not_in_the_histogram_agree():
    rng = np.random.default_rng(6)
    n, qt = 400_000, 40.0
    width = recoil_width(qt)
    azimuth, place = rng.uniform(0.0, np.pi, n), rng.integers(0, 40, n)
    residual = width * rng.standard_normal((2, n))
    passes = transverse_masses(qt, azimuth, PT[place], residual) > 40.0
    series = acceptance(residuals(width)[None], [qt], [qt], PT)[0]
    n_bins = 20
    group = (azimuth / np.pi * n_bins).astype(int) * 4 + place // 10
    expected = chebval(np.cos(azimuth), series[:, place], tensor=False)
    total = np.bincount(group, passes - expected, n_bins * 4)
    variance = np.bincount(group, expected * (1.0 - expected), n_bins * 4)
    chi2 = np.sum(total**2 / variance)
    assert 1e-3 < stats.chi2.sf(chi2, n_bins * 4) < 1.0 - 1e-3


def test_the_series_is_long_enough_for_any_resolution():
    for width in (8.0, 14.0, 22.0):
        for qt in (1.0, 20.0, 60.0, 150.0):
            series = acceptance(residuals(width)[None], [qt], [qt], PT)[0]
            assert len(series) == chebyshev_order(qt, width)
            assert np.abs(series[-1]).max() < 1e-5


def test_between_classes_the_residual_is_a_mixture():
    cells = np.stack([residuals(12.0), 3.0 * residuals(18.0)])
    mean, qt = [10.0, 20.0], 12.5
    mixed = acceptance(cells, mean, [qt], PT)[0]
    ends = [acceptance(residuals(w)[None], [0.0], [qt], PT)[0] for w in (12.0, 18.0)]
    expected = 0.75 * evaluate(ends[0], AZIMUTH) + 0.25 * evaluate(ends[1], AZIMUTH)
    assert_allclose(evaluate(mixed, AZIMUTH), expected, atol=1e-5)


def test_beyond_the_classes_the_residual_is_that_of_the_last():
    cells = np.stack([residuals(12.0), residuals(18.0)])
    series = acceptance(cells, [10.0, 20.0], [5.0, 30.0], PT)
    for k, (qt, width) in enumerate([(5.0, 12.0), (30.0, 18.0)]):
        alone = acceptance(residuals(width)[None], [0.0], [qt], PT)[0]
        assert_allclose(series[k, : len(alone)], alone, atol=1e-12)
        assert not series[k, len(alone) :].any()


def test_no_event_fails_a_vanishing_cut():
    series = acceptance(residuals(14.0)[None], [0.0], [10.0], PT, cut=1e-2)
    assert_allclose(evaluate(series[0], AZIMUTH), 1.0, atol=1e-6)


def test_threads_do_not_change_the_result():
    qt = np.linspace(0.0, 60.0, 7)
    one, two = (
        acceptance(residuals(14.0)[None], [0.0], qt, PT, workers=n) for n in (1, 2)
    )
    assert np.array_equal(one, two)


@pytest.mark.parametrize(
    ("cells", "mean", "message"),
    [
        (np.ones((2, 90, 90)), [1.0, 2.0], r"shape \(2, 90, 90\), expected \(2, 90, 4"),
        (np.ones((2, 90, 45)), [2.0, 1.0], r"\[2.0, 1.0\] GeV, expected increasing"),
        (np.ones((2, 90, 45)), [1.0, np.nan], "expected increasing"),
        (np.zeros((2, 90, 45)), [1.0, 2.0], "no events in class 0 of qT"),
    ],
)
def test_wrong_histograms_are_named(cells, mean, message):
    with pytest.raises(TemplateError, match=message):
        acceptance(cells, mean, [1.0], PT)
