"""Efficiency and prefiring."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.corrections.efficiency_toys import (
    ETA,
    STAT_PT,
    look_up,
    make_steps,
    muons,
)
from tests.events.nano import dataset
from tests.weights.examples import open_with
from wprops.corrections.efficiency import muon_factors
from wprops.datasets import Corrections
from wprops.errors import ConfigError
from wprops.systematics.catalog import Available, declare
from wprops.weights import WEIGHTS, WeightInputs, weight_ratios


def test_statistical_variations_of_the_efficiency_are_those_of_the_eta_bin(toy):
    inputs, _ = toy
    made = WEIGHTS["sf_stat"](inputs)
    assert list(made) == [
        f"sf_stat_{k}_{side}" for k in range(3) for side in ("up", "down")
    ]
    charge, eta, pt = muons(len(inputs.pick))
    trigger = make_steps()["trigger"]
    for i in range(500):
        stat = look_up(trigger.stat, (ETA, STAT_PT), int(charge[i] > 0), eta[i], pt[i])
        for k in range(3):
            assert_allclose(made[f"sf_stat_{k}_up"][i], 1 + stat[k], rtol=1e-8)
            assert_allclose(made[f"sf_stat_{k}_down"][i], 1 - stat[k], rtol=1e-8)


def test_another_eta_bin_has_variations_of_its_own(toy, steps):
    """A change of one eta bin of the file moves the muons of that bin alone."""
    inputs, _ = toy
    columns = muons(len(inputs.pick))
    before = WEIGHTS["sf_stat"](inputs)
    inside = np.array([(ETA[1] <= eta < ETA[2]) for eta in columns[1]])
    table = steps[1].table.copy()
    table[:, steps[1].stat_bin == 1, :, 2:] *= 3.0
    changed = [steps[0], dataclasses.replace(steps[1], table=table)]
    after = WEIGHTS["sf_stat"](
        dataclasses.replace(inputs, muons=muon_factors(changed, *columns))
    )
    for label, column in before.items():
        assert_array_equal(after[label][~inside], column[~inside])
        # Differences of weights from 1 lose some of their digits.
        assert_allclose(
            after[label][inside] - 1, 3 * (column[inside] - 1), rtol=1e-12, atol=1e-15
        )
        assert (after[label][inside] != column[inside]).all()


def test_bins_of_the_efficiency_in_one_of_the_templates_vary_apart(toy):
    inputs, _ = toy
    together = WEIGHTS["sf_stat"](inputs)
    apart = WEIGHTS["sf_stat"](dataclasses.replace(inputs, efficiency_parts=2))
    assert len(apart) == 2 * len(together)
    for k in range(3):
        for side in ("up", "down"):
            changes = [apart[f"sf_stat_{k}_{part}_{side}"] - 1 for part in range(2)]
            assert_allclose(sum(changes) + 1, together[f"sf_stat_{k}_{side}"])
            for part, change in enumerate(changes):
                assert (change[inputs.muons.eta_bin % 2 != part] == 0).all()
                assert (change[inputs.muons.eta_bin % 2 == part] != 0).all()


def test_wide_templates_have_the_covariance_of_independent_bins(toy):
    """Two bins of the efficiency in one of the templates: summed independently."""
    inputs, _ = toy
    _, eta, pt = muons(len(inputs.pick))
    wide, pt_edges = ETA[[0, 2, 4]], np.linspace(20.0, 70.0, 6)
    declared = declare(Available(efficiency=True, efficiency_parts=2))
    labels, ratios = weight_ratios(inputs, declared, "W")

    def template(change):
        rows = np.clip(eta, -2.39, 2.39)
        return np.histogram2d(rows, pt, (wide, pt_edges), weights=change)[0]

    found = np.zeros((2, 5, 5))
    for record in declared:
        if record.group == "sf_stat":
            column = template(ratios[:, labels.index(f"{record.name}_up")] - 1)
            found += column[:, :, None] * column[:, None]
    expected, merged = np.zeros((2, 5, 5)), np.zeros((2, 5, 5))
    for k in range(3):
        whole = template(inputs.muons.stat[:, k])
        merged += whole[:, :, None] * whole[:, None]
        for b in range(4):
            inside = inputs.muons.eta_bin == b
            column = template(np.where(inside, inputs.muons.stat[:, k], 0.0))
            expected += column[:, :, None] * column[:, None]
    assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * expected.max())
    # One parameter for both would be another covariance.
    assert (abs(merged - expected) > 0.2 * expected.max()).any()


def test_the_systematic_of_the_efficiency_is_one_for_all_muons(toy):
    inputs, _ = toy
    made = WEIGHTS["sf_syst"](inputs)
    eta = np.abs(muons(len(inputs.pick))[1])
    # As the builder has it: larger at high |eta|.
    expected = np.select([eta < 1, eta < 1.5], [0.002, 0.004], 0.014)
    assert_allclose(made["sf_syst_up"], 1 + expected, rtol=1e-8)
    assert_allclose(made["sf_syst_down"], 1 - expected, rtol=1e-8)


@pytest.mark.parametrize("group", ["sf_stat", "sf_syst"])
def test_muons_without_factors_have_no_variations_of_them(toy, group):
    lacking = dataclasses.replace(toy[0], muons=None)
    with pytest.raises(
        ConfigError, match=r"has no efficiency scale factors, but others have; give all"
    ):
        WEIGHTS[group](lacking)


def test_prefire_variations_are_ratios_of_the_branches(toy):
    inputs, _ = toy
    made = WEIGHTS["prefire"](inputs)
    names = {"up": "Up", "down": "Dn"}
    for side, name in names.items():
        varied = inputs.events.L1PreFiringWeight[name].to_numpy().astype(float)
        nominal = inputs.events.L1PreFiringWeight.Nom.to_numpy().astype(float)
        assert_array_equal(made[f"prefire_{side}"], varied / nominal)
    # More prefiring leaves fewer events.
    assert (made["prefire_up"] <= 1).all()
    assert (made["prefire_up"] < 1).sum() > 1000


def test_an_event_that_surely_prefired_has_no_variation(tmp_path):
    branches = {
        "L1PreFiringWeight_Nom": [0.5, 0.0],
        "L1PreFiringWeight_Up": [0.4, 0.0],
        "L1PreFiringWeight_Dn": [0.6, 0.1],
    }
    record = dataset(corrections=Corrections(prefire="branches"))
    events = open_with(tmp_path, record, **branches)
    inputs = WeightInputs(events=events, pick=np.array([1, 0]), dataset=record)
    made = WEIGHTS["prefire"](inputs)
    assert_allclose(made["prefire_up"], [1.0, 0.8])
    assert_allclose(made["prefire_down"], [1.0, 1.2])


def test_prefire_variations_need_the_weights(toy):
    record = toy[0].dataset.model_copy(update={"corrections": Corrections()})
    lacking = dataclasses.replace(toy[0], dataset=record)
    with pytest.raises(ConfigError, match="has no prefire weights, but others have"):
        WEIGHTS["prefire"](lacking)
