"""A multijet estimate as a few lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from wprops.backgrounds.tables import event_yields, multijet_tables
from wprops.store import TemplateSet
from wprops.systematics.catalog import MULTIJET


def summary(templates: TemplateSet) -> str:
    """Return yields, checks and numbers of diagnoses, one line each.

    Parameters
    ----------
    templates : TemplateSet
        With multijet from `wprops.backgrounds.estimate.add_multijet`.
    """
    return "\n".join(_lines(templates))


def _lines(templates: TemplateSet) -> Iterator[str]:
    for row in event_yields(templates):
        if row["process"] == MULTIJET:
            yield (
                f"multijet in {row['channel']}: {row['events']:,.0f} ± "
                f"{row['statistical']:,.0f} (stat.) ± {row['systematic']:,.0f} (syst.) "
                f"events, {row['percent_of_signal']:.2f} % of the signal"
            )
    tables = multijet_tables(templates)
    for row in tables["checks"]:
        probability = f", p = {row['p']:.3g}" if "p" in row else ""
        yield f"{row['check']}: {row['result']}{probability}"
    found = Counter((row["what"], row["where"]) for row in tables["diagnoses"])
    for (what, where), n in found.items():
        yield f"{n} x {what} ({where})"
