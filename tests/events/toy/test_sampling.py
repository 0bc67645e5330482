import dataclasses

import numpy as np
import pytest
from scipy import stats

from wprops.events.toy.sampling import sample_bosons
from wprops.events.toy.truth import ToyTruth, bin_truth

N = 400_000
QT = np.array([0, 2, 5, 8, 12, 20, 36, 60, 200.0])
ABSY = np.array([0, 0.8, 1.6, 2.4, 3.2, 5.0])
# ⟨P_i⟩ = slope A_i + offset, and the harmonics, written out independently.
SLOPES = np.array([3 / 20, 1 / 5, 1 / 20, 1 / 4, 1 / 4, 1 / 5, 1 / 5, 1 / 4])
OFFSETS = np.array([-1 / 10, 0, 0, 0, 0, 0, 0, 0])
# Below this p-value a fixed seed would have been unlucky once in a thousand.
P_MIN = 1e-3


def harmonics(c, phi):
    s = np.sqrt(1 - c**2)
    s2 = 2 * s * c
    return np.array(
        [
            (1 - 3 * c**2) / 2,
            s2 * np.cos(phi),
            s**2 * np.cos(2 * phi) / 2,
            s * np.cos(phi),
            c,
            s**2 * np.sin(2 * phi),
            s2 * np.sin(phi),
            s * np.sin(phi),
        ]
    )


@pytest.fixture(scope="module", params=[1, -1, 0])
def drawn(request):
    rng = np.random.default_rng(11)
    return request.param, sample_bosons(ToyTruth(), request.param, N, rng)


def test_spectrum_follows_the_truth(drawn):
    charge, boson = drawn
    observed = np.histogram2d(np.abs(boson.y), boson.qt, bins=(ABSY, QT))[0]
    sigma, _ = bin_truth(ToyTruth(), charge, QT, ABSY)
    expected = N * sigma / sigma.sum()
    assert observed.sum() == N
    assert stats.chisquare(observed.ravel(), expected.ravel()).pvalue > P_MIN


def test_mass_follows_the_breit_wigner(drawn):
    charge, boson = drawn
    truth = ToyTruth().boson(charge)
    pole = truth.mass * truth.width

    def primitive(m):
        return np.arctan((m**2 - truth.mass**2) / pole)

    low, span = primitive(50.0), primitive(120.0) - primitive(50.0)
    uniform = (primitive(boson.mass) - low) / span
    assert stats.kstest(uniform, "uniform").pvalue > P_MIN


def test_azimuth_and_direction_are_isotropic(drawn):
    _, boson = drawn
    assert stats.kstest((boson.phi + np.pi) / (2 * np.pi), "uniform").pvalue > P_MIN
    assert stats.binomtest(int((boson.y > 0).sum()), N).pvalue > P_MIN


@pytest.mark.parametrize("odd", [0.0, 0.015])
@pytest.mark.parametrize("charge", [1, -1, 0])
def test_angles_carry_the_coefficients_in_every_bin(charge, odd):
    base = ToyTruth()
    name = {1: "wplus", -1: "wminus", 0: "z"}[charge]
    boson = base.boson(charge)._replace(a_odd=odd)
    truth = dataclasses.replace(base, **{name: boson})
    drawn = sample_bosons(truth, charge, N, np.random.default_rng(5))
    P = harmonics(drawn.costheta, drawn.phistar)
    qt_edges, y_edges = QT[[0, 4, 6, 8]], ABSY[[0, 2, 5]]
    _, mean = bin_truth(truth, charge, qt_edges, y_edges, n_nodes=64)
    pulls = []
    for j, k in np.ndindex(mean.shape[1:]):
        inside = (np.digitize(np.abs(drawn.y), y_edges) == j + 1) & (
            np.digitize(drawn.qt, qt_edges) == k + 1
        )
        sample = P[:, inside]
        error = sample.std(axis=1) / np.sqrt(inside.sum())
        expected = SLOPES * mean[:, j, k] + OFFSETS
        pulls.append((sample.mean(axis=1) - expected) / error)
    pulls = np.array(pulls)
    # 48 correlated pulls: the largest stays below 4, their mean square near 1.
    assert np.abs(pulls).max() < 4
    assert 0.5 < (pulls**2).mean() < 1.7


def test_same_seed_gives_the_same_bosons():
    first, second = (
        sample_bosons(ToyTruth(), 1, 100, np.random.default_rng(3)) for _ in range(2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
