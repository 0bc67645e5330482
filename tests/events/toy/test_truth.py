import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import dblquad

from wprops.errors import ConfigError
from wprops.events.toy.deviations import DEVIATIONS, deviate
from wprops.events.toy.truth import ToyTruth, bin_truth, coefficients, density

W = 80.379


def rapidity(charge, y):
    """dσ/d|Y| of the W, written out again without any of the toy's code."""
    if charge > 0:
        return (1 + 0.035 * y**2) * np.exp(-((y / 3.55) ** 5))
    return np.exp(-((y / 3.15) ** 3.2))


def qt_pdf(qt, y):
    a2 = (7.5 * (1 - 0.015 * y * y)) ** 2
    return qt * (1 + qt**2 / a2) ** -1.75


def written_out(charge, qt, y):
    s, x = charge, qt / W
    a, b = (1.60, 0.55) if charge > 0 else (1.30, 0.45)
    a0 = 1.6 * x**2 / (1 + 1.6 * x**2)
    return np.array(
        [
            a0,
            0.20 * x / (1 + x**2) * np.tanh(0.9 * y),
            a0 * (1 - 0.15 * x**2 / (1 + x**2)),
            -s * 0.25 * x / (1 + x**2) / (1 + 0.15 * y**2),
            -s * a * np.tanh(b * y) / np.sqrt(1 + x**2),
        ]
    )


@pytest.mark.parametrize("charge", [1, -1])
def test_bins_agree_with_adaptive_integration_of_the_written_formulas(charge):
    truth = ToyTruth()
    # The factorised norm: qT integrates to a closed form at each Y.
    sigma, mean = bin_truth(truth, charge, [8.0, 20.0, 60.0], [0.8, 1.6])

    def survival(qt, y):
        return (1 + qt**2 / (7.5 * (1 - 0.015 * y * y)) ** 2) ** -0.75

    def shape(qt, y):
        norm = (1 - survival(200.0, y)) * (7.5 * (1 - 0.015 * y * y)) ** 2 / 1.5
        return rapidity(charge, y) * qt_pdf(qt, y) / norm

    total = dblquad(shape, 0, 5, 0, 200, epsabs=1e-9)[0]
    expected = {1: 11700.0, -1: 8600.0}[charge] / total
    for k, (low, high) in enumerate([(8, 20), (20, 60)]):
        content = dblquad(shape, 0.8, 1.6, low, high)[0]
        # dblquad is asked for its default 1.5e-8 absolute.
        assert_allclose(sigma[0, k], expected * content, rtol=1e-6)
        for i in range(5):
            moment = dblquad(
                lambda q, y, i=i: shape(q, y) * written_out(charge, q, y)[i],
                *(0.8, 1.6, low, high),
            )[0]
            assert_allclose(mean[i, 0, k], moment / content, rtol=1e-5)


@pytest.mark.parametrize(("charge", "sigma"), [(1, 11700.0), (-1, 8600.0), (0, 2008.0)])
def test_density_integrates_to_the_cross_section(charge, sigma):
    edges = [0, 2, 5, 10, 20, 50, 100, 200]
    total = bin_truth(ToyTruth(), charge, edges, [0, 2.5, 5])[0].sum()
    assert_allclose(total, sigma, rtol=1e-9)


def test_density_vanishes_outside_its_range():
    assert not density(ToyTruth(), 1, [201.0, 10.0], [1.0, 5.1]).any()


@pytest.mark.parametrize(("charge", "minimum"), [(1, 0.24), (-1, 0.47)])
def test_decay_density_is_positive_everywhere(charge, minimum):
    qt, y, c, phi = np.meshgrid(
        np.linspace(0, 200, 41),
        np.linspace(0, 5, 26),
        np.linspace(-1, 1, 41),
        np.linspace(0, np.pi, 21),
        indexing="ij",
        sparse=True,
    )
    A = coefficients(
        ToyTruth(), charge, *np.broadcast_arrays(qt[..., 0, 0], y[0, :, 0, 0])
    )
    A = A[..., None, None]
    s = np.sqrt(1 - c**2)
    value = (
        1
        + c**2
        + A[0] * (1 - 3 * c**2) / 2
        + A[1] * 2 * s * c * np.cos(phi)
        + A[2] * s**2 * np.cos(2 * phi) / 2
        + A[3] * s * np.cos(phi)
        + A[4] * c
    )
    # The numbers of the model, known to two digits; the grid adds to them.
    assert minimum - 0.01 < value.min() < minimum + 0.02
    assert value.max() < 4


def test_z_coefficients_are_those_of_the_negative_muon():
    A = coefficients(ToyTruth(), 0, W, 1.0)
    assert_allclose(A[3], -0.05 / 2 / 1.15)
    assert_allclose(A[4], 0.13 * np.tanh(0.6))
    assert_allclose(A[:3], written_out(1, W, 1.0)[:3])


def test_record_survives_json():
    truth = deviate(ToyTruth(), {"mw_shift": 0.05, "fake_mt_slope": 0.05})
    assert ToyTruth.from_dict(json.loads(json.dumps(truth.to_dict()))) == truth


def test_foreign_record_is_refused():
    with pytest.raises(ConfigError, match="'z'"):
        ToyTruth.from_dict({"wplus": {}, "wminus": {}} | _without("z"))
    data = ToyTruth().to_dict()
    data["detector"]["magnet"] = 3.8
    with pytest.raises(ConfigError, match="magnet"):
        ToyTruth.from_dict(data)


def _without(name):
    return {key: value for key, value in ToyTruth().to_dict().items() if key != name}


@pytest.mark.parametrize("name", sorted(DEVIATIONS))
def test_each_deviation_changes_the_truth_and_is_recorded(name):
    value = DEVIATIONS[name].typical
    truth = deviate(ToyTruth(), {name: value})
    assert dict(truth.deviations) == {name: value}
    changed = {k for k, v in truth.to_dict().items() if v != ToyTruth().to_dict()[k]}
    assert len(changed - {"deviations"}) >= 1


def test_unknown_deviation_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"'mw_shfit'.*known are.*mw_shift"):
        deviate(ToyTruth(), {"mw_shfit": 0.05})


def test_unknown_charge_is_refused():
    with pytest.raises(ConfigError, match="not 2"):
        density(ToyTruth(), 2, 1.0, 1.0)
