"""Candidates against a loop over events, at and around every threshold."""

import dataclasses

import numpy as np
import pytest
import uproot
from coffea.lumi_tools import LumiMask
from numpy.testing import assert_allclose, assert_array_equal

from tests.events.nano import dataset, jagged, open_nano, open_sample, toy_catalog
from tests.selection.exotic import (
    FLAGS,
    TRIGGERS,
    event_type,
    exotic_branches,
    is_loose,
    is_veto,
    objects,
    transverse_mass,
    write_exotic,
)
from wprops.errors import InputError
from wprops.selection.candidates import certified_events, select
from wprops.selection.met import find_convention, missing_momentum

N, SEED = 4000, 17
PLAIN = dataset(name="exotic", triggers=TRIGGERS, flags=FLAGS)


@pytest.fixture(scope="module")
def branches():
    return exotic_branches(N, SEED)


@pytest.fixture(scope="module")
def candidates(tmp_path_factory):
    path = write_exotic(tmp_path_factory.mktemp("exotic") / "events.root", N, SEED)
    return select_from(path)


def select_from(path, record=PLAIN):
    events = open_nano(path)
    return select(events, record, np.ones(len(events), bool))


def test_candidates_are_those_of_the_loop(branches, candidates):
    kinds = []
    for i, muons in enumerate(objects(branches, "Muon")):
        assert candidates.n_loose[i] == sum(is_loose(muon) for muon in muons)
        if candidates.n_loose[i] >= 2:
            continue
        kind, muon = event_type(muons)
        kinds.append(kind)
        assert candidates.isolated[i] == (kind == 0)
        assert candidates.anti_isolated[i] == (kind == 1)
        if muon is None:
            assert np.isnan(candidates.pt[i])
            assert candidates.charge[i] == 0
            continue
        assert candidates.pt[i] == muon.pt
        assert candidates.eta[i] == muon.eta
        assert candidates.phi[i] == muon.phi
        assert candidates.charge[i] == muon.charge
        assert candidates.isolation[i] == muon.pfRelIso04_all
    # Every kind of event is there many times.
    assert min(kinds.count(kind) for kind in (0, 1, None)) > 200


def test_exotic_events_put_candidates_on_the_thresholds(candidates):
    isolated, anti = candidates.isolated, candidates.anti_isolated
    assert candidates.isolation[isolated].max() == np.float32(0.15)
    assert candidates.isolation[anti].min() == np.nextafter(np.float32(0.15), 1)


def test_classes_exclude_each_other(candidates):
    assert not (candidates.isolated & candidates.anti_isolated).any()
    has_none = ~(candidates.isolated | candidates.anti_isolated)
    for name in ("pt", "pt_up", "pt_down", "eta", "phi", "isolation", "mt"):
        assert_array_equal(np.isnan(getattr(candidates, name)), has_none)
    assert_array_equal(candidates.charge == 0, has_none)


def test_veto_electrons_are_those_of_the_loop(branches, candidates):
    expected = [
        sum(is_veto(electron) for electron in electrons)
        for electrons in objects(branches, "Electron")
    ]
    assert_array_equal(candidates.n_veto_electrons, expected)
    assert set(expected) == {0, 1, 2}


def test_one_trigger_and_all_filters_are_needed(branches, candidates):
    for i in range(N):
        fired = branches["HLT_IsoMu24"][i] or branches["HLT_IsoTkMu24"][i]
        assert candidates.triggered[i] == fired
        assert candidates.passes_flags[i] == all(branches[name][i] for name in FLAGS)


def test_transverse_mass_is_the_textbook_one(branches, candidates):
    found = candidates.isolated | candidates.anti_isolated
    expected = [
        transverse_mass(
            candidates.pt[i],
            candidates.phi[i],
            float(branches["MET_pt"][i]),
            float(branches["MET_phi"][i]),
        )
        for i in np.flatnonzero(found)
    ]
    # 1 − cos loses digits for parallel vectors: 1e-16 becomes 1e-8 in the root.
    assert_allclose(candidates.mt[found], expected, rtol=1e-9, atol=1e-5)


@pytest.mark.parametrize("factor", [1.0, 1.0005, 0.9995, 1.2])
def test_another_muon_scale_changes_the_missing_momentum_too(candidates, factor):
    scaled = candidates.with_muon_pt(factor * candidates.pt)
    for i in np.flatnonzero(candidates.isolated)[:300]:
        muon = candidates.pt[i] * np.exp(1j * candidates.phi[i])
        missing = candidates.met[i] * np.exp(1j * candidates.met_phi[i])
        # What balances muon and missing momentum was not measured again.
        assert_allclose(
            scaled.met[i] * np.exp(1j * scaled.met_phi[i]),
            missing - (factor * muon - muon),
            rtol=1e-12,
        )
        assert_allclose(scaled.pt[i], factor * candidates.pt[i], rtol=1e-15)
        total = missing + muon
        new = total - factor * muon
        squared = 2 * (
            factor * abs(muon) * abs(new) - (factor * muon * np.conj(new)).real
        )
        # Cancellation in the difference of two products of some 1000 GeV².
        assert_allclose(scaled.mt[i] ** 2, squared, rtol=1e-9, atol=1e-9)
    for name in ("eta", "phi", "charge", "isolation", "n_loose", "isolated"):
        assert_array_equal(getattr(scaled, name), getattr(candidates, name))


def test_the_same_momenta_change_nothing(candidates):
    same, found = candidates.with_muon_pt(candidates.pt), candidates.charge != 0
    for name in ("pt", "met", "met_phi", "mt"):
        # Missing momentum goes to components and back.
        assert_allclose(
            getattr(same, name)[found],
            getattr(candidates, name)[found],
            rtol=1e-9,
            atol=1e-9,
        )
    # Without a candidate there is nothing that could move it.
    for name in ("met", "met_phi"):
        assert_array_equal(
            getattr(same, name)[~found], getattr(candidates, name)[~found]
        )


def test_another_missing_momentum_changes_the_transverse_mass_alone(candidates):
    met, met_phi = candidates.met[::-1], candidates.met_phi[::-1]
    moved = candidates.with_met(met, met_phi)
    found = np.flatnonzero(candidates.charge)[:300]
    expected = [
        transverse_mass(candidates.pt[i], candidates.phi[i], met[i], met_phi[i])
        for i in found
    ]
    assert_allclose(moved.mt[found], expected, rtol=1e-9, atol=1e-5)
    assert_array_equal(moved.met, met)
    assert_array_equal(moved.met_phi, met_phi)
    for name in ("pt", "pt_up", "pt_down", "eta", "phi", "charge", "isolated"):
        assert_array_equal(getattr(moved, name), getattr(candidates, name))


def test_some_of_the_candidates_are_taken_in_their_order(candidates):
    index = np.array([7, 3, 3, N - 1])
    some = candidates.take(index)
    for field in dataclasses.fields(candidates):
        expected = [getattr(candidates, field.name)[i] for i in index]
        assert_array_equal(getattr(some, field.name), expected)
    assert len(candidates.take(np.array([], np.int64)).pt) == 0


def test_a_chunk_may_be_empty(tmp_path):
    events = open_nano(write_exotic(tmp_path / "events.root", 5))[:0]
    assert len(select(events, PLAIN, np.ones(0, bool)).pt) == 0


def test_events_may_all_lack_muons(tmp_path):
    branches = exotic_branches(5, SEED)
    nothing = {
        name: jagged([[]] * 5, np.asarray(values[0]).dtype)
        for name, values in branches.items()
        if name.startswith(("Muon_", "Electron_"))
    }
    found = select_from(write_exotic(tmp_path / "events.root", 5, **nothing))
    assert not (found.isolated | found.anti_isolated | found.n_loose).any()
    assert np.isnan(found.pt).all()


@pytest.mark.parametrize("name", [*TRIGGERS, *FLAGS])
def test_a_missing_bit_is_named_with_the_setting_that_goes_without(tmp_path, name):
    path = write_exotic(tmp_path / "events.root", 10, without=[name])
    setting, names = ("triggers", TRIGGERS) if name in TRIGGERS else ("flags", FLAGS)
    rest = ", ".join(other for other in names if other != name)
    with pytest.raises(
        InputError,
        match=rf"^events\.root has no branch '{name}'; set `{setting}: \[{rest}\]` "
        "for dataset 'exotic' to go on",
    ):
        select_from(path)
    # What the message says works.
    kept = tuple(other for other in names if other != name)
    select_from(path, PLAIN.model_copy(update={setting: kept}))


def test_the_last_trigger_can_be_given_up(tmp_path):
    path = write_exotic(tmp_path / "events.root", 10, without=TRIGGERS)
    with pytest.raises(InputError, match=r"`triggers: \[\]` for dataset 'exotic'"):
        select_from(path, PLAIN.model_copy(update={"triggers": TRIGGERS[:1]}))


def test_without_triggers_and_filters_everything_passes(tmp_path):
    path = write_exotic(tmp_path / "events.root", 500, without=[*TRIGGERS, *FLAGS])
    record = dataset(triggers=(), flags=())
    candidates = select_from(path, record)
    assert candidates.triggered.all()
    assert candidates.passes_flags.all()


@pytest.mark.parametrize(
    "name",
    [
        "Muon_pt",
        "Muon_eta",
        "Muon_phi",
        "Muon_charge",
        "Muon_dxy",
        "Muon_dz",
        "Muon_pfRelIso04_all",
        "Muon_mediumId",
        "Muon_isPFcand",
        "Electron_pt",
        "Electron_eta",
        "Electron_deltaEtaSC",
        "Electron_dxy",
        "Electron_dz",
        "Electron_cutBased",
        "Electron_pfRelIso03_all",
    ],
)
def test_a_missing_column_is_named(tmp_path, name):
    path = write_exotic(tmp_path / "events.root", 10, without=[name])
    with pytest.raises(
        InputError,
        match=rf"^events\.root has no branch '{name}'; produce the file again",
    ):
        select_from(path)


@pytest.mark.parametrize("name", ["Muon_mass", "Electron_mass", "Electron_charge"])
def test_a_column_that_no_cut_reads_may_be_missing(tmp_path, name, candidates):
    path = write_exotic(tmp_path / "events.root", N, SEED, without=[name])
    assert_array_equal(select_from(path).isolated, candidates.isolated)


def test_integers_stand_for_booleans(tmp_path, branches, candidates):
    # As some versions of NanoAOD have them.
    name = "Muon_mediumId"
    as_integers = jagged(branches[name], np.uint8)
    bits = {flag: branches[flag].astype(np.uint8) for flag in TRIGGERS}
    path = write_exotic(
        tmp_path / "events.root", N, SEED, **{name: as_integers, **bits}
    )
    found = select_from(path)
    assert_array_equal(found.isolated, candidates.isolated)
    assert_array_equal(found.triggered, candidates.triggered)


#: Names of pT and azimuth, in the order in which they are preferred.
PREFERENCE = (
    ("MET_pt_nom", "MET_phi_nom"),
    ("MET_T1_pt", "MET_T1_phi"),
    ("PFMET_pt", "PFMET_phi"),
    ("MET_pt", "MET_phi"),
)


def all_met_branches(n):
    names = (*PREFERENCE, ("PuppiMET_pt", "PuppiMET_phi"))
    return {
        name: np.full(n, 10 * k + j + 1, np.float32)
        for k, pair in enumerate(names)
        for j, name in enumerate(pair)
    }


@pytest.mark.parametrize("absent", range(4))
def test_the_best_missing_momentum_of_a_file_is_used(tmp_path, absent):
    branches = all_met_branches(20)
    gone = [name for pair in PREFERENCE[:absent] for name in pair]
    without = {n: branches[n] for n in branches if n not in gone}
    path = write_exotic(tmp_path / "events.root", 20, without=gone, **branches)
    events = open_nano(path)
    pt, phi = missing_momentum(events, find_convention(events, PLAIN))
    expected = [without[name] for name in PREFERENCE[absent]]
    assert_array_equal(pt, expected[0])
    assert_array_equal(phi, expected[1])
    assert pt.dtype == phi.dtype == np.float64


def test_a_lonely_magnitude_is_passed_over(tmp_path):
    path = write_exotic(
        tmp_path / "events.root",
        5,
        without=["MET_T1_phi"],
        **all_met_branches(5),
    )
    events = open_nano(path)
    chosen = dataset(met="MET_T1")
    with pytest.raises(InputError, match=r"looked for MET_T1_pt; choose one of MET_no"):
        find_convention(events, chosen)
    assert find_convention(events, PLAIN).collection == "MET_nom"
    without = write_exotic(
        tmp_path / "other.root",
        5,
        without=["MET_pt_nom", "MET_T1_phi"],
        **all_met_branches(5),
    )
    assert find_convention(open_nano(without), PLAIN).collection == "PFMET"


@pytest.mark.parametrize(
    ("met", "pair"),
    [
        ("PuppiMET", ("PuppiMET_pt", "PuppiMET_phi")),
        ("MET", ("MET_pt", "MET_phi")),
        ("MET_T1", ("MET_T1_pt", "MET_T1_phi")),
        ("MET_nom", ("MET_pt_nom", "MET_phi_nom")),
        ("PFMET", ("PFMET_pt", "PFMET_phi")),
    ],
)
def test_the_catalogue_can_name_the_missing_momentum(tmp_path, met, pair):
    branches = all_met_branches(20)
    path = write_exotic(tmp_path / "events.root", 20, **branches)
    record = PLAIN.model_copy(update={"met": met})
    candidates = select_from(path, record)
    assert_array_equal(candidates.met, branches[pair[0]])
    assert_array_equal(candidates.met_phi, branches[pair[1]])


def test_a_file_without_missing_momentum_lists_what_was_looked_for(tmp_path):
    path = write_exotic(tmp_path / "events.root", 5, without=["MET_pt", "MET_phi"])
    with pytest.raises(
        InputError,
        match=r"^events\.root has no missing momentum: looked for MET_pt_nom, "
        "MET_T1_pt, PFMET_pt, MET_pt; choose one of MET_nom, MET_T1, PFMET, MET, "
        "PuppiMET with `met:` for dataset 'exotic'",
    ):
        select_from(path)
    with pytest.raises(InputError, match="looked for PuppiMET_pt; choose one of"):
        select_from(path, PLAIN.model_copy(update={"met": "PuppiMET"}))


def test_a_missing_momentum_that_nobody_knows_is_refused(tmp_path):
    path = write_exotic(tmp_path / "events.root", 5)
    with pytest.raises(
        InputError,
        match=r"^dataset 'exotic': unknown `met: DeepMET`; known are MET_nom, MET_T1, ",
    ):
        select_from(path, PLAIN.model_copy(update={"met": "DeepMET"}))


@pytest.mark.parametrize(
    ("nano", "pair"),
    [("v6", PREFERENCE[0]), ("v9", PREFERENCE[1]), ("v15", PREFERENCE[2])],
)
def test_each_version_of_nanoaod_has_its_missing_momentum(tmp_path, nano, pair):
    catalog = toy_catalog(tmp_path, events=400, seed=2, nano=nano, samples=["Wplus_mu"])
    record = catalog.dataset("Wplus_mu")
    events = open_sample(catalog, "Wplus_mu")
    with uproot.open(record.files[0]) as file:
        expected = [file["Events"][name].array(library="np") for name in pair]
    candidates = select(events, record, np.ones(len(events), bool))
    assert_array_equal(candidates.met, expected[0])
    assert_array_equal(candidates.met_phi, expected[1])


@pytest.fixture
def sections(tmp_path):
    """Events in sections 1 to 6 of two runs, and a mask of certified ones."""
    golden = tmp_path / "golden.json"
    golden.write_text('{"7": [[1, 2], [4, 4]], "9": [[6, 100]]}')
    run = np.repeat([7, 8, 9], 6).astype(np.uint32)
    section = np.tile(np.arange(1, 7), 3).astype(np.uint32)
    path = write_exotic(tmp_path / "events.root", 18, run=run, luminosityBlock=section)
    certified = {(7, 1), (7, 2), (7, 4), (9, 6)}
    expected = [pair in certified for pair in zip(run, section, strict=True)]
    return open_nano(path), LumiMask(str(golden)), expected


def test_data_are_certified_by_section(sections):
    events, golden, expected = sections
    data = dataset(kind="data", xsec=None, process="data")
    assert_array_equal(certified_events(events, data, golden), expected)
    assert certified_events(events, data, None).all()


def test_simulation_needs_no_certificate(sections):
    events, golden, _ = sections
    certified = certified_events(events, dataset(), golden)
    assert certified.all()
    assert certified.dtype == bool
    assert len(certified) == 18


def test_the_certificate_travels_with_the_candidates(sections):
    events, _, expected = sections
    found = select(events, PLAIN, np.array(expected))
    assert_array_equal(found.certified, expected)
    assert_array_equal(found.with_muon_pt(1.1 * found.pt).certified, expected)
