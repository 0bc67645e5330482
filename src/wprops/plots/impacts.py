"""Impacts of nuisance parameters, one by one and in groups."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from wprops.fit.impacts import PARTS, Impacts, signed_root
from wprops.plots.style import SampleLabel, add_label, new_figure, styled

Array = NDArray[np.float64]
Index = NDArray[np.int64]
#: Colours of impacts with and without the constraint of the data.
TRADITIONAL, GLOBAL = "#3f90da", "#bd1f01"
_ROW = 0.27  # inch
#: Part of the error from which on a parameter is the quantity itself.
_ALONE = 1 - 1e-9


def plot_impacts(
    impacts: Impacts,
    quantity: str,
    values: Array,
    errors: Array,
    *,
    label: SampleLabel,
    n: int = 20,
) -> Figure:
    """Draw the largest impacts on a quantity, with pulls beside them.

    A parameter that the quantity follows alone, such as that of m_W, is left out.

    Parameters
    ----------
    impacts : Impacts
        Impacts of a fit.
    quantity : str
        Parameter or derived quantity.
    values, errors : ndarray, shape (n_sources,)
        Fitted nuisance parameters and their errors.
    label : SampleLabel
        Text above the figure.
    n : int
        Number of parameters shown; the others are smaller in both impacts.

    Raises
    ------
    TemplateError
        If there are no impacts on the quantity.
    """
    row = impacts.index(quantity)
    tables = impacts.traditional[row], impacts.global_[row]
    shown = _largest(*tables, np.sqrt(impacts.total[row]))[:n]
    position = np.arange(len(shown))[::-1]
    with styled():
        figure = new_figure(9.0, 1.5 + _ROW * len(shown), left=2.2)
        pulls, bars = figure.subplots(
            1, 2, sharey=True, gridspec_kw={"width_ratios": [1, 1.6], "wspace": 0.06}
        )
        _draw_pulls(pulls, position, values[shown], errors[shown])
        pulls.set_yticks(position, [impacts.sources[i] for i in shown], fontsize=9)
        pulls.set_ylim(-2.4, len(shown) - 0.3)  # room for a legend
        _draw_bars(bars, position, *(table[shown] for table in tables))
        bars.tick_params(axis="y", length=0)
        bars.set_xlabel(f"impact on {_with_unit(quantity, impacts.units[row])}")
        add_label(bars, label)
    return figure


def has_impacts(impacts: Impacts, quantity: str) -> bool:
    """Whether a parameter has an impact on a quantity that it is not itself.

    Raises
    ------
    TemplateError
        If there are no impacts on the quantity.
    """
    row = impacts.index(quantity)
    tables = impacts.traditional[row], impacts.global_[row]
    others = _largest(*tables, np.sqrt(impacts.total[row]))
    return any(bool(table[others].any()) for table in tables)


def _largest(traditional: Array, global_: Array, total: float) -> Index:
    """Order what is not the quantity itself from the largest to the smallest."""
    size = np.maximum(abs(traditional), abs(global_))
    order = np.argsort(-size, kind="stable")
    return order[abs(traditional[order]) < _ALONE * total]


def _draw_pulls(ax: Axes, position: Index, values: Array, errors: Array) -> None:
    ax.axvspan(-1, 1, color="#94a4a2", alpha=0.3)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.errorbar(values, position, xerr=errors, fmt="o", color="black", markersize=4)
    limit = max(1.8, 1.1 * float((np.abs(values) + errors).max(initial=0)))
    ax.set_xlim(-limit, limit)
    ax.set_xlabel("fit, prior 0 ± 1")


def _draw_bars(ax: Axes, position: Index, traditional: Array, global_: Array) -> None:
    for values, colour, name, offset in (
        (traditional, TRADITIONAL, "traditional: moved by its error", 0.2),
        (global_, GLOBAL, "global: auxiliary measurement + 1σ", -0.2),
    ):
        ax.barh(position + offset, values, height=0.38, color=colour, label=name)
    ax.axvline(0, color="black", linewidth=0.8)
    limit = 1.15 * float(np.abs([traditional, global_]).max(initial=1e-300))
    ax.set_xlim(-limit, limit)
    ax.xaxis.set_major_locator(MaxNLocator(5, symmetric=True))
    ax.legend(loc="lower right", fontsize=9)


def plot_impact_groups(
    impacts: Impacts, quantity: str, *, label: SampleLabel
) -> Figure:
    """Draw the parts of the error of a quantity, and the groups of systematics.

    A group that the quantity follows alone, such as the mass for m_W, is left out.

    Parameters
    ----------
    impacts : Impacts
        Impacts of a fit.
    quantity : str
        Parameter or derived quantity.
    label : SampleLabel
        Text above the figure.

    Raises
    ------
    TemplateError
        If there are no impacts on the quantity.
    """
    row = impacts.index(quantity)
    parts = signed_root(impacts.parts[row])
    known = [i for i, size in enumerate(parts) if size]
    global_, traditional = impacts.global_groups[row], impacts.traditional_groups[row]
    total = float(np.sqrt(impacts.total[row]))
    order = _largest(traditional, global_, total)
    names = ["total", *(PARTS[i] for i in known), *(impacts.groups[i] for i in order)]
    first = np.concatenate([[total], parts[known], global_[order]])
    position = np.arange(len(names))[::-1]
    below = position[1 + len(known) :]
    with styled():
        figure = new_figure(7.4, 1.5 + 1.2 * _ROW * len(names), left=1.7)
        ax = figure.subplots()
        ax.barh(
            position[: 1 + len(known)],
            first[: 1 + len(known)],
            height=0.6,
            color="#94a4a2",
            label="squares add up to the total",
        )
        ax.barh(
            below + 0.2,
            traditional[order],
            height=0.38,
            color=TRADITIONAL,
            label="traditional: with the group fixed",
        )
        ax.barh(
            below - 0.2,
            global_[order],
            height=0.38,
            color=GLOBAL,
            label="global: squares add up to systematics",
        )
        ax.set_yticks(position, names, fontsize=10)
        ax.set_ylim(-0.7, len(names) - 0.3)
        ax.set_xlim(min(0.0, 1.3 * float(first.min())), 1.25 * total)
        ax.set_xlabel(f"error of {_with_unit(quantity, impacts.units[row])}")
        ax.legend(loc="lower right", fontsize=9)
        add_label(ax, label)
    return figure


def _with_unit(name: str, unit: str) -> str:
    return f"{name} [{unit}]" if unit else name
