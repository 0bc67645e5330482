"""Mass spectra: Breit-Wigner functions and distorted ones are told apart."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad

from wprops.errors import ConfigError, FitError, TemplateError
from wprops.events.toy.parameters import W_PLUS
from wprops.factorised.line_shape import LineShape, fit_line_shape
from wprops.factorised.panels import MASS
from wprops.physics.breit_wigner import fixed_width, line_shape, mass_weight

POLE, WIDTH = W_PLUS.mass, W_PLUS.width
GIVEN = {"pole": POLE, "width": WIDTH}


def expected(n, tilt=0.0, **shape):
    """Counts of a Breit-Wigner times exp(tilt (m − 80)), by quadrature."""
    x, w = np.polynomial.legendre.leggauss(5)
    half = np.diff(MASS)[:, None] / 2
    mass = (MASS[1:] + MASS[:-1])[:, None] / 2 + half * x
    density = line_shape(mass, **(GIVEN | shape)) * np.exp(tilt * (mass - 80))
    counts = (density * half * w).sum(axis=1)
    return n * counts / counts.sum()


def integral(function, shape):
    points = [shape.pole - 2, shape.pole, shape.pole + 2]
    return quad(function, *shape.window, points=points, epsabs=1e-12, limit=400)[0]


@pytest.mark.parametrize("n", [1e4, 1e6, 1e8])
def test_counts_of_the_toy_need_no_polynomial(n):
    rng, chosen, p = np.random.default_rng(1), [], []
    for _ in range(40):
        counts = rng.poisson(expected(n)).astype(float)
        fit = fit_line_shape(counts, counts, **GIVEN)
        chosen.append(len(fit.coefficients) - 1)
        p.append(fit.p_value)
    # A polynomial by chance in one of a thousand samples.
    assert np.sum(np.array(chosen) > 0) <= 1
    assert 0.3 < np.mean(p) < 0.7
    flat = fit_line_shape(expected(n), expected(n), **GIVEN)
    assert_allclose(flat.coefficients, [1.0], rtol=1e-12)


def test_a_tilt_is_found():
    counts = np.random.default_rng(2).poisson(expected(1e8, tilt=0.01)).astype(float)
    fit = fit_line_shape(counts, counts, **GIVEN)
    assert len(fit.coefficients) > 1
    assert fit.p_value > 1e-3
    mass = np.array([60.0, 78.0, 80.4, 83.0, 100.0])

    def truth(m):
        return line_shape(m, **GIVEN) * np.exp(0.01 * (m - 80))

    off = fit.density(mass) / (truth(mass) / integral(truth, fit)) - 1
    assert (abs(off) < [0.02, 1e-3, 1e-3, 1e-3, 0.02]).all()
    assert integral(fit.density, fit) == pytest.approx(1.0, abs=1e-9)


def test_weights_of_both_signs_have_the_right_chi2():
    rng, p = np.random.default_rng(3), []
    for _ in range(60):
        plus, minus = (rng.poisson(2 * expected(1e5)) for _ in range(2))
        counts, squares = plus - 0.5 * minus, plus + 0.25 * minus
        fit = fit_line_shape(counts, squares, **GIVEN, degree=0)
        p.append(fit.p_value)
    assert (counts < 0).any()
    assert abs(np.mean(p) - 0.5) < 4 * np.sqrt(1 / 12 / 60)


def test_another_mass_is_refused_by_name():
    counts = expected(1e8, pole=POLE + 0.3)
    with pytest.raises(FitError, match=r"M = 80.3790.*chi2/ndf = .*catalogue"):
        fit_line_shape(counts, counts, **GIVEN)
    fit = fit_line_shape(counts, counts, **GIVEN, accept=True)
    assert fit.p_value < 1e-4


def test_a_running_width_is_that_of_a_shifted_fixed_one():
    counts = expected(1e8, running=True)
    fit = fit_line_shape(counts, counts, **GIVEN, running=True)
    assert (fit.pole, fit.width) == fixed_width(POLE, WIDTH)
    assert fit.coefficients == pytest.approx((1.0,))
    with pytest.raises(FitError, match="does not describe"):
        fit_line_shape(counts, counts, **GIVEN, degree=0)


@pytest.mark.parametrize("running", [False, True])
def test_shifts_of_the_sample_are_those_of_event_weights(running):
    pole, width = fixed_width(POLE, WIDTH) if running else (POLE, WIDTH)
    shape = LineShape(pole=pole, width=width, window=(50.0, 120.0), running=running)
    moved = shape.shifted(0.05, -0.02)
    mass = np.linspace(50.5, 119.5, 200)
    weight = mass_weight(
        mass, **GIVEN, new_pole=POLE + 0.05, new_width=WIDTH - 0.02, running=running
    )
    assert_allclose(moved.density(mass) / shape.density(mass), weight, rtol=1e-12)


def test_a_shifted_polynomial_is_normalised():
    shape = LineShape(
        pole=POLE, width=WIDTH, window=(50.0, 120.0), coefficients=(1.0, 0.3, -0.2)
    )
    norm = integral(shape.density, shape)
    for shift in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.3)):
        moved = shape.shifted(*shift)
        assert integral(moved.density, moved) == pytest.approx(1.0, abs=1e-9)
        assert_allclose(
            np.array(moved.coefficients) / moved.coefficients[0], [1.0, 0.3, -0.2]
        )
    same = np.array(shape.shifted().coefficients)
    assert_allclose(same, np.array(shape.coefficients) / norm, rtol=1e-8)


def test_bad_input_is_refused_by_name():
    counts = expected(1e6)
    with pytest.raises(TemplateError, match=r"shapes \(1399,\).*expected \(1400,\)"):
        fit_line_shape(counts[1:], counts[1:], **GIVEN)
    with pytest.raises(TemplateError, match="sum of weights of 0"):
        fit_line_shape(0 * counts, counts, **GIVEN)
    with pytest.raises(TemplateError, match=r"degree 7.*0 to 4"):
        fit_line_shape(counts, counts, **GIVEN, degree=7)
    shape = LineShape(pole=POLE, width=WIDTH, window=(50.0, 120.0))
    with pytest.raises(ConfigError, match=r"width of -0.9\d* GeV"):
        shape.shifted(0.0, -3.0)
