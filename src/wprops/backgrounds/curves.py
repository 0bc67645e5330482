"""Shapes of the fake and the prompt rate as functions of pT.

The measurement uses `LINEAR` for the fake and `ERF` for the prompt rate; the others
tell how much this choice matters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, erfinv, expit, logit

from wprops.physics.rate_curves import Curve, saturating

Array = NDArray[np.float64]

#: Polynomials are in pT minus this [GeV], the lower edge of the measurement.
PT_REFERENCE = 25.0


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


LINEAR = polynomial(1)
QUADRATIC = polynomial(2)
CUBIC = polynomial(3)
#: A erf(B pT + C).
ERF = saturating("erf", erf, lambda z: 2 / np.sqrt(np.pi) * np.exp(-(z**2)), erfinv)
#: A / (1 + exp(−B pT − C)).
LOGISTIC = saturating("logistic", expit, lambda z: expit(z) * expit(-z), logit)
#: All shapes by name.
CURVES = {
    curve.name: curve
    for curve in (polynomial(0), LINEAR, QUADRATIC, CUBIC, ERF, LOGISTIC)
}
