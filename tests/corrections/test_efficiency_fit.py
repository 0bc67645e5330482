"""The fit of the turn-on and the variations that follow from it."""

import numpy as np
import pytest
from iminuit import Minuit
from numpy.testing import assert_allclose

from corrections.efficiency_fit import (
    ErfFit,
    eigen_variations,
    erf_jacobian,
    erf_model,
    fit_erf,
    ratio_variations,
)
from tests.corrections.efficiency_toys import FIT_PT, mean_efficiency, throw
from wprops.errors import FitError


def test_jacobian_agrees_with_differences():
    pt, parameters = np.linspace(25.0, 55.0, 7), np.array([0.9, 14.0, 11.0])
    for k, step in enumerate(1e-4 * np.eye(3)):
        up, down = (erf_model(pt, parameters + s * step) for s in (1, -1))
        assert_allclose(
            erf_jacobian(pt, parameters)[:, k], (up - down) / 2e-4, atol=1e-8
        )


def random_covariance(rng, n=3):
    root = rng.normal(size=(n, n))
    return root @ root.T * np.outer([0.002, 0.3, 0.4][:n], [0.002, 0.3, 0.4][:n])


@pytest.mark.parametrize("seed", range(5))
def test_variations_are_orthogonal_and_add_up_to_the_covariance(seed):
    rng = np.random.default_rng(seed)
    jacobian = erf_jacobian(np.linspace(25.1, 54.9, 150), [0.9, 14.0, 11.0])
    covariance = random_covariance(rng)
    v = eigen_variations(jacobian, covariance)
    assert v.shape == (3, 150)
    expected = jacobian @ covariance @ jacobian.T
    assert_allclose(v.T @ v, expected, atol=1e-12 * expected.max())
    products = v @ v.T
    assert np.all(np.diff(np.diag(products)) < 0)
    off_diagonal = products - np.diag(np.diag(products))
    assert_allclose(off_diagonal, 0.0, atol=1e-12 * products.max())


def test_variations_do_not_depend_on_the_units_of_the_parameters():
    jacobian = erf_jacobian(np.linspace(25.1, 54.9, 150), [0.9, 14.0, 11.0])
    covariance = random_covariance(np.random.default_rng(3))
    v = eigen_variations(jacobian, covariance)
    units = np.diag([1.0, 1000.0, 1000.0])  # p1 and p2 in MeV
    jacobian = jacobian @ np.linalg.inv(units)
    in_mev = eigen_variations(jacobian, units @ covariance @ units)
    assert_allclose(in_mev, v, atol=1e-10)


def test_ratio_with_perfect_simulation_has_the_covariance_of_data():
    rng = np.random.default_rng(4)
    pt = np.linspace(25.1, 54.9, 150)
    data = ErfFit(np.array([0.9, 14.0, 11.0]), random_covariance(rng), 0.0, 1)
    mc = ErfFit(np.array([0.92, 13.0, 11.5]), 1e-20 * np.eye(3), 0.0, 1)
    nominal, v, dropped = ratio_variations(pt, data, mc)
    efficiency = erf_model(pt, data.parameters)
    assert_allclose(nominal, efficiency / erf_model(pt, mc.parameters))
    jacobian = erf_jacobian(pt, data.parameters) / efficiency[:, None]
    expected = jacobian @ data.covariance @ jacobian.T
    assert_allclose(v.T @ v, expected, atol=1e-10 * expected.max())
    assert dropped < 1e-10


def test_ratio_keeps_the_variance_at_each_pt():
    rng = np.random.default_rng(5)
    pt = np.linspace(25.1, 54.9, 150)
    fits = [
        ErfFit(np.array(p), random_covariance(rng), 0.0, 1)
        for p in ([0.9, 14.0, 11.0], [0.92, 13.0, 11.5])
    ]
    _, v, dropped = ratio_variations(pt, *fits)
    expected = np.zeros(150)
    for fit in fits:
        jacobian = erf_jacobian(pt, fit.parameters)
        variance = np.einsum("pi,ij,pj->p", jacobian, fit.covariance, jacobian)
        expected += variance / erf_model(pt, fit.parameters) ** 2
    assert_allclose(np.sum(v**2, axis=0), expected, rtol=1e-12)
    assert 0 < dropped < 0.5


def test_fit_finds_the_minimum_and_covariance_of_minuit():
    k, n = throw(np.random.default_rng(6), (0.9, 14.0, 11.0), 1_000_000)
    fit = fit_erf(k, n, FIT_PT)

    def nll(p0, p1, p2):
        efficiency = mean_efficiency(FIT_PT, (p0, p1, p2))
        return -np.sum(k * np.log(efficiency) + (n - k) * np.log(1 - efficiency))

    minuit = Minuit(nll, p0=0.9, p1=14.0, p2=11.0)
    minuit.errordef, minuit.tol = Minuit.LIKELIHOOD, 1e-4
    minuit.limits["p0"], minuit.errors = (0.5, 0.99), (1e-3, 0.1, 0.1)
    minuit.migrad()
    assert minuit.valid
    errors = np.sqrt(np.diag(fit.covariance))
    assert np.all(np.abs(fit.parameters - minuit.values) < 1e-2 * errors)
    # Second differences: the parameters are correlated by 99 %, too much for HESSE.
    steps = np.diag(0.2 * errors)
    hessian = np.array(
        [
            [
                sum(
                    s * t * nll(*(fit.parameters + s * a + t * b))
                    for s in (1, -1)
                    for t in (1, -1)
                )
                / (4 * a.max() * b.max())
                for a in steps
            ]
            for b in steps
        ]
    )
    # Expected against observed information: they differ by the fluctuation.
    assert_allclose(fit.covariance, np.linalg.inv(hessian), rtol=0.03)
    efficiency = mean_efficiency(FIT_PT, fit.parameters)
    chi2 = np.sum((k - n * efficiency) ** 2 / (n * efficiency * (1 - efficiency)))
    assert_allclose(fit.chi2, chi2, rtol=1e-3)
    assert fit.ndf == 8


def test_exact_counts_give_back_the_parameters():
    truth = (0.93, 12.0, 9.0)
    n = np.full(len(FIT_PT) - 1, 1e6)
    fit = fit_erf(n * mean_efficiency(FIT_PT, truth), n, FIT_PT)
    assert_allclose(fit.parameters, truth, rtol=1e-4)
    assert fit.chi2 < 1e-3


def test_empty_bins_are_left_out():
    k, n = throw(np.random.default_rng(7), (0.9, 14.0, 11.0), 10_000)
    k[-1] = n[-1] = 0.0
    fit, without = fit_erf(k, n, FIT_PT), fit_erf(k[:-1], n[:-1], FIT_PT[:-1])
    assert_allclose(fit.parameters, without.parameters, rtol=1e-6)


@pytest.mark.parametrize(
    ("k", "n", "message"),
    [
        ([1.0, 2, 3], [5.0, 5, 5], "6 of 15 probes pass, in 3 occupied"),
        ([5.0] * 5, [5.0] * 5, "25 of 25 probes pass"),
        ([0.0] * 5, [5.0] * 5, "0 of 25 probes pass"),
        ([900.0, 100, 900, 100, 500], [1000.0] * 5, "without a maximum"),
    ],
)
def test_counts_that_cannot_be_fitted_are_named(k, n, message):
    with pytest.raises(FitError, match=message):
        fit_erf(k, n, np.linspace(25.0, 55.0, len(k) + 1))
