"""The table of expected errors as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from wprops.fit.gate import METHODS
from wprops.study.sensitivity import EXACT, Row, Sensitivity

#: What stands in the place of an error that nobody can quote.
REFUSED = "–"
_QUANTITIES = ("sigma", "A0", "A1", "A2", "A3", "A4")


def summary(found: Sensitivity) -> Iterator[str]:
    """Yield lines: one table per variant and granularity, one line per scenario.

    Errors of m_W are statistical, then with all nuisance parameters where there are
    some, then those that fits with templates of a simulation state. Medians of the
    errors of cross sections and A_i are statistical and without noise.
    """
    yield f"expected errors at {found.luminosity:g} fb^-1"
    if found.simulation is not None:
        yield (
            f"{', '.join(METHODS)}: m_W with a simulation of {found.simulation:.3g} "
            "fb^-1; * from a fit that is refused"
        )
    for (response, backgrounds, channels), group in groupby(
        found.rows, lambda r: (r.response, r.backgrounds, r.channels)
    ):
        for (cells, n), rows in groupby(group, lambda r: (r.cells, r.n_strengths)):
            extra = "with" if backgrounds else "without"
            yield ""
            yield (
                f"{channels}, {response} response, {extra} backgrounds: {cells} bins "
                f"in qT x |Y|, {n} strengths"
            )
            yield from _table(list(rows))


def _table(rows: Sequence[Row]) -> Iterator[str]:
    has_total = any(row.mass_total != row.mass for row in rows)
    has_noise = any(row.fit != EXACT for row in rows)
    columns = ["m_W [MeV]"]
    columns += ["all nuisances"] * has_total
    columns += list(METHODS) * has_noise
    columns += [q for q in _QUANTITIES if any(q in row.median for row in rows)]
    widths = [max(len(column), 7) for column in columns]
    yield _line("", columns, widths)
    for scenario in dict.fromkeys(row.scenario for row in rows):
        fits = {row.fit: row for row in rows if row.scenario == scenario}
        exact = fits[EXACT]
        cells = [f"{exact.mass:.2f}"]
        cells += [f"{exact.mass_total:.2f}"] * has_total
        if has_noise:
            cells += [_of_simulation(fits[method]) for method in METHODS]
        cells += [
            f"{exact.median[q]:.2g}" if q in exact.median else ""
            for q in columns[len(cells) :]
        ]
        yield _line(scenario, cells, widths)


def _of_simulation(row: Row) -> str:
    if row.is_determined:
        return f"{row.mass:.2f}"
    return REFUSED if row.fit == METHODS[-1] else f"{row.mass:.2f}*"


def _line(name: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    filled = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return f"  {name:<20}{'  '.join(filled)}".rstrip()
