"""All weight systematics together: who has which, and in what order."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.weights.examples import DECLARED
from wprops.errors import ConfigError
from wprops.systematics.catalog import Available, declare
from wprops.systematics.declaration import Systematic
from wprops.weights import WEIGHTS, weight_ratios


def test_every_weight_systematic_has_a_function(toy):
    inputs, _ = toy
    records = [record for record in DECLARED if record.kind == "weight"]
    assert {record.group for record in records} == set(WEIGHTS)
    made = {label for function in WEIGHTS.values() for label in function(inputs)}
    declared = {label for record in records for label in record.labels}
    assert made >= declared
    # A one-sided source needs no more than its side.
    assert made - declared == set()


def test_norms_need_neither():
    for record in DECLARED:
        if record.kind == "norm":
            assert record.labels == ()
            assert record.size > 1


def test_ratios_have_a_column_per_declared_label_nominal_first(toy):
    inputs, _ = toy
    labels, ratios = weight_ratios(inputs, DECLARED, "W")
    declared = [
        label
        for record in DECLARED
        if record.kind == "weight" and "W" in record.processes
        for label in record.labels
    ]
    assert labels == ("nominal", *declared)
    # Mass, width, densities, alphaS; efficiency: three statistical, one systematic;
    # prefire.
    assert ratios.shape == (len(inputs.pick), 1 + 2 + 2 + 9 + 2 + 6 + 2 + 2)
    assert (ratios[:, 0] == 1.0).all()
    columns = {
        k: v for function in WEIGHTS.values() for k, v in function(inputs).items()
    }
    for label, column in zip(labels[1:], ratios.T[1:], strict=True):
        assert_array_equal(column, columns[label])


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        ("W_lowacc", 44),
        ("W_tau", 40),
        ("Z", 28),
        ("top", 11),
        ("diboson", 11),
        ("qcd", 1),
        ("data", 1),
    ],
)
def test_processes_have_the_variations_that_act_on_them(toy, process, expected):
    labels, ratios = weight_ratios(toy[0], DECLARED, process)
    assert len(labels) == ratios.shape[1] == expected


def test_weights_of_some_events_are_those_among_all(toy):
    inputs, _ = toy
    _, everything = weight_ratios(inputs, DECLARED, "W")
    index = np.random.default_rng(6).permutation(len(inputs.pick))[:500]
    boson = type(inputs.boson)(*(column[index] for column in inputs.boson))
    _, some = weight_ratios(inputs.restricted(index, boson), DECLARED, "W")
    # BLAS adds the replicas in an order that depends on the number of events, and in
    # the single precision of the file.
    assert_allclose(some, everything[index], atol=2e-7)
    again = np.array([3, 1, 4])
    boson = type(boson)(*(column[again] for column in boson))
    _, few = weight_ratios(
        inputs.restricted(index, boson).restricted(again, boson), DECLARED, "W"
    )
    assert_allclose(few, everything[index[again]], atol=2e-7)


def test_a_record_without_function_is_refused(toy):
    record = Systematic(
        name="recoil", kind="weight", processes=frozenset({"W"}), group="recoil"
    )
    with pytest.raises(
        ConfigError,
        match=r"makes recoil_up, recoil_down for dataset.*add it to WEIGHTS",
    ):
        weight_ratios(toy[0], (*DECLARED, record), "W")


def test_samples_with_more_directions_than_declared_are_cut(toy):
    labels, _ = weight_ratios(toy[0], declare(Available(n_pdf=4, alphas=False)), "W")
    assert labels == (
        "nominal",
        "mw_up",
        "mw_down",
        *(f"pdf_{k:02d}_up" for k in range(1, 5)),
    )
