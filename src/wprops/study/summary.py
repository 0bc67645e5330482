"""The table of expected errors as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from wprops.study.sensitivity import EXACT, Row, Sensitivity


def summary(found: Sensitivity) -> Iterator[str]:
    """Yield lines: errors by variant, granularity, scenario and fit.

    Errors of m_W are statistical and, in brackets, with all nuisance parameters where
    there are some.
    """
    yield f"expected errors at {found.luminosity:g} fb^-1"
    if found.simulation is not None:
        yield f"fits with noise: simulation of {found.simulation:.3g} fb^-1"
    for (response, backgrounds, channels), group in groupby(
        found.rows, lambda r: (r.response, r.backgrounds, r.channels)
    ):
        extra = "with" if backgrounds else "without"
        yield ""
        yield f"{channels}, {response} response, {extra} backgrounds"
        for (cells, n), rows in groupby(group, lambda r: (r.cells, r.n_strengths)):
            yield f"  {cells} bins in qT x |Y|, {n} strengths"
            yield from _lines(list(rows))


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        what = row.scenario if row.fit == EXACT else f"  {row.fit}"
        if not row.is_determined and row.fit == "corrected":
            yield f"    {what:<18}  undetermined"
            continue
        mass = f"{row.mass:8.2f}"
        if row.mass_total != row.mass:
            mass += f" ({row.mass_total:.2f})"
        medians = "  ".join(f"{k} {v:.2g}" for k, v in row.median.items())
        mark = "" if row.is_determined else "  undetermined"
        yield f"    {what:<18}  m_W {mass} MeV  {medians}{mark}"
