"""Templates with remedies against event-weighted ones of toys with broken assumptions.

The same random numbers make a toy in which an assumption fails and one in which it
holds. What factorised templates miss of the change of the event-weighted ones has
little noise: the events that both have in common cancel.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.testing import assert_allclose

from wprops.axes import COARSE
from wprops.commands.production import templates as command
from wprops.errors import ConfigError, TemplateError
from wprops.events.toy.deviations import deviate
from wprops.events.toy.truth import ToyTruth
from wprops.factorised.assemble import all_templates
from wprops.factorised.contraction import cells_of
from wprops.factorised.operators import fit_operators
from wprops.factorised.panels import Panels
from wprops.factorised.remedies import (
    Part,
    cells_of_class,
    check_remedies,
    parts_of,
    pileup_shares,
)
from wprops.factorised.template_set import factorised_set
from wprops.factorised.toy_decays import ToyEnsemble
from wprops.factorised.toy_ensemble import fill_ensemble, plain_set, toy_response
from wprops.store import TemplateSet

#: Few nodes are enough: their error is common and cancels.
PANELS = Panels.of(COARSE, n_qt_nodes=2, n_y_nodes=2)
N_EVENTS = 1_000_000
N_QT = len(COARSE.qt) - 1


class PileupEfficiency(ToyEnsemble):
    """Ensemble that loses muons at low pT in much pile-up, at high pT in little."""

    def simulate(self, chunk):
        simulated = super().simulate(chunk)
        decays = simulated.decays
        rng = np.random.default_rng([chunk.number, chunk.charge > 0])
        pt = np.clip((decays.reco_pt["nominal"] - 40.0) / 15.0, -1.0, 1.0)
        slope = 1.5 * pt * (decays.pileup - 23.0) / 15.0
        kept = rng.random(len(pt)) < np.clip(0.5 * (1.0 + slope), 0.0, 1.0)
        return simulated._replace(decays=replace(decays, passes=decays.passes & kept))


@cache
def made(name, size, fsr=False):
    """Response, operators and event-weighted templates (cell, eta, pT) of W+."""
    kind = PileupEfficiency if name == "recoil_pileup" else ToyEnsemble
    truth = deviate(ToyTruth(), {name: size} if size else {})
    ensemble = kind(n_events=N_EVENTS, seed=8, truth=truth, fsr=fsr)
    filled = fill_ensemble(ensemble, PANELS)
    response = replace(toy_response(ensemble, filled.sums), systematics=())
    channel = plain_set(ensemble, filled.blocks, COARSE).channel("Wplus")
    plain = np.zeros((COARSE.n_cells, *COARSE.shape))
    for process in channel.processes.values():
        if process.component:
            y, qt = process.cell
            plain[y * N_QT + qt] += process.nominal
    return response, fit_operators(response, accept=True), plain


@cache
def factorised(name, size, fsr, remedies):
    """Factorised templates of W+ by cell."""
    response, operators, _ = made(name, size, fsr)
    parts = parts_of(response.sums, operators, remedies)
    templates = all_templates(response, operators, 0, "sigma_A", parts)
    return templates["nominal"][:-1].sum(axis=1)


def missed(name, size, remedies, *, fsr=False):
    """Relative difference, (|Y|, qT) of cells and in five ranges of pT."""
    plain = [made(name, value, fsr)[2] for value in (size, 0.0)]
    found = factorised(name, size, fsr, remedies) - factorised(name, 0.0, fsr, ())
    difference = found - (plain[0] - plain[1])

    def relative(sums):
        return sums(difference) / sums(plain[0])

    return (
        relative(lambda t: t.sum(axis=(1, 2)).reshape(-1, N_QT)),
        relative(lambda t: t.sum(axis=(0, 1)).reshape(5, -1).sum(axis=1)),
    )


def test_hard_photons_in_the_recoil():
    _, bare = missed("recoil_photon", 1.0, (), fsr=True)
    _, cured = missed("recoil_photon", 1.0, ("fsr",), fsr=True)
    # Statistical errors are 4e-4.
    assert bare[0] < -2.5e-3
    assert np.abs(cured).max() < 1.2e-3


def test_a_recoil_that_is_wider_at_high_rapidity():
    bare, _ = missed("recoil_absy", 0.3, ())
    cured, _ = missed("recoil_absy", 0.3, ("absy",))
    total = np.abs([bare.mean(axis=1), cured.mean(axis=1)])
    # Statistical errors are 1.5e-3.
    assert (total[0, [0, 2]] > 14e-3).all()
    assert (total[1] < 5e-3).all()


@pytest.mark.slow
def test_pileup_that_widens_the_recoil_and_changes_the_efficiency():
    _, bare = missed("recoil_pileup", 0.5, ())
    _, cured = missed("recoil_pileup", 0.5, ("pileup",))
    # The statistical error is 2e-3.
    assert bare[3] - bare[0] > 7e-3
    assert np.abs(cured[3] - cured[0]) < 3e-3


def test_an_isolation_that_sees_the_recoil():
    _, bare = missed("iso_recoil", 0.3, ())
    _, cured = missed("iso_recoil", 0.3, ("recoil_efficiency",))
    assert bare[0] > 9e-3
    assert np.abs(cured[0]) < bare[0] / 3


def test_remedies_change_little_where_nothing_is_broken():
    """They cost precision alone: what they measure is noise there."""
    usual = factorised("recoil_absy", 0.0, False, ()).sum(axis=(1, 2))
    remedies = "recoil_efficiency", "absy"
    cured = factorised("recoil_absy", 0.0, False, remedies).sum(axis=(1, 2))
    # 2e3 passing muons of a class and panel know the acceptance to 5e-3.
    assert 0 < np.abs(cured / usual - 1.0).max() < 6e-3


def test_parts_of_equal_acceptance_add_up_to_the_whole():
    response, operators, _ = made("recoil_absy", 0.0)
    cells, first = cells_of(PANELS), cells_of_class(PANELS, 0)
    others = np.where(first >= 0, -1, cells)
    parts = (
        Part(cells=first),
        Part(cells=others, efficiency=0.4),
        Part(cells=others, response=0.6),
    )
    found = all_templates(response, operators, 0, "sigma_A", parts)["nominal"]
    whole = factorised("recoil_absy", 0.0, False, ())
    assert_allclose(found[:-1].sum(axis=1), whole, rtol=1e-9)


def test_a_part_scales_and_moves_every_variation():
    _, operators, _ = made("recoil_absy", 0.0)
    series = operators.acceptances["nominal"]
    varied = replace(
        operators, acceptances={"nominal": series, "jes_up": series[:, :20]}
    )
    longer = np.ones((len(series), series.shape[1] + 3, series.shape[2]))
    part = Part(
        cells=cells_of(PANELS), acceptance=longer, response=0.25, efficiency=0.5
    ).of(varied)
    assert_allclose(part.acceptances["nominal"][:, :-3], series + 1.0)
    assert_allclose(part.acceptances["nominal"][:, -3:], 1.0)
    assert_allclose(part.acceptances["jes_up"][:, :20], series[:, :20] + 1.0)
    assert_allclose(
        part.efficiencies["nominal"], 0.5 * operators.efficiencies["nominal"]
    )
    assert_allclose(
        part.responses[1]["nominal"], 0.25 * operators.responses[1]["nominal"]
    )


def test_cells_are_divided_among_the_classes_of_rapidity():
    cells = cells_of(PANELS)
    parts = [cells_of_class(PANELS, c) for c in range(6)]
    chosen = np.stack([part >= 0 for part in parts])
    assert (chosen.sum(axis=0) == (cells >= 0)).all()
    assert_allclose(np.max(parts, axis=0), cells)
    # Panels of 0.1: the second class begins at 0.4.
    assert parts[1][0, 3] == -1
    assert parts[1][0, 4] == cells[0, 4]


def test_shares_of_pileup_are_the_lines_of_the_counts():
    response, _, _ = made("recoil_absy", 0.0)
    sums = response.sums
    pt = sums.panels.efficiency_pt
    x = (pt[:-1] + pt[1:]) / 2
    share = (
        np.array([0.1, 0.2, 0.3, 0.2, 0.1, 0.1])[:, None]
        + np.outer([1, -1, 2, -2, 0.5, -0.5], x - 40.0) / 400.0
    )
    total = np.random.default_rng(4).uniform(10, 99, (2, COARSE.shape[0], x.size))
    counts = share[:, None, None] * total
    known = replace(sums, arrays=sums.arrays | {"passing_pileup": counts})
    found = pileup_shares(known)
    fine = share[:, :1] + (PANELS.pt_centres - x[0]) * (
        share[:, 1:2] - share[:, :1]
    ) / (x[1] - x[0])
    assert_allclose(found, np.broadcast_to(fine[:, None, None], found.shape))
    assert_allclose(found.sum(axis=0), 1.0)
    counts[:, 1, 3] = 0.0
    with pytest.raises(TemplateError, match=r"too few muons between eta"):
        pileup_shares(known)
    counts[1:] = 0.0
    with pytest.raises(TemplateError, match="Pileup_nTrueInt"):
        pileup_shares(known)


def test_bad_choices_are_named():
    with pytest.raises(ConfigError, match="no remedy 'phi'; choose from recoil_eff"):
        check_remedies(["fsr", "phi"])
    with pytest.raises(ConfigError, match="absy and fsr divide the events"):
        check_remedies(["fsr", "absy"])
    with pytest.raises(ConfigError, match="recoil_efficiency and pileup count one"):
        check_remedies(["pileup", "recoil_efficiency"])
    check_remedies(["fsr", "recoil_efficiency", "fsr"])
    response, _, _ = made("recoil_absy", 0.0)
    with pytest.raises(ConfigError, match="no remedy 'phi'"):
        factorised_set(response, n_replicas=0, remedies=["phi"])


def test_the_command_takes_remedies(tmp_path):
    response, _, _ = made("recoil_absy", 0.0)
    response.write(tmp_path / "response.h5")
    options = [str(tmp_path / "response.h5"), "-o", str(tmp_path / "templates.h5")]
    options += ["--replicas", "0", "--accept-bad-fits"]
    runner = CliRunner()
    refused = runner.invoke(command, [*options, "--remedy", "absy", "--remedy", "fsr"])
    assert isinstance(refused.exception, ConfigError)
    found = runner.invoke(
        command, [*options, "--remedy", "recoil_efficiency"], catch_exceptions=False
    )
    assert found.exit_code == 0
    made_set = TemplateSet.read(tmp_path / "templates.h5")
    assert made_set.tables["factorised"]["remedies"] == ["recoil_efficiency"]
    expected = factorised("recoil_absy", 0.0, False, ("recoil_efficiency",))
    ours = [
        process.nominal
        for process in made_set.channel("Wplus").processes.values()
        if process.component
    ]
    assert_allclose(sum(ours), expected.sum(axis=0), rtol=1e-9)
