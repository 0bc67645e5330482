"""The sections of the report on a fit: events, cross sections, the mass, parameters."""

from __future__ import annotations

import numpy as np

from wprops.fit.derived import MASS_NAME
from wprops.fit.gate import METHODS, Gate
from wprops.fit.impacts import signed_root
from wprops.fit.model import Model
from wprops.fit.results import FitResult, Postfit
from wprops.plots.comparison import (
    Comparison,
    compare,
    comparison_table,
    pulls_of,
)
from wprops.plots.distributions import AxisName
from wprops.plots.fits import (
    plot_correlation,
    plot_mass,
    plot_nuisances,
    plot_pulls,
    plot_spectra,
    plot_yields,
)
from wprops.plots.page import Picture, Section, Table, picture
from wprops.plots.style import SampleLabel
from wprops.plots.templates import plot_acceptance, plot_templates
from wprops.store import TemplateSet, Truth

#: Axes in which events are shown.
AXES: tuple[AxisName, ...] = ("pt", "eta")


def distribution_section(
    result: FitResult, templates: TemplateSet, model: Model, label: SampleLabel
) -> Section:
    """Show what was fitted beside the prediction before and after the fit.

    Parameters
    ----------
    result : FitResult
        The fit.
    templates : TemplateSet
        The templates that were fitted.
    model : Model
        What was fitted.
    label : SampleLabel
        Text above the figures.
    """
    is_frozen = np.isin(result.names, result.frozen)
    start = np.where(is_frozen, result.values, model.parameters.start)
    before = model.at(start).yields()
    figures = []
    for name, postfit in result.postfit.items():
        channel = templates.channels[name]
        prefit = Postfit(postfit.processes, before[name], postfit.data)
        for when, events, yields in (
            ("before the fit", prefit, result.prefit_yields[name]),
            ("after the fit", postfit, result.postfit_yields[name]),
        ):
            for axis in AXES:
                shown = events.applied_to(channel)
                figure = plot_yields(shown, yields, axis, label=label)
                figures.append(picture(figure, f"{name}, {when}"))
    text = (
        "Signal and backgrounds are stacked. The grey band is the error of the "
        "prediction: before the fit that of the auxiliary measurements, so that the "
        "strengths and the mass, which have none, do not count; after the fit that of "
        "all parameters with their correlations. The statistical error of the "
        "simulation is added to both."
    )
    return Section(title="Data and prediction", paragraphs=[text], figures=figures)


def template_section(templates: TemplateSet, label: SampleLabel) -> Section:
    """Show the templates of one cell and the acceptance of each channel.

    Parameters
    ----------
    templates : TemplateSet
        The templates that were fitted.
    label : SampleLabel
        Text above the figures.
    """
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


def spectrum_section(
    result: FitResult,
    compared: list[Comparison],
    templates: TemplateSet,
    truth: Truth | None,
    label: SampleLabel,
) -> Section:
    """Show cross sections and coefficients beside what is expected.

    Parameters
    ----------
    result : FitResult
        The fit.
    compared : list of Comparison
        Its cross sections and coefficients.
    templates : TemplateSet
        The templates that were fitted.
    truth : Truth, optional
        What pseudo-data were made with.
    label : SampleLabel
        Text above the figures.
    """
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
    if result.corrected is not None and compared:
        tables += _corrected_table(result, templates, truth, reference, len(compared))
    return Section(
        title="Cross sections and coefficients", figures=figures, tables=tables
    )


def _corrected_table(
    result: FitResult,
    templates: TemplateSet,
    truth: Truth | None,
    reference: str,
    n_fitted: int,
) -> list[Table]:
    """Corrected maps whose numbers are all determined, if there are any."""
    determined = {
        name: quantity
        for name, quantity in result.quoted.items()
        if np.isfinite(quantity.values).all()
    }
    corrected = compare(determined, templates, truth)
    if not corrected:
        return []
    caption = "corrected for the finite simulation"
    if len(corrected) < n_fitted:
        n_left = n_fitted - len(corrected)
        caption += f" ({n_left} of {n_fitted} left out: undetermined bins)"
    return [comparison_table(caption, corrected, reference)]


def mass_section(
    result: FitResult, templates: TemplateSet, truth: Truth | None, label: SampleLabel
) -> Section:
    """Show the mass of the simulation, as fitted and, if determined, corrected.

    Parameters
    ----------
    result : FitResult
        The fit.
    templates : TemplateSet
        The templates that were fitted.
    truth : Truth, optional
        What pseudo-data were made with.
    label : SampleLabel
        Text above the figures.
    """
    rows = {"simulation": (templates.boson_mass, 0.0)}
    quoted = {} if result.corrected is None else result.quoted
    for name, derived in (("fit", result.derived), ("corrected", quoted)):
        if MASS_NAME in derived and np.isfinite(derived[MASS_NAME].values[0]):
            mass = derived[MASS_NAME]
            rows[name] = float(mass.values[0]), float(mass.errors[0])
    true_mass = None if truth is None else truth.boson_mass
    figure = plot_mass(rows, truth=true_mass, label=label)
    caption = "mass of the simulation, of the fit and corrected for finite simulation"
    if "corrected" not in rows:
        caption = "mass of the simulation and of the fit; no corrected one to be quoted"
    tables = [_side_by_side(result.gate)] if MASS_NAME in result.gate.names else []
    return Section(title="W mass", figures=[picture(figure, caption)], tables=tables)


def _side_by_side(gate: Gate) -> Table:
    """Naive, Barlow-Beeston and corrected mass."""
    index = gate.index(MASS_NAME)
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


def parameter_section(result: FitResult, label: SampleLabel) -> Section:
    """Show nuisance parameters, correlations and the summary as text.

    Parameters
    ----------
    result : FitResult
        The fit.
    label : SampleLabel
        Text above the figures.
    """
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
