"""What goes into a fit beside the model: data, starting values, frozen parameters."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wprops.errors import ConfigError, TemplateError
from wprops.fit.model import Model, observed
from wprops.fit.parameters import Parameters
from wprops.fit.pseudo_data import PseudoData, thrower
from wprops.fit.results import FitResult
from wprops.store import TemplateSet

Array = NDArray[np.float64]
Data = Literal["observed", "asimov", "toy"]


def frozen_values(
    parameters: Parameters, freeze: Mapping[str, float | None], start: Array
) -> dict[str, float]:
    """Find the parameters that patterns name, and where they are frozen.

    Parameters
    ----------
    parameters : Parameters
        All parameters.
    freeze : mapping of str to (float or None)
        Names, or patterns with ``*``, ``?`` and ``[…]``, and values. Where several
        match, the last one counts.
    start : ndarray, shape (n_par,)
        Values for None.

    Raises
    ------
    TemplateError
        If a pattern matches no parameter.
    """
    frozen: dict[str, float] = {}
    for pattern, value in freeze.items():
        matching = [n for n in parameters.names if fnmatchcase(n, pattern)]
        if not matching:
            msg = (
                f"no parameter matches {pattern!r}; the nuisance parameters are "
                f"{', '.join(parameters.names[parameters.n_poi :])}, strengths have "
                "names such as Wplus/W_UL_y0_qt0"
            )
            raise TemplateError(msg)
        for name in matching:
            index = parameters.index(name)
            frozen[name] = float(start[index]) if value is None else value
    return frozen


def starting_values(parameters: Parameters, earlier: FitResult | None) -> Array:
    """Begin at the values of an earlier fit where it has them, shape (n_par,).

    Raises
    ------
    TemplateError
        If the earlier fit has none of the parameters.
    """
    values = parameters.start.copy()
    if earlier is None:
        return values
    known = dict(zip(earlier.names, earlier.values.tolist(), strict=True))
    common = [name for name in parameters.names if name in known]
    if not common:
        msg = (
            "the fit to begin from has no parameter of this one; it has "
            f"{', '.join(earlier.names[:5])}, …. Give a fit of similar templates"
        )
        raise TemplateError(msg)
    values[[parameters.index(name) for name in common]] = [known[n] for n in common]
    return values


def measured(templates: TemplateSet, model: Model, data: Data, seed: int) -> PseudoData:
    """Return what is fitted: counts and auxiliary measurements.

    Parameters
    ----------
    templates : TemplateSet
        Has the observed data.
    model : Model
        Gives the prediction.
    data : {"observed", "asimov", "toy"}
        The data of the set, the prediction at the generated values, or pseudo-data
        thrown there.
    seed : int
        Of the pseudo-data.

    Raises
    ------
    TemplateError
        If a channel has no data.
    ConfigError
        If ``data`` is none of the three.
    """
    start, external = model.parameters.start, model.external.values
    if data == "observed":
        return PseudoData(observed(templates, model), start, external)
    if data == "asimov":
        return PseudoData(model.expected(start), start, external)
    if data == "toy":
        return thrower(model, start, seed).throw(0)
    msg = f"data={data!r} is unknown; expected 'observed', 'asimov' or 'toy'"
    raise ConfigError(msg)
