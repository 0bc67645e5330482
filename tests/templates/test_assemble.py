"""From blocks to the template set: nothing is moved, lost or counted twice."""

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from tests.events.nano import dataset
from wprops.axes import COMPONENTS, EVEN_COMPONENTS, ODD_COMPONENTS, Binning
from wprops.catalog import Catalog
from wprops.channels import Channel, Process
from wprops.datasets import BosonPole
from wprops.errors import ConfigError, TemplateError
from wprops.events.samples import Sample
from wprops.events.toy.deviations import deviate
from wprops.events.toy.truth import ToyTruth, bin_truth
from wprops.selection.regions import REGIONS
from wprops.systematics.catalog import Available, declare
from wprops.systematics.declaration import Systematic
from wprops.templates.assemble import (
    build_channels,
    build_template_set,
    merge_blocks,
    name_processes,
    odd_table,
    signal_name,
)
from wprops.templates.filling import N_FOLDS, Cells, fill, flat_index
from wprops.templates.parts import ODD

BINNING = Binning(
    eta=(-2.4, 0.0, 1.0, 2.4),
    pt=(25.0, 40.0, 55.0),
    qt=(0.0, 10.0, 60.0),
    absy=(0.0, 0.8, 1.6, 2.4),
)
N_CELLS, N_MUON = 6, 6
LABELS = ("nominal", "mw_up", "mw_down")
SYSTEMATICS = declare(Available(n_pdf=0, alphas=False))
TRUTH = ToyTruth()
POLE = BosonPole(mass=80.379, width=2.085)


SHIFTS = ("muon_scale_up", "muon_scale_down")


class Filled:
    """Random events and the block they fill, [charge, cell, muon cell]."""

    def __init__(
        self, seed, n_cells, components, labels=LABELS, n=3000, weight=None, shifts=()
    ):
        rng = np.random.default_rng(seed)
        self.negative = rng.integers(0, 2, n)
        self.cell = rng.integers(0, n_cells, n)
        self.muon = {name: rng.integers(0, N_MUON, n) for name in ("nominal", *shifts)}
        self.components = rng.normal(1.0, 0.3, (n, len(components)))
        if weight is not None:
            self.components = np.full_like(self.components, weight)
        self.ratios = rng.normal(1.0, 0.1, (n, len(labels)))
        self.ratios[:, 0] = 1.0
        self.fold = rng.integers(0, N_FOLDS, n)
        self.derivative = None
        if "mw_up" in labels:
            self.derivative = (self.ratios[:, 1] - self.ratios[:, 2]) / 2
        shape = (2, n_cells, N_MUON)
        places = {
            name: flat_index([self.negative, self.cell, muon], shape)
            for name, muon in self.muon.items()
        }
        self.block = fill(
            Cells(
                n_cells=2 * n_cells * N_MUON,
                nominal=places.pop("nominal"),
                shifted=places,
                fold=self.fold,
            ),
            (components, self.components),
            (labels, self.ratios),
            derivative=self.derivative,
        )

    def template(self, charge, cell, component=0, label=0, power=1, shift="nominal"):
        """Sums of weights in the (eta, pT) bins, one event after the other."""
        weight = self.components[:, component] * self.ratios[:, label]
        return self.sums(charge, cell, weight**power, shift)

    def sums(self, charge, cell, weight, shift="nominal"):
        total = np.zeros(BINNING.shape)
        for i in range(len(self.cell)):
            if self.cell[i] == cell and self.negative[i] == (charge < 0):
                total[divmod(self.muon[shift][i], 2)] += weight[i]
        return total


@pytest.fixture(scope="module")
def filled():
    """What a processor returns, with the events it is made of."""
    nominal = ("nominal",)
    return {
        "W": Filled(1, N_CELLS, EVEN_COMPONENTS, shifts=SHIFTS),
        ODD: Filled(2, N_CELLS, ODD_COMPONENTS, nominal),
        "W_tau": Filled(3, 1, ("UL",), nominal),
        "top": Filled(4, 1, ("UL",), nominal, shifts=SHIFTS),
        "data": Filled(30, 1, ("UL",), nominal, weight=1.0),
    }


@pytest.fixture(scope="module")
def blocks(filled):
    return {template: found.block for template, found in filled.items()}


@pytest.fixture(scope="module")
def channels(blocks):
    return build_channels(blocks, BINNING, generated_maps())


def generated_maps():
    maps = Sample(dataset=dataset(), truth=TRUTH).generated_maps(BINNING)
    return {"Wplus": maps[1], "Wminus": maps[-1]}


def records(**changes):
    """The sample of each dataset, with changes by name."""
    made = {
        "Wplus": dataset(name="Wplus", process="W_mu", boson=POLE),
        "Wminus": dataset(name="Wminus", process="W_mu", boson=POLE),
        "top": dataset(name="top"),
        "data": dataset(name="data", process="data", kind="data", xsec=None),
    }
    return {
        name: Sample(dataset=record, truth=TRUTH, **changes.get(name, {}))
        if name != "data"
        else Sample(dataset=record, **changes.get(name, {}))
        for name, record in made.items()
    }


def build(blocks, samples, split=True):
    """Build a set whose W events come from one of two datasets."""
    flows = np.ones((len(REGIONS), len(REGIONS[0].cuts) + 1, 2))
    signal = {name: blocks[name] for name in ("W", ODD) if name in blocks}
    rest = {
        name: found for name, found in blocks.items() if name not in ("W", ODD, "data")
    }
    outputs = {
        "Wplus": {"blocks": signal, "flows": flows},
        "Wminus": {"blocks": signal if split else {}, "flows": 2 * flows},
        "top": {"blocks": rest, "flows": 3 * flows},
    }
    if "data" in blocks:
        outputs["data"] = {"blocks": {"data": blocks["data"]}, "flows": flows}
    outputs = {name: {"sidebands": {}} | output for name, output in outputs.items()}
    catalog = Catalog(
        name="small",
        luminosity=2.5,
        datasets=[
            sample.dataset.model_copy(update={"files": (f"{name}.root",)})
            for name, sample in samples.items()
        ],
    )
    return build_template_set(outputs, catalog, samples, SYSTEMATICS, BINNING)


def test_signal_processes_have_the_templates_of_their_cell(filled, channels):
    events = filled["W"]
    for name, charge in (("Wplus", 1), ("Wminus", -1)):
        channel = channels[name]
        assert channel.charge == charge
        for cell in range(N_CELLS):
            iy, iqt = divmod(cell, 2)
            for k in (0, 4):
                process = channel.process(signal_name(EVEN_COMPONENTS[k], iy, iqt))
                assert process.role == "signal"
                assert process.component == EVEN_COMPONENTS[k]
                assert process.cell == (iy, iqt)
                for label, values in (
                    (0, process.nominal),
                    (1, process.variations["mw_up"]),
                    (2, process.variations["mw_down"]),
                ):
                    assert_allclose(
                        values, events.template(charge, cell, k, label), rtol=1e-12
                    )
                assert_allclose(
                    process.variance,
                    events.template(charge, cell, k, power=2),
                    rtol=1e-12,
                )


def test_kinematic_shifts_become_variations(filled, channels):
    for name, charge in (("Wplus", 1), ("Wminus", -1)):
        for shift in SHIFTS:
            signal = channels[name].process(signal_name("A0", 2, 1))
            expected = filled["W"].template(charge, 5, 1, shift=shift)
            assert_allclose(signal.variations[shift], expected, rtol=1e-12)
            top = channels[name].process("top")
            expected = filled["top"].template(charge, 0, shift=shift)
            assert_allclose(top.variations[shift], expected, rtol=1e-12)


def test_each_channel_has_all_processes_but_no_odd_ones(channels):
    for channel in channels.values():
        names = set(channel.processes)
        signal = {
            signal_name(component, iy, iqt)
            for component in EVEN_COMPONENTS
            for iy in range(3)
            for iqt in range(2)
        }
        assert names == signal | {"W_tau", "top"}


def test_backgrounds_and_data_are_those_of_the_charge(filled, channels):
    for name, charge in (("Wplus", 1), ("Wminus", -1)):
        top = channels[name].process("top")
        assert top.role == "background"
        assert top.component is top.cell is None
        expected = filled["top"].template(charge, 0)
        assert_allclose(top.nominal, expected, rtol=1e-12)
        observed = filled["data"].template(charge, 0)
        assert_array_equal(channels[name].data, observed)
        assert channels[name].data.sum() > 1000


def test_components_of_a_cell_share_their_events(filled, channels):
    events = filled["W"]
    group = channels["Wminus"].shared[3]
    assert group.processes == tuple(signal_name(c, 1, 1) for c in EVEN_COMPONENTS)
    for k in (0, 3):
        for other in (0, 5):
            product = events.components[:, k] * events.components[:, other]
            expected = events.sums(-1, 3, product)
            assert_allclose(group.products[k, other], expected, rtol=1e-12)


def test_the_mass_derivative_shares_the_events_of_its_cell(filled, channels):
    events, group = filled["W"], channels["Wplus"].shared[4]
    assert group.derivative == "mw"
    total = events.components.sum(axis=1) * events.derivative
    for k in range(6):
        expected = events.sums(1, 4, total * events.components[:, k])
        assert_allclose(group.derivative_products[k], expected, rtol=1e-11, atol=1e-12)
    expected = events.sums(1, 4, total**2)
    assert_allclose(group.derivative_products[6], expected, rtol=1e-11, atol=1e-12)


def test_folds_are_templates_of_their_events(filled, channels):
    events, group = filled["W"], channels["Wplus"].shared[4]
    assert group.folds.shape == (N_FOLDS, 7, *BINNING.shape)
    chosen = events.fold == 13
    expected = events.sums(1, 4, events.components[:, 2] * chosen)
    assert_allclose(group.folds[13, 2], expected, rtol=1e-12)
    total = events.components.sum(axis=1) * events.derivative
    expected = events.sums(1, 4, total * chosen)
    assert_allclose(group.folds[13, 6], expected, rtol=1e-11, atol=1e-12)


def test_backgrounds_have_their_folds_without_a_derivative(filled, channels):
    assert len(channels["Wplus"].shared) == N_CELLS + 2
    group = channels["Wplus"].shared[-1]
    assert (group.processes, group.derivative) == (("top",), None)
    assert group.folds.shape == (N_FOLDS, 1, *BINNING.shape)
    assert_allclose(
        group.folds.sum(axis=0)[0], filled["top"].template(1, 0), rtol=1e-12
    )


def test_entries_count_events(filled, channels):
    events = filled["W"]
    chosen = (events.cell == 2) & (events.negative == 0)
    expected = np.bincount(events.muon["nominal"][chosen], minlength=N_MUON).reshape(
        3, 2
    )
    process = channels["Wplus"].process(signal_name("A2", 1, 0))
    assert_array_equal(process.entries, expected)


def test_without_data_there_are_none(blocks):
    simulated = {name: found for name, found in blocks.items() if name != "data"}
    assert build_channels(simulated, BINNING, {})["Wplus"].data is None


@pytest.mark.parametrize(("name", "charge"), [("Wplus", 1), ("Wminus", -1)])
def test_generated_maps_are_the_truth_in_the_cells(channels, name, charge):
    generated = channels[name].generated
    sigma, A = bin_truth(TRUTH, charge, BINNING.qt, BINNING.absy)
    assert_array_equal(generated.sigma, sigma)
    assert_array_equal(generated.coefficients, A)
    assert generated.sigma.shape == (3, 2)


def test_blocks_of_all_datasets_are_added(filled, blocks):
    merged = merge_blocks([{"top": blocks["top"]}, {}, blocks])
    assert list(merged) == ["top", "W", ODD, "W_tau", "data"]
    assert_allclose(
        merged["top"].section(0, 12).sums, 2 * blocks["top"].section(0, 12).sums
    )
    assert merged["W"] is blocks["W"]
    assert filled["top"].block.entries.sum() * 2 == merged["top"].entries.sum()


def test_merging_leaves_its_input_alone(blocks):
    before = blocks["W"].sums.copy()
    merge_blocks([blocks, blocks, blocks])
    assert_array_equal(blocks["W"].sums, before)


def test_a_set_is_complete_and_valid(blocks):
    templates = build(blocks, records())
    templates.validate()
    assert templates.luminosity == 2.5
    assert templates.boson_mass == 80.379
    assert templates.weighting == "sigma_A"
    rows = templates.tables["cut_flow"]
    n_rows = len(REGIONS[0].cuts) + 1
    assert len(rows) == 4 * len(REGIONS) * n_rows
    assert {row["events"] for row in rows if row["dataset"] == "top"} == {3}
    odd = templates.tables["odd_components"]
    assert [row["component"] for row in odd] == list(ODD_COMPONENTS)


def test_data_bring_their_own_truth(blocks):
    shifted = deviate(TRUTH, {"mw_shift": 0.05, "a4_scale": 0.1})
    templates = build(blocks, records(data={"truth": shifted}))
    assert_allclose(templates.truth.boson_mass, 80.429)
    for name, charge in (("Wplus", 1), ("Wminus", -1)):
        expected = bin_truth(shifted, charge, BINNING.qt, BINNING.absy)
        assert_array_equal(templates.truth.channels[name].coefficients, expected[1])
        simulated = templates.channel(name).generated.coefficients
        assert_allclose(expected[1][4] / simulated[4], 1.1, rtol=1e-12)


@pytest.mark.parametrize("with_data", [True, False])
def test_real_data_and_no_data_have_no_truth(blocks, with_data):
    if not with_data:
        blocks = {name: found for name, found in blocks.items() if name != "data"}
    assert build(blocks, records()).truth is None


def test_a_set_without_signal_says_what_was_filled(blocks):
    rest = {name: blocks[name] for name in ("top", "W_tau")}
    with pytest.raises(
        TemplateError, match=r"no W → μν events.*filled templates: top, W_tau\. Check"
    ):
        build(rest, records())


@pytest.mark.parametrize("pole", [None, BosonPole(mass=80.4, width=2.085)])
def test_signal_samples_have_one_mass(blocks, pole):
    samples = records()
    record = samples["Wminus"].dataset.model_copy(update={"boson": pole})
    samples["Wminus"] = replace(samples["Wminus"], dataset=record)
    with pytest.raises(
        ConfigError, match=r"signal datasets.*Wminus.*one mass is needed, add `boson: "
    ):
        build(blocks, samples)
    # Samples without signal may have any.
    assert build(blocks, samples, split=False).boson_mass == 80.379


def named(*processes, **changes):
    """A record that acts on processes, and what becomes of it in the file."""
    return Systematic(
        name="source",
        kind="weight",
        processes=frozenset(processes),
        group="group",
        **changes,
    )


def channel_with(*names):
    """A channel with signal processes, which contain UL or A0, and backgrounds."""
    values = np.ones((1, 1))
    processes = {}
    for name in names:
        role = "signal" if name.startswith(("W_UL", "W_A")) else "background"
        processes[name] = Process(name=name, role=role, nominal=values, variance=values)
    edges = np.array([0.0, 1.0])
    return Channel(
        name="c", charge=1, eta_edges=edges, pt_edges=edges, processes=processes
    )


CHANNELS = {
    "Wplus": channel_with("W_UL_y0_qt0", "W_A0_y0_qt0", "W_tau", "Z"),
    "Wminus": channel_with("W_UL_y0_qt0", "W_UL_y0_qt1", "top"),
}


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        ({"W"}, {"W_UL_y0_qt0", "W_A0_y0_qt0", "W_UL_y0_qt1"}),
        ({"W_tau", "Z"}, {"W_tau", "Z"}),
        ({"top", "diboson", "W_lowacc"}, {"top"}),
        ({"W", "qcd"}, {"W_UL_y0_qt0", "W_A0_y0_qt0", "W_UL_y0_qt1"}),
    ],
)
def test_records_name_the_processes_of_the_file(processes, expected):
    record = named(*processes)
    (found,) = name_processes([record], CHANNELS)
    assert found.processes == expected
    assert replace(found, processes=record.processes) == record


def test_records_that_act_on_nothing_are_dropped():
    kept = named("Z")
    gone = replace(named("qcd", "diboson"), name="qcd_norm")
    assert name_processes([gone, kept, gone], CHANNELS) == (kept,)


def test_all_records_of_the_measurement_stay_in_their_order():
    channel = channel_with(
        "W_UL_y0_qt0", "W_lowacc", "W_tau", "Z", "top", "diboson", "qcd"
    )
    declared = declare(Available(n_pdf=9, alphas=True))
    named_records = name_processes(declared, {"Wplus": channel})
    assert [r.name for r in named_records] == [r.name for r in declared]


def test_odd_components_of_random_sign_vanish():
    block = odd_block(np.random.default_rng(12), mean=0.0)
    rows = odd_table(block)
    assert [row["component"] for row in rows] == list(ODD_COMPONENTS)
    for row in rows:
        assert row["bins"] == 72
        assert_allclose(row["p"], stats.chi2.sf(row["chi2"], 72))
        assert 1e-3 < row["p"] < 1 - 1e-3


def test_an_odd_component_that_is_there_is_seen_alone():
    rows = odd_table(odd_block(np.random.default_rng(12), mean=[0.0, 0.3, 0.0]))
    assert [row["p"] > 1e-3 for row in rows] == [True, False, True]


def odd_block(rng, mean, n=20_000):
    shape = (2, N_CELLS, N_MUON)
    places = [rng.integers(0, size, n) for size in shape]
    # Components of one event are correlated, as harmonics are.
    values = rng.normal(size=(n, 3)) + 0.5 * rng.normal(size=(n, 1)) + mean
    return odd_fill(flat_index(places, shape), values)


def odd_fill(cell, values):
    return fill(
        Cells(n_cells=72, nominal=cell, fold=np.zeros_like(cell)),
        (ODD_COMPONENTS, values),
        (("nominal",), np.ones((len(cell), 1))),
    )


def test_odd_chi2_is_the_sum_over_bins_with_ten_events():
    rng = np.random.default_rng(2)
    cell = rng.choice(4, 300, p=[0.6, 0.3, 0.08, 0.02])
    values = rng.normal(size=(300, 3))
    block = odd_fill(cell, values)
    counts = np.bincount(cell, minlength=4)
    assert (counts >= 10).tolist() == [True, True, True, False]
    for k, row in enumerate(odd_table(block)):
        expected = sum(
            values[cell == c, k].sum() ** 2 / (values[cell == c, k] ** 2).sum()
            for c in range(3)
        )
        assert row["bins"] == 3
        assert_allclose(row["chi2"], expected)


def test_too_few_events_for_the_odd_components_can_still_be_stored():
    rows = odd_table(odd_block(np.random.default_rng(2), mean=0.0, n=20))
    assert [row["bins"] for row in rows] == [0, 0, 0]
    # Template files hold strict JSON.
    json.dumps(rows, allow_nan=False)


def test_names_of_signals_are_unique():
    names = {
        signal_name(c, y, q) for c in COMPONENTS for y in range(6) for q in range(11)
    }
    assert len(names) == 9 * 66
    assert signal_name("A4", 2, 10) == "W_A4_y2_qt10"
