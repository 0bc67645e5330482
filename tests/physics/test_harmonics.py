import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import dblquad

from tests.physics.quadrature import sphere
from wprops.physics.harmonics import decay_density, harmonics, unpolarised

NORM = 3 / (16 * np.pi)
#: Integrals of (1 + c²) P_i and of P_i P_j against the density's normalisation.
OFFSETS = {0: -1 / 10}
DIAGONAL = (3 / 20, 1 / 5, 1 / 20, 1 / 4, 1 / 4, 1 / 5, 1 / 5, 1 / 4)


def test_harmonics_are_the_written_formulas():
    rng = np.random.default_rng(2)
    theta, phi = np.arccos(rng.uniform(-1, 1, 100)), rng.uniform(-np.pi, np.pi, 100)
    expected = [
        (1 - 3 * np.cos(theta) ** 2) / 2,
        np.sin(2 * theta) * np.cos(phi),
        np.sin(theta) ** 2 * np.cos(2 * phi) / 2,
        np.sin(theta) * np.cos(phi),
        np.cos(theta),
        np.sin(theta) ** 2 * np.sin(2 * phi),
        np.sin(2 * theta) * np.sin(phi),
        np.sin(theta) * np.sin(phi),
    ]
    assert_allclose(harmonics(np.cos(theta), phi), expected, atol=1e-14)


def test_density_integrates_to_one_for_any_coefficients():
    c, phi, measure = sphere()
    A = np.random.default_rng(3).uniform(-1, 1, 8)
    assert_allclose(measure @ decay_density(c, phi, A), 1.0, rtol=1e-13)


def test_density_against_adaptive_integration():
    A = np.array([0.3, -0.1, 0.25, 0.08, -0.9, 0.05, -0.02, 0.03])
    # dblquad is asked for its default 1.5e-8 absolute.
    total, _ = dblquad(lambda f, c: decay_density(c, f, A), -1, 1, -np.pi, np.pi)
    assert_allclose(total, 1.0, atol=1e-7)


@pytest.mark.parametrize("i", range(8))
def test_moments_of_the_density(i):
    c, phi, measure = sphere()
    P = harmonics(c, phi)
    assert_allclose(
        NORM * (measure * unpolarised(c)) @ P[i], OFFSETS.get(i, 0.0), atol=1e-14
    )
    products = NORM * (measure * P[i]) @ P.T
    assert_allclose(products, DIAGONAL[i] * np.eye(8)[i], atol=1e-14)


def test_coefficients_may_vary_along_events():
    A = np.zeros((8, 3))
    A[4] = [0.0, 1.0, -1.0]
    values = decay_density(np.full(3, 0.5), np.zeros(3), A) / NORM
    assert_allclose(values, [1.25, 1.75, 0.75])
