"""Two templates that differ by a slope of 3 %, and fits of many replicas at once.

With a simulation as large as the data, the information in the difference of the two
strengths is three times the noise floor; all else follows from that.
"""

from dataclasses import dataclass

import numpy as np

from wprops.fit.corrected_score import fold_noise_floor, require_information, sandwich

N_BINS, N_EVENTS = 200, 2e6
X = (np.arange(N_BINS) + 0.5) / N_BINS * 2 - 1
TRUE = N_EVENTS / (2 * N_BINS) * np.array([1 + 0.03 * X, 1 - 0.03 * X])
GENERATED = np.array([1.0, 1.0])
DISPLACED = np.array([1.3, 0.7])
N_REPLICAS = 1000
#: How often weights are refreshed at a solution.
REFRESHES = 3


@dataclass
class Replicas:
    """Templates, their variances and counts, (n, 2, N_BINS) and (n, N_BINS)."""

    truth: np.ndarray
    templates: np.ndarray
    variances: np.ndarray
    counts: np.ndarray


def throw(truth, *, k=1.0, seed=1, n=N_REPLICAS):
    """Simulation of k times the data, and independent data."""
    rng = np.random.default_rng(seed)
    templates = rng.poisson(k * TRUE, (n, *TRUE.shape)) / k
    counts = rng.poisson(truth @ TRUE, (n, N_BINS)).astype(float)
    return Replicas(truth, templates, templates / k, counts)


def uncorrected(replicas, *, barlow_beeston):
    """Values and covariances of weighted fits, by themselves."""
    T, S, n = replicas.templates, replicas.variances, replicas.counts
    theta = np.ones(T.shape[:2])
    for _ in range(REFRESHES):
        noise = np.einsum("rp,rpi->ri", theta**2, S) if barlow_beeston else 0.0
        w = 1 / (np.einsum("rp,rpi->ri", theta, T) + noise)
        H = np.einsum("rpi,ri,rqi->rpq", T, w, T)
        theta = np.linalg.solve(H, np.einsum("rpi,ri->rp", T, w * n)[..., None])[..., 0]
    return theta, np.linalg.inv(H)


def products(variances):
    """Covariance of templates with simulations of their own, (2, 2, N_BINS)."""
    return np.eye(2)[:, :, None] * variances


@dataclass
class LinearFit:
    """Values, covariance, H + Λ, M and weights of a corrected linear fit."""

    values: np.ndarray
    covariance: np.ndarray
    fisher: np.ndarray
    floor: np.ndarray
    weight: np.ndarray


def corrected_fit(templates, products, observed, *, n_fixed=0, prior=None):
    """Solve the corrected score of linear templates by itself, without a model.

    It begins at the Barlow-Beeston solution, which has the same weights and no M. The
    last ``n_fixed`` templates have strength 1, ``prior`` is centred there. None where
    the simulation does not determine all strengths.
    """
    n = len(templates) - n_fixed
    prior = np.zeros((n, n)) if prior is None else prior
    free, fixed = templates[:n], templates[n:].sum(axis=0)
    values, result = np.ones(n), None
    for is_corrected in [False] * REFRESHES + [True] * REFRESHES:
        absolute = np.r_[values, np.ones(n_fixed)]
        variance = absolute @ np.tensordot(absolute, products, axes=1)
        # at least one event: an empty bin tells little, but not infinitely much
        weight = 1 / (np.maximum(absolute @ templates, 1.0) + variance)
        fisher = (free * weight) @ free.T + prior
        floor = products @ weight if is_corrected else np.zeros(products.shape[:2])
        require_information(fisher)
        solved = sandwich(fisher, floor[:n, :n])
        if solved is None:
            return None
        right = free @ (weight * (observed - fixed)) + prior @ np.ones(n)
        values = solved.inverse @ (right + floor[:n, n:].sum(axis=1))
        result = LinearFit(values, solved.covariance, fisher, floor[:n, :n], weight)
    return result


def corrected(replicas):
    """Corrected fits; every one of them has to have a solution."""
    rows = zip(replicas.templates, replicas.variances, replicas.counts, strict=True)
    fits = [corrected_fit(T, products(S), n) for T, S, n in rows]
    assert all(fits)
    return fits


def stacked(fits):
    return np.array([f.values for f in fits]), np.array([f.covariance for f in fits])


def cross_fit(folds, fit, counts):
    """Fit with the products of different folds, weights of the whole simulation."""
    n_folds, T = len(folds), folds.sum(axis=0)
    w = fit.weight
    M = fold_noise_floor(folds, w)
    A = np.linalg.inv((T * w) @ T.T - M)
    # what the noise takes from the score of the mean of all pairs: nothing
    theta = A @ (T @ (w * counts))
    v = theta**2 @ T
    S, half = products(T), theta[:, None] * T
    extra = S @ (w**2 * v) + (half * w**2) @ half.T
    C = (T * w) @ T.T + extra / (n_folds - 1)
    return theta, A @ C @ A


def pulls(replicas, values, covariances, which=0):
    error = np.sqrt(covariances[:, which, which])
    return (values[:, which] - replicas.truth[which]) / error


def covered(pull):
    return (abs(pull) < 1).mean()
