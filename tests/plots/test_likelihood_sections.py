"""Impacts, scans and intervals of a result are in the report."""

import numpy as np
import pytest

from tests.fit.conftest import build_set
from tests.fit.test_gate import AVERAGE, TRUE, strengths_only
from wprops.fit.run import run_fit
from wprops.plots.likelihood_sections import impact_section, scan_section
from wprops.plots.page import rounded
from wprops.plots.style import SampleLabel

LABEL = SampleLabel(luminosity=0.02)


def records(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


@pytest.fixture(scope="module")
def result():
    return run_fit(
        build_set(),
        impacts=True,
        scans=[
            {"m_W": np.linspace(80.2, 80.6, 5)},
            {"m_W": np.linspace(80.2, 80.6, 3), "lumi": np.linspace(-1, 1, 3)},
            {"alphas": np.zeros(1)},
        ],
        intervals=["m_W"],
    )


def test_impacts_on_the_mass_are_drawn_and_all_are_listed(result):
    (section,) = impact_section(result, LABEL)
    captions = [figure.caption for figure in section.figures]
    assert captions == [
        "largest impacts on m_W, and pulls",
        "parts of the error of m_W, and groups",
    ]
    measured, parameters = section.tables
    assert len(parameters.rows) == len(result.names)
    impacts = result.impacts
    assert len(measured.rows) == len(impacts.quantities) - len(result.names)
    row = records(measured)[0]
    index = impacts.index("m_W")
    assert row["quantity"] == "m_W"
    assert row["error"] == pytest.approx(result.derived["m_W"].errors[0])
    assert row["data"] == pytest.approx(np.sqrt(impacts.parts[index, 0]))
    column = impacts.groups.index("muons")
    assert row["group muons"] == impacts.global_groups[index, column]


def test_without_a_mass_the_first_that_is_measured_is_drawn():
    templates = strengths_only(AVERAGE, TRUE, np.round(AVERAGE.sum(axis=0)))
    (section,) = impact_section(run_fit(templates, impacts=True), LABEL)
    # no nuisance parameter has an impact
    (figure,) = section.figures
    assert figure.caption == "parts of the error of Wplus/W_0, and groups"
    (table,) = section.tables
    assert [row["quantity"] for row in records(table)] == ["Wplus/W_0", "Wplus/W_1"]


def test_a_result_without_them_has_no_sections():
    for options in ({}, {"impacts": True}):
        plain = run_fit(build_set(), freeze={"*": None}, **options)
        assert list(impact_section(plain, LABEL)) == []
        assert list(scan_section(plain, LABEL)) == []


def test_scans_are_drawn_where_they_have_a_width_and_listed(result):
    (section,) = scan_section(result, LABEL)
    captions = [figure.caption for figure in section.figures]
    assert captions == [
        "profile likelihood of m_W",
        "profile likelihood of m_W and lumi",
    ]
    intervals, line, plane, point = section.tables
    interval, error = result.intervals["m_W"], result.derived["m_W"].errors[0]
    first = records(intervals)[0]
    assert first["unit"] == "GeV"
    assert first["from"] == rounded(interval.low[0], interval.error)
    assert interval.error == pytest.approx(error, rel=1e-3)
    scan = result.scans["m_W"]
    rows = records(line)
    assert [row["2 ΔNLL"] for row in rows] == pytest.approx(2 * scan.nll)
    assert [float(row["m_W"]) for row in rows] == pytest.approx(
        scan.points[:, 0], abs=error / 10
    )
    assert len(point.rows) == 1
    assert len(plane.rows) == len(result.scans["m_W, lumi"].nll)
