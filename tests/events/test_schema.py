"""Branches are found by their NanoAOD name, and missing ones are explained."""

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.nanoevents import NanoAODSchema, NanoEventsFactory
from numpy.testing import assert_array_equal

from tests.events.nano import jagged, open_nano, open_sample, toy_catalog, write_nano
from wprops.errors import InputError
from wprops.events.schema import NanoSchema, file_name, get_branch, has_branch


@pytest.fixture(scope="module", params=["v6", "v9", "v15"])
def toy(request, tmp_path_factory):
    return toy_catalog(
        tmp_path_factory.mktemp("toy"),
        events=150,
        seed=3,
        nano=request.param,
        samples=["Wplus_mu", "data"],
        data_fraction=0.5,
    )


def muons(**columns):
    """All that coffea's muons consist of, and more columns."""
    lists = {"pt": [[30.0, 20.0], []]} | {
        name: [[0.0, 0.0], []] for name in ("eta", "phi", "mass")
    }
    branches = {f"Muon_{name}": jagged(v, np.float32) for name, v in lists.items()}
    branches["Muon_charge"] = jagged([[1, -1], []], np.int32)
    return branches | {f"Muon_{name}": values for name, values in columns.items()}


@pytest.fixture
def path(tmp_path):
    return write_nano(
        tmp_path / "small.root",
        {
            "MET_pt": np.array([20.0, 30.0], np.float32),
            "MET_phi": np.array([0.0, 1.0], np.float32),
            "MET_T1_pt": np.array([21.0, 31.0], np.float32),
            "HLT_Mu17_TrkIsoVVL": np.array([True, False]),
            **muons(jetIdx=jagged([[1, -1], []], np.int32)),
        },
    )


@pytest.mark.parametrize("sample", ["Wplus_mu", "data"])
def test_every_branch_of_a_file_is_found_by_its_name(toy, sample):
    events = open_sample(toy, sample)
    with uproot.open(toy.dataset(sample).files[0]) as file:
        tree = file["Events"]
        names = set(tree.keys())
        # The schema uses up the lengths of collections.
        names -= {name for name in names if name[0] == "n"}
        # These have tests of their own.
        names -= {
            name for name in names if name[:3] == "PV_" or "PrefireWeight" in name
        }
        assert len(names) > 40
        for name in names:
            assert has_branch(events, name)
            found = get_branch(events, name, remedy="")
            assert ak.to_list(found) == ak.to_list(tree[name].array()), name


def test_a_name_with_more_underscores_is_one_branch(path):
    events = open_nano(path)
    assert_array_equal(get_branch(events, "MET_T1_pt", remedy=""), [21.0, 31.0])
    assert_array_equal(get_branch(events, "HLT_Mu17_TrkIsoVVL", remedy=""), [1, 0])


@pytest.mark.parametrize(
    "branch", ["genWeight", "Muon_dxy", "Jet_pt", "HLT_IsoMu24", "MET_", "Muon_T1_pt"]
)
def test_a_missing_branch_is_named_with_file_and_remedy(path, branch):
    events = open_nano(path)
    assert not has_branch(events, branch)
    with pytest.raises(
        InputError, match=rf"^small\.root has no branch '{branch}'; look elsewhere$"
    ):
        get_branch(events, branch, remedy="look elsewhere")


@pytest.mark.parametrize("missing", ["Muon_charge", "Muon_mass", "Muon_pt"])
def test_a_collection_may_lack_what_nobody_asks_for(tmp_path, missing):
    # coffea gives muons a behaviour that wants all of pt, eta, phi, mass and charge.
    branches = muons()
    del branches[missing]
    events = open_nano(write_nano(tmp_path / "thin.root", branches))
    assert ak.to_list(get_branch(events, "Muon_eta", remedy="")) == [[0.0, 0.0], []]
    assert not has_branch(events, missing)
    with pytest.raises(InputError, match=rf"thin\.root has no branch '{missing}'"):
        get_branch(events, missing, remedy="look elsewhere")


def test_a_vertex_may_lack_its_position(tmp_path):
    path = write_nano(tmp_path / "thin.root", {"PV_npvsGood": np.array([3, 4], "i4")})
    assert_array_equal(get_branch(open_nano(path), "PV_npvsGood", remedy=""), [3, 4])


def test_a_name_that_others_begin_with_is_found_too(tmp_path):
    # As in v6, where PrefireWeight has variations PrefireWeight_Up and _Down.
    path = write_nano(
        tmp_path / "prefire.root",
        {"PrefireWeight": [0.9, 0.8], "PrefireWeight_Up": [0.8, 0.7]},
    )
    events = open_nano(path)
    assert_array_equal(get_branch(events, "PrefireWeight", remedy=""), [0.9, 0.8])
    assert_array_equal(get_branch(events, "PrefireWeight_Up", remedy=""), [0.8, 0.7])


@pytest.mark.parametrize(
    "chosen", [np.array([False, True]), np.array([1]), slice(1, 2)], ids=str
)
def test_branches_of_chosen_events_are_found_too(path, chosen):
    events = open_nano(path)[chosen]
    assert_array_equal(get_branch(events, "MET_pt", remedy=""), [30.0])
    assert ak.to_list(get_branch(events, "Muon_pt", remedy="")) == [[]]
    assert not has_branch(events, "Muon_dxy")


def test_events_without_a_file_are_named_as_such(path):
    assert file_name(open_nano(path)) == "small.root"
    events = NanoEventsFactory.from_root(
        {str(path): "Events"}, schemaclass=NanoSchema, mode="eager"
    ).events()
    with pytest.raises(InputError, match="the events in memory has no branch"):
        get_branch(events, "Jet_pt", remedy="make jets")


def test_an_index_without_its_target_is_no_warning(path):
    # Warnings are errors in these tests.
    assert_array_equal(open_nano(path).Muon.jetIdx[0], [1, -1])


def test_the_schema_of_other_users_keeps_its_warnings():
    assert NanoAODSchema.warn_missing_crossrefs
