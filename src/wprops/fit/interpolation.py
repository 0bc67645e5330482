r"""How a template follows its nuisance parameter θ between and beyond ±1.

A systematic acts on a template in one of three ways, each of them a slope times
θ plus a bend times an even function of θ, so that all derivatives are closed:

``lognormal``
    :math:`n \exp(a\,θ + b\,s(θ))`, a = ½ ln(u/d), b = ½ ln(ud/n²), where s is |θ|
    made smooth inside ±1: exact at θ = ±1, twice continuously differentiable.
``linear``
    :math:`n + a\,θ`, a = (u − d)/2: the part of the variation that is even in θ,
    for a kinematic shift mostly statistical noise, is left out.
``quadratic``
    :math:`n + a\,θ + b\,q(θ)`, a = (u − d)/2, b = (u + d)/2 − n, where q = θ² inside
    ±1 and turns into a straight line between 1 and 2, so that yields far from
    the templates do not run away; twice continuously differentiable.

Here n, u, d are the nominal, up and down templates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.systematics.declaration import Interpolation

Array = NDArray[np.float64]


class Curve(NamedTuple):
    """A function of θ with its first two derivatives."""

    value: Array
    first: Array
    second: Array


def smooth_abs(theta: ArrayLike) -> Curve:
    """Absolute value, made smooth inside ±1 by an even polynomial.

    Examples
    --------
    >>> smooth_abs([-2.0, 0.0, 1.0]).value.tolist()
    [2.0, 0.0, 1.0]
    """
    x = np.asarray(theta, dtype=float)
    square = x**2
    inside = square < 1
    return Curve(
        np.where(inside, square * (15 - square * (10 - 3 * square)) / 8, abs(x)),
        np.where(inside, x * (15 - square * (20 - 9 * square)) / 4, np.sign(x)),
        np.where(inside, (15 - square * (60 - 45 * square)) / 4, 0.0),
    )


def bounded_square(theta: ArrayLike) -> Curve:
    """Square of θ inside ±1, straight with slope ±3 beyond ±2.

    The second derivative falls linearly from 2 to 0 between 1 and 2.

    Examples
    --------
    >>> bounded_square([-1.0, 0.5]).value.tolist()
    [1.0, 0.25]
    """
    x = np.asarray(theta, dtype=float)
    # beyond: how far into the interval where the parabola straightens
    beyond = np.clip(abs(x) - 1, 0.0, 1.0)
    outside = np.maximum(abs(x) - 2, 0.0)
    inner = np.minimum(abs(x), 1.0)
    return Curve(
        inner**2 + 2 * beyond + beyond**2 - beyond**3 / 3 + 3 * outside,
        np.sign(x) * (2 * inner + 2 * beyond - beyond**2),
        2 * (1 - beyond),
    )


def mirrored(kind: Interpolation, nominal: Array, up: Array) -> Array:
    """Down variation of a one-sided source.

    Parameters
    ----------
    kind : {"lognormal", "linear", "quadratic"}
        Mirrored in the logarithm, nominal²/up, or in the yield, 2 nominal − up.
    nominal, up : ndarray
        Templates [events]; of one sign for ``lognormal``, see `has_logarithm`.
    """
    if kind != "lognormal":
        return 2 * nominal - up
    return np.divide(nominal**2, up, out=np.zeros_like(up), where=up != 0)


def has_logarithm(*templates: Array) -> bool:
    """Whether ratios of the templates are positive and of one sign everywhere.

    Bins in which all templates vanish do not count.

    Examples
    --------
    >>> has_logarithm(np.array([1.0, 0.0]), np.array([2.0, 0.0]))
    True
    >>> has_logarithm(np.array([1.0, -1.0]), np.array([2.0, -2.0]))
    False
    """
    signs = np.sign(np.stack(templates))
    filled = signs[:, (signs != 0).any(axis=0)]
    return bool((filled == 1).all() or (filled == -1).all())


def coefficients(
    kind: Interpolation, nominal: Array, up: Array, down: Array
) -> tuple[Array, Array]:
    """Slope and bend of a template in its nuisance parameter.

    Parameters
    ----------
    kind : {"lognormal", "linear", "quadratic"}
        See the module's docstring.
    nominal, up, down : ndarray
        Templates at θ = 0, 1 and −1 [events].

    Returns
    -------
    slope, bend : ndarray
        Dimensionless for ``lognormal``, in events otherwise.
    """
    if kind == "lognormal":
        filled = nominal != 0
        log_up = _log_ratio(up, nominal, filled)
        log_down = _log_ratio(down, nominal, filled)
        return (log_up - log_down) / 2, (log_up + log_down) / 2
    slope = (up - down) / 2
    if kind == "linear":
        return slope, np.zeros_like(slope)
    return slope, (up + down) / 2 - nominal


def _log_ratio(varied: Array, nominal: Array, filled: NDArray[np.bool_]) -> Array:
    ratio = np.divide(varied, nominal, out=np.ones_like(nominal), where=filled)
    return np.log(ratio)
