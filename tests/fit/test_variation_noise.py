"""Noise of variations: estimated from the bins, compared with what was put in."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.fit.conftest import single_set
from wprops.channels import Process
from wprops.fit.model import build_model
from wprops.fit.suspect_parameters import noise_information
from wprops.fit.variation_noise import judge_variations, roughness
from wprops.systematics.declaration import Systematic

ETA, PT = 6, 20
FULL = np.ones((ETA, PT), dtype=bool)


def judged(process, kind="weight", **options):
    systematic = Systematic(
        name="s", kind=kind, processes=frozenset({process.name}), group="s", **options
    )
    templates = single_set({process.name: process}, systematics=(systematic,))
    (row,) = judge_variations(templates.channels["Wplus"], templates.systematics)
    return row


def process(nominal, variance, up, down, **options):
    varied = {"s_up": up, "s_down": down}
    return Process("top", "background", nominal, variance, varied, **options)


@pytest.mark.parametrize("across_eta", [True, False])
@pytest.mark.parametrize("holes", [0, 4])
def test_the_ratio_of_white_noise_is_one_with_the_stated_spread(across_eta, holes):
    rng = np.random.default_rng(1)
    filled = FULL.copy()
    filled[2, :holes] = False
    estimator = roughness(filled, across_eta=across_eta)
    noise = rng.standard_normal((4000, ETA, PT)) * filled
    ratio = estimator.noise(noise) / (noise**2).sum(axis=(1, 2))
    # 4000 repetitions know the mean to 1.6 % and the spread to 1.1 % of the spread
    assert_allclose(ratio.mean(), 1.0, atol=5 * estimator.spread / np.sqrt(4000))
    assert_allclose(ratio.std(), estimator.spread, rtol=0.06)


def test_polynomials_in_pt_with_steps_in_eta_have_no_noise():
    rng = np.random.default_rng(2)
    x = np.linspace(-1, 1, PT)
    # the order is 5 with 20 bins: degree 4 vanishes
    curve = 1 + x - 3 * x**2 + 2 * x**3 - x**4
    values = rng.uniform(-1, 1, (ETA, 1)) * curve
    assert roughness(FULL).noise(values) < 1e-20 * (values**2).sum()


@pytest.mark.parametrize(("n_pt", "order"), [(6, 2), (9, 3), (15, 5), (60, 5)])
def test_the_order_grows_with_the_bins(n_pt, order):
    estimator = roughness(np.ones((1, n_pt), dtype=bool))
    assert estimator.in_pt.shape == (n_pt - order, n_pt)


def test_few_bins_say_nothing():
    assert roughness(np.ones((10, 5), dtype=bool)) is None
    scattered = np.zeros((ETA, PT), dtype=bool)
    scattered[:, ::3] = True
    assert roughness(scattered) is None


def test_the_noise_of_a_weight_is_that_of_the_events():
    rng = np.random.default_rng(3)
    shape, shares = (ETA, PT), []
    for _ in range(60):
        # events whose weight changes by 5 % ± 30 %, other ones in each bin
        number = rng.poisson(200, shape)
        changes = [rng.normal(0.05, 0.3, n) for n in number.ravel()]
        nominal = number.astype(float)
        half = np.array([c.sum() for c in changes]).reshape(shape)
        row = judged(process(nominal, nominal, nominal + half, nominal - half))
        # Σ n·0.3² of noise beside Σ (0.05 n)² of effect, in units of the variance n
        shares.append(row.ratio)
    n = 200
    expected = 0.3**2 * n / (0.3**2 * n + 0.05**2 * n**2 + 0.05**2 * n)
    assert_allclose(np.mean(shares), expected, rtol=0.05)


def test_a_weight_of_all_events_alike_has_no_noise_of_its_own():
    rng = np.random.default_rng(4)
    number = rng.poisson(500, (ETA, PT)).astype(float)
    row = judged(process(number, number, 1.02 * number, 0.98 * number))
    # what is left is the noise of the nominal template, 1 in 500 of the square
    assert row.ratio < 0.01
    assert not row.is_compatible_with_noise


def test_events_that_change_the_bin_are_as_rough_as_noise_or_rougher():
    rng = np.random.default_rng(5)
    ratios = []
    for _ in range(200):
        nominal = np.full((ETA, PT), 1000.0)
        moves = [rng.poisson(8, (ETA, PT + 1)) for _ in range(4)]
        up, down = (np.diff(moves[i] - moves[i + 1], axis=1) for i in (0, 2))
        row = judged(
            process(nominal, nominal, nominal + up, nominal + down), kind="kinematic"
        )
        assert row.is_compatible_with_noise
        ratios.append(row.ratio)
    # differences of differences: C(2m + 2, m + 1) / 2 C(2m, m) for order m = 5
    # 200 repetitions of a spread of 0.2
    assert_allclose(np.mean(ratios), 924 / (2 * 252), rtol=0.05)


def test_counting_judges_a_shift_with_too_few_bins_to_see_roughness():
    nominal, variance = np.full((1, 3), 100.0), np.full((1, 3), 1000.0)
    # weights of 10: half of |up − down| is half an event, or forty
    few = np.array([[-5.0, 0.0, 5.0]])
    row = judged(process(nominal, variance, nominal + few, nominal - few), "kinematic")
    assert np.isnan(row.ratio)
    assert row.moved == pytest.approx(1.0)
    assert row.is_compatible_with_noise
    many = 80 * few
    row = judged(
        process(nominal, variance, nominal + many, nominal - many), "kinematic"
    )
    assert row.moved == pytest.approx(80.0)
    assert row.counted == pytest.approx(10 / 400)
    assert not row.is_compatible_with_noise


def test_entries_give_the_weight_where_templates_change_sign():
    nominal = np.array([[50.0, -50.0, 0.0]])
    variance, entries = np.full((1, 3), 900.0), np.full((1, 3), 9.0)
    moved = np.array([[20.0, -20.0, 0.0]])
    plain = process(nominal, variance, nominal + moved, nominal - moved)
    assert np.isnan(judged(plain, "kinematic", interpolation="linear").moved)
    known = replace(plain, entries=entries)
    row = judged(known, "kinematic", interpolation="linear")
    # the root mean square weight is 10
    assert row.moved == pytest.approx(4.0)


def test_the_sides_of_a_variation_are_compared():
    nominal = np.full((1, 12), 100.0)
    change = np.linspace(1, 5, 12)[None]
    cases = {1.0: change, -1.0: -change, 0.0: np.zeros_like(change)}
    for cosine, down in cases.items():
        row = judged(process(nominal, nominal, nominal + change, nominal + down))
        if cosine:
            assert row.cosine == pytest.approx(cosine)
        else:
            assert np.isnan(row.cosine)


def test_information_of_noise_is_that_of_the_noise_put_in():
    rng = np.random.default_rng(6)
    nominal = np.full((ETA, PT), 5000.0) * np.exp(-np.arange(PT) / 10)
    effect = 0.02 * nominal * np.linspace(-1, 1, PT)
    spread = 0.5 * np.sqrt(nominal)
    found = []
    for _ in range(100):
        half = effect + spread * rng.standard_normal(nominal.shape)
        top = process(nominal, nominal, nominal + half, nominal - half)
        systematic = Systematic(
            name="s",
            kind="weight",
            processes=frozenset({"top"}),
            group="s",
            interpolation="linear",
        )
        model = build_model(single_set({"top": top}, systematics=(systematic,)))
        point = model.at(model.parameters.start)
        weight = 1 / point.expected
        found.append(noise_information(model, point.jacobian(), weight)[0])
    # 0.25 n of variance over n events in each bin, and what 100 repetitions know
    error = roughness(FULL).spread / np.sqrt(100)
    assert_allclose(np.mean(found), 0.25 * ETA * PT, rtol=4 * error)


def test_a_parameter_of_one_row_keeps_the_noise_of_its_row():
    rng = np.random.default_rng(7)
    nominal = np.full((ETA, PT), 1000.0)
    systematic = Systematic(
        name="s",
        kind="weight",
        processes=frozenset({"top"}),
        group="s",
        interpolation="linear",
        eta_local=True,
    )
    found = []
    for _ in range(200):
        half = np.sqrt(nominal) * rng.standard_normal(nominal.shape)
        top = process(nominal, nominal, nominal + half, nominal - half)
        model = build_model(single_set({"top": top}, systematics=(systematic,)))
        point = model.at(model.parameters.start)
        found.append(noise_information(model, point.jacobian(), 1 / point.expected))
    error = roughness(FULL[:1]).spread / np.sqrt(200)
    # the rows at the edges too
    assert_allclose(np.mean(found, axis=0), PT, rtol=4 * error)
