"""Results of the fit: spectra, yields, pulls, nuisances, correlations and m_W.

The functions take arrays, so that a result from anywhere can be drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import norm

from wprops.fit.uncertainties import Yields
from wprops.plots.distributions import AxisName, draw_ratio, draw_stack, project
from wprops.plots.style import (
    COMPONENT_LABELS,
    SampleLabel,
    add_label,
    channel_label,
    new_figure,
    styled,
)
from wprops.store import Channel

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measured:
    """A measured quantity in all (|Y|, qT) cells.

    Attributes
    ----------
    values, errors : ndarray, shape (n_y, n_qt)
        Result and its uncertainty.
    expected : ndarray, shape (n_y, n_qt)
        Truth of pseudo-data, or the simulation for data.
    """

    values: Array
    errors: Array
    expected: Array

    @property
    def pulls(self) -> Array:
        """Differences from the expectation in units of the error, (n_y, n_qt)."""
        return (self.values - self.expected) / self.errors


def plot_spectra(
    channel: str,
    measured: Mapping[str, Measured],
    qt_edges: Array,
    absy_edges: Array,
    *,
    reference: str,
    label: SampleLabel,
) -> Figure:
    """Draw cross section and coefficients in all cells, with pulls below.

    Parameters
    ----------
    channel : str
        Name of the channel.
    measured : mapping of str to Measured
        By ``"UL"`` (cross section [pb]) and ``"A0"``, ``"A1"``, ….
    qt_edges, absy_edges : ndarray, shape (n_qt + 1,), (n_y + 1,)
        Edges of the cells; cells are drawn by |Y| and, inside, by qT.
    reference : str
        What the expectation is: ``"truth"`` or ``"simulation"``.
    label : SampleLabel
        Text above the figure.
    """
    rows = -(-len(measured) // 2)
    with styled():
        figure = new_figure(13.0, 3.6 * rows + 0.6)
        axes = figure.subplots(
            2 * rows,
            2,
            sharex=True,
            squeeze=False,
            gridspec_kw={"height_ratios": [2.2, 1] * rows, "hspace": 0.12},
        )
        for index, (name, quantity) in enumerate(measured.items()):
            row, column = divmod(index, 2)
            _draw_cells(axes[2 * row, column], name, quantity, reference, absy_edges)
            _draw_cell_pulls(axes[2 * row + 1, column], quantity)
        for ax in axes[2 * (len(measured) // 2) :, 1] if len(measured) % 2 else ():
            ax.set_visible(False)
        n_qt = len(qt_edges) - 1
        for ax in axes[-1]:
            ax.set_xlabel(rf"cell: $|Y|$ blocks of {n_qt} $q_T$ bins")
            ax.set_xlim(0, n_qt * (len(absy_edges) - 1))
            ax.set_xticks(np.arange(0, n_qt * len(absy_edges), n_qt))
        figure.suptitle(
            f"{label.experiment} {label.status}: {channel_label(channel)}, "
            f"{label.luminosity_text}",
            fontsize=14,
            y=0.99,
        )
    return figure


def _draw_cells(
    ax: Axes, name: str, quantity: Measured, reference: str, absy_edges: Array
) -> None:
    n_y, n_qt = quantity.values.shape
    centres = np.arange(n_y * n_qt) + 0.5
    ax.stairs(
        quantity.expected.ravel(),
        np.arange(n_y * n_qt + 1.0),
        baseline=None,
        color="#bd1f01",
        linewidth=1.4,
        label=reference,
    )
    ax.errorbar(
        centres,
        quantity.values.ravel(),
        yerr=quantity.errors.ravel(),
        fmt="o",
        color="black",
        markersize=3.5,
        linewidth=1,
        label="fit",
    )
    for iabsy in range(1, n_y):
        ax.axvline(iabsy * n_qt, color="grey", linewidth=0.6, linestyle=":")
    for iabsy in range(n_y):
        ax.text(
            (iabsy + 0.03) / n_y,
            0.03,
            rf"$|Y|\in[{absy_edges[iabsy]:g},{absy_edges[iabsy + 1]:g}]$",
            transform=ax.transAxes,
            fontsize=9,
        )
    unit = " [pb]" if name == "UL" else ""
    ax.set_ylabel(COMPONENT_LABELS[name] + unit)
    ax.legend(loc="upper right", ncols=2, fontsize=10)
    ax.margins(y=0.25)


def _draw_cell_pulls(ax: Axes, quantity: Measured) -> None:
    pulls = quantity.pulls.ravel()
    ax.axhspan(-1, 1, color="#ffa90e", alpha=0.3)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.plot(np.arange(len(pulls)) + 0.5, pulls, "o", color="black", markersize=3.5)
    limit = max(3.0, 1.1 * float(np.abs(pulls).max()))
    ax.set_ylim(-limit, limit)
    ax.set_ylabel("pull", loc="center")


def plot_yields(
    channel: Channel, yields: Yields, axis: AxisName, *, label: SampleLabel
) -> Figure:
    """Draw data and prediction with the uncertainty of the fit, or from before it.

    Parameters
    ----------
    channel : Channel
        Templates and data: as they are, or after the fit (`Postfit.applied_to`).
    yields : Yields
        Prediction of the same time, with errors.
    axis : {"eta", "pt"}
        The axis to show; the other one is summed over.
    label : SampleLabel
        Text above the figure.
    """
    errors, summed = (yields.eta_errors, 1) if axis == "eta" else (yields.pt_errors, 0)
    shown = replace(
        project(channel, axis),
        variance=errors**2 + (yields.noise**2).sum(axis=summed),
        band="uncertainty",
    )
    with styled():
        figure = new_figure()
        main, ratio = figure.subplots(
            2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1], "hspace": 0.06}
        )
        draw_stack(main, shown)
        draw_ratio(ratio, shown)
        main.legend(title=channel_label(channel.name), ncols=2, loc="upper right")
        ratio.set_xlabel(shown.label)
        ratio.set_xlim(shown.edges[0], shown.edges[-1])
        add_label(main, label)
    return figure


def plot_pulls(pulls: Array, *, title: str, label: SampleLabel) -> Figure:
    """Draw the distribution of pulls and what a unit normal would give.

    Parameters
    ----------
    pulls : ndarray, shape (n,)
        Differences from the truth in units of the error.
    title : str
        What was compared.
    label : SampleLabel
        Text above the figure.
    """
    limit = max(4.0, float(np.ceil(np.abs(pulls).max())))
    edges = np.linspace(-limit, limit, int(4 * limit) + 1)
    counts, _ = np.histogram(pulls, edges)
    expected = len(pulls) * np.diff(norm.cdf(edges))
    with styled():
        figure = new_figure()
        ax = figure.subplots()
        ax.stairs(counts, edges, fill=True, color="#3f90da", label="fit")
        ax.stairs(expected, edges, color="black", linewidth=1.4, label="N(0, 1)")
        text = (
            f"{len(pulls)} parameters\nmean {pulls.mean():.2f}\n"
            f"RMS {np.sqrt(np.mean(pulls**2)):.2f}"
        )
        ax.legend(title=f"{title}\n{text}", loc="upper right", fontsize=11)
        ax.set_xlim(-limit, limit)
        ax.set_ylim(0, 1.5 * max(counts.max(), expected.max()))
        ax.set_xlabel("(fit − truth) / error")
        ax.set_ylabel("Parameters / bin")
        add_label(ax, label)
    return figure


def plot_nuisances(
    names: Sequence[str], values: Array, errors: Array, *, label: SampleLabel
) -> Figure:
    """Draw pulls and constraints of nuisance parameters in prior units.

    Parameters
    ----------
    names : sequence of str, length n
        Names of the parameters.
    values, errors : ndarray, shape (n,)
        Fitted values and errors, where 0 ± 1 is the prior.
    label : SampleLabel
        Text above the figure.
    """
    n = len(names)
    with styled():
        figure = new_figure(7.0, 1.2 + 0.24 * n, left=1.6)
        ax = figure.subplots()
        position = np.arange(n)[::-1]
        ax.axvspan(-1, 1, color="#94a4a2", alpha=0.3, label="prior")
        ax.axvline(0, color="black", linewidth=0.8)
        ax.errorbar(values, position, xerr=errors, fmt="o", color="black", markersize=4)
        ax.set_yticks(position, names, fontsize=9)
        ax.set_ylim(-0.7, n - 0.3)
        limit = max(1.6, 1.1 * float((np.abs(values) + errors).max(initial=0)))
        ax.set_xlim(-limit, limit)
        ax.set_xlabel("fitted value and error, prior 0 ± 1")
        add_label(ax, label)
    return figure


def plot_correlation(
    names: Sequence[str], correlation: Array, *, label: SampleLabel
) -> Figure:
    """Draw a correlation matrix; names are left out when there are too many.

    Parameters
    ----------
    names : sequence of str, length n
        Names of the parameters.
    correlation : ndarray, shape (n, n)
        Coefficients from -1 to 1.
    label : SampleLabel
        Text above the figure.
    """
    with styled():
        figure = new_figure(8.0, 7.0, left=1.4, bottom=1.4, right=0.4)
        ax = figure.subplots()
        image = ax.imshow(correlation, cmap="RdBu_r", vmin=-1, vmax=1)
        figure.colorbar(image, ax=ax, label="correlation", shrink=0.85)
        if len(names) <= 40:
            ax.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
            ax.set_yticks(range(len(names)), names, fontsize=7)
        else:
            ax.set_xlabel("parameter")
            ax.set_ylabel("parameter")
        add_label(ax, label)
    return figure


def plot_mass(
    rows: Mapping[str, tuple[float, float]], *, truth: float | None, label: SampleLabel
) -> Figure:
    """Draw values of m_W, one row each.

    Parameters
    ----------
    rows : mapping of str to (value, error)
        Masses and errors [GeV] by name; an error of zero is not drawn.
    truth : float, optional
        Mass of the pseudo-data [GeV].
    label : SampleLabel
        Text above the figure.
    """
    with styled():
        figure = new_figure(7.0, 1.6 + 0.6 * len(rows), left=1.3)
        ax = figure.subplots()
        for position, (value, error) in enumerate(rows.values()):
            ax.errorbar(value, position, xerr=error or None, fmt="o", color="black")
            text = f"{value:.3f}" + (f" ± {error:.3f}" if error else "")
            ax.annotate(
                text, (value, position), (0, 7), textcoords="offset points", ha="center"
            )
        if truth is not None:
            ax.axvline(truth, color="#bd1f01", label=f"truth {truth:.3f} GeV")
            ax.legend(loc="upper right", fontsize=11)
        ax.set_yticks(range(len(rows)), list(rows))
        ax.set_ylim(len(rows) - 0.4, -1.3)  # the first row on top
        ax.margins(x=0.25)
        ax.set_xlabel(r"$m_W$ [GeV]")
        ax.ticklabel_format(axis="x", useOffset=False)
        add_label(ax, label)
    return figure
