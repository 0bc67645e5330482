r"""Strengths that measure the coefficients themselves instead of a factor on them.

A strength that multiplies the generated coefficient means nothing where the coefficient
is near zero: its error is infinite although the cross section is well known. Divided by
the generated A_i, the template of a coefficient carries the angular function alone, and
its strength is A_i times the strength of the unpolarised template: the helicity cross
section in units of the generated unpolarised one, :math:`n + δ\,n/A_i` at
:math:`A_i + δ`. This is the weighting ``"sigma"`` of a template set, so that everything
that reads one, `wprops.fit.derived` too, knows what the strengths mean. It is a linear
change of parameters: all other results stay the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wprops.axes import COMPONENTS
from wprops.channels import Channel, Process, SharedEvents
from wprops.errors import TemplateError
from wprops.store import TemplateSet

Array = NDArray[np.float64]


def absolute_coefficients(templates: TemplateSet) -> TemplateSet:
    """Let the strengths of A_i templates measure A_i times that of UL.

    Parameters
    ----------
    templates : TemplateSet
        A set of either weighting; one without generated coefficients in its
        templates is what it should be already.

    Returns
    -------
    TemplateSet
        With the weighting ``"sigma"``. Variations are scaled when they are read, so
        that they take no memory of their own.

    Raises
    ------
    TemplateError
        If a channel does not know its generated coefficients, or one of them is zero.
    """
    if templates.weighting == "sigma":
        return templates
    channels = {name: _channel(channel) for name, channel in templates.channels.items()}
    return replace(templates, channels=channels, weighting="sigma")


class _Scaled(Mapping[str, Array]):
    """Variations times a number."""

    def __init__(self, variations: Mapping[str, Array], scale: float) -> None:
        self._variations, self._scale = variations, scale

    def __getitem__(self, label: str) -> Array:
        return self._variations[label] * self._scale

    def __iter__(self) -> Iterator[str]:
        return iter(self._variations)

    def __len__(self) -> int:
        return len(self._variations)


def _channel(channel: Channel) -> Channel:
    scales = {name: _scale(channel, p) for name, p in channel.processes.items()}
    processes = {
        name: replace(
            process,
            nominal=process.nominal * scales[name],
            variance=process.variance * scales[name] ** 2,
            variations=_Scaled(process.variations, scales[name]),
        )
        for name, process in channel.processes.items()
    }
    shared = tuple(_shared(group, scales) for group in channel.shared)
    return replace(channel, processes=processes, shared=shared)


def _shared(group: SharedEvents, scales: Mapping[str, float]) -> SharedEvents:
    factors = np.array([scales[name] for name in group.processes])
    both = np.multiply.outer(factors, factors)[:, :, None, None]
    # the derivative is that of the sum at the generated strengths, which stays
    each = np.append(factors, 1.0)[:, None, None]
    derivative, folds = group.derivative_products, group.folds
    return replace(
        group,
        products=group.products * both,
        derivative_products=None if derivative is None else derivative * each,
        folds=None if folds is None else folds * each[: folds.shape[1]],
    )


def _scale(channel: Channel, process: Process) -> float:
    component, cell = process.component, process.cell
    if component in (None, COMPONENTS[0]) or cell is None:
        return 1.0
    if channel.generated is None:
        msg = (
            f"channel {channel.name!r} has no record of the generated coefficients; "
            "absolute strengths need it"
        )
        raise TemplateError(msg)
    coefficient = channel.generated.coefficients[int(component[1:])][cell]
    if coefficient == 0:
        msg = (
            f"channel {channel.name!r}, process {process.name!r}: the generated "
            "coefficient is zero, so its template has no shape; fill templates with "
            "weighting 'sigma'"
        )
        raise TemplateError(msg)
    return float(1 / coefficient)
