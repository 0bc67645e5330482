import numpy as np
import pytest
from numpy.testing import assert_allclose

from wprops.errors import ConfigError
from wprops.events.toy.theory import (
    N_DIRECTIONS,
    PDF_MEMBERS,
    SCALE_MEMBERS,
    member,
    pdf_deviations,
    pdf_hessian,
    pdf_weights,
    scale_weights,
)
from wprops.events.toy.truth import ToyTruth, coefficients

TRUTH = ToyTruth()


def sphere():
    """Quadrature that is exact for the products of harmonics that occur."""
    nodes, weights = np.polynomial.legendre.leggauss(12)
    phi = np.linspace(-np.pi, np.pi, 16, endpoint=False)
    c, phi = (grid.ravel() for grid in np.meshgrid(nodes, phi, indexing="ij"))
    return c, phi, np.repeat(weights, 16) * (2 * np.pi / 16)


def density(A, c, phi):
    s = np.sqrt(1 - c**2)
    return (3 / (16 * np.pi)) * (
        1
        + c**2
        + A[0] * (1 - 3 * c**2) / 2
        + A[1] * 2 * s * c * np.cos(phi)
        + A[2] * s**2 * np.cos(2 * phi) / 2
        + A[3] * s * np.cos(phi)
        + A[4] * c
    )


@pytest.mark.parametrize(
    ("weights", "names"), [(pdf_weights, PDF_MEMBERS), (scale_weights, SCALE_MEMBERS)]
)
@pytest.mark.parametrize(
    ("charge", "qt", "y"), [(1, 30.0, 1.3), (-1, 4.0, -2.2), (0, 90.0, 0.4)]
)
def test_weighted_decays_are_those_of_the_member(weights, names, charge, qt, y):
    c, phi, measure = sphere()
    at = (np.full_like(c, qt), np.full_like(c, y), c, phi)
    nominal = density(coefficients(TRUTH, charge, qt, y), c, phi)
    varied = weights(TRUTH, charge, *at) * nominal[:, None]
    for column, name in enumerate(names):
        ratio, A = member(TRUTH, name, charge, qt, y)
        # float32 weights
        assert_allclose(varied[:, column], ratio * density(A, c, phi), rtol=1e-6)
        assert_allclose(measure @ varied[:, column], ratio, rtol=1e-6)


def test_scales_in_the_middle_are_nominal():
    c, phi, _ = sphere()
    at = (np.full_like(c, 10.0), np.full_like(c, 1.0), c, phi)
    weights = scale_weights(TRUTH, 1, *at)
    assert_allclose(weights[:, 4], 1.0)
    assert np.abs(np.delete(weights, 4, axis=1) - 1).max(axis=0).min() > 1e-3


def test_alphas_members_follow_the_formula():
    ratio, A = member(TRUTH, "alphas_up", 1, 20.0, 1.0)
    assert_allclose(ratio, np.exp(0.01 * (1 - 0.5 * np.log(3.0))))
    expected = coefficients(TRUTH, 1, 20.0, 1.0) * np.array([1.03, 1, 1.03] + 5 * [1])
    assert_allclose(A, expected)


def test_odd_legendre_terms_change_sign_between_charges():
    logs = {
        charge: np.log(
            [member(TRUTH, "pdf_007", charge, 5.0, y)[0] for y in (1.0, 4.0)]
        )
        for charge in (1, -1)
    }
    # |Y| = 1 and 4 are mirror points of the polynomial's argument.
    assert_allclose(logs[1], logs[-1][::-1], rtol=1e-12)


def test_rapidity_beyond_five_is_that_at_five():
    first, second = (member(TRUTH, "pdf_001", 1, 5.0, y)[0] for y in (5.0, 7.0))
    assert_allclose(first, second)


def test_hessian_reproduces_the_covariance_of_the_replicas():
    deviations = pdf_deviations(TRUTH)
    matrix = pdf_hessian(TRUTH)
    assert matrix.shape == (100, N_DIRECTIONS)
    directions = matrix.T @ deviations
    covariance = np.cov(deviations, rowvar=False)
    # Beyond nine linear directions only squares of per-cent deviations remain.
    difference = directions.T @ directions - covariance
    assert np.abs(difference).max() < 1e-3 * np.abs(covariance).max()
    assert np.linalg.norm(directions, axis=1).min() > 1e-2


def test_unknown_member_is_refused():
    with pytest.raises(ConfigError, match=r"'pdf_101'.*pdf_100"):
        member(TRUTH, "pdf_101", 1, 1.0, 1.0)
