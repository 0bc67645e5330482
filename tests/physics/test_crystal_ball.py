import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, stats

from wprops.physics.crystal_ball import crystal_ball_quantile


def crystal_ball(x, alpha, power):
    """Density of the symmetric Crystal Ball, up to its normalisation."""
    if abs(x) < alpha:
        return math.exp(-0.5 * x**2)
    b = power / alpha - alpha
    return (power / alpha) ** power * math.exp(-0.5 * alpha**2) * (b + abs(x)) ** -power


def integral(low, high, alpha, power):
    """Integral of the Crystal Ball by quadrature, piece by piece in x = sinh t."""
    far = 1e4 * math.exp(60 / (power - 1))  # the rest is below 1e-26
    low, high = max(low, -far), min(high, far)
    edges = [low, *(x for x in (-alpha, 0.0, alpha) if low < x < high), high]

    def integrand(t):
        return crystal_ball(math.sinh(t), alpha, power) * math.cosh(t)

    return sum(
        integrate.quad(integrand, math.asinh(a), math.asinh(b), epsabs=0, epsrel=1e-11)[
            0
        ]
        for a, b in pairwise(edges)
    )


@pytest.mark.parametrize(
    ("alpha", "power"), [(0.7, 1.3), (1.5, 3.0), (2.2, 4.5), (2.5, 149.0)]
)
@pytest.mark.parametrize("u", [1e-6, 0.01, 0.2, 0.4999, 0.5, 0.7, 0.97, 0.999999])
def test_quantile_inverts_the_integral(u, alpha, power):
    x = crystal_ball_quantile(u, alpha, power).item()
    total = integral(-np.inf, np.inf, alpha, power)
    if x < 0:
        below = integral(-np.inf, x, alpha, power) / total
        assert below == pytest.approx(u, rel=1e-9)
    else:
        above = integral(x, np.inf, alpha, power) / total
        assert above == pytest.approx(1 - u, rel=1e-9)


def test_quantile_without_tails_is_that_of_the_normal():
    # RoccoR2018.txt has alpha = 100 in some members.
    u = np.array([1e-12, 0.1, 0.5, 0.9])
    assert_allclose(crystal_ball_quantile(u, 100.0, 100.0), stats.norm.ppf(u), 1e-12)


def test_quantile_is_odd_and_continuous_where_the_tails_begin():
    u = np.linspace(1e-4, 1 - 1e-4, 20001)
    x = crystal_ball_quantile(u, 1.2, 3.5)
    assert_allclose(x, -x[::-1], rtol=0, atol=1e-9)
    inner = np.abs(x) < 3
    assert 0 < np.diff(x[inner]).min() <= np.diff(x[inner]).max() < 0.01
