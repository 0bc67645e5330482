import numpy as np
import pytest
from numpy.testing import assert_allclose

from wprops.fit.interpolation import (
    bounded_square,
    coefficients,
    has_logarithm,
    mirrored,
    smooth_abs,
)

NOMINAL = np.array([10.0, 20.0, 5.0])
UP = np.array([12.0, 19.0, 5.5])
DOWN = np.array([9.0, 20.5, 4.9])


def evaluate(kind, theta, up=UP, down=DOWN):
    slope, bend = coefficients(kind, NOMINAL, up, down)
    if kind == "lognormal":
        return NOMINAL * np.exp(slope * theta + bend * smooth_abs(theta).value)
    return NOMINAL + slope * theta + bend * bounded_square(theta).value


@pytest.mark.parametrize("kind", ["lognormal", "quadratic"])
def test_templates_are_met_at_plus_and_minus_one(kind):
    assert_allclose(evaluate(kind, 0.0), NOMINAL, rtol=1e-15)
    assert_allclose(evaluate(kind, 1.0), UP, rtol=1e-14)
    assert_allclose(evaluate(kind, -1.0), DOWN, rtol=1e-14)


def test_linear_keeps_the_odd_part_only():
    assert_allclose(evaluate("linear", 2.0), NOMINAL + UP - DOWN, rtol=1e-15)


@pytest.mark.parametrize("kind", ["lognormal", "linear", "quadratic"])
def test_a_one_sided_source_is_mirrored_by_its_interpolation(kind):
    down = mirrored(kind, NOMINAL, UP)
    expected = NOMINAL**2 / UP if kind == "lognormal" else 2 * NOMINAL - UP
    assert_allclose(evaluate(kind, -1.0, UP, down), expected, rtol=1e-14)
    # and then nothing is left of the bend
    assert_allclose(coefficients(kind, NOMINAL, UP, down)[1], 0, atol=1e-14)


@pytest.mark.parametrize("curve", [smooth_abs, bounded_square])
def test_curves_are_even_and_twice_continuously_differentiable(curve):
    theta = np.linspace(-3.0, 3.0, 2401)
    got = curve(theta)
    step = 1e-5
    up, down = curve(theta + step), curve(theta - step)
    # central differences: error step² f'''/6 < 1e-9 off the knots, step f'' on them
    assert_allclose(got.first, (up.value - down.value) / (2 * step), atol=1e-4)
    assert_allclose(got.second, (up.first - down.first) / (2 * step), atol=1e-4)
    assert_allclose(got.value, got.value[::-1], atol=1e-14)
    # third derivatives are below 15: neighbours 0.0025 apart differ by < 0.04
    assert abs(np.diff(got.second)).max() < 0.04


def test_curves_beyond_their_templates():
    assert_allclose(smooth_abs(1.7), (1.7, 1.0, 0.0))
    assert_allclose(bounded_square([2.0, 5.0]).first, [3.0, 3.0])


def test_a_sign_change_or_a_single_zero_has_no_logarithm():
    assert has_logarithm(NOMINAL, UP, DOWN)
    assert has_logarithm(-NOMINAL, -UP)
    assert not has_logarithm(NOMINAL, UP * [1, -1, 1])
    assert not has_logarithm(NOMINAL, UP * [1, 0, 1])
    assert not has_logarithm(NOMINAL * [1, -1, 1], UP * [1, -1, 1])
    assert has_logarithm(NOMINAL * [1, 0, 1], UP * [1, 0, 1])
