"""The section on the finite simulation has all quoted numbers and what they need."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.fit.conftest import build_set
from tests.fit.test_gate import AVERAGE, TRUE, lost_pair, same_twice, strengths_only
from wprops.errors import ConfigError
from wprops.fit.model import build_model
from wprops.fit.run import run_fit
from wprops.fit.summary import information_over_noise
from wprops.plots.comparison import compare
from wprops.plots.page import with_error
from wprops.plots.simulation_section import (
    finite_mc_statements,
    growth_of,
    side_by_side,
    simulation_section,
)
from wprops.plots.style import SampleLabel

LABEL = SampleLabel(luminosity=0.02)


def sections_of(result, templates):
    model = build_model(templates, channels=list(result.postfit))
    compared = compare(result.derived, templates, None)
    return list(
        simulation_section(result, templates, model, compared, "simulation", LABEL)
    )


@pytest.fixture(scope="module")
def templates():
    return build_set(weight=0.1)


@pytest.fixture(scope="module")
def result(templates):
    return run_fit(templates, freeze={"pdf_01": 0.5})


@pytest.fixture(scope="module")
def section(result, templates):
    (found,) = sections_of(result, templates)
    return found


def test_every_bin_of_every_map_has_its_three_fits(result, section):
    gate = result.gate
    tables = {table.caption.partition(":")[0]: table for table in section.tables}
    maps = [name for name in result.derived if "/" in name]
    assert len(tables) == len(maps) + 1  # and growth
    assert all(table.is_folded for table in section.tables)
    n_rows = sum(len(t.rows) for key, t in tables.items() if not key.startswith("gr"))
    assert n_rows == sum(len(result.derived[name].labels) for name in maps)
    table = tables["Wminus/sigma [pb]"]
    row = dict(zip(table.columns, table.rows[1], strict=True))
    index = gate.index("Wminus/sigma/y0_qt1")
    for method, value, error in zip(
        ("naive", "Barlow-Beeston", "corrected"),
        gate.values[:, index],
        gate.errors[:, index],
        strict=True,
    ):
        assert row[method] == with_error(value, error)
    assert row["qT [GeV]"] == "8\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}20"
    assert row["simulation"] == 2500
    assert row["verdict"] == gate.verdicts[index]
    assert row["slope"] == f"{gate.slopes[index]:.2f}"
    assert row["± data"] == f"{np.sqrt(gate.parts[0, index]):.3g}"
    assert "prior × 2" not in row
    assert table.caption.startswith("Wminus/sigma [pb]: 2 sound; median error")


def test_growth_is_that_at_the_fit(result, templates, section):
    model = build_model(templates)
    grown = growth_of(result, templates, model)
    here = np.flatnonzero(grown.factors == 1)[0]
    assert grown.names == result.gate.names
    # the corrected fit is at its own values
    assert_allclose(grown.corrected[here], result.gate.errors[2], rtol=0.05)
    assert_allclose(grown.slopes[here], result.gate.slopes, atol=0.02)
    (figure,) = section.figures
    assert "growth with the simulation" in figure.caption
    growth_table = section.tables[-1]
    assert {row[0] for row in growth_table.rows} > {"m_W"}


def test_a_prior_and_what_depends_on_it_are_declared():
    templates = lost_pair(k=100)
    (found,) = sections_of(run_fit(templates, strength_prior=1.0), templates)
    assert "declared prior 1, and 2 to check it: 2 of 3" in found.paragraphs[1]
    # information less noise has no inverse without the prior
    assert found.figures == []
    assert "cannot be told from this one" in found.paragraphs[2]
    (table,) = found.tables
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [row["verdict"] for row in rows] == ["undetermined"] * 2 + ["sound"]
    assert rows[2]["prior × 2"].startswith(("+0.0", "-0.0"))


def test_what_is_undetermined_has_no_corrected_value():
    templates = lost_pair(k=1)
    (found,) = sections_of(run_fit(templates), templates)
    (table,) = found.tables
    assert table.caption.startswith("strengths: 3 undetermined; median error")
    assert "corrected" not in table.caption
    corrected = table.columns.index("corrected")
    assert [row[corrected] for row in table.rows] == ["—"] * 3


def test_no_growth_is_shown_of_a_fluctuation():
    """H − M is positive definite by chance, and λ below the gate."""
    templates = same_twice(0)
    (found,) = sections_of(run_fit(templates), templates)
    assert found.figures == []
    assert "cannot be told from noise" in found.paragraphs[1]
    assert len(found.tables) == 1


def test_the_words_of_the_summary_are_those_of_the_section(result):
    finite = replace(result.finite_mc, counted=("W_Recoil",))
    named = replace(result, finite_mc=finite)
    first, second, *_ = finite_mc_statements(named)
    words = information_over_noise(finite)
    assert words in named.summary()
    assert f". A{words[1:]}. Strengths follow" in first
    # names keep their capitals
    assert "Noise counted in the strengths and W_Recoil; that of" in second


def test_strengths_stand_alone_where_nothing_is_derived():
    templates = strengths_only(AVERAGE, TRUE, np.round(AVERAGE.sum(axis=0)))
    (found,) = sections_of(run_fit(templates), templates)
    assert [row[0] for row in found.tables[0].rows] == ["Wplus/W_0", "Wplus/W_1"]


def test_a_fit_that_measures_nothing_has_no_section(templates):
    assert sections_of(run_fit(templates, freeze={"*": None}), templates) == []


def test_what_is_not_quoted_has_no_row(result):
    with pytest.raises(ConfigError, match="no quoted number 'm_Z'"):
        side_by_side(result.gate, "Z", {"m_Z": {}})
