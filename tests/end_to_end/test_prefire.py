"""Prefire weights undo what prefiring took from the data, at a size that shows it."""

import awkward as ak
import numpy as np
import pytest
from scipy.stats import chi2

from tests.events.nano import dataset
from wprops.datasets import Corrections
from wprops.events.toy.deviations import deviate
from wprops.events.toy.events import SAMPLES
from wprops.events.toy.generate import generate
from wprops.events.toy.truth import ToyTruth
from wprops.nominal import prefire

TRUTH = ToyTruth()
#: Events of data, and as many of simulation: muons all over the detector.
N, CHUNK = 4_000_000, 500_000
ABSETA = np.linspace(0.0, 2.4, 13)
RECORD = dataset(corrections=Corrections(prefire="branches"))


def weights_of(events):
    """What `nominal_weight` takes from the branches that a file has of the events."""
    probability = events.prefire.astype(np.float32)
    branches = {
        "L1PreFiringWeight_Nom": 1 - probability,
        "L1PreFiringWeight_Up": 1 - np.float32(1.2) * probability,
        "L1PreFiringWeight_Dn": 1 - np.float32(0.8) * probability,
    }
    return prefire(ak.Array(branches), RECORD)


@pytest.fixture(scope="module")
def spectra():
    """|eta| of leading muons: data, and simulation without and with its weights."""
    rng = np.random.default_rng(2024)
    data = np.zeros(12)
    sums = {name: np.zeros((2, 12)) for name in ("none", "nominal", "up", "down")}

    def filled(abseta, weight=None):
        return np.histogram(abseta, ABSETA, weights=weight)[0]

    deviating = deviate(TRUTH, {"prefire": 1.0})
    for _ in range(N // CHUNK):
        events = generate(SAMPLES["top"], CHUNK, rng, deviating).reconstructed
        seen = events.found[:, 0] & ~events.prefired
        data += filled(np.abs(events.eta[seen, 0]))
        events = generate(SAMPLES["top"], CHUNK, rng, TRUTH).reconstructed
        seen = events.found[:, 0]
        abseta = np.abs(events.eta[seen, 0])
        for name, weight in (weights_of(events) | {"none": np.ones(CHUNK)}).items():
            w = weight[seen]
            sums[name] += [filled(abseta, w), filled(abseta, w**2)]
    return data, sums


def p_value(data, sums):
    """Probability of a larger difference; both have as many generated events."""
    statistic = ((data - sums[0]) ** 2 / (data + sums[1])).sum()
    return chi2.sf(statistic, len(data))


def test_weighted_simulation_agrees_with_the_data(spectra):
    data, sums = spectra
    assert p_value(data, sums["nominal"]) > 1e-2


def test_simulation_without_weights_does_not(spectra):
    data, sums = spectra
    assert p_value(data, sums["none"]) < 1e-4
    # The bins without prefiring agree, so it is nothing else.
    central = slice(0, 10)
    assert p_value(data[central], sums["none"][:, central]) > 1e-2
    # At most 2 % are lost, at the edge.
    lost = 1 - data[-1] / sums["none"][0, -1]
    assert 0.01 < lost < 0.02


def test_variations_are_a_fifth_of_what_is_lost(spectra):
    _, sums = spectra
    lost = sums["none"][0] - sums["nominal"][0]
    for side, factor in (("up", 1.2), ("down", 0.8)):
        found = sums["none"][0] - sums[side][0]
        # Single precision of the branches.
        np.testing.assert_allclose(found[10:], factor * lost[10:], rtol=1e-4)
