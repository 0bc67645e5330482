"""Errors and responses against the size of the simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from wprops.axes import COMPONENTS
from wprops.fit.derived import MASS_NAME
from wprops.fit.gate import METHODS
from wprops.fit.growth import Growth
from wprops.plots.style import (
    COMPONENT_LABELS,
    SampleLabel,
    add_label,
    new_figure,
    styled,
)

Array = NDArray[np.float64]
#: Colours and widths of the three fits; what coincides is seen below the next.
_COLOURS = ("#3f90da", "#ffa90e", "#bd1f01")
_WIDTHS = (3.0, 3.0, 1.3)
_Line = Literal["-", "--"]
_LINES: tuple[_Line, _Line] = ("-", "--")
#: Size of the simulation at hand.
_HERE = 1.0


def is_known(grown: Growth) -> bool:
    """Whether this simulation tells its own effect, and the errors without it."""
    needed = (grown.factors == _HERE) | np.isinf(grown.factors)
    return bool(np.isfinite(grown.corrected[needed]).all())


def representatives(grown: Growth) -> dict[str, tuple[str, ...]]:
    """Choose what a figure can show: m_W, and of cross sections and A_i two each.

    Where nothing of these was measured it is two of all numbers.

    Parameters
    ----------
    grown : Growth
        Growth of all quoted numbers, known (`is_known`).

    Returns
    -------
    dict of str to tuple of str
        By label of the family: the number of median slope and the weakest one, of the
        smallest slope, both at the size at hand; one name where they are the same.
    """
    slopes = grown.slopes[grown.factors == _HERE][0]
    families: dict[str, list[int]] = {}
    for index, name in enumerate(grown.names):
        _, _, rest = name.partition("/")
        quantity, _, cell = rest.partition("/")
        if name == MASS_NAME:
            families.setdefault("$m_W$", []).append(index)
        elif cell and quantity in COMPONENTS[1:]:
            families.setdefault("$A_i$", []).append(index)
        elif cell and quantity == "sigma":
            families.setdefault(COMPONENT_LABELS["UL"], []).append(index)
    families = families or {"strengths": list(range(len(grown.names)))}
    chosen = {}
    for family, members in families.items():
        ordered = sorted(members, key=slopes.__getitem__)
        shown = dict.fromkeys((ordered[len(ordered) // 2], ordered[0]))
        chosen[family] = tuple(grown.names[i] for i in shown)
    return chosen


def plot_growth(
    grown: Growth, families: Mapping[str, Sequence[str]], *, label: SampleLabel
) -> Figure:
    """Draw errors, and the response of the fit, against the size of the simulation.

    Parameters
    ----------
    grown : Growth
        Growth of all quoted numbers, known (`is_known`).
    families : mapping of str to sequence of str
        What each column shows, by its title: one name or two, such as
        `representatives` finds.
    label : SampleLabel
        Text above the figure.
    """
    n = len(families)
    with styled():
        figure = new_figure(1.3 + 3.4 * n, 6.6, left=0.9)
        axes = figure.subplots(
            2,
            n,
            sharex=True,
            sharey="row",
            squeeze=False,
            gridspec_kw={"height_ratios": [1.6, 1], "hspace": 0.08, "wspace": 0.06},
        )
        for column, (title, names) in enumerate(families.items()):
            errors, slopes = axes[:, column]
            lines = [
                _draw_number(errors, slopes, grown, grown.names.index(name), line)
                for name, line in zip(names, _LINES, strict=False)
            ]
            handles = lines + (_methods() if column == 0 else [])
            errors.legend(handles=handles, title=title, loc="upper right", fontsize=9)
            for ax in (errors, slopes):
                ax.axvline(_HERE, color="grey", linewidth=0.8, linestyle=":")
        _finish(axes.tolist())
        add_label(axes[0, 0], label)
        if n > 1:  # the luminosity stands at the right end of the figure
            axes[0, 0].set_title("", loc="right")
            axes[0, -1].set_title(label.luminosity_text, loc="right", fontsize=12)
    return figure


def _draw_number(
    errors: Axes, slopes: Axes, grown: Growth, index: int, line: _Line
) -> Line2D:
    """Draw one number in units of its error without noise, and name it."""
    finite = np.isfinite(grown.factors)
    sizes = grown.factors[finite]
    limit = grown.corrected[~finite, index][-1]
    tables = grown.naive, grown.barlow_beeston, grown.corrected
    for table, colour, width in zip(tables, _COLOURS, _WIDTHS, strict=True):
        errors.plot(
            sizes,
            table[finite, index] / limit,
            color=colour,
            linestyle=line,
            linewidth=width,
            marker="o",
            markersize=3,
        )
    slopes.plot(
        sizes,
        grown.slopes[finite, index],
        color="black",
        linestyle=line,
        marker="o",
        markersize=3,
    )
    unit = f" {grown.units[index]}" if grown.units[index] else ""
    text = f"{grown.names[index]}: ± {limit:.3g}{unit} at ∞"
    return Line2D([], [], color="black", linestyle=line, label=text)


def _methods() -> list[Line2D]:
    return [
        Line2D([], [], color=colour, marker="o", markersize=3, label=method)
        for colour, method in zip(_COLOURS, METHODS, strict=True)
    ]


def _finish(axes: list[list[Axes]]) -> None:
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    for ax in (ax for row in axes for ax in row):
        ax.axhline(1, color="black", linewidth=0.8)
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(plain)
        ax.xaxis.set_minor_locator(NullLocator())
    top, bottom = axes[0][0], axes[1][0]
    top.set_yscale("log")
    low, high = top.get_ylim()
    top.set_ylim(low, high * (high / low) ** 0.35)  # room for a legend
    top.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    top.yaxis.set_major_formatter(plain)
    top.yaxis.set_minor_locator(NullLocator())
    top.set_ylabel("error / error at ∞")
    lowest = min(ax.dataLim.y0 for ax in axes[1])
    bottom.set_ylim(min(0.0, lowest), 1.05)
    bottom.set_ylabel("slope")
    axes[1][-1].set_xlabel("simulation / that of this fit")
