r"""What the finite simulation does to a fit, and the result without it.

Noise in the templates makes nearly degenerate templates look different, see
`wprops.fit.corrected_score`: the errors of a naive fit are too small, which
Barlow-Beeston cures, and the result is drawn towards the generated values with a slope
1 − (H + Λ)⁻¹M, which it does not. The corrected score (`wprops.fit.score`) removes the
second as well. Where H − M + Λ is not positive definite, or a direction cannot be told
from noise, there is no corrected result.

Scope: M covers the strengths and, where the template file has its noise, the derivative
in the mass (`wprops.fit.template_noise`). The derivatives in the other nuisance
parameters are made of the same events, but their products are not stored: their noise
counts as zero, so that their slopes are upper limits. The noise is that of the nominal
templates, whatever the nuisance parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wprops.fit.corrected_score import (
    Spectrum,
    gate_level,
    require_information,
    response,
    spectrum,
)
from wprops.fit.covariance import describe_direction, factorise
from wprops.fit.likelihood import Likelihood, LikelihoodPoint
from wprops.fit.model import Model
from wprops.fit.score import Solution, solve_score
from wprops.fit.template_noise import Derivatives, noise_floor

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
        M; zero outside the strengths and ``counted``.
    counted : tuple of str
        Nuisance parameters with the noise of their derivatives in M; that of all
        others counts as zero.
    eigenvalues : ndarray, shape (n_par,)
        Apparent information over noise, 1 + signal/noise, of independent directions,
        ascending; 1 is noise alone, and infinity stands for directions without
        noise and for fixed parameters.
    slopes : ndarray, shape (n_par,)
        Response of the fitted to the true parameter, all others fixed in truth:
        diagonal of 1 − (H + Λ)⁻¹M. It is 1 for a fixed parameter, which no noise
        draws anywhere.
    pull_rms_naive, pull_rms_barlow_beeston : ndarray, shape (n_par,)
        Expected RMS of (fitted − true)/error for a truth at the generated point;
        0 for a fixed parameter.
    fold_ratios : ndarray, shape (n, 2)
        Numbers of folds, and the mean ratio of the diagonal of M from their scatter to
        that of M, both at the generated point; a check of M. Empty without folds.
    verdict : {"sound", "limited", "undetermined"}
        Smallest eigenvalue at least 4; below; or not distinguishable from 1.
    needed : float, optional
        Factor by which the simulation has to grow to be sound; None when nothing is
        needed, or the weakest direction cannot be told from noise.
    lost : tuple of str
        Undetermined combinations of parameters, in units of their errors.
    prior : float, optional
        Width of a declared prior on the strengths, which ``values`` and ``covariance``
        contain. All else, the verdict too, is without it.
    values, covariance : ndarray, optional
        Corrected parameters (n_par,) and their covariance (n_par, n_par), in which
        fixed parameters stay without error; None where there is no corrected fit.
    """

    noise_floor: Array
    counted: tuple[str, ...]
    eigenvalues: Array
    slopes: Array
    pull_rms_naive: Array
    pull_rms_barlow_beeston: Array
    fold_ratios: Array
    verdict: Verdict
    needed: float | None
    lost: tuple[str, ...]
    prior: float | None
    values: Array | None
    covariance: Array | None


def expected_pull_rms(
    model: Model,
    point: LikelihoodPoint,
    *,
    barlow_beeston: bool,
    displacement: Array | None = None,
    free: Mask | None = None,
    derivatives: Derivatives = (),
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
    derivatives : sequence of sequence of Derivative
        Noise of the derivative in the mass.

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
        floor, _ = noise_floor(model, point.values, weight, derivatives)
        squares += (covariance @ floor @ displacement) ** 2
    variance = np.diag(covariance)
    ratio = np.divide(squares, variance, out=np.zeros_like(squares), where=variance > 0)
    return np.sqrt(ratio)


def assess(
    model: Model,
    point: LikelihoodPoint,
    *,
    free: Mask | None = None,
    derivatives: Derivatives = (),
    solution: Solution | None = None,
    prior: float | None = None,
    folds: Array | None = None,
) -> FiniteMC:
    """Judge a fit by what the noise of its templates does.

    Parameters
    ----------
    model : Model
        The model that was fitted.
    point : LikelihoodPoint
        Minimum of the Barlow-Beeston likelihood.
    free : ndarray of bool, shape (n_par,), optional
        Whether a parameter was fitted (`Minimum.free`); all when omitted.
    derivatives : sequence of sequence of Derivative
        Noise of the derivative in the mass.
    solution : Solution, optional
        The corrected fit, see `correct`.
    prior : float, optional
        Width of the declared prior on the strengths in ``solution``.
    folds : ndarray, shape (n, 2), optional
        Check of M, see `wprops.fit.template_noise.fold_ratios`.

    Returns
    -------
    FiniteMC
        Without corrected values where there is no ``solution``.

    Raises
    ------
    FitError
        If the Fisher matrix at the minimum is not positive definite.
    """
    free = _all_if_none(free, point)
    # masked channels have no weight
    weight = model.counted / (point.point.expected + model.variance(point.values))
    fisher = point.information(weight)
    floor, _ = noise_floor(model, point.values, weight, derivatives)
    where = np.ix_(free, free)
    directions = spectrum(fisher[where], floor[where])
    eigenvalues = directions.eigenvalues
    lost = find_lost(directions, model)
    slopes = np.ones(len(free))
    slopes[free] = np.diag(response(fisher[where], floor[where]))
    if lost.any() or factorise((fisher - floor)[where]) is None:
        verdict: Verdict = "undetermined"
    else:
        verdict = "sound" if (eigenvalues >= SOUND).all() else "limited"
    naive, lite = (
        expected_pull_rms(model, point, barlow_beeston=flag, free=free)
        for flag in (False, True)
    )
    names = np.array(model.parameters.names)
    noisy = np.diag(floor) > 0
    noisy[: model.parameters.n_poi] = False
    return FiniteMC(
        noise_floor=floor,
        counted=tuple(names[noisy].tolist()),
        eigenvalues=np.r_[eigenvalues, np.full((~free).sum(), np.inf)],
        slopes=slopes,
        pull_rms_naive=naive,
        pull_rms_barlow_beeston=lite,
        fold_ratios=np.empty((0, 2)) if folds is None else folds,
        verdict=verdict,
        needed=_needed(eigenvalues, int(model.counted.sum())),
        lost=tuple(
            describe_direction(direction, names[free].tolist())
            for direction in directions.in_errors()[:, lost].T[:_N_NAMED]
        ),
        prior=prior,
        values=None if solution is None else solution.values,
        covariance=None if solution is None else solution.covariance,
    )


def correct(
    likelihood: Likelihood,
    values: Array,
    *,
    free: Mask | None = None,
    derivatives: Derivatives = (),
) -> Solution | None:
    """Fit with the corrected score where the simulation determines all directions.

    Parameters
    ----------
    likelihood : Likelihood
        Counts and constraints.
    values : ndarray, shape (n_par,)
        Minimum of the Barlow-Beeston likelihood.
    free : ndarray of bool, shape (n_par,), optional
        Whether a parameter is fitted; all when omitted.
    derivatives : sequence of sequence of Derivative
        Noise of the derivative in the mass.

    Returns
    -------
    Solution or None
        None where H − M + Λ is not positive definite at the minimum or on the way to
        the solution, or a direction cannot be told from noise.
    """
    free = np.ones(len(values), dtype=bool) if free is None else free
    solution = solve_score(likelihood, values, free=free, derivatives=derivatives)
    if solution is None:
        return None
    where = np.ix_(free, free)
    directions = spectrum(solution.fisher[where], solution.floor[where])
    return None if find_lost(directions, likelihood.model).any() else solution


def find_lost(directions: Spectrum, model: Model) -> Mask:
    """Tell which directions cannot be told from noise, shape (n,)."""
    return directions.eigenvalues < gate_level(int(model.counted.sum()))


def _all_if_none(free: Mask | None, point: LikelihoodPoint) -> Mask:
    return np.ones(len(point.values), dtype=bool) if free is None else free


def _needed(eigenvalues: Array, n_bins: int) -> float | None:
    smallest = float(eigenvalues.min(initial=np.inf))
    if smallest < gate_level(n_bins) or smallest >= SOUND:
        return None
    return (SOUND - 1) / (smallest - 1)


def _inverse(matrix: Array, free: Mask) -> Array:
    """Invert in the free parameters; zero in the others."""
    where = np.ix_(free, free)
    inverse = np.zeros_like(matrix)
    inverse[where] = require_information(matrix[where]).inverse()
    return inverse
