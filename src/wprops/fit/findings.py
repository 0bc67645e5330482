"""What a diagnosis says: findings, as a table for the terminal and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from textwrap import wrap
from typing import Literal, get_args

Severity = Literal["error", "warning", "note"]
Kind = Literal[
    "no minimum",
    "flat direction",
    "negative expectation",
    "bins without simulation",
    "few simulated events",
    "template of noise",
    "negative process",
    "noisy variation",
    "one-sided variation",
    "variation without effect",
    "noise in a constraint",
    "strong constraint",
    "extreme pull",
    "degenerate pair",
    "not quadratic",
]
#: The worst first.
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
_WIDTH = 88
_INDENT = 9


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong or doubtful with a model or a fit.

    Attributes
    ----------
    kind : str
        What it is, the same words for all of a kind.
    severity : {"error", "warning", "note"}
        There is no valid fit; its result is doubtful; good to know.
    where : str
        Names of parameters, bins, processes or systematics.
    what : str
        What was found, with numbers.
    remedy : str
        What to do.
    size : float
        How bad it is among those of its kind; larger is worse.
    """

    kind: Kind
    severity: Severity
    where: str
    what: str
    remedy: str
    size: float


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort by severity, then keep kinds together, the worst of each first."""
    kinds = get_args(Kind)
    return tuple(
        sorted(
            findings,
            key=lambda f: (SEVERITIES.index(f.severity), kinds.index(f.kind), -f.size),
        )
    )


def table(findings: Sequence[Finding], *, n_shown: int = 5) -> str:
    """Write findings for the terminal.

    Parameters
    ----------
    findings : sequence of Finding
        In the order of `ordered`.
    n_shown : int
        Largest number shown of one kind and severity; the others are counted.
    """
    if not findings:
        return "nothing found"
    return "\n".join(_lines(findings, n_shown))


def _lines(findings: Sequence[Finding], n_shown: int) -> Iterator[str]:
    for (severity, kind), group in groupby(findings, lambda f: (f.severity, f.kind)):
        members = list(group)
        for finding in members[:n_shown]:
            yield from _wrapped(f"{severity:<{_INDENT}}{kind}: {finding.where}")
            yield from _wrapped(f"{'':<{_INDENT}}{finding.what}")
        if len(members) > n_shown:
            yield f"{'':<{_INDENT}}… and {len(members) - n_shown} more of this kind"
        for remedy in dict.fromkeys(f.remedy for f in members[:n_shown]):
            yield from _wrapped(f"{'':<{_INDENT}}→ {remedy}")


def _wrapped(line: str) -> list[str]:
    return wrap(
        line,
        _WIDTH,
        subsequent_indent=" " * (_INDENT + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )


def to_json(findings: Sequence[Finding]) -> str:
    """Write all findings as a JSON list of records."""
    return json.dumps([asdict(f) for f in findings], indent=1, ensure_ascii=False)
