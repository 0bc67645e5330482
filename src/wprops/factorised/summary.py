"""What factorised templates rest on, as a few lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from wprops.factorised.goodness import LEAST_P, p_values
from wprops.store import TemplateSet


def summary(templates: TemplateSet) -> str:
    """Return goodness of operators, tests of assumptions and closure, a line each.

    Parameters
    ----------
    templates : TemplateSet
        From `wprops.factorised.template_set.factorised_set`.
    """
    return "\n".join(_lines(templates))


def warnings(templates: TemplateSet) -> list[str]:
    """Say which assumptions fail and where the closure does, a line each.

    Parameters
    ----------
    templates : TemplateSet
        As for `summary`.
    """
    table = templates.tables["factorised"]
    found = [
        f"{row['name']}: templates change by {row['effect']:.1e}; {row['remedy']}"
        for row in table["assumptions"]
        if row["verdict"] == "fails" and row["remedy"]
    ]
    found += [
        f"closure of {name}: p = {row['p']:.1g}, the factorised templates do not "
        "describe the simulation; look at the assumptions and the operators"
        for name, row in table.get("closure", {}).items()
        if row["p"] < LEAST_P
    ]
    return found


def _lines(templates: TemplateSet) -> Iterator[str]:
    table = templates.tables["factorised"]
    for row in table["operators"]:
        yield (
            f"{row['operator']} of charge {row['charge']:+d} ({row['shape']}): "
            f"chi2 {row['chi2']:.1f} for {row['ndf']}, "
            f"p = {float(p_values(row['chi2'], row['ndf'])):.3g}"
        )
    for row in table["assumptions"]:
        line = f"{row['name']}: {row['verdict']}"
        if row["ndf"]:
            line += f" (p = {row['p']:.3g}, effect {row['effect']:.1e})"
        yield f"{line}; {row['remedy']}" if row["verdict"] == "fails" else line
    for name, row in table.get("closure", {}).items():
        yield (
            f"closure of {name}: pulls of {len(row['processes'])} strengths have RMS "
            f"{row['pull_rms']:.2f}, p = {row['p']:.3g}"
        )
