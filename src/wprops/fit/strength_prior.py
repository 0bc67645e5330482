"""A declared prior on strengths, for what a finite simulation does not determine.

It is wide, centred at the generated values, and explicit: an external measurement of
every strength that nobody made. In the covariance it counts like an auxiliary
measurement.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wprops.axes import COMPONENTS
from wprops.errors import ConfigError
from wprops.fit.external import External
from wprops.fit.likelihood import Likelihood
from wprops.fit.parameters import Parameters, poi_name
from wprops.store import TemplateSet

Array = NDArray[np.float64]


def prior_widths(templates: TemplateSet, parameters: Parameters, width: float) -> Array:
    """Widths of a declared prior on strengths.

    Parameters
    ----------
    templates : TemplateSet
        Knows the generated coefficients.
    parameters : Parameters
        What is fitted.
    width : float
        Standard deviation of a cross section relative to the generated one, and of an
        A_i, which is of order 1 at most.

    Returns
    -------
    ndarray, shape (n_poi,)
        In units of the strengths.

    Raises
    ------
    ConfigError
        If the width is not positive.
    """
    if not width > 0:
        msg = f"the width of the prior on strengths is {width:g}; give a positive one"
        raise ConfigError(msg)
    widths = np.full(parameters.n_poi, width)
    if templates.weighting == "sigma":
        return widths
    for channel in templates.channels.values():
        for process in channel.processes.values():
            name = poi_name(channel.name, process.name)
            component, cell = process.component, process.cell
            if component is None or component == COMPONENTS[0] or cell is None:
                continue
            if channel.generated is not None and name in parameters.names:
                table = channel.generated.coefficients[int(component[1:])]
                widths[parameters.index(name)] /= abs(table[cell])
    return widths


def with_strength_prior(likelihood: Likelihood, widths: Array) -> Likelihood:
    """Add a declared prior on the strengths, centred at the generated values.

    Parameters
    ----------
    likelihood : Likelihood
        Counts and constraints.
    widths : ndarray, shape (n_poi,)
        Standard deviation of each strength.

    Returns
    -------
    Likelihood
        With one more external measurement per strength.
    """
    model = likelihood.model
    n, old = len(widths), model.external
    centre = model.parameters.start[:n]
    measured = old.values if likelihood.external is None else likelihood.external
    empty = np.zeros((len(old.values), n))

    def joined(first: Array, second: Array) -> Array:
        return np.block([[first, empty], [empty.T, second]])

    external = External(
        combinations=np.vstack([old.combinations, np.eye(n, len(model.parameters))]),
        values=np.r_[old.values, centre],
        covariance=joined(old.covariance, np.diag(widths**2)),
        precision=joined(old.precision, np.diag(1 / widths**2)),
    )
    return replace(
        likelihood,
        model=replace(model, external=external),
        external=np.r_[measured, centre],
    )
