"""Profile-likelihood intervals: where the likelihood of one parameter crosses a height.

They follow the likelihood where it is no parabola and an error from the Hessian does
not; all other parameters are fitted at each point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import root_scalar

from wprops.errors import FitError
from wprops.fit.scans import Axis, Profile, require_free

Array = NDArray[np.float64]
#: Increases of the NLL whose crossings make an interval: 68 % and 95 % probability
#: for one parameter of a Gaussian.
DELTAS = (0.5, 2.0)
#: How far away an end of an interval is looked for: times where a parabola has it.
_FARTHEST = 8.0
#: Precision of the end of an interval, in units of the error.
_PRECISION = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Interval:
    """Where a profile likelihood rises by given amounts.

    Attributes
    ----------
    name : str
        Parameter or derived quantity.
    best, error : float
        Best fit, and its error from the Hessian.
    deltas : ndarray, shape (n,)
        Increases of the NLL.
    low, high : ndarray, shape (n,)
        Ends of the interval of each; NaN where none was found.
    reasons : tuple of str
        Why ends were not found.
    """

    name: str
    best: float
    error: float
    deltas: Array
    low: Array
    high: Array
    reasons: tuple[str, ...]


def interval(
    profile: Profile, axis: Axis, deltas: Sequence[float] = DELTAS
) -> Interval:
    """Find where the profile likelihood crosses given heights.

    Parameters
    ----------
    profile : Profile
        What is scanned.
    axis : Axis
        Along what, see `find_axis`.
    deltas : sequence of float
        Increases of the NLL.

    Raises
    ------
    ConfigError
        If the parameter is frozen.
    """
    require_free([axis], profile.parameters, profile.frozen)
    error = float(np.sqrt(profile.covariance[axis.parameter, axis.parameter]))
    best = float(profile.best.values[axis.parameter])
    ends: list[list[float]] = []
    reasons = []
    for sign in (-1, 1):
        side = _Side(profile, axis.parameter, sign * error)
        ends.append([])
        for delta in deltas:
            try:
                ends[-1].append(best + sign * error * side.crossing(delta))
            except FitError as failure:
                ends[-1].append(np.nan)
                reasons.append(f"{'lower' if sign < 0 else 'upper'} end: {failure}")
    low, high = axis.offset + axis.scale * np.array(ends)
    return Interval(
        name=axis.name,
        best=axis.offset + axis.scale * best,
        error=abs(axis.scale) * error,
        deltas=np.array(deltas, dtype=float),
        low=low,
        high=high,
        reasons=tuple(reasons),
    )


class _Side:
    """One side of a profile likelihood, in units of the error of the parameter."""

    def __init__(self, profile: Profile, parameter: int, error: float) -> None:
        self.profile = profile
        self.where = np.array([parameter])
        self.error = error
        self.minima = {0.0: profile.best}

    def height(self, distance: float) -> float:
        """Root of twice the rise of the NLL, which is ``distance`` for a parabola."""
        if distance not in self.minima:
            nearest = min(self.minima, key=lambda done: abs(done - distance))
            best = self.profile.best.values[self.where]
            self.minima[distance] = self.profile.fit(
                self.where, best + distance * self.error, self.minima[nearest].values
            )
        rise = self.minima[distance].nll - self.profile.best.nll
        return float(np.sqrt(2 * max(rise, 0.0)))

    def crossing(self, delta: float) -> float:
        """Distance at which the NLL has risen by ``delta``."""
        target = np.sqrt(2 * delta)
        inner, outer = 0.0, target
        while self.height(outer) < target:
            inner, outer = outer, 1.5 * outer
            if outer > _FARTHEST * target:
                msg = (
                    f"the NLL rises by {self.height(inner) ** 2 / 2:.3g} only, "
                    f"{inner:.3g} errors away from the best fit"
                )
                raise FitError(msg)
        root = root_scalar(
            lambda distance: self.height(distance) - target,
            bracket=(inner, outer),
            method="brentq",
            xtol=_PRECISION,
        )
        return float(root.root)
