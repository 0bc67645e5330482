"""The fake and the prompt rate over eta and against pT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wprops.backgrounds.counts import CHARGES, Regions
from wprops.backgrounds.multijet import Multijet
from wprops.backgrounds.quasi_likelihood import Split, profile
from wprops.backgrounds.rate_fit import RateFit
from wprops.backgrounds.rates import fake_split, prompt_split
from wprops.plots.style import SampleLabel, add_label, new_figure, styled

Array = NDArray[np.float64]

#: Label and colour of each charge.
CHARGE_STYLES = {1: (r"$\mu^+$", "#bd1f01"), -1: (r"$\mu^-$", "#3f90da")}
RATE_LABELS = {"fake": "fake rate f", "prompt": "prompt rate p"}
#: Units of parameters that have one.
UNITS = {"slope": " [1/GeV]", "B": " [1/GeV]"}


def plot_rate_parameters(
    regions: Regions, multijet: Multijet, *, label: SampleLabel
) -> Figure:
    """Draw the parameters and p-values of both rates over eta, both charges.

    Parameters
    ----------
    regions : Regions
        The counts, for their edges.
    multijet : Multijet
        The estimate.
    label : SampleLabel
        Text above the figure.
    """
    fits = {"fake": multijet.rates.fake, "prompt": multijet.rates.prompt}
    columns = 1 + max(len(fit.curve.parameters) for fit in fits.values())
    with styled():
        figure = new_figure(4.2 * columns, 7.6, left=0.85, bottom=0.6, top=0.5)
        spacing = {"wspace": 0.3, "hspace": 0.12}
        axes = figure.subplots(
            2, columns, sharex=True, squeeze=False, gridspec_kw=spacing
        )
        for row, (name, fit) in zip(axes, fits.items(), strict=True):
            _draw_parameters(row, regions.eta_edges, name, fit)
        for ax in axes[-1]:
            ax.set_xlabel(r"$\eta^\mu$")
        axes[0, 0].legend(loc="upper center", ncols=2)
        add_label(axes[0, 0], replace(label, luminosity=None))
        axes[0, 0].set_title("", loc="right")
        last = axes[0, len(fits["fake"].curve.parameters)]
        last.set_title(label.luminosity_text, loc="right", fontsize=12)
    return figure


def _draw_parameters(
    row: Sequence[Axes], edges: Array, name: str, fit: RateFit
) -> None:
    centres, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    errors = np.sqrt(np.diagonal(fit.covariance, axis1=-2, axis2=-1))
    p_values = fit.p_value()
    n = len(fit.curve.parameters)
    for index, charge in enumerate(CHARGES):
        text, colour = CHARGE_STYLES[charge]
        for k, parameter in enumerate(fit.curve.parameters):
            row[k].errorbar(
                centres,
                fit.parameters[index, :, k],
                xerr=half,
                yerr=errors[index, :, k],
                label=text,
                fmt="o",
                markersize=3.0,
                linewidth=1.0,
                color=colour,
            )
            unit = UNITS.get(parameter, "")
            row[k].set_ylabel(f"{RATE_LABELS[name]}: {parameter}{unit}")
        row[n].plot(centres, p_values[index], "o", color=colour, markersize=4.0)
    # Room for the legend.
    low, high = row[0].get_ylim()
    row[0].set_ylim(low, high + 0.2 * (high - low))
    row[n].set_ylim(-0.03, 1.03)
    row[n].set_ylabel(f"{RATE_LABELS[name]}: p-value of the fit")
    for ax in row[n + 1 :]:
        ax.set_visible(False)


def plot_rates(
    regions: Regions,
    multijet: Multijet,
    eta_bins: Sequence[int],
    *,
    label: SampleLabel,
) -> Figure:
    """Draw both rates against pT with the band of their fits, in chosen eta bins.

    A point is the fitted rate plus u/T and its error √V/T, which are what the fit
    minimises: see `wprops.backgrounds.quasi_likelihood`.

    Parameters
    ----------
    regions : Regions
        The counts.
    multijet : Multijet
        The estimate.
    eta_bins : sequence of int
        Bins to show, one column each.
    label : SampleLabel
        Text above the figure.
    """
    splits = {"fake": fake_split(regions), "prompt": prompt_split(regions)}
    with styled():
        figure = new_figure(
            4.2 * len(eta_bins) + 0.6, 7.6, left=0.9, bottom=0.6, top=0.5
        )
        spacing = {"wspace": 0.08, "hspace": 0.1}
        axes = figure.subplots(
            2,
            len(eta_bins),
            sharex=True,
            sharey="row",
            squeeze=False,
            gridspec_kw=spacing,
        )
        for row, (name, split) in zip(axes, splits.items(), strict=True):
            fit = getattr(multijet.rates, name)
            for ax, eta in zip(row, eta_bins, strict=True):
                for index, charge in enumerate(CHARGES):
                    _draw_rate(ax, fit, split, (index, eta), charge)
            row[0].set_ylabel(RATE_LABELS[name])
            row[0].set_ylim(*_rate_range(fit, eta_bins))
        edges = regions.eta_edges
        for ax, eta in zip(axes[0], eta_bins, strict=True):
            text = rf"${edges[eta]:g} < \eta < {edges[eta + 1]:g}$"
            ax.text(0.05, 0.92, text, transform=ax.transAxes)
        for ax in axes[-1]:
            ax.set_xlabel(r"$p_T^\mu$ [GeV]")
            ax.set_xlim(regions.pt_edges[0], regions.pt_edges[-1])
        axes[1, 0].legend(loc="lower right")
        add_label(axes[0, 0], replace(label, luminosity=None))
        axes[0, 0].set_title("", loc="right")
        axes[0, -1].set_title(label.luminosity_text, loc="right", fontsize=12)
    return figure


def _draw_rate(
    ax: Axes, fit: RateFit, split: Split, place: tuple[int, int], charge: int
) -> None:
    text, colour = CHARGE_STYLES[charge]
    rate = fit.rates()[place]
    covariance = fit.covariance[place]
    jacobian = fit.curve.jacobian(fit.pt, fit.parameters[place])
    error = np.sqrt(np.einsum("bk,kl,bl->b", jacobian, covariance, jacobian))
    ax.fill_between(
        fit.pt, rate - error, rate + error, color=colour, alpha=0.25, linewidth=0
    )
    ax.plot(fit.pt, rate, color=colour, linewidth=1.2)
    bins = profile(split, fit.rates())
    total, residual, variance = (part[place] for part in bins)
    filled = total > 0
    # Side by side, so that the errors of both charges can be told apart.
    shift = 0.08 * charge * np.diff(fit.pt)[0] if len(fit.pt) > 1 else 0.0
    ax.errorbar(
        fit.pt[filled] + shift,
        (rate + np.divide(residual, total, where=filled, out=np.zeros_like(rate)))[
            filled
        ],
        yerr=np.sqrt(variance[filled]) / total[filled],
        fmt="o",
        markersize=2.5,
        linewidth=0.8,
        color=colour,
        label=text,
    )


def _rate_range(fit: RateFit, eta_bins: Sequence[int]) -> tuple[float, float]:
    """Range of the axis by the curves; points with few muons may lie outside."""
    rates = fit.rates()[:, list(eta_bins)]
    low, high = float(rates.min()), float(rates.max())
    room = max(0.6 * (high - low), 0.02)
    return low - room, high + room
