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
