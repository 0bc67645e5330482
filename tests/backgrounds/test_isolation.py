"""A factor on the isolation moves prompt muons to the other class, and p follows."""

import json

import numpy as np
import pytest
import yaml
from numpy.testing import assert_allclose

from benchmarks.closure_multijet import draw, estimate
from corrections.build_toy import BLOCK, ISOLATION_STEP, build_toy
from tests.events.nano import toy_catalog
from wprops.axes import COARSE, Binning
from wprops.catalog import Catalog
from wprops.channels import Sideband
from wprops.corrections.efficiency import muon_factors, open_step
from wprops.events.toy.events import SAMPLES
from wprops.events.toy.truth import ToyTruth
from wprops.execution.processors import load_processor
from wprops.execution.run import run
from wprops.store import TemplateSet
from wprops.systematics.catalog import MULTIJET

#: Mean of the isolation sum of prompt muons [GeV], in data and in simulation.
MEAN, SIMULATED = 2.0, ToyTruth().detector.isolation_mean


@pytest.fixture(scope="module")
def truths():
    """Those of simulation and of data."""
    plain = ToyTruth()
    detector = plain.detector._replace(isolation_mean=MEAN)
    record = plain.to_dict() | {"detector": detector._asdict()}
    return plain, ToyTruth.from_dict(json.loads(json.dumps(record)))


@pytest.fixture(scope="module")
def toy(tmp_path_factory, truths):
    """Files of simulation, and the corrections to data of another isolation."""
    folder = tmp_path_factory.mktemp("toy")
    samples = ["Wplus_mu", "Wminus_mu", "data"]
    toy_catalog(folder, events=60_000, seed=8, samples=samples, data_fraction=0.02)
    write_corrections(folder, truths)
    return folder


def write_corrections(folder, truths):
    records = {"simulation": truths[0].to_dict(), "data": truths[1].to_dict()}
    path = folder / "truth_of_isolation.json"
    path.write_text(json.dumps(records))
    build_toy(path, folder / "corrections")


def fill(toy, step):
    """Simulated W of a run whose only correction is one step of the efficiency."""
    content = yaml.safe_load((toy / "catalogue.yaml").read_text())
    changes = {"multijet": "data", "corrections": {"efficiency": [step]}}
    changes["without"] = ["sf_stat"]
    path = toy / "corrected.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    catalog = Catalog.read(path)
    processor = load_processor("templates").from_catalog(catalog, COARSE)
    processor.save(run(catalog, processor, progress=False), toy / "templates.h5")
    return TemplateSet.read(toy / "templates.h5").sidebands.processes["W"]


def by_pt(values):
    """Muons by isolation and pT, five bins together."""
    return values.sum(axis=(1, 2, 3)).reshape(2, -1, 5).sum(axis=-1)


def chi2(process, mean):
    """χ² of the isolated muons in 6 bins against the toy's 1 − exp(−0.15 pT / mean)."""
    edges, k = np.array(COARSE.pt), 0.15 / mean
    rate = 1 + np.diff(np.exp(-k * edges)) / k / np.diff(edges)
    isolated_part = rate * process.nominal.sum(axis=0)
    expected = by_pt(np.stack([isolated_part, isolated_part]))[0]
    isolated, anti = by_pt(process.nominal)
    variance = by_pt(process.variance)
    rate = expected / (isolated + anti)
    error = (1 - rate) ** 2 * variance[0] + rate**2 * variance[1]
    return np.sum((isolated - expected) ** 2 / error)


def test_the_prompt_rate_of_a_run_is_that_of_data_with_other_isolation(toy, caplog):
    found = fill(toy, ISOLATION_STEP)
    # 99.99 % of a χ² of 6 lie below.
    assert chi2(found, MEAN) < 28
    assert chi2(found, SIMULATED) > 100
    assert "multiply isolated and anti-isolated" not in caplog.text


def test_without_the_declaration_it_stays_that_of_the_simulation(toy, caplog):
    """And the log says so."""
    found = fill(toy, {key: ISOLATION_STEP[key] for key in ("file", "name")})
    assert chi2(found, SIMULATED) < 28
    assert "give its step `isolation:` then" in caplog.text


def test_muons_change_class_and_are_not_lost(toy):
    # Without deviations of the trigger its factors are 1.
    corrected, plain = (
        by_pt(fill(toy, step).nominal)
        for step in (ISOLATION_STEP, BLOCK["efficiency"][0])
    )
    assert_allclose(corrected.sum(axis=0), plain.sum(axis=0), rtol=0.01)
    assert (corrected[0] < plain[0]).all()
    assert (corrected[1] > 1.2 * plain[1]).all()


BINNING = Binning(
    eta=tuple(np.linspace(-2.4, 2.4, 5).tolist()),
    pt=tuple(np.linspace(25.0, 55.0, 31).tolist()),
    qt=(),
    absy=(),
)


@pytest.fixture(scope="module")
def drawn(truths):
    """Data with another isolation, simulation without, and the true multijet."""
    rng, luminosity = np.random.default_rng(4), 0.05
    data, simulation = [], {}
    for name, sample in SAMPLES.items():
        data.append(draw(sample, luminosity, truths[1], rng, BINNING))
        if sample.process == MULTIJET:
            multijet = data[-1].muons
        else:
            counts = draw(sample, luminosity / 4, truths[0], rng, BINNING)
            simulation[name] = counts
    total = data[0]
    for counts in data[1:]:
        total += counts
    return total, simulation, multijet


@pytest.mark.parametrize("declared", [True, False])
def test_multijet_is_found_where_the_isolation_is_declared(
    drawn, truths, tmp_path, declared
):
    data, simulation, multijet = drawn
    write_corrections(tmp_path, truths)
    path = tmp_path / ISOLATION_STEP["file"]
    efficiency = (path, ISOLATION_STEP["isolation"]["name"]) if declared else None
    step = open_step(path, ISOLATION_STEP["name"], efficiency)
    pt = np.convolve(BINNING.pt, [0.5, 0.5], mode="valid")
    one = np.ones(len(pt))
    weight = 4 * np.stack(
        [
            muon_factors([step], one, 0 * one, pt, passes * one > 0).nominal
            for passes in (1, 0)
        ]
    )
    weight = weight[:, None, None, None]
    processes = {}
    for name, counts in simulation.items():
        nominal = weight * counts.muons
        size = nominal.sum(axis=(-2, -1)) / np.maximum(counts.muons.sum((-2, -1)), 1)
        processes[name] = Sideband(nominal, weight * nominal, size * counts.mt_sum)
    pulls = estimate(data, processes, multijet, BINNING).pulls
    if declared:
        assert (abs(pulls) < 3.5).all()
    else:
        assert (abs(pulls) > 10).all()
