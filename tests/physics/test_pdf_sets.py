import numpy as np
import pytest
from numpy.testing import assert_allclose

from wprops.physics.pdf_sets import hessian_matrix


@pytest.fixture
def replicas():
    """Forty replicas of three independent shapes on twenty points."""
    rng = np.random.default_rng(1)
    return rng.normal(0, [0.03, 0.02, 0.01], (40, 3)) @ rng.normal(size=(3, 20))


def test_directions_have_the_covariance_of_the_replicas(replicas):
    directions = hessian_matrix(replicas, 3).T @ replicas
    assert_allclose(directions.T @ directions, np.cov(replicas, rowvar=False))


def test_directions_come_in_falling_size_with_a_positive_peak(replicas):
    directions = hessian_matrix(replicas, 3).T @ replicas
    norms = np.linalg.norm(directions, axis=1)
    assert (np.diff(norms) < 0).all()
    peaks = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
    assert (peaks > 0).all()


def test_a_common_shift_of_all_replicas_is_no_uncertainty(replicas):
    assert_allclose(
        hessian_matrix(replicas + 0.5, 3).T @ (replicas + 0.5),
        hessian_matrix(replicas, 3).T @ replicas,
        atol=1e-12,
    )


def test_more_directions_than_there_are_is_refused(replicas):
    with pytest.raises(ValueError, match="3 independent directions, not 4"):
        hessian_matrix(replicas, 4)
