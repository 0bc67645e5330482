"""One HTML page on a fit: what was measured, how well, and what limits it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wprops.backgrounds.findings import TABLE as MULTIJET_TABLE
from wprops.errors import TemplateError
from wprops.fit.blinding import require_revealed
from wprops.fit.derived import MASS_NAME
from wprops.fit.model import build_model
from wprops.fit.results import FitResult
from wprops.fit.run import template_digest
from wprops.plots.background_section import background_section
from wprops.plots.comparison import Comparison, compare, pulls_of
from wprops.plots.cut_flow import cut_flow_tables
from wprops.plots.fit_sections import (
    distribution_section,
    mass_section,
    parameter_section,
    spectrum_section,
    template_section,
)
from wprops.plots.likelihood_sections import impact_section, scan_section
from wprops.plots.page import (
    KeyNumber,
    Section,
    Table,
    render,
    table_of_records,
)
from wprops.plots.simulation_section import finite_mc_statements, simulation_section
from wprops.plots.style import SampleLabel
from wprops.store import TemplateSet, Truth

#: Name of the table with one row per dataset, region and cut.
CUT_FLOW = "cut_flow"
#: What was fitted, by the name of it in the result.
_FITTED = {
    "observed": "the data",
    "asimov": "the nominal prediction",
    "toy": "pseudo-data thrown from the prediction",
}


def write_report(
    result: FitResult,
    templates: TemplateSet,
    output: Path,
    *,
    timings: Mapping[str, float] | None = None,
) -> Path:
    """Write one self-contained HTML page.

    Parameters
    ----------
    result : FitResult
        The fit.
    templates : TemplateSet
        The templates that were fitted.
    output : Path
        The page to write; its folder is made when missing.
    timings : mapping of str to float, optional
        Wall time of each step [s].

    Returns
    -------
    Path
        ``output``.

    Raises
    ------
    TemplateError
        If the result is of other templates.
    ConfigError
        If the result is blind: a report shows the data beside the prediction.
    """
    require_revealed(result, "reports")
    _check_same_templates(result, templates)
    # An Asimov fit reproduces the simulation, whatever the pseudo-data are.
    observed = result.provenance["fit"]["data"] == "observed"
    truth = templates.truth if observed else None
    label = SampleLabel(
        status="data" if templates.truth is None else "toy",
        luminosity=templates.luminosity,
    )
    model = build_model(templates, channels=list(result.postfit))
    compared = compare(result.derived, templates, truth)
    reference = "simulation" if truth is None else "truth"
    sections = [
        _summary(result, compared, truth),
        distribution_section(result, templates, model, label),
        background_section(templates, label),
        template_section(templates, label),
        spectrum_section(result, compared, templates, truth, label),
        mass_section(result, templates, truth, label),
        *simulation_section(result, templates, model, compared, reference, label),
        *impact_section(result, label),
        *scan_section(result, label),
        parameter_section(result, label),
        *_tables(templates, timings),
        _provenance(result),
    ]
    sample = (
        "pseudo-data with known truth"
        if truth
        else f"fit of {_FITTED[result.provenance['fit']['data']]}"
    )
    page = render(
        "W boson cross sections, angular coefficients and mass",
        f"{sample}, {1000 * templates.luminosity:,.1f} pb⁻¹, channels "
        f"{', '.join(result.postfit)}; written {result.provenance['created']}",
        sections,
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page, encoding="utf-8")
    return output


def _check_same_templates(result: FitResult, templates: TemplateSet) -> None:
    expected, found = result.provenance["template_digest"], template_digest(templates)
    if expected != found:
        msg = (
            f"the fit was made with other templates (digest {expected[:12]}…, these "
            f"have {found[:12]}…); give the template file of this fit."
        )
        raise TemplateError(msg)


def _summary(
    result: FitResult, compared: list[Comparison], truth: Truth | None
) -> Section:
    numbers = [*_mass_numbers(result, truth)]
    if truth is not None and compared:
        pulls = pulls_of(compared)
        numbers.append(
            KeyNumber(
                name="pulls of σ and A_i",
                value=f"mean {pulls.mean():.2f}, RMS {np.sqrt(np.mean(pulls**2)):.2f}",
                note=f"{len(pulls)} cells and quantities, correlated",
            )
        )
    numbers.append(
        KeyNumber(
            name="goodness of fit",
            value=f"{result.gof.statistic:.0f} / {result.gof.ndf}",
            note=f"p = {result.gof.p_value:.3f}",
            is_good=result.gof.p_value > 0.01,
        )
    )
    numbers.append(
        KeyNumber(
            name="finite simulation",
            value=result.finite_mc.verdict,
            note="can it tell the signal strengths apart?",
            is_good=result.finite_mc.verdict == "sound",
        )
    )
    n_poi = result.parameters.n_poi
    measured = (
        "Measured together, in the plane of muon pseudorapidity and transverse "
        f"momentum: {n_poi} signal strengths in bins of qT and |Y| of the W, from "
        "which the unpolarised cross section and the angular coefficients follow, and "
        f"{len(result.names) - n_poi} further parameters, the mass of the W and the "
        "systematic uncertainties."
    )
    return Section(
        title="Summary",
        key_numbers=numbers,
        paragraphs=[measured, *finite_mc_statements(result)],
    )


def _mass_numbers(result: FitResult, truth: Truth | None) -> Iterator[KeyNumber]:
    mass = result.derived.get(MASS_NAME)
    if mass is None:
        return
    value, error = mass.values[0], mass.errors[0]
    yield KeyNumber(
        name="m_W",
        value=f"{value:.4f} ± {error:.4f} GeV",
        note="error with Barlow-Beeston"
        if result.provenance["fit"]["barlow_beeston"]
        else "error without the noise of the templates",
    )
    if result.corrected is not None and error > 0:
        corrected = result.corrected[MASS_NAME]
        verdict = result.gate.verdicts[result.gate.index(MASS_NAME)]
        yield KeyNumber(
            name="m_W to quote",
            value="none"
            if verdict == "undetermined"
            else f"{corrected.values[0]:.4f} ± {corrected.errors[0]:.4f} GeV",
            note=f"corrected for the finite simulation: {verdict}",
            is_good=verdict == "sound",
        )
    if truth is not None and error > 0:  # a frozen mass has none
        pull = (value - truth.boson_mass) / error
        yield KeyNumber(
            name="m_W, fit − truth",
            value=f"{1000 * (value - truth.boson_mass):+.1f} MeV ({pull:+.2f} σ)",
            note=f"truth {truth.boson_mass:.4f} GeV",
            is_good=bool(abs(pull) < 2),
        )


def _tables(
    templates: TemplateSet, timings: Mapping[str, float] | None
) -> Iterator[Section]:
    tables: list[Table] = []
    for name, content in templates.tables.items():
        if name == MULTIJET_TABLE:
            continue  # among the backgrounds
        if name == CUT_FLOW:
            tables.extend(cut_flow_tables(content))
        else:
            tables.append(_table(name, content))
    if tables:
        yield Section(title="Selection and processing", tables=tables)
    if timings:
        rows = [*timings.items(), ("total", sum(timings.values()))]
        table = Table(caption="wall time", columns=["step", "seconds"], rows=rows)
        yield Section(title="Time", tables=[table])


def _table(name: str, content: Any) -> Table:
    """Show a list of records as they are and anything else as pairs."""
    caption = name.replace("_", " ")
    if isinstance(content, list) and all(isinstance(row, dict) for row in content):
        return table_of_records(caption, content)
    pairs = content.items() if isinstance(content, dict) else [(name, content)]
    return Table(caption=caption, columns=["what", "value"], rows=list(pairs))


def _provenance(result: FitResult) -> Section:
    text = json.dumps(result.provenance, indent=1, ensure_ascii=False)
    return Section(title="Provenance", text=text)
