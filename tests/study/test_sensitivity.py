"""The table holds every fit once, and files and text say the same."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.study.sets import exact_set, noisy_set
from wprops.errors import TemplateError
from wprops.fit.run import run_fit
from wprops.study.scenarios import Scenario, scenarios
from wprops.study.sensitivity import (
    EXACT,
    FITS,
    default_cells,
    study_sensitivity,
)
from wprops.study.summary import summary
from wprops.study.variants import simulated_luminosity
from wprops.systematics.declaration import Systematic


def both_charges(templates):
    """The same channel once more as another charge."""
    channel = templates.channels["Wplus"]
    other = replace(channel, name="Wminus", charge=-1)
    return replace(templates, channels={"Wplus": channel, "Wminus": other})


@pytest.fixture(scope="module")
def found():
    return study_sensitivity(
        both_charges(exact_set()),
        scenarios=scenarios([0.01], [1e4]),
        simulated=both_charges(noisy_set(derivative="mw")),
        simulation=0.25,
        perfect=exact_set(),
    )


def test_every_fit_is_there_once(found):
    keys = [(r.response, r.channels, r.cells, r.scenario, r.fit) for r in found.rows]
    assert len(set(keys)) == len(keys)
    measured = found.select(response="measured")
    assert {r.channels for r in measured} == {"Wplus", "Wminus", "Wplus+Wminus"}
    assert {r.cells for r in measured} == {"5 x 3", "2 x 2", "1 x 1"}
    assert {r.fit for r in measured} == set(FITS)
    perfect = found.select(response="perfect")
    assert {(r.channels, r.fit) for r in perfect} == {("Wplus", EXACT)}
    # functions of four cells can have any values there
    smooth = found.select(scenario="A_i smooth", fit=EXACT, channels="Wplus")
    assert {r.cells for r in smooth if r.response == "measured"} == {"5 x 3"}


def test_errors_are_in_mev_and_relative(found):
    (row,) = found.select(
        response="measured",
        channels="Wminus",
        n_qt=5,
        scenario="all free",
        fit=EXACT,
    )
    result = run_fit(exact_set(), data="asimov", barlow_beeston=False)
    assert_allclose(row.mass, 1e3 * result.derived["m_W"].errors[0], rtol=1e-5)
    sigma = result.derived["Wplus/sigma"]
    assert_allclose(row.median["sigma"], np.median(sigma.errors / sigma.values))
    assert_allclose(
        row.median["A4"], np.median(result.derived["Wplus/A4"].errors), rtol=1e-5
    )
    assert row.n_strengths == 90


def test_two_equal_channels_measure_the_mass_better_by_the_root_of_two(found):
    common = {"scenario": "all free", "fit": EXACT, "n_qt": 5, "response": "measured"}
    (one,) = found.select(channels="Wplus", **common)
    (two,) = found.select(channels="Wplus+Wminus", **common)
    assert_allclose(two.mass, one.mass / np.sqrt(2), rtol=1e-6)
    assert two.n_strengths == 2 * one.n_strengths


def test_a_small_simulation_determines_nothing(found):
    common = {"scenario": "all free", "n_qt": 5, "channels": "Wplus"}
    (corrected,) = found.select(fit="corrected", **common)
    assert not corrected.is_determined
    (exact,) = found.select(fit=EXACT, response="measured", **common)
    assert exact.is_determined
    assert exact.eigenvalue is None


def test_the_size_of_the_simulation_is_relative_to_that_of_its_templates():
    """Its own luminosity is the default; a tenth has ten times the noise."""
    exact, noisy = exact_set(), noisy_set()
    own = simulated_luminosity(noisy)
    options = {"cells": [(2, 2)], "scenarios": scenarios()[:1], "simulated": noisy}
    implicit = study_sensitivity(exact, **options)
    explicit = study_sensitivity(exact, simulation=own, **options)
    smaller = study_sensitivity(exact, simulation=own / 10, **options)
    assert implicit.simulation == own
    assert implicit.rows == explicit.rows
    eigenvalues = [r.select(fit="naive")[0].eigenvalue for r in (smaller, implicit)]
    assert eigenvalues[0] < eigenvalues[1]


def test_files_hold_all_rows(found, tmp_path):
    found.write(tmp_path / "s.json")
    found.write_table(tmp_path / "s.csv")
    content = json.loads((tmp_path / "s.json").read_text())
    assert content["simulation"] == 0.25
    assert len(content["rows"]) == len(found.rows)
    with (tmp_path / "s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found.rows)
    for row, text in zip(found.rows, rows, strict=True):
        assert float(text["mass"]) == row.mass
        assert text["scenario"] == row.scenario
        fixed = row.scenario == "all fixed"
        assert (text["median_sigma"] == "") == fixed


def test_the_text_has_a_line_for_each_scenario(found):
    lines = list(summary(found))
    assert lines[0] == "expected errors at 1 fb^-1"
    title = (
        "Wplus, measured response, without backgrounds: 5 x 3 bins in qT x |Y|, "
        "90 strengths"
    )
    start = lines.index(title)
    _, naive, lite, corrected = (
        row.mass
        for row in found.select(
            channels="Wplus", response="measured", n_qt=5, scenario="all free"
        )
    )
    cells = lines[start + 2].split()
    # what the corrected fit cannot say is not printed
    assert cells[3:6] == [f"{naive:.2f}*", f"{lite:.2f}*", "–"]
    assert f"{corrected:.2f}" not in lines[start + 2]
    title = title.replace("measured", "perfect")
    assert title in lines
    (row,) = found.select(response="perfect", n_qt=5, scenario="all fixed")
    text = next(line for line in lines[lines.index(title) :] if "all fixed" in line)
    assert text.split() == ["all", "fixed", f"{row.mass:.2f}"]


def with_norm(templates):
    """One more uncertainty of each channel by itself."""
    norm = Systematic(
        name="rate",
        kind="norm",
        processes=frozenset({"W"}),
        group="rate",
        size=1.1,
        charge_correlated=False,
    )
    return replace(templates, systematics=(*templates.systematics, norm))


def test_frozen_parameters_have_no_part_in_the_errors():
    """In every fit, although not each has all of the parameters."""
    templates = with_norm(both_charges(exact_set()))
    options = {"cells": [(1, 1)], "scenarios": [Scenario("coefficients fixed")]}
    free, frozen = (
        study_sensitivity(templates, perfect=exact_set(), freeze=patterns, **options)
        for patterns in ((), ("*rate",))
    )
    for one, two in zip(free.rows, frozen.rows, strict=True):
        if one.response == "measured":
            assert one.median_total["sigma"] > 0.09
        assert two.median_total["sigma"] == two.median["sigma"] == one.median["sigma"]
    with pytest.raises(TemplateError, match="no parameter matches 'jes'"):
        study_sensitivity(templates, freeze=("jes",), **options)


def test_cells_of_the_templates_come_first():
    assert default_cells(exact_set()) == [(5, 3), (2, 2), (1, 1)]
