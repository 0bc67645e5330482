"""The sections of the report on impacts, and on profile likelihoods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from wprops.fit.impacts import PARTS, Impacts, signed_root
from wprops.fit.results import FitResult
from wprops.fit.scans import Scan
from wprops.plots.impacts import has_impacts, plot_impact_groups, plot_impacts
from wprops.plots.page import (
    Picture,
    Section,
    Table,
    picture,
    rounded,
    table_of_records,
    with_error,
)
from wprops.plots.scans import plot_scan, plot_scan_plane
from wprops.plots.style import SampleLabel


def impact_section(result: FitResult, label: SampleLabel) -> Iterator[Section]:
    """Yield the section on what makes the errors, where impacts were computed.

    Parameters
    ----------
    result : FitResult
        The fit.
    label : SampleLabel
        Text above the figures.
    """
    impacts = result.impacts
    if impacts is None or not impacts.total.any():
        return
    n_par, n_poi = len(result.names), result.parameters.n_poi
    # derived quantities come last, m_W as the first of them
    order = [*range(n_par, len(impacts.quantities)), *range(n_par)]
    shown = next(impacts.quantities[i] for i in order if impacts.total[i] > 0)
    figures = []
    if has_impacts(impacts, shown):
        figure = plot_impacts(
            impacts, shown, result.values[n_poi:], result.errors[n_poi:], label=label
        )
        caption = f"largest impacts on {shown}, and pulls"
        figures.append(picture(figure, caption, is_wide=True))
    figure = plot_impact_groups(impacts, shown, label=label)
    figures.append(picture(figure, f"parts of the error of {shown}, and groups"))
    text = (
        "Traditional: how far the result moves with the parameter, by its error after "
        "the fit; or what the error loses when a group is fixed. Global: how far it "
        "moves with the auxiliary measurement; squares of these, of data, simulation "
        "and external measurements add up to that of the error."
    )
    tables = [
        _impact_table(impacts, "measured quantities", range(n_par, len(order))),
        _impact_table(impacts, "parameters", range(n_par)),
    ]
    yield Section(
        title="Impacts",
        paragraphs=[text],
        figures=figures,
        tables=[table for table in tables if table.rows],
    )


def _impact_table(impacts: Impacts, what: str, rows: range) -> Table:
    """Errors, their parts, and global impacts of the groups; folded."""
    parts = signed_root(impacts.parts)
    records = [
        {
            "quantity": impacts.quantities[row],
            "unit": impacts.units[row],
            "error": float(np.sqrt(impacts.total[row])),
        }
        | dict(zip(PARTS, parts[row].tolist(), strict=True))
        | {
            f"group {name}": size
            for name, size in zip(
                impacts.groups, impacts.global_groups[row].tolist(), strict=True
            )
        }
        for row in rows
        if impacts.total[row] > 0
    ]
    caption = f"errors of {len(records)} {what}, their parts, global impacts of groups"
    return table_of_records(caption, records, is_folded=True)


def scan_section(result: FitResult, label: SampleLabel) -> Iterator[Section]:
    """Yield the section on profile likelihoods, where there are any.

    Parameters
    ----------
    result : FitResult
        The fit.
    label : SampleLabel
        Text above the figures.
    """
    if not (result.scans or result.intervals):
        return
    tables = [_interval_table(result)] if result.intervals else []
    tables += [_scan_table(name, scan) for name, scan in result.scans.items()]
    yield Section(
        title="Profile likelihoods",
        figures=[
            p for scan in result.scans.values() for p in _figure(result, scan, label)
        ],
        tables=tables,
    )


def _figure(result: FitResult, scan: Scan, label: SampleLabel) -> Iterator[Picture]:
    """Draw what has a width in every direction, and a minimum somewhere."""
    widths = np.ptp(scan.points, axis=0)
    if not (widths > 0).all() or not np.isfinite(scan.nll).any():
        return
    caption = f"profile likelihood of {' and '.join(scan.names)}"
    units = [_unit(result, name) for name in scan.names]
    if len(scan.names) == 1:
        interval = result.intervals.get(scan.names[0])
        figure = plot_scan(scan, interval=interval, unit=units[0], label=label)
    else:
        figure = plot_scan_plane(scan, units=(units[0], units[1]), label=label)
    yield picture(figure, caption)


def _unit(result: FitResult, name: str) -> str:
    if name in result.derived:
        return result.derived[name].unit
    return result.parameters.units[result.parameters.index(name)]


def _interval_table(result: FitResult) -> Table:
    rows: list[dict[str, Any]] = [
        {
            "quantity": name,
            "unit": _unit(result, name),
            "fit, error of the Hessian": with_error(found.best, found.error),
            "ΔNLL": float(delta),
            "from": rounded(low, found.error),
            "to": rounded(high, found.error),
            "not found": "; ".join(found.reasons),
        }
        for name, found in result.intervals.items()
        for delta, low, high in zip(found.deltas, found.low, found.high, strict=True)
    ]
    return table_of_records("profile-likelihood intervals", rows)


def _scan_table(name: str, scan: Scan) -> Table:
    errors = np.sqrt(np.diag(scan.covariance))
    rows = [
        {
            axis: rounded(value, error)
            for axis, value, error in zip(scan.names, point, errors, strict=True)
        }
        | {
            "2 ΔNLL": 2 * float(nll),
            "of the parabola": 2 * float(parabola),
            "no minimum": reason,
        }
        for point, nll, parabola, reason in zip(
            scan.points, scan.nll, scan.parabola, scan.reasons, strict=True
        )
    ]
    return table_of_records(f"scan of {name}", rows, is_folded=True)
