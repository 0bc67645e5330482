"""Sections of the report show what was fitted, with the errors of the fit."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.fit.conftest import build_set
from wprops.fit.absolute import absolute_coefficients
from wprops.fit.model import build_model
from wprops.fit.run import run_fit
from wprops.plots import fit_sections
from wprops.plots.comparison import compare
from wprops.plots.fits import plot_mass, plot_yields
from wprops.plots.style import SampleLabel

LABEL = SampleLabel(luminosity=0.02)


@pytest.fixture
def drawn(monkeypatch):
    """What the section draws: channel, yields and axis of each figure."""
    found = []

    def record(channel, yields, axis, *, label):
        found.append((channel, yields, axis))
        return plot_yields(channel, yields, axis, label=label)

    monkeypatch.setattr(fit_sections, "plot_yields", record)
    return found


@pytest.fixture
def masses(monkeypatch):
    """Rows of the figure of the mass."""
    found = {}

    def record(rows, *, truth, label):
        found.update(rows)
        return plot_mass(rows, truth=truth, label=label)

    monkeypatch.setattr(fit_sections, "plot_mass", record)
    return found


def refusing(result, *names):
    """Result with other verdicts on some numbers."""
    verdicts = [
        "undetermined" if name in names else verdict
        for name, verdict in zip(result.gate.names, result.gate.verdicts, strict=True)
    ]
    return replace(result, gate=replace(result.gate, verdicts=tuple(verdicts)))


def test_an_undetermined_mass_is_not_drawn_as_corrected(masses):
    templates = build_set(weight=0.02)
    result = run_fit(templates)
    fit_sections.mass_section(result, templates, None, LABEL)
    assert set(masses) == {"simulation", "fit", "corrected"}
    mass = result.corrected["m_W"]
    assert masses["corrected"] == (mass.values[0], mass.errors[0])
    masses.clear()
    section = fit_sections.mass_section(refusing(result, "m_W"), templates, None, LABEL)
    assert set(masses) == {"simulation", "fit"}
    assert "no corrected one" in section.figures[0].caption


def test_maps_with_undetermined_bins_are_not_compared():
    templates = build_set(weight=0.02)
    result = run_fit(templates)

    def tables(found):
        compared = compare(found.derived, templates, None)
        section = fit_sections.spectrum_section(found, compared, templates, None, LABEL)
        return section.tables

    fitted, corrected = tables(result)
    assert len(corrected.rows) == len(fitted.rows) == 6
    assert corrected.caption == (
        "corrected for the finite simulation, against the simulation"
    )
    _, corrected = tables(refusing(result, "Wplus/A4/y0_qt1"))
    assert ("Wplus", "A4") not in [tuple(row[:2]) for row in corrected.rows]
    assert len(corrected.rows) == 5
    assert "(1 of 6 left out: undetermined bins)" in corrected.caption
    (fitted,) = tables(refusing(result, *result.gate.names))
    assert len(fitted.rows) == 6


@pytest.mark.parametrize("data", ["observed", "asimov"])
def test_prediction_and_counts_are_those_of_the_fit(drawn, data):
    templates = build_set()
    result = run_fit(templates, data=data, channels=["Wplus"], freeze={"lumi": 1.0})
    model = build_model(templates, channels=["Wplus"])
    section = fit_sections.distribution_section(result, templates, model, LABEL)
    assert len(section.figures) == len(drawn) == 4
    assert [axis for *_, axis in drawn] == ["pt", "eta"] * 2
    before, after = result.prefit_yields["Wplus"], result.postfit_yields["Wplus"]
    assert [yields for _, yields, _ in drawn] == [before, before, after, after]
    for channel, yields, _ in drawn:
        total = sum(process.nominal for process in channel.processes.values())
        assert_allclose(total, yields.events, rtol=1e-9)
        counts = result.postfit["Wplus"].data
        np.testing.assert_array_equal(channel.data, counts)
    # the frozen luminosity is that of the fit before it, too
    generated = sum(p.nominal for p in templates.channels["Wplus"].processes.values())
    assert before.events.sum() > 1.02 * generated.sum()


def test_strengths_that_are_coefficients_count_before_the_fit(drawn):
    """Their templates alone do not add up to the prediction."""
    templates = absolute_coefficients(build_set())
    result = run_fit(templates, channels=["Wplus"])
    model = build_model(templates, channels=["Wplus"])
    fit_sections.distribution_section(result, templates, model, LABEL)
    channel, yields, _ = drawn[0]
    total = sum(process.nominal for process in channel.processes.values())
    expected = sum(p.nominal for p in build_set().channels["Wplus"].processes.values())
    assert_allclose(total, expected, rtol=1e-9)
    assert_allclose(yields.events, expected, rtol=1e-9)
