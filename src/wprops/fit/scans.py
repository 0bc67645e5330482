"""Profile likelihoods, scanned in one or two parameters.

Each point is a fit of all other parameters. What the noise of the templates counts
(see `wprops.fit.likelihood`) is frozen at the minimum, so that all points are of one
function, whose curvature is the Hessian.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.errors import ConfigError, FitError
from wprops.fit.derived import Quantity
from wprops.fit.likelihood import Likelihood
from wprops.fit.minimise import Minimum, minimise
from wprops.fit.parameters import Parameters

Array = NDArray[np.float64]
Index = NDArray[np.int64]


class Axis(NamedTuple):
    """What is scanned: ``offset + scale · parameter``."""

    name: str
    parameter: int
    scale: float = 1.0
    offset: float = 0.0


def find_axis(
    name: str, parameters: Parameters, derived: Mapping[str, Quantity]
) -> Axis:
    """Look up a parameter, or a quantity that follows from one, such as m_W.

    Raises
    ------
    TemplateError
        If there is no parameter of the name, nor such a quantity.
    """
    quantity = derived.get(name)
    if (
        quantity is None
        or quantity.under is not None
        or quantity.matrix.shape != (1, 1)
    ):
        return Axis(name, parameters.index(name))
    scale, parameter = float(quantity.matrix[0, 0]), int(quantity.over[0])
    return Axis(name, parameter, scale, quantity.offset)


def require_free(
    axes: Iterable[Axis], parameters: Parameters, frozen: Collection[str]
) -> None:
    """Raise ConfigError if a parameter cannot be scanned, since it is frozen."""
    for axis in axes:
        name = parameters.names[axis.parameter]
        if name in frozen:
            msg = f"{name!r} is frozen in this fit and cannot be scanned; leave it free"
            raise ConfigError(msg)


class Profile:
    """A likelihood around its minimum, to be scanned.

    Parameters
    ----------
    likelihood : Likelihood
        What was minimised (`wprops.fit.run.likelihood_at`).
    start : ndarray, shape (n_par,)
        Close to the minimum.
    frozen : collection of str
        Parameters that stay where they are.

    Attributes
    ----------
    best : Minimum
        The minimum.
    covariance : ndarray, shape (n_par, n_par)
        Of the parameters there.

    Raises
    ------
    FitError
        If there is no minimum.
    """

    def __init__(
        self, likelihood: Likelihood, start: Array, frozen: Collection[str] = ()
    ) -> None:
        self.likelihood = likelihood
        self.frozen = tuple(frozen)
        self.best = minimise(likelihood, start, fixed=frozen)
        self.parameters = likelihood.model.parameters
        self.covariance = self.best.covariance(self.parameters.names)

    def fit(self, where: Index, values: Array, near: Array) -> Minimum:
        """Minimise with some parameters held.

        Parameters
        ----------
        where : ndarray of int, shape (n,)
            Positions of the held parameters.
        values : ndarray, shape (n,)
            Their values.
        near : ndarray, shape (n_par,)
            A minimum with other values, from which all parameters start along the
            valley of the parabola at the best fit.

        Raises
        ------
        FitError
            If there is no minimum.
        """
        held = near.copy()
        held[where] = values
        block = self.covariance[np.ix_(where, where)]
        valley = self.covariance[:, where] @ np.linalg.solve(
            block, values - near[where]
        )
        start = near + valley
        start[where] = values
        if self.likelihood.at(start) is None:
            start = held
        fixed = {*self.frozen, *(self.parameters.names[i] for i in where)}
        return minimise(self.likelihood, start, fixed=fixed)


class ScanPoint(NamedTuple):
    """One point: its number, its NLL above the minimum or NaN, why it failed."""

    number: int
    nll: float
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A profile likelihood on a grid.

    Attributes
    ----------
    names : tuple of str
        What is scanned: one or two names.
    points : ndarray, shape (n_points, n_names)
        The grid.
    nll : ndarray, shape (n_points,)
        Negative log-likelihood above its minimum; NaN where the fit failed.
    reasons : tuple of str, length n_points
        Why a fit failed, empty where it did not.
    best : ndarray, shape (n_names,)
        Best fit.
    covariance : ndarray, shape (n_names, n_names)
        Covariance of what is scanned, from the Hessian.
    """

    names: tuple[str, ...]
    points: Array
    nll: Array
    reasons: tuple[str, ...]
    best: Array
    covariance: Array

    @property
    def parabola(self) -> Array:
        """What the Hessian predicts for the NLL, shape (n_points,)."""
        away = self.points - self.best
        return 0.5 * np.einsum(
            "ij,ji->i", away, np.linalg.solve(self.covariance, away.T)
        )


def scan_points(
    profile: Profile, axes: Sequence[Axis], points: Array
) -> Iterator[ScanPoint]:
    """Fit the points of a grid and give each as soon as it is done.

    Fits begin close to the minimum and go outwards, each from its nearest neighbour
    that is done.

    Parameters
    ----------
    profile : Profile
        What is scanned.
    axes : sequence of Axis
        Along what.
    points : ndarray, shape (n_points, n_axes)
        The grid, in the units of the axes.

    Yields
    ------
    ScanPoint

    Raises
    ------
    ConfigError
        If a parameter is frozen, or a point is not finite.
    """
    require_free(axes, profile.parameters, profile.frozen)
    if not np.isfinite(points).all():
        msg = (
            f"the scan of {', '.join(axis.name for axis in axes)} has points that are "
        )
        raise ConfigError(msg + "not finite; give finite bounds")
    where = np.array([axis.parameter for axis in axes])
    if len(set(where.tolist())) < len(where):
        msg = (
            f"{' and '.join(axis.name for axis in axes)} are one parameter; scan it "
            "alone, or with another"
        )
        raise ConfigError(msg)
    scale = np.array([axis.scale for axis in axes])
    grid = (points - [axis.offset for axis in axes]) / scale
    best = profile.best.values
    metric = np.linalg.cholesky(np.linalg.inv(profile.covariance[np.ix_(where, where)]))
    distances = (grid - best[where]) @ metric
    done, minima = [np.zeros(len(axes))], [best]
    for index in np.argsort((distances**2).sum(axis=1), kind="stable").tolist():
        nearest = np.argmin(((np.array(done) - distances[index]) ** 2).sum(axis=1))
        try:
            minimum = profile.fit(where, grid[index], minima[nearest])
        except FitError as error:
            yield ScanPoint(index, np.nan, str(error))
            continue
        done.append(distances[index])
        minima.append(minimum.values)
        yield ScanPoint(index, minimum.nll - profile.best.nll, "")


def scan(profile: Profile, axes: Sequence[Axis], points: ArrayLike) -> Scan:
    """Scan all points of a grid; see `scan_points`.

    Parameters
    ----------
    profile : Profile
        What is scanned.
    axes : sequence of Axis
        Along what, see `find_axis`.
    points : array_like, shape (n_points, n_axes) or, for one axis, (n_points,)
        The grid, in the units of the axes.

    Raises
    ------
    ConfigError
        If a parameter is frozen, or a point is not finite.
    """
    grid = np.asarray(points, dtype=float).reshape(-1, len(axes))
    nll, reasons = np.full(len(grid), np.nan), [""] * len(grid)
    for point in scan_points(profile, axes, grid):
        nll[point.number], reasons[point.number] = point.nll, point.reason
    where = np.array([axis.parameter for axis in axes])
    scale = np.array([axis.scale for axis in axes])
    return Scan(
        names=tuple(axis.name for axis in axes),
        points=grid,
        nll=nll,
        reasons=tuple(reasons),
        best=profile.best.values[where] * scale + [axis.offset for axis in axes],
        covariance=profile.covariance[np.ix_(where, where)] * np.outer(scale, scale),
    )
