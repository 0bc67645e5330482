"""One figure style, one colour per process, one label per sample."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
import mplhep
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: CMS style at the size of a figure in a page instead of on a slide.
STYLE = mplhep.style.CMS | {
    "font.size": 13.0,
    "axes.linewidth": 1.2,
    "xtick.major.size": 7.0,
    "ytick.major.size": 7.0,
    # Minor ticks take as long to draw as the rest of a figure.
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    # The same figure gives the same bytes.
    "svg.hashsalt": "wprops",
}

#: Label and colour by process; the signal stands for all its components and cells.
PROCESSES = {
    "signal": (r"$W\to\mu\nu$", "#3f90da"),
    "W_lowacc": (r"$W\to\mu\nu$, low acc.", "#92dadd"),
    "W_tau": (r"$W\to\tau\nu$", "#832db6"),
    "Z": (r"$Z\to\mu\mu$", "#ffa90e"),
    "top": ("Top", "#bd1f01"),
    "diboson": ("Diboson", "#a96b59"),
    "qcd": ("Multijet", "#94a4a2"),
}
#: Colour of processes that have none of their own.
OTHER_COLOUR = "#b9ac70"
#: Label of a component: its cross section or coefficient.
COMPONENT_LABELS = {"UL": r"$\sigma_{UL}$"} | {f"A{i}": f"$A_{i}$" for i in range(8)}
CHANNEL_LABELS = {"Wplus": "$W^+$", "Wminus": "$W^-$"}


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleLabel:
    """What stands above a figure.

    Attributes
    ----------
    experiment, status : str
        Bold and italic text at the left.
    luminosity : float, optional
        Integrated luminosity [fb^-1], at the right.
    """

    experiment: str = "wprops"
    status: str = "toy"
    luminosity: float | None = None

    @property
    def luminosity_text(self) -> str:
        """Luminosity and energy, in the unit that gives a readable number."""
        if self.luminosity is None:
            return "13 TeV"
        if self.luminosity < 0.1:
            return rf"{1000 * self.luminosity:.3g} pb$^{{-1}}$ (13 TeV)"
        return rf"{self.luminosity:.3g} fb$^{{-1}}$ (13 TeV)"


@contextmanager
def styled() -> Iterator[None]:
    """Draw and save figures in the style of the project."""
    with mpl.rc_context(STYLE):
        yield


def new_figure(
    width: float = 6.4,
    height: float = 5.4,
    *,
    left: float = 0.95,
    right: float = 0.25,
    bottom: float = 0.65,
    top: float = 0.4,
) -> Figure:
    """Return an empty figure outside of pyplot, so that none is kept open.

    Parameters
    ----------
    width, height : float
        Size of the figure [inch].
    left, right, bottom, top : float
        Margins around all axes [inch]. They are given because the engines that
        find them take longer than everything else about a figure.
    """
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        bottom=bottom / height,
        top=1 - top / height,
    )
    return figure


def add_label(ax: Axes, label: SampleLabel) -> None:
    """Write experiment, status and luminosity above the axes."""
    # `mplhep.label` would open a pyplot figure that nobody closes.
    ax.set_title(label.luminosity_text, loc="right", fontsize=12)
    experiment = ax.set_title(label.experiment, loc="left", fontweight="bold")
    ax.annotate(
        label.status,
        xy=(1, 0),
        xycoords=experiment,
        xytext=(5, 0),
        textcoords="offset points",
        va="bottom",
        style="italic",
    )


def process_style(name: str) -> tuple[str, str]:
    """Return label and colour of a process.

    Examples
    --------
    >>> process_style("top")
    ('Top', '#bd1f01')
    >>> process_style("W_new")
    ('W new', '#b9ac70')
    """
    return PROCESSES.get(name, (name.replace("_", " "), OTHER_COLOUR))


def channel_label(name: str) -> str:
    """Return the label of a channel: its name if there is no better one."""
    return CHANNEL_LABELS.get(name, name)
