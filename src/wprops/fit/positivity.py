r"""Whether measured coefficients make a density of decays that is positive everywhere.

.. math:: 1 + \cos^2θ + \sum_i A_i P_i(θ, φ) ≥ 0

bounds the coefficients together. Nothing is forced: a minimum below zero by several of
its errors says that something is wrong, one within them that errors are large.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.physics.harmonics import NORM, decay_density, harmonics

Array = NDArray[np.float64]
#: Polar angles that are tried; the minimum is found to 1e-5.
_N_ANGLES = 1001


@dataclass(frozen=True, slots=True, eq=False)
class Positivity:
    """Smallest density of decays in each bin.

    Attributes
    ----------
    minimum : ndarray, shape (n_bins,)
        Minimum over the sphere of 1 + cos²θ + Σ A_i P_i.
    error : ndarray, shape (n_bins,)
        Its error, at the angles of the minimum.
    """

    minimum: Array
    error: Array

    @property
    def n_negative(self) -> int:
        """Number of bins with a minimum below zero."""
        return int((self.minimum < 0).sum())

    @property
    def worst(self) -> float:
        """Largest number of errors by which a minimum is below zero; 0 for none."""
        below = np.maximum(-self.minimum, 0.0)
        pulls = np.divide(below, self.error, out=np.zeros_like(below), where=below > 0)
        return float(pulls.max(initial=0.0))


def smallest_density(A: ArrayLike) -> tuple[Array, Array, Array]:
    """Find the minimum over the sphere of 1 + cos²θ + Σ A_i P_i.

    Parameters
    ----------
    A : array_like, shape (5, n)
        A0 … A4; A5 … A7 are zero.

    Returns
    -------
    minimum, costheta, phi : ndarray, shape (n,)
        The minimum, and where it is [rad].

    Examples
    --------
    A left-handed W along the beam sends no lepton backward:

    >>> float(smallest_density([[0.0], [0.0], [0.0], [0.0], [2.0]])[0][0])
    0.0
    """
    A = np.asarray(A, dtype=float)
    theta = np.linspace(0.0, np.pi, _N_ANGLES)
    c, s = np.cos(theta), np.sin(theta)
    # a parabola in u = cosφ at each θ: its minimum, or that end which it falls to
    linear = 2 * np.outer(A[1], s * c) + np.outer(A[3], s)
    bend = np.outer(A[2], s**2)
    edge = -np.where(linear < 0, -1.0, 1.0)
    ratio = np.divide(-linear, 2 * bend, out=edge.copy(), where=bend > abs(linear) / 2)
    u = np.where(bend > abs(linear) / 2, ratio, edge)
    phi = np.arccos(u)
    padded = np.concatenate([A, np.zeros((3, A.shape[1]))])[:, :, None]
    density = decay_density(np.broadcast_to(c, u.shape), phi, padded) / NORM
    best = np.argmin(density, axis=1)
    rows = np.arange(A.shape[1])
    return density[rows, best], c[best], phi[rows, best]


def check_positivity(A: ArrayLike, covariance: ArrayLike) -> Positivity:
    """Find the smallest density of decays in each bin, with its error.

    Parameters
    ----------
    A : array_like, shape (5, n_bins)
        A0 … A4.
    covariance : array_like, shape (n_bins, 5, 5)
        Their covariance in each bin.
    """
    minimum, costheta, phi = smallest_density(A)
    # where the density is smallest, moving the angles does not change it
    P = harmonics(costheta, phi)[:5]
    variance = np.einsum("in,nij,jn->n", P, np.asarray(covariance), P)
    return Positivity(minimum, np.sqrt(variance))
