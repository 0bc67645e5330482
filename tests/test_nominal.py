"""The nominal weight: each correction against its definition, and their product."""

import math

import numpy as np
import pytest
import uproot
from numpy.testing import assert_allclose, assert_array_equal

from corrections.build_efficiency import StepFactors
from corrections.build_pileup import build_pileup
from corrections.common import Histogram, write_set
from tests.corrections.boson_examples import SPECTRA, expected_weight, write_boson
from tests.corrections.efficiency_toys import (
    ETA,
    PT,
    SELECTION_ETA,
    STAT_PT,
    bin_of,
    look_up,
    make_steps,
    muons,
    write_steps,
)
from tests.corrections.test_prefire import loop, make_events, make_maps, write_maps
from tests.events.nano import (
    dataset,
    jagged,
    open_nano,
    open_sample,
    toy_catalog,
    write_nano,
)
from wprops.corrections.boson import ABSY, QT
from wprops.corrections.prefire import BRANCHES
from wprops.datasets import Corrections, EfficiencyCorrection, NamedCorrection
from wprops.errors import ConfigError, InputError
from wprops.nominal import efficiency, generated_weight, nominal_weight, prefire

NORMALISATION = 0.25
ONE_BIN = {"edges": (np.array([-2.4, 2.4]), np.array([25.0, 55.0]))}
#: Which names of prefire weights each version has, and its variations.
FLAVOURS = {"v6": "v6", "v9": "v9", "v15": "v9"}


@pytest.fixture(scope="module", params=FLAVOURS)
def toy(request, tmp_path_factory):
    """Catalogue of W, Z and directly drawn muons in one version of NanoAOD."""
    return toy_catalog(
        tmp_path_factory.mktemp(request.param),
        events=1000,
        seed=13,
        nano=request.param,
        samples=["Wplus_mu", "Z_mumu", "top", "data"],
        negative_fraction=0.3,
    )


def column(catalog, name, branch):
    with uproot.open(catalog.dataset(name).files[0]) as file:
        return file["Events"][branch].array(library="np")


def weigh(catalog, name, corrections, function=nominal_weight):
    """Weight of the events of a dataset under some corrections."""
    record = catalog.dataset(name).model_copy(update={"corrections": corrections})
    events = open_nano(
        record.files[0], record=record, normalisation=NORMALISATION, chunk=0
    )
    return function(events)


def generated(catalog, name):
    return NORMALISATION * column(catalog, name, "genWeight").astype(float)


PILEUP_EDGES = np.linspace(0.0, 60.0, 13)
DATA_PROFILE = np.array([1.0, 4, 9, 14, 18, 20, 15, 9, 6, 3, 2, 1])
MC_PROFILE = np.array([2.0, 3, 7, 12, 20, 22, 18, 12, 5, 3, 1, 1])


@pytest.fixture(scope="module")
def pileup(tmp_path_factory):
    path = tmp_path_factory.mktemp("pileup") / "pileup.json"
    profiles = {
        name: Histogram.from_arrays(values, PILEUP_EDGES)
        # Other weights by the same name as those of the variations.
        for name, values in (("nominal", DATA_PROFILE), ("up", DATA_PROFILE[::-1]))
    }
    profiles["down"] = profiles["up"]
    mc = Histogram.from_arrays(MC_PROFILE, PILEUP_EDGES)
    write_set(path, [build_pileup(profiles, mc)], "A test", [])
    return NamedCorrection(file=path, name="pileup")


def slow_pileup(n_true):
    """Fraction of data over fraction of simulation, bin by bin."""
    ratio = []
    for n in n_true:
        i = min(int(n / 5.0), len(DATA_PROFILE) - 1)
        data = DATA_PROFILE[i] / DATA_PROFILE.sum()
        ratio.append(data / (MC_PROFILE[i] / MC_PROFILE.sum()))
    return np.array(ratio)


@pytest.fixture(scope="module")
def boson(tmp_path_factory):
    path = tmp_path_factory.mktemp("boson") / "boson.json"
    write_boson(path, SPECTRA)
    return path


def slow_boson(catalog, name):
    """Weight in qT and |Y| from the leptons that follow the boson in the toy's list."""
    pt, eta, phi = (
        column(catalog, name, f"GenPart_{axis}") for axis in ("pt", "eta", "phi")
    )
    weights = []
    for event in zip(pt, eta, phi, strict=True):
        px = py = pz = energy = 0.0
        for place in (1, 2):
            p, h, f = (float(values[place]) for values in event)
            px, py = px + p * math.cos(f), py + p * math.sin(f)
            pz, energy = pz + p * math.sinh(h), energy + p * math.cosh(h)
        absy = abs(0.5 * math.log((energy + pz) / (energy - pz)))
        weights.append(
            expected_weight(SPECTRA[QT], math.hypot(px, py), "nominal")
            * expected_weight(SPECTRA[ABSY], absy, "nominal")
        )
    return np.array(weights)


def slow_prefire(catalog, name, k=0):
    flavour = FLAVOURS[catalog.datasets[0].nano]
    return column(catalog, name, BRANCHES[flavour][k]).astype(float)


def test_without_corrections_it_is_that_of_the_generator(toy):
    for name in ("Wplus_mu", "Z_mumu", "top"):
        weight = weigh(toy, name, Corrections())
        assert_array_equal(weight, generated(toy, name))
        assert weight.dtype == np.float64
        assert set(weight) == {-NORMALISATION, NORMALISATION}


def test_pile_up_is_the_ratio_of_the_profiles(toy, pileup):
    for name in ("Wplus_mu", "top"):
        weight = weigh(toy, name, Corrections(pileup=pileup))
        ratio = slow_pileup(column(toy, name, "Pileup_nTrueInt"))
        assert_allclose(weight, generated(toy, name) * ratio, rtol=1e-7)
        assert ratio.std() > 0.1


def test_prefiring_is_the_branch_of_the_version(toy):
    weight = weigh(toy, "Wplus_mu", Corrections(prefire="branches"))
    branch = slow_prefire(toy, "Wplus_mu")
    assert_allclose(weight, generated(toy, "Wplus_mu") * branch, rtol=1e-14)
    assert branch.min() < 0.99


def test_prefire_variations_are_the_branches_of_the_version(toy):
    events = open_sample(toy, "Wplus_mu")
    found = prefire(events, dataset(corrections=Corrections(prefire="branches")))
    for k, variation in enumerate(("nominal", "up", "down")):
        assert_array_equal(found[variation], slow_prefire(toy, "Wplus_mu", k))


def test_bosons_have_the_weight_of_their_qt_and_rapidity(toy, boson):
    for name in ("Wplus_mu", "Z_mumu"):
        weight = weigh(toy, name, Corrections(boson=boson))
        expected = generated(toy, name) * slow_boson(toy, name)
        # Bins have sharp edges, but momenta in the file are in single precision.
        agree = np.isclose(weight, expected, rtol=1e-7)
        assert agree.mean() > 0.995
        assert weight.std() > 0.1


def test_the_spectrum_is_that_of_generated_events_too(toy, pileup, boson):
    """Pile-up and prefiring are of the detector, the spectrum of the boson is not."""
    together = Corrections(pileup=pileup, prefire="branches", boson=boson)
    weight = weigh(toy, "Z_mumu", together, generated_weight)
    alone = weigh(toy, "Z_mumu", Corrections(boson=boson))
    assert_array_equal(weight, alone)
    plain = weigh(toy, "Wplus_mu", Corrections(prefire="branches"), generated_weight)
    assert_array_equal(plain, generated(toy, "Wplus_mu"))


def test_bosons_of_other_processes_are_not_reweighted(toy, boson):
    """The W of a top decay has another spectrum than that of a W alone."""
    record = toy.dataset("Wplus_mu").model_copy(
        update={"process": "top", "corrections": Corrections(boson=boson)}
    )
    events = open_nano(record.files[0], record=record, normalisation=NORMALISATION)
    assert_array_equal(nominal_weight(events), generated(toy, "Wplus_mu"))


def test_events_without_a_boson_are_not_reweighted(toy, boson):
    """Directly drawn muons, under the process of a boson."""
    record = toy.dataset("top").model_copy(
        update={"process": "Z", "corrections": Corrections(boson=boson)}
    )
    events = open_nano(record.files[0], record=record, normalisation=NORMALISATION)
    assert_array_equal(nominal_weight(events), generated(toy, "top"))


def test_all_corrections_multiply(toy, pileup, boson):
    together = Corrections(pileup=pileup, prefire="branches", boson=boson)
    weight = weigh(toy, "Z_mumu", together)
    expected = generated(toy, "Z_mumu")
    for one in ({"pileup": pileup}, {"prefire": "branches"}, {"boson": boson}):
        alone = weigh(toy, "Z_mumu", Corrections(**one))
        expected *= alone / generated(toy, "Z_mumu")
    assert_allclose(weight, expected, rtol=1e-12)


def test_data_have_weight_one_whatever_the_corrections(toy, pileup, boson):
    together = Corrections(pileup=pileup, prefire="branches", boson=boson)
    weight = weigh(toy, "data", together)
    assert len(weight) > 50
    assert (weight == 1.0).all()
    assert weight.dtype == np.float64


# Prefiring from maps


def collections(events):
    """Columns of jets, photons and electrons, with NanoAOD's names."""

    def column(kind, key, dtype):
        return jagged([[o[key] for o in event[kind]] for event in events], dtype)

    branches = {}
    for kind, name in (
        ("jets", "Jet"),
        ("photons", "Photon"),
        ("electrons", "Electron"),
    ):
        for axis in ("pt", "eta"):
            branches[f"{name}_{axis}"] = column(kind, axis, np.float64)
        branches[f"{name}_phi"] = column(kind, "pt", np.float64)
        branches[f"{name}_mass"] = column(kind, "pt", np.float64)
    branches["Photon_jetIdx"] = column("photons", "jet", np.int16)
    branches["Electron_jetIdx"] = column("electrons", "jet", np.int32)
    branches["Electron_photonIdx"] = column("electrons", "photon", np.int16)
    return branches


@pytest.fixture
def maps(tmp_path):
    path = tmp_path / "maps.json"
    write_maps(path, make_maps())
    return path


def open_with(folder, branches, corrections):
    path = write_nano(folder / "events.root", branches)
    record = dataset(name="W", corrections=corrections)
    return open_nano(path, record=record, normalisation=NORMALISATION)


def test_prefiring_from_maps_is_that_of_the_loop(tmp_path, maps):
    made = make_events(np.random.default_rng(8), 400)
    branches = collections(made) | {"genWeight": np.linspace(-1, 2, 400)}
    events = open_with(tmp_path, branches, Corrections(prefire=maps))
    found = prefire(events, events.metadata["record"])
    for variation in ("nominal", "up", "down"):
        expected = [loop(make_maps(), event, variation) for event in made]
        assert_allclose(found[variation], expected, rtol=1e-7, atol=1e-9)
    assert_allclose(
        nominal_weight(events),
        NORMALISATION * branches["genWeight"] * found["nominal"],
        rtol=1e-14,
    )
    assert np.mean(found["nominal"] < 1) > 0.5


def test_events_without_objects_do_not_prefire(tmp_path, maps):
    nothing = {"jets": [], "photons": [], "electrons": []}
    branches = collections([nothing] * 3) | {"genWeight": np.ones(3)}
    events = open_with(tmp_path, branches, Corrections(prefire=maps))
    assert_array_equal(nominal_weight(events), [NORMALISATION] * 3)


@pytest.mark.parametrize(
    "gone",
    [
        *("Jet_pt", "Jet_eta", "Photon_pt", "Photon_eta", "Electron_pt"),
        *("Photon_jetIdx", "Electron_jetIdx", "Electron_photonIdx"),
    ],
)
def test_objects_that_maps_need_are_named(tmp_path, maps, gone):
    branches = collections(make_events(np.random.default_rng(10), 5))
    del branches[gone]
    events = open_with(tmp_path, branches, Corrections(prefire=maps))
    with pytest.raises(
        InputError,
        match=rf"^events\.root has no branch '{gone}'; set `prefire: branches`, or use",
    ):
        prefire(events, events.metadata["record"])


# What files lack


@pytest.mark.parametrize(
    ("asked", "branch", "remedy"),
    [
        ("none", "genWeight", r"use .*or set `kind: data`"),
        ("pileup", "Pileup_nTrueInt", "take `pileup:` out of the corrections"),
    ],
)
def test_a_missing_branch_is_named_with_a_remedy(
    tmp_path, pileup, asked, branch, remedy
):
    branches = {"genWeight": np.ones(3), "Pileup_nTrueInt": np.ones(3)}
    del branches[branch]
    corrections = Corrections(pileup=pileup if asked == "pileup" else None)
    events = open_with(tmp_path, branches | {"MET_pt": np.ones(3)}, corrections)
    with pytest.raises(
        InputError, match=rf"^events\.root has no branch '{branch}'; {remedy}"
    ):
        nominal_weight(events)


def test_a_file_without_prefire_weights_asks_for_maps(tmp_path):
    events = open_with(
        tmp_path, {"genWeight": np.ones(3)}, Corrections(prefire="branches")
    )
    with pytest.raises(
        InputError,
        match=r"^events\.root has no prefire weights; give a file of maps as "
        "`prefire:` for dataset 'W'",
    ):
        nominal_weight(events)


def test_half_of_the_prefire_weights_are_not_enough(tmp_path):
    branches = {"genWeight": np.ones(3), "PrefireWeight": np.ones(3)}
    events = open_with(tmp_path, branches, Corrections(prefire="branches"))
    with pytest.raises(InputError, match="PrefireWeight without PrefireWeight_Up, "):
        nominal_weight(events)


# Efficiency of the muon


@pytest.fixture(scope="module")
def efficiencies(tmp_path_factory):
    path = tmp_path_factory.mktemp("efficiency") / "steps.json"
    write_steps(path, make_steps())
    return tuple(EfficiencyCorrection(file=path, name=name) for name in make_steps())


def test_efficiency_is_the_product_of_the_steps(efficiencies):
    record = dataset(corrections=Corrections(efficiency=efficiencies))
    charge, eta, pt = muons(500)
    found = efficiency(record, charge, eta, pt)
    steps = make_steps()
    for i, (q, e, p) in enumerate(zip(charge, eta, pt, strict=True)):
        c = int(q > 0)
        selection = steps["selection"].nominal[c, bin_of(SELECTION_ETA, e), 0]
        trigger = steps["trigger"].nominal[c, bin_of(ETA, e), bin_of(PT, p)]
        assert_allclose(found.nominal[i], selection * trigger, rtol=1e-8)
        stat = look_up(steps["trigger"].stat, (ETA, STAT_PT), c, e, p)
        assert_allclose(found.stat[i], stat, rtol=1e-8)
    # One step alone, and the other one.
    parts = [
        efficiency(dataset(corrections=Corrections(efficiency=(s,))), charge, eta, pt)
        for s in efficiencies
    ]
    assert_allclose(found.nominal, parts[0].nominal * parts[1].nominal, rtol=1e-14)


def test_neither_data_nor_uncorrected_simulation_have_factors(efficiencies):
    columns = muons(5)
    assert efficiency(dataset(), *columns) is None
    data = dataset(
        kind="data",
        process="data",
        xsec=None,
        corrections=Corrections(efficiency=efficiencies),
    )
    assert efficiency(data, *columns) is None


def test_an_unknown_step_is_named(efficiencies):
    unknown = EfficiencyCorrection(file=efficiencies[0].file, name="isolation")
    record = dataset(corrections=Corrections(efficiency=(unknown,)))
    with pytest.raises(ConfigError, match=r"has no correction 'isolation'; it has sel"):
        efficiency(record, *muons(5))


def test_a_step_of_isolation_has_its_efficiency_in_the_simulation(tmp_path):
    steps = {"isolation": StepFactors(**ONE_BIN, nominal=np.full((2, 1, 1), 0.98))}
    steps["simulated"] = StepFactors(**ONE_BIN, nominal=np.full((2, 1, 1), 0.9))
    path = tmp_path / "isolation.json"
    write_steps(path, steps)
    simulated = NamedCorrection(file=path, name="simulated")
    step = EfficiencyCorrection(file=path, name="isolation", isolation=simulated)
    record = dataset(corrections=Corrections(efficiency=(step,)))
    columns = np.array([1, -1]), np.array([0.1, 0.2]), np.array([30.0, 40.0])
    found = efficiency(record, *columns, np.array([True, False]))
    assert_allclose(found.nominal, [0.98, (1 - 0.98 * 0.9) / 0.1])
    # Selected muons of a signal region are all isolated.
    assert_allclose(efficiency(record, *columns).nominal, 0.98)


def test_the_efficiency_is_not_in_the_nominal_weight(toy, efficiencies):
    """It belongs to the selected muon, which events alone do not have."""
    weight = weigh(toy, "Wplus_mu", Corrections(efficiency=efficiencies))
    assert_array_equal(weight, generated(toy, "Wplus_mu"))
