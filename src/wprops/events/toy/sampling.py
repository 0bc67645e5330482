"""Draw bosons and their decay angles from the truth, event by event, unweighted."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from wprops.events.toy.parameters import BosonTruth
from wprops.events.toy.truth import (
    ToyTruth,
    coefficients_at,
    qt_width,
    rapidity_shape,
)

FloatArray = NDArray[np.float64]


class Bosons(NamedTuple):
    """Sampled bosons: arrays of shape (n,).

    ``qt`` [GeV], signed rapidity ``y``, ``mass`` [GeV], azimuth ``phi`` [rad], and
    the charged lepton's Collins-Soper ``costheta`` and ``phistar`` [rad].
    """

    qt: FloatArray
    y: FloatArray
    mass: FloatArray
    phi: FloatArray
    costheta: FloatArray
    phistar: FloatArray


@numba.njit(cache=True, nogil=True)
def _draw_rapidity(boson, bound, rng):  # type: ignore[no-untyped-def]
    """Absolute rapidity, by accept-reject below a constant bound."""
    while True:
        absy = rng.random() * boson.y_max
        if rng.random() * bound < rapidity_shape(boson, absy):
            return absy


@numba.njit(cache=True, nogil=True)
def _draw_qt(boson, absy, rng):  # type: ignore[no-untyped-def]
    """Transverse momentum given Y, by the closed inverse of its distribution."""
    a = qt_width(boson, absy)
    tail = (1.0 + (boson.qt_max / a) ** 2) ** -boson.qt_power
    survival = 1.0 - rng.random() * (1.0 - tail)
    return a * np.sqrt(max(survival ** (-1.0 / boson.qt_power) - 1.0, 0.0))


@numba.njit(cache=True, nogil=True)
def _draw_angles(A, rng):  # type: ignore[no-untyped-def]
    """Decay angles, by accept-reject below a bound of the density at this point.

    1 + c² + A0 P0 ≤ 2 for 0 ≤ A0 ≤ 1, and the other |P_i| are at most 1 (P2: 1/2).
    """
    bound = 2.0 + 0.5 * abs(A[2]) + abs(A[1]) + abs(A[3]) + abs(A[4])
    bound += abs(A[5]) + abs(A[6]) + abs(A[7])
    odd = A[5] != 0.0 or A[6] != 0.0 or A[7] != 0.0
    while True:
        c = 2.0 * rng.random() - 1.0
        phi = np.pi * (2.0 * rng.random() - 1.0)
        s2 = 1.0 - c * c
        s = np.sqrt(s2)
        cos_phi = np.cos(phi)
        value = 1.0 + c * c + 0.5 * A[0] * (1.0 - 3.0 * c * c) + A[4] * c
        value += (2.0 * A[1] * c + A[3]) * s * cos_phi
        value += 0.5 * A[2] * s2 * (2.0 * cos_phi * cos_phi - 1.0)
        if odd:
            sin_phi = np.sin(phi)
            value += 2.0 * A[5] * s2 * sin_phi * cos_phi
            value += (2.0 * A[6] * c + A[7]) * s * sin_phi
        if rng.random() * bound < value:
            return c, phi


@numba.njit(cache=True, nogil=True)
def _fill(boson, rapidity_bound, rng, out):  # type: ignore[no-untyped-def]
    """Fill the rows qT, Y, mass, azimuth, cosθ*, φ* of ``out``."""
    pole = boson.mass * boson.width
    low = np.arctan((boson.mass_low**2 - boson.mass**2) / pole)
    high = np.arctan((boson.mass_high**2 - boson.mass**2) / pole)
    for i in range(out.shape[1]):
        absy = _draw_rapidity(boson, rapidity_bound, rng)
        qt = _draw_qt(boson, absy, rng)
        m2 = boson.mass**2 + pole * np.tan(low + (high - low) * rng.random())
        costheta, phistar = _draw_angles(coefficients_at(boson, qt, absy), rng)
        out[0, i] = qt
        out[1, i] = absy if rng.random() < 0.5 else -absy
        out[2, i] = np.sqrt(m2)
        out[3, i] = np.pi * (2.0 * rng.random() - 1.0)
        out[4, i] = costheta
        out[5, i] = phistar


def rapidity_bound(boson: BosonTruth) -> float:
    """Upper bound of `rapidity_shape`.

    The maximum over 1001 points misses the true one by less than 1e-5 of it,
    because the shape is smooth on the scale of 0.005.
    """
    grid = np.linspace(0.0, boson.y_max, 1001)
    return 1.0001 * max(rapidity_shape(boson, absy) for absy in grid)


def sample_bosons(
    truth: ToyTruth, charge: int, n: int, rng: np.random.Generator
) -> Bosons:
    """Draw ``n`` unweighted bosons with decay angles.

    Parameters
    ----------
    truth : ToyTruth
        The truth.
    charge : {1, -1, 0}
        Boson.
    n : int
        Number of events.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    Bosons
        Arrays of shape (n,).
    """
    boson = truth.boson(charge)
    out = np.empty((6, n))
    _fill(boson, rapidity_bound(boson), rng, out)
    return Bosons(*out)
