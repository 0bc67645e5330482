"""The multijet template, and data beside the prediction with it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wprops.backgrounds.classes import ANTI_ISOLATED, ISOLATED, require_sidebands
from wprops.backgrounds.counts import CHARGES
from wprops.backgrounds.multijet import Multijet
from wprops.backgrounds.prefit import systematic_variance
from wprops.channels import Channel, Process
from wprops.plots.distributions import (
    Projection,
    draw_band,
    draw_ratio,
    draw_stack,
    project,
)
from wprops.plots.style import (
    PROCESSES,
    SampleLabel,
    add_label,
    channel_label,
    new_figure,
    styled,
)
from wprops.store import TemplateSet
from wprops.systematics.catalog import MULTIJET, SIGNAL

Array = NDArray[np.float64]

CLASS_LABELS = {ISOLATED: "isolated", ANTI_ISOLATED: "anti-isolated"}


def plot_unrolled(
    templates: TemplateSet, channel: Channel, *, label: SampleLabel
) -> Figure:
    """Draw all bins in a row: data, prediction and multijet with their uncertainty.

    Bins of pT follow each other inside of those of eta. The lower part is data over
    prediction; the error of a point is the spread of its neighbours.

    Parameters
    ----------
    templates : TemplateSet
        Gives the systematics.
    channel : Channel
        With multijet.
    label : SampleLabel
        Text above the figure.

    Raises
    ------
    TemplateError
        If the channel has no multijet.
    """
    multijet = channel.process(MULTIJET)
    total, variance = (array.ravel() for array in channel.total())
    error = np.sqrt(
        variance + systematic_variance(templates.systematics, channel).ravel()
    )
    alone = replace(channel, processes={MULTIJET: multijet}, shared=())
    own = multijet.variance + systematic_variance(templates.systematics, alone)
    edges = np.arange(total.size + 1) / channel.shape[1]
    with styled():
        figure = new_figure(15.0, 6.4, left=0.9, bottom=0.65)
        main, ratio = figure.subplots(
            2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1], "hspace": 0.06}
        )
        draw_band(main, edges, total, error, "stat. and syst.")
        main.stairs(total, edges, color="black", linewidth=0.6, label="Prediction")
        text, _ = PROCESSES[MULTIJET]
        _draw_steps(main, edges, multijet.nominal.ravel(), np.sqrt(own).ravel(), text)
        prompt = total - multijet.nominal.ravel()
        main.stairs(prompt, edges, color="#3f90da", linewidth=0.6, label="Prompt muons")
        if channel.data is not None:
            data = channel.data.ravel()
            style = {"color": "black", "markersize": 1.5, "linestyle": "none"}
            centres = (edges[1:] + edges[:-1]) / 2
            main.plot(centres, data, "o", label="Data", **style)
            shown = total > 0
            ratio.plot(centres[shown], data[shown] / total[shown], "o", **style)
        relative = np.divide(error, total, out=np.zeros_like(error), where=total > 0)
        draw_band(ratio, edges, np.ones_like(relative), relative, "")
        ratio.axhline(1.0, color="black", linewidth=0.6)
        spread = max(0.05, 3 * float(np.median(relative)) + 3 / np.sqrt(total.mean()))
        ratio.set_ylim(1 - spread, 1 + spread)
        ratio.set_ylabel("Data / pred.")
        _mark_eta(main, ratio, channel)
        for artist in (*main.patches, *main.lines, *ratio.patches, *ratio.lines):
            artist.set_rasterized(True)  # thousands of bins are slow as vectors
        main.set_yscale("log")
        floor = max(float(np.percentile(multijet.nominal, 10)) / 3, 0.1)
        main.set_ylim(floor, 20 * float(total.max()))
        main.set_ylabel("Events / bin")
        main.legend(title=channel_label(channel.name), ncols=5, loc="upper right")
        add_label(main, label)
    return figure


def _draw_steps(
    ax: Axes, edges: Array, values: Array, errors: Array, text: str
) -> None:
    colour = "#e76300"  # grey, the colour of multijet in stacks, is that of the band
    ax.stairs(
        values + errors,
        edges,
        baseline=values - errors,
        fill=True,
        facecolor=colour,
        alpha=0.35,
    )
    ax.stairs(values, edges, color=colour, linewidth=0.8, label=text)


def _mark_eta(main: Axes, ratio: Axes, channel: Channel) -> None:
    n = channel.shape[0]
    for ax in (main, ratio):
        ax.set_xlim(0, n)
        for k in range(1, n):
            ax.axvline(k, color="black", linewidth=0.3, alpha=0.3)
    step = -(-n // 12)
    ratio.set_xticks(
        np.arange(0, n + 1, step), [f"{edge:g}" for edge in channel.eta_edges[::step]]
    )
    low, high = channel.pt_edges[0], channel.pt_edges[-1]
    ratio.set_xlabel(rf"$\eta^\mu$, in each bin $p_T^\mu$ from {low:g} to {high:g} GeV")


def plot_classes(
    templates: TemplateSet, channel: Channel, multijet: Multijet, *, label: SampleLabel
) -> Figure:
    """Draw data and prediction in slices of mT, isolated and anti-isolated.

    Anti-isolated multijet is what the data leave beside the simulation, so there is
    nothing to compare; isolated it is that times f/(1 − f), with the fake rate of the
    sideband.

    Parameters
    ----------
    templates : TemplateSet
        With sidebands.
    channel : Channel
        The channel of a charge.
    multijet : Multijet
        The estimate.
    label : SampleLabel
        Text above the figure.

    Raises
    ------
    TemplateError
        If there are no sidebands.
    """
    with styled():
        figure = new_figure(12.6, 6.4, left=0.95)
        grid = {"height_ratios": [3, 1], "hspace": 0.06, "wspace": 0.24}
        axes = figure.subplots(2, 2, sharex=True, gridspec_kw=grid)
        for (main, ratio), isolation in zip(axes.T, CLASS_LABELS, strict=True):
            shown = project_classes(templates, channel, multijet, isolation)
            draw_stack(main, shown)
            draw_ratio(ratio, shown)
            title = f"{channel_label(channel.name)}, {CLASS_LABELS[isolation]}"
            main.legend(title=title, ncols=2, loc="upper left")
            main.set_ylabel("Events / slice")
            ratio.set_xlabel(shown.label)
            ratio.set_xlim(shown.edges[0], shown.edges[-1])
            ratio.set_xticks(shown.edges[:-1] + 0.5, _slice_names(templates))
            add_label(main, label)
        axes[1, 1].text(
            0.5,
            0.1,
            "equal by construction",
            transform=axes[1, 1].transAxes,
            ha="center",
        )
    return figure


def project_classes(
    templates: TemplateSet, channel: Channel, multijet: Multijet, isolation: int
) -> Projection:
    """Count the muons of a charge and an isolation class in slices of mT.

    Parameters
    ----------
    templates : TemplateSet
        With sidebands.
    channel : Channel
        The channel of a charge.
    multijet : Multijet
        The estimate, of which the fake rate is used.
    isolation : int
        0 for isolated, 1 for anti-isolated muons.

    Returns
    -------
    Projection
        Slices are numbered; the variance has the systematics of the prompt processes.
    """
    sidebands = require_sidebands(templates)
    charge = CHARGES.index(channel.charge)

    def slices(counts: Array, chosen: int = isolation) -> Array:
        return np.moveaxis(counts[chosen, :, charge], 0, 1)  # (eta, mT, pT)

    signal = next(p.name for p in channel.processes.values() if p.role == "signal")
    processes = {}
    for name, found in sidebands.processes.items():
        # Systematics name the signal processes of the file, which are one here.
        known = signal if name == SIGNAL else name
        processes[known] = Process(
            name=known,
            role="signal" if name == SIGNAL else "background",
            nominal=slices(found.nominal).sum(axis=-1),
            variance=slices(found.variance).sum(axis=-1),
            variations={
                label: slices(values).sum(axis=-1)
                for label, values in found.variations.items()
            },
        )
    fake = multijet.rates.fake.rates()[charge][:, None, :]
    factor = fake / (1 - fake) if isolation == ISOLATED else np.ones_like(fake)
    data = slices(sidebands.data, ANTI_ISOLATED)
    prompt = sum(slices(p.nominal, ANTI_ISOLATED) for p in sidebands.processes.values())
    own = factor**2 * data if isolation == ISOLATED else np.zeros_like(data)
    processes[MULTIJET] = Process(
        name=MULTIJET,
        role="background",
        nominal=np.sum(factor * (data - prompt), axis=-1),
        variance=own.sum(axis=-1),
    )
    classes = replace(
        channel,
        pt_edges=np.arange(len(sidebands.mt_edges), dtype=float),
        processes=processes,
        shared=(),
        generated=None,
        data=slices(sidebands.data).sum(axis=-1),
    )
    records = [
        replace(record, processes=record.processes - {MULTIJET})
        for record in templates.systematics
    ]
    return replace(project(classes, "pt", records), label="$m_T$ [GeV]")


def _slice_names(templates: TemplateSet) -> list[str]:
    edges = require_sidebands(templates).mt_edges.tolist()
    return [
        f"{low:g}–{high:g}" if np.isfinite(high) else f"≥ {low:g}"
        for low, high in pairwise(edges)
    ]
