"""How selected events are split, and that nothing is lost in between."""

import dataclasses
import math

import hist
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.events.nano import dataset, open_nano, write_mixed
from wprops.axes import COARSE, EVEN_COMPONENTS, ODD_COMPONENTS
from wprops.datasets import BosonPole, LheWeights, PdfWeights
from wprops.errors import ConfigError, InputError
from wprops.event_random import event_hash
from wprops.events.generator import hard_leptons
from wprops.events.samples import Sample
from wprops.events.toy.theory import pdf_hessian
from wprops.events.toy.truth import ToyTruth, coefficients
from wprops.physics.collins_soper import boson_and_angles
from wprops.systematics.catalog import Available, declare
from wprops.templates.filling import N_FOLDS
from wprops.templates.parts import (
    ODD,
    MuonBins,
    Part,
    boson_cell,
    event_folds,
    split_events,
)
from wprops.weights import WeightInputs, weight_ratios

DECLARED = declare(Available(n_pdf=9, alphas=True))
DEFAULT = ToyTruth()
#: Large enough to matter, small enough for a positive decay density.
WITH_ODD = dataclasses.replace(
    DEFAULT,
    wplus=DEFAULT.wplus._replace(a_odd=0.02),
    wminus=DEFAULT.wminus._replace(a_odd=-0.02),
)
NUMBERS = {"Wplus_mu": 3000, "Wminus_mu": 2500, "Wplus_tau": 800, "Wminus_tau": 700}


def w_sample(truth, process="W"):
    pdf = PdfWeights(branch="LHEPdfWeight", replicas=100, alphas=True)
    record = dataset(
        name="W",
        process=process,
        weights=LheWeights(pdf=pdf),
        boson=BosonPole(mass=truth.wplus.mass, width=truth.wplus.width),
    )
    return Sample(dataset=record, hessian=pdf_hessian(truth), truth=truth)


@pytest.fixture(scope="module", params=[DEFAULT, WITH_ODD], ids=["even", "odd"])
def split(request, tmp_path_factory):
    """Parts of a random selection of a sample with all decays of both charges."""
    truth = request.param
    path = tmp_path_factory.mktemp("parts") / "mixed.root"
    events = open_nano(write_mixed(path, NUMBERS, truth, seed=8))
    rng = np.random.default_rng(9)
    pick = np.sort(rng.permutation(len(events))[:5000])
    weight = rng.normal(1.0, 0.5, len(pick))
    sample = w_sample(truth)
    parts = split_events(events, pick, weight, sample, DECLARED, COARSE)
    return Split(events, pick, weight, sample, {p.template: p for p in parts})


@dataclasses.dataclass
class Split:
    events: object
    pick: np.ndarray
    weight: np.ndarray
    sample: Sample
    parts: dict[str, Part]

    def bosons(self, name):
        """Bosons of a part, and charges, from all leptons of the chunk."""
        index = self.pick[self.parts[name].index]
        leptons = hard_leptons(self.events)
        boson = boson_and_angles(leptons.lepton[:, index], leptons.other[:, index])
        return boson, leptons.charge[index]


def slow_harmonics(c, phi):
    s = math.sqrt(1 - c * c)
    return [
        (1 - 3 * c * c) / 2,
        2 * s * c * math.cos(phi),
        s * s * math.cos(2 * phi) / 2,
        s * math.cos(phi),
        c,
        s * s * math.sin(2 * phi),
        2 * s * c * math.sin(phi),
        s * math.sin(phi),
    ]


def test_w_events_are_signal_low_acceptance_or_tau_and_nothing_is_twice(split):
    assert set(split.parts) == {"W", ODD, "W_lowacc", "W_tau"}
    index = [split.parts[name].index for name in ("W", "W_lowacc", "W_tau")]
    assert_array_equal(np.sort(np.concatenate(index)), np.arange(len(split.pick)))
    assert min(len(part) for part in index) > 100
    assert_array_equal(split.parts[ODD].index, split.parts["W"].index)


def test_taus_are_the_events_with_a_tau(split):
    particles = split.events.GenPart[split.pick]
    has_tau = np.array([15 in map(abs, ids) for ids in particles.pdgId.to_list()])
    assert_array_equal(np.flatnonzero(has_tau), split.parts["W_tau"].index)


@pytest.mark.parametrize("name", ["W", "W_lowacc"])
def test_cells_are_those_of_the_boson_in_the_list(split, name):
    part = split.parts[name]
    particles = split.events.GenPart[split.pick[part.index]]
    boson = particles[abs(particles.pdgId) == 24][:, 0]
    for qt, eta, mass, cell in zip(
        boson.pt, boson.eta, boson.mass, part.cell, strict=True
    ):
        absy = math.asinh(qt * math.sinh(abs(eta)) / math.hypot(qt, mass))
        # The list is in single precision: leave out what is on an edge.
        edges = (*COARSE.qt[1:], *COARSE.absy[1:])
        if min(abs(x - e) for x in (qt, absy) for e in edges) < 1e-3:
            continue
        iy = sum(absy >= edge for edge in COARSE.absy) - 1
        iqt = sum(qt >= edge for edge in COARSE.qt) - 1
        inside = iy < 3 and iqt < 3
        assert inside == (name == "W")
        assert cell == (3 * iy + iqt if inside else 0)


def test_low_acceptance_and_taus_carry_their_weight_in_one_template(split):
    for name in ("W_lowacc", "W_tau"):
        part = split.parts[name]
        names, values = part.components
        assert names == ("UL",)
        assert part.n_cells == 1
        assert not part.cell.any()
        assert_array_equal(values[:, 0], split.weight[part.index])


def test_components_add_up_to_the_nominal_weight(split):
    even, odd = split.parts["W"], split.parts[ODD]
    assert even.components[0] == EVEN_COMPONENTS
    assert odd.components[0] == ODD_COMPONENTS
    boson, charge = split.bosons("W")
    A = np.empty((8, len(charge)))
    for sign in (1, -1):
        same = charge == sign
        A[:, same] = coefficients(
            split.sample.truth, sign, boson.qt[same], boson.y[same]
        )
    # The odd templates are filled without their coefficients.
    total = even.components[1].sum(axis=1) + (odd.components[1] * A[5:].T).sum(axis=1)
    weight = split.weight[even.index]
    assert_allclose(total, weight, rtol=1e-12)
    if not A[5:].any():
        assert_allclose(even.components[1].sum(axis=1), weight, rtol=1e-12)
    else:
        lost = 1 - even.components[1].sum(axis=1) / weight
        assert np.abs(lost).max() > 1e-3


def test_components_are_the_harmonics_over_the_density(split):
    even, odd = split.parts["W"], split.parts[ODD]
    boson, charge = split.bosons("W")
    for i in range(400):
        A = coefficients(split.sample.truth, charge[i], boson.qt[i], boson.y[i])
        c, P = boson.costheta[i], slow_harmonics(boson.costheta[i], boson.phistar[i])
        terms = [1 + c * c, *(a * p for a, p in zip(A, P, strict=True))]
        weight = split.weight[even.index[i]]
        expected = [weight * term / sum(terms) for term in terms]
        # The same formula in another order, with cancellations near zero.
        assert_allclose(even.components[1][i], expected[:6], rtol=1e-11, atol=1e-13)
        without = [weight * p / sum(terms) for p in P[5:]]
        assert_allclose(odd.components[1][i], without, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ["W", "W_lowacc", "W_tau"])
def test_variations_are_those_of_the_events_and_the_process(split, name):
    part = split.parts[name]
    boson, _ = split.bosons(name)
    inputs = WeightInputs(
        events=split.events,
        pick=split.pick[part.index],
        dataset=split.sample.dataset,
        hessian=split.sample.hessian,
        boson=boson,
    )
    labels, ratios = weight_ratios(inputs, DECLARED, name)
    assert part.variations[0] == labels
    assert ("mw_up" in labels) == (name != "W_tau")
    # The same sums over replicas, which BLAS may order in another way.
    assert_allclose(part.variations[1], ratios, rtol=1e-13)


def test_odd_templates_have_the_nominal_weight_alone(split):
    labels, ratios = split.parts[ODD].variations
    assert labels == ("nominal",)
    assert (ratios == 1.0).all()
    assert not split.parts[ODD].varies
    assert split.parts["W"].varies


@pytest.mark.parametrize("name", ["W", "W_tau", ODD])
def test_a_part_fills_templates_by_charge_cell_and_muon(split, name):
    part, n_muon = split.parts[name], 7
    rng = np.random.default_rng(3)
    n = len(split.pick)
    muons = MuonBins(
        n_bins=n_muon,
        nominal=rng.integers(-1, n_muon, n),
        shifted={"muon_scale_up": rng.integers(-1, n_muon, n)},
        charge=rng.choice([-1, 1], n),
        fold=rng.integers(0, N_FOLDS, n),
    )
    block = part.fill(muons)
    assert block.n_cells == 2 * part.n_cells * n_muon
    n_weights = len(part.variations[0])
    # The odd components are filled with the nominal weight and without shifts.
    shifts = () if name == ODD else ("muon_scale_up",)
    assert block.labels == (*part.variations[0], *shifts)
    assert block.derivative == (name == "W")
    assert block.components == part.components[0]
    section = block.section(0, block.n_cells)
    axes = [
        hist.axis.IntCategory([1, -1], name="charge"),
        hist.axis.Integer(0, part.n_cells, name="cell", flow=False),
        hist.axis.Integer(0, n_muon, name="muon", flow=False),
    ]
    for k in range(len(block.components)):
        for v, label in enumerate(block.labels):
            ratio = part.variations[1][:, v] if v < n_weights else 1.0
            muon = muons.shifted.get(label, muons.nominal)
            template = hist.Hist(*axes, storage=hist.storage.Weight())
            template.fill(
                charge=muons.charge[part.index],
                cell=part.cell,
                muon=muon[part.index],
                weight=part.components[1][:, k] * ratio,
            )
            # Some thousand weights of order one, in the same order.
            assert_allclose(section.sums[k, v], template.values().ravel(), atol=1e-11)
            if label == "nominal":
                assert_allclose(
                    section.products[k, k], template.variances().ravel(), rtol=1e-11
                )


def test_the_derivative_is_half_the_difference_of_the_masses(split):
    part = split.parts["W"]
    n = len(split.pick)
    everywhere = np.zeros(n, dtype=np.int64)
    muons = MuonBins(
        n_bins=1,
        nominal=everywhere,
        shifted={},
        charge=np.ones(n, dtype=np.int64),
        fold=everywhere,
    )
    section = part.fill(muons).section(0, part.n_cells)
    up, down = (part.variations[0].index(f"mw_{side}") for side in ("up", "down"))
    expected = (section.sums[:, up] - section.sums[:, down]).sum(axis=0) / 2
    assert_allclose(section.folds[0, 6], expected, atol=1e-8)
    assert abs(expected).max() > 1e-3


def test_folds_follow_from_event_numbers_alone(split):
    folds = event_folds(split.events, split.pick)
    assert sorted(set(folds)) == list(range(N_FOLDS))
    some = split.pick[::-7]
    assert_array_equal(event_folds(split.events, some), folds[::-7])
    identity = [
        split.events[name][split.pick].to_numpy()
        for name in ("run", "luminosityBlock", "event")
    ]
    assert_array_equal(folds, event_hash(*identity) % 20)


@pytest.mark.parametrize("process", ["top", "qcd", "data"])
def test_other_processes_are_one_template_without_generator(tmp_path, process):
    path = write_mixed(tmp_path / "top.root", {"top": 200}, DEFAULT, seed=1)
    events, pick = open_nano(path), np.arange(0, 200, 3)
    weight = np.linspace(1, 2, len(pick))
    kind = {"kind": "data", "xsec": None} if process == "data" else {}
    sample = Sample(dataset=dataset(process=process, **kind))
    (part,) = split_events(events, pick, weight, sample, DECLARED, COARSE)
    assert part.template == process
    assert part.variations[0] == ("nominal",)
    assert_array_equal(part.index, np.arange(len(pick)))
    assert_array_equal(part.components[1][:, 0], weight)


def test_a_z_is_one_template_with_its_theory(tmp_path):
    path = write_mixed(tmp_path / "Z.root", {"Z_mumu": 300}, DEFAULT, seed=1)
    sample = w_sample(DEFAULT, "Z")
    pick = np.arange(100)
    (part,) = split_events(
        open_nano(path), pick, np.ones(100), sample, DECLARED, COARSE
    )
    assert part.template == "Z"
    assert len(part.variations[0]) == 1 + 9 + 2


@pytest.mark.parametrize(
    ("name", "process"), [("top", "W_mu"), ("top", "W_tau"), ("Z_mumu", "W")]
)
def test_events_without_a_w_are_counted_and_their_file_is_named(
    tmp_path, name, process
):
    path = write_mixed(tmp_path / "wrong.root", {name: 40}, DEFAULT, seed=1)
    pick = np.arange(0, 40, 2)
    parts = split_events(
        open_nano(path), pick, np.ones(20), w_sample(DEFAULT, process), DECLARED, COARSE
    )
    with pytest.raises(
        InputError,
        match=r"^wrong\.root: 20 of 20 selected events have no W → lν in GenPart.*"
        rf"`process: {process}` right for this sample",
    ):
        list(parts)


def test_unselected_events_may_be_anything(tmp_path):
    path = write_mixed(tmp_path / "top.root", {"top": 30}, DEFAULT, seed=1)
    nothing = np.arange(0)
    sample = w_sample(DEFAULT)
    parts = split_events(open_nano(path), nothing, np.ones(0), sample, DECLARED, COARSE)
    assert list(parts) == []


def test_signal_needs_the_coefficients_of_its_simulation(split):
    sample = dataclasses.replace(split.sample, truth=None)
    with pytest.raises(
        ConfigError, match="measure them with `wprops run --processor gen_moments`"
    ):
        list(
            split_events(
                split.events, split.pick, split.weight, sample, DECLARED, COARSE
            )
        )


def test_cells_count_rapidity_before_transverse_momentum():
    boson = boson_and_angles(([40.0], [0.0], [0.0]), ([40.0], [0.0], [np.pi]))
    template = [np.zeros(6)] * 6
    boson = type(boson)(*template)._replace(
        qt=np.array([0.0, 8.0, 59.9, 60.0, 5.0, 20.0]),
        y=np.array([0.0, -0.8, 2.39, 1.0, -2.4, -1.7]),
    )
    assert boson_cell(boson, COARSE).tolist() == [0, 4, 8, -1, -1, 8]
