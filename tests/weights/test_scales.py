"""Renormalisation and factorisation scales."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.events.nano import dataset, jagged
from tests.weights.examples import SIGMAS, TRUTH, open_with
from wprops.datasets import LheWeights
from wprops.errors import ConfigError, InputError
from wprops.events.toy.theory import member
from wprops.physics.collins_soper import BosonDecay
from wprops.systematics.catalog import SCALE_SLICES, SCALES
from wprops.weights import WEIGHTS, WeightInputs


def scale_members(inputs):
    """Weights of the file relative to that of unchanged scales."""
    members = inputs.events.LHEScaleWeight.to_numpy().astype(float)
    return members / members[:, 4:5]


def test_scales_of_the_z_are_six_weights_of_the_file(toy):
    inputs, _ = toy
    made = WEIGHTS["scale_z"](inputs)
    # Not the unchanged one, nor those that move the scales apart.
    assert list(made) == [f"scale_{k}_up" for k in (0, 1, 3, 5, 7, 8)]
    members = scale_members(inputs)
    for label, column in made.items():
        assert_array_equal(column, members[:, int(label[6])])


def test_scales_of_the_w_act_in_slices_of_qt(toy):
    inputs, _ = toy
    made = WEIGHTS["scale_w"](inputs)
    members, qt = scale_members(inputs), inputs.boson.qt
    assert len(made) == 18
    for part, low, high in (("low", 0, 5), ("mid", 5, 15), ("high", 15, np.inf)):
        inside = (qt >= low) & (qt < high)
        assert inside.sum() > 1000
        for k in SCALES:
            column = made[f"scale_{k}_{part}_up"]
            assert_array_equal(column[inside], members[inside, k])
            assert (column[~inside] == 1.0).all()


def test_slices_of_qt_multiply_to_the_whole(toy):
    inputs, _ = toy
    whole, slices = WEIGHTS["scale_z"](inputs), WEIGHTS["scale_w"](inputs)
    for k in SCALES:
        parts = [slices[f"scale_{k}_{part}_up"] for part in SCALE_SLICES]
        # All but one of the factors are 1.
        assert_array_equal(np.prod(parts, axis=0), whole[f"scale_{k}_up"])


@pytest.mark.parametrize("k", SCALES)
def test_scales_move_the_spectrum_as_the_truth_says(toy, k):
    inputs, charge = toy
    made = WEIGHTS["scale_w"](inputs)
    for part, (low, high) in SCALE_SLICES.items():
        chosen = (inputs.boson.qt >= low) & (inputs.boson.qt < high)
        qt, y = inputs.boson.qt[chosen], inputs.boson.y[chosen]
        expected = member(TRUTH, f"scale_{k}", charge, qt, y).sigma_ratio
        column = made[f"scale_{k}_{part}_up"][chosen]
        difference = column - expected
        error = difference.std() / np.sqrt(chosen.sum())
        # The toy keeps 14 bits of each weight: at most 3e-5, at random.
        assert abs(difference.mean()) < SIGMAS * error + 3e-6
        assert abs(column - 1).max() > 1e-3


def scale_inputs(folder, rows, qt=None, scale="LHEScaleWeight"):
    """Events with the given scale weights."""
    record = dataset(name="W", weights=LheWeights(scale=scale))
    events = open_with(folder, record, LHEScaleWeight=jagged(rows, np.float32))
    boson = None if qt is None else BosonDecay(*[np.array(qt)] * 6)
    pick = np.arange(len(rows))
    return WeightInputs(events=events, pick=pick, dataset=record, boson=boson)


def test_an_edge_belongs_to_the_slice_above(tmp_path):
    qt = [0.0, np.nextafter(5.0, 0), 5.0, np.nextafter(15.0, 0), 15.0, 1e4]
    rows = [[2.0, 3.0, 1.0, 4.0, 1.0, 5.0, 1.0, 6.0, 7.0]] * 6
    made = WEIGHTS["scale_w"](scale_inputs(tmp_path, rows, qt))
    assert made["scale_0_low_up"].tolist() == [2, 2, 1, 1, 1, 1]
    assert made["scale_5_mid_up"].tolist() == [1, 1, 5, 5, 1, 1]
    assert made["scale_8_high_up"].tolist() == [1, 1, 1, 1, 7, 7]


def test_scale_weights_are_relative_to_the_nominal_one(tmp_path):
    rows = np.array([[1, 2, 3, 4, 0.5, 6, 7, 8, 9], [9, 8, 7, 6, -2, 4, 3, 2, 1.0]])
    made = WEIGHTS["scale_z"](scale_inputs(tmp_path, rows))
    for k in SCALES:
        assert_array_equal(made[f"scale_{k}_up"], [rows[0, k] / 0.5, rows[1, k] / -2])


@pytest.mark.parametrize("entries", [8, 44])
@pytest.mark.parametrize("group", ["scale_z", "scale_w"])
def test_another_number_of_scales_is_refused(tmp_path, entries, group):
    inputs = scale_inputs(tmp_path, np.ones((3, entries)), qt=[1.0, 2.0, 3.0])
    with pytest.raises(
        InputError,
        match=rf"^events\.root: LHEScaleWeight has {entries} entries; nine are needed"
        r".*`without: \[scale_z, scale_w\]`",
    ):
        WEIGHTS[group](inputs)


def test_scales_need_their_weights_and_a_boson(tmp_path):
    with pytest.raises(
        ConfigError, match=r"'W' declares no scale weights.*`scale: LHEScaleWeight`"
    ):
        WEIGHTS["scale_z"](scale_inputs(tmp_path, np.ones((3, 9)), scale=None))
    with pytest.raises(ConfigError, match="'W': scales in slices of qT need its boson"):
        WEIGHTS["scale_w"](scale_inputs(tmp_path, np.ones((3, 9))))
