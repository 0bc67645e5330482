r"""Smooth coefficients and cross sections from the result of a fit.

The measured cross sections and A0 … A4 are drawn to the span of an ansatz
(`wprops.fit.ansatz`) with all their correlations, and with them everything else that a
fit measures, such as m_W. The likelihood is replaced by the parabola of its minimum;
`wprops.fit.penalised` keeps it. Infinite strength is the χ² fit of smooth functions.

A_i are ratios, so that departures are not linear in the strengths: derivatives are
taken again until they are those at the result. Derivatives at the measured values
instead, the usual fit to unfolded coefficients, follow the fluctuations of the
denominators.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wprops.errors import ConfigError, FitError
from wprops.fit.ansatz import Span
from wprops.fit.parameters import Parameters
from wprops.fit.smoothing import Departures, independent

Array = NDArray[np.float64]
#: Largest step of the last iteration, in errors of the parameters.
CONVERGED = 1e-6
_MAX_ITERATIONS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """Regularised parameters.

    Attributes
    ----------
    values : ndarray, shape (n_par,)
        Parameters.
    covariance : ndarray, shape (n_par, n_par)
        Covariance with the declared prior on departures: it covers truths that scatter
        about smooth values as declared.
    spread : ndarray, shape (n_par, n_par)
        Covariance over repetitions at one truth, without the bias; the same at infinite
        strength.
    derivatives : ndarray, shape (n, n_par)
        Derivatives of the departures in the parameters.
    gain : ndarray, shape (n_par, n)
        What departures take from the unregularised parameters.
    """

    values: Array
    covariance: Array
    spread: Array
    derivatives: Array
    gain: Array

    @property
    def response(self) -> Array:
        """Derivatives of the regularised in the unregularised parameters."""
        return np.eye(len(self.values)) - self.gain @ self.derivatives

    def bias(self, span: Span, truth: Array) -> Array:
        """Return the expected result less the truth, to first order in departures."""
        return -self.gain @ span.complement @ span.numbers(truth)


@dataclass(frozen=True, slots=True, eq=False)
class Smoothed(Estimate):
    """Regularised parameters of a fit that was made without.

    Attributes
    ----------
    departures : Departures
        Departures of the unregularised result, to first order at ``values``.
    """

    departures: Departures


def estimate(
    span: Span,
    values: Array,
    covariance: Array,
    *,
    strength: float = np.inf,
    start: Array | None = None,
) -> Smoothed:
    """Draw the result of a fit to smooth values.

    Minimises the distance to ``values``, with their covariance, plus the penalty.

    Parameters
    ----------
    span : Span
        What is smooth.
    values, covariance : ndarray, shapes (n_par,), (n_par, n_par)
        Result of a fit; fixed parameters have no covariance and stay.
    strength : float
        τ: departures are expected to scatter by 1/√τ. Infinity allows none.
    start : ndarray, shape (n_par,), optional
        Where derivatives are taken at first; ``values`` when omitted.

    Raises
    ------
    ConfigError
        If the strength is not positive.
    FitError
        If strengths have no error, or iterations do not converge.
    """
    require_strength(strength)
    point = values if start is None else start
    errors = np.sqrt(np.diag(covariance))
    free = errors > 0
    for _ in range(_MAX_ITERATIONS):
        found = step(span, values, covariance, point, strength)
        # a fixed parameter goes to its value in the first step
        moved = abs(found.values - point)[free] / errors[free]
        point = found.values
        if moved.max(initial=0.0) < CONVERGED:
            return found
    msg = (
        f"smooth values were not found in {_MAX_ITERATIONS} iterations, the last moved "
        f"a parameter by {moved.max():.1e} errors; cross sections may be compatible "
        "with zero, so that A_i are not defined: merge cells, or lower the strength"
    )
    raise FitError(msg)


def step(
    span: Span, values: Array, covariance: Array, point: Array, strength: float
) -> Smoothed:
    """Solve the linear problem with derivatives at one point.

    At ``values`` and infinite strength this is the χ² fit of smooth functions to
    the coefficients and cross sections as they were measured.
    """
    L = span.complement @ span.jacobian(point)
    z = span.complement @ span.numbers(point) + L @ (values - point)
    VL = covariance @ L.T
    found = independent(z, L @ VL)
    gain = VL @ found.weight(strength)
    response = np.eye(len(values)) - gain @ L
    return Smoothed(
        values=values - gain @ z,
        covariance=_symmetric(covariance - gain @ VL.T),
        spread=_symmetric(response @ covariance @ response.T),
        derivatives=L,
        gain=gain,
        departures=found,
    )


def generated_strengths(parameters: Parameters, values: Array) -> Array:
    """Return values with the generated strengths, whose ratios are tame, (n_par,)."""
    start = values.copy()
    start[: parameters.n_poi] = parameters.start[: parameters.n_poi]
    return start


def require_strength(strength: float) -> None:
    """Raise ConfigError unless a strength is positive."""
    if not strength > 0:
        msg = (
            f"the strength of regularisation is {strength:g}; give a positive τ, such "
            "as 1e4 for departures of 0.01, or infinity"
        )
        raise ConfigError(msg)


def _symmetric(matrix: Array) -> Array:
    return (matrix + matrix.T) / 2
