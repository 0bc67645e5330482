"""Exact relations of noise floor, corrected score and gate."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.fit.two_processes import (
    DISPLACED,
    corrected,
    corrected_fit,
    cross_fit,
    products,
    throw,
)
from wprops.errors import FitError
from wprops.fit.corrected_score import (
    fold_noise_floor,
    gate_level,
    response,
    sandwich,
    spectrum,
)


@pytest.fixture(scope="module")
def one():
    replicas = throw(DISPLACED, n=1)
    return replicas, corrected(replicas)[0]


def split(counts, n_folds, seed=1):
    rng = np.random.default_rng(seed)
    parts = rng.multinomial(counts.astype(int), np.full(n_folds, 1 / n_folds))
    return np.moveaxis(parts, -1, 0).astype(float)


def test_two_folds_are_twice_the_whole_less_half_of_each(one):
    """The minimum of 2L − L_A/2 − L_B/2, templates of a half scaled to the whole."""
    replicas, fit = one
    T, n, w = replicas.templates[0], replicas.counts[0], fit.weight
    folds = split(T, 2)
    hessian, right = np.zeros((2, 2)), np.zeros(2)
    for templates, factor in ((T, 2), (2 * folds[0], -0.5), (2 * folds[1], -0.5)):
        hessian += factor * (templates * w) @ templates.T
        right += factor * templates @ (w * n)
    assert_allclose(hessian, fit.fisher - fold_noise_floor(folds, w), rtol=1e-10)
    values, _ = cross_fit(folds, fit, n)
    assert_allclose(values, np.linalg.solve(hessian, right), rtol=1e-10)


def test_folds_of_one_event_have_the_analytic_noise_floor():
    rng = np.random.default_rng(3)
    n_events, n_bins = 400, 200
    folds = np.zeros((n_events, 2, n_bins))
    bins = rng.integers(0, n_bins, n_events)
    folds[np.arange(n_events), :, bins] = rng.normal(1, 0.5, (n_events, 2))
    weight = rng.uniform(0.5, 1.0, n_bins)
    analytic = np.einsum("api,aqi,i->pq", folds, folds, weight)
    found = fold_noise_floor(folds, weight)
    # a bin has few of the events: its mean over folds is their share
    assert_allclose(found, analytic, rtol=4 / n_bins)
    # exactly: less the mean, times K/(K − 1)
    total = folds.sum(axis=0)
    exact = (n_events * analytic - (total * weight) @ total.T) / (n_events - 1)
    assert_allclose(found, exact, rtol=1e-10)


def test_results_transform_with_the_parameters(one):
    """Templates B T are the same fit in θ' with θ = Bᵀθ'."""
    replicas, fit = one
    T, S, n = replicas.templates[0], products(replicas.variances[0]), replicas.counts[0]
    B = np.array([[0.5, 0.5], [30.0, -20.0]])
    again = corrected_fit(B @ T, np.einsum("ap,pqi,bq->abi", B, S, B), n)
    # it begins elsewhere, but the refreshed weights meet
    assert_allclose(B.T @ again.values, fit.values, rtol=1e-6)
    assert_allclose(B.T @ again.covariance @ B, fit.covariance, rtol=1e-5)
    ratios = [spectrum(f.fisher, f.floor).eigenvalues for f in (fit, again)]
    assert_allclose(ratios[1], ratios[0], rtol=1e-5)
    K = [response(f.fisher, f.floor) for f in (fit, again)]
    assert_allclose(B.T @ K[1] @ np.linalg.inv(B.T), K[0], atol=1e-6)


def test_a_fixed_template_is_a_strength_of_one_in_the_score():
    """A strong prior at 1 on a free template is the same as to fix it."""
    replicas = throw(DISPLACED, n=1, seed=5)
    T, n = replicas.templates[0], replicas.counts[0]
    S = products(replicas.variances[0])
    S[0, 1] = S[1, 0] = 0.3 * T[0]  # they share events
    fixed = corrected_fit(T, S, n, n_fixed=1)
    prior = np.diag([0.0, 1e16])
    free = corrected_fit(T, S, n, prior=prior)
    assert_allclose(free.values, [fixed.values[0], 1.0], rtol=1e-6)
    assert_allclose(free.covariance[0, 0], fixed.covariance[0, 0], rtol=1e-6)


def test_unit_weights_sum_to_the_template():
    """Helicity weights of an event sum to its weight: Σ·1 = r T in every bin."""
    rng = np.random.default_rng(6)
    n_events, n_bins, r = 5000, 6, 0.7
    shares = rng.normal(0, 1, (n_events, 3))
    h = r * np.column_stack([1 - shares.sum(axis=1), shares])
    bins = rng.integers(0, n_bins, n_events)
    T, S = np.zeros((4, n_bins)), np.zeros((4, 4, n_bins))
    np.add.at(T.T, bins, h)
    np.add.at(np.moveaxis(S, -1, 0), bins, h[:, :, None] * h[:, None, :])
    assert_allclose(S.sum(axis=1), r * T, rtol=1e-10)
    # so at strengths of 1 the score takes r counts off every bin
    weight = rng.uniform(1, 2, n_bins)
    assert_allclose((S @ weight).sum(axis=1), T @ (r * weight), rtol=1e-10)


def noise_columns(n_columns, n_bins=1440, seed=7):
    rng = np.random.default_rng(seed)
    T = rng.poisson(np.full((n_columns, n_bins), 400.0)).astype(float)
    # the first holds the sum, the others nothing but noise
    T[1:] -= 400.0
    S = np.zeros((n_columns, n_columns, n_bins))
    S[np.arange(n_columns), np.arange(n_columns)] = 400.0
    T[0] += 1e5
    return T, S


def test_pure_noise_has_the_spectrum_of_noise_and_is_refused():
    T, S = noise_columns(51)
    weight = np.full(1440, 1e-5)
    found = spectrum((T * weight) @ T.T, S @ weight).eigenvalues[:50]
    width = np.sqrt(50 / 1440)
    assert found.min() > (1 - width) ** 2 - 0.1
    assert found.max() < (1 + width) ** 2 + 0.1
    assert (found < gate_level(1440)).sum() > 20
    counts = np.random.default_rng(1).poisson(T[0]).astype(float)
    assert corrected_fit(T, S, counts) is None


def test_a_template_twice_is_refused():
    T, S = noise_columns(51)
    twice = np.r_[T, T[-1:]]
    both = np.zeros((52, 52, 1440))
    both[:51, :51] = S
    both[51, 51] = both[50, 51] = both[51, 50] = S[50, 50]
    with pytest.raises(FitError, match="not positive definite"):
        corrected_fit(twice, both, twice[0])


def test_a_sandwich_has_an_error_for_every_direction():
    fisher, floor = np.diag([4.0, 10.0]), np.diag([1.0, 0.0])
    solved = sandwich(fisher, floor)
    assert_allclose(solved.covariance, np.diag([4 / 9, 0.1]))
    found = spectrum(fisher, floor)
    assert_array_equal(found.eigenvalues, [4.0, np.inf])
    assert_allclose(abs(found.in_errors()), np.eye(2))
    assert_allclose(response(fisher, floor), np.diag([0.75, 1.0]))
    assert sandwich(floor, fisher) is None


def test_migrating_events_are_noise_in_both_bins():
    """Events that a shift moves to the next bin: −h in one bin, +h in the other."""
    rng = np.random.default_rng(8)
    n_events, n_bins = 40_000, 20
    x = rng.uniform(0, n_bins, n_events)
    h = rng.choice([1.0, -0.5], n_events, p=[0.8, 0.2])
    old, new = x.astype(int), np.minimum((x + 0.1).astype(int), n_bins - 1)
    weight = rng.uniform(0.5, 1.5, n_bins)
    # gradients of each event: its template in the old bin, its shift in both
    floor = np.zeros((2, 2))
    moved = old != new
    for b, template, shift in (
        (old, h, np.where(moved, -h, 0.0)),
        (new[moved], np.zeros(moved.sum()), h[moved]),
    ):
        g = np.stack([template, shift])
        floor += (g * weight[b]) @ g.T

    def templates(events):
        counts = [np.bincount(b[events], h[events], n_bins) for b in (old, new)]
        return np.stack([counts[0], counts[1] - counts[0]])

    samples = []
    for _ in range(500):
        chosen = rng.integers(0, n_events, rng.poisson(n_events))
        samples.append(templates(chosen))
    deviations = np.array(samples) - np.mean(samples, axis=0)
    bootstrap = np.einsum("api,i,aqi->pq", deviations, weight, deviations) / 499
    scale = np.sqrt(np.outer(np.diag(floor), np.diag(floor)))
    assert_allclose(bootstrap / scale, floor / scale, atol=0.05)
    fold = rng.integers(0, 20, n_events)
    folds = np.array([templates(np.flatnonzero(fold == a)) for a in range(20)])
    # 19 degrees of freedom in each of 20 bins: 7 %
    found = fold_noise_floor(folds, weight)
    assert_allclose(found / scale, floor / scale, atol=4 * 0.073)


def test_a_polynomial_follows_the_truth_inside_its_span():
    """Strengths of 8 templates on a line: θ = 1 + R c, corrected first."""
    rng = np.random.default_rng(9)
    n_templates, n_bins = 8, 400
    position = np.linspace(-1, 1, n_templates)
    centres = np.linspace(0, 1, n_bins)
    bumps = np.exp(-0.5 * ((centres - 0.5 - 0.1 * position[:, None]) / 0.3) ** 2)
    true = 400 * bumps
    basis = np.stack([np.ones(n_templates), position])
    move = np.array([0.05, 0.2])
    truth = 1 + move @ basis
    # the last row is the prediction at strengths of 1, whose strength is fixed
    B = np.vstack([basis, np.ones(n_templates)])
    corrections, naive = [], []
    for _ in range(400):
        T = rng.poisson(0.2 * true) / 0.2
        counts = rng.poisson(truth @ true).astype(float)
        S = np.einsum("ap,bp,pi->abi", B, B, T / 0.2)
        fit = corrected_fit(B @ T, S, counts, n_fixed=1)
        assert fit is not None
        corrections.append(fit.values)
        R = basis @ T
        right = R @ (fit.weight * (counts - T.sum(axis=0)))
        naive.append(np.linalg.solve(fit.fisher, right))
    means, spread = np.mean(corrections, axis=0), np.std(corrections, axis=0)
    assert_allclose(means, move, atol=(4 * spread / 20).max())
    assert np.mean(naive, axis=0)[1] < 0.95 * move[1]
    assert means[1] == pytest.approx(move[1], abs=4 * spread[1] / 20)
    assert 4 * spread[1] / 20 < 0.05 * move[1]
