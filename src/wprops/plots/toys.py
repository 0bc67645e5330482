"""Pulls and coverage of toys, one point per quantity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wprops.fit.coverage import NOMINAL, Coverage
from wprops.plots.style import SampleLabel, add_label, new_figure, styled

Array = NDArray[np.float64]
#: Up to so many quantities their names are written below the points.
_MAX_NAMES = 40


def plot_coverage(table: Coverage, *, label: SampleLabel) -> Figure:
    """Draw mean and RMS of the pulls and the coverage of all that is measured.

    Bands show one and two standard errors of what a unit normal would give.

    Parameters
    ----------
    table : Coverage
        Pulls and coverage.
    label : SampleLabel
        Text above the figure.
    """
    size = 1 / np.sqrt(table.n)
    inner, outer = (size * np.sqrt(p * (1 - p)) for p in NOMINAL)
    rows = (
        ("pull mean", table.mean, table.mean_error, 0.0, size),
        ("pull RMS", table.rms, table.rms_error, 1.0, size / np.sqrt(2)),
        ("68.3 %", table.covered[:, 0], table.covered_error[:, 0], NOMINAL[0], inner),
        ("95 %", table.covered[:, 1], table.covered_error[:, 1], NOMINAL[1], outer),
    )
    named = len(table.names) <= _MAX_NAMES
    with styled():
        figure = new_figure(10.0, 9.5 if named else 8.5, bottom=2.0 if named else 1.0)
        axes = figure.subplots(len(rows), sharex=True, gridspec_kw={"hspace": 0.1})
        for ax, (name, values, errors, expected, spread) in zip(
            axes, rows, strict=True
        ):
            _draw_row(ax, values, errors, expected, spread)
            _separate(ax, table.groups)
            ax.set_ylabel(name, loc="center")
        axes[-1].set_xlim(-0.5, len(table.names) - 0.5)
        if named:
            axes[-1].set_xticks(
                range(len(table.names)), table.names, rotation=90, fontsize=8
            )
        else:
            _name_groups(axes[-1], table.groups)
        add_label(axes[0], label)
        axes[0].set_title(f"{table.n} toys", loc="center", fontsize=12)
    return figure


def _draw_row(
    ax: Axes, values: Array, errors: Array, expected: float, spread: float
) -> None:
    for width, alpha in ((2, 0.2), (1, 0.35)):
        low, high = expected - width * spread, expected + width * spread
        ax.axhspan(low, high, color="#ffa90e", alpha=alpha, linewidth=0)
    ax.axhline(expected, color="black", linewidth=0.8)
    ax.errorbar(
        np.arange(len(values)),
        values,
        yerr=errors,
        fmt="o",
        color="black",
        markersize=3.0,
        linewidth=0.7,
    )
    ax.margins(y=0.15)


def _separate(ax: Axes, groups: Sequence[str]) -> None:
    for position in range(1, len(groups)):
        if groups[position] != groups[position - 1]:
            ax.axvline(position - 0.5, color="grey", linewidth=0.6, linestyle=":")


def _name_groups(ax: Axes, groups: Sequence[str]) -> None:
    """Write the name of each group of at least a fiftieth of the width below it."""
    starts = [i for i in range(len(groups)) if i == 0 or groups[i] != groups[i - 1]]
    ends = [*starts[1:], len(groups)]
    wide = [
        (first, last)
        for first, last in zip(starts, ends, strict=True)
        if last - first >= len(groups) / 50
    ]
    ax.set_xticks(
        [(first + last - 1) / 2 for first, last in wide],
        [groups[first] for first, _ in wide],
        rotation=25,
        ha="right",
        fontsize=9,
    )
