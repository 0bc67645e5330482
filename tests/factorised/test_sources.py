"""Bosons of the scale variations, which act in slices of qT."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from wprops.axes import COARSE
from wprops.events.toy.truth import ToyTruth
from wprops.factorised.contraction import cells_of
from wprops.factorised.panels import Panels
from wprops.factorised.sources import nominal_source, varied_sources
from wprops.factorised.spectrum import fit_boson
from wprops.factorised.toy_decays import ToyEnsemble
from wprops.factorised.toy_ensemble import fill_ensemble, toy_response
from wprops.systematics.catalog import Available, declare

PANELS = Panels.of(COARSE)
LABEL = "scale_1_high_up"
#: The slice begins inside of the panel from 26 to 36 GeV.
EDGE = 31.0


class Scaled(ToyEnsemble):
    """Ensemble with a weight of 1.3 above one qT, and of 1 below."""

    def simulate(self, chunk):
        simulated = super().simulate(chunk)
        decays = simulated.decays
        up = np.where(decays.qt >= EDGE, 1.3, 1.0)
        ratios = ("nominal", LABEL), np.stack([np.ones_like(up), up], axis=1)
        return simulated._replace(decays=replace(decays, ratios=ratios))


@pytest.fixture(scope="module")
def sources():
    """Nominal density and that of the scale, shape (6, qT panel, node, |Y| node)."""
    ensemble = Scaled(n_events=400_000, seed=4, truth=ToyTruth())
    sums = fill_ensemble(ensemble, PANELS).sums
    records = [r for r in declare(Available(scale=True)) if LABEL in r.labels]
    assert [r.group for r in records] == ["scale_w"]
    response = replace(toy_response(ensemble, sums), systematics=tuple(records))
    counts = sums.fold_sum("boson").sum(axis=(2, 4))[0]
    bosons = fit_boson(counts, sums.arrays["boson_squares"][0], PANELS)
    nominal = nominal_source(response, bosons, 0, "sigma_A")
    varied = dict(varied_sources(response, bosons, 0, "sigma_A", {LABEL}))
    assert list(varied) == [LABEL]
    shape = 6, *PANELS.qt_nodes.shape, -1
    return nominal.reshape(shape), varied[LABEL].reshape(shape), sums


def test_outside_of_the_slice_of_a_scale_nothing_changes(sources):
    nominal, varied, _ = sources
    below, above = PANELS.qt[1:] <= EDGE, PANELS.qt[:-1] >= EDGE
    assert_allclose(varied[:, below], nominal[:, below], rtol=1e-12)
    assert_allclose(varied[:, above], 1.3 * nominal[:, above], rtol=1e-12)
    assert below.sum() == 9
    assert above.sum() >= 5


def test_a_panel_across_the_edge_changes_as_its_events_do(sources):
    nominal, varied, sums = sources
    (panel,) = np.flatnonzero((PANELS.qt[:-1] < EDGE) & (PANELS.qt[1:] > EDGE))
    every = sums.arrays["boson_varied"][:, 0, panel].sum(axis=-1)
    ratio = varied[0, panel].sum() / nominal[0, panel].sum()
    assert ratio == pytest.approx(every[1] / every[0], rel=5e-3)
    assert 1.05 < ratio < 1.25


def test_the_yield_of_low_acceptance_changes_as_that_of_events_does(sources):
    nominal, varied, sums = sources
    outside = cells_of(PANELS) == COARSE.n_cells
    measure = PANELS.qt_weights[..., None] * PANELS.absy_weights.ravel()
    measure = measure * np.repeat(outside, PANELS.n_y_nodes, axis=1)[:, None]
    found = np.sum(varied[0] * measure) / np.sum(nominal[0] * measure)
    _, events = sums.arrays["boson_varied"][:, 0, outside].sum(axis=-1)
    expected = events / sums.arrays["boson_varied"][0, 0, outside].sum()
    # 1e5 events, of which a tenth is varied by 0.3.
    assert found == pytest.approx(expected, abs=2e-3)
