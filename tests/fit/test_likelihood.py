from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar

from tests.fit.conftest import build_set, single_set
from tests.fit.oracle import oracle_nll
from wprops.channels import Process
from wprops.errors import FitError
from wprops.fit.likelihood import Likelihood, bin_terms, relative_variance
from wprops.fit.model import build_model, observed

COUNTS = np.array([0.0, 3.0, 50.0, 1000.0, 7.0])
EXPECTED = np.array([2.0, 5.0, 43.0, 1100.0, 7.0])
RELATIVE = np.array([0.1, 1.0, 1e-3, 1e-4, 0.0])


def explicit_profile(n, nu, k):
    """Minimise over β numerically, relative to the saturated model."""

    def nll(log_beta):
        beta = np.exp(log_beta)
        poisson = beta * nu - (n * np.log(beta * nu) if n else 0.0)
        return poisson + k * (beta - log_beta)

    best = minimize_scalar(nll, bracket=(-0.5, 0.5), options={"xtol": 1e-12}).fun
    return best - (n - (n * np.log(n) if n else 0.0) + k)


def test_profiled_value_is_the_minimum_over_beta():
    got = bin_terms(COUNTS, EXPECTED, RELATIVE).value
    for i in range(4):
        expected = explicit_profile(COUNTS[i], EXPECTED[i], 1 / RELATIVE[i])
        # the explicit form cancels numbers of the size k ln k ~ 1e5
        assert got[i] == pytest.approx(expected, abs=1e-9)


def test_without_template_noise_it_is_poisson():
    got = bin_terms(COUNTS, EXPECTED, np.zeros(5))
    n = np.where(COUNTS > 0, COUNTS, 1.0)
    poisson = EXPECTED - COUNTS + COUNTS * np.log(n / EXPECTED)
    assert_allclose(got.value, poisson, rtol=1e-13, atol=1e-13)
    assert_allclose(got.first, 1 - COUNTS / EXPECTED, rtol=1e-13)
    assert_allclose(got.second, COUNTS / EXPECTED**2, rtol=1e-13)


def test_small_noise_joins_smoothly_onto_none():
    none = bin_terms(COUNTS, EXPECTED, np.zeros(5))
    small = bin_terms(COUNTS, EXPECTED, np.full(5, 1e-13))
    for a, b in zip(none, small, strict=True):
        assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_bin_derivatives_are_slopes():
    step = 1e-5 * EXPECTED
    up = bin_terms(COUNTS, EXPECTED + step, RELATIVE)
    down = bin_terms(COUNTS, EXPECTED - step, RELATIVE)
    got = bin_terms(COUNTS, EXPECTED, RELATIVE)
    # relative truncation 1e-10; rounding of values ~ 10 by 1e-16/1e-5
    assert_allclose(got.first, (up.value - down.value) / (2 * step), atol=1e-9)
    assert_allclose(got.second, (up.first - down.first) / (2 * step), rtol=1e-8)


def test_information_is_the_second_derivative_at_the_expectation():
    # the second derivative is linear in n, so its mean is its value at n = ν
    at_mean = bin_terms(EXPECTED, EXPECTED, RELATIVE)
    assert_allclose(at_mean.second, at_mean.information, rtol=1e-12)
    variance = RELATIVE * EXPECTED**2
    assert_allclose(at_mean.information, 1 / (EXPECTED + variance), rtol=1e-13)


@pytest.fixture(scope="module")
def small_set():
    """One charge and one cell: compiling the oracle takes seconds already."""
    templates = build_set(n_cells=1)
    return replace(templates, channels={"Wplus": templates.channels["Wplus"]})


@pytest.mark.parametrize("barlow_beeston", [False, True])
def test_agrees_with_automatic_differentiation(small_set, barlow_beeston):
    model = build_model(small_set)
    data = observed(small_set, model)
    start = model.parameters.start
    # nuisance parameters in all three pieces of the curves
    x = start + np.array([0.1, -0.2, 0.15, 1.4, -0.6, 0.5, -1.2, 0.3, -2.3])
    relative = relative_variance(model, start) * barlow_beeston
    likelihood = Likelihood(model, data, relative, np.zeros(len(start)))
    effective = 1 / relative if barlow_beeston else None

    def nll(values):
        return oracle_nll(small_set, model.parameters, data, effective, values)

    point = likelihood.at(x)
    derivatives = jax.jit(
        lambda v: (jax.grad(nll)(v), jax.hessian(nll)(v)),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    gradient, hessian = derivatives(jnp.array(x))
    # float64 sums over 48 bins: 1e-13 of the largest element
    assert_allclose(point.gradient(), gradient, atol=1e-12 * abs(gradient).max())
    assert_allclose(point.hessian(), hessian, atol=1e-12 * abs(hessian).max())
    difference = float(nll(x) - nll(start))
    # the plain form carries constants of the order of 1e6
    got = point.value - likelihood.at(start).value
    assert got == pytest.approx(difference, abs=1e-8)


def test_a_bin_with_less_than_one_effective_event_is_named():
    nominal = np.array([[50.0, 3.0]])
    top = Process("top", "background", nominal, np.array([[5.0, 9.5]]))
    model = build_model(single_set({"top": top}))
    message = r"1 bins have less than one effective simulated event: Wplus \(0, 1\)"
    with pytest.raises(FitError, match=message):
        relative_variance(model, model.parameters.start)


def test_a_negative_expectation_has_no_value():
    nominal = np.array([[50.0, -3.0]])
    top = Process("top", "background", nominal, abs(nominal))
    model = build_model(single_set({"top": top}))
    start = model.parameters.start
    likelihood = Likelihood(model, np.array([50.0, 0.0]), np.zeros(2), start)
    assert likelihood.at(start) is None
    with pytest.raises(FitError, match=r"1 bins expect no events .*Wplus \(0, 1\)"):
        relative_variance(model, start)
