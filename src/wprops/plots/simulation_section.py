"""The section of the report on the finite simulation: three fits, and their growth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from wprops.channels import Generated
from wprops.fit.functionals import functionals
from wprops.fit.gate import METHODS, Gate
from wprops.fit.growth import Growth, growth
from wprops.fit.impacts import signed_root
from wprops.fit.likelihood import Likelihood
from wprops.fit.model import Model
from wprops.fit.prior_check import doubling_lines
from wprops.fit.results import FitResult
from wprops.fit.summary import information_over_noise, scope, verdict_counts
from wprops.fit.template_noise import mass_derivatives
from wprops.plots.comparison import Comparison
from wprops.plots.growth import is_known, plot_growth, representatives
from wprops.plots.page import (
    Section,
    Table,
    picture,
    table_of_records,
    with_error,
)
from wprops.plots.style import SampleLabel
from wprops.store import TemplateSet

Row = dict[str, Any]
_SPACE = "\N{NO-BREAK SPACE}"
#: Title of the axis of a label such as ``"y0_qt2"``, by its letters.
_AXES = {"y": "|Y|", "qt": "qT [GeV]"}


def finite_mc_statements(result: FitResult) -> Iterator[str]:
    """Say what the finite simulation does to the errors, in words."""
    finite, n_poi = result.finite_mc, result.parameters.n_poi
    if n_poi == 0:
        return
    slopes = finite.slopes[:n_poi]
    yield (
        f"Finite simulation: {finite.verdict}. "
        f"{_sentence(information_over_noise(finite))} "
        f"Strengths follow the truth with slopes from {slopes.min():.2f} to "
        f"{slopes.max():.2f}, median {np.median(slopes):.2f}: the rest is drawn to the "
        "values of the simulation, which no goodness of fit shows."
    )
    yield (
        "Expected RMS of the pulls of the strengths, for a truth at the values of the "
        f"simulation: up to {finite.pull_rms_naive[:n_poi].max():.2f} for errors "
        "without the noise of the templates, up to "
        f"{finite.pull_rms_barlow_beeston[:n_poi].max():.2f} with Barlow-Beeston. "
        f"{_sentence(scope(result))}"
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


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def simulation_section(
    result: FitResult,
    templates: TemplateSet,
    model: Model,
    compared: Sequence[Comparison],
    reference: str,
    label: SampleLabel,
) -> Iterator[Section]:
    """Yield the section, if anything is quoted.

    Parameters
    ----------
    result : FitResult
        The fit.
    templates : TemplateSet
        The templates that were fitted.
    model : Model
        What was fitted.
    compared : sequence of Comparison
        Cross sections and coefficients beside their expectation.
    reference : str
        What the expectation is: ``"truth"`` or ``"simulation"``.
    label : SampleLabel
        Text above the figures.
    """
    gate = result.gate
    if not gate.names:
        return
    paragraphs = [
        "Three fits of the same data. Errors of the naive one are too small; that with "
        "Barlow-Beeston has true ones where the truth is that of the simulation, but "
        "follows another truth with the slope only; the corrected one follows it. "
        "± data and ± simulation are parts of its error, λ is information over noise "
        "in the weakest direction that matters. "
        "Undetermined numbers are not to be quoted.",
    ]
    if gate.prior is not None:
        checked = [line.strip() for line in doubling_lines(gate)]
        paragraphs.append(f"Corrected with a {'; '.join(checked)}.")
    figures = []
    grown = growth_of(result, templates, model)
    if is_known(grown):
        figure = plot_growth(grown, representatives(grown), label=label)
        caption = (
            "growth with the simulation: solid the number of median slope, dashed the "
            "weakest one; the dotted line is this fit"
        )
        figures.append(picture(figure, caption, is_wide=True))
    else:
        paragraphs.append(
            "How errors grow with the simulation cannot be told from this one: its "
            "information less its noise is not positive definite, or a direction "
            "cannot be told from noise."
        )
    tables = list(_tables(result, templates, compared, reference))
    if is_known(grown):
        tables.append(_growth_table(grown))
    yield Section(
        title="Finite simulation",
        paragraphs=paragraphs,
        figures=figures,
        tables=tables,
    )


def growth_of(result: FitResult, templates: TemplateSet, model: Model) -> Growth:
    """Scale the noise of the templates at the values of a fit.

    Parameters
    ----------
    result : FitResult
        The fit.
    templates : TemplateSet
        The templates that were fitted.
    model : Model
        What was fitted.
    """
    likelihood = Likelihood(
        model=model,
        observed=np.concatenate([p.data.ravel() for p in result.postfit.values()]),
        relative_variance=np.zeros(model.n_bins),  # growth weighs bins itself
        centre=model.parameters.start,
    )
    point = likelihood.at(result.values)
    assert point is not None  # a minimum expects events in all bins
    return growth(
        model,
        point,
        functionals(templates, model.parameters),
        free=~np.isin(result.names, result.frozen),
        derivatives=mass_derivatives(templates, model),
    )


def _tables(
    result: FitResult,
    templates: TemplateSet,
    compared: Sequence[Comparison],
    reference: str,
) -> Iterator[Table]:
    """Yield one table for each map of derived quantities; of strengths without any."""
    gate = result.gate
    known = set(gate.names)
    expected = {
        f"{c.channel}/{'sigma' if c.component == 'UL' else c.component}": (
            c.measured.expected.ravel().tolist()
        )
        for c in compared
    }
    maps = {name: d for name, d in result.derived.items() if "/" in name}
    for name, derived in maps.items():
        generated = templates.channels[name.partition("/")[0]].generated
        assert generated is not None  # derived quantities come from it
        rows = {}
        for position, bin_name in enumerate(derived.labels):
            row = _bin(bin_name, generated)
            if name in expected:
                row[reference] = expected[name][position]
            rows[f"{name}/{bin_name}"] = row
        rows = {quoted: row for quoted, row in rows.items() if quoted in known}
        if rows:
            unit = f" [{derived.unit}]" if derived.unit else ""
            yield side_by_side(gate, name + unit, rows)
    if not maps:
        strengths = [name for name in gate.names if name in result.names]
        rows = {name: {"strength": name} for name in strengths}
        yield side_by_side(gate, "strengths", rows)


def side_by_side(gate: Gate, title: str, rows: Mapping[str, Row]) -> Table:
    """Return a folded table of the three fits.

    Parameters
    ----------
    gate : Gate
        Results and verdicts.
    title : str
        What the numbers are; the caption adds verdicts and median errors.
    rows : mapping of str to dict
        First columns of each row, by the quoted number.

    Raises
    ------
    ConfigError
        If a number is not quoted.
    """
    found = [gate.index(name) for name in rows]
    counts = Counter(gate.verdicts[i] for i in found)
    verdicts = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    medians = ", ".join(
        f"{np.median(errors):.3g} {method}"
        for method, errors in zip(METHODS, gate.errors[:, found], strict=True)
        if np.isfinite(errors).all()
    )
    return table_of_records(
        f"{title}: {verdicts}; median error {medians}",
        [
            first | _results(gate, index)
            for first, index in zip(rows.values(), found, strict=True)
        ],
        is_folded=True,
    )


def _bin(bin_name: str, generated: Generated) -> Row:
    """Ranges of a bin such as ``"y0_qt2"``, by the titles of their axes."""
    edges = {"y": generated.absy_edges, "qt": generated.qt_edges}
    ranges: Row = {}
    for part in bin_name.split("_"):
        axis = part.rstrip("0123456789")
        index = int(part[len(axis) :])
        low, high = edges[axis][index : index + 2]
        ranges[_AXES[axis]] = f"{low:g}{_SPACE}to{_SPACE}{high:g}"
    return ranges


def _results(gate: Gate, index: int) -> Row:
    """Three fits of a number, what the corrected error is made of, the verdict."""
    row: Row = {
        method: with_error(value, error)
        for method, value, error in zip(
            METHODS, gate.values[:, index], gate.errors[:, index], strict=True
        )
    }
    data, simulation, _ = signed_root(gate.parts[:, index])
    row |= {"± data": _number(data), "± simulation": _number(simulation)}
    row["slope"] = f"{gate.slopes[index]:.2f}"
    row["λ"] = f"{gate.eigenvalues[index]:.1f}"
    if gate.prior is not None:
        value, error = gate.changes[:, index]
        row["prior × 2"] = f"{value:+.2f} σ, error {error:+.0%}"
    row["verdict"] = gate.verdicts[index]
    return row


def _number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "—"


def _growth_table(grown: Growth) -> Table:
    shown = {name for names in representatives(grown).values() for name in names}
    rows = [row for row in grown.rows() if row["quantity"] in shown]
    return table_of_records("growth with the simulation", rows, is_folded=True)
