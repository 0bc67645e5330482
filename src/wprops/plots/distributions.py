"""Data and prediction in projections of the (eta, pT) plane."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import mplhep
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wprops.backgrounds.prefit import systematic_variance
from wprops.plots.style import (
    SampleLabel,
    add_label,
    channel_label,
    new_figure,
    process_style,
    styled,
)
from wprops.store import Channel
from wprops.systematics.declaration import Systematic

Array = NDArray[np.float64]
AxisName = Literal["eta", "pt"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Projection:
    """What a figure of one axis shows.

    Attributes
    ----------
    edges : ndarray, shape (n + 1,)
        Edges of the axis.
    label : str
        Label of the axis with unit.
    groups : dict of str to ndarray, shape (n,)
        Expected events: all signal processes as ``"signal"``, backgrounds by
        name, from the smallest to the largest.
    variance : ndarray, shape (n,)
        Variance of the sum of all groups from finite simulation, and from systematics
        where they were given.
    data : ndarray, shape (n,), optional
        Observed events.
    band : str
        What the variance is of, for the legend.
    """

    edges: Array
    label: str
    groups: dict[str, Array]
    variance: Array
    data: Array | None
    band: str = "MC stat."

    @property
    def total(self) -> Array:
        """Sum of all groups, shape (n,)."""
        return np.sum(list(self.groups.values()), axis=0)


def project(
    channel: Channel, axis: AxisName, systematics: Iterable[Systematic] = ()
) -> Projection:
    """Sum a channel over the other axis and its signal over all cells.

    Parameters
    ----------
    channel : Channel
        Templates of one charge.
    axis : {"eta", "pt"}
        The axis to keep.
    systematics : iterable of Systematic
        What counts in the variance beside the finite simulation.
    """
    records = tuple(systematics)
    kept, summed = (0, 1) if axis == "eta" else (1, 0)
    groups: dict[str, Array] = {}
    for process in channel.processes.values():
        name = "signal" if process.role == "signal" else process.name
        values = process.nominal.sum(axis=summed)
        groups[name] = groups.get(name, np.zeros_like(values)) + values
    return Projection(
        edges=(channel.eta_edges, channel.pt_edges)[kept],
        label=channel.axes()[kept].label,
        groups=dict(sorted(groups.items(), key=lambda item: item[1].sum())),
        variance=channel.total()[1].sum(axis=summed)
        + systematic_variance(records, channel, axis),
        data=None if channel.data is None else channel.data.sum(axis=summed),
        band="stat. and syst." if records else "MC stat.",
    )


def plot_distribution(
    channel: Channel,
    axis: AxisName,
    *,
    label: SampleLabel,
    systematics: Iterable[Systematic] = (),
) -> Figure:
    """Draw the stacked prediction before the fit, the data and their ratio.

    Parameters
    ----------
    channel : Channel
        Templates and data of one charge; without data there is no ratio.
    axis : {"eta", "pt"}
        The axis to show; the other one is summed over.
    label : SampleLabel
        Text above the figure.
    systematics : iterable of Systematic
        What the band shows beside the finite simulation.
    """
    shown = project(channel, axis, systematics)
    with styled():
        figure = new_figure()
        if shown.data is None:
            main = figure.subplots()
            bottom = main
        else:
            main, bottom = figure.subplots(
                2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1], "hspace": 0.06}
            )
            draw_ratio(bottom, shown)
        draw_stack(main, shown)
        main.legend(title=channel_label(channel.name), ncols=2, loc="upper right")
        bottom.set_xlabel(shown.label)
        bottom.set_xlim(shown.edges[0], shown.edges[-1])
        add_label(main, label)
    return figure


def draw_stack(ax: Axes, shown: Projection) -> None:
    """Draw the groups on top of each other, their uncertainty and the data."""
    styles = [process_style(name) for name in shown.groups]
    mplhep.histplot(
        list(shown.groups.values()),
        bins=shown.edges,
        stack=True,
        histtype="fill",
        label=[text for text, _ in styles],
        color=[colour for _, colour in styles],
        ax=ax,
    )
    draw_band(ax, shown.edges, shown.total, np.sqrt(shown.variance), shown.band)
    if shown.data is not None:
        draw_points(ax, shown.edges, shown.data, np.sqrt(shown.data))
    ax.set_ylabel("Events / bin")
    # Room for a legend of five rows above flat distributions.
    ax.set_ylim(0, 1.9 * max(shown.total.max(), _largest(shown.data)))


def draw_ratio(ax: Axes, shown: Projection) -> None:
    """Draw data over prediction; there have to be data."""
    assert shown.data is not None
    with np.errstate(divide="ignore", invalid="ignore"):  # empty bins are not drawn
        ratio = shown.data / shown.total
        error = np.sqrt(shown.data) / shown.total
        band = np.sqrt(shown.variance) / shown.total
    draw_band(ax, shown.edges, np.ones_like(band), band, shown.band)
    draw_points(ax, shown.edges, ratio, error)
    ax.axhline(1.0, color="black", linewidth=0.8)
    spread = np.nanmax(np.abs(ratio - 1) + error, initial=0.02, where=error < 0.5)
    spread = np.nanmax(band, initial=spread, where=band < 0.5)
    ax.set_ylim(1 - 1.2 * spread, 1 + 1.2 * spread)
    ax.set_ylabel("Data / MC")


def draw_band(ax: Axes, edges: Array, centre: Array, error: Array, label: str) -> None:
    """Draw the uncertainty of a prediction."""
    ax.stairs(
        centre + error,
        edges,
        baseline=centre - error,
        fill=True,
        facecolor="black",
        alpha=0.3,
        label=label,
        zorder=3,
    )


def draw_points(ax: Axes, edges: Array, values: Array, errors: Array) -> None:
    """Draw data at the centres of bins."""
    ax.errorbar(
        (edges[1:] + edges[:-1]) / 2,
        values,
        yerr=errors,
        fmt="o",
        color="black",
        markersize=3.5,
        linewidth=1,
        label="Data",
        zorder=4,
    )


def _largest(values: Array | None) -> float:
    return 0.0 if values is None else float(values.max())
