import numpy as np
import pytest
from numpy.testing import assert_allclose

from wprops.errors import FitError
from wprops.fit.covariance import correlation, covariance, factorise, flat_directions


def hilbert(n):
    return 1.0 / (np.arange(n)[:, None] + np.arange(n)[None, :] + 1)


def test_scales_of_parameters_do_not_spoil_the_inverse():
    matrix = hilbert(4)
    scale = np.logspace(-9, 9, 4)
    inverse = factorise(matrix * np.outer(scale, scale)).inverse()
    # condition number of the Hilbert matrix of order 4: 1.6e4
    product = inverse * np.outer(scale, scale) @ matrix
    assert_allclose(product, np.eye(4), atol=1e-11)
    assert (inverse == inverse.T).all()


def test_solving_agrees_with_the_inverse():
    factor = factorise(hilbert(3))
    right = np.array([1.0, -2.0, 0.5])
    assert_allclose(factor.solve(right), factor.inverse() @ right, rtol=1e-10)


@pytest.mark.parametrize(
    "matrix", [np.diag([1.0, -1.0]), np.diag([1.0, 0.0]), np.full((2, 2), np.nan)]
)
def test_what_is_not_positive_definite_has_no_factor(matrix):
    assert factorise(matrix) is None


def test_covariance_names_the_direction_that_is_missing():
    hessian = np.array([[2.0, 2.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 5.0]])
    with pytest.raises(FitError, match=r"along \+0.71 a -0.71 b; merge cells"):
        covariance(hessian, ["a", "b", "c"])


def test_a_parameter_without_information_is_flat():
    assert flat_directions(np.diag([3.0, 0.0]), ["a", "b"]) == ["+1.00 b"]


def test_correlation_has_a_unit_diagonal():
    matrix = correlation(np.linalg.inv(hilbert(4)))
    assert_allclose(np.diag(matrix), 1.0, rtol=1e-12)
    assert (abs(matrix) <= 1 + 1e-12).all()
