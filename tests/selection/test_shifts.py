"""Kinematic variations: which there are, and what each of them moves."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.events.nano import dataset, open_nano, open_sample, toy_catalog
from tests.selection.exotic import write_exotic
from wprops.errors import InputError
from wprops.events.samples import declare_for, read_samples
from wprops.selection.candidates import Candidates, select
from wprops.selection.met import find_convention, varied_momentum
from wprops.selection.shifts import kinematic_shifts
from wprops.systematics.catalog import MUON_SCALE, Available, declare
from wprops.systematics.declaration import Systematic

DECLARED = declare(Available())
#: What a variation of the missing momentum moves.
MET = {"met", "met_phi", "mt"}


@pytest.fixture(scope="module", params=["v6", "v9", "v15"])
def toy(request, tmp_path_factory):
    """Events of one version, their dataset, candidates and declarations."""
    catalog = toy_catalog(
        tmp_path_factory.mktemp(request.param),
        events=1500,
        seed=9,
        nano=request.param,
        samples=["Wplus_mu"],
    )
    events = open_sample(catalog, "Wplus_mu")
    record = catalog.dataset("Wplus_mu")
    candidates = select(events, record, np.ones(len(events), bool))
    return events, record, candidates, declare_for(catalog, read_samples(catalog))


def shifts_of(events, record, candidates, declared):
    """Shifts of all events of a chunk."""
    pick = np.arange(len(events))
    return kinematic_shifts(events, record, candidates, pick, declared)


def columns(candidates):
    return {
        field.name: getattr(candidates, field.name)
        for field in dataclasses.fields(Candidates)
    }


def moved(first, second):
    """Names of the columns that differ anywhere."""
    return {
        name
        for name, values in columns(first).items()
        if not np.array_equal(values, getattr(second, name), equal_nan=True)
    }


def test_every_kinematic_systematic_has_its_shifts(toy):
    events, record, candidates, declared = toy
    labels = [label for label, _ in shifts_of(events, record, candidates, declared)]
    expected = [label for r in declared if r.kind == "kinematic" for label in r.labels]
    assert labels == ["nominal", *expected]
    jes = {"jes_up", "jes_down"} if record.nano != "v15" else set()
    muon = {"muon_scale_up", "muon_scale_down"}
    assert set(expected) == jes | muon | {"unclustered_up", "unclustered_down"}


def test_nominal_comes_first_and_is_not_touched(toy):
    events, record, candidates, declared = toy
    label, first = next(iter(shifts_of(events, record, candidates, declared)))
    assert label == "nominal"
    assert first is candidates


def propagating(record, *, propagate):
    """The dataset with the choice whether muons move the missing momentum."""
    corrections = record.corrections.model_copy(update={"propagate_muons": propagate})
    return record.model_copy(update={"corrections": corrections})


@pytest.mark.parametrize("propagate", [False, True])
def test_each_shift_moves_what_it_is_about(toy, propagate):
    events, record, candidates, declared = toy
    record = propagating(record, propagate=propagate)
    muon = {"pt", *MET} if propagate else {"pt", "mt"}
    for label, found in shifts_of(events, record, candidates, declared):
        expected = muon if label.startswith("muon") else MET
        assert moved(candidates, found) == (set() if label == "nominal" else expected)


@pytest.mark.parametrize("propagate", [False, True])
def test_shifted_muons_take_missing_momentum_along_if_corrected_ones_do(toy, propagate):
    events, record, candidates, declared = toy
    record = propagating(record, propagate=propagate)
    shifts = dict(shifts_of(events, record, candidates, declared))
    has = candidates.charge != 0
    before = candidates.met * np.exp(1j * candidates.met_phi)
    for side, sign in (("up", 1), ("down", -1)):
        found = shifts[f"muon_scale_{side}"]
        pt = candidates.pt * (1 + sign * MUON_SCALE)
        assert_allclose(found.pt[has], pt[has], rtol=1e-14)
        change = sign * MUON_SCALE * candidates.pt * np.exp(1j * candidates.phi)
        after = found.met * np.exp(1j * found.met_phi)
        assert_allclose(after[has], (before - propagate * change)[has], rtol=1e-10)
        assert_array_equal(after[~has], before[~has])
        # The transverse mass is that of the shifted muon either way.
        mt2 = 2 * found.pt * found.met * (1 - np.cos(found.phi - found.met_phi))
        assert_allclose(found.mt[has], np.sqrt(mt2)[has], rtol=1e-6, atol=1e-3)
        assert (found.mt != candidates.mt)[has].mean() > 0.99


def test_calibrated_muons_move_by_the_error_of_the_calibration(toy):
    events, record, candidates, declared = toy
    rng = np.random.default_rng(2)
    error = rng.uniform(0.1, 1.0, len(candidates.pt))
    calibrated = dataclasses.replace(
        candidates, pt_up=candidates.pt + error, pt_down=candidates.pt - 2 * error
    )
    shifts = dict(shifts_of(events, record, calibrated, declared))
    assert_array_equal(shifts["muon_scale_up"].pt, calibrated.pt_up)
    assert_array_equal(shifts["muon_scale_down"].pt, calibrated.pt_down)


def test_shifted_momenta_are_those_of_the_file(toy):
    events, record, candidates, declared = toy
    convention = find_convention(events, record)
    shifts = dict(shifts_of(events, record, candidates, declared))
    for label, found in shifts.items():
        source, _, side = label.partition("_")
        if source not in ("jes", "unclustered"):
            continue
        met, met_phi = varied_momentum(events, convention, source, side)
        expected = candidates.with_met(met, met_phi)
        for name in MET:
            assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-9)
        # About as many events with more of it as with less.
        assert 0.2 < np.mean(found.mt > candidates.mt) < 0.8


def test_shifts_of_some_events_are_those_among_all(toy):
    events, record, candidates, declared = toy
    everything = shifts_of(events, record, candidates, declared)
    pick = np.random.default_rng(3).permutation(len(events))[:200]
    some = kinematic_shifts(events, record, candidates.take(pick), pick, declared)
    for (label, whole), (other, found) in zip(everything, some, strict=True):
        assert label == other
        assert moved(whole.take(pick), found) == set()


def test_data_are_not_shifted(tmp_path):
    path = write_exotic(tmp_path / "events.root", 50)
    events = open_nano(path)
    record = dataset(kind="data", process="data", xsec=None)
    candidates = select(events, record, np.ones(50, bool))
    # Not even where the file has no variations.
    shifts = list(shifts_of(events, record, candidates, DECLARED))
    assert shifts == [("nominal", candidates)]


def test_without_kinematic_systematics_there_is_nominal_alone(toy):
    events, record, candidates, declared = toy
    others = [r for r in declared if r.kind != "kinematic"]
    shifts = list(shifts_of(events, record, candidates, others))
    assert shifts == [("nominal", candidates)]


def test_a_one_sided_record_has_one_shift(toy):
    events, record, candidates, _ = toy
    one = Systematic(
        name="unclustered",
        kind="kinematic",
        processes=frozenset({"W"}),
        group="met",
        variations=("up",),
    )
    shifts = dict(shifts_of(events, record, candidates, [one]))
    assert list(shifts) == ["nominal", "unclustered_up"]


def test_a_file_without_the_variation_is_named(tmp_path):
    events = open_nano(write_exotic(tmp_path / "events.root", 50))
    candidates = select(events, dataset(), np.ones(50, bool))
    with pytest.raises(
        InputError,
        match=r"^events\.root has no variation 'jes' of the missing momentum MET; "
        "choose another with `met:`, or leave the systematic out with `without:`",
    ):
        list(shifts_of(events, dataset(), candidates, DECLARED))
