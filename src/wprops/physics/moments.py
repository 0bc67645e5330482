r"""Angular coefficients from moments, and the weights of pure harmonics.

The coefficients are linear in the weighted means of the harmonics, with factors
that follow from integrals over the sphere; P0 is not orthogonal to 1 + cos²θ,
which gives A0 an offset. A mean needs full acceptance in the decay angles.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.physics.harmonics import harmonics, unpolarised

FloatArray = NDArray[np.float64]
Weighting = Literal["sigma_A", "sigma"]

#: A_i = FACTORS[i] ⟨P_i⟩ + OFFSETS[i].
FACTORS = np.array([20.0 / 3.0, 5.0, 20.0, 4.0, 4.0, 5.0, 5.0, 4.0])
OFFSETS = np.array([2.0 / 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])


def coefficients_from_means(means: ArrayLike) -> FloatArray:
    """Turn mean harmonics, shape (8, ...), into A0 … A7 of the same shape."""
    means = np.asarray(means, dtype=float)
    column = (8,) + (1,) * (means.ndim - 1)
    return FACTORS.reshape(column) * means + OFFSETS.reshape(column)


def angular_coefficients(
    costheta: ArrayLike, phi: ArrayLike, weight: ArrayLike | None = None
) -> tuple[FloatArray, FloatArray]:
    r"""Measure the angular coefficients A0 … A7 of a sample, with their errors.

    Parameters
    ----------
    costheta, phi : array_like, shape (n_events,)
        Polar cosine and azimuth [rad] of the charged lepton in the
        Collins-Soper frame.
    weight : array_like, shape (n_events,), optional
        Signed event weights; unit weights when omitted.

    Returns
    -------
    A : ndarray, shape (8,)
        The coefficients.
    errors : ndarray, shape (8,)
        Their statistical errors.

    Raises
    ------
    ValueError
        If the weights sum to zero, which leaves the means undefined.

    References
    ----------
    E. Mirkes and J. Ohnemus, Phys. Rev. D 50 (1994) 5692.

    Examples
    --------
    A lepton emitted at right angles to the axis carries no forward asymmetry:

    >>> A, _ = angular_coefficients(costheta=[0.0, 0.0], phi=[0.0, np.pi])
    >>> float(A[4])
    0.0
    """
    P = harmonics(costheta, phi)
    w = np.ones(P.shape[1]) if weight is None else np.asarray(weight, dtype=float)
    weighted = w * P
    A, covariance = coefficients_from_sums(
        w.sum(), weighted.sum(axis=1), (w @ w, weighted @ w, weighted @ weighted.T)
    )
    return A, np.sqrt(np.einsum("ii->i", covariance))


def coefficients_from_sums(
    sumw: ArrayLike,
    sums: ArrayLike,
    squares: tuple[ArrayLike, ArrayLike, ArrayLike],
) -> tuple[FloatArray, FloatArray]:
    r"""Coefficients and their covariance from sums over events.

    The error is that of a ratio of sums, Σ w² (P_i − ⟨P_i⟩)(P_j − ⟨P_j⟩)/(Σw)²,
    which holds for weights of both signs.

    Parameters
    ----------
    sumw : array_like, shape (...)
        Σ w.
    sums : array_like, shape (8, ...)
        Σ w P_i.
    squares : tuple of array_like, shapes (...), (8, ...), (8, 8, ...)
        Σ w², Σ w² P_i and Σ w² P_i P_j.

    Returns
    -------
    A : ndarray, shape (8, ...)
        The coefficients.
    covariance : ndarray, shape (8, 8, ...)
        Their covariance.

    Raises
    ------
    ValueError
        If a sum of weights is zero.
    """
    sumw, sums = np.asarray(sumw, dtype=float), np.asarray(sums, dtype=float)
    w2, w2p, w2pp = (np.asarray(values, dtype=float) for values in squares)
    if (sumw == 0).any():
        msg = (
            f"the weights sum to zero in {int((sumw == 0).sum())} of {sumw.size} "
            "samples, so the mean harmonics are undefined; merge bins or add events"
        )
        raise ValueError(msg)
    mean = sums / sumw
    outer = mean[:, None] * w2p[None, :]
    spread = w2pp - outer - np.swapaxes(outer, 0, 1) + mean[:, None] * mean[None] * w2
    column = (8,) + (1,) * sumw.ndim
    factor = FACTORS.reshape(column)
    covariance = factor[:, None] * factor[None, :] * spread / sumw**2
    return coefficients_from_means(mean), covariance


def helicity_weights(
    costheta: ArrayLike,
    phi: ArrayLike,
    A: ArrayLike,
    *,
    weighting: Weighting = "sigma_A",
) -> FloatArray:
    r"""Weights that turn an event into pure harmonics, shape (n_events, 9).

    The columns are UL and A0 … A7,

    .. math:: \frac{1 + c^2}{1 + c^2 + Σ_j A_j P_j}, \qquad
       \frac{A_i P_i}{1 + c^2 + Σ_j A_j P_j},

    so that they add up to 1. They need the A_j of the simulation at the event's own
    qT and Y: averages over a bin distort every template by 1–3 %, which the sum
    does not show.

    Parameters
    ----------
    costheta, phi : array_like, shape (n_events,)
        Angles as for `angular_coefficients`.
    A : array_like, shape (8, n_events)
        Coefficients that the events were generated with.
    weighting : {"sigma_A", "sigma"}
        ``sigma`` leaves out the factor A_i of each harmonic.

    Raises
    ------
    ValueError
        If the density of the decay is not positive at an event.

    Examples
    --------
    >>> A = np.array([0.2, 0.1, 0.1, -0.1, -0.5, 0.0, 0.0, 0.0])[:, None]
    >>> round(float(helicity_weights([0.3], [1.0], A).sum()), 12)
    1.0
    """
    P, A = harmonics(costheta, phi), np.asarray(A, dtype=float)
    weights = np.empty((P.shape[1], 9))
    weights[:, 0] = unpolarised(costheta)
    weights[:, 1:] = (A * P).T
    density = weights.sum(axis=1)
    if not (density > 0).all():
        first = int(np.argmax(~(density > 0)))
        msg = (
            f"the decay density is not positive for {int((~(density > 0)).sum())} "
            f"events, the first is event {first} with A = {A[:, first].tolist()}; "
            "these coefficients belong to no sample"
        )
        raise ValueError(msg)
    if weighting == "sigma":
        weights[:, 1:] = P.T
    return weights / density[:, None]
