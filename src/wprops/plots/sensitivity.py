"""Expected errors of m_W against granularity, assumptions and simulation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from wprops.fit.gate import METHODS
from wprops.plots.style import SampleLabel, add_label, new_figure, styled
from wprops.study.sensitivity import EXACT, Row, Sensitivity

#: One colour per scenario, in the order of the table.
_COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
#: Colours of the fits with a simulation; the one without noise is black.
_FITS = dict(zip(METHODS, ("#3f90da", "#ffa90e", "#bd1f01"), strict=True))


def plot_sensitivity(
    found: Sensitivity,
    *,
    label: SampleLabel,
    channels: str | None = None,
    reference: float | None = None,
) -> Figure:
    """Draw statistical errors of m_W against the number of strengths.

    Templates without noise are at the left, a line per scenario. At the right are the
    fits with templates of a simulation, all free, where there is one. Open symbols
    stand for what is stated where the simulation determines nothing; the corrected fit
    has no result there.

    Parameters
    ----------
    found : Sensitivity
        The table.
    label : SampleLabel
        Text above the figure.
    channels : str, optional
        Which of the fits, such as ``"Wminus"``; the first channel when omitted.
    reference : float, optional
        An error of m_W to compare with, as a horizontal line [MeV].
    """
    first = found.rows[0]
    rows = found.select(
        channels=first.channels if channels is None else channels,
        response=first.response,
        backgrounds=first.backgrounds,
    )
    exact = [row for row in rows if row.fit == EXACT]
    noisy = [row for row in rows if row.scenario == exact[0].scenario]
    n_panels = 1 + (found.simulation is not None)
    with styled():
        figure = new_figure(1.3 + 4.9 * n_panels, 5.8, left=0.95, bottom=0.85)
        axes = figure.subplots(
            1, n_panels, sharey=True, squeeze=False, gridspec_kw={"wspace": 0.06}
        )[0]
        _draw_scenarios(axes[0], exact)
        if n_panels == 2:
            _draw_fits(axes[1], noisy, found.simulation)
        for ax in axes:
            _finish(ax, rows, reference)
        low, high = axes[0].get_ylim()
        axes[0].set_ylim(low, high * (high / low) ** 0.45)  # room for legends
        axes[0].set_ylabel(r"expected error of $m_W$ [MeV]")
        add_label(axes[0], label)
        if n_panels == 2:  # the luminosity stands at the right end of the figure
            axes[0].set_title("", loc="right")
            axes[1].set_title(label.luminosity_text, loc="right", fontsize=12)
    return figure


def _has_result(row: Row) -> bool:
    """Whether a fit states an error: the corrected one does not where it is refused."""
    return row.is_determined or row.fit != METHODS[-1]


def _draw_scenarios(ax: Axes, rows: Sequence[Row]) -> None:
    scenarios = dict.fromkeys(row.scenario for row in rows)
    for colour, scenario in zip(cycle(_COLOURS), scenarios, strict=False):
        chosen = [row for row in rows if row.scenario == scenario]
        _draw(ax, chosen, colour, scenario.replace("A_i", "$A_i$"))
    ax.legend(title="templates without noise", loc="upper left", ncols=2, fontsize=9)


def _draw_fits(ax: Axes, rows: Sequence[Row], simulation: float | None) -> None:
    _draw(ax, [row for row in rows if row.fit == EXACT], "black", EXACT)
    for fit, colour in _FITS.items():
        _draw(
            ax,
            [row for row in rows if row.fit == fit and _has_result(row)],
            colour,
            fit,
        )
    handles, _ = ax.get_legend_handles_labels()
    refused = Line2D(
        *([], []),
        color="grey",
        marker="o",
        markerfacecolor="white",
        linestyle="none",
        label="undetermined",
    )
    ax.legend(
        handles=[*handles, refused],
        title=f"simulation of {simulation:.2g} fb$^{{-1}}$, {rows[0].scenario}",
        loc="upper left",
        fontsize=9,
    )


def _draw(ax: Axes, rows: Sequence[Row], colour: str, text: str) -> None:
    rows = sorted(rows, key=lambda row: row.n_strengths)
    x = [row.n_strengths for row in rows]
    y = [row.mass for row in rows]
    ax.plot(x, y, color=colour, linewidth=1.5, marker="o", markersize=5, label=text)
    refused = [row for row in rows if not row.is_determined]
    ax.plot(
        [row.n_strengths for row in refused],
        [row.mass for row in refused],
        color=colour,
        marker="o",
        markersize=5,
        markerfacecolor="white",
        linestyle="none",
    )


def _finish(ax: Axes, rows: Sequence[Row], reference: float | None) -> None:
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    ax.set_xscale("log")
    ax.set_yscale("log")
    cells = {row.n_strengths: row.cells for row in rows}
    ax.set_xticks(
        list(cells), [f"{n}\n{text.replace('x', '×')}" for n, text in cells.items()]
    )
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(plain)
    ax.margins(x=0.08)
    if reference is not None:
        ax.axhline(reference, color="grey", linestyle="--", linewidth=1)
    ax.set_xlabel("strengths, bins in qT × |Y|")
