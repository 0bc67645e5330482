import json

import awkward as ak
import numpy as np
import pytest
import uproot
import yaml
from coffea.nanoevents import NanoAODSchema, NanoEventsFactory
from numpy.testing import assert_allclose

from wprops.errors import ConfigError
from wprops.events.toy.calibration import in_signal_region, signal_region_fractions
from wprops.events.toy.events import SAMPLES
from wprops.events.toy.pseudodata import (
    ALL_OVER_CERTIFIED,
    SECTIONS_PER_RUN,
    draw_data,
)
from wprops.events.toy.samples import write_toy
from wprops.events.toy.truth import ToyTruth

EVENTS = 6000
NANO = ("v6", "v9", "v15")


class Schema(NanoAODSchema):
    warn_missing_crossrefs = False


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toys")
    return {
        nano: write_toy(
            folder / nano,
            events=EVENTS,
            seed=4,
            nano=nano,
            workers=1,
            fsr=True,
            negative_fraction=0.2,
            deviations={"mw_shift": 0.05},
        ).parent
        for nano in NANO
    }


def read(path):
    return NanoEventsFactory.from_root(
        {str(path): "Events"}, schemaclass=Schema, mode="eager"
    ).events()


@pytest.mark.parametrize("nano", NANO)
def test_nanoevents_follow_the_chain_to_the_boson(toys, nano):
    events = read(toys[nano] / "Wplus_mu_000.root")
    assert len(events) == round(EVENTS * 11700 / 20300)
    muons = events.GenPart[(events.GenPart.pdgId == -13) & (events.GenPart.status == 1)]
    assert ak.all(ak.num(muons) == 1)
    assert ak.all(muons.distinctParent.pdgId == 24)
    hard = events.GenPart[
        events.GenPart.hasFlags("isLastCopyBeforeFSR", "isHardProcess")
    ]
    assert ak.all(ak.any(abs(hard.pdgId) == 13, axis=1))
    photons = events.GenPart[events.GenPart.pdgId == 22]
    assert 0.05 < ak.mean(ak.num(photons)) < 0.15
    matched = events.Muon.matched_gen
    assert ak.all(matched.status == 1)
    assert ak.mean(abs(events.Muon.pt / matched.pt - 1)) < 0.02
    assert ak.all(ak.num(events.LHEPdfWeight) == 102)
    assert ak.all(ak.num(events.LHEScaleWeight) == 9)


@pytest.mark.parametrize("nano", NANO)
def test_tau_and_z_are_told_apart_by_their_particles(toys, nano):
    tau = read(toys[nano] / "Wminus_tau_000.root").GenPart
    muon = tau[abs(tau.pdgId) == 13]
    assert ak.all(muon.distinctParent.pdgId == 15)
    assert ak.all(muon.hasFlags("isPromptTauDecayProduct"))
    prompt = tau[(abs(tau.pdgId) == 16) & tau.hasFlags("isPrompt")]
    assert ak.all(ak.num(prompt) == 1)
    z = read(toys[nano] / "Z_mumu_000.root")
    assert set(ak.flatten(z.GenPart.pdgId)) <= {23, 13, -13, 22}
    pairs = z.Muon[ak.num(z.Muon) == 2]
    assert ak.all(pairs.charge[:, 0] == -pairs.charge[:, 1])
    assert ak.all(pairs.pt[:, 0] >= pairs.pt[:, 1])
    assert ak.all(pairs.matched_gen.pdgId == -13 * pairs.charge)


@pytest.mark.parametrize(
    ("nano", "present", "absent"),
    [
        (
            "v6",
            ["MET_pt_nom", "MET_phi_jesTotalUp", "PrefireWeight_Up"],
            ["MET_T1_pt", "PFMET_pt"],
        ),
        (
            "v9",
            ["MET_pt", "MET_T1_pt_jesTotalDown", "MET_MetUnclustEnUpDeltaX"],
            ["MET_pt_nom", "PFMET_pt"],
        ),
        (
            "v15",
            ["PFMET_pt", "PFMET_ptUnclusteredUp", "PuppiMET_phi"],
            ["MET_pt", "PrefireWeight"],
        ),
    ],
)
def test_versions_name_their_branches(toys, nano, present, absent):
    with uproot.open(toys[nano] / "top_000.root") as file:
        names = set(file["Events"].keys())
        assert names >= set(present)
        assert not names & set(absent)
        tail = "_" if nano == "v6" else ""
        assert f"genEventSumw{tail}" in file["Runs"].keys()  # noqa: SIM118


def test_titles_document_the_weights(toys):
    with uproot.open(toys["v9"] / "Wplus_mu_000.root") as file:
        tree = file["Events"]
        assert tree["LHEPdfWeight"].title.endswith("for LHA IDs 292201 - 292302")
        assert "[0] is muR=5.00000E-01 muF=5.00000E-01" in tree["LHEScaleWeight"].title
        assert "7 : isHardProcess" in tree["GenPart_statusFlags"].title


def test_runs_hold_the_sums_of_signed_weights(toys):
    with uproot.open(toys["v9"] / "Wplus_mu_000.root") as file:
        weights = file["Events/genWeight"].array(library="np")
        runs = file["Runs"].arrays(library="np")
    assert runs["genEventCount"] == [len(weights)]
    assert_allclose(runs["genEventSumw"], weights.sum())
    assert abs((weights < 0).mean() - 0.2) < 4 * 0.4 / np.sqrt(len(weights))


def test_truth_travels_with_files_and_catalogue(toys):
    folder = toys["v9"]
    catalogue = yaml.safe_load((folder / "catalogue.yaml").read_text())
    truth = json.loads((folder / catalogue["datasets"][0]["truth"]).read_text())
    simulation, data = (ToyTruth.from_dict(truth[k]) for k in ("simulation", "data"))
    assert_allclose(data.wplus.mass - simulation.wplus.mass, 0.05)
    with uproot.open(folder / "data_000.root") as file:
        stored = json.loads(str(file["wprops_truth"]))
    assert ToyTruth.from_dict(stored["truth"]) == data
    assert stored["seed"] == 4
    for dataset in catalogue["datasets"]:
        assert all((folder / name).is_file() for name in dataset["files"])
    assert_allclose(catalogue["luminosity"], 0.25 * EVENTS / 20300 / 1e3)
    hessian = np.loadtxt(folder / "pdf_hessian.csv", delimiter=",")
    assert hessian.shape == (100, 9)


def test_data_hold_no_generator_branches_and_only_triggered_events(toys):
    with uproot.open(toys["v9"] / "data_000.root") as file:
        tree = file["Events"]
        names = tree.keys()
        assert not [n for n in names if "Gen" in n or "LHE" in n or "gen" in n]
        fired = tree["HLT_IsoMu24"].array() | tree["HLT_IsoTkMu24"].array()
        assert ak.all(fired)
        assert set(file["Runs"].keys()) == {"run"}


def test_one_section_per_run_is_not_certified(toys):
    golden = json.loads((toys["v9"] / "golden.json").read_text())
    with uproot.open(toys["v9"] / "data_000.root") as file:
        run, section = (
            file["Events"].arrays(["run", "luminosityBlock"], library="np").values()
        )
    assert set(golden) == {str(number) for number in np.unique(run)}
    certified = np.zeros(len(section), bool)
    for low, high in golden[str(run[0])]:
        certified |= (section >= low) & (section <= high)
    outside = (~certified).mean()
    expected = 1 / SECTIONS_PER_RUN
    assert abs(outside - expected) < 4 * np.sqrt(expected / len(section))
    assert outside > 0


def test_number_of_data_events_is_that_of_the_luminosity():
    # 2 pb⁻¹ with Poisson numbers: two seeds differ, and by no more than chance.
    sizes = [
        len(draw_data(ToyTruth(), 2.0, np.random.default_rng(seed)).triggered)
        for seed in range(6)
    ]
    assert len(set(sizes)) > 1
    chi2 = np.var(sizes, ddof=1) * 5 / np.mean(sizes)
    assert chi2 < 20.5  # p = 1e-3 for 5 degrees of freedom


def test_pseudo_data_have_the_yield_of_the_sum_of_samples():
    luminosity, truth = 10.0, ToyTruth()
    data = draw_data(truth, luminosity, np.random.default_rng(31))
    observed = in_signal_region(data).sum() / ALL_OVER_CERTIFIED
    n, expected, variance = 100_000, 0.0, 0.0
    for seed, sample in enumerate(SAMPLES.values()):
        scale = sample.cross_section(truth) * luminosity
        fraction = sum(signal_region_fractions(sample.name, n, seed=40 + seed))
        expected += scale * fraction
        variance += scale**2 * fraction / n
    # Poisson error of the data and error of the simulated fractions, 0.6 % together.
    assert abs(observed - expected) < 4 * np.sqrt(expected + variance)


def test_event_numbers_are_unique_across_files(tmp_path):
    write_toy(
        tmp_path,
        events=3000,
        seed=1,
        samples=["Wplus_mu", "Wminus_mu"],
        events_per_file=700,
        workers=1,
    )
    files = sorted(tmp_path.glob("*.root"))
    assert len(files) == 5
    numbers = np.concatenate(
        [uproot.open(f)["Events/event"].array(library="np") for f in files]
    )
    assert len(np.unique(numbers)) == 3000


def test_content_depends_on_the_seed_and_not_on_the_workers(tmp_path):
    def muons(workers, seed):
        folder = tmp_path / f"{workers}_{seed}"
        write_toy(
            folder,
            events=400,
            seed=seed,
            samples=["Wplus_mu", "Wminus_mu", "data"],
            workers=workers,
        )
        return [
            uproot.open(file)["Events"].arrays(library="ak")
            for file in sorted(folder.glob("*.root"))
        ]

    first, parallel, other = muons(1, 1), muons(2, 1), muons(1, 2)
    for a, b in zip(first, parallel, strict=True):
        assert a.fields == b.fields
        assert ak.array_equal(a, b)
    assert not ak.array_equal(first[0].Muon_pt, other[0].Muon_pt)


def test_pseudo_data_are_independent_of_the_simulation(toys):
    folder = toys["v9"]
    simulated = set()
    for file in folder.glob("W*_mu_*.root"):
        flat = ak.flatten(uproot.open(file)["Events/Muon_phi"].array())
        simulated |= set(flat.to_numpy().tolist())
    data = ak.flatten(uproot.open(folder / "data_000.root")["Events/Muon_phi"].array())
    shared = np.isin(data.to_numpy(), list(simulated)).mean()
    # Single-precision azimuths of 6000 muons coincide by chance at the level 1e-3.
    assert shared < 0.01


def test_an_interrupted_file_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        msg = "disk full"
        raise OSError(msg)

    monkeypatch.setattr("wprops.events.toy.jobs.draw_weights", fail)
    with pytest.raises(OSError, match="disk full"):
        write_toy(tmp_path, events=100, seed=1, samples=["Wplus_mu"], workers=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": ["ttbar"]}, r"unknown samples \['ttbar'\]; known are Wplus_mu"),
        ({"nano": "v7"}, "NanoAOD v6, v9, v15, not 'v7'"),
        ({"deviations": {"mw": 1.0}}, "unknown deviation 'mw'"),
        ({"negative_fraction": 0.5}, r"must be in \[0, 0.5\)"),
        ({"data_fraction": 0.0}, "must be positive"),
        ({"events": 0}, "at least 1"),
        ({"compression": "zip"}, "not one of zstd, lz4"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    tmp_path, options, message
):
    folder = tmp_path / "toy"
    with pytest.raises(ConfigError, match=message):
        write_toy(folder, **({"events": 100, "seed": 1} | options))
    assert not folder.exists()


def test_simulation_and_data_can_deviate_alike(tmp_path):
    alike = {"mu_resolution_slope": 1e-4, "mw_shift": 0.1}
    write_toy(
        tmp_path,
        events=200,
        seed=2,
        samples=["Wplus_mu", "data"],
        workers=1,
        fsr=True,
        everywhere=alike,
        deviations={"mw_shift": 0.05, "pileup": -2.0},
    )
    record = json.loads((tmp_path / "truth.json").read_text())
    simulation, data = (
        ToyTruth.from_dict(record[which]) for which in ("simulation", "data")
    )
    assert record["fsr"]
    assert dict(simulation.deviations) == alike
    assert simulation.detector.muon_resolution_slope == 1e-4
    assert data.detector.muon_resolution_slope == 1e-4
    assert_allclose(simulation.wplus.mass, 80.379 + 0.1)
    # What the data alone have goes before what both have.
    assert_allclose(data.wplus.mass, 80.379 + 0.05)
    assert data.deviations["pileup"] == -2.0
    for name in ("Wplus_mu_000", "data_000"):
        with uproot.open(tmp_path / f"{name}.root") as file:
            assert json.loads(file["wprops_truth"])["fsr"]
    catalogue = yaml.safe_load((tmp_path / "catalogue.yaml").read_text())
    assert_allclose(catalogue["datasets"][0]["boson"]["mass"], 80.479)
