"""Shapes of the fake and the prompt rate as functions of pT.

The measurement uses `LINEAR` for the fake and `ERF` for the prompt rate; the others
tell how much this choice matters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, erfinv, expit, logit

Array = NDArray[np.float64]

#: Polynomials are in pT minus this [GeV], the lower edge of the measurement.
PT_REFERENCE = 25.0


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


def polynomial(degree: int) -> Curve:
    """Polynomial in pT − 25 GeV, of degree 0 to 3.

    Raises
    ------
    ValueError
        For other degrees.

    Examples
    --------
    >>> polynomial(1).value(np.array([25.0, 35.0]), np.array([0.2, 0.01])).tolist()
    [0.2, 0.30000000000000004]
    """
    shapes = ("constant", "linear", "quadratic", "cubic")
    if not 0 <= degree < len(shapes):
        msg = f"polynomials have a degree of 0 to {len(shapes) - 1}, not {degree}"
        raise ValueError(msg)
    powers = np.arange(degree + 1)

    def value(pt: Array, parameters: Array) -> Array:
        return np.sum(jacobian(pt, parameters) * parameters[..., None, :], axis=-1)

    def jacobian(pt: Array, parameters: Array) -> Array:
        return np.asarray(pt - PT_REFERENCE)[..., None] ** powers

    def start(pt: Array, rate: Array) -> Array:
        # Linear in its parameters: any start leads to the solution.
        parameters = np.zeros((*rate.shape[:-1], degree + 1))
        parameters[..., 0] = rate.mean(axis=-1)
        return parameters

    names = ("offset", "slope", "curvature", "cubic")[: degree + 1]
    return Curve(
        name=shapes[degree],
        parameters=names,
        value=value,
        jacobian=jacobian,
        start=start,
    )


def _saturating(
    name: str,
    function: Callable[[Array], Array],
    derivative: Callable[[Array], Array],
    inverse: Callable[[Array], Array],
) -> Curve:
    """Return the curve A g(B pT + C), with parameters A, B [1/GeV], C."""

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


LINEAR = polynomial(1)
QUADRATIC = polynomial(2)
CUBIC = polynomial(3)
#: A erf(B pT + C).
ERF = _saturating("erf", erf, lambda z: 2 / np.sqrt(np.pi) * np.exp(-(z**2)), erfinv)
#: A / (1 + exp(−B pT − C)).
LOGISTIC = _saturating("logistic", expit, lambda z: expit(z) * expit(-z), logit)
#: All shapes by name.
CURVES = {
    curve.name: curve
    for curve in (polynomial(0), LINEAR, QUADRATIC, CUBIC, ERF, LOGISTIC)
}
