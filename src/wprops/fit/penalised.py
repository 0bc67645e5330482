r"""Smooth coefficients and cross sections in the likelihood: a penalty on departures.

The penalty τ/2 |z|² on departures z from the span of an ansatz is a declared prior:
they scatter by 1/√τ. It enters as an external measurement of departures, zero with the
variance 1/τ, linearised at the last solution, again until that does not move. The
exact gradient of the penalty vanishes there; its second derivative lacks the curvature
of A_i in the strengths, times the departures that are left.

No valid unregularised fit is needed, and with the corrected score none that the
simulation determines.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from wprops.errors import ConfigError, FitError
from wprops.fit.external import External
from wprops.fit.finite_mc import correct
from wprops.fit.likelihood import Likelihood
from wprops.fit.minimise import Minimum
from wprops.fit.model import Model
from wprops.fit.regularisation import Estimate, require_strength
from wprops.fit.run import fit_model
from wprops.fit.span import Span
from wprops.fit.template_noise import Derivatives

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
#: Distance to the solution at which the penalty need not be linearised again [NLL].
_DISTANCE = 1e-6
_MAX_FITS = 40
#: Number of fits whose steps are combined.
_MEMORY = 6


@dataclass(frozen=True, slots=True, eq=False)
class PenalisedFit:
    """Minimum of a likelihood with a penalty.

    Attributes
    ----------
    minimum : Minimum
        Its NLL contains the penalty.
    estimate : Estimate
        Parameters with what the penalty does to them.
    """

    minimum: Minimum
    estimate: Estimate


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
    first = model.parameters.start if start is None else start
    at = _Linearisation(span, strength, first)
    while True:
        penalised, measured = with_penalty(model, span, strength, at.point, external)
        minimum = fit_model(
            penalised, counts, start=at.point, external=measured, **options
        )
        values = minimum.values
        if not at.moves_to(values, minimum.hessian):
            matrix = minimum.covariance(model.parameters.names)
            return PenalisedFit(
                minimum, _estimate(values, matrix, matrix, penalised, span, strength)
            )


def correct_regularised(
    likelihood: Likelihood,
    span: Span,
    strength: float,
    start: Array,
    *,
    free: Mask,
    derivatives: Derivatives = (),
) -> Estimate | None:
    """Correct a fit with a penalty for the finite simulation.

    Parameters
    ----------
    likelihood : Likelihood
        Counts and constraints, without the penalty.
    span, strength
        As for `fit_regularised`.
    start : ndarray, shape (n_par,)
        Result of `fit_regularised`.
    free, derivatives
        As for `wprops.fit.finite_mc.correct`.

    Returns
    -------
    Estimate, optional
        None where the simulation does not determine it even so.

    Raises
    ------
    FitError
        If the linearisation does not converge.
    """
    at = _Linearisation(span, strength, start)
    while True:
        penalised, measured = with_penalty(
            likelihood.model, span, strength, at.point, likelihood.external
        )
        solution = correct(
            replace(likelihood, model=penalised, external=measured),
            at.point,
            free=free,
            derivatives=derivatives,
        )
        if solution is None:
            return None
        values = solution.values
        if not at.moves_to(values, solution.fisher):
            return _estimate(
                values, solution.covariance, solution.inverse, penalised, span, strength
            )


def with_penalty(
    model: Model, span: Span, strength: float, point: Array, external: Array | None
) -> tuple[Model, Array]:
    """Add the penalty, linearised at a point.

    Parameters
    ----------
    model : Model
        What to fit.
    span : Span
        What is smooth.
    strength : float
        τ, finite.
    point : ndarray, shape (n_par,)
        Where departures and their derivatives are taken.
    external : ndarray, optional
        Results of external measurements; those of the model when omitted.

    Returns
    -------
    model : Model
        With the departures as the last external measurements.
    external : ndarray
        Results of all external measurements.

    Raises
    ------
    ConfigError
        If the strength is not positive and finite.
    """
    require_strength(strength)
    if np.isinf(strength):
        msg = (
            "a penalty in the likelihood has a finite strength; take one of 1e8, which "
            "allows departures of 1e-4, or regularise after the fit"
        )
        raise ConfigError(msg)
    L = span.complement @ span.jacobian(point)
    target = L @ point - span.complement @ span.numbers(point)
    old, n = model.external, len(target)
    joined = External(
        combinations=np.vstack([old.combinations, L]),
        values=np.concatenate([old.values, target]),
        covariance=np.asarray(linalg.block_diag(old.covariance, np.eye(n) / strength)),
        precision=np.asarray(linalg.block_diag(old.precision, np.eye(n) * strength)),
    )
    before = old.values if external is None else external
    return replace(model, external=joined), np.concatenate([before, target])


class _Linearisation:
    """Where a penalty is linearised, fit after fit.

    Points are given by quantities instead of their strengths, since ratios of
    strengths are far from linear where cross sections are poorly known. Steps combine
    the last ones such that the distance to the fits, to first order, is least
    (D. G. Anderson, J. ACM 12 (1965) 547): alone they would zigzag.
    """

    def __init__(self, span: Span, strength: float, point: Array) -> None:
        self._span, self._strength, self.point = span, strength, point
        self._places: list[Array] = []
        self._steps: list[Array] = []

    def moves_to(self, values: Array, information: Array) -> bool:
        """Go towards the result of a fit, or return False if that is no step.

        Raises
        ------
        FitError
            If the last of `_MAX_FITS` fits is still away.
        """
        span, point = self._span, self.point
        away = values - point
        distance = float(away @ information @ away)
        if distance < _DISTANCE:
            return False
        if len(self._steps) == _MAX_FITS:
            msg = (
                f"the penalty of strength {self._strength:g} did not settle in "
                f"{_MAX_FITS} fits: the last step was {distance**0.5:.2g} errors long; "
                "lower it, or raise the degrees of the ansatz"
            )
            raise FitError(msg)
        place, step = point.copy(), away.copy()
        place[span.strengths] = span.numbers(point)
        step[span.strengths] = span.jacobian(point) @ away
        self._places.append(place)
        self._steps.append(step)
        place = self._combined(span.tangent(point), information)
        numbers = place[span.strengths]
        place[span.strengths] = values[span.strengths]
        self.point = span.moved_to(place, numbers)
        return True

    def _combined(self, tangent: Array, information: Array) -> Array:
        places = np.array(self._places[-_MEMORY:])
        steps = np.array(self._steps[-_MEMORY:])
        end = places[-1] + steps[-1]
        if len(steps) == 1:
            return end
        metric = tangent.T @ information @ tangent
        changes = np.diff(steps, axis=0)
        normal = changes @ metric @ changes.T
        share = linalg.lstsq(normal, changes @ metric @ steps[-1])[0]
        combined: Array = end - share @ (np.diff(places, axis=0) + changes)
        return combined


def _estimate(
    values: Array,
    covariance: Array,
    inverse: Array,
    penalised: Model,
    span: Span,
    strength: float,
) -> Estimate:
    L = penalised.external.combinations[-len(span.complement) :]
    gain = strength * inverse @ L.T
    return Estimate(
        values=values,
        covariance=covariance,
        # without the share of a prior that fluctuates
        spread=covariance - gain @ gain.T / strength,
        derivatives=L,
        gain=gain,
    )
