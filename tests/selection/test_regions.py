"""Regions against the loop over events, and cut flows against counting."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.events.nano import dataset, open_nano
from tests.selection.exotic import exotic_branches, slow_regions, write_exotic
from wprops.selection.candidates import Candidates, select
from wprops.selection.regions import (
    REGIONS,
    SHIFTED,
    SIGNAL,
    Cut,
    cut_flow_records,
    cut_flows,
    isolation_and_mt,
)

N, SEED = 20_000, 23
NAMES = ("signal", "signal_antiiso", "sideband", "sideband_antiiso")


@pytest.fixture(scope="module")
def branches():
    return exotic_branches(N, SEED)


@pytest.fixture(scope="module")
def candidates(tmp_path_factory):
    path = write_exotic(tmp_path_factory.mktemp("exotic") / "events.root", N, SEED)
    return select(open_nano(path), dataset(), np.ones(N, bool))


@pytest.fixture
def weight():
    rng = np.random.default_rng(4)
    return rng.normal(size=N)


def good_event(**changes):
    """One event of the signal region, as candidates."""
    columns = {
        "certified": True,
        "triggered": True,
        "passes_flags": True,
        "n_veto_electrons": 0,
        "n_loose": 1,
        "isolated": True,
        "anti_isolated": False,
        "pt": 40.0,
        "pt_up": 40.02,
        "pt_down": 39.98,
        "eta": 1.0,
        "phi": 0.0,
        "isolation": 0.05,
        "charge": -1,
        "met": 40.0,
        "met_phi": np.pi,
        "mt": 80.0,
    }
    values = columns | changes
    return Candidates(**{name: np.array([value]) for name, value in values.items()})


def test_regions_are_those_of_the_loop(branches, candidates):
    expected = np.array(slow_regions(branches), dtype=object)
    for region in REGIONS:
        assert_array_equal(region.passes(candidates), expected == region.name)
        # Enough events for a threshold that is off by a little to show.
        assert (expected == region.name).sum() > 100


@pytest.mark.parametrize("scale", [1.0005, 0.9995, 1.1, 0.85])
def test_regions_at_another_muon_scale_are_those_of_the_loop(
    branches, candidates, scale
):
    expected = np.array(slow_regions(branches, scale), dtype=object)
    scaled = candidates.with_muon_pt(scale * candidates.pt)
    for region in REGIONS:
        assert_array_equal(region.passes(scaled), expected == region.name)


@pytest.mark.parametrize("region", REGIONS, ids=NAMES)
def test_what_no_shift_can_change_is_cut_on_before(candidates, region):
    before = region.unshifted
    kept = [cut for cut in region.cuts if cut.column not in ("pt", "mt")]
    assert list(before.cuts) == kept
    assert before.name == region.name
    passed = before.passes(candidates)
    columns = dataclasses.asdict(candidates)
    moved = (
        candidates.with_muon_pt(1.1 * candidates.pt),
        candidates.with_met(2 * candidates.met, -candidates.met_phi),
    )
    for shifted in moved:
        # Whatever passes after a shift is among them, with all else as it was.
        inside = region.passes(shifted)
        assert inside.sum() > 100
        assert passed[inside].all()
        assert_array_equal(before.passes(shifted), passed)
        for name, values in columns.items():
            if name not in SHIFTED:
                assert_array_equal(getattr(shifted, name), values)


def test_there_are_four_regions_that_exclude_each_other(candidates):
    assert tuple(region.name for region in REGIONS) == NAMES
    assert REGIONS[0] is SIGNAL
    assert np.sum([r.passes(candidates) for r in REGIONS], axis=0).max() == 1


def test_regions_share_all_cuts_but_isolation_and_transverse_mass():
    labels = [{cut.label for cut in region.cuts} for region in REGIONS]
    common = set.intersection(*labels)
    for region, own in zip(REGIONS, labels, strict=True):
        assert len(own) == len(region.cuts)
        assert len(own - common) == 2
    assert len({frozenset(own) for own in labels}) == 4


def region_of(event):
    return [region.name for region in REGIONS if region.passes(event)[0]]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["signal"]),
        ({"mt": 40.0}, ["signal"]),
        ({"mt": np.nextafter(40.0, 0)}, []),
        ({"mt": 30.0}, []),
        ({"mt": np.nextafter(30.0, 0)}, ["sideband"]),
        ({"mt": 0.0}, ["sideband"]),
        ({"pt": 25.0}, ["signal"]),
        ({"pt": np.nextafter(25.0, 0)}, []),
        ({"pt": 55.0}, []),
        ({"pt": np.nextafter(55.0, 0)}, ["signal"]),
        ({"eta": 2.4}, []),
        ({"eta": np.nextafter(2.4, 0)}, ["signal"]),
        ({"n_loose": 0}, ["signal"]),
        ({"n_loose": 2}, []),
        ({"n_veto_electrons": 1}, []),
        ({"certified": False}, []),
        ({"triggered": False}, []),
        ({"passes_flags": False}, []),
        ({"isolated": False}, []),
        ({"isolated": False, "anti_isolated": True}, ["signal_antiiso"]),
        (
            {"isolated": False, "anti_isolated": True, "mt": 10.0},
            ["sideband_antiiso"],
        ),
        ({"mt": np.nan, "pt": np.nan}, []),
    ],
)
def test_each_condition_decides_alone(changes, expected):
    assert region_of(good_event(**changes)) == expected


def test_a_cut_is_a_half_open_interval_without_nan():
    values = np.array([0.9, 1.0, 1.9, 2.0, np.nan, -np.inf, np.inf])
    event = dataclasses.replace(good_event(), mt=values)
    cut = Cut(label="between", column="mt", low=1.0, high=2.0)
    assert cut.passes(event).tolist() == [False, True, True, False, False, False, False]


@pytest.mark.parametrize("region", REGIONS, ids=NAMES)
def test_a_cut_flow_counts_what_is_left(candidates, weight, region):
    (flow,) = cut_flows([region], candidates, weight)
    assert flow.shape == (len(region.cuts) + 1, 2)
    left = range(N)
    for cut, (events, weighted) in zip((None, *region.cuts), flow, strict=True):
        if cut is not None:
            passes = cut.passes(candidates)
            left = [i for i in left if passes[i]]
        assert events == len(left)
        # Sums of some thousand numbers of order one, in another order.
        assert_allclose(weighted, sum(weight[i] for i in left), atol=1e-10)
    assert_array_equal(np.flatnonzero(region.passes(candidates)), left)


def test_no_events_leave_a_flow_of_zeros(candidates):
    nothing = {
        field.name: getattr(candidates, field.name)[:0]
        for field in dataclasses.fields(Candidates)
    }
    (flow,) = cut_flows([SIGNAL], Candidates(**nothing), np.empty(0))
    assert not flow.any()


def test_records_name_every_row_of_every_flow(candidates, weight):
    flows = list(zip(REGIONS, cut_flows(REGIONS, candidates, weight), strict=True))
    rows = cut_flow_records("Wplus_mu", flows)
    assert len(rows) == sum(len(region.cuts) + 1 for region in REGIONS)
    assert {row["dataset"] for row in rows} == {"Wplus_mu"}
    first = [row for row in rows if row["region"] == "signal"]
    assert [row["cut"] for row in first] == ["all", *(c.label for c in SIGNAL.cuts)]
    assert first[0]["events"] == N
    last = SIGNAL.passes(candidates)
    assert first[-1]["events"] == last.sum()
    assert_allclose(first[-1]["weighted"], weight[last].sum())
    assert all(isinstance(row["events"], int) for row in rows)


def test_events_without_a_finite_transverse_mass_are_in_no_class():
    n = 4
    columns = {field.name: np.zeros(n) for field in dataclasses.fields(Candidates)}
    columns |= {
        "isolated": np.array([True, True, False, True]),
        "anti_isolated": np.array([False, False, True, False]),
        "mt": np.array([20.0, np.nan, np.inf, 41.0]),
    }
    found = isolation_and_mt(Candidates(**columns))
    assert found.tolist() == [1, -1, -1, 3]
