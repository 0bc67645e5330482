"""A template set from plain arrays, for small problems and for other frameworks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.channels import Channel, Process
from wprops.errors import TemplateError
from wprops.store import TemplateSet
from wprops.systematics.declaration import Interpolation, Systematic, variation_label

Array = NDArray[np.float64]
#: Templates of a variation by process: the upper one, or both.
Shapes: TypeAlias = Mapping[str, ArrayLike | tuple[ArrayLike, ArrayLike]]


def template_set(
    signal: Mapping[str, ArrayLike],
    background: Mapping[str, ArrayLike],
    *,
    data: ArrayLike | None = None,
    shapes: Mapping[str, Shapes] | None = None,
    norms: Mapping[str, tuple[float, Collection[str]]] | None = None,
    variance: Mapping[str, ArrayLike] | None = None,
    interpolation: Interpolation = "lognormal",
    channel: str = "channel",
) -> TemplateSet:
    """Make a template set of one channel.

    Parameters
    ----------
    signal, background : mapping of str to array_like, shape (n_bins,) or (n_eta, n_pt)
        Expected events by process. The fit has a strength for each signal.
    data : array_like, optional
        Observed events, of the same shape.
    shapes : mapping of str to mapping, optional
        By nuisance parameter: the varied templates of the processes on which it acts,
        a tuple (up, down), or the upper one alone, which is then mirrored.
    norms : mapping of str to (float, collection of str), optional
        By nuisance parameter: factor at one standard deviation, and processes.
    variance : mapping of str to array_like, optional
        Variance of the templates from the finite simulation; zero when omitted.
    interpolation : {"lognormal", "linear", "quadratic"}
        How templates follow all of ``shapes``.
    channel : str
        Name of the channel, which begins the names of the strengths.

    Returns
    -------
    TemplateSet

    Raises
    ------
    TemplateError
        If shapes of arrays differ, a process is not known or is listed twice, or
        numbers are not finite.

    Examples
    --------
    A peak on a falling background that is known to 10 %, with a slope:

    >>> from wprops.fit.model import build_model, observed
    >>> from wprops.fit.run import fit_model
    >>> templates = template_set(
    ...     signal={"peak": [5.0, 50.0, 5.0]},
    ...     background={"flat": [100.0, 90.0, 80.0]},
    ...     data=[106.0, 165.0, 86.0],
    ...     shapes={"slope": {"flat": ([105.0, 90.0, 76.0], [95.0, 90.0, 84.0])}},
    ...     norms={"flat_norm": (1.1, ["flat"])},
    ... )
    >>> model = build_model(templates)
    >>> model.parameters.names
    ('channel/peak', 'slope', 'flat_norm')
    >>> minimum = fit_model(model, observed(templates, model))
    >>> round(float(minimum.values[0]), 2)
    1.51
    """
    shapes, norms, variance = shapes or {}, norms or {}, variance or {}
    nominal = {
        name: _grid(values, f"process {name!r}")
        for name, values in (*signal.items(), *background.items())
    }
    _check_names(signal, background, {**shapes, **{k: v[1] for k, v in norms.items()}})
    systematics, variations = _shapes(shapes, interpolation)
    for name, (size, names) in norms.items():
        systematics.append(
            Systematic(
                name=name,
                kind="norm",
                processes=frozenset(names),
                group=name,
                size=size,
            )
        )
    processes = {
        name: Process(
            name=name,
            role="signal" if name in signal else "background",
            nominal=values,
            variance=(
                _grid(variance[name], f"variance of {name!r}")
                if name in variance
                else np.zeros_like(values)
            ),
            variations=variations.get(name, {}),
            component="UL" if name in signal else None,
            cell=(0, cell) if name in signal else None,
        )
        for cell, (name, values) in enumerate(nominal.items())
    }
    shape = next(iter(nominal.values())).shape if nominal else (1, 1)
    templates = TemplateSet(
        channels={
            channel: Channel(
                name=channel,
                charge=1,
                eta_edges=np.arange(shape[0] + 1.0),
                pt_edges=np.arange(shape[1] + 1.0),
                processes=processes,
                data=None if data is None else _grid(data, "data"),
            )
        },
        systematics=tuple(systematics),
        luminosity=1.0,
        boson_mass=1.0,
    )
    templates.validate()
    return templates


def _grid(values: ArrayLike, what: str) -> Array:
    """Give one-dimensional templates a single row."""
    array = np.atleast_2d(np.asarray(values, dtype=float))
    if array.ndim != 2:
        msg = f"{what} has {array.ndim} dimensions, expected one or two"
        raise TemplateError(msg)
    return array


def _check_names(
    signal: Collection[str],
    background: Collection[str],
    acting: Mapping[str, Collection[str]],
) -> None:
    twice = sorted(set(signal) & set(background))
    if twice:
        msg = f"{', '.join(twice)} are both signal and background; use two names"
        raise TemplateError(msg)
    for name, processes in acting.items():
        unknown = sorted(set(processes) - set(signal) - set(background))
        if unknown:
            msg = (
                f"nuisance parameter {name!r} acts on {', '.join(unknown)}, which are "
                f"no processes; there are {', '.join((*signal, *background))}"
            )
            raise TemplateError(msg)


def _shapes(
    shapes: Mapping[str, Shapes], interpolation: Interpolation
) -> tuple[list[Systematic], dict[str, dict[str, Array]]]:
    systematics: list[Systematic] = []
    variations: dict[str, dict[str, Array]] = {}
    for name, varied in shapes.items():
        # a tuple holds both sides; a list or an array is one template
        sides = {isinstance(templates, tuple) for templates in varied.values()}
        if len(sides) > 1:
            msg = (
                f"nuisance parameter {name!r} varies some processes up and down and "
                "others up only; give both for all"
            )
            raise TemplateError(msg)
        directions = ("up", "down") if True in sides else ("up",)
        systematics.append(
            Systematic(
                name=name,
                kind="weight",
                processes=frozenset(varied),
                group=name,
                variations=directions,
                interpolation=interpolation,
            )
        )
        for process, templates in varied.items():
            pair = templates if isinstance(templates, tuple) else (templates,)
            for direction, values in zip(directions, pair, strict=True):
                label = variation_label(name, direction)
                grid = _grid(values, f"{label} of {process!r}")
                variations.setdefault(process, {})[label] = grid
    return systematics, variations
