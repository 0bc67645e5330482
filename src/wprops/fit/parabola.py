"""The likelihood at one standard deviation compared with its parabola, per parameter.

One parameter moves by its error and all others follow it as the covariance says, along
a straight line, where a parabola rises by ½. Where strengths multiply templates that
move with nuisance parameters, valleys are curved, and a rise along the line does not
mean that the error is wrong. So the profile likelihood is computed for the parameters
that depart most: all others are fitted with this one at ±1 standard deviation.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wprops.errors import FitError
from wprops.fit.findings import Finding, Severity
from wprops.fit.likelihood import Likelihood
from wprops.fit.minimise import minimise

Array = NDArray[np.float64]
#: Departures of ΔNLL/½ from 1 that are noted, and that make an error doubtful.
NOTED, DOUBTFUL = 0.1, 0.3
#: Number of parameters whose profile is computed.
N_PROFILED = 5
_SIGNS = (1.0, -1.0)


def not_quadratic(
    likelihood: Likelihood, values: Array, covariance: Array
) -> Iterator[Finding]:
    """Find parameters along which the likelihood is no parabola.

    Parameters
    ----------
    likelihood : Likelihood
        What was minimised.
    values : ndarray, shape (n_par,)
        Its minimum.
    covariance : ndarray, shape (n_par, n_par)
        Inverse of the Hessian, zero for fixed parameters.

    Yields
    ------
    Finding
        For departures above `NOTED`; a warning if the profile departs by `DOUBTFUL`.
    """
    lowest = _value(likelihood, values)
    errors = np.sqrt(np.diag(covariance))
    departing = []
    for index in np.flatnonzero(errors > 0).tolist():
        step = covariance[:, index] / errors[index]
        rises = [_value(likelihood, values + sign * step) - lowest for sign in _SIGNS]
        if _departure(rises) > NOTED:
            departing.append((_departure(rises), rises, index))
    departing.sort(key=lambda row: -row[0])
    names = likelihood.model.parameters.names
    for rank, (_, rises, index) in enumerate(departing):
        profile = None
        if rank < N_PROFILED:
            step = covariance[:, index] / errors[index]
            fixed = [names[i] for i in np.flatnonzero(errors == 0)] + [names[index]]
            profile = [
                _profiled(likelihood, values + sign * step, fixed) - lowest
                for sign in _SIGNS
            ]
        yield _finding(names[index], rises, profile)


def _value(likelihood: Likelihood, values: Array) -> float:
    """NLL, infinite where a bin expects no events."""
    point = likelihood.at(values)
    return np.inf if point is None else point.value


def _profiled(likelihood: Likelihood, start: Array, fixed: list[str]) -> float:
    """Lowest NLL with some parameters where they are, infinite if there is none."""
    try:
        return minimise(likelihood, start, fixed=fixed).nll
    except FitError:
        return np.inf


def _departure(rises: list[float]) -> float:
    return max(abs(2 * rise - 1) for rise in rises)


def _finding(name: str, line: list[float], profile: list[float] | None) -> Finding:
    what = f"along a straight line the NLL rises {_shown(line)}"
    remedy = "look at its profile if it matters: `wprops fit --scan`"
    severity: Severity = "note"
    if profile is not None:
        what += f"; its profile rises {_shown(profile)}"
        departure = _departure(profile)
        remedy = "a curved valley: its error holds, linear propagation is approximate"
        if departure > NOTED:
            remedy = "quote the interval of its profile: `wprops fit --interval`"
        if departure > DOUBTFUL:
            severity = "warning"
    return Finding(
        kind="not quadratic",
        severity=severity,
        where=name,
        what=f"{what}, where a parabola rises by 0.5",
        remedy=remedy,
        size=_departure(line),
    )


def _shown(rises: list[float]) -> str:
    values = [f"by {r:.2f}" if np.isfinite(r) else "beyond reach" for r in rises]
    return f"{values[0]} at +1σ and {values[1]} at −1σ"
