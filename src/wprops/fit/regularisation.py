r"""Smooth coefficients and cross sections: after a fit, or in its likelihood.

The measured cross sections and A0 … A4 are drawn to the span of an ansatz
(`wprops.fit.ansatz`) with all their correlations, and with them everything else that a
fit measures, such as m_W. Two ways:

- `estimate`, after the fit: the likelihood is replaced by the parabola of its result.
  Infinite strength is the χ² fit of the smooth functions.
- `fit_regularised`, in the likelihood: a penalty τ/2 on the squared departures. It
  needs no valid unregularised fit.

A_i are ratios, so that departures are not linear in the strengths. Both ways iterate
until derivatives are those at the result; derivatives at the measured values instead
(the usual fit to unfolded coefficients) follow the fluctuations of the denominators.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from wprops.errors import ConfigError, FitError
from wprops.fit.ansatz import Span
from wprops.fit.external import External
from wprops.fit.minimise import Minimum
from wprops.fit.model import Model
from wprops.fit.run import fit_model
from wprops.fit.smoothing import Departures, independent

Array = NDArray[np.float64]
#: Largest step of the last iteration, in errors of the parameters.
CONVERGED = 1e-6
_MAX_ITERATIONS = 100
#: Distance to the minimum at which the penalty need not be linearised again [NLL].
_DISTANCE = 1e-6
_MAX_FITS = 20


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
    response : ndarray, shape (n_par, n_par)
        Derivatives of the regularised in the unregularised parameters.
    spread : ndarray, shape (n_par, n_par)
        Covariance over repetitions at one truth, without the bias; the same at infinite
        strength.
    departures : Departures
        Departures of the unregularised result, to first order at ``values``.
    """

    values: Array
    covariance: Array
    response: Array
    spread: Array
    departures: Departures


def estimate(
    span: Span,
    values: Array,
    covariance: Array,
    *,
    strength: float = np.inf,
    start: Array | None = None,
) -> Estimate:
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
) -> Estimate:
    """Solve the linear problem with derivatives at one point.

    At ``values`` and infinite strength this is the χ² fit of smooth functions to
    the coefficients and cross sections as they were measured.
    """
    L = span.complement @ span.jacobian(point)
    z = span.complement @ span.numbers(point) + L @ (values - point)
    VL = covariance @ L.T
    found = independent(z, L @ VL)
    weight = VL @ found.weight(strength)
    response = np.eye(len(values)) - weight @ L
    return Estimate(
        values=values - weight @ (found.vectors @ found.z),
        covariance=_symmetric(covariance - weight @ VL.T),
        response=response,
        spread=_symmetric(response @ covariance @ response.T),
        departures=found,
    )


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


@dataclass(frozen=True, slots=True, eq=False)
class PenalisedFit:
    """Minimum of a likelihood with a penalty.

    Attributes
    ----------
    minimum : Minimum
        Its NLL contains ``penalty``.
    penalty : float
        τ/2 times the squared departures.
    departures : ndarray, shape (n,)
        What is left of the departures.
    derivatives : ndarray, shape (n, n_par)
        Theirs in the parameters.
    """

    minimum: Minimum
    penalty: float
    departures: Array
    derivatives: Array


def fit_regularised(
    model: Model,
    counts: Array,
    span: Span,
    strength: float,
    *,
    start: Array | None = None,
    external: Array | None = None,
    **options: Any,
) -> PenalisedFit:
    """Fit counts with a penalty on departures from smooth values.

    The penalty enters as an external measurement of departures, zero with variance 1/τ,
    linearised at the last fit and repeated until the point does not move. The exact
    gradient of the penalty vanishes there; its second derivative lacks the
    curvature of A_i in the strengths times the departures that are left.

    Parameters
    ----------
    model : Model
        What to fit.
    counts : ndarray, shape (n_bins,)
        Observed events.
    span : Span
        What is smooth.
    strength : float
        τ, finite.
    start : ndarray, shape (n_par,), optional
        Where to begin; the generated values when omitted.
    external : ndarray, optional
        Results of other external measurements; those of the model when omitted.
    **options
        Of `wprops.fit.run.fit_model`.

    Raises
    ------
    ConfigError
        If the strength is not positive and finite.
    FitError
        If there is no valid minimum, or the linearisation does not converge.
    """
    require_strength(strength)
    if np.isinf(strength):
        msg = (
            "a penalty in the likelihood has a finite strength; take one of 1e8, which "
            "allows departures of 1e-4, or regularise after the fit"
        )
        raise ConfigError(msg)
    before = model.external.values if external is None else external
    point = model.parameters.start if start is None else start
    for _ in range(_MAX_FITS):
        z = span.complement @ span.numbers(point)
        L = span.complement @ span.jacobian(point)
        penalised = replace(
            model, external=_joined(model.external, L, L @ point - z, strength)
        )
        minimum = fit_model(
            penalised,
            counts,
            start=point,
            external=np.concatenate([before, L @ point - z]),
            **options,
        )
        away = minimum.values - point
        point = minimum.values
        if away @ minimum.hessian @ away < _DISTANCE:
            left = span.complement @ span.numbers(point)
            return PenalisedFit(minimum, strength / 2 * float(left @ left), left, L)
    msg = (
        f"the penalty of strength {strength:g} did not settle in {_MAX_FITS} fits; "
        "lower it, or raise the degrees of the ansatz"
    )
    raise FitError(msg)


def _joined(external: External, L: Array, values: Array, strength: float) -> External:
    n = len(values)
    return External(
        combinations=np.vstack([external.combinations, L]),
        values=np.concatenate([external.values, values]),
        covariance=np.asarray(
            linalg.block_diag(external.covariance, np.eye(n) / strength)
        ),
        precision=np.asarray(
            linalg.block_diag(external.precision, np.eye(n) * strength)
        ),
    )
