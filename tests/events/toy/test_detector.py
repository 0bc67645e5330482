"""What the detector can do beyond the default truth, and its closed efficiency."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from wprops.events.toy.detector import recoil_activity, selection_efficiency
from wprops.events.toy.deviations import VARYING_RESOLUTION, deviate
from wprops.events.toy.events import SAMPLES
from wprops.events.toy.generate import generate
from wprops.events.toy.truth import ToyTruth

N = 400_000
NEW = (
    *VARYING_RESOLUTION,
    *("iso_recoil", "recoil_photon", "recoil_absy", "recoil_pileup"),
)


def simulate(name="Wplus_mu", n=N, seed=5, fsr=False, **deviations):
    truth = deviate(ToyTruth(), deviations)
    rng = np.random.default_rng(seed)
    return generate(SAMPLES[name], n, rng, truth, fsr=fsr)


def residual(events):
    """Measured minus true boson momentum, along x and y."""
    g, r = events.generated, events.reconstructed
    x = r.hadron_x - g.qt * np.cos(g.phi)
    return np.stack([x, r.hadron_y - g.qt * np.sin(g.phi)])


def width(values):
    """Width of values around zero, and its error."""
    square = values**2
    root = np.sqrt(square.mean())
    return root, square.std() / np.sqrt(square.size) / (2 * root)


@pytest.mark.parametrize("name", ["Wminus_mu", "Z_mumu", "top", "qcd"])
def test_deviations_of_size_zero_change_no_event(name):
    plain = simulate(name, 2000, fsr=True)
    other = simulate(name, 2000, fsr=True, **dict.fromkeys(NEW, 0.0))
    for one, two in zip(plain.reconstructed, other.reconstructed, strict=True):
        assert_array_equal(one, two)


def test_resolution_depends_on_pt_and_eta():
    events = simulate(**VARYING_RESOLUTION)
    lepton, r = events.generated.muons[0], events.reconstructed
    relative = r.pt[:, 0] / lepton.pt - 1
    for low, high in ((25, 35), (35, 45), (60, 100)):
        for near, far in ((0.0, 0.8), (1.6, 2.4)):
            eta = np.abs(lepton.eta)
            chosen = (lepton.pt > low) & (lepton.pt < high) & (eta > near) & (eta < far)
            expected = np.sqrt(0.010**2 + (1e-4 * lepton.pt) ** 2)
            pull = (relative / (expected * (1 + 0.5 * eta / 2.4)))[chosen]
            found, error = width(pull)
            assert abs(found - 1) < 4 * error


def test_isolation_follows_the_recoil_along_the_muon():
    size = 0.5
    r = simulate(iso_recoil=size).reconstructed
    pt, phi = r.pt[:, 0], r.phi[:, 0]
    along = -(r.hadron_x * np.cos(phi) + r.hadron_y * np.sin(phi))
    lost = np.exp(-0.15 * pt / (1.6 * np.exp(size * along / 20)))
    seen = r.isolation[:, 0] > 0.15
    for low, high in ((-80, -20), (-20, 0), (0, 20), (20, 80)):
        chosen = (along > low) & (along < high) & (pt > 25)
        error = np.sqrt((lost * (1 - lost))[chosen].sum())
        assert abs((seen - lost.astype(float))[chosen].sum()) < 4 * error
    forward, backward = (
        seen[(pt > 25) & side].mean() for side in (along > 0, along < 0)
    )
    assert forward > 3 * backward


def test_isolation_of_muons_from_top_follows_the_recoil_too():
    r = simulate("top", 100_000, iso_recoil=0.5).reconstructed
    same = simulate("top", 100_000).reconstructed
    along = -(r.hadron_x * np.cos(r.phi[:, 0]) + r.hadron_y * np.sin(r.phi[:, 0]))
    ratio = r.isolation[:, 0] / same.isolation[:, 0]
    assert_allclose(ratio, np.exp(0.5 * along / 20), rtol=1e-12)


@pytest.mark.parametrize("name", ["Wplus_mu", "Wminus_mu"])
def test_selection_efficiency_is_that_of_the_events(name):
    sizes = {"iso_recoil": 0.3, "prefire": 1.0, "eff_eta": 0.1, "eff_turn_on": 0.1}
    truth = deviate(ToyTruth(), sizes)
    events = simulate(name, **sizes)
    r = events.reconstructed
    selected = r.triggered & r.medium_id[:, 0] & (r.isolation[:, 0] <= 0.15)
    selected &= r.passes_flags & ~(r.has_electron & r.electron_id) & ~r.prefired
    pt, eta = r.pt[:, 0], r.eta[:, 0]
    activity = recoil_activity(truth.detector, (r.hadron_x, r.hadron_y), r.phi[:, 0])
    probability = selection_efficiency(
        truth.detector, pt, eta, events.generated.charge, activity
    )
    for low, high in ((24, 28), (28, 35), (35, 45), (45, 70)):
        for near, far in ((0, 1.2), (1.2, 2.0), (2.0, 2.4)):
            chosen = (pt > low) & (pt < high) & (abs(eta) > near) & (abs(eta) < far)
            p = probability[chosen & r.found[:, 0]]
            seen = selected[chosen & r.found[:, 0]].sum()
            assert abs(seen - p.sum()) < 4 * np.sqrt((p * (1 - p)).sum())
    assert not selected[(pt < 24) & r.found[:, 0]].any()
    assert not probability[pt < 24].any()


@pytest.mark.parametrize("name", ["Wminus_mu", "Z_mumu"])
def test_recoil_contains_its_part_of_hard_photons(name):
    events = simulate(name, 20_000, fsr=True, recoil_photon=0.5)
    without = simulate(name, 20_000, fsr=True)
    g = events.generated
    expected = np.zeros((2, 20_000))
    for lepton, muon in zip(g.leptons, g.muons, strict=True):
        hard = muon.pt < 0.9 * lepton.pt
        assert 0.01 < hard.mean() < 0.05
        photon = 0.5 * (lepton.pt - muon.pt) * hard
        expected -= photon * np.stack([np.cos(lepton.phi), np.sin(lepton.phi)])
    assert_allclose(residual(events) - residual(without), expected, atol=1e-9)


def test_neutrinos_of_taus_are_no_photons():
    with_photons = simulate("Wplus_tau", 2000, fsr=True, recoil_photon=0.5)
    assert_array_equal(
        residual(with_photons), residual(simulate("Wplus_tau", 2000, fsr=True))
    )


def test_width_of_the_recoil_depends_on_rapidity():
    events = simulate(recoil_absy=0.1)
    g = events.generated
    pull = residual(events) / np.hypot(14.0, 0.1 * g.qt)
    for low, high in ((0, 0.5), (1, 1.5), (2.5, 3)):
        chosen = (np.abs(g.y) > low) & (np.abs(g.y) < high)
        scaled = pull[:, chosen] / (1 + 0.1 * (np.abs(g.y[chosen]) - 1))
        found, error = width(scaled)
        assert abs(found - 1) < 4 * error


def test_width_of_the_recoil_depends_on_pileup():
    events = simulate(recoil_pileup=0.5)
    n = events.reconstructed.interactions
    assert abs(n.mean() - 25) < 0.1
    pull = residual(events) / np.hypot(14.0, 0.1 * events.generated.qt)
    for low, high in ((5, 18), (18, 28), (28, 60)):
        chosen = (n >= low) & (n < high)
        found, error = width(pull[:, chosen] / (1 + 0.5 * (n[chosen] / 25 - 1)))
        assert abs(found - 1) < 4 * error
    assert pull[:, n >= 28].std() > 1.2 * pull[:, n < 18].std()
