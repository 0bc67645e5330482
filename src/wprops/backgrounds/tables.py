"""Yields and their uncertainties before the fit, as tables, and tables as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wprops.backgrounds.findings import TABLE
from wprops.backgrounds.nuisances import GROUP
from wprops.backgrounds.prefit import shifts_of, total_change
from wprops.channels import Channel, Process
from wprops.store import TemplateSet
from wprops.systematics.catalog import SIGNAL
from wprops.systematics.declaration import Systematic

Rows = list[dict[str, Any]]
#: Rows of `yield_variations` that sum up a group, and what has no parameter.
ALL, STATISTICS = "all", "statistics"


def event_yields(templates: TemplateSet) -> Rows:
    """Events of each process in each channel, and what they are of the signal.

    Parameters
    ----------
    templates : TemplateSet
        The set; all signal processes are one.

    Returns
    -------
    list of dict
        By ``channel`` and ``process``, with ``events``, ``statistical`` and
        ``systematic`` uncertainty and ``percent_of_signal``; ``total`` is the sum of
        all processes, and ``data`` has the root of its number as error. That of the
        simulation counts events that templates share; the statistical one of
        multijet are the counts and the fits of its rates.
    """
    rows = []
    for channel in templates.channels.values():
        groups = process_groups(channel)
        signal = _sum_of(groups.get(SIGNAL, ()))
        found = [
            _yield_row(channel, name, members, templates.systematics)
            for name, members in {**groups, "total": _everything(channel)}.items()
        ]
        if channel.data is not None:
            n = float(channel.data.sum())
            found.append(
                {
                    "channel": channel.name,
                    "process": "data",
                    "events": n,
                    "statistical": float(np.sqrt(n)),
                    "systematic": 0.0,
                }
            )
        for row in found:
            share = 100 * row["events"] / signal if signal else None
            rows.append(row | {"percent_of_signal": share})
    return rows


def yield_variations(templates: TemplateSet) -> Rows:
    """Change of the events of each process by each systematic, in percent.

    Parameters
    ----------
    templates : TemplateSet
        The set.

    Returns
    -------
    list of dict
        By ``group``, ``systematic``, ``channel`` and ``process``, with
        ``up_percent`` and ``down_percent``. Rows of the systematic ``"all"`` are the
        root of the sum of the squares of half the difference in a group; those of the
        group ``"statistics"`` the uncorrelated errors of simulation and counts. Sources
        with one parameter per eta bin are added in squares, see
        `wprops.backgrounds.prefit.total_change`.
    """
    rows: Rows = []
    for channel in templates.channels.values():
        for name, members in process_groups(channel).items():
            events = _sum_of(members)
            place = {"channel": channel.name, "process": name}
            squares: dict[str, float] = {}
            for record, shift in shifts_of(templates.systematics, members):
                up, down, half = (
                    100 * total_change(record, change) / events
                    for change in (shift.up, shift.down, shift.half)
                )
                down = -abs(down) if record.eta_local else down
                key = {"group": record.group, "systematic": record.name}
                rows.append(key | place | {"up_percent": up, "down_percent": down})
                squares[record.group] = squares.get(record.group, 0.0) + half**2
            squares[STATISTICS] = 1e4 * _variance(channel, members) / events**2
            rows += [
                {"group": group, "systematic": ALL}
                | place
                | {"up_percent": size, "down_percent": -size}
                for group, size in ((g, float(np.sqrt(s))) for g, s in squares.items())
            ]
    return rows


def group_table(templates: TemplateSet) -> Rows:
    """Uncertainties of the yields by group, processes across, in percent."""
    table: dict[tuple[str, str], dict[str, Any]] = {}
    for row in yield_variations(templates):
        if row["systematic"] != ALL:
            continue
        key = row["group"], row["channel"]
        line = table.setdefault(key, {"group": key[0], "channel": key[1]})
        line[row["process"]] = row["up_percent"]
    return [table[key] for key in sorted(table)]


def write_tables(templates: TemplateSet, folder: Path) -> Iterator[Path]:
    """Write all tables of backgrounds as CSV and yield what was written.

    Parameters
    ----------
    templates : TemplateSet
        With multijet from data, or without.
    folder : Path
        Made when missing; ``yields.csv``, ``yield_variations.csv``, and one file per
        table of `wprops.backgrounds.findings` that is not empty.
    """
    tables: dict[str, Rows] = {
        "yields": event_yields(templates),
        "yield_variations": yield_variations(templates),
    } | {f"{TABLE}_{name}": rows for name, rows in multijet_tables(templates).items()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        path = folder / f"{name}.csv"
        # That of an earlier estimate would not belong to this one.
        path.unlink(missing_ok=True)
        if rows:
            yield _write_csv(path, rows)


def multijet_tables(templates: TemplateSet) -> Mapping[str, Rows]:
    """Tables of the multijet estimate; none if there was none."""
    found: Mapping[str, Rows] = templates.tables.get(TABLE, {})
    return found


def process_groups(channel: Channel) -> dict[str, list[Process]]:
    """Return processes by name, with all of the signal as one."""
    groups: dict[str, list[Process]] = {}
    for process in channel.processes.values():
        name = SIGNAL if process.role == "signal" else process.name
        groups.setdefault(name, []).append(process)
    return groups


def _everything(channel: Channel) -> list[Process]:
    return list(channel.processes.values())


def _yield_row(
    channel: Channel,
    name: str,
    members: list[Process],
    systematics: tuple[Systematic, ...],
) -> dict[str, Any]:
    statistical, systematic = _variance(channel, members), 0.0
    for record, shift in shifts_of(systematics, members):
        square = total_change(record, shift.half) ** 2
        if record.group == GROUP:
            statistical += square
        elif record.constrained:
            systematic += square
    return {
        "channel": channel.name,
        "process": name,
        "events": _sum_of(members),
        "statistical": float(np.sqrt(statistical)),
        "systematic": float(np.sqrt(systematic)),
    }


def _sum_of(members: Iterable[Process]) -> float:
    return float(sum(process.nominal.sum() for process in members))


def _variance(channel: Channel, members: list[Process]) -> float:
    """Variance of the number of events, with those that templates share."""
    names = {process.name for process in members}
    total = 0.0
    for group in channel.shared:
        chosen = [i for i, name in enumerate(group.processes) if name in names]
        total += float(group.products[np.ix_(chosen, chosen)].sum())
        names -= set(group.processes)
    alone = (p.variance.sum() for p in members if p.name in names)
    return total + float(sum(alone))


def _write_csv(path: Path, rows: Rows) -> Path:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path
