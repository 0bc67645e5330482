"""One self-contained HTML page of numbers, figures and tables.

Text is escaped, figures are part of the page, and nothing is loaded from
elsewhere.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import jinja2
from matplotlib.figure import Figure

from wprops.plots.style import styled

#: Above this size digits are grouped, from there on they are not significant.
_THOUSAND = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyNumber:
    """One number of the summary.

    Attributes
    ----------
    name, value, note : str
        What it is, the number with unit, and how to read it.
    is_good : bool, optional
        Verdict shown by colour; no verdict when omitted.
    """

    name: str
    value: str
    note: str = ""
    is_good: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A figure of the page: SVG in base64, with its caption."""

    svg_base64: str
    caption: str
    is_wide: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table of the page; one that is folded shows its caption until it is opened."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    is_folded: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One heading and what stands below it, in this order."""

    title: str
    key_numbers: Sequence[KeyNumber] = ()
    paragraphs: Sequence[str] = ()
    figures: Sequence[Picture] = ()
    tables: Sequence[Table] = field(default=())
    text: str = ""


def render(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """Return the page as HTML."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = format_cell
    source = files("wprops").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        title=title, subtitle=subtitle, sections=sections
    )


def picture(figure: Figure, caption: str, *, is_wide: bool = False) -> Picture:
    """Turn a figure into a part of the page.

    The same figure gives the same bytes: no date is stored.
    """
    buffer = io.BytesIO()
    with styled():
        # Only rasterised meshes depend on the resolution.
        figure.savefig(buffer, format="svg", metadata={"Date": None}, dpi=120)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(svg_base64=encoded, caption=caption, is_wide=is_wide)


def table_of_records(
    caption: str, records: Sequence[Mapping[str, Any]], *, is_folded: bool = False
) -> Table:
    """Make a table of records; columns come in the order of their appearance.

    Examples
    --------
    >>> table_of_records("cuts", [{"cut": "all", "n": 3}, {"cut": "iso"}]).rows
    [['all', 3], ['iso', '']]
    """
    columns = list(dict.fromkeys(key for record in records for key in record))
    rows = [[record.get(column, "") for column in columns] for record in records]
    return Table(caption=caption, columns=columns, rows=rows, is_folded=is_folded)


def rounded(value: float, error: float) -> str:
    """Write a number with two significant digits of its error, or to the unit.

    Examples
    --------
    >>> [rounded(1234.56, error) for error in (345.6, 1.234, 0.0961)]
    ['1,235', '1,234.6', '1,234.560']
    """
    digits = 1 - math.floor(math.log10(error)) if error > 0 else 3
    return f"{value:,.{max(digits, 0)}f}"


def with_error(value: float, error: float) -> str:
    r"""Write a measurement on one line; one without a finite error is missing.

    Examples
    --------
    >>> with_error(80.36925, 0.01234), with_error(1.0, math.nan)
    ('80.369\xa0±\xa00.012', '—')
    """
    if not math.isfinite(error):
        return "—"
    parts = rounded(value, error), "±", rounded(error, error)
    return "\N{NO-BREAK SPACE}".join(parts)


def format_cell(value: Any) -> str:
    """Format a value of a table: four significant digits, thousands grouped.

    Examples
    --------
    >>> [format_cell(value) for value in (1234567, 12345.6, 0.123456, 2.0, "a")]
    ['1,234,567', '12,346', '0.1235', '2', 'a']
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (math.isfinite(value) and abs(value) >= _THOUSAND):
        return f"{value:,.0f}"
    return f"{value:.4g}"
