import dataclasses

import numpy as np
import pytest
from numpy.polynomial.chebyshev import chebval
from numpy.testing import assert_allclose
from scipy.interpolate import RegularGridInterpolator
from scipy.special import ndtr

from tests.factorised.toy_responses import Breakers, toy_decays
from wprops.axes import FULL
from wprops.errors import TemplateError
from wprops.factorised.check_sums import ALONG
from wprops.factorised.gaussian_recoil import gaussian_acceptance
from wprops.factorised.panels import RESIDUAL_PAR, RESIDUAL_PERP, Panels
from wprops.factorised.recoil import acceptance
from wprops.factorised.recoil_efficiency import (
    AlongEfficiency,
    acceptance_ratio,
    fit_along,
    weighted_acceptance,
)
from wprops.factorised.sums import fill
from wprops.physics.collins_soper import leptons_from_angles
from wprops.physics.kinematics import transverse_mass

PANELS = Panels.of(FULL)
FACTOR = np.array([0.8, 0.88, 0.95, 0.99, 1.02, 1.03, 1.05, 1.06])
STEEP = AlongEfficiency(FACTOR, 0 * FACTOR, np.array([40.0]), np.array([1.0]))


def gaussian_histogram(sigma):
    """Contents of the cells for a Gaussian residual, one class of qT."""
    par = np.diff(ndtr(RESIDUAL_PAR / sigma))
    perp = 2 * np.diff(ndtr(RESIDUAL_PERP / sigma))
    return (par[:, None] * perp)[None]


def table(rate, every, factor):
    """check_efficiency of unweighted muons that pass exactly as often as expected."""
    passing = rate[..., None] * factor * every
    return np.stack([every, passing, every, passing, passing])


def test_factors_of_a_multiplicative_efficiency_are_found_exactly():
    rng = np.random.default_rng(2)
    every = rng.uniform(50.0, 150.0, (2, 48, 30, 8))
    rate = rng.uniform(0.5, 0.7, (2, 48, 30))
    fit = fit_along(table(rate, every, FACTOR), PANELS)
    total = every.sum(axis=(0, 1, 2))
    assert_allclose(fit.factor, FACTOR * total.sum() / (FACTOR @ total), rtol=1e-7)
    by_pt = every.sum(axis=(0, 1))
    assert_allclose(fit.mean, by_pt @ fit.factor / by_pt.sum(axis=1))
    assert_allclose(fit.pt, np.arange(25.5, 55.0))
    # Binomial error of the passing part with known rates.
    p = rate[..., None] * FACTOR
    variance = np.sum(p * (1 - p) * every, axis=(0, 1, 2))
    expected = np.sqrt(variance) / np.sum(rate[..., None] * every, axis=(0, 1, 2))
    assert_allclose(fit.error * FACTOR / fit.factor, expected, rtol=1e-5)


def test_a_class_without_muons_is_named():
    every = np.ones((2, 48, 30, 8)) * 10
    every[..., 2] = 0.0
    sums = table(np.full((2, 48, 30), 0.6), every, FACTOR)
    with pytest.raises(TemplateError, match=r"no muons in the classes \[2\] of u_p/p'"):
        fit_along(sums, PANELS)


@pytest.mark.parametrize("sigma", [9.0, 14.0])
def test_the_ratio_is_that_of_a_gaussian_residual(sigma):
    qt, pt = np.array([2.0, 25.0, 50.0]), PANELS.pt_centres
    cosphi = np.cos(np.pi * (np.arange(24) + 0.5) / 24)
    ratio = acceptance_ratio(
        gaussian_histogram(sigma), np.array([10.0]), qt, cosphi, pt, STEEP
    )
    parts = gaussian_acceptance(
        *np.ix_(qt, cosphi, pt), (0, 0), (sigma**2, sigma**2), along_edges=ALONG
    )
    accepted = parts.sum(axis=0)
    expected = np.einsum("c,cqkp->qkp", FACTOR, parts) / accepted
    assert np.ptp(expected) > 0.2
    # Cells of 2 GeV across the steps of g leave 4e-4, which azimuths average.
    assert np.sqrt(np.mean((ratio - expected) ** 2)) < 4e-4
    assert_allclose(np.mean((ratio - expected) * accepted, axis=1), 0.0, atol=5e-4)


def test_the_series_is_that_of_a_gaussian_residual():
    qt, pt = np.array([2.0, 25.0, 50.0]), PANELS.pt_centres[::4]
    series = weighted_acceptance(
        gaussian_histogram(14.0), np.array([10.0]), qt, pt, STEEP
    )
    cosphi = np.linspace(-1.0, 1.0, 15)
    parts = gaussian_acceptance(
        *np.ix_(qt, cosphi, pt), (0, 0), (196.0, 196.0), along_edges=ALONG
    )
    found = np.moveaxis(chebval(cosphi, np.moveaxis(series, 1, 0)), -1, 1)
    expected = np.einsum("c,cqkp->qkp", FACTOR, parts)
    assert_allclose(found, expected, atol=2e-3)


def test_a_flat_efficiency_leaves_the_acceptance_as_it_is():
    flat = dataclasses.replace(STEEP, factor=np.ones(8))
    arguments = gaussian_histogram(14.0), np.array([10.0]), np.array([3.0, 40.0])
    pt = PANELS.pt_centres[::10]
    plain = acceptance(*arguments, pt)
    assert_allclose(weighted_acceptance(*arguments, pt, flat), plain, atol=1e-9)


def test_the_mean_factor_is_taken_out():
    half = dataclasses.replace(STEEP, mean=np.array([2.0]))
    arguments = gaussian_histogram(14.0), np.array([10.0]), np.array([3.0, 40.0])
    pt = PANELS.pt_centres[::10]
    assert_allclose(
        2 * weighted_acceptance(*arguments, pt, half),
        weighted_acceptance(*arguments, pt, STEEP),
        atol=1e-12,
    )


def on_grid(series, qt, pt):
    """Interpolate the acceptance in (qT, cos φ, p')."""
    cosphi = np.linspace(-1, 1, 41)
    values = np.moveaxis(chebval(cosphi, np.moveaxis(series, 1, 0)), -1, 1)
    return RegularGridInterpolator((qt, cosphi, pt), values, bounds_error=False)


def test_yields_of_an_isolation_that_sees_the_recoil_are_predicted():
    decays = toy_decays(400_000, 6, Breakers(isolation=0.4))
    sums = fill(decays, PANELS)
    counts = sums.arrays["check_efficiency"]
    fit = fit_along(counts, PANELS)
    matched = sums.arrays["recoil_matched"]
    filled = matched.sum(axis=(1, 2)) > 0
    centre = (PANELS.qt[:-1] + PANELS.qt[1:])[filled] / 2
    qt, pt = np.linspace(0.0, 60.0, 31), PANELS.pt_centres[::4]
    i = decays.reco
    arguments = matched[filled], centre, qt, pt
    models = {
        "with recoil": weighted_acceptance(*arguments, fit),
        "without": acceptance(*arguments),
    }

    p, eta = decays.reco_pt["nominal"], decays.reco_eta
    boson = [decays.qt, decays.y, decays.mass, decays.costheta, decays.phistar]
    boson = [column[i] for column in boson]
    phi = leptons_from_angles(*boson, np.zeros(len(i)))[0][2]
    e = decays.residual["nominal"]
    met = boson[0] + e[0] - p * np.cos(phi), e[1] - p * np.sin(phi)
    mt = transverse_mass(p, phi, np.hypot(*met), np.arctan2(met[1], met[0]))
    used = (p > 26) & (p < 53) & (boson[0] < 60) & (np.abs(eta) < 2.4)
    # The average efficiency at p', of which the templates have a smooth fit.
    rate = counts[1].sum(axis=(0, 1, 3)) / counts[0].sum(axis=(0, 1, 3))
    average = rate[np.clip(np.floor(p - 25).astype(int), 0, 29)]
    group = np.digitize(np.cos(phi), [-0.6, -0.2, 0.2, 0.6]) * 3
    group += np.digitize(boson[0], [8.0, 20.0])
    accepted = used & decays.passes & (mt > 40)
    seen = np.bincount(group[accepted], minlength=15)
    chi2 = {}
    for name, series in models.items():
        E = on_grid(series, qt, pt)((boson[0][used], np.cos(phi)[used], p[used]))
        expected = np.bincount(group[used], average[used] * E, minlength=15)
        # Given the muons, passing is binomial.
        chi2[name] = np.sum((seen - expected) ** 2 / (expected * 0.4))
    assert chi2["with recoil"] < 35.0
    assert chi2["without"] > 500.0
