"""The turn-on of an efficiency, p0 erf((pT - p1) / p2): fit and variations.

The covariance of the parameters, in data and in simulation, becomes three orthogonal
variations of the scale factor as a function of pT.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erf

from corrections.common import FloatArray
from wprops.errors import FitError

# Four points average the model over a pT bin.
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(4)


@dataclass(frozen=True, slots=True)
class ErfFit:
    """Result of a fit of the model p0 erf((pT − p1) / p2).

    Attributes
    ----------
    parameters : ndarray, shape (3,)
    covariance : ndarray, shape (3, 3)
    chi2 : float
    ndf : int
    """

    parameters: FloatArray
    covariance: FloatArray
    chi2: float
    ndf: int


def erf_model(pt: ArrayLike, parameters: ArrayLike) -> FloatArray:
    """Efficiency p0 erf((pT − p1) / p2) at pT [GeV]."""
    p0, p1, p2 = np.asarray(parameters, dtype=float)
    return p0 * erf((np.asarray(pt, dtype=float) - p1) / p2)


def erf_jacobian(pt: ArrayLike, parameters: ArrayLike) -> FloatArray:
    """Differentiate `erf_model` in the parameters, shape (..., 3)."""
    p0, p1, p2 = np.asarray(parameters, dtype=float)
    u = (np.asarray(pt, dtype=float) - p1) / p2
    slope = 2.0 / np.sqrt(np.pi) * np.exp(-(u**2)) * p0 / p2
    return np.stack([erf(u), -slope, -slope * u], axis=-1)


def fit_erf(passing: ArrayLike, total: ArrayLike, edges: ArrayLike) -> ErfFit:
    """Fit the model to counts by maximum binomial likelihood.

    The model is averaged over each bin. Damped Fisher scoring; the covariance is the
    inverse of the Fisher information.

    Parameters
    ----------
    passing, total : array_like, shape (n_pt,)
    edges : array_like, shape (n_pt + 1,)
        Edges of the pT bins [GeV].

    Raises
    ------
    FitError
        If there is no maximum, or the counts do not determine all parameters.
    """
    edges = np.asarray(edges, dtype=float)
    occupied = np.asarray(total) > 0
    k, n = (np.asarray(counts, dtype=float)[occupied] for counts in (passing, total))
    if len(n) < 4 or not 0 < k.sum() < n.sum():
        msg = (
            f"{k.sum():g} of {n.sum():g} probes pass, in {len(n)} occupied pT bins; "
            "three parameters need four bins, and probes that pass and that fail"
        )
        raise FitError(msg)
    middle, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    points = (middle[:, None] + half[:, None] * _NODES)[occupied]

    def average(values: FloatArray) -> FloatArray:
        return np.einsum("bn...,n->b...", values, _NODE_WEIGHTS / 2)

    def nll(parameters: FloatArray) -> float:
        efficiency = average(erf_model(points, parameters))
        if parameters[2] <= 0 or efficiency.min() <= 0 or efficiency.max() >= 1:
            return np.inf
        return -float(k @ np.log(efficiency) + (n - k) @ np.log1p(-efficiency))

    plateau = min(0.995, max(float((k / n)[n >= n.max() / 10].max()), 0.01))
    starts = [
        np.array([plateau, edges[0] - distance, width])
        for distance in (0.0, 5.0, 15.0, 30.0)
        for width in (3.0, 10.0, 20.0)
    ]
    parameters = min(starts, key=nll)
    value, damping = nll(parameters), 1e-3
    if not np.isfinite(value):
        msg = "no starting point has efficiencies between 0 and 1; look at the counts"
        raise FitError(msg)
    for _ in range(200):
        efficiency = average(erf_model(points, parameters))
        jacobian = average(erf_jacobian(points, parameters))
        information = n / (efficiency * (1 - efficiency))
        gradient = jacobian.T @ (information * (efficiency - k / n))
        fisher = jacobian.T @ (information[:, None] * jacobian)
        try:
            distance = gradient @ np.linalg.solve(fisher, gradient)
            damped = fisher + damping * np.diag(np.diag(fisher))
            step = np.linalg.solve(damped, gradient)
            covariance = np.linalg.inv(fisher).astype(np.float64)
        except np.linalg.LinAlgError:
            break
        if 0 <= distance < 1e-8 and np.all(np.linalg.eigvalsh(covariance) > 0):
            chi2 = float(np.sum(information * (efficiency - k / n) ** 2))
            return ErfFit(parameters, covariance, chi2, len(n) - 3)
        trial = nll(parameters - step)
        if trial <= value:
            parameters, value, damping = parameters - step, trial, damping / 10
        else:
            damping *= 10
    found = ", ".join(f"{p:.4g}" for p in parameters)
    msg = (
        f"the fit stopped at p0, p1, p2 = {found} without a maximum; the efficiencies "
        "may not rise like an error function, or not determine its parameters. Use "
        "wider eta bins or a larger pT range"
    )
    raise FitError(msg)


def eigen_variations(jacobian: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return the orthogonal variations v of a curve: sum over v vᵀ = J C Jᵀ.

    They are the principal axes of the covariance of the curve at the given points, so
    they depend neither on the units nor on the choice of the parameters.

    Parameters
    ----------
    jacobian : ndarray, shape (n_points, n_parameters)
    covariance : ndarray, shape (n_parameters, n_parameters)

    Returns
    -------
    ndarray, shape (n_parameters, n_points)
        Largest first; the sum of each is positive.
    """
    root = jacobian @ np.linalg.cholesky(covariance)
    u, size, _ = np.linalg.svd(root, full_matrices=False)
    variations = (u * size).T
    sign = np.where(variations.sum(axis=1) < 0, -1.0, 1.0)
    return variations * sign[:, None]


def ratio_variations(
    pt: ArrayLike, data: ErfFit, mc: ErfFit
) -> tuple[FloatArray, FloatArray, float]:
    """Scale factor, its three relative variations, and how much they stand in for.

    Six parameters have six variations, but curves of similar shape vary alike: the
    three largest are kept, and scaled at each pT to the full variance there. With
    negligible errors of the simulation they are exact.

    Parameters
    ----------
    pt : array_like, shape (n_pt,)
    data, mc : ErfFit

    Returns
    -------
    nominal : ndarray, shape (n_pt,)
    variations : ndarray, shape (3, n_pt)
    dropped : float
        Largest fraction of the variance, over pT, that is due to the other three.
    """
    fits = (data, mc)
    values = [erf_model(pt, fit.parameters) for fit in fits]
    # Independent errors add in quadrature: the sign of the simulation's is irrelevant.
    relative = [
        erf_jacobian(pt, fit.parameters) / value[:, None]
        for fit, value in zip(fits, values, strict=True)
    ]
    covariance = np.zeros((6, 6))
    covariance[:3, :3], covariance[3:, 3:] = data.covariance, mc.covariance
    variations = eigen_variations(np.hstack(relative), covariance)
    variance = np.sum(variations**2, axis=0)
    kept = np.sum(variations[:3] ** 2, axis=0)
    scaled = variations[:3] * np.sqrt(variance / kept)
    return values[0] / values[1], scaled, float(np.max(1.0 - kept / variance))
