import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.stats import kstest

from wprops.errors import FitError
from wprops.fit.smoothing import Comparison, Departures, independent, l_curve, scatter


def measured(n=40, *, decades=3.0, true=0.0, seed=1):
    """Departures that scatter by ``true``, errors around 0.01 over some decades."""
    rng = np.random.default_rng(seed)
    variance = np.sort(1e-4 * 10 ** rng.uniform(-decades, decades, n))
    z = true * rng.standard_normal(n) + np.sqrt(variance) * rng.standard_normal(n)
    return Departures(z, variance)


def test_what_is_left_minimises_misfit_and_penalty():
    rng = np.random.default_rng(2)
    matrix = rng.standard_normal((5, 5))
    covariance, z = matrix @ matrix.T, rng.standard_normal(5)
    inverse = np.linalg.inv(covariance)
    curve = l_curve(independent(z, covariance), 0)
    i = 60
    strength = curve.strength[i]

    def loss(left):
        away = left - z
        return away @ inverse @ away + strength * left @ left

    left = minimize(loss, z, tol=1e-12).x
    away = left - z
    assert curve.misfit[i] == pytest.approx(away @ inverse @ away, abs=1e-6)
    assert curve.roughness[i] == pytest.approx(left @ left, abs=1e-6)
    # effective parameters: trace of the derivatives of what is left in z
    kept = np.linalg.inv(np.eye(5) + strength * covariance)
    assert curve.parameters[i] == pytest.approx(np.trace(kept))


def test_a_departure_that_cannot_move_is_refused():
    with pytest.raises(FitError, match="in 1 of 2 directions"):
        independent(np.ones(2), np.diag([0.0, 1.0]))


def test_curvature_is_that_of_the_curve():
    curve = l_curve(measured(true=0.01), 7)
    x, y = np.log(curve.misfit), np.log(curve.roughness)
    t = np.log(curve.strength)
    first, second = (lambda v: np.gradient(v, t)), (lambda v: np.gradient(first(v), t))
    numeric = first(x) * second(y) - second(x) * first(y)
    numeric /= (first(x) ** 2 + first(y) ** 2) ** 1.5
    # differences of second order on 121 points
    assert_allclose(curve.curvature[5:-5], numeric[5:-5], atol=0.02)
    assert curve.parameters[0] == pytest.approx(47, abs=0.5)
    assert curve.parameters[-1] == pytest.approx(7, abs=0.5)


def test_the_corner_is_close_to_the_best_strength():
    """Noise over six decades, and departures that scatter by 0.02."""
    ratios = []
    for seed in range(40):
        departures = measured(300, true=0.02, seed=seed)
        curve = l_curve(departures, 0)
        assert curve.corner is not None
        ratios.append(curve.strength[curve.corner] * 0.02**2)
    assert 0.2 < np.median(ratios) < 5


def test_noise_that_is_the_same_everywhere_makes_no_corner():
    for true in (0.0, 0.02):
        assert l_curve(measured(300, decades=1e-3, true=true), 0).corner is None


def test_nothing_departs_from_a_smooth_truth():
    exact = measured()
    assert l_curve(Departures(0 * exact.z, exact.variance), 1) is None


def test_the_scatter_of_departures_is_found():
    found = [scatter(measured(200, true=0.02, seed=seed)) for seed in range(60)]
    assert np.mean(found) == pytest.approx(0.02, rel=0.02)
    none = [scatter(measured(200, seed=seed)) for seed in range(60)]
    # errors begin at 0.0003; half of the maxima lie at zero
    assert np.mean(none) < 2e-4
    assert none.count(0.0) > 10


def test_p_values_of_added_polynomials_are_uniform():
    """Polynomials fitted to noise of known size, the added ones not needed."""
    rng = np.random.default_rng(5)
    x = np.linspace(-1, 1, 30)
    p = {"p_f": [], "p_chi2": []}
    for _ in range(400):
        y = 1 + x + rng.standard_normal(30)
        chi2 = [
            ((y - np.polyval(np.polyfit(x, y, degree), x)) ** 2).sum()
            for degree in (1, 4)
        ]
        test = Comparison("more", 3, *chi2, 25)
        for name, values in p.items():
            values.append(getattr(test, name))
        assert test.p_value == max(test.p_f, test.p_chi2)
    for values in p.values():
        assert kstest(values, "uniform").pvalue > 1e-3
