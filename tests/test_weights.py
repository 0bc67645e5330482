"""Event weights against their formulas, and against the toy's truth."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad

from tests.corrections.efficiency_toys import (
    ETA,
    STAT_PT,
    look_up,
    make_steps,
    muons,
    write_steps,
)
from tests.events.nano import (
    dataset,
    jagged,
    open_nano,
    open_sample,
    toy_catalog,
    write_nano,
)
from wprops.corrections.efficiency import muon_factors
from wprops.datasets import Corrections, LheWeights, PdfWeights
from wprops.errors import ConfigError, InputError
from wprops.events.generator import hard_leptons
from wprops.events.samples import read_samples
from wprops.events.toy.theory import PDF_MEMBERS, member
from wprops.events.toy.truth import ToyTruth, coefficients, density
from wprops.nominal import nominal_weight
from wprops.physics.collins_soper import BosonDecay, boson_and_angles
from wprops.systematics.catalog import SCALE_SLICES, SCALES, Available, declare
from wprops.systematics.declaration import Systematic
from wprops.weights import (
    WEIGHTS,
    WeightInputs,
    lhe_weights,
    split_pdf_weights,
    weight_ratios,
)

TRUTH = ToyTruth()
DECLARED = declare(
    Available(n_pdf=9, alphas=True, scale=True, prefire=True, efficiency=True)
)
ABSY = (0.0, 0.8, 1.6, 2.4)
#: Widths of the statistical errors within which a mean has to lie.
SIGMAS = 4.0


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return toy_catalog(
        tmp_path_factory.mktemp("toy"),
        events=30_000,
        seed=21,
        samples=["Wplus_mu", "Wminus_mu", "top"],
        negative_fraction=0.1,
    )


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    path = tmp_path_factory.mktemp("efficiency") / "steps.json"
    return write_steps(path, make_steps())


@pytest.fixture(scope="module", params=["Wplus_mu", "Wminus_mu"])
def toy(request, catalog, steps):
    """Weight inputs of all events of one sample, and the charge of its bosons."""
    sample = read_samples(catalog)[request.param]
    events = open_sample(catalog, request.param, normalisation=0.25)
    leptons = hard_leptons(events)
    inputs = WeightInputs(
        events=events,
        pick=np.arange(len(events)),
        dataset=sample.dataset.model_copy(
            update={"corrections": Corrections(prefire="branches")}
        ),
        hessian=sample.hessian,
        boson=boson_and_angles(leptons.lepton, leptons.other),
        muons=muon_factors(steps, *muons(len(events))),
    )
    return inputs, 1 if request.param == "Wplus_mu" else -1


def test_every_weight_systematic_has_a_function(toy):
    inputs, _ = toy
    records = [record for record in DECLARED if record.kind == "weight"]
    assert {record.group for record in records} == set(WEIGHTS)
    made = {label for function in WEIGHTS.values() for label in function(inputs)}
    declared = {label for record in records for label in record.labels}
    assert made >= declared
    # A one-sided source needs no more than its side.
    assert made - declared == set()


def test_norms_need_neither():
    for record in DECLARED:
        if record.kind == "norm":
            assert record.labels == ()
            assert record.size > 1


def test_ratios_have_a_column_per_declared_label_nominal_first(toy):
    inputs, _ = toy
    labels, ratios = weight_ratios(inputs, DECLARED, "W")
    declared = [
        label
        for record in DECLARED
        if record.kind == "weight" and "W" in record.processes
        for label in record.labels
    ]
    assert labels == ("nominal", *declared)
    # Mass, densities, alphaS; efficiency: three statistical, one systematic; prefire.
    assert ratios.shape == (len(inputs.pick), 1 + 2 + 9 + 2 + 6 + 2 + 2)
    assert (ratios[:, 0] == 1.0).all()
    columns = {
        k: v for function in WEIGHTS.values() for k, v in function(inputs).items()
    }
    for label, column in zip(labels[1:], ratios.T[1:], strict=True):
        assert_array_equal(column, columns[label])


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        ("W_lowacc", 42),
        ("W_tau", 40),
        ("Z", 28),
        ("top", 11),
        ("diboson", 11),
        ("qcd", 1),
        ("data", 1),
    ],
)
def test_processes_have_the_variations_that_act_on_them(toy, process, expected):
    labels, ratios = weight_ratios(toy[0], DECLARED, process)
    assert len(labels) == ratios.shape[1] == expected


def test_weights_of_some_events_are_those_among_all(toy):
    inputs, _ = toy
    _, everything = weight_ratios(inputs, DECLARED, "W")
    index = np.random.default_rng(6).permutation(len(inputs.pick))[:500]
    boson = type(inputs.boson)(*(column[index] for column in inputs.boson))
    _, some = weight_ratios(inputs.restricted(index, boson), DECLARED, "W")
    # BLAS adds the replicas in an order that depends on the number of events.
    assert_allclose(some, everything[index], rtol=1e-14)
    again = np.array([3, 1, 4])
    boson = type(boson)(*(column[again] for column in boson))
    _, few = weight_ratios(
        inputs.restricted(index, boson).restricted(again, boson), DECLARED, "W"
    )
    assert_allclose(few, everything[index[again]], rtol=1e-14)


def test_directions_are_the_published_sum_over_replicas(toy):
    inputs, _ = toy
    made = WEIGHTS["pdf"](inputs)
    members = inputs.events.LHEPdfWeight[:50].to_numpy().astype(float)
    for k in range(9):
        for event in range(50):
            expected = 1.0 + sum(
                inputs.hessian[j, k] * (members[event, j] - 1.0) for j in range(100)
            )
            # Differences of single-precision weights from 1.
            assert_allclose(made[f"pdf_{k + 1:02d}_up"][event], expected, atol=1e-7)
    alphas = WEIGHTS["alphas"](inputs)
    assert set(alphas) == {"alphas_down", "alphas_up"}
    for k, side in enumerate(("down", "up")):
        assert_array_equal(alphas[f"alphas_{side}"][:50], members[:, 100 + k])


def bosons(charge, low, high):
    """Points of (qT, |Y|) in a range of |Y|, and the share of bosons at each."""
    # The middles of 300 x 30 cells; qT = q/(1 - q) crowds them where bosons are.
    u = (np.arange(300) + 0.5) / 300 * (200 / 208)
    absy = low + (high - low) * (np.arange(30) + 0.5) / 30
    absy, u = (grid.ravel() for grid in np.meshgrid(absy, u, indexing="ij"))
    qt = 8 * u / (1 - u)
    share = density(TRUTH, charge, qt, absy) / (1 - u) ** 2
    return qt, absy, share / share.sum()


def predicted(charge, low, high, name=None):
    """σ'/σ and σ' A4'/σ of a member in a range of |Y|."""
    qt, absy, share = bosons(charge, low, high)
    if name is None:
        return np.array([1.0, share @ coefficients(TRUTH, charge, qt, absy)[4]])
    ratio, A = member(TRUTH, name, charge, qt, absy)
    return np.array([share @ ratio, share @ (ratio * A[4])])


@pytest.mark.parametrize("y_bin", range(3))
def test_directions_move_cross_section_and_a4_as_the_truth_says(toy, y_bin):
    inputs, charge = toy
    low, high = ABSY[y_bin], ABSY[y_bin + 1]
    absy = np.abs(inputs.boson.y)
    chosen = (absy >= low) & (absy < high)
    n = chosen.sum()
    nominal = predicted(charge, low, high)
    # A replica's weights are linear in these two numbers.
    members = np.array([predicted(charge, low, high, m) for m in PDF_MEMBERS[:100]])
    shifts = inputs.hessian.T @ (members - nominal)
    columns = WEIGHTS["pdf"](inputs)
    made = np.stack([columns[f"pdf_{k:02d}_up"][chosen] for k in range(1, 10)])
    harmonics = np.stack([np.ones(n), 4 * inputs.boson.costheta[chosen]])
    change = (made - 1.0)[:, None] * harmonics
    error = change.std(axis=2) / np.sqrt(n)
    # The toy keeps 14 bits of each weight: at most 3e-5, at random.
    assert (np.abs(change.mean(axis=2) - shifts) < SIGMAS * error + 3e-6).all()
    # All directions together have the spread of the replicas.
    total = np.sqrt((change.mean(axis=2) ** 2).sum(axis=0))
    spread = members.std(axis=0, ddof=1)
    # Error propagation of the root of a sum of squares.
    allowed = SIGMAS * np.sqrt((error**2).sum(axis=0))
    assert (np.abs(total - spread) < allowed).all()
    assert spread[0] > 5e-3


@pytest.mark.parametrize("side", ["up", "down"])
def test_alphas_moves_the_spectrum_as_the_truth_says(toy, side):
    inputs, charge = toy
    made = WEIGHTS["alphas"](inputs)[f"alphas_{side}"]
    for low, high in ((0, 5), (5, 15), (30, 60)):
        chosen = (inputs.boson.qt >= low) & (inputs.boson.qt < high)
        qt, y = inputs.boson.qt[chosen], inputs.boson.y[chosen]
        expected = member(TRUTH, f"alphas_{side}", charge, qt, y).sigma_ratio
        difference = made[chosen] - expected
        error = difference.std() / np.sqrt(chosen.sum())
        assert abs(difference.mean()) < SIGMAS * error
        assert abs(made[chosen].mean() - 1) > 5 * error


def breit_wigner(mass, pole, width):
    return mass / ((mass**2 - pole**2) ** 2 + (pole * width) ** 2)


@pytest.mark.parametrize(("side", "step"), [("up", 0.05), ("down", -0.05)])
def test_mass_weights_are_ratios_of_normalised_line_shapes(toy, side, step):
    inputs, _ = toy
    pole = inputs.dataset.boson
    made = WEIGHTS["mass"](inputs)[f"mw_{side}"]
    particles = inputs.events.GenPart
    bosons = particles[abs(particles.pdgId) == 24].mass[:, 0].to_numpy().astype(float)
    norms = [
        quad(breit_wigner, 50, 120, (m, pole.width), points=[m], limit=200)[0]
        for m in (pole.mass, pole.mass + step)
    ]
    expected = (breit_wigner(bosons, pole.mass + step, pole.width) / norms[1]) / (
        breit_wigner(bosons, pole.mass, pole.width) / norms[0]
    )
    # The mass of the pair from single-precision momenta is good to some keV, and the
    # weight changes by 5 % per GeV.
    assert_allclose(made, expected, rtol=1e-4)
    n = len(made)
    assert abs(made.mean() - 1) < SIGMAS * made.std() / np.sqrt(n)
    mean = np.average(bosons, weights=made) - bosons.mean()
    error = ((made - 1) * (bosons - bosons.mean())).std() / np.sqrt(n)
    shifts = [
        quad(lambda m, p=p: m * breit_wigner(m, p, pole.width), 50, 120, limit=200)[0]
        for p in (pole.mass, pole.mass + step)
    ]
    expected_mean = shifts[1] / norms[1] - shifts[0] / norms[0]
    assert abs(mean - expected_mean) < SIGMAS * error


def scale_members(inputs):
    """Weights of the file relative to that of unchanged scales."""
    members = inputs.events.LHEScaleWeight.to_numpy().astype(float)
    return members / members[:, 4:5]


def test_scales_of_the_z_are_six_weights_of_the_file(toy):
    inputs, _ = toy
    made = WEIGHTS["scale_z"](inputs)
    # Not the unchanged one, nor those that move the scales apart.
    assert list(made) == [f"scale_{k}_up" for k in (0, 1, 3, 5, 7, 8)]
    members = scale_members(inputs)
    for label, column in made.items():
        assert_array_equal(column, members[:, int(label[6])])


def test_scales_of_the_w_act_in_slices_of_qt(toy):
    inputs, _ = toy
    made = WEIGHTS["scale_w"](inputs)
    members, qt = scale_members(inputs), inputs.boson.qt
    assert len(made) == 18
    for part, low, high in (("low", 0, 5), ("mid", 5, 15), ("high", 15, np.inf)):
        inside = (qt >= low) & (qt < high)
        assert inside.sum() > 1000
        for k in SCALES:
            column = made[f"scale_{k}_{part}_up"]
            assert_array_equal(column[inside], members[inside, k])
            assert (column[~inside] == 1.0).all()


def test_slices_of_qt_multiply_to_the_whole(toy):
    inputs, _ = toy
    whole, slices = WEIGHTS["scale_z"](inputs), WEIGHTS["scale_w"](inputs)
    for k in SCALES:
        parts = [slices[f"scale_{k}_{part}_up"] for part in SCALE_SLICES]
        # All but one of the factors are 1.
        assert_array_equal(np.prod(parts, axis=0), whole[f"scale_{k}_up"])


@pytest.mark.parametrize("k", SCALES)
def test_scales_move_the_spectrum_as_the_truth_says(toy, k):
    inputs, charge = toy
    made = WEIGHTS["scale_w"](inputs)
    for part, (low, high) in SCALE_SLICES.items():
        chosen = (inputs.boson.qt >= low) & (inputs.boson.qt < high)
        qt, y = inputs.boson.qt[chosen], inputs.boson.y[chosen]
        expected = member(TRUTH, f"scale_{k}", charge, qt, y).sigma_ratio
        column = made[f"scale_{k}_{part}_up"][chosen]
        difference = column - expected
        error = difference.std() / np.sqrt(chosen.sum())
        # The toy keeps 14 bits of each weight: at most 3e-5, at random.
        assert abs(difference.mean()) < SIGMAS * error + 3e-6
        assert abs(column - 1).max() > 1e-3


def scale_inputs(folder, rows, qt=None, scale="LHEScaleWeight"):
    """Events with the given scale weights."""
    record = dataset(name="W", weights=LheWeights(scale=scale))
    events = open_with(folder, record, LHEScaleWeight=jagged(rows, np.float32))
    boson = None if qt is None else BosonDecay(*[np.array(qt)] * 6)
    pick = np.arange(len(rows))
    return WeightInputs(events=events, pick=pick, dataset=record, boson=boson)


def test_an_edge_belongs_to_the_slice_above(tmp_path):
    qt = [0.0, np.nextafter(5.0, 0), 5.0, np.nextafter(15.0, 0), 15.0, 1e4]
    rows = [[2.0, 3.0, 1.0, 4.0, 1.0, 5.0, 1.0, 6.0, 7.0]] * 6
    made = WEIGHTS["scale_w"](scale_inputs(tmp_path, rows, qt))
    assert made["scale_0_low_up"].tolist() == [2, 2, 1, 1, 1, 1]
    assert made["scale_5_mid_up"].tolist() == [1, 1, 5, 5, 1, 1]
    assert made["scale_8_high_up"].tolist() == [1, 1, 1, 1, 7, 7]


def test_scale_weights_are_relative_to_the_nominal_one(tmp_path):
    rows = np.array([[1, 2, 3, 4, 0.5, 6, 7, 8, 9], [9, 8, 7, 6, -2, 4, 3, 2, 1.0]])
    made = WEIGHTS["scale_z"](scale_inputs(tmp_path, rows))
    for k in SCALES:
        assert_array_equal(made[f"scale_{k}_up"], [rows[0, k] / 0.5, rows[1, k] / -2])


@pytest.mark.parametrize("entries", [8, 44])
@pytest.mark.parametrize("group", ["scale_z", "scale_w"])
def test_another_number_of_scales_is_refused(tmp_path, entries, group):
    inputs = scale_inputs(tmp_path, np.ones((3, entries)), qt=[1.0, 2.0, 3.0])
    with pytest.raises(
        InputError,
        match=rf"^events\.root: LHEScaleWeight has {entries} entries; nine are needed"
        r".*`without: \[scale_z, scale_w\]`",
    ):
        WEIGHTS[group](inputs)


def test_scales_need_their_weights_and_a_boson(tmp_path):
    with pytest.raises(
        ConfigError, match=r"'W' declares no scale weights.*`scale: LHEScaleWeight`"
    ):
        WEIGHTS["scale_z"](scale_inputs(tmp_path, np.ones((3, 9)), scale=None))
    with pytest.raises(ConfigError, match="'W': scales in slices of qT need its boson"):
        WEIGHTS["scale_w"](scale_inputs(tmp_path, np.ones((3, 9))))


def test_statistical_variations_of_the_efficiency_are_those_of_the_eta_bin(toy):
    inputs, _ = toy
    made = WEIGHTS["sf_stat"](inputs)
    assert list(made) == [
        f"sf_stat_{k}_{side}" for k in range(3) for side in ("up", "down")
    ]
    charge, eta, pt = muons(len(inputs.pick))
    trigger = make_steps()["trigger"]
    for i in range(500):
        stat = look_up(trigger.stat, (ETA, STAT_PT), int(charge[i] > 0), eta[i], pt[i])
        for k in range(3):
            assert_allclose(made[f"sf_stat_{k}_up"][i], 1 + stat[k], rtol=1e-8)
            assert_allclose(made[f"sf_stat_{k}_down"][i], 1 - stat[k], rtol=1e-8)


def test_another_eta_bin_has_variations_of_its_own(toy, steps):
    """A change of one eta bin of the file moves the muons of that bin alone."""
    inputs, _ = toy
    columns = muons(len(inputs.pick))
    before = WEIGHTS["sf_stat"](inputs)
    inside = np.array([(ETA[1] <= eta < ETA[2]) for eta in columns[1]])
    table = steps[1].table.copy()
    table[:, steps[1].stat_bin == 1, :, 2:] *= 3.0
    changed = [steps[0], dataclasses.replace(steps[1], table=table)]
    after = WEIGHTS["sf_stat"](
        dataclasses.replace(inputs, muons=muon_factors(changed, *columns))
    )
    for label, column in before.items():
        assert_array_equal(after[label][~inside], column[~inside])
        # Differences of weights from 1 lose some of their digits.
        assert_allclose(
            after[label][inside] - 1, 3 * (column[inside] - 1), rtol=1e-12, atol=1e-15
        )
        assert (after[label][inside] != column[inside]).all()


def test_the_systematic_of_the_efficiency_is_one_for_all_muons(toy):
    inputs, _ = toy
    made = WEIGHTS["sf_syst"](inputs)
    eta = np.abs(muons(len(inputs.pick))[1])
    # As the builder has it: larger at high |eta|.
    expected = np.select([eta < 1, eta < 1.5], [0.002, 0.004], 0.014)
    assert_allclose(made["sf_syst_up"], 1 + expected, rtol=1e-8)
    assert_allclose(made["sf_syst_down"], 1 - expected, rtol=1e-8)


@pytest.mark.parametrize("group", ["sf_stat", "sf_syst"])
def test_muons_without_factors_have_no_variations_of_them(toy, group):
    lacking = dataclasses.replace(toy[0], muons=None)
    with pytest.raises(
        ConfigError, match=r"has no efficiency scale factors, but others have; give all"
    ):
        WEIGHTS[group](lacking)


def test_prefire_variations_are_ratios_of_the_branches(toy):
    inputs, _ = toy
    made = WEIGHTS["prefire"](inputs)
    names = {"up": "Up", "down": "Dn"}
    for side, name in names.items():
        varied = inputs.events.L1PreFiringWeight[name].to_numpy().astype(float)
        nominal = inputs.events.L1PreFiringWeight.Nom.to_numpy().astype(float)
        assert_array_equal(made[f"prefire_{side}"], varied / nominal)
    # More prefiring leaves fewer events.
    assert (made["prefire_up"] <= 1).all()
    assert (made["prefire_up"] < 1).sum() > 1000


def test_an_event_that_surely_prefired_has_no_variation(tmp_path):
    branches = {
        "L1PreFiringWeight_Nom": [0.5, 0.0],
        "L1PreFiringWeight_Up": [0.4, 0.0],
        "L1PreFiringWeight_Dn": [0.6, 0.1],
    }
    record = dataset(corrections=Corrections(prefire="branches"))
    events = open_with(tmp_path, record, **branches)
    inputs = WeightInputs(events=events, pick=np.array([1, 0]), dataset=record)
    made = WEIGHTS["prefire"](inputs)
    assert_allclose(made["prefire_up"], [1.0, 0.8])
    assert_allclose(made["prefire_down"], [1.0, 1.2])


def test_prefire_variations_need_the_weights(toy):
    record = toy[0].dataset.model_copy(update={"corrections": Corrections()})
    lacking = dataclasses.replace(toy[0], dataset=record)
    with pytest.raises(ConfigError, match="has no prefire weights, but others have"):
        WEIGHTS["prefire"](lacking)


def test_simulation_has_the_generator_weight_times_the_normalisation(catalog):
    events = open_sample(catalog, "Wplus_mu", normalisation=0.25)
    weight = nominal_weight(events)
    assert weight.dtype == np.float64
    assert_array_equal(weight, 0.25 * events.genWeight.to_numpy())
    assert set(weight) == {0.25, -0.25}


def open_with(folder, record, **branches):
    path = write_nano(folder / "events.root", branches)
    return open_nano(path, record=record, normalisation=7.0)


def test_data_have_weight_one(tmp_path):
    record = dataset(kind="data", process="data", xsec=None)
    weight = nominal_weight(open_with(tmp_path, record, MET_T1_pt=np.ones(3)))
    assert_array_equal(weight, [1.0, 1.0, 1.0])


def test_simulation_without_weight_is_told_what_to_do(tmp_path):
    events = open_with(tmp_path, dataset(), MET_T1_pt=np.ones(3))
    with pytest.raises(
        InputError,
        match=r"events\.root has no branch 'genWeight'; use .*or set `kind: data`",
    ):
        nominal_weight(events)


def pdf_inputs(folder, entries, *, replicas=100, alphas=True, pick=(0, 1, 2), **extra):
    """Three events whose weights are numbered, and a record that describes them."""
    rows = [np.arange(n) + 1000 * row + 1 for row, n in enumerate(entries)]
    pdf = PdfWeights(branch="LHEPdfWeight", replicas=replicas, alphas=alphas)
    record = dataset(name="W", weights=LheWeights(pdf=pdf))
    events = open_with(folder, record, LHEPdfWeight=jagged(rows, np.float32), **extra)
    return WeightInputs(events=events, pick=np.array(pick), dataset=record)


@pytest.mark.parametrize(
    ("entries", "alphas", "first"),
    [(102, True, 0), (103, True, 1), (100, False, 0), (101, False, 1)],
)
def test_replicas_come_first_or_after_the_nominal(tmp_path, entries, alphas, first):
    inputs = pdf_inputs(tmp_path, [entries] * 3, alphas=alphas, pick=[2, 0])
    replicas, alphas_members = split_pdf_weights(inputs)
    # Members are numbered from 1 on, and relative to the nominal one in front of them.
    numbers = np.array([2001, 1])[:, None] + np.arange(entries)
    relative = numbers / (numbers[:, :1] if first else 1)
    assert_allclose(replicas, relative[:, first : first + 100], rtol=1e-6)
    assert_allclose(alphas_members, relative[:, first + 100 :], rtol=1e-6)
    assert alphas_members.shape[1] == (2 if alphas else 0)


@pytest.mark.parametrize(
    ("entries", "alphas"),
    [(101, True), (104, True), (102, False), (0, True), (33, True)],
)
def test_another_number_of_members_is_refused(tmp_path, entries, alphas):
    inputs = pdf_inputs(tmp_path, [entries] * 3, alphas=alphas)
    with pytest.raises(
        InputError,
        match=rf"events\.root: LHEPdfWeight has {entries} entries; 100 replicas and "
        rf"{2 * alphas} alphaS members make {100 + 2 * alphas}, or one more",
    ):
        split_pdf_weights(inputs)


def test_lengths_that_differ_between_events_are_refused(tmp_path):
    inputs = pdf_inputs(tmp_path, [102, 103, 102], pick=[0])
    with pytest.raises(
        InputError,
        match=r"events\.root: LHEPdfWeight has 102 to 103 entries per event; a fixed",
    ):
        split_pdf_weights(inputs)


def test_any_weight_branch_becomes_a_matrix(tmp_path):
    inputs = pdf_inputs(
        tmp_path, [1] * 3, LHEScaleWeight=jagged(np.arange(27).reshape(3, 9), "f4")
    )
    found = lhe_weights(inputs, "LHEScaleWeight")
    assert_array_equal(found, np.arange(27).reshape(3, 9))


def test_a_missing_weight_branch_names_the_setting(tmp_path):
    inputs = pdf_inputs(tmp_path, [1] * 3)
    with pytest.raises(
        InputError,
        match=r"no branch 'LHEScaleWeight'; the catalogue says that dataset 'W' has it"
        r".*`weights:`",
    ):
        lhe_weights(inputs, "LHEScaleWeight")


def test_a_matrix_is_needed_for_directions(tmp_path):
    with pytest.raises(ConfigError, match=r"'W' has PDF replicas.*`hessian: FILE\.csv"):
        WEIGHTS["pdf"](pdf_inputs(tmp_path, [102] * 3))


def test_alphas_needs_its_members(tmp_path):
    inputs = pdf_inputs(tmp_path, [100] * 3, alphas=False)
    with pytest.raises(ConfigError, match=r"'W' has no alphaS members, but.*`alphas:`"):
        WEIGHTS["alphas"](inputs)
    # They need no matrix.
    made = WEIGHTS["alphas"](pdf_inputs(tmp_path, [102] * 3))
    assert_array_equal(made["alphas_down"], [101, 1101, 2101])


def test_bosons_need_declared_parton_densities(tmp_path):
    events = open_with(tmp_path, dataset(name="Z"), MET_T1_pt=np.ones(3))
    inputs = WeightInputs(events=events, pick=np.arange(3), dataset=dataset(name="Z"))
    with pytest.raises(ConfigError, match=r"'Z' declares no PDF weights.*`weights: "):
        weight_ratios(inputs, DECLARED, "Z")
    labels, _ = weight_ratios(inputs, declare(Available(n_pdf=0, alphas=False)), "Z")
    assert labels == ("nominal",)


def test_the_mass_needs_the_pole_of_the_sample(toy):
    inputs, _ = toy
    record = inputs.dataset.model_copy(update={"boson": None})
    lacking = WeightInputs(
        events=inputs.events, pick=inputs.pick, dataset=record, boson=inputs.boson
    )
    with pytest.raises(ConfigError, match=r"m_W variation.*`boson: \{mass: "):
        WEIGHTS["mass"](lacking)


def test_a_record_without_function_is_refused(toy):
    record = Systematic(
        name="recoil", kind="weight", processes=frozenset({"W"}), group="recoil"
    )
    with pytest.raises(
        ConfigError,
        match=r"makes recoil_up, recoil_down for dataset.*add it to WEIGHTS",
    ):
        weight_ratios(toy[0], (*DECLARED, record), "W")


def test_samples_with_more_directions_than_declared_are_cut(toy):
    labels, _ = weight_ratios(toy[0], declare(Available(n_pdf=4, alphas=False)), "W")
    assert labels == (
        "nominal",
        "mw_up",
        "mw_down",
        *(f"pdf_{k:02d}_up" for k in range(1, 5)),
    )
