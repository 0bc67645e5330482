"""Minimisation of a likelihood: Fisher scoring, then exact Newton steps.

Far from the minimum the exact Hessian of fluctuated data may be indefinite, so
steps use the expected information until the estimated distance to the minimum
is small or a step gains much less than it promised, and wherever the exact
Hessian has no Cholesky factor. Steps are halved until the value falls; a step
to negative expectations counts as uphill.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wprops.errors import FitError
from wprops.fit.covariance import (
    CLEARLY_NOT_FLAT,
    Factor,
    covariance,
    factorise,
    flat_directions,
)
from wprops.fit.likelihood import Likelihood, LikelihoodPoint, require_positive

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
#: Estimated distance to the minimum [units of the NLL] at which a fit is valid.
TOLERANCE = 1e-8
#: Distance below which exact Newton steps converge quadratically.
NEWTON_DISTANCE = 1e-2
_MAX_ITERATIONS = 200
_MAX_HALVINGS = 30
#: Fraction of the predicted decrease that a step must achieve (Armijo).
_SUFFICIENT = 1e-4
#: Fraction of the decrease predicted by a parabola below which its curvature is poor:
#: where strengths and nuisance parameters have large errors together, Fisher steps
#: overshoot and zigzag, while an exact Hessian, if positive definite, does not.
_POOR = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Minimum:
    """A valid minimum: positive definite exact Hessian, distance below tolerance.

    Attributes
    ----------
    point : LikelihoodPoint
        The likelihood there.
    hessian : ndarray, shape (n_par, n_par)
        Exact second derivatives, in the fixed parameters too.
    edm : float
        Estimated distance to the minimum, ½ gᵀH⁻¹g, in units of the NLL.
    iterations : int
        Steps taken.
    free : ndarray of bool, shape (n_par,)
        Whether a parameter was fitted; the others stayed where they were.
    """

    point: LikelihoodPoint
    hessian: Array
    edm: float
    iterations: int
    free: Mask

    @property
    def values(self) -> Array:
        """Parameter values, shape (n_par,)."""
        return self.point.values

    @property
    def nll(self) -> float:
        """Negative log-likelihood relative to the saturated model."""
        return self.point.value

    def covariance(self, names: Sequence[str]) -> Array:
        """Inverse of the Hessian, zero for fixed parameters, shape (n_par, n_par).

        Raises
        ------
        FitError
            If it is not positive definite; the message names flat directions.
        """
        matrix = np.zeros_like(self.hessian)
        where = np.ix_(self.free, self.free)
        free_names = [n for n, free in zip(names, self.free, strict=True) if free]
        matrix[where] = covariance(self.hessian[where], free_names)
        return matrix


def minimise(
    likelihood: Likelihood,
    start: Array,
    *,
    tolerance: float = TOLERANCE,
    fixed: Collection[str] = (),
) -> Minimum:
    """Find the minimum of a likelihood.

    Parameters
    ----------
    likelihood : Likelihood
        What to minimise.
    start : ndarray, shape (n_par,)
        First point.
    tolerance : float
        Largest estimated distance to the minimum [units of the NLL].
    fixed : collection of str
        Parameters that stay at their starting values.

    Returns
    -------
    Minimum

    Raises
    ------
    TemplateError
        If there is no parameter of a name in ``fixed``.
    FitError
        Naming bins with expectations ≤ 0 at the start, flat directions, or the
        distance left when no progress is possible.
    """
    point = likelihood.at(start)
    if point is None:
        require_positive(likelihood.model, likelihood.model.expected(start))
        msg = "the starting values are not finite; check the templates"
        raise FitError(msg)
    return _Search(likelihood, fixed).run(point, tolerance)


class _Search:
    """The steps of one minimisation, in the free parameters only."""

    def __init__(self, likelihood: Likelihood, fixed: Collection[str]) -> None:
        parameters = likelihood.model.parameters
        self.likelihood = likelihood
        self.free = np.ones(len(parameters), dtype=bool)
        self.free[[parameters.index(name) for name in fixed]] = False
        self.names = [n for n, f in zip(parameters.names, self.free, strict=True) if f]
        self._use_exact = False

    def run(self, point: LikelihoodPoint, tolerance: float) -> Minimum:
        if not self.names:
            return Minimum(point, point.hessian(), 0.0, 0, self.free)
        self._require_no_flat_direction(point)
        for iteration in range(_MAX_ITERATIONS):
            gradient = point.gradient()[self.free]
            hessian, factor = self._curvature(point, gradient)
            edm = _distance(factor, gradient)
            if hessian is not None and edm < tolerance:
                return Minimum(point, hessian, edm, iteration, self.free)
            moved = self._step(point, gradient, factor)
            if moved is None:
                break
            point = moved
        raise FitError(self._no_minimum(point, edm, iteration))

    def _select(self, matrix: Array) -> Array:
        return matrix[np.ix_(self.free, self.free)]

    def _curvature(
        self, point: LikelihoodPoint, gradient: Array
    ) -> tuple[Array | None, Factor]:
        """Exact Hessian with its factor close to a minimum, else Fisher's alone."""
        if self._use_exact:
            hessian = point.hessian()
            exact = factorise(self._select(hessian))
            if exact is not None:
                return hessian, exact
        fisher = self._select(point.fisher())
        factor = factorise(fisher)
        if factor is None:
            msg = (
                "the expected information is not positive definite along "
                f"{'; '.join(flat_directions(fisher, self.names)[:5])}; merge cells, "
                "drop a parameter or constrain it"
            )
            raise FitError(msg)
        if not self._use_exact and _distance(factor, gradient) < NEWTON_DISTANCE:
            self._use_exact = True
            return self._curvature(point, gradient)
        return None, factor

    def _step(
        self, point: LikelihoodPoint, gradient: Array, factor: Factor
    ) -> LikelihoodPoint | None:
        """Go down along the step, or return None when no fraction of it goes down."""
        step = np.zeros(len(self.free))
        step[self.free] = -factor.solve(gradient)
        slope = float(gradient @ step[self.free])
        fraction = 1.0
        for _ in range(_MAX_HALVINGS):
            trial = self.likelihood.at(point.values + fraction * step)
            if trial is not None and (
                trial.value <= point.value + _SUFFICIENT * fraction * slope
            ):
                gain = point.value - trial.value
                self._use_exact |= gain < _POOR * 0.5 * abs(slope)
                return trial
            fraction /= 2
        return None

    def _require_no_flat_direction(self, point: LikelihoodPoint) -> None:
        fisher = self._select(point.fisher())
        factor = factorise(fisher)
        if factor is not None and factor.reciprocal_condition() > CLEARLY_NOT_FLAT:
            return
        flat = flat_directions(fisher, self.names)
        if flat:
            msg = (
                f"the data cannot determine {len(flat)} combinations of parameters: "
                f"{'; '.join(flat[:5])}; merge cells, drop a parameter or constrain it"
            )
            raise FitError(msg)

    def _no_minimum(self, point: LikelihoodPoint, edm: float, iteration: int) -> str:
        hessian = self._select(point.hessian())
        if factorise(hessian) is None:
            reason = (
                "its Hessian is flat or falling along "
                f"{'; '.join(flat_directions(hessian, self.names)[:5])}"
            )
        else:
            counted = self.likelihood.model.counted
            smallest = float(point.point.expected[counted].min())
            reason = (
                f"the smallest bin expects {smallest:.3g} events; merge bins if near 0"
            )
        return (
            f"no minimum after {iteration} steps: the NLL is {point.value:.6g} with an "
            f"estimated distance of {edm:.2g} to the minimum; {reason}"
        )


def _distance(factor: Factor, gradient: Array) -> float:
    return 0.5 * float(gradient @ factor.solve(gradient))
