"""The toy's truth: the record that travels with the files, and what it implies.

`density` and `coefficients` give the differential cross section and the angular
coefficients at a point, `bin_truth` their values in the bins of a measurement.
Charge +1 and −1 select W⁺ and W⁻, charge 0 the Z (angles of the μ−).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.errors import ConfigError
from wprops.events.toy.parameters import (
    BACKGROUND,
    DETECTOR,
    W_MINUS,
    W_PLUS,
    Z_BOSON,
    BackgroundTruth,
    BosonTruth,
    DetectorTruth,
)

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class ToyTruth:
    """Everything that defines one realisation of the toy.

    Attributes
    ----------
    wplus, wminus, z : BosonTruth
        The bosons.
    detector : DetectorTruth
        Response, efficiencies and conditions.
    background : BackgroundTruth
        Directly drawn processes, fake rate, radiation.
    deviations : mapping of str to float
        Named deviations from the default that this record contains.
    """

    wplus: BosonTruth = W_PLUS
    wminus: BosonTruth = W_MINUS
    z: BosonTruth = Z_BOSON
    detector: DetectorTruth = DETECTOR
    background: BackgroundTruth = BACKGROUND
    deviations: Mapping[str, float] = field(default_factory=dict)

    def boson(self, charge: int) -> BosonTruth:
        """Return the boson of a charge; raises ConfigError unless −1, 0 or 1."""
        bosons = {1: self.wplus, -1: self.wminus, 0: self.z}
        if charge not in bosons:
            msg = f"the toy has bosons of charge -1, 0 and 1, not {charge}"
            raise ConfigError(msg)
        return bosons[charge]

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can hold."""
        records = ("wplus", "wminus", "z", "detector", "background")
        return {name: getattr(self, name)._asdict() for name in records} | {
            "deviations": dict(self.deviations)
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`; raises ConfigError for unknown or missing fields."""
        try:
            return cls(
                wplus=BosonTruth(**data["wplus"]),
                wminus=BosonTruth(**data["wminus"]),
                z=BosonTruth(**data["z"]),
                detector=DetectorTruth(**data["detector"]),
                background=BackgroundTruth(**data["background"]),
                deviations=dict(data["deviations"]),
            )
        except (KeyError, TypeError) as error:
            msg = f"not the truth record of this version of the toy: {error}"
            raise ConfigError(msg) from error


@numba.njit(cache=True, nogil=True)
def rapidity_shape(boson, absy):  # type: ignore[no-untyped-def]
    """Unnormalised dσ/d|Y| at one point, zero beyond y_max."""
    if absy > boson.y_max:
        return 0.0
    cutoff = np.exp(-((absy / boson.y_scale) ** boson.y_power))
    return (1.0 + boson.y_curvature * absy * absy) * cutoff


@numba.njit(cache=True, nogil=True)
def qt_width(boson, absy):  # type: ignore[no-untyped-def]
    """Scale a(Y) of the qT spectrum [GeV]."""
    return boson.qt_scale * (1.0 - boson.qt_narrowing * absy * absy)


@numba.njit(cache=True, nogil=True)
def qt_density(boson, qt, absy):  # type: ignore[no-untyped-def]
    """Density of qT given Y [1/GeV], zero beyond qt_max."""
    if qt > boson.qt_max:
        return 0.0
    a2 = qt_width(boson, absy) ** 2
    p = boson.qt_power
    norm = 1.0 - (1.0 + boson.qt_max**2 / a2) ** -p
    return 2.0 * p * qt / a2 * (1.0 + qt * qt / a2) ** (-p - 1.0) / norm


@numba.njit(cache=True, nogil=True)
def coefficients_at(boson, qt, absy):  # type: ignore[no-untyped-def]
    """A0 … A7 at one point, as a tuple."""
    x = qt / boson.qt_reference
    x2 = x * x
    a0 = boson.a0 * x2 / (1.0 + boson.a0 * x2)
    a1 = boson.a1 * x / (1.0 + x2) * np.tanh(boson.a1_slope * absy)
    a2 = a0 * (1.0 - boson.a2_dip * x2 / (1.0 + x2))
    a3 = boson.a3 * x / (1.0 + x2) / (1.0 + boson.a3_slope * absy * absy)
    a4 = boson.a4 * np.tanh(boson.a4_slope * absy) * (1.0 + x2) ** -boson.a4_power
    odd = boson.a_odd * x2
    return a0, a1, a2, a3, a4, odd, odd, odd


@numba.njit(cache=True, nogil=True)
def _fill_density(boson, rapidity_norm, qt, absy, out):  # type: ignore[no-untyped-def]
    scale = boson.sigma / rapidity_norm
    for i in range(qt.size):
        shape = rapidity_shape(boson, absy[i])
        out[i] = scale * shape * qt_density(boson, qt[i], absy[i])


@numba.njit(cache=True, nogil=True)
def _fill_coefficients(boson, qt, absy, out):  # type: ignore[no-untyped-def]
    for i in range(qt.size):
        values = coefficients_at(boson, qt[i], absy[i])
        for k in range(8):
            out[k, i] = values[k]


@lru_cache(maxsize=64)
def rapidity_norm(boson: BosonTruth) -> float:
    """Integral of `rapidity_shape` over 0 ≤ |Y| ≤ y_max."""
    # 64 nodes: the shape is smooth, the error is at the level of rounding.
    nodes, weights = np.polynomial.legendre.leggauss(64)
    half = 0.5 * boson.y_max
    shape = [rapidity_shape(boson, half * (node + 1.0)) for node in nodes]
    return float(half * np.dot(weights, shape))


def _flat(
    qt: ArrayLike, y: ArrayLike
) -> tuple[FloatArray, FloatArray, tuple[int, ...]]:
    qt, absy = np.broadcast_arrays(np.asarray(qt, float), np.abs(np.asarray(y, float)))
    return qt.ravel(), absy.ravel(), qt.shape


def density(truth: ToyTruth, charge: int, qt: ArrayLike, absy: ArrayLike) -> FloatArray:
    """Differential cross section d²σ/dqT d|Y|, both signs of Y together.

    Parameters
    ----------
    truth : ToyTruth
        The truth.
    charge : {1, -1, 0}
        Boson.
    qt, absy : array_like, broadcastable
        Transverse momentum [GeV] and absolute rapidity.

    Returns
    -------
    ndarray, broadcast shape
        Density [pb/GeV]; its integral is the boson's ``sigma``.
    """
    boson = truth.boson(charge)
    flat_qt, flat_y, shape = _flat(qt, absy)
    out = np.empty(flat_qt.size)
    _fill_density(boson, rapidity_norm(boson), flat_qt, flat_y, out)
    return out.reshape(shape)


def coefficients(
    truth: ToyTruth, charge: int, qt: ArrayLike, y: ArrayLike
) -> FloatArray:
    """Angular coefficients A0 … A7 at points of (qT [GeV], Y); shape (8, ...).

    They depend on |Y| only, because the Collins-Soper axis follows the boson.

    Examples
    --------
    At rest in the transverse plane and at Y = 0, nothing is polarised:

    >>> float(abs(coefficients(ToyTruth(), 1, 0.0, 0.0)).max())
    0.0
    """
    flat_qt, flat_y, shape = _flat(qt, y)
    out = np.empty((8, flat_qt.size))
    _fill_coefficients(truth.boson(charge), flat_qt, flat_y, out)
    return out.reshape((8, *shape))


def bin_truth(
    truth: ToyTruth,
    charge: int,
    qt_edges: ArrayLike,
    absy_edges: ArrayLike,
    *,
    n_nodes: int = 32,
) -> tuple[FloatArray, FloatArray]:
    """Cross section and σ-weighted mean coefficients of each (|Y|, qT) bin.

    Parameters
    ----------
    truth, charge
        As for `density`.
    qt_edges, absy_edges : array_like, shapes (n_qt + 1,), (n_y + 1,)
        Bin edges [GeV] and |Y|.
    n_nodes : int
        Gauss-Legendre nodes per bin and direction.

    Returns
    -------
    sigma : ndarray, shape (n_y, n_qt)
        Cross sections [pb].
    mean_A : ndarray, shape (8, n_y, n_qt)
        Mean coefficients, weighted by the cross section.
    """
    qt, qt_weight = _nodes(np.asarray(qt_edges, float), n_nodes)
    absy, y_weight = _nodes(np.asarray(absy_edges, float), n_nodes)
    # axes: |Y| bin, |Y| node, qT bin, qT node
    point_y, point_qt = absy[:, :, None, None], qt[None, None]
    measure = y_weight[:, :, None, None] * qt_weight[None, None]
    weight = density(truth, charge, point_qt, point_y) * measure
    sigma = weight.sum(axis=(1, 3))
    moments = coefficients(truth, charge, point_qt, point_y) * weight
    return sigma, moments.sum(axis=(2, 4)) / sigma


def _nodes(edges: FloatArray, n_nodes: int) -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre nodes and weights, one row per bin."""
    nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
    half = 0.5 * np.diff(edges)[:, None]
    centre = 0.5 * (edges[1:] + edges[:-1])[:, None]
    return centre + half * nodes, half * weights
