"""Combinations of parton-density sets: replicas, Hessian directions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def hessian_matrix(deviations: ArrayLike, n_directions: int) -> FloatArray:
    """Matrix T that turns replicas into Hessian directions.

    With relative deviations δ_j of the replicas, direction k is
    d_k = Σ_j T_jk δ_j, and Σ_k d_k d_kᵀ is the covariance of the replicas up to
    the directions that are left out. A direction k of an event has the weight
    1 + Σ_j T_jk (r_j − 1).

    Parameters
    ----------
    deviations : array_like, shape (n_replicas, n_points)
        Replica over nominal − 1 at points that span all differences.
    n_directions : int
        Number of directions to keep, those of largest variance first.

    Returns
    -------
    ndarray, shape (n_replicas, n_directions)
        The sign of each direction is such that its largest deviation is positive.

    Raises
    ------
    ValueError
        If the replicas have fewer independent directions.

    References
    ----------
    S. Carrazza et al., Eur. Phys. J. C 75 (2015) 369, arXiv:1505.06736.
    """
    deviations = np.asarray(deviations, dtype=float)
    n = len(deviations)
    centred = (deviations - deviations.mean(axis=0)) / np.sqrt(n - 1.0)
    left, singular, right = np.linalg.svd(centred, full_matrices=False)
    rank = int((singular > 1e-12 * singular[0]).sum())
    if n_directions > rank:
        msg = f"{n} replicas have {rank} independent directions, not {n_directions}"
        raise ValueError(msg)
    right = right[:n_directions]
    largest = np.take_along_axis(right, np.abs(right).argmax(axis=1)[:, None], axis=1)
    matrix = left[:, :n_directions] * np.sign(largest[:, 0])
    # Directions of the centred replicas; centring makes each column sum to zero,
    # so the same columns act on the deviations themselves.
    return matrix / np.sqrt(n - 1.0)
