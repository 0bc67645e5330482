"""Reconstructed muons of generated leptons against a loop, among up to three muons."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from corrections.build_rochester import build_rochester
from corrections.common import write_set
from corrections.roccor import read_roccor
from tests.corrections.roccor_file import small_file
from tests.events.nano import dataset, jagged, open_nano, write_nano
from tests.selection.exotic import FLAGS, TRIGGERS, exotic_branches
from wprops.datasets import Corrections
from wprops.factorised.matched_muons import match_muons
from wprops.physics.collins_soper import BosonDecay
from wprops.selection.calibration import calibrated_pt
from wprops.selection.candidates import select
from wprops.selection.regions import SIGNAL
from wprops.systematics.catalog import Available, declare

N = 700
KINEMATIC = declare(Available(without=frozenset({"jes"})))


@pytest.fixture(scope="module")
def branches():
    branches = exotic_branches(N, seed=71)
    rng = np.random.default_rng(72)
    counts = [len(event) for event in branches["Muon_pt"]]
    layers = [rng.integers(4, 16, n).tolist() for n in counts]
    return branches | {
        "MET_MetUnclustEnUpDeltaX": rng.normal(0, 3, N).astype(np.float32),
        "MET_MetUnclustEnUpDeltaY": rng.normal(0, 3, N).astype(np.float32),
        "Muon_genPartIdx": jagged([[-1] * n for n in counts], np.int16),
        "Muon_nTrackerLayers": jagged(layers, np.uint8),
        "GenPart_pt": jagged([[40.0]] * N, np.float32),
    }


@pytest.fixture(scope="module")
def leptons(branches):
    """Leptons near one of the muons of the event, or anywhere."""
    rng = np.random.default_rng(73)
    eta, phi = rng.uniform(-2.5, 2.5, N), rng.uniform(-math.pi, math.pi, N)
    for i in range(N):
        n = len(branches["Muon_eta"][i])
        if n and rng.random() < 0.9:
            k = rng.integers(n)
            eta[i] = branches["Muon_eta"][i][k] + rng.normal(0.0, 0.04)
            phi[i] = branches["Muon_phi"][i][k] + rng.normal(0.0, 0.04)
    # On the other side of π as often as not.
    return (
        eta,
        np.where(rng.random(N) < 0.5, phi, phi + 2 * math.pi),
        rng.choice([-1, 1], N),
    )


@pytest.fixture(scope="module")
def path(branches, tmp_path_factory):
    return write_nano(tmp_path_factory.mktemp("nano") / "events.root", branches)


@pytest.fixture(scope="module")
def rochester_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rochester")
    source, path = folder / "small.txt", folder / "muons.json.gz"
    source.write_text("\n".join(small_file()) + "\n")
    write_set(path, build_rochester(read_roccor(source)), "A test", [source])
    return path


def opened(path, muons=None, *, propagate=False):
    corrections = Corrections(muons=muons, propagate_muons=propagate)
    record = dataset(triggers=TRIGGERS, flags=FLAGS, corrections=corrections)
    return open_nano(path, record=record), record


def matched(path, leptons, pick, **options):
    events, record = opened(path, **options)
    candidates = select(events, record, np.ones(N, bool))
    chosen = tuple(column[pick] for column in leptons)
    return match_muons(events, candidates, pick, chosen), candidates, events


def slow_match(branches, leptons, i):
    """Index of the nearest muon of the charge within 0.1, or None."""
    eta, phi, charge = (column[i] for column in leptons)
    best, distance = None, 0.1
    for k, sign in enumerate(branches["Muon_charge"][i]):
        d = math.hypot(
            float(branches["Muon_eta"][i][k]) - eta,
            math.remainder(float(branches["Muon_phi"][i][k]) - phi, 2 * math.pi),
        )
        if sign == charge and d < distance:
            best, distance = k, d
    return best


def test_matches_are_those_of_a_loop(path, branches, leptons):
    pick = np.arange(0, N, 2)
    found, candidates, _ = matched(path, leptons, pick)
    expected = {i: slow_match(branches, leptons, i) for i in pick.tolist()}
    with_muon = [i for i, k in expected.items() if k is not None]
    assert_array_equal(found.event, with_muon)
    assert_array_equal(pick[found.decay], with_muon)
    assert 80 < len(with_muon) < len(pick) - 80
    for name in ("pt", "eta", "phi", "charge"):
        muons = branches[f"Muon_{name}"]
        values = [muons[i][expected[i]] for i in with_muon]
        assert_array_equal(getattr(found.candidates, name), np.array(values, float))
    # The matched muon is the candidate in some of the events, and not in others.
    chosen = candidates.take(found.event)
    same = chosen.phi == found.candidates.phi
    assert_array_equal(found.passes, same & SIGNAL.unshifted.passes(chosen))
    assert found.passes.sum() > 10
    assert (~same & SIGNAL.unshifted.passes(chosen)).sum() > 2


@pytest.mark.parametrize("propagate", [False, True])
def test_residuals_use_the_matched_muon_with_its_calibration(
    path, branches, leptons, rochester_file, propagate
):
    found, _, events = matched(
        path, leptons, np.arange(N), muons=rochester_file, propagate=propagate
    )
    rng = np.random.default_rng(74)
    qt, phi = rng.uniform(0.0, 60.0, N), rng.uniform(-math.pi, math.pi, N)
    zero = np.zeros(N)
    boson = BosonDecay(qt=qt, y=zero, mass=zero, phi=phi, costheta=zero, phistar=zero)
    residual = found.residuals(events, boson, KINEMATIC)
    assert set(residual) == {
        "nominal",
        *(f"{n}_{s}" for n in ("muon_scale", "unclustered") for s in ("up", "down")),
    }
    _, record = opened(path, muons=rochester_file, propagate=propagate)
    momenta = found.momenta(KINEMATIC)
    for j, i in enumerate(found.event.tolist()):
        k = slow_match(branches, leptons, i)
        calibrated = calibrated_pt(events, record, np.array([i]), np.array([k]))
        raw, angle = (float(branches[f"Muon_{n}"][i][k]) for n in ("pt", "phi"))
        met, met_phi = float(branches["MET_pt"][i]), float(branches["MET_phi"][i])
        delta = [float(branches[f"MET_MetUnclustEnUpDelta{x}"][i]) for x in "XY"]
        for label, pt, shift in (
            ("nominal", calibrated.nominal[0], 0.0),
            ("muon_scale_down", calibrated.down[0], 0.0),
            ("unclustered_up", calibrated.nominal[0], 1.0),
        ):
            if label in momenta:
                assert_allclose(momenta[label][j], pt, rtol=1e-12)
            # What the muon gains the missing momentum loses, if asked to.
            seen = raw if propagate else pt
            x = met * math.cos(met_phi) + seen * math.cos(angle) + shift * delta[0]
            y = met * math.sin(met_phi) + seen * math.sin(angle) + shift * delta[1]
            x -= qt[i] * math.cos(phi[i])
            y -= qt[i] * math.sin(phi[i])
            expected = (
                x * math.cos(phi[i]) + y * math.sin(phi[i]),
                y * math.cos(phi[i]) - x * math.sin(phi[i]),
            )
            assert_allclose(residual[label][:, j], expected, atol=1e-8)
    moved = np.abs(momenta["nominal"] - momenta["muon_scale_down"])
    assert moved.max() > 1e-3
