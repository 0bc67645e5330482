"""Linear algebra of information matrices: Hessian, covariance, correlation.

Parameters have scales that differ by orders of magnitude, so every matrix is
scaled by its diagonal before it is factorised; nothing is ever pseudo-inverted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from wprops.errors import FitError

Array = NDArray[np.float64]
#: Relative eigenvalue of a scaled matrix below which a direction is flat: well
#: above rounding (1e-14 for a few hundred parameters), well below the 2e-8 of
#: the measurement with all strengths free.
FLAT = 1e-12
#: Estimated reciprocal condition number above which no direction is flat: it is at most
#: the ratio of the eigenvalues, up to a factor of a few in the estimate.
CLEARLY_NOT_FLAT = 100 * FLAT


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """Cholesky factor of a matrix whose diagonal was scaled to one."""

    scale: Array
    lower: Array

    def solve(self, right: Array) -> Array:
        """Solve the linear system for a vector or for columns."""
        scale = self.scale if right.ndim == 1 else self.scale[:, None]
        return linalg.cho_solve((self.lower, True), right / scale) / scale

    def reciprocal_condition(self) -> float:
        """Estimate 1/(‖A‖₁ ‖A⁻¹‖₁) of the scaled matrix A without its inverse."""
        lower = np.tril(self.lower)
        norm = abs(lower @ lower.T).sum(axis=0).max()
        return float(linalg.lapack.dpocon(self.lower, norm, uplo="L")[0])

    def inverse(self) -> Array:
        """Inverse of the matrix, symmetric."""
        inverse = self.solve(np.eye(len(self.scale)))
        return (inverse + inverse.T) / 2


def factorise(matrix: Array) -> Factor | None:
    """Factorise a symmetric matrix; None if it is not positive definite.

    Examples
    --------
    >>> factorise(np.array([[4.0, 0.0], [0.0, 16.0]])).inverse().tolist()
    [[0.25, 0.0], [0.0, 0.0625]]
    >>> factorise(np.array([[1.0, 2.0], [2.0, 1.0]])) is None
    True
    """
    diagonal = np.diag(matrix)
    if not (np.isfinite(matrix).all() and (diagonal > 0).all()):
        return None
    scale = np.sqrt(diagonal)
    lower, info = linalg.lapack.dpotrf(matrix / np.outer(scale, scale), lower=1)
    return Factor(scale, lower) if info == 0 else None


def flat_directions(matrix: Array, names: Sequence[str], n_terms: int = 4) -> list[str]:
    """Name the combinations of parameters that the data cannot tell apart.

    Parameters
    ----------
    matrix : ndarray, shape (n_par, n_par)
        Information matrix.
    names : sequence of str
        Names of the parameters.
    n_terms : int
        Largest number of parameters named per direction.

    Returns
    -------
    list of str
        One linear combination per flat direction, in units in which every
        parameter alone has information 1.

    Examples
    --------
    >>> flat_directions(np.ones((2, 2)), ["a", "b"])
    ['+0.71 a -0.71 b']
    """
    diagonal = np.diag(matrix)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    values, vectors = linalg.eigh(matrix / np.outer(scale, scale))
    flat = values < FLAT * max(values[-1], 1.0)
    return [describe_direction(v, names, n_terms) for v in vectors[:, flat].T]


def describe_direction(vector: Array, names: Sequence[str], n_terms: int = 4) -> str:
    """Write the largest components of a direction, their leading sign positive."""
    order = np.argsort(-abs(vector), kind="stable")[:n_terms]
    order = order[abs(vector[order]) > 0.05 * abs(vector[order[0]])]
    vector = vector * np.sign(vector[order[0]])
    return " ".join(f"{vector[i]:+.2f} {names[i]}" for i in order)


def covariance(hessian: Array, names: Sequence[str]) -> Array:
    """Invert a Hessian.

    Raises
    ------
    FitError
        If it is not positive definite; the message names flat directions.
    """
    factor = factorise(hessian)
    if factor is None:
        msg = (
            "the Hessian is not positive definite, flat or falling along "
            f"{'; '.join(flat_directions(hessian, names)[:5])}; merge cells, drop a "
            "parameter or constrain it"
        )
        raise FitError(msg)
    return factor.inverse()


def correlation(covariance: Array) -> Array:
    """Divide a covariance by the standard deviations.

    Examples
    --------
    >>> correlation(np.array([[4.0, 1.0], [1.0, 1.0]])).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    sigma = np.sqrt(np.diag(covariance))
    return covariance / np.outer(sigma, sigma)
