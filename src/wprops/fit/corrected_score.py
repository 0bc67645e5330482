r"""Fits with noisy templates: linear algebra of the corrected score.

Templates :math:`\hat T = T + ε` are known with a covariance :math:`Σ_i` per bin i. With
weights :math:`w_i = 1/(ν_i + v_i)`, :math:`v_i = \tildeθ^T Σ_i \tildeθ`,

.. math:: H = \hat T W \hat T^T, \quad E[H] = I + M, \quad M = Σ_i w_i Σ_i:

the information is too large by the noise floor M, and the score at the truth has the
expectation :math:`-M\tildeθ` instead of zero. Adding :math:`M\tildeθ` gives an equation
whose solution follows the truth, with the sandwich covariance

.. math:: A = H - M + Λ, \qquad V = A^{-1} (H + Λ) A^{-1},

Λ the information of constraints. The strengths :math:`\tildeθ` are absolute, and those
of fixed templates, which are 1, belong to them. Where A is not positive definite the
simulation cannot tell some combinations of parameters from zero, and there is no result
without further assumptions. :math:`A^{-1}` alone is no covariance. See
arXiv:2401.10542 for the effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from wprops.errors import FitError
from wprops.fit.covariance import Factor, factorise

Array = NDArray[np.float64]
#: How often weights are refreshed at the solution of linear templates.
REFRESHES = 3
#: Share of noise in the information of a direction below which it is rounding.
_ROUNDING = 1e-12


def require_information(fisher: Array) -> Factor:
    """Factorise an information matrix.

    Raises
    ------
    FitError
        If it is not positive definite.
    """
    factor = factorise(fisher)
    if factor is None:
        msg = (
            "the expected information at the minimum is not positive definite; the "
            "fit is no measurement, merge cells or drop parameters"
        )
        raise FitError(msg)
    return factor


class Sandwich(NamedTuple):
    """Inverse of A = H − M + Λ and covariance V = A⁻¹(H + Λ)A⁻¹."""

    inverse: Array
    covariance: Array


def sandwich(fisher: Array, floor: Array) -> Sandwich | None:
    """Covariance of the solution of the corrected score.

    Parameters
    ----------
    fisher : ndarray, shape (n, n)
        H + Λ.
    floor : ndarray, shape (n, n)
        M.

    Returns
    -------
    Sandwich or None
        None where H − M + Λ has no Cholesky factor.

    Examples
    --------
    Three parts of information and one of noise: the error is not 1/√3 but 2/3.

    >>> sandwich(np.array([[4.0]]), np.array([[1.0]])).covariance.round(4).tolist()
    [[0.4444]]
    """
    factor = factorise(fisher - floor)
    if factor is None:
        return None
    inverse = factor.inverse()
    return Sandwich(inverse, inverse @ fisher @ inverse)


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """Independent directions of a fit by how much of their information is noise.

    Attributes
    ----------
    eigenvalues : ndarray, shape (n,)
        Information over noise, λ of (H + Λ) u = λ M u, ascending; 1 is noise alone
        and infinity none.
    directions : ndarray, shape (n, n)
        u as columns, of one standard error each: uᵀ(H + Λ)u = 1.
    """

    eigenvalues: Array
    directions: Array

    def in_errors(self) -> Array:
        """Directions as columns, each parameter in units of its error."""
        return self.directions / np.linalg.norm(self.directions, axis=1)[:, None]


def spectrum(fisher: Array, floor: Array) -> Spectrum:
    """Solve the generalised eigenvalue problem of information and noise.

    Parameters
    ----------
    fisher, floor : ndarray, shape (n, n)
        H + Λ and M; M may be singular.

    Returns
    -------
    Spectrum

    Raises
    ------
    FitError
        If the information is not positive definite.
    """
    factor = require_information(fisher)
    scaled = floor / np.outer(factor.scale, factor.scale)
    half = linalg.solve_triangular(factor.lower, scaled, lower=True)
    noise, vectors = linalg.eigh(
        linalg.solve_triangular(factor.lower, half.T, lower=True)
    )
    # no noise is an infinite ratio, of which rounding can leave −1e-17
    ratio = np.divide(
        1.0, noise, out=np.full(len(noise), np.inf), where=noise > _ROUNDING
    )
    directions = linalg.solve_triangular(factor.lower.T, vectors, lower=False)
    return Spectrum(ratio[::-1], (directions / factor.scale[:, None])[:, ::-1])


def gate_level(n_bins: int) -> float:
    """λ below which a direction cannot be told from pure noise in some bins.

    Pure noise in one direction scatters around 1 by √(2/bins).
    """
    return float(1 + 3 * np.sqrt(2 / n_bins))


def response(fisher: Array, floor: Array) -> Array:
    """Response K = 1 − (H + Λ)⁻¹M of a fit without correction to the true parameters.

    Parameters
    ----------
    fisher, floor : ndarray, shape (n, n)
        H + Λ and M.

    Returns
    -------
    ndarray, shape (n, n)
        Row: fitted, column: true.

    Raises
    ------
    FitError
        If the information is not positive definite.
    """
    return np.eye(len(fisher)) - require_information(fisher).solve(floor)


def fold_noise_floor(folds: Array, weight: Array) -> Array:
    """Noise floor from the scatter of independent parts of the simulation.

    Parameters
    ----------
    folds : ndarray, shape (n_folds, n, n_bins)
        Templates of each part, which add up to those of all.
    weight : ndarray, shape (n_bins,)
        Weight w of each bin; not from the folds themselves.

    Returns
    -------
    ndarray, shape (n, n)
        Σ_a D_a W D_aᵀ/(K(K − 1)), D_a the deviation of K times fold a from the mean of
        all: M without a formula for Σ. H minus it is the mean of products of different
        folds, the cross-fit of the folds.
    """
    n_folds = len(folds)
    deviation = n_folds * folds - folds.sum(axis=0)
    flat = deviation.transpose(1, 0, 2).reshape(folds.shape[1], -1)
    tiled = np.tile(weight, n_folds)
    return (flat * tiled) @ flat.T / (n_folds * (n_folds - 1))


@dataclass(frozen=True, slots=True, eq=False)
class LinearFit:
    """Solution of the corrected score for linear templates.

    Attributes
    ----------
    values, covariance : ndarray, shape (n,), (n, n)
        Strengths of the free templates and their covariance.
    fisher, floor : ndarray, shape (n, n)
        H + Λ and M at the last weights.
    weight : ndarray, shape (n_bins,)
        1/(ν + v).
    """

    values: Array
    covariance: Array
    fisher: Array
    floor: Array
    weight: Array


def corrected_fit(
    templates: Array,
    products: Array,
    observed: Array,
    *,
    n_fixed: int = 0,
    prior: Array | None = None,
    centre: Array | None = None,
) -> LinearFit | None:
    """Fit counts with noisy templates and the corrected score.

    It begins at the Barlow-Beeston solution, which has the same weights and no M, and
    refreshes the weights `REFRESHES` times.

    Parameters
    ----------
    templates : ndarray, shape (n + n_fixed, n_bins)
        Templates with free strengths, then those of strength 1.
    products : ndarray, shape (n + n_fixed, n + n_fixed, n_bins)
        Their covariance in each bin.
    observed : ndarray, shape (n_bins,)
        Counts.
    n_fixed : int
        Number of fixed templates.
    prior : ndarray, shape (n, n), optional
        Information Λ of constraints of the strengths.
    centre : ndarray, shape (n,), optional
        Where they are centred; 1 when omitted.

    Returns
    -------
    LinearFit or None
        None where the simulation does not determine all strengths.

    Raises
    ------
    FitError
        If the information itself is singular.
    """
    n = len(templates) - n_fixed
    prior = np.zeros((n, n)) if prior is None else prior
    centre = np.ones(n) if centre is None else centre
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
        right = free @ (weight * (observed - fixed)) + prior @ centre
        values = solved.inverse @ (right + floor[:n, n:].sum(axis=1))
        result = LinearFit(values, solved.covariance, fisher, floor[:n, :n], weight)
    return result
