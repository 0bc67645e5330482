"""The response of a toy against slow loops over its files and against its truth."""

import math

import numpy as np
import pytest
import uproot
import yaml
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from corrections.build_toy import BLOCK, build_toy
from processors.response import ResponseProcessor
from tests.events.nano import open_sample, toy_catalog, write_mixed
from tests.execution.small import assert_same_bits, edited, n_chunks
from tests.selection.exotic import slow_events
from wprops.axes import COARSE
from wprops.catalog import Catalog
from wprops.errors import InputError
from wprops.events.toy.truth import ToyTruth, bin_truth, coefficients
from wprops.execution.processors import load_processor
from wprops.execution.run import run
from wprops.factorised.panels import RESIDUAL_PAR, RESIDUAL_PERP
from wprops.factorised.response_file import Response
from wprops.nominal import generated_weight, nominal_weight
from wprops.physics.collins_soper import boson_and_angles
from wprops.selection.candidates import select
from wprops.selection.regions import SIGNAL

SAMPLES = ["Wplus_mu", "Wminus_mu", "Wplus_tau", "top", "data"]
#: A fixed seed leaves no chance: a smaller p-value would be a mistake.
P_MIN = 1e-3
KINEMATIC = [
    f"{name}_{side}"
    for name in ("muon_scale", "jes", "unclustered")
    for side in ("up", "down")
]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return toy_catalog(
        tmp_path_factory.mktemp("toy"),
        events=50_000,
        seed=23,
        samples=SAMPLES,
        events_per_file=10_000,
        fsr=True,
        negative_fraction=0.05,
        data_fraction=0.1,
    )


@pytest.fixture(scope="module")
def produced(catalog, tmp_path_factory):
    chosen = load_processor("response").from_catalog(catalog, COARSE)
    result = run(catalog, chosen, progress=False)
    path = tmp_path_factory.mktemp("response") / "response.h5"
    chosen.save(result, path)
    return result, Response.read(path)


@pytest.fixture(scope="module")
def response(produced):
    return produced[1]


@pytest.fixture(scope="module")
def decays(catalog):
    """Columns of one file of positive bosons, as the processor makes them."""
    chosen = ResponseProcessor.from_catalog(catalog, COARSE)
    return chosen.decays(open_sample(catalog, "Wplus_mu", normalisation=2.0))


def read_file(path):
    """Columns of a file, read without the package."""
    with uproot.open(path) as file:
        tree = file["Events"]
        columns = {
            name: tree[name].array()
            for name in tree.keys()  # noqa: SIM118  a tree is no mapping
            if name.startswith(("Muon_", "Electron_", "HLT_", "Flag_", "GenPart_"))
        }
        for name in ("pt", "phi"):
            columns[f"MET_{name}"] = tree[f"MET_T1_{name}"].array(library="np")
        for name in ("genWeight", "LHEPdfWeight", "LHEScaleWeight"):
            columns[name] = tree[name].array().to_numpy().astype(float)
    return columns


@pytest.fixture(scope="module")
def file(catalog):
    return read_file(catalog.dataset("Wplus_mu").files[0])


def generated(columns):
    """Lepton before radiation and neutrino, which follow the boson in the toy."""
    return [
        [columns[f"GenPart_{n}"][:, i].to_numpy().astype(float) for n in ("pt", "eta")]
        + [columns["GenPart_phi"][:, i].to_numpy().astype(float)]
        for i in (1, 2)
    ]


@pytest.fixture(scope="module")
def matched(file):
    """Index of the matched muon of each event, −1 without one, by a loop."""
    (_, etas, phis), _ = generated(file)
    found = []
    for muons, eta, phi in zip(
        zip(
            *(file[f"Muon_{n}"].to_list() for n in ("eta", "phi", "charge")),
            strict=True,
        ),
        etas,
        phis,
        strict=True,
    ):
        distances = [
            math.hypot(m_eta - eta, math.remainder(m_phi - phi, 2 * math.pi))
            if charge == 1
            else math.inf
            for m_eta, m_phi, charge in zip(*muons, strict=True)
        ]
        best = min(distances, default=math.inf)
        found.append(distances.index(best) if best < 0.1 else -1)
    return found


def test_weights_add_up_to_the_cross_section(catalog, response):
    inside = response.sums.fold_sum("boson").sum(axis=(1, 2, 3, 4))
    total = inside + response.sums.arrays["outside"]
    for k, name in enumerate(("Wplus_mu", "Wminus_mu")):
        expected = catalog.dataset(name).xsec * 1000 * catalog.luminosity
        assert_allclose(total[k], expected, rtol=1e-12)
    assert response.luminosity == catalog.luminosity


def test_the_spectrum_is_that_of_the_truth(catalog, response):
    moments = response.sums.fold_sum("boson").sum(axis=(2, 4))
    squares = response.sums.arrays["boson_squares"]
    panels = response.panels
    scale = 1000 * catalog.luminosity
    for k, charge in enumerate((1, -1)):
        sigma, _ = bin_truth(ToyTruth(), charge, panels.qt, panels.absy)
        filled = scale * sigma.T * moments[k].sum() / squares[k].sum() > 20
        pulls = (moments[k] - scale * sigma.T)[filled] / np.sqrt(squares[k][filled])
        assert filled.sum() > 100
        assert P_MIN < stats.chi2.sf((pulls**2).sum(), pulls.size) < 1 - P_MIN


def test_matched_and_passing_muons_are_those_of_a_loop(decays, file, matched):
    events = np.array([i for i, k in enumerate(matched) if k >= 0])
    assert_array_equal(decays.reco, events)
    selected = {i: muon for i, kind, muon, *_ in slow_events(file) if kind == 0}
    passes = [
        i in selected
        and selected[i].pt == file["Muon_pt"][i][matched[i]]
        and abs(selected[i].eta) < 2.4
        for i in events
    ]
    assert_array_equal(decays.passes, passes)
    assert 0.3 < np.mean(passes) < 0.6
    momenta = [float(file["Muon_pt"][i][matched[i]]) for i in events]
    for label, factor in (("nominal", 1), ("muon_scale_up", 1.0005)):
        assert_allclose(decays.reco_pt[label], factor * np.array(momenta), rtol=1e-12)
    etas = [float(file["Muon_eta"][i][matched[i]]) for i in events]
    assert_array_equal(decays.reco_eta, etas)
    assert_allclose(decays.weight, 2.0 * file["genWeight"], rtol=1e-6)


def test_residuals_are_the_missing_momentum_plus_muon_minus_boson(
    decays, file, matched
):
    lepton, other = generated(file)
    boson = [
        lepton[0] * f(lepton[2]) + other[0] * f(other[2]) for f in (np.cos, np.sin)
    ]
    qt = np.hypot(*boson)
    assert_allclose(decays.qt, qt, rtol=1e-9)
    expected = np.empty((2, len(decays.reco)))
    for j, i in enumerate(decays.reco):
        muon = [float(file[f"Muon_{n}"][i][matched[i]]) for n in ("pt", "phi")]
        met, met_phi = float(file["MET_pt"][i]), float(file["MET_phi"][i])
        x = met * math.cos(met_phi) + muon[0] * math.cos(muon[1]) - boson[0][i]
        y = met * math.sin(met_phi) + muon[0] * math.sin(muon[1]) - boson[1][i]
        along = (x * boson[0][i] + y * boson[1][i]) / qt[i]
        across = (y * boson[0][i] - x * boson[1][i]) / qt[i]
        expected[:, j] = along, across
    assert_allclose(decays.residual["nominal"], expected, atol=1e-9)
    assert set(decays.residual) == {"nominal", *KINEMATIC}


def test_residuals_have_no_mean_and_the_width_of_the_toy(decays):
    qt = decays.qt[decays.reco]
    width = np.hypot(14.0, 0.1 * qt)
    for component in decays.residual["nominal"]:
        pulls = component / width
        assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size)
        assert_allclose(pulls.std(), 1.0, atol=4 / np.sqrt(2 * pulls.size))
    # A scale of the recoil moves it along qT, by that share of it on average.
    moved = decays.residual["jes_up"][0] - decays.residual["nominal"][0]
    assert_allclose(moved.mean(), 0.03 * qt.mean(), rtol=0.05)


def test_the_histogram_of_residuals_has_the_moments_of_the_toy(response):
    cells = response.sums.fold_sum("recoil")
    par, perp = ((e[1:] + e[:-1]) / 2 for e in (RESIDUAL_PAR, RESIDUAL_PERP))
    qt = response.sums.arrays["recoil_qt"] / cells.sum(axis=(1, 2))
    edges = response.panels.qt
    assert ((edges[:-1] < qt) & (qt < edges[1:]))[:12].all()
    for k in range(12):
        weight = cells[k].sum()
        along, across = cells[k].sum(axis=1), cells[k].sum(axis=0)
        width = np.hypot(14.0, 0.1 * qt[k])
        # Weights of both signs and of all sizes count for fewer events.
        error = width / np.sqrt(weight / 0.2)
        assert abs(along @ par / weight) < 4 * error
        for centres, share in ((par, along), (perp, across)):
            # Sheppard: cells of 2 GeV are wider by their own variance.
            variance = share @ centres**2 / weight - 4 / 12
            assert_allclose(variance, width**2, rtol=6 * error / width)


def test_the_efficiency_is_that_of_the_toy_within_its_error(response):
    everything, passing = response.sums.fold_sum("efficiency").sum(axis=2)
    gg, gp, pp = response.sums.arrays["efficiency_squares"].sum(axis=2)
    edges = response.panels.efficiency_pt
    pt = (edges[1:] + edges[:-1]) / 2
    chi2 = 0.0
    for k, plateau in enumerate((0.632, 0.671)):
        # Isolated below 0.15, no filter fails, no electron with its identification.
        expected = plateau * (1 - np.exp(-0.15 * pt / 1.6)) * 0.999 * (1 - 0.003)
        variance = pp[k] - 2 * expected * gp[k] + expected**2 * gg[k]
        chi2 += ((passing[k] - expected * everything[k]) ** 2 / variance).sum()
    assert P_MIN < stats.chi2.sf(chi2, 2 * len(pt)) < 1 - P_MIN


def test_all_muons_inside_of_the_tracker_are_reconstructed(response):
    # The toy loses none: the response adds up to all leptons.
    generated = response.sums.fold_sum("generated")[:, :, 1:]
    found = response.sums.fold_sum("ratio").sum(axis=-1)[:, :, 1:]
    assert_allclose(found, generated, rtol=1e-12)


@pytest.mark.parametrize("label", ["pdf_03_up", "alphas_down", "scale_5_mid_up"])
def test_theory_changes_the_bosons_as_the_members_say(catalog, decays, file, label):
    boson = boson_and_angles(*generated(file))
    members, scales = file["LHEPdfWeight"], file["LHEScaleWeight"]
    if label == "pdf_03_up":
        path = catalog.dataset("Wplus_mu").weights.pdf.hessian
        matrix = np.loadtxt(path, delimiter=",")
        expected = 1 + (members[:, :100] - 1) @ matrix[:, 2]
    elif label == "alphas_down":
        expected = members[:, 100]
    else:
        inside = (boson.qt >= 5) & (boson.qt < 15)
        expected = np.where(inside, scales[:, 5] / scales[:, 4], 1.0)
    labels, ratios = decays.ratios
    assert_allclose(ratios[:, labels.index(label)], expected, rtol=1e-6)
    assert expected.std() > 1e-4


def test_labels_are_those_that_bosons_and_kinematics_need(response):
    labels = response.sums.labels
    theory = labels["boson_varied"]
    assert theory[0] == "nominal"
    assert len(theory) == 1 + 9 + 2 + 18
    assert {"pdf_09_up", "alphas_up", "scale_8_high_up"} <= set(theory)
    assert labels["polarisation"] == theory
    assert labels["ratio_varied"] == ("muon_scale_up", "muon_scale_down")
    assert labels["efficiency_varied"] == ("muon_scale_up", "muon_scale_down")
    assert set(labels["recoil_varied"]) == set(KINEMATIC)


def test_the_file_says_what_it_was_made_of(catalog, response):
    assert response.provenance["catalog_digest"] == catalog.digest
    assert (response.mass, response.width) == (80.379, 2.085)
    assert response.factors is None
    names = {record.name for record in response.systematics}
    assert {"mw", "lumi", "muon_scale", "pdf_01", "scale_0_low"} <= names
    truth = ToyTruth()
    panels = response.panels
    point = panels.qt_nodes[4, 1], panels.absy_nodes[30, 2]
    for k, charge in enumerate((1, -1)):
        expected = coefficients(truth, charge, *(np.array([x]) for x in point))[:, 0]
        assert_allclose(response.coefficients[k, :, 4, 1, 30, 2], expected, rtol=1e-12)
        sigma, A = bin_truth(truth, charge, COARSE.qt, COARSE.absy)
        assert_allclose(response.generated[charge].sigma, sigma, rtol=1e-12)
        assert_allclose(response.generated[charge].coefficients, A, rtol=1e-12)


@pytest.mark.parametrize("name", ["Wplus_tau", "top", "data"])
def test_other_samples_have_no_response(catalog, produced, name):
    assert produced[0].outputs[name] == {}


def test_a_run_without_signal_says_what_is_needed(catalog, tmp_path):
    chosen = ResponseProcessor.from_catalog(catalog, COARSE)
    result = run(catalog.only(["top", "data"]), chosen, progress=False)
    with pytest.raises(
        InputError, match=r"no W → μν was generated in top, data; run o"
    ):
        chosen.save(result, tmp_path / "response.h5")


def test_a_sample_without_bosons_under_the_process_of_the_signal_is_named(
    catalog, tmp_path
):
    wrong = edited(
        catalog,
        tmp_path,
        lambda content: [
            entry.update(process="W_mu")
            for entry in content["datasets"]
            if entry["name"] == "top"
        ],
    )
    chosen = ResponseProcessor.from_catalog(wrong, COARSE)
    with pytest.raises(InputError, match=r"top_000.root: (\d+) of \1 events have no W"):
        run(wrong.only(["top"]), chosen, progress=False)


def test_one_sample_may_hold_all_decays_of_both_charges(catalog, tmp_path):
    numbers = {"Wplus_mu": 400, "Wminus_mu": 300, "Wplus_tau": 200}
    path = write_mixed(
        tmp_path / "mixed.root", numbers, ToyTruth(), seed=5, negative_fraction=0.0
    )
    mixed = edited(
        catalog,
        tmp_path,
        lambda content: content["datasets"][0].update(
            process="W", files=[str(path)], sum_of_weights="events"
        ),
    ).only(["Wplus_mu"])
    chosen = ResponseProcessor.from_catalog(mixed, COARSE)
    events = open_sample(mixed, "Wplus_mu", normalisation=2.0)
    sums = chosen.process(events)["Wplus_mu"]["sums"]
    found = sums.fold_sum("boson").sum(axis=(1, 2, 3, 4))
    assert_allclose(found, [800.0, 600.0], rtol=1e-12)


@pytest.fixture(scope="module")
def corrected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corrected")
    deviations = {"mu_scale": 0.01, "eff_charge": 0.1, "pileup": -3.0, "qt_tilt": 0.2}
    toy_catalog(
        folder, events=8000, seed=6, samples=["Wplus_mu"], deviations=deviations
    )
    build_toy(folder / "truth.json", folder / "corrections")
    path = folder / "catalogue.yaml"
    content = yaml.safe_load(path.read_text())
    # The spectrum of the signal stays.
    corrections = {k: v for k, v in BLOCK.items() if k != "boson"}
    path.write_text(yaml.safe_dump(content | {"corrections": corrections}))
    return Catalog.read(path)


def test_corrections_act_on_muons_and_selected_weights(corrected):
    chosen = ResponseProcessor.from_catalog(corrected, COARSE)
    record = corrected.dataset("Wplus_mu")
    events = open_sample(corrected, "Wplus_mu", normalisation=0.5)
    decays = chosen.decays(events)
    event = decays.reco  # every event is a decay
    assert_array_equal(decays.weight, generated_weight(events))
    expected = nominal_weight(events)[event]
    assert_array_equal(decays.selected_weight["nominal"], expected)
    assert np.std(expected / decays.weight[event]) > 0.05
    prefire = events.L1PreFiringWeight
    up = (prefire.Up.to_numpy() / prefire.Nom.to_numpy())[event]
    assert_allclose(decays.selected_weight["prefire_up"], expected * up, rtol=1e-6)
    assert_array_equal(decays.pileup, events.Pileup.nTrueInt.to_numpy()[event])

    found = select(events, record, np.ones(len(events), bool)).take(event)
    inside = decays.passes
    assert_array_equal(inside, SIGNAL.unshifted.passes(found))
    assert_array_equal(decays.reco_pt["nominal"][inside], found.pt[inside])
    assert_array_equal(decays.reco_pt["muon_scale_up"][inside], found.pt_up[inside])
    boson = boson_and_angles(*generated_of(events))
    phi, qt = boson.phi[event], boson.qt[event]
    assert record.corrections.propagate_muons
    up = found.with_muon_pt(found.pt_up)
    for label, muon in (("nominal", found), ("muon_scale_up", up)):
        along = muon.met * np.cos(muon.met_phi - phi) - qt
        along += muon.pt * np.cos(muon.phi - phi)
        assert_allclose(
            decays.residual[label][0][inside], along[inside], rtol=0, atol=1e-9
        )


def generated_of(events):
    particles = events.GenPart
    return [
        [getattr(particles, n)[:, i].to_numpy() for n in ("pt", "eta", "phi")]
        for i in (1, 2)
    ]


@pytest.mark.parametrize("propagate", [False, True])
def test_the_missing_momentum_follows_the_muon_only_if_asked_to(corrected, propagate):
    changed = [
        record.model_copy(
            update={
                "corrections": record.corrections.model_copy(
                    update={"muons": None, "propagate_muons": propagate}
                )
            }
        )
        for record in corrected.datasets
    ]
    chosen = corrected.model_copy(update={"datasets": tuple(changed)})
    decays = ResponseProcessor.from_catalog(chosen, COARSE).decays(
        open_sample(chosen, "Wplus_mu")
    )
    moved = decays.residual["muon_scale_up"] - decays.residual["nominal"]
    size = np.hypot(*moved)
    if propagate:
        assert_allclose(size, 0.0, atol=1e-9)
    else:
        change = decays.reco_pt["muon_scale_up"] - decays.reco_pt["nominal"]
        assert_allclose(size, np.abs(change), rtol=1e-6, atol=1e-9)
        assert size.max() > 1e-3


def test_scale_factors_and_prefire_are_kept_for_the_templates(corrected, tmp_path):
    chosen = ResponseProcessor.from_catalog(corrected, COARSE)
    result = run(corrected.only(["Wplus_mu"]), chosen, progress=False)
    chosen.save(result, tmp_path / "response.h5")
    response = Response.read(tmp_path / "response.h5")
    assert set(response.sums.labels["efficiency_varied"]) == {
        *("muon_scale_up", "muon_scale_down", "prefire_up", "prefire_down")
    }
    assert not any(
        label.startswith("sf_")
        for labels in response.sums.labels.values()
        for label in labels
    )
    factors = response.factors
    assert_allclose(factors.nominal[0], 1.05, rtol=1e-6)
    assert_allclose(factors.nominal[1], 0.95, rtol=1e-6)
    assert factors.stat.shape == (*factors.nominal.shape, 3)
    assert factors.n_parts == chosen.n_parts


def test_executors_and_ledger_give_the_same_bits(catalog, tmp_path):
    signal = catalog.only(["Wminus_mu"])

    def produce(**options):
        chosen = load_processor("response").from_catalog(signal, COARSE)
        return run(signal, chosen, progress=False, chunksize=5000, **options)

    first = produce(ledger=tmp_path)
    again = produce(ledger=tmp_path)
    assert again.performance["chunks_from_ledger"] == n_chunks(again) >= 4
    elsewhere = produce(executor="futures", workers=1)
    for other in (again, elsewhere):
        assert_same_bits(dict(other.outputs), dict(first.outputs))
