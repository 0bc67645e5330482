"""The cut flow as tables of a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wprops.plots.page import Table


def cut_flow_tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    """Make one table per region, cuts downwards and datasets across.

    Parameters
    ----------
    rows : sequence of mapping
        With ``dataset``, ``region``, ``cut``, ``events`` and ``weighted``, as
        `wprops.selection.regions.cut_flow_records` gives them.
    """
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    for quantity, meaning in {
        "weighted": "expected events",
        "events": "events processed",
    }.items():
        for region in dict.fromkeys(row["region"] for row in rows):
            found: dict[str, dict[str, Any]] = {}
            for row in rows:
                if row["region"] == region:
                    found.setdefault(row["cut"], {})[row["dataset"]] = row[quantity]
            yield Table(
                caption=f"cut flow of the region {region}: {meaning}",
                columns=["cut", *datasets],
                rows=[
                    [cut, *(counts.get(name, "") for name in datasets)]
                    for cut, counts in found.items()
                ],
            )
