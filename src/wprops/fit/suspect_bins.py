"""Bins and templates that a fit cannot rely on, and what makes them so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wprops.fit.block import Block
from wprops.fit.findings import Finding, Severity
from wprops.fit.likelihood import describe_bins
from wprops.fit.model import Model, ModelPoint

Array = NDArray[np.float64]
Index = NDArray[np.int64]
#: Effective simulated events of a bin below which its content is hardly known.
FEW = 10.0
#: Standard deviations of χ² above its mean that a template has to exceed noise by.
ABOVE_NOISE = 3.0


def locate(model: Model, index: int) -> tuple[int, int]:
    """Position of the channel of a flat bin number, and the bin within it."""
    ends = np.cumsum([block.n_bins for block in model.blocks])
    position = int(np.searchsorted(ends, index, side="right"))
    return position, index - int(ends[position]) + model.blocks[position].n_bins


def thin_bins(model: Model, values: Array, point: ModelPoint) -> Iterator[Finding]:
    """Find bins with few effective simulated events, and where their noise is from.

    Parameters
    ----------
    model : Model
        Gives the variances of the templates.
    values : ndarray, shape (n_par,)
        Parameters; their strengths multiply the templates.
    point : ModelPoint
        The model there.

    Yields
    ------
    Finding
        One for all bins of a channel to whose noise one process adds most.
    """
    expected, variance = point.expected, model.variance(values)
    effective = np.full_like(expected, np.inf)
    np.divide(expected**2, variance, out=effective, where=variance > 0)
    groups = defaultdict(list)
    for index in np.flatnonzero(model.counted & (expected > 0) & (effective < FEW)):
        process, share = _noisiest(model, values, int(index))
        groups[process, effective[index] < 1].append((index, share))
    for (process, without), members in groups.items():
        indices = np.array([index for index, _ in members])
        remedy = "simulate more events or merge bins"
        if without:
            remedy += "; no factor can repair a content that is not known"
        yield Finding(
            kind="bins without simulation" if without else "few simulated events",
            severity="error" if without else "warning",
            where=describe_bins(model, indices),
            what=(
                f"{_bins(len(members))} with {_range(effective[indices])} effective "
                f"simulated events; {process} makes at least "
                f"{int(100 * min(share for _, share in members))}% of the variance"
            ),
            remedy=remedy,
            size=len(members),
        )


def _noisiest(model: Model, values: Array, index: int) -> tuple[str, float]:
    """Process that adds most to the variance of a bin, and its part."""
    position, bin_ = locate(model, index)
    block = model.blocks[position]
    strength = block.strengths(values)
    parts = strength**2 * block.noise.variance[:, bin_]
    for members, products in block.noise.shared:
        s = strength[members]
        parts[members] += s * (products[:, :, bin_] @ s)
    most = int(np.argmax(parts))
    return f"{block.name}/{block.processes[most]}", float(parts[most] / parts.sum())


def negative_expectations(
    model: Model, point: ModelPoint, displacement: Array, occasion: str
) -> Iterator[Finding]:
    """Find fitted bins that expect no events or less, and what moved them there.

    Parameters
    ----------
    model : Model
        The model.
    point : ModelPoint
        The model at the point in question.
    displacement : ndarray, shape (n_par,)
        How far the parameters are from where the expectations were positive; zeros
        at the generated point.
    occasion : str
        Where the point is, in words.

    Yields
    ------
    Finding
        One for all bins with the same process and parameter.
    """
    expected = point.expected
    bad = np.flatnonzero(model.counted & ~(expected > 0))
    if not len(bad):
        return
    moves = point.jacobian()[:, bad] * displacement[:, None]
    groups = defaultdict(list)
    for column, index in enumerate(bad.tolist()):
        position, bin_ = locate(model, index)
        block_point = point.blocks[position]
        block = block_point.block
        lowest = int(np.argmin(block_point.yields[:, bin_]))
        name = None
        if moves[:, column].min() < 0:
            name = model.parameters.names[int(np.argmin(moves[:, column]))]
        groups[f"{block.name}/{block.processes[lowest]}", name].append(index)
    for (process, name), members in groups.items():
        lowest_bin = float(expected[members].min())
        verb = "expect" if len(members) > 1 else "expects"
        what = f"{occasion}, {_bins(len(members))} {verb} no events or less"
        if name is None:
            what += f", {lowest_bin:.3g} at the lowest; {process} is the lowest process"
        else:
            # no numbers: a step tells what the data say, also to a blind fit
            what += f"; {process} is the lowest process, {name!r} does most to move it"
        yield Finding(
            kind="negative expectation",
            severity="error",
            where=describe_bins(model, np.array(members)),
            what=what,
            remedy=(
                "merge bins; for a parameter that moves them there: constrain or fix "
                "it, or declare its source log-normal"
            ),
            size=float(len(members)),
        )


def negative_processes(
    model: Model, values: Array, errors: Array | None, point: ModelPoint
) -> Iterator[Finding]:
    """Find processes with a positive template and negative yields.

    Parameters
    ----------
    model : Model
        The model.
    values : ndarray, shape (n_par,)
        Parameters.
    errors : ndarray, shape (n_par,), optional
        Their errors, which say whether a negative strength is a fluctuation.
    point : ModelPoint
        The model there.

    Yields
    ------
    Finding
        One per process.
    """
    for block_point in point.blocks:
        block = block_point.block
        positive = (block.nominal >= 0).all(axis=1)
        negative = (block_point.yields < 0).any(axis=1)
        for process in np.flatnonzero(positive & negative):
            yields = block_point.yields[process]
            name, severity = _mover(model, block, int(process), values, errors, yields)
            n_bins = int((yields < 0).sum())
            where = f"{block.name}/{block.processes[process]}"
            value = values[model.parameters.index(name)]
            yield Finding(
                kind="negative process",
                severity=severity,
                where=where,
                what=(
                    f"{_bins(n_bins)} with a yield down to {yields.min():.3g}, in "
                    f"{_label(block, int(yields.argmin()))}, by {name!r} = {value:.3g}"
                ),
                remedy=(
                    "a strength below zero within its error is a fluctuation; else "
                    "look for a wrong template, and declare shifts log-normal"
                ),
                size=-float(yields.min()),
            )


def _mover(
    model: Model,
    block: Block,
    process: int,
    values: Array,
    errors: Array | None,
    yields: Array,
) -> tuple[str, Severity]:
    """Name the parameter that makes a process negative, and judge it."""
    names = model.parameters.names
    at = np.flatnonzero(block.signal == process)
    if len(at) and values[block.poi[at[0]]] < 0:
        poi = block.poi[at[0]]
        within = errors is not None and values[poi] > -2 * errors[poi]
        return names[poi], "note" if within else "warning"
    eta, pt = divmod(int(yields.argmin()), block.shape[1])
    group = next(g for g in block.groups if process in g.members)
    tile = group.tiles[int(np.searchsorted(group.members, process)), eta, :, pt]
    shifts = tile * group.at(values[block.columns]).value[eta] * ~group.is_log
    column = group.column[int(np.argmin(shifts))]
    return names[block.columns[column, eta]], "warning"


def templates_of_noise(model: Model) -> Iterator[Finding]:
    """Find templates that the simulation cannot tell from zero.

    Yields
    ------
    Finding
        For processes with Σ n²/V below what bins of noise alone would give.
    """
    for block in model.blocks:
        variance = block.noise.variance.copy()
        for members, products in block.noise.shared:
            variance[members] = products[
                np.arange(len(members)), np.arange(len(members))
            ]
        filled = variance > 0
        ratio = np.divide(
            block.nominal**2, variance, where=filled, out=np.zeros_like(variance)
        )
        chi2, n_filled = ratio.sum(axis=1), filled.sum(axis=1)
        limit = n_filled + ABOVE_NOISE * np.sqrt(2 * n_filled)
        for process in np.flatnonzero((n_filled > 0) & (chi2 < limit)):
            is_signal = process in block.signal
            yield Finding(
                kind="template of noise",
                severity="warning" if is_signal else "note",
                where=f"{block.name}/{block.processes[process]}",
                what=(
                    f"χ² of the template against zero is {chi2[process]:.3g} for "
                    f"{n_filled[process]} bins with simulated events"
                ),
                remedy=(
                    "simulate more events, or merge the cell with its neighbour; a "
                    "strength of such a template follows its noise"
                ),
                size=float(limit[process] - chi2[process]),
            )


def _label(block: Block, index: int) -> str:
    return f"{block.name} ({index // block.shape[1]}, {index % block.shape[1]})"


def _bins(n: int) -> str:
    return f"{n} bin{'s' if n > 1 else ''}"


def _range(values: Array) -> str:
    low, high = f"{values.min():.2g}", f"{values.max():.2g}"
    return low if low == high else f"{low} to {high}"
