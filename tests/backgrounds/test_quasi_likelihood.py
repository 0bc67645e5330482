import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import poisson

from wprops.backgrounds.quasi_likelihood import Split, deviance, profile

PT = np.linspace(25.5, 54.5, 30)
ONE, ZERO = np.ones(()), np.zeros(())


def counted(passing, failing, extra=(ZERO, ZERO)):
    return Split(passing, failing, ONE, ONE, *extra)


def test_total_is_the_profile_of_the_likelihood():
    rng = np.random.default_rng(1)
    x, y = (rng.uniform(5.0, 50.0, len(PT)) for _ in range(2))
    background = tuple(rng.uniform(1.0, 20.0, len(PT)) for _ in range(2))
    split = counted(x, y, background)
    rate = np.full(len(PT), 0.4)
    total, residual, variance = profile(split, rate)
    # Poisson likelihood of x + b and y + b' at fixed rate, maximised by brute force.
    for b in range(3):

        def score(t, b=b):
            terms = (
                (rate[b], x[b], background[0][b]),
                (1 - rate[b], y[b], background[1][b]),
            )
            return sum(r * ((n + m) / (r * t + m) - 1) for r, n, m in terms)

        low, high = 0.99 * total[b], 1.01 * total[b]
        assert score(low) > 0 > score(high)
        assert abs(score(total[b])) < 1e-10
    assert_allclose(residual, 0.6 * x - 0.4 * y)
    expected = 0.36 * (0.4 * total + background[0]) + 0.16 * (
        0.6 * total + background[1]
    )
    assert_allclose(variance, expected)


def test_deviance_is_that_of_the_poisson_likelihood():
    rng = np.random.default_rng(2)
    prompt = 5.0 + 0.1 * PT, 2.0 + 0.0 * PT
    n, m = rng.poisson(30.0 + prompt[0]), rng.poisson(60.0 + prompt[1])
    split = counted(n - prompt[0], m - prompt[1], prompt)
    values = []
    for rate in (np.full(len(PT), 0.3), np.full(len(PT), 0.4)):
        total = profile(split, rate).total
        means = rate * total + prompt[0], (1 - rate) * total + prompt[1]
        log = poisson.logpmf(n, means[0]) + poisson.logpmf(m, means[1])
        values.append((deviance(split, rate), -2 * log.sum()))
    (one, reference), (other, other_reference) = values
    assert_allclose(one - other, reference - other_reference, rtol=1e-9)


@pytest.mark.parametrize("centre", [0.3, 0.97, 0.9995, 1.002])
def test_derivative_of_the_deviance_is_the_score(centre):
    """Also beyond the margin at a rate of 1, and with weights."""
    rng = np.random.default_rng(3)
    split = Split(
        passing=rng.uniform(50.0, 90.0, len(PT)),
        failing=rng.uniform(1.0, 5.0, len(PT)),
        passing_scale=0.3 * ONE,
        failing_scale=0.4 * ONE,
        passing_extra=2.0 * ONE,
        failing_extra=ZERO,
    )
    rate = np.full(len(PT), centre)
    step = 1e-6
    difference = deviance(split, rate + step) - deviance(split, rate - step)
    total, residual, variance = profile(split, rate)
    score = -2 * np.sum(total * residual / variance)
    assert_allclose(difference / (2 * step), score, rtol=1e-5)


@pytest.mark.parametrize("left", [-0.5, -1.0, -2.5])
def test_the_score_holds_where_a_subtraction_leaves_less_than_nothing(left):
    """Also where the predicted variance of the observed difference is negative."""
    x, y = np.array([20.0, left]), np.array([60.0, 3.0])
    split = counted(x, y, (1.0 * ONE, 0.2 * ONE))
    rate, step = np.full(2, 0.25), 1e-6
    difference = deviance(split, rate + step) - deviance(split, rate - step)
    total, residual, variance = profile(split, rate)
    assert (total > 0).all()
    score = -2 * np.sum(total * residual / variance)
    assert_allclose(difference / (2 * step), score, rtol=1e-5)


def test_bins_with_negative_weights_keep_everything_finite():
    split = counted(np.array([5.0, -1.0, 0.0, 0.0]), np.array([-3.0, 2.0, 0.0, -9.0]))
    rate = np.full(4, 0.4)
    assert np.isfinite(deviance(split, rate))
    total, residual, variance = profile(split, rate)
    assert (total >= 0).all()
    assert np.isfinite(residual).all()
    assert variance[2] == 0
