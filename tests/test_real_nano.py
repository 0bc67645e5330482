"""The processors on real CMS NanoAOD of several versions, where it is at hand."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import uproot
import yaml
from numpy.testing import assert_allclose

from wprops.axes import COARSE
from wprops.catalog import Catalog
from wprops.errors import InputError
from wprops.execution.processors import load_processor
from wprops.execution.run import run
from wprops.moment_maps import MomentMaps

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "nano"
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="needs the CMS files of ../shared/data/nano"
)

MC = {"kind": "mc", "xsec": 100.0}
#: What each file needs: the triggers it has, and where its weights are summed.
DATASETS = {
    "data_2018": {
        "file": "nano_dimuon.root",
        "process": "data",
        "kind": "data",
        "triggers": ["HLT_IsoMu24"],
    },
    "dy_nlo": {
        "file": "nano_dy.root",
        "process": "Z",
        "triggers": ["HLT_IsoMu24"],
        **MC,
    },
    "dy_lo_2016": {"file": "nano_tree.root", "process": "Z", **MC},
    "tt_v12": {
        "file": "nano_tt_v12.root",
        "process": "top",
        "triggers": [],
        "sum_of_weights": "events",
        **MC,
    },
}


EVERYTHING = replace(COARSE, qt=(0.0, 6500.0), absy=(0.0, 20.0))


def catalogue(folder, *, without=(), **datasets):
    content = {
        "name": "real",
        "luminosity": 1.0,
        "without": list(without),
        "base": str(FOLDER),
        "datasets": [
            {"name": name, "era": "any", "nano": "any", "files": [record["file"]]}
            | {key: value for key, value in record.items() if key != "file"}
            for name, record in datasets.items()
        ],
    }
    path = folder / "catalogue.yaml"
    path.write_text(yaml.safe_dump(content))
    return Catalog.read(path)


def process(catalog, name, output=None, binning=COARSE):
    processor = load_processor(name).from_catalog(catalog, binning)
    result = run(catalog, processor, progress=False)
    if output is not None:
        processor.save(result, output)
    return result


def by_hand(file, triggers):
    """Events after trigger, filters, electron veto and with one isolated muon."""
    with uproot.open(FOLDER / file) as root:
        events = root["Events"].arrays(library="np")
    passed = np.zeros(4, int)
    for i in range(len(events["event"])):
        if triggers and not any(events[name][i] for name in triggers):
            continue
        passed[0] += 1
        flags = (
            "goodVertices",
            "globalTightHalo2016Filter",
            "HBHENoiseFilter",
            "HBHENoiseIsoFilter",
            "EcalDeadCellTriggerPrimitiveFilter",
        )
        if not all(events[f"Flag_{flag}"][i] for flag in flags):
            continue
        passed[1] += 1
        if any(
            pt > 10
            and identity >= 1
            and isolation < 0.3
            and abs(dxy) < (0.05 if abs(eta + delta) <= 1.479 else 0.1)
            and abs(dz) < (0.1 if abs(eta + delta) <= 1.479 else 0.2)
            for pt, eta, delta, dxy, dz, identity, isolation in zip(
                *(
                    events[f"Electron_{name}"][i]
                    for name in ("pt", "eta", "deltaEtaSC", "dxy", "dz", "cutBased")
                ),
                events["Electron_pfRelIso03_all"][i],
                strict=True,
            )
        ):
            continue
        passed[2] += 1
        n_loose = n_good = 0
        for pt, eta, dxy, dz, isolation, medium, is_pf in zip(
            *(
                events[f"Muon_{name}"][i]
                for name in ("pt", "eta", "dxy", "dz", "pfRelIso04_all")
            ),
            events["Muon_mediumId"][i],
            events["Muon_isPFcand"][i],
            strict=True,
        ):
            if pt > 10 and abs(eta) < 2.4 and abs(dxy) < 0.05 and abs(dz) < 0.2:
                n_loose += bool(is_pf and isolation < 0.25)
                n_good += bool(medium and pt > 20 and isolation <= 0.15)
        passed[3] += n_loose <= 1 and n_good == 1
    return passed


@pytest.mark.parametrize("name", DATASETS)
def test_cut_flow_is_the_one_counted_by_hand(tmp_path, name):
    record = DATASETS[name]
    catalog = catalogue(tmp_path, **{name: record})
    process(catalog, "cut_flow", tmp_path / "flow.csv")
    with (tmp_path / "flow.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["region"] == "signal"]
    found = {row["cut"]: int(row["events"]) for row in rows}
    cuts = ("trigger", "filters", "no electron", "one isolated muon")
    expected = by_hand(
        record["file"], record.get("triggers", catalog.datasets[0].triggers)
    )
    assert [found[cut] for cut in cuts] == expected.tolist()


def test_all_files_run_together_through_the_template_processor(tmp_path):
    catalog = catalogue(tmp_path, without=["jes"], **DATASETS)
    outputs = process(catalog, "templates").outputs
    assert set(outputs) == set(DATASETS)
    shifts = {"nominal", "muon_scale_up", "muon_scale_down"}
    shifts |= {"unclustered_up", "unclustered_down"}
    for name, output in outputs.items():
        for block in output["blocks"].values():
            assert set(block.labels) == ({"nominal"} if name == "data_2018" else shifts)
    assert {key for output in outputs.values() for key in output["blocks"]} == {
        "data",
        "Z",
        "top",
    }


def test_moments_of_the_real_drell_yan_sample(tmp_path):
    """In one cell that holds everything: the few decays to muons, by hand."""
    names = ("dy_nlo", "dy_lo_2016", "tt_v12")
    catalog = catalogue(tmp_path, **{name: DATASETS[name] for name in names})
    process(catalog, "gen_moments", tmp_path / "moments.h5", EVERYTHING)
    boson = MomentMaps.read(tmp_path / "moments.h5").boson("Z")
    with uproot.open(FOLDER / "nano_dy.root") as file:
        weights = file["Events/genWeight"].array(library="np")
        ids = file["Events/GenPart_pdgId"].array(library="np")
        flags = file["Events/GenPart_statusFlags"].array(library="np")
        total = file["Runs/genEventSumw_"].array(library="np").sum()
    is_mumu = [
        np.sum((abs(pdg) == 13) & (bits >> 8 & 1 > 0) & (bits >> 13 & 1 > 0)) == 2
        for pdg, bits in zip(ids, flags, strict=True)
    ]
    expected = 100.0 * weights[np.array(is_mumu)].sum() / total
    assert_allclose(boson.sigma["nominal"], expected, rtol=1e-6)
    # A mean over a few events of both signs of the weight: errors of order one.
    assert np.isfinite(boson.coefficients["nominal"]).all()
    assert (boson.errors > 0.1).all()


def test_a_missing_trigger_names_file_branch_and_remedy(tmp_path):
    record = DATASETS["dy_nlo"] | {"triggers": ["HLT_IsoMu24", "HLT_IsoTkMu24"]}
    with pytest.raises(
        InputError,
        match=r"nano_dy\.root has no branch 'HLT_IsoTkMu24'; set "
        r"`triggers: \[HLT_IsoMu24\]` for dataset 'dy'",
    ):
        process(catalogue(tmp_path, dy=record), "cut_flow")


def test_a_missing_runs_tree_names_the_remedy(tmp_path):
    record = DATASETS["tt_v12"] | {"sum_of_weights": "runs"}
    with pytest.raises(InputError, match=r"no Runs tree.*`sum_of_weights: events`"):
        process(catalogue(tmp_path, tt=record), "cut_flow")


def test_a_missing_weight_branch_names_the_remedy(tmp_path):
    pdf = {"branch": "LHEPdfWeights", "replicas": 30, "alphas": True}
    matrix = tmp_path / "unit.csv"
    np.savetxt(matrix, np.eye(30), delimiter=",")
    record = DATASETS["dy_nlo"] | {"weights": {"pdf": pdf | {"hessian": str(matrix)}}}
    with pytest.raises(
        InputError, match=r"nano_dy\.root has no branch 'LHEPdfWeights'; .*`weights:`"
    ):
        process(catalogue(tmp_path, dy=record), "gen_moments")


def test_native_hessian_members_run_with_the_nominal_first(tmp_path):
    """33 entries: nominal, 30 Hessian members, two of alphaS, told by their number."""
    pdf = {"branch": "LHEPdfWeight", "replicas": 30, "alphas": True}
    matrix = tmp_path / "unit.csv"
    np.savetxt(matrix, np.eye(30), delimiter=",")
    record = DATASETS["dy_nlo"] | {"weights": {"pdf": pdf | {"hessian": str(matrix)}}}
    process(catalogue(tmp_path, dy=record), "gen_moments", tmp_path / "moments.h5")
    sigma = MomentMaps.read(tmp_path / "moments.h5").boson("Z").sigma
    assert {"pdf_01_up", "pdf_30_up", "alphas_up"} <= set(sigma)
    filled = sigma["nominal"] != 0
    ratio = sigma["pdf_01_up"][filled] / sigma["nominal"][filled]
    # Members differ from nominal by per cents.
    assert_allclose(ratio, 1.0, atol=0.2)
    assert not np.array_equal(ratio, np.ones_like(ratio))


def test_a_file_without_events_is_no_nanoaod(tmp_path):
    record = {"file": "uproot-Zmumu.root", "process": "Z", **MC}
    with pytest.raises(InputError, match=r"uproot-Zmumu\.root has no Events tree"):
        process(catalogue(tmp_path, z=record), "cut_flow")


def test_stock_files_have_no_jet_energy_variation_of_the_pf_momentum(tmp_path):
    with pytest.raises(
        InputError, match=r"nano_tree\.root has no variation 'jes' of .* MET;.*without:"
    ):
        process(catalogue(tmp_path, dy=DATASETS["dy_lo_2016"]), "templates")


def test_puppi_momentum_of_v12_has_all_its_variations(tmp_path):
    record = DATASETS["tt_v12"] | {"met": "PuppiMET"}
    outputs = process(catalogue(tmp_path, tt=record), "templates").outputs
    (block,) = outputs["tt"]["blocks"].values()
    shifts = {"jes_up", "jes_down", "unclustered_up", "unclustered_down"}
    assert shifts <= set(block.labels)
