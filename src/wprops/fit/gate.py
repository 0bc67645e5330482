r"""What may be quoted: a verdict for every strength, cross section, A_i and m_W.

A quoted number of gradient a has the naive variance :math:`Σ_j (a·u_j)^2` over the
directions of (H + Λ, M), and :math:`Σ_j (a·u_j)^2 / (1 - 1/λ_j)^2` when corrected. The
weakest direction that matters is the λ below which a twentieth of that variance comes.
A number is sound from λ = 4 on, limited below; it is undetermined where the fit as a
whole has directions that cannot be told from noise.

The remedies are to merge cells, a polynomial ansatz, more simulation, or a declared
wide prior on the strengths (`wprops.fit.strength_prior`). With the prior the gate is on
H − M + Λ, and every number is fitted once more with twice the width: one that moves is
undetermined.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wprops.errors import ConfigError
from wprops.fit.corrected_score import (
    Spectrum,
    gate_level,
    require_information,
    spectrum,
)
from wprops.fit.finite_mc import SOUND, Verdict
from wprops.fit.functionals import Functionals, slopes_of, variances
from wprops.fit.score import Solution
from wprops.fit.template_noise import Derivatives

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
#: The fits that stand side by side, the one to quote last.
METHODS = ("naive", "Barlow-Beeston", "corrected")
#: Share of the variance that the weakest direction that matters has to have.
SHARE = 0.05
#: Information over noise below which a direction has more noise than information.
WEAK = 2.0
#: Largest change of a value [errors] and of an error [relative] when a declared prior
#: gets twice as wide.
STABLE = 0.05, 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """Verdict on each quoted number, and what each fit says.

    Attributes
    ----------
    names, units : tuple of str
        Strengths, then derived quantities such as ``"Wplus/A4/y0_qt2"``; those that
        the fit does not measure are left out.
    verdicts : tuple of {"sound", "limited", "undetermined"}
        Whether the corrected value may be quoted.
    eigenvalues : ndarray, shape (n,)
        Information over noise of the weakest direction that matters.
    slopes : ndarray, shape (n,)
        Response of the fit without correction when the truth moves along the profile
        of the number, see `wprops.fit.functionals.slopes_of`. The response when one
        parameter moves alone is in `wprops.fit.finite_mc.FiniteMC.slopes`.
    weak : ndarray, shape (n,)
        Share of the variance from directions with more noise than information, λ < 2;
        of the naive variance where there is no corrected one.
    needed : ndarray, shape (n,)
        Factor by which the simulation has to grow until the number is sound; infinity
        where noise cannot be told from nothing.
    values, errors : ndarray, shape (3, n)
        Results by `METHODS`; NaN where there is none.
    parts : ndarray, shape (3, n)
        Variance of the corrected result from data, simulation and constraints.
    prior : float, optional
        Width of a declared prior on the strengths in the corrected fit.
    changes : ndarray, shape (2, n)
        When the prior is twice as wide: change of the value in errors, and relative
        change of the error; 0 without a prior.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    eigenvalues: Array
    slopes: Array
    weak: Array
    needed: Array
    values: Array
    errors: Array
    parts: Array
    prior: float | None
    changes: Array

    def index(self, name: str) -> int:
        """Return the position of a quoted number.

        Raises
        ------
        ConfigError
            If it is not among them.
        """
        if name not in self.names:
            msg = f"no quoted number {name!r}; there are {', '.join(self.names[:20])} …"
            raise ConfigError(msg)
        return self.names.index(name)


@dataclass(frozen=True, slots=True, eq=False)
class Fits:
    """Fits of the same data that stand side by side.

    Attributes
    ----------
    results : mapping of str to (values, covariance)
        Naive and Barlow-Beeston, by `METHODS`; one that has no solution is missing.
    fisher, floor : ndarray, shape (n_par, n_par)
        H + Λ and M of Barlow-Beeston.
    solution : Solution, optional
        The corrected fit.
    wider : Solution, optional
        The same with a declared prior of twice the width.
    """

    results: Mapping[str, tuple[Array, Array]]
    fisher: Array
    floor: Array
    solution: Solution | None
    wider: Solution | None = None


def judge(
    numbers: Functionals,
    fits: Fits,
    *,
    free: Mask,
    n_bins: int,
    derivatives: Derivatives = (),
    prior: float | None = None,
) -> Gate:
    """Give a verdict on each number of a fit.

    Parameters
    ----------
    numbers : Functionals
        What is quoted.
    fits : Fits
        What was fitted; Barlow-Beeston among them.
    free : ndarray of bool, shape (n_par,)
        Which parameters were fitted.
    n_bins : int
        Number of fitted bins.
    derivatives : sequence of sequence of Derivative
        Those of the corrected fit.
    prior : float, optional
        Width of the declared prior of the corrected fit.
    """
    where = np.ix_(free, free)
    solution, lite = fits.solution, fits.results[METHODS[1]]
    best = lite[0] if solution is None else solution.values
    gradient = numbers.gradient(best)[:, free]
    measured: Mask = np.asarray(gradient.any(axis=1))
    gradient = gradient[measured]
    matrices = fits if solution is None else solution
    directions = spectrum(matrices.fisher[where], matrices.floor[where])
    eigenvalues, weak = _weakest(gradient, directions, is_corrected=bool(solution))
    inverse = require_information(fits.fisher[where]).inverse()
    results = dict(fits.results)
    if solution is not None:
        results[METHODS[2]] = solution.values, solution.covariance
    values, errors = _side_by_side(numbers, results)
    parts = np.full((3, len(gradient)), np.nan)
    if solution is not None:
        for row, part in zip(parts, solution.parts(derivatives), strict=True):
            row[:] = variances(gradient, part[where])
    changes = _changes(numbers, solution, fits.wider, prior)[:, measured]
    is_lost = eigenvalues < gate_level(n_bins)
    needed = np.full(len(gradient), np.inf)
    needed[~is_lost] = np.maximum((SOUND - 1) / (eigenvalues[~is_lost] - 1), 1.0)
    return Gate(
        names=tuple(n for n, m in zip(numbers.names, measured, strict=True) if m),
        units=tuple(u for u, m in zip(numbers.units, measured, strict=True) if m),
        verdicts=tuple(
            _verdict(solution is not None, *row)
            for row in zip(eigenvalues, *changes, strict=True)
        ),
        eigenvalues=eigenvalues,
        slopes=slopes_of(gradient, inverse, fits.floor[where]),
        weak=weak,
        needed=needed,
        values=values[:, measured],
        errors=errors[:, measured],
        parts=parts,
        prior=prior,
        changes=changes,
    )


def _weakest(
    gradient: Array, directions: Spectrum, *, is_corrected: bool
) -> tuple[Array, Array]:
    """λ of the weakest direction that matters, and the share of λ < 2."""
    if not gradient.size:
        return np.empty(0), np.empty(0)
    shares = (gradient @ directions.directions) ** 2
    if is_corrected:
        shares /= (1 - 1 / directions.eigenvalues) ** 2
    cumulative = np.cumsum(shares, axis=1)
    cumulative /= cumulative[:, -1:]
    first = (cumulative > SHARE).argmax(axis=1)
    n_weak = int((directions.eigenvalues < WEAK).sum())
    weak = cumulative[:, n_weak - 1] if n_weak else np.zeros(len(gradient))
    return directions.eigenvalues[first], weak


def _side_by_side(
    numbers: Functionals, results: Mapping[str, tuple[Array, Array]]
) -> tuple[Array, Array]:
    values = np.full((len(METHODS), len(numbers.names)), np.nan)
    errors = values.copy()
    for method, (parameters, covariance) in results.items():
        row = METHODS.index(method)
        values[row] = numbers.values(parameters)
        variance = variances(numbers.gradient(parameters), covariance)
        errors[row] = np.sqrt(variance)
    return values, errors


def _changes(
    numbers: Functionals,
    solution: Solution | None,
    wider: Solution | None,
    prior: float | None,
) -> Array:
    """Return changes under the doubling of a prior, infinite if that has no fit."""
    n = len(numbers.names)
    if prior is None or solution is None:
        return np.zeros((2, n))
    if wider is None:
        return np.full((2, n), np.inf)
    pairs = ((s.values, s.covariance) for s in (solution, wider))
    values, errors = _side_by_side(numbers, dict(zip(METHODS, pairs, strict=False)))
    with np.errstate(invalid="ignore"):  # what is not measured has no error
        return np.stack(
            [(values[1] - values[0]) / errors[0], errors[1] / errors[0] - 1]
        )


def _verdict(
    is_corrected: bool, eigenvalue: float, value_change: float, error_change: float
) -> Verdict:
    moves = abs(value_change) > STABLE[0] or abs(error_change) > STABLE[1]
    if not is_corrected or moves:
        return "undetermined"
    return "sound" if eigenvalue >= SOUND else "limited"
