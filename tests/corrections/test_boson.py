"""The weights of the boson, from files of the builder."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from corrections.boson_spectra import Spectra
from corrections.common import Histogram, correction, write_set
from tests.corrections.boson_examples import (
    SPECTRA,
    bosons,
    expected_weight,
    write_boson,
)
from wprops.corrections.boson import ABSY, QT, VARIATIONS, boson_weights, open_boson
from wprops.errors import ConfigError, InputError
from wprops.events.toy.parameters import W_PLUS
from wprops.events.toy.sampling import sample_bosons
from wprops.events.toy.truth import ToyTruth


@pytest.fixture
def both(tmp_path):
    return write_boson(tmp_path / "boson.json", SPECTRA)


def test_evaluator_agrees_with_a_loop(both):
    qt, absy = bosons(500)
    found = boson_weights(both, qt, absy)
    assert tuple(found) == VARIATIONS
    for variation, weights in found.items():
        expected = [
            expected_weight(SPECTRA[QT], q, variation)
            * expected_weight(SPECTRA[ABSY], y, variation)
            for q, y in zip(qt, absy, strict=True)
        ]
        assert_allclose(weights, expected, rtol=1e-8)


def test_bosons_beyond_the_spectra_have_the_weight_of_the_edge_bin(both):
    outside = boson_weights(both, [100.0, 1e4], [2.4, 9.0])
    inside = boson_weights(both, [99.0, 99.0], [2.3, 2.3])
    for variation in VARIATIONS:
        assert_array_equal(outside[variation], inside[variation])


def test_bosons_below_the_spectrum_have_the_weight_of_the_first_bin(tmp_path):
    data = Histogram.from_arrays([1.0, 2.0], [5.0, 10.0, 20.0])
    simulation = Histogram.from_arrays([1.0, 1.0], [5.0, 10.0, 20.0])
    spectra = Spectra(data, simulation)
    opened = write_boson(tmp_path / "late.json", {QT: spectra})
    found = boson_weights(opened, [0.0, 5.0, 9.9], [0.0] * 3)["nominal"]
    # Fractions of 1/5 in data and 1/3 in simulation.
    assert_allclose(found, 0.6, rtol=1e-8)


def toy_bosons(seed, n=400_000, scale=1.0):
    """Draw |Y| and qT of W+ of the toy, with another scale of the qT spectrum."""
    boson = W_PLUS._replace(qt_scale=scale * W_PLUS.qt_scale)
    truth = ToyTruth(wplus=boson)
    drawn = sample_bosons(truth, 1, n, np.random.default_rng(seed))
    return drawn.qt, np.abs(drawn.y)


def test_reweighted_toy_has_the_target_spectrum(tmp_path):
    edges = np.array([0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 26, 36, 60, 100, 200.0])
    densities = [
        np.histogram(toy_bosons(seed, scale=scale)[0], edges)[0] / np.diff(edges)
        for seed, scale in ((1, 1.2), (2, 1.0))
    ]
    spectra = Spectra(*(Histogram.from_arrays(d, edges) for d in densities))
    opened = write_boson(tmp_path / "toy.json", {QT: spectra})
    qt, absy = toy_bosons(3)
    target, _ = toy_bosons(4, scale=1.2)
    weight = boson_weights(opened, qt, absy)["nominal"]
    # Errors of four standard deviations: of two samples for the mean, of four for the
    # spectra, all of the same size and with weights near 1.
    error = 4 * np.sqrt(2 / len(qt)) * weight.std()
    assert weight.mean() == pytest.approx(1.0, abs=error)
    found, _ = np.histogram(qt, edges, weights=weight)
    before, _ = np.histogram(qt, edges)
    wanted, _ = np.histogram(target, edges)
    error = 4 * np.sqrt(4 * wanted)
    assert np.all(np.abs(found - wanted) < error)
    assert np.any(np.abs(before - wanted) > 5 * error)
    # The ratio of the spectra is smooth, the weight has its mean in each bin: inside
    # of a bin they differ by less than the step to a neighbour.
    ratio = densities[0] / densities[1]
    steps = np.abs(np.diff(ratio))
    step = np.maximum(np.append(steps, 0), np.append(0, steps))
    fine = np.linspace(0.0, 60.0, 121)
    bound = (step / (ratio - step))[np.searchsorted(edges, fine[:-1], "right") - 1]
    found, _ = np.histogram(qt, fine, weights=weight)
    wanted, _ = np.histogram(target, fine)
    assert np.all(np.abs(found / wanted - 1) < bound + 4 * np.sqrt(4 / wanted))


def test_a_file_may_have_one_spectrum(tmp_path, both):
    qt, absy = bosons(50)
    alone = [
        write_boson(tmp_path / f"{name}.json", {name: pair})
        for name, pair in SPECTRA.items()
    ]
    assert [list(corrections) for corrections in alone] == [[QT], [ABSY]]
    product = [boson_weights(corrections, qt, absy) for corrections in alone]
    together = boson_weights(both, qt, absy)
    for variation in VARIATIONS:
        expected = product[0][variation] * product[1][variation]
        assert_allclose(together[variation], expected)


def test_no_bosons_have_no_weights(both):
    assert boson_weights(both, [], [])["up"].shape == (0,)


@pytest.mark.parametrize(
    ("qt", "absy", "message"),
    [
        ([1.0, -1.0], [0.1, 0.2], r"qt\[1\] is -1, expected 0 GeV or more"),
        ([1.0, 1.0], [0.1, -0.2], r"absy\[1\] is -0.2, .*give the absolute rapidity"),
        ([1.0, np.nan], [0.1, 0.2], r"qt\[1\] is nan"),
        ([1.0], [0.1, 0.2], r"qt \(1,\), absy \(2,\)"),
    ],
)
def test_impossible_bosons_are_named(both, qt, absy, message):
    with pytest.raises(InputError, match=message):
        boson_weights(both, qt, absy)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "other.json"
    write_set(path, [correction("weight", "", {"qt": ("real", "")}, 1.0)], "", [])
    with pytest.raises(ConfigError, match="has weight, expected boson_qt or boson_abs"):
        open_boson(path)
    with pytest.raises(ConfigError, match="no correction file"):
        open_boson(tmp_path / "none.json")
