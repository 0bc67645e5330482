"""Rates as functions of pT and of parameters, for fits of many rows at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A rate as a function of pT [GeV] and of parameters.

    Attributes
    ----------
    name : str
        Name of the shape.
    parameters : tuple of str
        Names of the k parameters.
    value : callable
        From pT (n_pt,) and parameters (..., k) to rates (..., n_pt).
    jacobian : callable
        Derivatives in the parameters, (..., n_pt, k).
    start : callable
        From two points, pT (..., 2) and rates (..., 2), to parameters (..., k) from
        which a fit finds its way.
    """

    name: str
    parameters: tuple[str, ...]
    value: Callable[[Array, Array], Array]
    jacobian: Callable[[Array, Array], Array]
    start: Callable[[Array, Array], Array]


def saturating(
    name: str,
    function: Callable[[Array], Array],
    derivative: Callable[[Array], Array],
    inverse: Callable[[Array], Array],
) -> Curve:
    """Return the curve A g(B pT + C), with parameters A, B [1/GeV], C.

    Parameters
    ----------
    name : str
        Name of the shape.
    function, derivative, inverse : callable
        g, which rises to 1, its derivative and its inverse.
    """

    def argument(pt: Array, parameters: Array) -> Array:
        return parameters[..., 1, None] * pt + parameters[..., 2, None]

    def value(pt: Array, parameters: Array) -> Array:
        return parameters[..., 0, None] * function(argument(pt, parameters))

    def jacobian(pt: Array, parameters: Array) -> Array:
        z = argument(pt, parameters)
        slope = parameters[..., 0, None] * derivative(z)
        return np.stack([function(z), slope * pt, slope], axis=-1)

    def start(pt: Array, rate: Array) -> Array:
        plateau = np.clip(1.03 * rate.max(axis=-1, keepdims=True), 0.01, 1.0)
        z = inverse(np.clip(rate / plateau, 0.01, 0.995))
        b = (z[..., 1] - z[..., 0]) / (pt[..., 1] - pt[..., 0])
        return np.stack([plateau[..., 0], b, z[..., 0] - b * pt[..., 0]], axis=-1)

    return Curve(name, ("A", "B", "C"), value, jacobian, start)
