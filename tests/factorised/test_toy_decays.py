"""Ensembles without files against the toy's own events, and against themselves."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from wprops.axes import COARSE, EVEN_COMPONENTS
from wprops.errors import ConfigError
from wprops.events.toy.calibration import in_signal_region
from wprops.events.toy.detector import recoil_activity, selection_efficiency
from wprops.events.toy.deviations import VARYING_RESOLUTION, deviate
from wprops.events.toy.events import SAMPLES
from wprops.events.toy.generate import generate
from wprops.events.toy.truth import ToyTruth, bin_truth, coefficients
from wprops.events.toy.yields import REFERENCE_LUMINOSITY, REFERENCE_YIELDS
from wprops.factorised.panels import Panels
from wprops.factorised.response_file import Response
from wprops.factorised.toy_decays import ToyEnsemble, simulate
from wprops.factorised.toy_ensemble import fill_ensemble, plain_set, toy_response
from wprops.physics.collins_soper import BosonDecay
from wprops.physics.moments import helicity_weights
from wprops.store import TemplateSet
from wprops.templates.filling import bin_index, flat_index
from wprops.templates.parts import boson_cell

BREAKERS = VARYING_RESOLUTION | {
    "iso_recoil": 0.4,
    "recoil_photon": 0.8,
    "recoil_absy": 0.1,
    "recoil_pileup": 0.4,
    "mu_misalignment": 1e-4,
    "prefire": 1.0,
}
PANELS = Panels.of(COARSE)
N_MUON = COARSE.shape[0] * COARSE.shape[1]


@pytest.fixture(scope="module")
def filled():
    ensemble = ToyEnsemble(n_events=600_000, seed=3, chunk=150_000)
    return ensemble, fill_ensemble(ensemble, PANELS)


def events_templates(truth, charge, n, *, fsr):
    """Templates of the toy's full events with their variance, as in a template file."""
    name = {1: "Wplus_mu", -1: "Wminus_mu"}[charge]
    rng = np.random.default_rng(17)
    events = generate(SAMPLES[name], n, rng, truth, fsr=fsr)
    g, r = events.generated, events.reconstructed
    boson = BosonDecay(g.qt, g.y, g.mass, g.phi, g.costheta, g.phistar)
    cell = boson_cell(boson, COARSE)
    place = flat_index(
        [cell, bin_index(r.eta[:, 0], COARSE.eta), bin_index(r.pt[:, 0], COARSE.pt)],
        (COARSE.n_cells, *COARSE.shape),
    )
    chosen = np.flatnonzero(in_signal_region(r) & (place >= 0))
    A = coefficients(truth, charge, g.qt[chosen], g.y[chosen])
    weights = helicity_weights(g.costheta[chosen], g.phistar[chosen], A)
    weights *= truth.boson(charge).sigma * REFERENCE_LUMINOSITY * 1e3 / n

    def sums(values):
        return np.bincount(place[chosen], values, minlength=COARSE.n_cells * N_MUON)

    columns = weights[:, : len(EVEN_COMPONENTS)].T
    return (
        np.stack([sums(column) for column in columns]),
        np.stack([sums(column**2) for column in columns]),
        sums(np.ones(len(chosen))),
    )


@pytest.mark.parametrize(
    ("charge", "fsr", "sizes"), [(1, False, {}), (-1, True, BREAKERS)]
)
def test_plain_templates_are_those_of_full_events(charge, fsr, sizes):
    truth = deviate(ToyTruth(), sizes)
    n = 500_000
    expected, variance, entries = events_templates(truth, charge, n, fsr=fsr)
    ensemble = ToyEnsemble(n_events=2 * n, seed=5, truth=truth, fsr=fsr)
    block = fill_ensemble(ensemble, PANELS).blocks["W"]
    start = (0 if charge > 0 else COARSE.n_cells) * N_MUON
    section = block.section(start, COARSE.n_cells * N_MUON)
    own = np.einsum("kki->ki", section.products)[: len(EVEN_COMPONENTS)]
    counted = (entries >= 30) & (section.entries >= 30)
    assert counted.sum() > 1000
    difference = (section.sums[:, 0] - expected)[:, counted]
    chi2 = (difference**2 / (own + variance)[:, counted]).mean(axis=1)
    # Bins estimate their own variance, from 30 events at least.
    assert np.abs(chi2 - 1).max() < 4 * np.sqrt(2 / counted.sum()) + 0.05
    total = difference[0].sum(), np.sqrt((own + variance)[0, counted].sum())
    assert abs(total[0]) < 4 * total[1]


def test_residual_is_that_of_the_photon_in_the_recoil():
    """Without noise the residual is what the recoil takes of the photon, exactly."""
    truth = deviate(ToyTruth(), {"recoil_photon": 1.0, "mu_resolution": -0.015})
    detector = truth.detector._replace(recoil_constant=0.0, recoil_slope=0.0)
    truth = ToyTruth(detector=detector)
    rng = np.random.default_rng(2)
    decays = simulate(truth, 1, 20_000, rng, fsr=True).decays
    i = decays.reco
    photon = decays.pt[i] - decays.reco_pt["nominal"]
    hard = photon > 0.1 * decays.pt[i]
    assert 0.01 < hard.mean() < 0.05
    # The muon's direction from the angles, with y* = z* x x*.
    s = np.sqrt(1 - decays.costheta[i] ** 2)
    transverse = np.hypot(decays.mass[i], decays.qt[i])
    along = (decays.qt[i] + transverse * s * np.cos(decays.phistar[i])) / 2
    across = np.sign(decays.y[i]) * decays.mass[i] * s * np.sin(decays.phistar[i]) / 2
    direction = np.stack([along, across]) / decays.pt[i]
    expected = -photon * hard * direction
    assert_allclose(decays.residual["nominal"], expected, atol=1e-9)


def test_residuals_have_the_stated_width():
    decays = simulate(ToyTruth(), -1, 200_000, np.random.default_rng(4)).decays
    pull = decays.residual["nominal"] / np.hypot(14.0, 0.1 * decays.qt[decays.reco])
    error = 1 / np.sqrt(pull.shape[1])
    assert np.abs(pull.mean(axis=1)).max() < 4 * error
    assert np.abs(pull.std(axis=1) - 1).max() < 4 * error / np.sqrt(2)
    assert abs(np.corrcoef(pull)[0, 1]) < 4 * error


def test_passing_muons_follow_the_efficiency_with_the_recoil():
    truth = deviate(ToyTruth(), {"iso_recoil": 0.4})
    decays, phi = simulate(truth, 1, 300_000, np.random.default_rng(6))
    pt = decays.reco_pt["nominal"]
    x, y = decays.residual["nominal"]
    hadron = x + decays.qt[decays.reco], y
    along = -(hadron[0] * np.cos(phi) + hadron[1] * np.sin(phi))
    activity = recoil_activity(truth.detector, hadron, phi)
    charge = np.ones(len(pt), int)
    p = selection_efficiency(truth.detector, pt, decays.reco_eta, charge, activity)
    for side in (along > 10, along < -10):
        error = np.sqrt((p * (1 - p))[side].sum())
        assert abs(decays.passes[side].sum() - p[side].sum()) < 4 * error


def test_weights_amount_to_the_luminosity(filled):
    ensemble, (sums, _) = filled
    truth = ensemble.truth
    for k, charge in enumerate((1, -1)):
        produced = truth.boson(charge).sigma * 35.9e3
        assert_allclose(sums.arrays["boson"][:, k].sum(), produced, rtol=1e-9)
        assert_allclose(ensemble.weight(charge) * ensemble.events_of(charge), produced)
    cells = bin_truth(truth, 1, COARSE.qt, COARSE.absy)[0].ravel() * 35.9e3
    counted = sums.arrays["polarisation"][0, 0, :, 0]
    error = np.sqrt(cells * ensemble.weight(1))
    assert np.abs((counted - cells) / error).max() < 4


def test_yields_are_the_reference(filled):
    ensemble, (_, blocks) = filled
    channels = plain_set(ensemble, blocks, COARSE).channels
    for name, expected in zip(
        ("Wplus", "Wminus"), REFERENCE_YIELDS["W_mu"], strict=True
    ):
        nominal, variance = channels[name].total()
        error = np.sqrt(variance.sum())
        # The round efficiency of the toy leaves 1 %.
        assert abs(nominal.sum() - 1e6 * expected) < 4 * error + 0.01e6 * expected


def test_threads_do_not_change_a_bit(filled):
    ensemble, one = filled
    two = fill_ensemble(ensemble, PANELS, workers=2)
    for name, values in one.sums.arrays.items():
        assert_array_equal(values, two.sums.arrays[name])
    for name, block in one.blocks.items():
        for field in ("cells", "sums", "products", "folds", "entries"):
            assert_array_equal(getattr(block, field), getattr(two.blocks[name], field))


def test_files_hold_the_response_and_the_templates(filled, tmp_path):
    ensemble, (sums, blocks) = filled
    toy_response(ensemble, sums).write(tmp_path / "response.h5")
    response = Response.read(tmp_path / "response.h5")
    assert_array_equal(response.sums.arrays["recoil"], sums.arrays["recoil"])
    assert response.mass == ToyTruth().wplus.mass
    plain_set(ensemble, blocks, COARSE).write(tmp_path / "plain.h5")
    templates = TemplateSet.read(tmp_path / "plain.h5")
    process = templates.channel("Wminus").process("W_A4_y1_qt0")
    assert set(process.variations) == {"mw_up", "mw_down"}
    assert "W_lowacc" in templates.channel("Wplus").processes
    assert [record.name for record in templates.systematics] == ["mw"]


def test_seeds_give_different_decays():
    first, second = (
        next(iter_chunks(ToyEnsemble(n_events=100, seed=seed))) for seed in (1, 2)
    )
    assert not np.intersect1d(first.decays.qt, second.decays.qt).size


def iter_chunks(ensemble):
    return (ensemble.simulate(chunk) for chunk in ensemble.chunks())


def test_chunks_hold_all_events_once():
    ensemble = ToyEnsemble(n_events=1000, seed=1, chunk=100)
    parts = [simulated.decays for simulated in iter_chunks(ensemble)]
    charge = np.concatenate([decays.charge for decays in parts])
    assert (charge > 0).sum() == round(1000 * 11700 / 20300)
    assert len(charge) == 1000
    qt = np.concatenate([decays.qt for decays in parts])
    assert len(np.unique(qt)) == 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_events": 0}, "0 events in chunks"),
        ({"n_events": 100, "chunk": 0}, "chunks of 0"),
        ({"n_events": 100, "luminosity": 0.0}, "luminosity is 0"),
    ],
)
def test_empty_ensembles_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        ToyEnsemble(seed=1, **options)
