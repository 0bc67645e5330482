"""Minimisation of a likelihood: Fisher scoring, then exact Newton steps.

Far from the minimum the exact Hessian of fluctuated data may be indefinite, so
steps use the expected information until the estimated distance to the minimum
is small, and wherever the exact Hessian has no Cholesky factor. Steps are
halved until the value falls; a step to negative expectations counts as uphill.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wprops.errors import FitError
from wprops.fit.covariance import Factor, factorise, flat_directions
from wprops.fit.likelihood import Likelihood, LikelihoodPoint, require_positive

Array = NDArray[np.float64]
#: Estimated distance to the minimum [units of the NLL] at which a fit is valid.
TOLERANCE = 1e-8
#: Distance below which exact Newton steps converge quadratically.
NEWTON_DISTANCE = 1e-2
_MAX_ITERATIONS = 200
_MAX_HALVINGS = 30
#: Fraction of the predicted decrease that a step must achieve (Armijo).
_SUFFICIENT = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Minimum:
    """A valid minimum: positive definite exact Hessian, distance below tolerance.

    Attributes
    ----------
    point : LikelihoodPoint
        The likelihood there.
    hessian : ndarray, shape (n_par, n_par)
        Exact second derivatives.
    edm : float
        Estimated distance to the minimum, ½ gᵀH⁻¹g, in units of the NLL.
    iterations : int
        Steps taken.
    """

    point: LikelihoodPoint
    hessian: Array
    edm: float
    iterations: int

    @property
    def values(self) -> Array:
        """Parameter values, shape (n_par,)."""
        return self.point.values

    @property
    def nll(self) -> float:
        """Negative log-likelihood relative to the saturated model."""
        return self.point.value


def minimise(
    likelihood: Likelihood, start: Array, *, tolerance: float = TOLERANCE
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

    Returns
    -------
    Minimum

    Raises
    ------
    FitError
        Naming bins with expectations ≤ 0 at the start, flat directions, or the
        distance left when no progress is possible.
    """
    names = likelihood.model.parameters.names
    point = likelihood.at(start)
    if point is None:
        require_positive(likelihood.model, likelihood.model.expected(start))
        msg = "the starting values are not finite; check the templates"
        raise FitError(msg)
    _require_no_flat_direction(point, names)
    for iteration in range(_MAX_ITERATIONS):
        gradient = point.gradient()
        hessian, factor = _curvature(point, gradient, names)
        edm = _distance(factor, gradient)
        if hessian is not None and edm < tolerance:
            return Minimum(point, hessian, edm, iteration)
        moved = _step(likelihood, point, gradient, factor)
        if moved is None:
            break
        point = moved
    raise FitError(_no_minimum(point, edm, iteration, names))


def _curvature(
    point: LikelihoodPoint, gradient: Array, names: tuple[str, ...]
) -> tuple[Array | None, Factor]:
    """Exact Hessian with its factor close to a minimum, else Fisher's alone."""
    fisher = factorise(point.fisher())
    if fisher is None:
        msg = (
            "the expected information is not positive definite along "
            f"{'; '.join(flat_directions(point.fisher(), names)[:5])}; merge cells, "
            "drop a parameter or constrain it"
        )
        raise FitError(msg)
    if _distance(fisher, gradient) > NEWTON_DISTANCE:
        return None, fisher
    hessian = point.hessian()
    exact = factorise(hessian)
    return (None, fisher) if exact is None else (hessian, exact)


def _distance(factor: Factor, gradient: Array) -> float:
    return 0.5 * float(gradient @ factor.solve(gradient))


def _step(
    likelihood: Likelihood, point: LikelihoodPoint, gradient: Array, factor: Factor
) -> LikelihoodPoint | None:
    """Go down along the step, or return None when no fraction of it goes down."""
    step = -factor.solve(gradient)
    slope = float(gradient @ step)
    fraction = 1.0
    for _ in range(_MAX_HALVINGS):
        trial = likelihood.at(point.values + fraction * step)
        if trial is not None and (
            trial.value <= point.value + _SUFFICIENT * fraction * slope
        ):
            return trial
        fraction /= 2
    return None


def _require_no_flat_direction(point: LikelihoodPoint, names: tuple[str, ...]) -> None:
    flat = flat_directions(point.fisher(), names)
    if flat:
        msg = (
            f"the data cannot determine {len(flat)} combinations of parameters: "
            f"{'; '.join(flat[:5])}; merge cells, drop a parameter or constrain it"
        )
        raise FitError(msg)


def _no_minimum(
    point: LikelihoodPoint, edm: float, iteration: int, names: tuple[str, ...]
) -> str:
    hessian = point.hessian()
    if factorise(hessian) is None:
        reason = (
            "its Hessian is flat or falling along "
            f"{'; '.join(flat_directions(hessian, names)[:5])}"
        )
    else:
        smallest = float(point.point.expected.min())
        reason = f"the smallest bin expects {smallest:.3g} events; merge bins if near 0"
    return (
        f"no minimum after {iteration} steps: the NLL is {point.value:.6g} with an "
        f"estimated distance of {edm:.2g} to the minimum; {reason}"
    )
