"""Missing momentum against the toy's recoil, and in files made by hand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.events.nano import dataset, open_nano, write_nano
from wprops.errors import InputError
from wprops.events.toy.events import SAMPLES
from wprops.events.toy.generate import generate
from wprops.events.toy.nano import Identity, detector_branches
from wprops.events.toy.parameters import DETECTOR
from wprops.events.toy.truth import ToyTruth
from wprops.selection.met import (
    CONVENTIONS,
    PUPPI,
    find_convention,
    missing_momentum,
    require_one_convention,
    varied_momentum,
)

N = 500
#: How much each variation scales the recoil.
RECOIL = {
    ("jes", "up"): 1.03,
    ("jes", "down"): 0.97,
    ("unclustered", "up"): 1.05,
    ("unclustered", "down"): 0.95,
}
#: Names of magnitude and azimuth: nominal, and the variations that a file has.
BRANCHES = {
    "MET_nom": {
        "nominal": ("MET_pt_nom", "MET_phi_nom"),
        ("jes", "up"): ("MET_pt_jesTotalUp", "MET_phi_jesTotalUp"),
        ("jes", "down"): ("MET_pt_jesTotalDown", "MET_phi_jesTotalDown"),
        ("unclustered", "up"): ("MET_pt_unclustEnUp", "MET_phi_unclustEnUp"),
        ("unclustered", "down"): ("MET_pt_unclustEnDown", "MET_phi_unclustEnDown"),
    },
    "MET_T1": {
        "nominal": ("MET_T1_pt", "MET_T1_phi"),
        ("jes", "up"): ("MET_T1_pt_jesTotalUp", "MET_T1_phi_jesTotalUp"),
        ("jes", "down"): ("MET_T1_pt_jesTotalDown", "MET_T1_phi_jesTotalDown"),
    },
    "PFMET": {
        "nominal": ("PFMET_pt", "PFMET_phi"),
        ("unclustered", "up"): ("PFMET_ptUnclusteredUp", "PFMET_phiUnclusteredUp"),
        ("unclustered", "down"): (
            "PFMET_ptUnclusteredDown",
            "PFMET_phiUnclusteredDown",
        ),
    },
    "MET": {"nominal": ("MET_pt", "MET_phi")},
    "PuppiMET": {
        "nominal": ("PuppiMET_pt", "PuppiMET_phi"),
        ("jes", "up"): ("PuppiMET_ptJESUp", "PuppiMET_phiJESUp"),
        ("jes", "down"): ("PuppiMET_ptJESDown", "PuppiMET_phiJESDown"),
        ("unclustered", "up"): (
            "PuppiMET_ptUnclusteredUp",
            "PuppiMET_phiUnclusteredUp",
        ),
        ("unclustered", "down"): (
            "PuppiMET_ptUnclusteredDown",
            "PuppiMET_phiUnclusteredDown",
        ),
    },
}
DELTA = ("MET_MetUnclustEnUpDeltaX", "MET_MetUnclustEnUpDeltaY")
#: Conventions that take the change of the vector instead of varied branches.
WITH_DELTA = ("MET_T1", "MET")


def vector(met):
    """Missing momentum as a complex number."""
    pt, phi = met
    return pt * np.exp(1j * phi)


@pytest.fixture(scope="module")
def truth():
    """Events of the toy: a Z has two muons, one of which may be lost."""
    rng = np.random.default_rng(12)
    return generate(SAMPLES["Z_mumu"], N, rng, ToyTruth()).reconstructed


def expected_vector(events, scale=1.0):
    """Minus the sum of the muons, plus the recoil with its sign turned."""
    total = np.zeros(N, complex)
    for i in range(N):
        for slot in range(2):
            if events.found[i, slot]:
                total[i] -= events.pt[i, slot] * np.exp(1j * events.phi[i, slot])
        total[i] += scale * (events.hadron_x[i] + 1j * events.hadron_y[i])
    return total


@pytest.fixture(scope="module")
def toy(truth, tmp_path_factory):
    """Chunks of the same events in each version of NanoAOD."""
    folder = tmp_path_factory.mktemp("toy")
    identity = Identity(
        run=np.ones(N, np.uint32),
        luminosity_block=np.ones(N, np.uint32),
        event=np.arange(N, dtype=np.uint64),
    )
    opened = {}
    for nano in ("v6", "v9", "v15"):
        rng = np.random.default_rng(1)
        branches = detector_branches(truth, identity, nano, DETECTOR, rng)
        path = write_nano(folder / f"{nano}.root", branches)
        opened[nano] = open_nano(path)
    return opened


#: What a version has, by default and where the catalogue asks for it.
FLAVOURS = [
    ("v6", None, "MET_nom", RECOIL),
    ("v6", "MET", "MET", ()),
    ("v9", None, "MET_T1", RECOIL),
    ("v9", "MET", "MET", [("unclustered", "up"), ("unclustered", "down")]),
    ("v15", None, "PFMET", [("unclustered", "up"), ("unclustered", "down")]),
    ("v15", "PuppiMET", "PuppiMET", [("unclustered", "up"), ("unclustered", "down")]),
]


@pytest.mark.parametrize(("nano", "met", "collection", "variations"), FLAVOURS)
def test_each_flavour_has_the_recoil_of_the_toy(
    toy, truth, nano, met, collection, variations
):
    events = toy[nano]
    convention = find_convention(events, dataset(met=met))
    assert convention.collection == collection
    # Magnitude and azimuth in single precision.
    close = {"rtol": 0.0, "atol": 1e-5 * np.abs(truth.pt).max()}
    nominal = vector(missing_momentum(events, convention))
    assert_allclose(nominal, expected_vector(truth), **close)
    for source, side in variations:
        found = varied_momentum(events, convention, source, side)
        expected = expected_vector(truth, RECOIL[source, side])
        assert_allclose(vector(found), expected, **close)
        assert [column.dtype for column in found] == [np.float64] * 2
        # Above the tolerance by far.
        assert np.abs(vector(found) - nominal).mean() > 0.3


@pytest.mark.parametrize(
    ("nano", "met", "collection"), [flavour[:3] for flavour in FLAVOURS]
)
def test_what_a_flavour_lacks_is_named_with_file_and_remedy(toy, nano, met, collection):
    events = toy[nano]
    convention = find_convention(events, dataset(met=met))
    (variations,) = [f[3] for f in FLAVOURS if f[:3] == (nano, met, collection)]
    for source, side in set(RECOIL) - set(variations):
        with pytest.raises(InputError, match=rf"^{nano}\.root has no ") as caught:
            varied_momentum(events, convention, source, side)
        if getattr(convention, source) is None and not convention.delta:
            assert f"variation {source!r} of the missing momentum {collection}; " in (
                str(caught.value)
            )
            assert "with `met:`, or leave" in str(caught.value)
            assert "`without:` in the catalogue" in str(caught.value)


def hand_made(n=7):
    """All branches of all conventions, each with numbers of its own."""
    names = [name for pairs in BRANCHES.values() for p in pairs.values() for name in p]
    rng = np.random.default_rng(3)
    branches = {
        name: rng.uniform(-3, 3, n) if "phi" in name else rng.uniform(5, 80, n)
        for name in (*names, *DELTA)
    }
    return {name: values.astype(np.float32) for name, values in branches.items()}


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    path = tmp_path_factory.mktemp("hand") / "everything.root"
    return open_nano(write_nano(path, hand_made()))


def test_the_conventions_are_those_of_the_documentation():
    names = [option.collection for option in (*CONVENTIONS, PUPPI)]
    assert names == list(BRANCHES)


@pytest.mark.parametrize("collection", BRANCHES)
def test_each_variation_is_its_branch(everything, collection):
    convention = find_convention(everything, dataset(met=collection))
    branches = hand_made()
    for key, names in BRANCHES[collection].items():
        if key == "nominal":
            found = missing_momentum(everything, convention)
        else:
            found = varied_momentum(everything, convention, *key)
        for column, name in zip(found, names, strict=True):
            assert_array_equal(column, branches[name])
            assert column.dtype == np.float64


@pytest.mark.parametrize("collection", WITH_DELTA)
def test_the_delta_is_added_for_up_and_subtracted_for_down(everything, collection):
    convention = find_convention(everything, dataset(met=collection))
    branches = {name: values.astype(float) for name, values in hand_made().items()}
    pt, phi = (branches[name] for name in BRANCHES[collection]["nominal"])
    dx, dy = (branches[name] for name in DELTA)
    for side, sign in (("up", 1), ("down", -1)):
        met, met_phi = varied_momentum(everything, convention, "unclustered", side)
        # Not linear in anything: the components, one event after the other.
        for i in range(len(pt)):
            x = pt[i] * np.cos(phi[i]) + sign * dx[i]
            y = pt[i] * np.sin(phi[i]) + sign * dy[i]
            assert_allclose(met[i], np.sqrt(x * x + y * y), rtol=1e-12)
            assert_allclose(met[i] * np.cos(met_phi[i]), x, rtol=1e-9, atol=1e-9)
            assert_allclose(met[i] * np.sin(met_phi[i]), y, rtol=1e-9, atol=1e-9)
    up, down = (
        vector(varied_momentum(everything, convention, "unclustered", side))
        for side in ("up", "down")
    )
    nominal = vector(missing_momentum(everything, convention))
    assert_allclose((up + down) / 2, nominal, rtol=1e-12)


@pytest.mark.parametrize(("collection", "source"), [("PFMET", "jes"), ("MET", "jes")])
def test_a_variation_that_nobody_writes_is_refused(everything, collection, source):
    convention = find_convention(everything, dataset(met=collection))
    with pytest.raises(
        InputError,
        match=rf"^everything\.root has no variation '{source}' of the missing momentum "
        rf"{collection}; choose another with `met:`, or leave .* with `without:`",
    ):
        varied_momentum(everything, convention, source, "up")


@pytest.mark.parametrize(
    ("collection", "key"),
    [
        (collection, key)
        for collection, pairs in BRANCHES.items()
        for key in pairs
        if key != "nominal"
    ],
)
def test_a_missing_branch_of_a_variation_is_named(tmp_path, collection, key):
    gone = BRANCHES[collection][key][1]
    branches = {name: v for name, v in hand_made().items() if name != gone}
    events = open_nano(write_nano(tmp_path / "events.root", branches))
    convention = find_convention(events, dataset(met=collection))
    with pytest.raises(InputError, match=rf"^events\.root has no branch '{gone}'; "):
        varied_momentum(events, convention, *key)


@pytest.mark.parametrize("gone", DELTA)
def test_a_missing_delta_is_named(tmp_path, gone):
    branches = {name: v for name, v in hand_made().items() if name != gone}
    events = open_nano(write_nano(tmp_path / "events.root", branches))
    convention = find_convention(events, dataset(met="MET"))
    with pytest.raises(InputError, match=rf"^events\.root has no branch '{gone}'; "):
        varied_momentum(events, convention, "unclustered", "up")


@pytest.mark.parametrize("collection", BRANCHES)
def test_a_file_without_the_wanted_momentum_says_what_could_be_chosen(
    tmp_path, collection
):
    gone = BRANCHES[collection]["nominal"]
    branches = {name: v for name, v in hand_made().items() if name not in gone}
    events = open_nano(write_nano(tmp_path / "events.root", branches))
    record = dataset(name="W", met=collection)
    with pytest.raises(
        InputError,
        match=rf"^events\.root has no missing momentum: looked for {gone[0]}; choose "
        "one of MET_nom, MET_T1, PFMET, MET, PuppiMET with `met:` for dataset 'W'",
    ):
        find_convention(events, record)


def test_puppi_is_taken_only_where_it_is_asked_for(tmp_path):
    puppi = {n: v for n, v in hand_made().items() if n.startswith("Puppi")}
    events = open_nano(write_nano(tmp_path / "events.root", puppi))
    with pytest.raises(InputError, match="looked for MET_pt_nom, MET_T1_pt, PFMET_pt"):
        find_convention(events, dataset())
    assert find_convention(events, dataset(met="PuppiMET")) is PUPPI


@pytest.mark.parametrize("collection", BRANCHES)
def test_an_unknown_variation_is_refused(everything, collection):
    convention = find_convention(everything, dataset(met=collection))
    with pytest.raises(
        InputError, match=r"^the missing momentum has no variation 'recoil'"
    ):
        varied_momentum(everything, convention, "recoil", "up")


def test_no_events_have_no_missing_momentum(everything):
    nothing = everything[:0]
    convention = find_convention(nothing, dataset())
    assert [len(c) for c in missing_momentum(nothing, convention)] == [0, 0]


V9 = ["MET_pt", "MET_phi", "MET_T1_pt", "MET_T1_phi"]
V15 = ["PFMET_pt", "PFMET_phi", "PuppiMET_pt", "PuppiMET_phi"]
OLD = ["MET_pt", "MET_phi"]


def test_files_of_one_convention_go_together():
    files = {"a.root": V9, "b.root": [*reversed(V9), "Muon_pt"], "c.root": []}
    require_one_convention(dataset(), files)
    # A name in the catalogue settles it, also Puppi, which is not taken otherwise.
    require_one_convention(dataset(met="MET"), {"a.root": V9, "b.root": OLD})
    require_one_convention(dataset(met="PuppiMET"), {"a.root": V15, "b.root": V9})


@pytest.mark.parametrize(
    ("second", "named"), [(OLD, "MET in b.root"), (V15, "PFMET in b.root")]
)
def test_files_of_different_conventions_are_refused(second, named):
    with pytest.raises(
        InputError,
        match=rf"'sample': its files name the missing momentum in different ways: "
        rf"MET_T1 in a.root, {named}. Set `met:` to one that all of them have, or sp",
    ):
        require_one_convention(dataset(), {"a.root": V9, "b.root": second})


def test_an_unknown_convention_is_named_before_any_event():
    with pytest.raises(InputError, match=r"unknown `met: PFMet`; known are MET_nom"):
        require_one_convention(dataset(met="PFMet"), {"a.root": V9})
