import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.fit.cells import toy_maps
from wprops.fit.positivity import check_positivity, smallest_density
from wprops.physics.harmonics import NORM, decay_density


def test_the_minimum_is_that_of_a_fine_grid():
    A = np.random.default_rng(3).uniform(-1, 1, (5, 40))
    c, phi = np.meshgrid(np.linspace(-1, 1, 401), np.linspace(0, np.pi, 401))
    full = np.concatenate([A, np.zeros((3, 40))])
    grid = [decay_density(c, phi, full[:, i]).min() / NORM for i in range(40)]
    found, costheta, angle = smallest_density(A)
    assert_allclose(found, grid, atol=2e-4)
    assert (found <= np.array(grid) + 1e-5).all()
    there = [
        decay_density(x, y, full[:, i]) / NORM
        for i, (x, y) in enumerate(zip(costheta, angle, strict=True))
    ]
    assert_allclose(found, there)


def test_known_minima():
    # longitudinal at 90°, left-handed backward, and 1 + c² itself
    A = np.array([[2, 0, 0, 0, 0], [0, 0, 0, 0, 2.0], [0, 0, 0, 0, 0]]).T
    minimum, costheta, _ = smallest_density(A)
    assert_allclose(minimum, [0, 0, 1], atol=1e-12)
    assert_allclose(abs(costheta), [1, 1, 0], atol=1e-12)
    assert smallest_density(-A)[0][0] == pytest.approx(0.0, abs=1e-12)


def test_the_toy_is_positive():
    A = toy_maps().coefficients[:5].reshape(5, -1)
    found = check_positivity(A, np.zeros((66, 5, 5)))
    assert found.n_negative == 0
    assert found.worst == 0
    # W+ at large |Y|: 1 + c² + A4 c with A4 of 1.2
    assert 0.2 < found.minimum.min() < 0.5


def test_the_error_of_the_minimum_is_its_scatter():
    rng = np.random.default_rng(4)
    A = np.array([0.3, 0.1, 0.25, -0.1, -1.9])
    error = 0.02 * np.array([1, 2, 1, 1, 3])
    covariance = np.outer(error, error) * (0.5 + 0.5 * np.eye(5))
    found = check_positivity(A[:, None], covariance[None])
    thrown = rng.multivariate_normal(A, covariance, 4000)
    scatter = smallest_density(thrown.T)[0].std()
    # 4 standard errors; the minimum bends a little
    assert found.error[0] == pytest.approx(scatter, rel=4 / np.sqrt(8000) + 0.02)
    assert found.n_negative == 1
    assert found.worst == pytest.approx(-found.minimum[0] / found.error[0])
