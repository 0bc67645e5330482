"""Muons of all classes of isolation and mT, of simulation and of data."""

from dataclasses import replace

import hist
import numpy as np
import pytest
import yaml
from numpy.testing import assert_allclose, assert_array_equal

from tests.events.nano import open_sample, toy_catalog
from wprops.axes import COARSE
from wprops.catalog import Catalog
from wprops.errors import TemplateError
from wprops.execution.processors import load_processor
from wprops.execution.run import run
from wprops.nominal import nominal_weight
from wprops.selection.candidates import certified_events, golden_mask, select
from wprops.selection.regions import MT_SLICES, REGIONS
from wprops.store import TemplateSet

SAMPLES = ["Wplus_mu", "Wminus_mu", "Z_mumu", "qcd", "data"]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    toy_catalog(
        folder, events=20_000, seed=5, samples=SAMPLES, events_per_file=1_000_000
    )
    path = folder / "catalogue.yaml"
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(content | {"multijet": "data"}))
    return Catalog.read(path)


@pytest.fixture(scope="module")
def templates(catalog, tmp_path_factory):
    chosen = load_processor("templates").from_catalog(catalog, COARSE)
    path = tmp_path_factory.mktemp("templates") / "templates.h5"
    chosen.save(run(catalog, chosen, progress=False), path)
    return TemplateSet.read(path)


def slow_counts(catalog, name, *, weighted, times_mt=False):
    """One histogram of all classes, filled with the candidates of a dataset."""
    record = catalog.dataset(name)
    axes = [
        hist.axis.IntCategory([0, 1], name="isolation"),
        hist.axis.Variable([*MT_SLICES[:-1], 1e9], name="mt"),
        hist.axis.IntCategory([1, -1], name="charge"),
        *COARSE.muon_axes(),
    ]
    template = hist.Hist(*axes, storage=hist.storage.Weight())
    assert len(record.files) == 1
    events = open_sample(catalog, name)
    certified = certified_events(events, record, golden_mask(catalog))
    found = select(events, record, certified)
    weight = nominal_weight(events)
    good = (
        certified
        & found.triggered
        & found.passes_flags
        & (found.n_veto_electrons < 1)
        & (found.n_loose < 2)
        & (found.isolated | found.anti_isolated)
        & (found.pt >= 25)
        & (found.pt < 55)
    )
    template.fill(
        isolation=found.anti_isolated[good].astype(int),
        mt=found.mt[good],
        charge=found.charge[good],
        eta=found.eta[good],
        pt=found.pt[good],
        weight=(weight if weighted else np.ones(len(weight)))[good]
        * (found.mt[good] if times_mt else 1.0),
    )
    return template


def test_data_are_counted_in_every_class(catalog, templates):
    expected = slow_counts(catalog, "data", weighted=False).values()
    assert_array_equal(templates.sidebands.data, expected)
    assert (expected.sum(axis=(1, 2, 3, 4)) > 500).all()


def test_a_process_is_in_every_class_as_one_template(catalog, templates):
    process = templates.sidebands.processes["Z"]
    expected = slow_counts(catalog, "Z_mumu", weighted=True)
    factor = process.nominal.sum() / expected.values().sum()
    assert_allclose(process.nominal, factor * expected.values(), rtol=1e-9)
    assert_allclose(process.variance, factor**2 * expected.variances(), rtol=1e-9)


@pytest.mark.parametrize(("name", "process"), [("data", None), ("Z_mumu", "Z")])
def test_the_mean_mt_of_each_class_is_that_of_its_events(
    catalog, templates, name, process
):
    weighted = process is not None
    counts, sums = (
        slow_counts(catalog, name, weighted=weighted, times_mt=times_mt)
        .values()
        .sum(axis=(-2, -1))
        for times_mt in (False, True)
    )
    sidebands = templates.sidebands
    found, mt_sum = sidebands.data, sidebands.data_mt_sum
    if process is not None:
        found, mt_sum = (
            getattr(sidebands.processes[process], field)
            for field in ("nominal", "mt_sum")
        )
    assert (counts[:, -1] > 0).all()
    assert_allclose(mt_sum * counts, sums * found.sum(axis=(-2, -1)), rtol=1e-9)


def test_the_signal_class_is_the_sum_of_the_templates(templates):
    for index, channel in enumerate(templates.channels.values()):
        signal = [p for p in channel.processes.values() if p.role == "signal"]
        for label in ("nominal", "mw_up", "muon_scale_down", "jes_up", "pdf_03_up"):
            total = sum(process.varied(label) for process in signal)
            process = templates.sidebands.processes["W"]
            found = process.variations.get(label, process.nominal)[0, -1, index]
            # The even components are all of it in the toy.
            assert_allclose(found, total, rtol=1e-9, atol=1e-9)


def test_shifts_move_muons_between_classes_and_keep_them(templates):
    process = templates.sidebands.processes["W"]
    moved = process.variations["jes_up"] - process.nominal
    by_slice = moved.sum(axis=(0, 2, 3, 4))
    assert abs(by_slice).max() > 5 * abs(by_slice.sum())


def test_simulated_multijet_is_left_to_the_data(templates):
    assert "qcd" not in templates.sidebands.processes
    assert all("qcd" not in c.processes for c in templates.channels.values())
    # The records know that it will come, and that it varies with what is subtracted.
    varying = {s.name for s in templates.systematics if "qcd" in s.processes}
    assert {"pdf_01", "jes", "muon_scale", "fake_lumi"} <= varying


def test_sidebands_survive_the_file(templates, tmp_path):
    path = tmp_path / "again.h5"
    templates.write(path)
    again = TemplateSet.read(path).sidebands
    assert_array_equal(again.data, templates.sidebands.data)
    assert_array_equal(again.data_mt_sum, templates.sidebands.data_mt_sum)
    assert_array_equal(again.mt_edges, MT_SLICES)
    for name, process in templates.sidebands.processes.items():
        other = again.processes[name]
        assert_array_equal(other.variance, process.variance)
        assert_array_equal(other.mt_sum, process.mt_sum)
        assert list(other.variations) == list(process.variations)
        for label, values in process.variations.items():
            assert_array_equal(other.variations[label], values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: {"data_mt_sum": s.data_mt_sum[0]},
            r"data_mt_sum has shape \(4, 2\)",
        ),
        (
            lambda s: {"data_mt_sum": s.data_mt_sum[:, ::-1]},
            r"at \(0, 0, 0\) for \d+ events, but the slice extends from 0 to 15 GeV",
        ),
        (
            lambda s: {"data": np.zeros_like(s.data)},
            "for 0 events, but the slice extends",
        ),
        (
            lambda s: {
                "processes": {
                    "Z": replace(s.processes["Z"], mt_sum=s.processes["Z"].mt_sum[:1])
                }
            },
            r"process 'Z', mt_sum has shape \(1, 4, 2\), expected \(2, 4, 2\)",
        ),
        (lambda s: {"mt_edges": s.mt_edges[::-1]}, "expected increasing numbers"),
    ],
)
def test_sidebands_that_do_not_fit_together_are_refused(templates, change, message):
    sidebands = templates.sidebands
    wrong = replace(templates, sidebands=replace(sidebands, **change(sidebands)))
    with pytest.raises(TemplateError, match=f"sidebands, .*{message}"):
        wrong.validate()


def test_regions_are_unions_of_classes(catalog, templates):
    """The cut flow of each region ends with the muons of its slices."""
    table = templates.tables["cut_flow"]
    slices = {"signal": (0, [3]), "signal_antiiso": (1, [3])}
    slices |= {"sideband": (0, [0, 1]), "sideband_antiiso": (1, [0, 1])}
    for region in REGIONS:
        rows = [
            row["events"]
            for row in table
            if row["region"] == region.name and row["dataset"] == "data"
        ]
        isolation, chosen = slices[region.name]
        assert templates.sidebands.data[isolation, chosen].sum() == rows[-1]
