"""The figure of expected errors shows scenarios, and fits with a simulation."""

import pytest
from numpy.testing import assert_allclose

from tests.study.sets import exact_set, noisy_set
from wprops.plots.sensitivity import plot_sensitivity
from wprops.plots.style import SampleLabel
from wprops.study.scenarios import scenarios
from wprops.study.sensitivity import EXACT, study_sensitivity

LABEL = SampleLabel(status="expected", luminosity=1.0)


@pytest.fixture(scope="module")
def found():
    return study_sensitivity(
        exact_set(), scenarios=scenarios([0.02]), simulated=noisy_set(), simulation=0.5
    )


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_each_scenario_is_a_line_over_the_strengths(found):
    left, _ = plot_sensitivity(found, label=LABEL).axes
    drawn = lines(left)
    for scenario in ("all free", "all fixed"):
        rows = found.select(scenario=scenario, fit=EXACT)
        wanted = {row.n_strengths: row.mass for row in rows}
        assert list(drawn[scenario].get_xdata()) == sorted(wanted)
        assert_allclose(
            drawn[scenario].get_ydata(), [wanted[n] for n in sorted(wanted)]
        )
    assert "$A_i$ ± 0.02" in drawn


def test_fits_that_are_refused_have_open_symbols_and_no_corrected_result(found):
    _, right = plot_sensitivity(found, label=LABEL).axes
    rows = [r for r in found.select(scenario="all free") if not r.is_determined]
    hollow = {
        y
        for line in right.get_lines()
        if line.get_markerfacecolor() == "white"
        for y in line.get_ydata()
    }
    shown = {y for line in right.get_lines() for y in line.get_ydata()}
    for fit in ("naive", "Barlow-Beeston"):
        masses = {row.mass for row in rows if row.fit == fit}
        assert masses
        assert masses <= hollow
    assert not shown & {row.mass for row in rows if row.fit == "corrected"}


def test_without_a_simulation_there_is_one_panel():
    found = study_sensitivity(exact_set(), cells=[(2, 2)], scenarios=scenarios()[:1])
    figure = plot_sensitivity(found, label=LABEL, reference=9.0)
    (ax,) = figure.axes
    heights = [line.get_ydata()[0] for line in ax.get_lines() if len(line.get_ydata())]
    assert 9.0 in heights
