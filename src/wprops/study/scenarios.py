"""What is free, fixed, smooth or known in a fit, and the errors that follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from wprops.errors import ConfigError
from wprops.fit.corrected_score import (
    gate_level,
    require_information,
    spectrum,
)
from wprops.study.information import Expected

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Kind = Literal["free", "prior", "smooth", "coefficients fixed", "all fixed"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """Assumptions of a fit about cross sections and coefficients.

    Attributes
    ----------
    kind : {"free", "prior", "smooth", "coefficients fixed", "all fixed"}
        Everything is free; coefficients have Gaussian priors, each of its own; they
        are smooth; they are fixed, with free cross sections; cross sections too.
    size : float
        Width of the priors, absolute; for smooth ones that of departures, 1/√τ, where
        0 allows none.
    """

    kind: Kind
    size: float = 0.0

    def __post_init__(self) -> None:
        if self.size < 0 or (self.kind == "prior" and self.size == 0):
            msg = (
                f"the width for {self.kind!r} is {self.size:g}; give a positive number"
            )
            raise ConfigError(msg)

    @property
    def label(self) -> str:
        """Short text for tables and figures."""
        if self.kind == "prior":
            return f"A_i ± {self.size:g}"
        if self.kind == "smooth":
            return "A_i smooth" + (f" ± {self.size:g}" if self.size else "")
        return {
            "free": "all free",
            "coefficients fixed": "A_i fixed",
            "all fixed": "all fixed",
        }[self.kind]


#: Widths of priors on A_i when nothing else is asked for.
PRIORS = (0.1, 0.03, 0.01, 0.001)


def scenarios(
    priors: Sequence[float] = (), strengths: Sequence[float] = ()
) -> list[Scenario]:
    """List all scenarios, from free to fixed.

    Parameters
    ----------
    priors : sequence of float
        Widths of priors on A_i, absolute; `PRIORS` without any.
    strengths : sequence of float
        τ of smooth coefficients, beside infinity.
    """
    return [
        Scenario("free"),
        *(Scenario("prior", size) for size in sorted(priors or PRIORS, reverse=True)),
        *(Scenario("smooth", strength**-0.5) for strength in sorted(strengths)),
        Scenario("smooth"),
        Scenario("coefficients fixed"),
        Scenario("all fixed"),
    ]


class Reduced(NamedTuple):
    """What is free in a scenario.

    Attributes
    ----------
    columns : ndarray, shape (n, n_free)
        Derivatives of the coordinates in what is free.
    added : ndarray, shape (n, n)
        Information of the assumptions.
    """

    columns: Array
    added: Array


class Errors(NamedTuple):
    """Covariance in coordinates, by what a fit states.

    Attributes
    ----------
    exact : ndarray, shape (n, n)
        Of templates without noise.
    naive, lite : ndarray, shape (n, n)
        What a naive fit and one with Barlow-Beeston state with templates of the
        simulation, on average.
    corrected : ndarray, shape (n, n)
        Of the fit that follows the truth.
    eigenvalue : float
        Apparent information over noise in the weakest direction; infinity without
        noise.
    level : float
        That below which a direction cannot be told from noise.
    """

    exact: Array
    naive: Array
    lite: Array
    corrected: Array
    eigenvalue: float
    level: float


def is_possible(expected: Expected, scenario: Scenario) -> bool:
    """Whether a scenario is one: priors and smoothness need coefficients."""
    if scenario.kind == "smooth":
        return expected.span is not None
    return scenario.kind in ("free", "all fixed") or bool(len(expected.coefficients))


def reduced(expected: Expected, scenario: Scenario, *, nuisances: bool) -> Reduced:
    """Say what is free, and what is added to the information.

    Parameters
    ----------
    expected : Expected
        Information of a fit.
    scenario : Scenario
        What is assumed.
    nuisances : bool
        Whether nuisance parameters other than the mass are free, constrained as
        declared.

    Raises
    ------
    ConfigError
        If the scenario needs smooth coefficients and there are too few cells.
    """
    n = len(expected.names)
    added, unit = np.zeros((n, n)), np.eye(n)
    A = expected.coefficients
    free: list[Array] = [unit[:, [expected.mass]]]
    if nuisances:
        free.append(unit[:, expected.others])
    if scenario.kind != "all fixed":
        free.append(unit[:, expected.sigma])
    if scenario.kind == "smooth":
        free.append(_add_smoothness(expected, scenario.size, unit, added))
    elif scenario.kind in ("free", "prior"):
        free.append(unit[:, A])
    if scenario.kind == "prior":
        added[A, A] = scenario.size**-2
    return Reduced(np.hstack(free), added)


def _add_smoothness(
    expected: Expected, size: float, unit: Array, added: Array
) -> Array:
    """Columns of the coefficients; what departs from smooth ones costs information."""
    span = expected.span
    if span is None:
        msg = "there are too few cells for smooth coefficients; merge fewer"
        raise ConfigError(msg)
    places = span.strengths
    if size == 0:
        return np.asarray(unit[:, places] @ linalg.orth(span.basis))
    added[np.ix_(places, places)] = span.complement.T @ span.complement / size**2
    return np.asarray(unit[:, places])


def errors(expected: Expected, scenario: Scenario, *, nuisances: bool = True) -> Errors:
    """Compute the covariance of a fit.

    Parameters
    ----------
    expected : Expected
        Information of a fit.
    scenario : Scenario
        What is assumed.
    nuisances : bool
        Whether nuisance parameters other than the mass are free.

    Returns
    -------
    Errors
        Zero for what is fixed. The corrected covariance is the one the fit would have
        if it could be made, which the eigenvalue tells.

    Raises
    ------
    FitError
        If the data do not determine what is free.
    """
    columns, added = reduced(expected, scenario, nuisances=nuisances)
    constant = added + expected.constraints
    exact, floor, lite, lite_floor = (
        columns.T @ matrix @ columns
        for matrix in (
            expected.fisher + constant,
            expected.floor,
            expected.lite + constant,
            expected.lite_floor,
        )
    )
    inverse = require_information(exact).inverse()
    level = gate_level(expected.n_bins)
    if not floor.any():
        whole = _expand(columns, inverse)
        return Errors(whole, whole, whole, whole, np.inf, level)
    naive = require_information(exact + floor).inverse()
    apparent = lite + lite_floor
    stated = require_information(apparent).inverse()
    # A = H − M + Λ is known here without the difference of large numbers
    known = require_information(lite).inverse()
    return Errors(
        exact=_expand(columns, inverse),
        naive=_expand(columns, naive),
        lite=_expand(columns, stated),
        corrected=_expand(columns, known @ apparent @ known),
        eigenvalue=float(spectrum(apparent, lite_floor).eigenvalues[0]),
        level=level,
    )


def _expand(columns: Array, covariance: Array) -> Array:
    """Covariance in all coordinates."""
    return columns @ covariance @ columns.T
