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
from wprops.fit.gate import METHODS, Gate
from wprops.fit.impacts import signed_root
from wprops.fit.results import FitResult
from wprops.fit.run import template_digest
from wprops.fit.summary import scope, verdict_counts
from wprops.plots.background_section import background_section
from wprops.plots.comparison import (
    Comparison,
    compare,
    comparison_table,
    pulls_of,
)
from wprops.plots.cut_flow import cut_flow_tables
from wprops.plots.distributions import plot_distribution
from wprops.plots.fits import (
    plot_correlation,
    plot_mass,
    plot_nuisances,
    plot_pulls,
    plot_spectra,
)
from wprops.plots.page import (
    KeyNumber,
    Picture,
    Section,
    Table,
    picture,
    render,
    table_of_records,
)
from wprops.plots.style import SampleLabel
from wprops.plots.templates import plot_acceptance, plot_templates
from wprops.store import TemplateSet, Truth

#: Name of the derived mass.
MASS = "m_W"
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
    compared = compare(result.derived, templates, truth)
    sections = [
        _summary(result, compared, truth),
        _distributions(result, templates, label),
        background_section(templates, label),
        _templates(templates, label),
        _spectra(result, compared, templates, truth, label),
        _mass(result, templates, truth, label),
        _parameters(result, label),
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
        paragraphs=[measured, *_finite_mc_statements(result)],
    )


def _mass_numbers(result: FitResult, truth: Truth | None) -> Iterator[KeyNumber]:
    mass = result.derived.get(MASS)
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
        corrected = result.corrected[MASS]
        verdict = result.gate.verdicts[result.gate.index(MASS)]
        yield KeyNumber(
            name="m_W to quote",
            value=f"{corrected.values[0]:.4f} ± {corrected.errors[0]:.4f} GeV",
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


def _finite_mc_statements(result: FitResult) -> Iterator[str]:
    """Say what the finite simulation does to the errors, in words."""
    finite, n_poi = result.finite_mc, result.parameters.n_poi
    if n_poi == 0:
        return
    slopes = finite.slopes[:n_poi]
    yield (
        f"Finite simulation: {finite.verdict}. In the weakest direction of the signal "
        f"strengths the apparent information is {finite.eigenvalues[0]:.2f} times that "
        "of pure noise in the templates (1 is noise alone, 4 and more is sound). "
        f"Strengths follow the truth with slopes from {slopes.min():.2f} to "
        f"{slopes.max():.2f}, median {np.median(slopes):.2f}: the rest is drawn to the "
        "values of the simulation, which no goodness of fit shows."
    )
    yield (
        "Expected RMS of the pulls of the strengths, for a truth at the values of the "
        f"simulation: up to {finite.pull_rms_naive[:n_poi].max():.2f} for errors "
        "without the noise of the templates, up to "
        f"{finite.pull_rms_barlow_beeston[:n_poi].max():.2f} with Barlow-Beeston. "
        f"{scope(result).capitalize()}."
    )
    gate = result.gate
    prior = "" if gate.prior is None else f" with a declared prior of {gate.prior:g}"
    yield (
        f"Numbers that may be quoted, corrected for the finite simulation{prior}: "
        f"{verdict_counts(gate)}. Cross sections, coefficients and m_W are shown as "
        "fitted and, where they are determined, corrected."
    )
    if finite.needed is not None:
        yield f"Sound with {finite.needed:.1f} times the simulation."
    if finite.lost:
        yield "Not determined by this simulation: " + "; ".join(finite.lost) + "."


def _distributions(
    result: FitResult, templates: TemplateSet, label: SampleLabel
) -> Section:
    figures = []
    for name, postfit in result.postfit.items():
        channel = templates.channels[name]
        for when, shown, records in (
            ("before the fit", channel, templates.systematics),
            ("after the fit", postfit.applied_to(channel), ()),
        ):
            for axis in ("pt", "eta"):
                figure = plot_distribution(
                    shown, axis, label=label, systematics=records
                )
                figures.append(picture(figure, f"{name}, {when}"))
    text = (
        "Signal and backgrounds are stacked, the grey band is the statistical error of "
        "the simulation, counted with the events that templates share, and before the "
        "fit also that of all systematic uncertainties."
    )
    return Section(title="Data and prediction", paragraphs=[text], figures=figures)


def _templates(templates: TemplateSet, label: SampleLabel) -> Section:
    figures: list[Picture] = []
    for channel in templates.channels.values():
        cells = sorted({p.cell for p in channel.processes.values() if p.cell})
        if not cells:
            continue
        middle = cells[len(cells) // 2]
        figure = plot_templates(channel, middle, label=label)
        caption = f"{channel.name}: components of the cell (|Y|, qT) = {middle}"
        figures.append(picture(figure, caption, is_wide=True))
        if channel.generated is not None:
            figure = plot_acceptance(channel, templates.luminosity, label=label)
            caption = f"{channel.name}: selected fraction of the generated W"
            figures.append(picture(figure, caption))
    text = {
        "sigma_A": "Templates of A_i carry the coefficients of the simulation.",
        "sigma": "Templates of A_i do not carry the coefficients of the simulation.",
    }[templates.weighting]
    return Section(title="Templates", paragraphs=[text], figures=figures)


def _spectra(
    result: FitResult,
    compared: list[Comparison],
    templates: TemplateSet,
    truth: Truth | None,
    label: SampleLabel,
) -> Section:
    reference = "simulation" if truth is None else "truth"
    figures = []
    for name in dict.fromkeys(item.channel for item in compared):
        channel = templates.channels[name]
        assert channel.generated is not None  # derived quantities come from it
        figure = plot_spectra(
            name,
            {
                item.component: item.measured
                for item in compared
                if item.channel == name
            },
            channel.generated.qt_edges,
            channel.generated.absy_edges,
            reference=reference,
            label=label,
        )
        caption = f"{name}: cross section and coefficients beside the {reference}"
        figures.append(picture(figure, caption, is_wide=True))
    tables = []
    if compared:
        tables.append(comparison_table("fit", compared, reference))
    if truth is not None and compared:
        figure = plot_pulls(pulls_of(compared), title="σ and A_i", label=label)
        figures.append(picture(figure, "pulls of all cross sections and coefficients"))
    if result.corrected is not None:
        corrected = compare(result.corrected, templates, truth)
        if corrected:
            caption = "corrected for the finite simulation"
            tables.append(comparison_table(caption, corrected, reference))
    return Section(
        title="Cross sections and coefficients", figures=figures, tables=tables
    )


def _mass(
    result: FitResult, templates: TemplateSet, truth: Truth | None, label: SampleLabel
) -> Section:
    rows = {"simulation": (templates.boson_mass, 0.0)}
    for name, derived in (("fit", result.derived), ("corrected", result.corrected)):
        if derived is not None and MASS in derived:
            mass = derived[MASS]
            rows[name] = float(mass.values[0]), float(mass.errors[0])
    true_mass = None if truth is None else truth.boson_mass
    figure = plot_mass(rows, truth=true_mass, label=label)
    caption = "mass of the simulation, of the fit and corrected for finite simulation"
    tables = [_side_by_side(result.gate)] if MASS in result.gate.names else []
    return Section(title="W mass", figures=[picture(figure, caption)], tables=tables)


def _side_by_side(gate: Gate) -> Table:
    """Naive, Barlow-Beeston and corrected mass."""
    index = gate.index(MASS)
    data, simulation, constraints = signed_root(gate.parts[:, index])
    parts = f"{data:.4f} data, {simulation:.4f} simulation, {constraints:.4f} others"
    rows = [
        (method, f"{value:.4f} ± {error:.4f}", parts if method == METHODS[-1] else "")
        for method, value, error in zip(
            METHODS, gate.values[:, index], gate.errors[:, index], strict=True
        )
        if np.isfinite(error)
    ]
    caption = (
        f"fits of m_W: {gate.verdicts[index]}, slope {gate.slopes[index]:.2f}, "
        f"information over noise {gate.eigenvalues[index]:.2f}"
    )
    return Table(caption=caption, columns=["fit", "m_W [GeV]", "of it"], rows=rows)


def _parameters(result: FitResult, label: SampleLabel) -> Section:
    parameters = result.parameters
    constrained = np.flatnonzero(parameters.precision > 0)
    figures = []
    if len(constrained):
        figure = plot_nuisances(
            [result.names[i] for i in constrained],
            result.values[constrained],
            result.errors[constrained],
            label=label,
        )
        figures.append(picture(figure, "constrained nuisance parameters"))
    nuisances = result.names[parameters.n_poi :]
    correlation = result.correlation
    for names, matrix, caption in (
        (result.names, correlation, "correlation of all parameters"),
        (
            nuisances,
            correlation[parameters.n_poi :, parameters.n_poi :],
            "correlation of the nuisance parameters",
        ),
    ):
        if names:
            figure = plot_correlation(names, matrix, label=label)
            figures.append(picture(figure, caption))
    return Section(title="Parameters", figures=figures, text=result.summary())


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
