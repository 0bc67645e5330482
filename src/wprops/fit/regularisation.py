r"""Smooth coefficients and cross sections from the result of a fit.

The measured cross sections and A0 … A4 are drawn to the span of an ansatz
(`wprops.fit.ansatz`) with all their correlations, and with them everything else that a
fit measures, such as m_W. The likelihood is replaced by the parabola of its minimum;
`wprops.fit.penalised` keeps it. Infinite strength is the χ² fit of smooth functions.

A_i are ratios of strengths, whose denominators may be poorly known. Steps are taken in
A_i and cross sections, of which the strengths are polynomials, and derivatives are
those at the result. Derivatives at the measured values instead, the usual fit to
unfolded coefficients, follow the fluctuations of the denominators.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wprops.errors import ConfigError, FitError
from wprops.fit.covariance import factorise
from wprops.fit.parameters import Parameters
from wprops.fit.smoothing import Departures, independent
from wprops.fit.span import Span

Array = NDArray[np.float64]
#: Gain in χ² below which steps end, and that which rounding may hide.
CONVERGED = 1e-10
_ROUNDING = 1e-6
_MAX_STEPS = 100
_MAX_HALVINGS = 30
#: Fraction of the predicted gain that a step must achieve (Armijo).
_SUFFICIENT = 1e-4


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
    chi2 : float
        Squared distance to the parameters of the fit, in units of its covariance.
    departures : Departures
        Departures of the unregularised result, to first order at ``values``.
    """

    chi2: float
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
        First point, with cross sections that are not close to zero; ``values`` when
        omitted.

    Raises
    ------
    ConfigError
        If the strength is not positive.
    FitError
        If strengths have no error, or no minimum is found.
    """
    require_strength(strength)
    problem = _Problem(span, values, covariance, strength)
    point = problem.begin(values if start is None else start)
    for _ in range(_MAX_STEPS):
        here = problem.linearised(point)
        if here.gain < CONVERGED:
            return problem.result(point, here)
        moved = problem.descend(point, here)
        if moved is None:
            if here.gain < _ROUNDING:
                return problem.result(point, here)
            break
        point = moved
    msg = (
        f"smooth values were not found, {here.gain:.1e} in χ² may be gained; cross "
        "sections may be compatible with zero, so that A_i are not defined: merge "
        "cells, or lower the strength"
    )
    raise FitError(msg)


def reachable_chi2(span: Span, values: Array, covariance: Array, point: Array) -> float:
    """χ² of the fit of smooth functions, to first order at a point of the span."""
    problem = _Problem(span, values, covariance, np.inf)
    return problem.cost(point) - problem.linearised(point).gain


class _Linear(NamedTuple):
    """A problem to first order at a point.

    Attributes
    ----------
    columns : ndarray, shape (n_par, n)
        Derivatives of the parameters in what is free: factors of the polynomials, or
        all quantities, and then all other parameters.
    inverse : ndarray, shape (n, n)
        Inverse of half the second derivatives.
    step : ndarray, shape (n,)
        To the minimum.
    gain : float
        What the step takes from the cost.
    """

    columns: Array
    inverse: Array
    step: Array
    gain: float


class _Problem:
    """Squared distance to a result plus penalty, in quantities instead of strengths."""

    def __init__(
        self, span: Span, values: Array, covariance: Array, strength: float
    ) -> None:
        self.span, self.values, self.covariance = span, values, covariance
        self.strength, self.is_hard = strength, bool(np.isinf(strength))
        self.free = np.diag(covariance) > 0
        if not self.free[span.strengths].all():
            msg = (
                "strengths of smooth quantities have no error; fit all strengths, or "
                "leave out of the ansatz what is frozen"
            )
            raise FitError(msg)
        where = np.ix_(self.free, self.free)
        factor = factorise(covariance[where])
        if factor is None:
            msg = "the covariance of the fit is not positive definite; fit again"
            raise FitError(msg)
        self.information = np.zeros_like(covariance)
        self.information[where] = factor.inverse()
        #: Parameters that are free and no strengths of quantities.
        self.others = self.free.copy()
        self.others[span.strengths] = False

    def begin(self, point: Array) -> Array:
        """Move a first point to smooth values, fixed parameters to where they are."""
        point = np.where(self.free, point, self.values)
        numbers = self.span.numbers(point)
        if self.is_hard:
            numbers = self.span.basis @ self.span.factors(numbers)
        return self.span.moved_to(point, numbers)

    def distance(self, point: Array) -> float:
        """Squared distance to the result."""
        away = point - self.values
        return float(away @ self.information @ away)

    def cost(self, point: Array) -> float:
        """Squared distance plus penalty."""
        if self.is_hard:
            return self.distance(point)
        left = self.span.complement @ self.span.numbers(point)
        return self.distance(point) + self.strength * float(left @ left)

    def linearised(self, point: Array) -> _Linear:
        """Return derivatives at a point, and the step to the minimum."""
        span = self.span
        tangent = span.tangent(point)
        smooth = tangent[:, span.strengths]
        if self.is_hard:
            smooth = smooth @ span.basis
        columns = np.hstack([smooth, tangent[:, self.others]])
        pull = self.information @ columns
        curvature = columns.T @ pull
        gradient = pull.T @ (point - self.values)
        if not self.is_hard:
            n, N = len(span.scale), span.complement
            curvature[:n, :n] += self.strength * N.T @ N
            gradient[:n] += self.strength * N.T @ (N @ span.numbers(point))
        factor = factorise(curvature)
        if factor is None:
            msg = "smooth values are not determined; lower the degrees of the ansatz"
            raise FitError(msg)
        step = -factor.solve(gradient)
        return _Linear(columns, factor.inverse(), step, float(-gradient @ step))

    def descend(self, point: Array, here: _Linear) -> Array | None:
        """Go down along the step, or return None when no fraction of it goes down."""
        n = len(here.step) - int(self.others.sum())
        smooth = here.step[:n]
        if self.is_hard:
            smooth = self.span.basis @ smooth
        before, numbers = self.cost(point), self.span.numbers(point)
        fraction = 1.0
        for _ in range(_MAX_HALVINGS):
            trial = point.copy()
            trial[self.others] += fraction * here.step[n:]
            trial = self.span.moved_to(trial, numbers + fraction * smooth)
            if self.cost(trial) <= before - _SUFFICIENT * fraction * here.gain:
                return trial
            fraction /= 2
        return None

    def result(self, point: Array, here: _Linear) -> Smoothed:
        """Return what is known at the minimum."""
        span = self.span
        matrix = here.columns @ here.inverse @ here.columns.T
        response = matrix @ self.information
        tangent = span.tangent(point)[:, span.strengths] @ span.complement.T
        L = span.complement @ span.jacobian(point)
        z = span.complement @ span.numbers(point) + L @ (self.values - point)
        return Smoothed(
            values=point,
            covariance=_symmetric(matrix),
            spread=_symmetric(response @ self.covariance @ response.T),
            derivatives=L,
            gain=tangent - response @ tangent,
            chi2=self.distance(point),
            departures=independent(z, L @ self.covariance @ L.T),
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
