import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import chi2

from tests.physics.quadrature import sphere
from wprops.events.toy.sampling import sample_bosons
from wprops.events.toy.truth import ToyTruth, bin_truth, coefficients
from wprops.physics.harmonics import decay_density, harmonics
from wprops.physics.moments import (
    angular_coefficients,
    coefficients_from_sums,
    helicity_weights,
)

#: ⟨P_i⟩ of 1 + c² alone, and of each P_i alone on the diagonal.
UNPOLARISED = (-1 / 10, 0, 0, 0, 0, 0, 0, 0)
DIAGONAL = np.diag([3 / 20, 1 / 5, 1 / 20, 1 / 4, 1 / 4, 1 / 5, 1 / 5, 1 / 4])


@given(st.lists(st.floats(-0.2, 0.2), min_size=8, max_size=8).map(np.array))
def test_moments_invert_the_density(A):
    c, phi, measure = sphere()
    found, _ = angular_coefficients(c, phi, decay_density(c, phi, A) * measure)
    assert_allclose(found, A, atol=1e-12)


@pytest.mark.parametrize("charge", [1, -1])
def test_coefficients_of_a_million_decays_are_those_of_the_truth(charge):
    truth = ToyTruth()
    bosons = sample_bosons(truth, charge, 1_000_000, np.random.default_rng(7))
    inside = (bosons.qt < 60) & (np.abs(bosons.y) < 2.4)
    found, errors = angular_coefficients(
        bosons.costheta[inside], bosons.phistar[inside]
    )
    _, expected = bin_truth(truth, charge, [0.0, 60.0], [0.0, 2.4])
    pulls = (found - expected[:, 0, 0]) / errors
    # Eight nearly independent pulls: a probability below 1e-4 would be a mistake.
    assert chi2.sf(np.sum(pulls**2), 8) > 1e-4
    # The charges differ in the sign of A3 and A4.
    assert np.sign(found[3]) == np.sign(found[4]) == -charge
    assert abs(found[4]) > 20 * errors[4]


def test_errors_are_the_spread_of_repeated_samples():
    rng = np.random.default_rng(5)
    n, repeats = 2000, 400
    found, errors = [], []
    for _ in range(repeats):
        weight = rng.choice([1.0, 1.0, 1.0, -1.0], n) * rng.uniform(0.5, 1.5, n)
        A, error = angular_coefficients(
            rng.uniform(-1, 1, n), rng.uniform(-np.pi, np.pi, n), weight
        )
        found.append(A)
        errors.append(error)
    ratio = np.std(found, axis=0) / np.mean(errors, axis=0)
    # The spread of 400 repetitions is known to 3.5 %; four of its errors.
    assert_allclose(ratio, 1.0, atol=0.15)


def test_covariance_of_sums_is_that_of_the_events():
    rng = np.random.default_rng(6)
    c, phi, w = rng.uniform(-1, 1, 500), rng.uniform(-3, 3, 500), rng.normal(1, 1, 500)
    P = harmonics(c, phi)
    _, covariance = coefficients_from_sums(
        w.sum(), (w * P).sum(1), (w @ w, P @ w**2, (P * w**2) @ P.T)
    )
    _, errors = angular_coefficients(c, phi, w)
    assert_allclose(np.sqrt(np.diag(covariance)), errors)
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_components_add_up_to_one():
    rng = np.random.default_rng(8)
    c, phi = rng.uniform(-1, 1, 10_000), rng.uniform(-np.pi, np.pi, 10_000)
    A = np.array([0.3, 0.05, 0.25, -0.1, -0.8, 0.02, -0.03, 0.01])[:, None]
    weights = helicity_weights(c, phi, np.broadcast_to(A, (8, 10_000)))
    assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("charge", [1, -1])
def test_reweighted_decays_have_the_moments_of_pure_harmonics(charge):
    """On an exact quadrature of the sphere, at a point with all A_i."""
    c, phi, measure = sphere()
    A = coefficients(ToyTruth(), charge, 25.0, 1.7)[:, None] + 0.01
    probability = decay_density(c, phi, A[:, 0]) * measure
    weights = helicity_weights(
        c, phi, np.broadcast_to(A, (8, len(c))), weighting="sigma"
    )
    moments = (probability[:, None] * weights).T @ harmonics(c, phi).T
    assert_allclose(moments[0], UNPOLARISED, atol=1e-14)
    assert_allclose(moments[1:], DIAGONAL, atol=1e-13)


@pytest.mark.parametrize("charge", [1, -1])
def test_a_reweighted_sample_has_the_moments_of_pure_harmonics(charge):
    """The same for a simulated sample, within its statistical error."""
    truth = ToyTruth()
    bosons = sample_bosons(truth, charge, 400_000, np.random.default_rng(9))
    A = coefficients(truth, charge, bosons.qt, bosons.y)
    weights = helicity_weights(bosons.costheta, bosons.phistar, A, weighting="sigma")
    P = harmonics(bosons.costheta, bosons.phistar)
    expected = np.vstack([UNPOLARISED, DIAGONAL])
    pulls = []
    for component in range(9):
        values = weights[:, component] * P
        error = values.std(axis=1) / np.sqrt(values.shape[1])
        pulls.append((values.mean(axis=1) - expected[component]) / error)
    # 72 correlated pulls: none beyond 4.5, RMS within a quarter of 1.
    assert np.abs(pulls).max() < 4.5
    assert 0.7 < np.sqrt(np.mean(np.square(pulls))) < 1.3


def test_coefficients_of_no_sample_are_refused():
    A = np.zeros((8, 1))
    A[4] = 5.0
    with pytest.raises(ValueError, match="not positive for 1 events"):
        helicity_weights([-0.9], [0.0], A)


def test_zero_total_weight_is_refused():
    with pytest.raises(ValueError, match="sum to zero in 1 of 1"):
        angular_coefficients([0.1, 0.2], [0.0, 0.0], weight=[1.0, -1.0])
