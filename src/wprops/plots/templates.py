"""The templates of the signal and how much of it is selected."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wprops.errors import TemplateError
from wprops.plots.style import (
    COMPONENT_LABELS,
    SampleLabel,
    add_label,
    channel_label,
    new_figure,
    styled,
)
from wprops.store import Channel, Process

INVERSE_FB_IN_INVERSE_PB = 1000.0


def cell_processes(channel: Channel, cell: tuple[int, int]) -> dict[str, Process]:
    """Return the signal processes of one (iabsy, iqt) cell by component.

    Raises
    ------
    TemplateError
        If the channel has no signal in this cell.
    """
    found = {
        process.component: process
        for process in channel.processes.values()
        if process.cell == cell and process.component is not None
    }
    if not found:
        cells = {p.cell for p in channel.processes.values() if p.cell is not None}
        msg = (
            f"channel {channel.name!r} has no signal in cell {cell}; it has "
            f"{', '.join(map(str, sorted(cells))) or 'none'}."
        )
        raise TemplateError(msg)
    return found


def acceptance(channel: Channel, luminosity: float) -> NDArray[np.float64]:
    """Fraction of the generated bosons that are selected.

    Parameters
    ----------
    channel : Channel
        Channel with signal processes and the generated cross sections.
    luminosity : float
        Integrated luminosity of the templates [fb^-1].

    Returns
    -------
    ndarray, shape (n_y, n_qt)
        Sum of all components over the (eta, pT) plane divided by the number
        of generated events. All components count: each of them changes the
        acceptance, only their sum is the number of events.

    Raises
    ------
    TemplateError
        If the channel does not say what it was generated with.
    """
    if channel.generated is None:
        msg = f"channel {channel.name!r} has no generated cross sections."
        raise TemplateError(msg)
    selected = np.zeros_like(channel.generated.sigma)
    for process in channel.processes.values():
        if process.role == "signal" and process.cell is not None:
            selected[process.cell] += process.nominal.sum()
    return selected / (channel.generated.sigma * luminosity * INVERSE_FB_IN_INVERSE_PB)


def plot_templates(
    channel: Channel, cell: tuple[int, int], *, label: SampleLabel
) -> Figure:
    """Draw the templates of all components of one cell in the (eta, pT) plane.

    Parameters
    ----------
    channel : Channel
        Templates of one charge.
    cell : tuple of int
        Indices (iabsy, iqt).
    label : SampleLabel
        Text above the figure.

    Raises
    ------
    TemplateError
        If the channel has no signal in this cell.
    """
    components = cell_processes(channel, cell)
    rows = -(-len(components) // 3)
    with styled():
        figure = new_figure(12.0, 3.9 * rows + 0.4, left=0.7, right=0.1, top=0.8)
        spacing = {"wspace": 0.25, "hspace": 0.35}
        axes = figure.subplots(rows, 3, squeeze=False, gridspec_kw=spacing)
        for ax, (component, process) in zip(
            axes.flat, components.items(), strict=False
        ):
            # Symmetric about zero, so that white means no events.
            limit = float(np.abs(process.nominal).max())
            mesh = ax.pcolormesh(
                channel.eta_edges,
                channel.pt_edges,
                process.nominal.T,
                cmap="RdBu_r",
                vmin=-limit,
                vmax=limit,
                rasterized=True,  # thousands of bins are slow as vectors
            )
            figure.colorbar(mesh, ax=ax)
            name = COMPONENT_LABELS[component]
            events = round(process.nominal.sum()) + 0  # no "-0"
            ax.set_title(f"{name}: {events:,} events", loc="right", fontsize=12)
            ax.set_xlabel(channel.axes()[0].label)
            ax.set_ylabel(channel.axes()[1].label)
        for ax in axes.flat[len(components) :]:
            ax.set_visible(False)
        figure.suptitle(
            f"{label.experiment} {label.status}: {channel_label(channel.name)}, "
            f"{_cell_text(channel, cell)}, {label.luminosity_text}",
            fontsize=14,
            y=0.985,
        )
    return figure


def plot_acceptance(
    channel: Channel, luminosity: float, *, label: SampleLabel
) -> Figure:
    """Draw the selected fraction of the generated bosons per (qT, |Y|) cell.

    Raises
    ------
    TemplateError
        If the channel does not say what it was generated with.
    """
    fraction = acceptance(channel, luminosity)
    generated = channel.generated
    assert generated is not None  # `acceptance` has refused that
    with styled():
        figure = new_figure()
        ax = figure.subplots()
        mesh = ax.pcolormesh(
            generated.qt_edges, generated.absy_edges, fraction, cmap="viridis"
        )
        figure.colorbar(
            mesh, ax=ax, label=f"{channel_label(channel.name)}, selected / generated"
        )
        for (iabsy, iqt), value in np.ndenumerate(fraction):
            ax.text(
                generated.qt_edges[iqt : iqt + 2].mean(),
                generated.absy_edges[iabsy : iabsy + 2].mean(),
                f"{value:.2f}",
                fontsize=10 if fraction.size <= 20 else 7,
                ha="center",
                va="center",
                color="white" if value < fraction.mean() else "black",
            )
        ax.set_xlabel(r"$q_T^W$ [GeV]")
        ax.set_ylabel(r"$|Y_W|$")
        add_label(ax, label)
    return figure


def _cell_text(channel: Channel, cell: tuple[int, int]) -> str:
    """Return the ranges of a cell, or its indices if the edges are not known."""
    if channel.generated is None:
        return f"cell {cell}"
    absy, qt = channel.generated.absy_edges, channel.generated.qt_edges
    iabsy, iqt = cell
    return (
        rf"${absy[iabsy]:g}<|Y|<{absy[iabsy + 1]:g}$, "
        rf"${qt[iqt]:g}<q_T<{qt[iqt + 1]:g}$ GeV"
    )
