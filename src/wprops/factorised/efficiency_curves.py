"""Shapes of the efficiency of muons as functions of pT."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from wprops.physics.rate_curves import Curve, saturating

FloatArray = NDArray[np.float64]

#: Part, centre and width [GeV] of a turn-on, where the search for those of a sample
#: begins.
_START_PART, _START_CENTRE, _START_WIDTH = 0.02, 25.0, 10.0
#: Steps of a fit may try exponents beyond this, where nothing is to be found.
_MOST_EXPONENT = 30.0


def _saturation(z: FloatArray) -> FloatArray:
    """1 − exp(−z)."""
    return -np.expm1(np.minimum(-z, _MOST_EXPONENT))


def _constant() -> Curve:
    def value(pt: FloatArray, parameters: FloatArray) -> FloatArray:
        return parameters[..., 0, None] + np.zeros_like(pt)

    def jacobian(pt: FloatArray, parameters: FloatArray) -> FloatArray:
        return np.ones((*parameters.shape[:-1], len(pt), 1))

    def start(pt: FloatArray, rate: FloatArray) -> FloatArray:
        return rate.mean(axis=-1, keepdims=True)

    return Curve("constant", ("A",), value, jacobian, start)


def _isolation() -> Curve:
    """Return A (1 − exp(−B pT)): a sum around the muon, cut at a fraction of its pT."""

    def value(pt: FloatArray, parameters: FloatArray) -> FloatArray:
        return parameters[..., 0, None] * _saturation(parameters[..., 1, None] * pt)

    def jacobian(pt: FloatArray, parameters: FloatArray) -> FloatArray:
        rise = _saturation(parameters[..., 1, None] * pt)
        slope = parameters[..., 0, None] * pt * (1 - rise)
        return np.stack([rise, slope], axis=-1)

    def start(pt: FloatArray, rate: FloatArray) -> FloatArray:
        plateau = np.maximum(1.03 * rate.max(axis=-1), 0.01)
        lost = np.clip(1 - rate[..., 0] / plateau, 1e-3, 0.9)
        return np.stack([plateau, -np.log(lost) / pt[..., 0]], axis=-1)

    return Curve("isolation", ("A", "B"), value, jacobian, start)


def _turn_on() -> Curve:
    """Return A (1 − exp(−B pT)) (1 + F (erf(D pT + E) − 1)).

    Of the muons a part F has to pass a threshold at −E/D, of width 1/D.
    """

    def rise(pt: FloatArray, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        z = parameters[..., 3, None] * pt + parameters[..., 4, None]
        slope = 2 / np.sqrt(np.pi) * np.exp(-np.minimum(z**2, _MOST_EXPONENT**2))
        return np.asarray(erf(z)) - 1, slope

    def value(pt: FloatArray, parameters: FloatArray) -> FloatArray:
        turn_on, _ = rise(pt, parameters)
        factor = 1 + parameters[..., 2, None] * turn_on
        return ISOLATION.value(pt, parameters) * factor

    def jacobian(pt: FloatArray, parameters: FloatArray) -> FloatArray:
        turn_on, slope = rise(pt, parameters)
        isolation, part = ISOLATION.value(pt, parameters), parameters[..., 2, None]
        first = ISOLATION.jacobian(pt, parameters) * (1 + part * turn_on)[..., None]
        along = isolation * part * slope
        rest = np.stack([isolation * turn_on, along * pt, along], axis=-1)
        return np.concatenate([first, rest], axis=-1)

    def start(pt: FloatArray, rate: FloatArray) -> FloatArray:
        begin = ISOLATION.start(pt, rate)
        rest = [_START_PART, 1 / _START_WIDTH, -_START_CENTRE / _START_WIDTH]
        shape = (*begin.shape[:-1], len(rest))
        return np.concatenate([begin, np.broadcast_to(rest, shape)], axis=-1)

    names = ("A", "B", "F", "D", "E")
    return Curve("turn-on", names, value, jacobian, start)


CONSTANT = _constant()
ISOLATION = _isolation()
#: A (1 − exp(−B pT − C)).
OFFSET = saturating(
    "isolation with offset",
    _saturation,
    lambda z: 1 - _saturation(z),
    lambda rate: -np.log1p(-rate),
)
TURN_ON = _turn_on()


class Shape(NamedTuple):
    """A curve, and which of its parameters are the same for all charges and eta.

    Attributes
    ----------
    curve : Curve
        The curve; its name tells what is common.
    tied : tuple of int
        Places of the common parameters in the curve.
    """

    curve: Curve
    tied: tuple[int, ...] = ()

    def n_parameters(self, n_rows: int) -> int:
        """Return the number of parameters of a fit of rows."""
        free = len(self.curve.parameters) - len(self.tied)
        return n_rows * free + len(self.tied)

    def places(self, n_rows: int) -> NDArray[np.int64]:
        """Return places of the parameters of rows in the vector of all, (n_rows, k)."""
        k = len(self.curve.parameters)
        free = [i for i in range(k) if i not in self.tied]
        out = np.empty((n_rows, k), dtype=np.int64)
        out[:, free] = np.arange(n_rows * len(free)).reshape(n_rows, -1)
        out[:, list(self.tied)] = n_rows * len(free) + np.arange(len(self.tied))
        return out


def _tied(curve: Curve, name: str, tied: tuple[int, ...]) -> Shape:
    return Shape(replace(curve, name=name), tied)


#: Shapes in the order of preference, from the fewest parameters on.
SHAPES = (
    Shape(CONSTANT),
    _tied(ISOLATION, "isolation, common shape", (1,)),
    _tied(TURN_ON, "turn-on, common shape", (1, 2, 3, 4)),
    Shape(ISOLATION),
    Shape(OFFSET),
    _tied(TURN_ON, "turn-on, common threshold", (3, 4)),
)
