"""The candidate's momentum: as in the file, and with a small Rochester file."""

import numpy as np
import pytest
from coffea.nanoevents import NanoEventsFactory
from numpy.testing import assert_allclose, assert_array_equal

from corrections.build_rochester import build_rochester
from corrections.common import write_set
from corrections.roccor import read_roccor
from tests.corrections.roccor_file import slow_error, slow_factor, small_file
from tests.corrections.shared_data import DATA, needs_data
from tests.events.nano import dataset, jagged, open_nano, write_nano
from tests.selection.exotic import exotic_branches
from wprops.datasets import Corrections
from wprops.errors import InputError
from wprops.event_random import event_uniform
from wprops.events.schema import NanoSchema
from wprops.selection.calibration import calibrated_pt
from wprops.selection.candidates import select
from wprops.selection.shifts import kinematic_shifts
from wprops.systematics.catalog import Available, declare

N = 300


@pytest.fixture(scope="module")
def rochester_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rochester")
    source, path = folder / "small.txt", folder / "muons.json.gz"
    source.write_text("\n".join(small_file()) + "\n")
    write_set(path, build_rochester(read_roccor(source)), "A test", [source])
    return path


@pytest.fixture(scope="module")
def branches():
    """Events with up to three muons, of which some have a generated partner."""
    branches = exotic_branches(N, seed=31)
    rng = np.random.default_rng(32)
    muons, particles = [], []
    for event in branches["Muon_pt"]:
        # Partners come after as many particles as there are muons before.
        generated = [500.0 + k for k in range(rng.integers(0, 4))]
        partners = []
        for pt in event:
            if rng.random() < 0.6:
                partners.append(len(generated))
                generated.append(float(pt) * rng.normal(1, 0.02))
            else:
                partners.append(-1)
        muons.append(partners)
        particles.append(generated)
    counts = [len(event) for event in muons]
    layers = [rng.integers(4, 16, n).tolist() for n in counts]
    return branches | {
        "run": rng.integers(1, 4, N).astype(np.uint32),
        "luminosityBlock": rng.integers(1, 100, N).astype(np.uint32),
        # Beyond what a double-precision number can tell apart.
        "event": (np.arange(N) + 2**53 + 1).astype(np.uint64),
        "MET_MetUnclustEnUpDeltaX": rng.normal(0, 3, N).astype(np.float32),
        "MET_MetUnclustEnUpDeltaY": rng.normal(0, 3, N).astype(np.float32),
        "Muon_genPartIdx": jagged(muons, np.int16),
        "Muon_nTrackerLayers": jagged(layers, np.uint8),
        "GenPart_pt": jagged(particles, np.float32),
    }


@pytest.fixture(scope="module")
def path(branches, tmp_path_factory):
    return write_nano(tmp_path_factory.mktemp("nano") / "events.root", branches)


@pytest.fixture(scope="module")
def events(path):
    return open_nano(path)


def record(muons=None, *, kind="mc", propagate=False):
    changes = {"kind": kind, "xsec": 1.0 if kind == "mc" else None}
    corrections = Corrections(muons=muons, propagate_muons=propagate)
    return dataset(triggers=(), flags=(), corrections=corrections, **changes)


def all_muons(branches):
    """Event and index of every muon, one after the other."""
    pairs = [
        (i, k) for i, event in enumerate(branches["Muon_pt"]) for k in range(len(event))
    ]
    event, index = np.array(pairs).T
    return event, index


def muon_of(branches, event, index):
    """What the definition asks of one muon."""
    names = {"charge": "charge", "pt": "pt", "eta": "eta", "phi": "phi"}
    muon = {key: branches[f"Muon_{n}"][event][index] for key, n in names.items()}
    muon = {key: float(value) for key, value in muon.items()}
    muon["n_layers"] = int(branches["Muon_nTrackerLayers"][event][index])
    partner = int(branches["Muon_genPartIdx"][event][index])
    if partner >= 0:
        muon["gen_pt"] = float(branches["GenPart_pt"][event][partner])
    identity = [branches[n][event] for n in ("run", "luminosityBlock", "event")]
    (muon["u"],) = event_uniform(*identity, stream=[index])
    return muon


def kind_of(muon, kind):
    if kind == "data":
        return "data"
    return "spread" if "gen_pt" in muon else "smear"


@pytest.mark.parametrize("kind", ["mc", "data"])
def test_without_a_calibration_momenta_are_those_of_the_file(events, branches, kind):
    event, index = all_muons(branches)
    found = calibrated_pt(events, record(kind=kind), event, index)
    pt = np.array(
        [branches["Muon_pt"][i][k] for i, k in zip(event, index, strict=True)]
    )
    assert_array_equal(found.nominal, pt)
    assert_allclose(found.up, 1.0005 * pt.astype(float), rtol=1e-15)
    assert_allclose(found.down, 0.9995 * pt.astype(float), rtol=1e-15)
    assert [column.dtype for column in found] == [np.float64] * 3


@pytest.mark.parametrize("kind", ["mc", "data"])
def test_calibrated_momenta_follow_the_definition(
    events, branches, rochester_file, kind
):
    event, index = all_muons(branches)
    found = calibrated_pt(events, record(rochester_file, kind=kind), event, index)
    kinds = []
    for j, (i, k) in enumerate(zip(event, index, strict=True)):
        muon = muon_of(branches, i, k)
        kinds.append(kind_of(muon, kind))
        factor = slow_factor(kinds[-1], muon)
        error = slow_error(kinds[-1], muon)
        assert_allclose(found.nominal[j], muon["pt"] * factor, rtol=1e-12)
        assert_allclose(found.up[j], muon["pt"] * (factor + error), rtol=1e-11)
        assert_allclose(found.down[j], muon["pt"] * (factor - error), rtol=1e-11)
    for used in ("data",) if kind == "data" else ("spread", "smear"):
        assert kinds.count(used) > 100


def test_a_muon_is_the_one_of_the_index_in_any_order(events, branches, rochester_file):
    event, index = all_muons(branches)
    everything = calibrated_pt(events, record(rochester_file), event, index)
    order = np.random.default_rng(5).permutation(len(event))[:50]
    some = calibrated_pt(events, record(rochester_file), event[order], index[order])
    for first, second in zip(everything, some, strict=True):
        assert_array_equal(first[order], second)


def test_muons_of_an_event_are_smeared_independently(tmp_path, rochester_file):
    """Two muons that are the same but for their place."""
    same = {
        "Muon_pt": [[40.0, 40.0]] * 2,
        "Muon_eta": [[0.5, 0.5]] * 2,
        "Muon_phi": [[0.3, 0.3]] * 2,
    }
    branches = {name: jagged(rows, np.float32) for name, rows in same.items()}
    branches |= {
        "Muon_charge": jagged([[1, 1]] * 2, np.int32),
        "Muon_genPartIdx": jagged([[-1, -1]] * 2, np.int16),
        "Muon_nTrackerLayers": jagged([[10, 10]] * 2, np.uint8),
        "GenPart_pt": jagged([[]] * 2, np.float32),
    }
    events = open_nano(write_nano(tmp_path / "same.root", branches))
    event, index = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    found = calibrated_pt(events, record(rochester_file), event, index)
    assert len(set(found.nominal)) == 4
    # In data they are not smeared.
    data = calibrated_pt(events, record(rochester_file, kind="data"), event, index)
    assert len(set(data.nominal)) == 1


def chunks(path, size):
    """Candidates of a file, in chunks of some size."""
    for start in range(0, N, size):
        yield NanoEventsFactory.from_root(
            {str(path): "Events"},
            schemaclass=NanoSchema,
            mode="virtual",
            entry_start=start,
            entry_stop=min(start + size, N),
        ).events()


@pytest.mark.parametrize("size", [1, 37, 299])
def test_momenta_do_not_depend_on_the_chunks(path, events, rochester_file, size):
    asked = record(rochester_file, propagate=True)
    whole = select(events, asked, np.ones(N, bool))
    limit = 15 if size == 1 else N
    parts = []
    for chunk in chunks(path, size):
        parts.append(select(chunk, asked, np.ones(len(chunk), bool)))
        if len(parts) * size >= limit:
            break
    for name in ("pt", "pt_up", "pt_down", "met", "met_phi", "mt"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert_array_equal(joined, getattr(whole, name)[: len(joined)])


@pytest.mark.parametrize("kind", ["mc", "data"])
@pytest.mark.parametrize("propagate", [False, True])
def test_candidates_have_the_calibrated_momentum(
    events, branches, rochester_file, kind, propagate
):
    everything = np.ones(N, bool)
    raw = select(events, record(kind=kind), everything)
    found = select(
        events, record(rochester_file, kind=kind, propagate=propagate), everything
    )
    chosen = np.flatnonzero(raw.charge)
    assert len(chosen) > 100
    for i in chosen:
        # The candidate is the muon of the file with this momentum and direction.
        (index,) = [
            k
            for k in range(len(branches["Muon_pt"][i]))
            if branches["Muon_pt"][i][k] == raw.pt[i]
            and branches["Muon_phi"][i][k] == raw.phi[i]
        ]
        muon = muon_of(branches, i, index)
        factor = slow_factor(kind_of(muon, kind), muon)
        assert_allclose(found.pt[i], raw.pt[i] * factor, rtol=1e-12)
        error = slow_error(kind_of(muon, kind), muon) * raw.pt[i]
        assert_allclose(found.pt_up[i] - found.pt[i], error, rtol=1e-6)
        assert_allclose(found.pt[i] - found.pt_down[i], error, rtol=1e-6)
    # What is measured besides stays as it was, event by event.
    for name in ("eta", "phi", "charge", "isolation", "isolated", "n_loose"):
        assert_array_equal(getattr(found, name), getattr(raw, name))
    before, after = (c.met * np.exp(1j * c.met_phi) for c in (raw, found))
    moved = (found.pt - raw.pt) * np.exp(1j * raw.phi)
    expected = (
        np.where(raw.charge != 0, before - moved, before) if propagate else before
    )
    assert_allclose(after, expected, rtol=1e-9, atol=1e-9)
    assert (np.abs(after - before)[chosen] > 0.01).any() == propagate
    squared = 2 * found.pt * found.met * (1 - np.cos(found.phi - found.met_phi))
    assert_allclose(found.mt[chosen] ** 2, squared[chosen], rtol=1e-9, atol=1e-9)


def shifted(events, asked):
    """Missing momenta: nominal, and with the unclustered energy up and down."""
    candidates = select(events, asked, np.ones(N, bool))
    declared = declare(Available(without=frozenset({"jes", "muon_scale"})))
    shifts = kinematic_shifts(events, asked, candidates, np.arange(N), declared)
    return {label: c.met * np.exp(1j * c.met_phi) for label, c in shifts}


@pytest.mark.parametrize(
    "propagate",
    [
        False,
        True,
    ],
)
def test_the_recoil_varies_by_the_same_whatever_the_muon(
    events, rochester_file, propagate
):
    raw = shifted(events, record())
    found = shifted(events, record(rochester_file, propagate=propagate))
    assert list(found) == ["nominal", "unclustered_up", "unclustered_down"]
    for label, missing in found.items():
        assert_allclose(
            missing - found["nominal"], raw[label] - raw["nominal"], atol=1e-9
        )


def test_thresholds_of_identification_are_on_the_momentum_of_the_file(
    events, rochester_file
):
    everything = np.ones(N, bool)
    raw = select(events, record(), everything)
    found = select(events, record(rochester_file), everything)
    assert_array_equal(np.isnan(found.pt), np.isnan(raw.pt))
    assert (found.pt[np.isfinite(found.pt)] != raw.pt[np.isfinite(raw.pt)]).all()


@pytest.mark.parametrize(
    ("kind", "gone"),
    [
        ("mc", "Muon_genPartIdx"),
        ("mc", "Muon_nTrackerLayers"),
        ("mc", "GenPart_pt"),
        ("data", None),
    ],
)
def test_only_simulation_needs_generated_muons(
    tmp_path, branches, rochester_file, kind, gone
):
    names = ("Muon_genPartIdx", "Muon_nTrackerLayers", "GenPart_pt")
    without = names if gone is None else (gone,)
    kept = {name: values for name, values in branches.items() if name not in without}
    events = open_nano(write_nano(tmp_path / "events.root", kept))
    asked = record(rochester_file, kind=kind)
    if gone is None:
        select(events, asked, np.ones(N, bool))
        return
    with pytest.raises(InputError, match=rf"^events\.root has no branch '{gone}'; "):
        select(events, asked, np.ones(N, bool))


def test_no_muons_have_no_momenta(events, rochester_file):
    nothing = np.array([], np.int64)
    for asked in (
        record(),
        record(rochester_file),
        record(rochester_file, kind="data"),
    ):
        found = calibrated_pt(events, asked, nothing, nothing)
        assert [len(column) for column in found] == [0, 0, 0]


@needs_data("nano")
@needs_data("rochester")
def test_real_data_have_the_known_factors(tmp_path):
    """Factors that coffea's tests have for the same events."""
    source = DATA / "rochester" / "RoccoR2018.txt.gz"
    path = tmp_path / "muons.json.gz"
    write_set(path, build_rochester(read_roccor(source)), "A test", [source])
    events = open_nano(DATA / "nano" / "nano_dimuon.root")
    counts = [len(muons) for muons in events.Muon]
    event = np.repeat(np.arange(len(counts)), counts)
    index = np.concatenate([np.arange(n) for n in counts])
    found = calibrated_pt(events, record(path, kind="data"), event, index)
    factor, error = (
        np.load(DATA / "rochester" / f"nano_dimuon_rochester{name}.npy")
        for name in ("", "_err")
    )
    pt = np.concatenate([np.asarray(muons.pt, float) for muons in events.Muon])
    assert_allclose(found.nominal / pt, factor, rtol=0, atol=1e-9)
    assert_allclose(found.up / pt, factor + error, rtol=0, atol=1e-9)
