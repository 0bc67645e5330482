"""Profile likelihoods in one and two parameters."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from wprops.errors import ConfigError
from wprops.fit.intervals import Interval
from wprops.fit.scans import Scan
from wprops.plots.style import SampleLabel, add_label, new_figure, styled

Array = NDArray[np.float64]
#: 2 ΔNLL of regions that hold 68 % and 95 % for one and for two parameters.
HEIGHTS = {1: (1.0, 3.84), 2: (2.30, 5.99)}
_PARABOLA, _ELLIPSE = "#3f90da", "#ffa90e"


def plot_scan(
    scan: Scan,
    *,
    label: SampleLabel,
    interval: Interval | None = None,
    unit: str = "",
) -> Figure:
    """Draw a profile likelihood in one parameter beside the parabola of the Hessian.

    Parameters
    ----------
    scan : Scan
        A scan of one parameter; points without a minimum are left out and counted.
    label : SampleLabel
        Text above the figure.
    interval : Interval, optional
        Its first interval is drawn as a band.
    unit : str
        Unit of the axis.

    Raises
    ------
    ConfigError
        If two parameters were scanned.
    """
    _require_dimension(scan, 1)
    order = np.argsort(scan.points[:, 0])
    points, nll = scan.points[order, 0], 2 * scan.nll[order]
    done = np.isfinite(nll)
    error = float(np.sqrt(scan.covariance[0, 0]))
    fine = np.linspace(points[0], points[-1], 400)
    with styled():
        figure = new_figure()
        ax = figure.subplots()
        ax.plot(
            fine,
            ((fine - scan.best[0]) / error) ** 2,
            color=_PARABOLA,
            linestyle="--",
            label="parabola of the Hessian",
        )
        ax.plot(points[done], nll[done], "o-", color="black", markersize=4, label="fit")
        if interval is not None:
            name = f"ΔNLL = {interval.deltas[0]:g}"
            ax.axvspan(
                interval.low[0],
                interval.high[0],
                color="#ffa90e",
                alpha=0.3,
                label=name,
            )
        for height in HEIGHTS[1]:
            ax.axhline(height, color="grey", linewidth=0.8, linestyle=":")
        ax.set_xlim(points[0], points[-1])
        ax.set_ylim(0, 1.35 * max(float(nll[done].max(initial=0)), HEIGHTS[1][1]))
        ax.set_xlabel(_axis_title(scan.names[0], unit))
        ax.set_ylabel("2 ΔNLL; dotted: 68 %, 95 %")
        ax.ticklabel_format(axis="x", useOffset=False)
        missing = int((~done).sum())
        title = f"{missing} points without a minimum" if missing else None
        ax.legend(loc="upper center", fontsize=11, title=title)
        add_label(ax, label)
    return figure


def plot_scan_plane(
    scan: Scan, *, label: SampleLabel, units: tuple[str, str] = ("", "")
) -> Figure:
    """Draw a profile likelihood in two parameters, on a grid.

    Parameters
    ----------
    scan : Scan
        A scan of two parameters; points without a minimum are crossed out.
    label : SampleLabel
        Text above the figure.
    units : tuple of str
        Units of the axes.

    Raises
    ------
    ConfigError
        If one parameter was scanned, or the points are no grid.
    """
    _require_dimension(scan, 2)
    first, second = (np.unique(scan.points[:, i]) for i in range(2))
    order = np.lexsort(scan.points.T[::-1])
    if len(first) * len(second) != len(scan.points) or min(len(first), len(second)) < 2:
        msg = (
            f"the scan of {', '.join(scan.names)} has {len(scan.points)} points, which "
            f"are no grid of {len(first)} × {len(second)}; scan a grid"
        )
        raise ConfigError(msg)
    height = 2 * scan.nll[order].reshape(len(first), len(second)).T
    with styled():
        figure = new_figure(6.8, 5.6)
        ax = figure.subplots()
        shown = np.ma.masked_invalid(height)
        image = ax.pcolormesh(
            first, second, shown, cmap="viridis_r", vmin=0, vmax=9, shading="nearest"
        )
        figure.colorbar(image, ax=ax, label="2 ΔNLL", extend="max")
        _draw_contours(ax, first, second, shown)
        _draw_ellipse(ax, scan)
        failed = scan.points[~np.isfinite(scan.nll)]
        ax.plot(*failed.T, "x", color="#bd1f01")
        ax.plot(*scan.best, "+", color="white", markersize=12)
        _draw_legend(ax)
        ax.set_xlim(first[0], first[-1])
        ax.set_ylim(second[0], second[-1])
        ax.set_xlabel(_axis_title(scan.names[0], units[0]))
        ax.set_ylabel(_axis_title(scan.names[1], units[1]))
        ax.ticklabel_format(useOffset=False)
        add_label(ax, label)
    return figure


def _draw_contours(
    ax: Axes, first: Array, second: Array, height: np.ma.MaskedArray
) -> None:
    """Draw the heights that the grid reaches."""
    found = height.compressed()
    for level, line in zip(HEIGHTS[2], ("-", "--"), strict=True):
        if (found < level).any() and (found > level).any():
            ax.contour(
                first, second, height, levels=[level], colors="white", linestyles=line
            )


def _draw_ellipse(ax: Axes, scan: Scan) -> None:
    """Draw where the parabola of the Hessian holds 68 %."""
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = np.sqrt(HEIGHTS[2][0]) * np.array([np.cos(angle), np.sin(angle)])
    ellipse = scan.best[:, None] + np.linalg.cholesky(scan.covariance) @ circle
    ax.plot(*ellipse, color=_ELLIPSE, linewidth=1.2)


def _draw_legend(ax: Axes) -> None:
    lines = [
        Line2D([], [], color="white", linestyle="-", label="68 %"),
        Line2D([], [], color="white", linestyle="--", label="95 %"),
        Line2D([], [], color=_ELLIPSE, label="68 %, Hessian"),
    ]
    ax.legend(
        handles=lines,
        fontsize=10,
        frameon=True,
        facecolor="#444444",
        framealpha=0.8,
        labelcolor="white",
    )


def _require_dimension(scan: Scan, expected: int) -> None:
    if len(scan.names) != expected:
        msg = (
            f"the scan of {', '.join(scan.names)} has {len(scan.names)} parameters, "
            f"this figure is for {expected}"
        )
        raise ConfigError(msg)


def _axis_title(name: str, unit: str) -> str:
    return f"{name} [{unit}]" if unit else name
