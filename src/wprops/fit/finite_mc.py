r"""What the finite simulation does to a fit, and what the errors are in truth.

Noise in the templates makes nearly degenerate templates look different. With
H = JᵀWJ, W = 1/(ν + v), the expectation of H exceeds the true information by the
noise floor

.. math:: M = Σ_i w_i Σ_i,

Σ_i the covariance of the templates in bin i. Two things follow: the errors of a
naive fit are too small, which Barlow-Beeston cures, and the result is drawn
towards the generated values with a slope 1 − (H + Λ)⁻¹M, which it does not.
The corrected score removes the second as well,

.. math:: A = H - M + Λ, \quad θ = \hat θ + A^{-1} M \tildeθ, \quad
   V = A^{-1} (H + Λ) A^{-1},

where A is positive definite; elsewhere the simulation cannot tell the lost
directions from zero (see Alexe, Bendavid, Bianchini and Bruschini,
arXiv:2401.10542, for the effect).

Scope: M covers the signal strengths, whose shared events are in the template
file. The derivatives in the nuisance parameters, m_W among them, are made of the
same events but their products are not stored: their own noise floor is taken as
zero, so slopes of nuisance parameters are upper limits, and the noise of the
derivatives is missing in all errors. The noise itself is that of the nominal
templates, whatever the nuisance parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wprops.errors import FitError
from wprops.fit.covariance import describe_direction, factorise
from wprops.fit.likelihood import LikelihoodPoint
from wprops.fit.model import Model

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Verdict = Literal["sound", "limited", "undetermined"]
#: Ratio of apparent to noise information above which noise hardly matters.
SOUND = 4.0
_N_NAMED = 5


@dataclass(frozen=True, slots=True, eq=False)
class FiniteMC:
    """Statement on the finite simulation behind one fit.

    Attributes
    ----------
    noise_floor : ndarray, shape (n_par, n_par)
        M; zero outside the signal strengths.
    eigenvalues : ndarray, shape (n_poi,)
        Apparent information over noise, 1 + signal/noise, of independent
        directions of the strengths, ascending; 1 is noise alone, and infinity
        stands for each fixed strength.
    slopes : ndarray, shape (n_par,)
        Response of the fitted to the true parameter, all others fixed in truth:
        diagonal of 1 − (H + Λ)⁻¹M. It is 1 for a fixed parameter, which no noise
        draws anywhere.
    pull_rms_naive, pull_rms_barlow_beeston : ndarray, shape (n_par,)
        Expected RMS of (fitted − true)/error for a truth at the generated point;
        0 for a fixed parameter.
    verdict : {"sound", "limited", "undetermined"}
        Smallest eigenvalue at least 4; below; or not distinguishable from 1.
    needed : float, optional
        Factor by which the simulation has to grow to be sound; None when the
        weakest direction is lost altogether or nothing is needed.
    lost : tuple of str
        Undetermined combinations of strengths, in units of their errors.
    values, covariance : ndarray, optional
        Corrected parameters (n_par,) and their covariance (n_par, n_par), in which
        fixed parameters stay without error; None when undetermined.
    """

    noise_floor: Array
    eigenvalues: Array
    slopes: Array
    pull_rms_naive: Array
    pull_rms_barlow_beeston: Array
    verdict: Verdict
    needed: float | None
    lost: tuple[str, ...]
    values: Array | None
    covariance: Array | None


def noise_floor(model: Model, values: Array, weight: Array) -> tuple[Array, Array]:
    """Noise of the Fisher matrix and of the score from the finite simulation.

    Parameters
    ----------
    model : Model
        Gives the covariance of the templates.
    values : ndarray, shape (n_par,)
        Parameters; only the strengths matter.
    weight : ndarray, shape (n_bins,)
        Weight w of each bin in the Fisher matrix.

    Returns
    -------
    matrix : ndarray, shape (n_par, n_par)
        M.
    score : ndarray, shape (n_par,)
        M times the absolute strengths, those fixed at 1 included.
    """
    n = len(model.parameters)
    matrix, score = np.zeros((n, n)), np.zeros(n)
    ends = np.cumsum([block.n_bins for block in model.blocks])
    for block, part in zip(model.blocks, np.split(weight, ends[:-1]), strict=True):
        noise = block.noise.weighted(part)[block.signal]
        matrix[np.ix_(block.poi, block.poi)] = noise[:, block.signal]
        score[block.poi] = noise @ block.strengths(values)
    return matrix, score


def expected_pull_rms(
    model: Model,
    point: LikelihoodPoint,
    *,
    barlow_beeston: bool,
    displacement: Array | None = None,
    free: Mask | None = None,
) -> Array:
    """Predict the RMS of the pulls over repetitions of data and simulation.

    Parameters
    ----------
    model : Model
        The model that was fitted.
    point : LikelihoodPoint
        The minimum.
    barlow_beeston : bool
        Whether the fit counts the noise of the templates in its weights.
    displacement : ndarray, shape (n_par,), optional
        Truth minus generated point: the fit is drawn back by (H + Λ)⁻¹M times
        this. Zero when omitted, where the pull to the generated point is
        invisible.
    free : ndarray of bool, shape (n_par,), optional
        Whether a parameter was fitted; all when omitted.

    Returns
    -------
    ndarray, shape (n_par,)
        0 for parameters that were not fitted.
    """
    expected = point.point.expected
    total = expected + model.variance(point.values)
    weight = model.counted / (total if barlow_beeston else expected)
    covariance = _inverse(point.information(weight), _all_if_none(free, point))
    spread = point.information(weight**2 * total)
    squares = np.diag(covariance @ spread @ covariance).copy()
    if displacement is not None:
        floor, _ = noise_floor(model, point.values, weight)
        squares += (covariance @ floor @ displacement) ** 2
    variance = np.diag(covariance)
    ratio = np.divide(squares, variance, out=np.zeros_like(squares), where=variance > 0)
    return np.sqrt(ratio)


def assess(
    model: Model, point: LikelihoodPoint, *, free: Mask | None = None
) -> FiniteMC:
    """Judge a fit and correct it where the simulation allows.

    Parameters
    ----------
    model : Model
        The model that was fitted.
    point : LikelihoodPoint
        Minimum of the Barlow-Beeston likelihood.
    free : ndarray of bool, shape (n_par,), optional
        Whether a parameter was fitted (`Minimum.free`); all when omitted.

    Returns
    -------
    FiniteMC

    Raises
    ------
    FitError
        If the Fisher matrix at the minimum is not positive definite.
    """
    free = _all_if_none(free, point)
    # masked channels have no weight
    weight = model.counted / (point.point.expected + model.variance(point.values))
    fisher = point.information(weight)
    covariance = _inverse(fisher, free)
    floor, score = noise_floor(model, point.values, weight)
    strengths = np.flatnonzero(free[: model.parameters.n_poi])
    eigenvalues, directions = _spectrum(
        covariance[np.ix_(strengths, strengths)], floor[np.ix_(strengths, strengths)]
    )
    # noise alone scatters around 1 by sqrt(2 / bins)
    gate = 1 + 3 * np.sqrt(2 / model.counted.sum())
    lost = eigenvalues < gate
    verdict: Verdict = "sound" if (eigenvalues >= SOUND).all() else "limited"
    where = np.ix_(free, free)
    factor = factorise((fisher - floor)[where])
    values = corrected = None
    if factor is None or lost.any():
        verdict = "undetermined"
    else:
        inverse = np.zeros_like(fisher)
        inverse[where] = factor.inverse()
        values = point.values + inverse @ (score - point.gradient())
        corrected = inverse @ fisher @ inverse
    names = [model.parameters.names[i] for i in strengths]
    naive, lite = (
        expected_pull_rms(model, point, barlow_beeston=flag, free=free)
        for flag in (False, True)
    )
    fixed = np.full(model.parameters.n_poi - len(strengths), np.inf)
    return FiniteMC(
        noise_floor=floor,
        eigenvalues=np.r_[eigenvalues, fixed],
        slopes=1 - np.einsum("ij,ji->i", covariance, floor),
        pull_rms_naive=naive,
        pull_rms_barlow_beeston=lite,
        verdict=verdict,
        needed=_needed(eigenvalues),
        lost=tuple(
            describe_direction(direction, names)
            for direction in directions[:, lost].T[:_N_NAMED]
        ),
        values=values,
        covariance=corrected,
    )


def _all_if_none(free: Mask | None, point: LikelihoodPoint) -> Mask:
    return np.ones(len(point.values), dtype=bool) if free is None else free


def _spectrum(covariance: Array, floor: Array) -> tuple[Array, Array]:
    """Eigenvalues of (H, M) for the strengths, nuisance parameters profiled.

    Directions come in units of the errors, as columns.
    """
    sigma = np.sqrt(np.diag(covariance))
    lower = np.linalg.cholesky(covariance / np.outer(sigma, sigma))
    scaled = lower.T @ (np.outer(sigma, sigma) * floor) @ lower
    noise, vectors = np.linalg.eigh(scaled)
    # noise = M/H: no noise is an infinite ratio, rounding can leave −1e-17
    ratio = np.divide(1.0, noise, out=np.full(len(noise), np.inf), where=noise > 1e-14)
    return ratio[::-1], (lower @ vectors)[:, ::-1]


def _needed(eigenvalues: Array) -> float | None:
    smallest = float(eigenvalues.min(initial=np.inf))
    if smallest <= 1 or smallest >= SOUND:
        return None
    return (SOUND - 1) / (smallest - 1)


def _inverse(matrix: Array, free: Mask) -> Array:
    """Invert in the free parameters; zero in the others."""
    where = np.ix_(free, free)
    factor = factorise(matrix[where])
    if factor is None:
        msg = (
            "the expected information at the minimum is not positive definite; the "
            "fit is no measurement, merge cells or drop parameters"
        )
        raise FitError(msg)
    inverse = np.zeros_like(matrix)
    inverse[where] = factor.inverse()
    return inverse
