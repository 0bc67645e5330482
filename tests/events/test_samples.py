"""The small files beside the events: matrices and truths, read once up front."""

import json
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.events.nano import dataset
from wprops.axes import COARSE
from wprops.catalog import Catalog
from wprops.datasets import (
    Corrections,
    EfficiencyCorrection,
    LheWeights,
    NamedCorrection,
    PdfWeights,
)
from wprops.errors import ConfigError
from wprops.events.samples import Sample, declare_for, read_samples, read_truth
from wprops.events.toy.deviations import deviate
from wprops.events.toy.truth import ToyTruth, coefficients

SIMULATION = ToyTruth()
DATA = deviate(SIMULATION, {"mw_shift": 0.05, "a4_scale": 0.1})


@pytest.fixture
def truth_file(tmp_path):
    path = tmp_path / "truth.json"
    record = {"simulation": SIMULATION.to_dict(), "data": DATA.to_dict(), "seed": 4}
    path.write_text(json.dumps(record))
    return path


def write_matrix(folder, rows, columns, name="hessian.csv"):
    matrix = np.random.default_rng(2).normal(size=(rows, columns))
    path = folder / name
    np.savetxt(path, matrix, delimiter=",")
    return path, matrix


def with_pdf(name, hessian, *, replicas=4, alphas=True, **changes):
    pdf = PdfWeights(
        branch="LHEPdfWeight", replicas=replicas, alphas=alphas, hessian=hessian
    )
    return dataset(name=name, process="W_mu", weights=LheWeights(pdf=pdf), **changes)


def catalog(*datasets):
    files = [d.model_copy(update={"files": (f"{d.name}.root",)}) for d in datasets]
    return Catalog(name="small", luminosity=1.0, datasets=files)


def declared_names(found):
    return {record.name for record in declare_for(found, read_samples(found))}


def test_each_sample_has_its_matrix_and_truth(tmp_path, truth_file):
    path, matrix = write_matrix(tmp_path, 4, 3)
    samples = read_samples(
        catalog(
            with_pdf("W", path, truth=truth_file),
            dataset(name="top"),
            dataset(name="data", process="data", kind="data", xsec=None),
        )
    )
    assert list(samples) == ["W", "top", "data"]
    assert_allclose(samples["W"].hessian, matrix, rtol=1e-15)
    assert samples["W"].n_pdf == 3
    assert samples["W"].truth == SIMULATION
    for name in ("top", "data"):
        assert samples[name].hessian is None
        assert samples[name].n_pdf == 0
        assert samples[name].truth is None


def test_a_matrix_of_one_direction_keeps_both_dimensions(tmp_path):
    path, matrix = write_matrix(tmp_path, 4, 1)
    sample = read_samples(catalog(with_pdf("W", path)))["W"]
    assert_allclose(sample.hessian, matrix.reshape(4, 1))


def test_data_have_the_truth_that_they_were_drawn_from(truth_file):
    data = dataset(
        name="data", process="data", kind="data", xsec=None, truth=truth_file
    )
    simulation = dataset(name="top", truth=truth_file)
    samples = read_samples(catalog(data, simulation))
    assert samples["data"].truth == DATA
    assert samples["top"].truth == SIMULATION
    assert DATA != SIMULATION


@pytest.mark.parametrize("charge", [1, -1, 0])
def test_coefficients_are_those_of_the_truth(charge):
    sample = Sample(dataset=dataset(), truth=DATA)
    qt, y = np.array([3.0, 30.0, 70.0]), np.array([0.1, -2.0, 1.0])
    found = sample.coefficients(charge, qt, y)
    assert_array_equal(found, coefficients(DATA, charge, qt, y))
    assert found.shape == (8, 3)


def test_a_sample_of_unknown_coefficients_says_what_to_add():
    sample = Sample(dataset=dataset(name="WplusJets"))
    for ask in (
        lambda: sample.generated,
        lambda: sample.coefficients(1, [1.0], [0.0]),
        lambda: sample.generated_maps(COARSE),
    ):
        with pytest.raises(
            ConfigError, match=r"'WplusJets'.*--processor gen_moments`.*`coefficients:`"
        ):
            ask()
    with pytest.raises(ConfigError, match=r"'WplusJets' has no `truth:`; only a toy"):
        _ = sample.known_truth


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_a_matrix_needs_a_row_per_replica(tmp_path, rows):
    path, _ = write_matrix(tmp_path, rows, 2)
    with pytest.raises(
        ConfigError,
        match=rf"'W': {re.escape(str(path))} has {rows} rows for 4 replicas; one row",
    ):
        read_samples(catalog(with_pdf("W", path)))


@pytest.mark.parametrize("text", ["1,2\n3\n", "1,2\n3,x\n", "not numbers"])
def test_what_is_no_matrix_is_named(tmp_path, text):
    path = tmp_path / "hessian.csv"
    path.write_text(text)
    with pytest.raises(
        ConfigError, match=rf"{re.escape(str(path))} is not a matrix of comma-sep"
    ):
        read_samples(catalog(with_pdf("W", path)))


def test_matrices_of_one_run_have_one_number_of_directions(tmp_path):
    first, _ = write_matrix(tmp_path, 4, 3, "three.csv")
    second, _ = write_matrix(tmp_path, 4, 2, "two.csv")
    with pytest.raises(ConfigError, match=r"'small'.*have 2, 3 directions; one number"):
        read_samples(catalog(with_pdf("W", first), with_pdf("Z", second)))
    third, _ = write_matrix(tmp_path, 6, 3, "other_replicas.csv")
    samples = read_samples(
        catalog(with_pdf("W", first), with_pdf("Z", third, replicas=6))
    )
    assert samples["Z"].n_pdf == samples["W"].n_pdf == 3


@pytest.mark.parametrize("alphas", [True, False])
def test_uncertainties_are_those_for_which_there_are_weights(tmp_path, alphas):
    path, _ = write_matrix(tmp_path, 4, 3)
    found = catalog(dataset(name="top"), with_pdf("W", path, alphas=alphas))
    names = declared_names(found)
    assert {"pdf_01", "pdf_02", "pdf_03"} <= names
    assert "pdf_04" not in names
    assert ("alphas" in names) == alphas
    assert {"mw", "muon_scale", "lumi"} <= names


def test_without_weights_no_theory_is_declared():
    names = declared_names(catalog(dataset()))
    assert not {name for name in names if name.startswith(("pdf", "alphas", "scale"))}


@pytest.mark.parametrize(
    ("changes", "prefix"),
    [
        ({"weights": LheWeights(scale="LHEScaleWeight")}, "scale_"),
        ({"corrections": Corrections(prefire="branches")}, "prefire"),
        (
            {
                "corrections": Corrections(
                    efficiency=(EfficiencyCorrection(file="sf.json", name="trigger"),)
                )
            },
            "sf_",
        ),
    ],
)
def test_one_sample_with_an_input_is_enough_to_declare_it(changes, prefix):
    simulation = catalog(dataset(name="top"), dataset(name="Z", **changes))
    plain = declared_names(catalog(dataset(name="top"), dataset(name="Z")))
    added = declared_names(simulation) - plain
    assert added
    assert all(name.startswith(prefix) for name in added)
    # What is said of data is not about simulation.
    data = dataset(name="data", process="data", kind="data", xsec=None, **changes)
    assert declared_names(catalog(dataset(name="top"), data)) == plain


def test_a_process_of_its_own_has_the_uncertainties_of_the_detector():
    found = catalog(dataset(name="a", process="ttZ"), dataset(name="b", process="qcd"))
    records = declare_for(found, read_samples(found))
    acting = {record.name for record in records if "ttZ" in record.processes}
    assert acting == {"muon_scale", "jes", "unclustered", "lumi"}
    # As those of any simulated process but multijets, and of no other source.
    assert acting == {r.name for r in records if "top" in r.processes} - {"top_xsec"}
    assert all("qcd" not in r.processes for r in records if r.name in acting)


@pytest.mark.parametrize(
    ("process", "is_named"),
    [("Wmu", True), ("ttZ", True), ("W", False), ("top", False), ("qcd", False)],
)
def test_processes_that_no_record_knows_are_named_once(process, is_named, caplog):
    found = catalog(
        dataset(name="a", process=process),
        dataset(name="data", process="data", kind="data", xsec=None),
    )
    declare_for(found, read_samples(found))
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == is_named
    for message in messages:
        assert message.startswith(f"dataset 'a': process '{process}' is not known")
        assert message.endswith("known are W, W_mu, W_tau, Z, diboson, qcd, top")


def test_the_catalogue_asks_for_optional_systematics():
    plain = catalog(dataset())
    assert "width" not in declared_names(plain)
    asked = plain.model_copy(update={"also": ("width",)})
    assert declared_names(asked) == declared_names(plain) | {"width"}


def test_bins_of_the_efficiency_are_declared_apart():
    step = EfficiencyCorrection(file="sf.json", name="trigger")
    found = catalog(dataset(corrections=Corrections(efficiency=(step,))))
    names = {r.name for r in declare_for(found, read_samples(found), 2)}
    assert {f"sf_stat_{k}_{part}" for k in range(3) for part in range(2)} <= names
    assert "sf_stat_0" not in names


@pytest.mark.parametrize(
    ("multijet", "steps", "warns"),
    [
        ("data", "trigger", True),
        ("data", "trigger, isolation", False),
        ("data", "", False),
        ("simulation", "trigger", False),
    ],
)
def test_factors_that_the_prompt_rate_does_not_see_are_warned_of(
    multijet, steps, warns, caplog
):
    simulated = NamedCorrection(file="sf.json", name="isolation_mc")
    known = {
        "trigger": EfficiencyCorrection(file="sf.json", name="trigger"),
        "isolation": EfficiencyCorrection(
            file="sf.json", name="isolation", isolation=simulated
        ),
    }
    used = tuple(known[name] for name in steps.split(", ") if name)
    found = catalog(dataset(corrections=Corrections(efficiency=used)))
    found = found.model_copy(update={"multijet": multijet})
    declare_for(found, read_samples(found))
    assert ("give its step `isolation:` then" in caplog.text) == warns


def test_the_isolation_of_each_dataset_is_looked_at(caplog):
    """One dataset with the step does not speak for the others; data have no factors."""
    trigger = EfficiencyCorrection(file="sf.json", name="trigger")
    simulated = NamedCorrection(file="sf.json", name="isolation_mc")
    isolation = EfficiencyCorrection(
        file="sf.json", name="isolation", isolation=simulated
    )
    alone, both = (
        Corrections(efficiency=s) for s in ((trigger,), (trigger, isolation))
    )
    found = catalog(
        dataset(name="with", corrections=both),
        dataset(name="without", corrections=alone),
        dataset(name="second", corrections=alone),
        dataset(name="none"),
        dataset(name="data", kind="data", xsec=None, corrections=alone),
    ).model_copy(update={"multijet": "data"})
    declare_for(found, read_samples(found))
    assert "efficiency factors of 'without', 'second' multiply" in caplog.text


def test_the_catalogue_leaves_out_what_it_names():
    everything = catalog(dataset())
    some = everything.model_copy(update={"without": ("jes", "luminosity")})
    left_out = {"jes", "lumi"}
    assert declared_names(some) == declared_names(everything) - left_out
    unknown = everything.model_copy(update={"without": ("jet",)})
    with pytest.raises(ConfigError, match="leaves out jet, which is not declared"):
        declared_names(unknown)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "JSONDecodeError"),
        ("[1, 2]", "TypeError"),
        ("{}", "'simulation'"),
        (json.dumps({"simulation": {"wplus": {}}}), "not the truth record"),
        (json.dumps({"simulation": [1]}), "truth"),
    ],
)
def test_a_foreign_truth_file_is_refused(tmp_path, content, reason):
    path = tmp_path / "truth.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=reason):
        read_truth(path)


def test_a_toy_without_data_has_no_truth_of_data(tmp_path):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"simulation": SIMULATION.to_dict()}))
    assert read_truth(path) == SIMULATION
    with pytest.raises(ConfigError, match=r"truth\.json is not the truth.*'data'"):
        read_truth(path, "data")
