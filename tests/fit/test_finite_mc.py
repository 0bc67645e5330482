"""Two templates that differ by a slope of 3 %, each with its own simulation.

The information in their difference is three times the noise floor when the
simulation is as large as the data: numbers are exact in this model.
"""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.fit.conftest import build_set, single_set
from tests.fit.two_processes import DISPLACED, N_BINS, TRUE
from wprops.channels import Process, SharedEvents
from wprops.fit.external import Constraint
from wprops.fit.finite_mc import assess, correct, expected_pull_rms
from wprops.fit.model import build_model, observed
from wprops.fit.run import fit_model, likelihood_at
from wprops.fit.score import solve_score
from wprops.fit.template_noise import noise_floor

N_REPLICAS = 150
ROOT = np.sqrt(N_REPLICAS)


def two_process_model(templates, variances):
    processes = {
        f"W_{i}": Process(
            f"W_{i}",
            "signal",
            templates[i][None],
            variances[i][None],
            component="UL",
            cell=(0, i),
        )
        for i in range(len(templates))
    }
    return build_model(single_set(processes))


def judged(model, minimum, counts):
    """Statement with the corrected fit."""
    likelihood = likelihood_at(model, counts, minimum.values)
    solution = correct(likelihood, minimum.values, free=minimum.free)
    return assess(model, minimum.point, free=minimum.free, solution=solution)


def fit_replica(rng, truth):
    templates = rng.poisson(TRUE).astype(float)
    model = two_process_model(templates, templates)
    counts = rng.poisson(truth @ TRUE).astype(float)
    naive = fit_model(model, counts, barlow_beeston=False)
    lite = fit_model(model, counts)
    finite = judged(model, lite, counts)
    return (
        (naive.values, np.linalg.inv(naive.hessian)),
        (lite.values, np.linalg.inv(lite.hessian)),
        (finite.values, finite.covariance),
        finite,
    )


@pytest.fixture(scope="module")
def replicas():
    rng = np.random.default_rng(20)
    return [fit_replica(rng, DISPLACED) for _ in range(N_REPLICAS)]


def results(replicas, method):
    values = np.array([replica[method][0][0] for replica in replicas])
    errors = np.sqrt([replica[method][1][0, 0] for replica in replicas])
    pulls = (values - DISPLACED[0]) / errors
    return values.mean() - DISPLACED[0], pulls, np.median(errors)


@pytest.mark.parametrize(
    ("method", "bias", "mean", "std", "coverage", "sigma"),
    [
        (0, -0.076, -2.15, 1.43, 0.19, 0.0354),
        (1, -0.076, -1.52, 1.01, 0.30, 0.0500),
        (2, 0.000, 0.00, 1.00, 0.68, 0.0670),
    ],
    ids=["naive", "Barlow-Beeston", "corrected"],
)
def test_pulls_with_a_truth_away_from_the_generated_point(
    replicas, method, bias, mean, std, coverage, sigma
):
    got_bias, pulls, got_sigma = results(replicas, method)
    spread = std * sigma
    # four standard errors of the replicas
    assert got_bias == pytest.approx(bias, abs=4 * spread / ROOT)
    assert pulls.mean() == pytest.approx(mean, abs=4 * std / ROOT)
    assert pulls.std() == pytest.approx(std, abs=4 * std / np.sqrt(2) / ROOT)
    assert (abs(pulls) < 1).mean() == pytest.approx(coverage, abs=4 * 0.038)
    assert got_sigma == pytest.approx(sigma, rel=0.02)


def test_the_statement_predicts_what_the_replicas_show(replicas):
    finite = [replica[3] for replica in replicas]
    slopes = np.array([f.slopes for f in finite])
    smallest = np.array([f.eigenvalues[0] for f in finite])
    # information/noise = 3 in the difference, whose slope is 0.75; a single
    # parameter is half difference, half sum: (1 + 0.75)/2
    assert smallest.mean() == pytest.approx(4.0, abs=0.1)
    assert slopes.mean() == pytest.approx(0.875, abs=0.005)
    for method, name in ((0, "pull_rms_naive"), (1, "pull_rms_barlow_beeston")):
        width = results(replicas, method)[1].std()
        predicted = np.mean([getattr(f, name)[0] for f in finite])
        assert predicted == pytest.approx(width, rel=4 / np.sqrt(2) / ROOT + 0.02)


@pytest.mark.parametrize("barlow_beeston", [False, True])
def test_expected_pull_rms_counts_the_displacement(replicas, barlow_beeston):
    rng = np.random.default_rng(2)
    predicted = []
    for _ in range(20):
        templates = rng.poisson(TRUE).astype(float)
        model = two_process_model(templates, templates)
        point = fit_model(model, rng.poisson(DISPLACED @ TRUE).astype(float)).point
        rms = expected_pull_rms(
            model, point, barlow_beeston=barlow_beeston, displacement=DISPLACED - 1
        )
        predicted.append(rms[0])
    pulls = results(replicas, int(barlow_beeston))[1]
    # the replicas know the RMS to about 6 %
    assert np.mean(predicted) == pytest.approx(np.sqrt((pulls**2).mean()), rel=0.18)


def test_the_noise_floor_is_the_excess_of_the_information():
    rng = np.random.default_rng(8)
    weight = 1 / (2 * TRUE.sum(axis=0))
    true = (TRUE * weight) @ TRUE.T
    difference = np.array([1.0, -1.0])
    excess, floors = [], []
    for _ in range(300):
        templates = rng.poisson(TRUE).astype(float)
        model = two_process_model(templates, templates)
        floors.append(noise_floor(model, np.ones(2), weight)[0])
        excess.append((templates * weight) @ templates.T - true)
    got = [difference @ e @ difference for e in excess]
    expected = difference @ np.mean(floors, axis=0) @ difference
    assert np.mean(got) == pytest.approx(expected, abs=4 * np.std(got) / np.sqrt(300))


def test_the_noise_floor_counts_shared_and_fixed_templates(template_set, model):
    values = np.linspace(0.5, 1.5, len(model.parameters))
    weight = np.linspace(1e-4, 3e-4, model.n_bins)
    matrix, score = noise_floor(model, values, weight)
    products = template_set.channels["Wplus"].shared[1].products.reshape(3, 3, -1)
    assert_allclose(matrix[3:6, 3:6], products @ weight[:48], rtol=1e-13)
    assert not matrix[:3, 3:].any()  # cells and charges share no events
    assert not matrix[:, 12:].any()  # nor are products with nuisances stored
    assert_allclose(score, matrix @ values, rtol=1e-13)


def test_a_fixed_process_enters_the_score():
    templates = np.array([[10.0, 20.0], [5.0, 4.0]])
    products = np.array([[[4.0, 9.0], [1.0, 2.0]], [[1.0, 2.0], [3.0, 5.0]]])
    processes = {
        "W": Process(
            "W",
            "signal",
            templates[:1],
            products[0, 0][None],
            component="UL",
            cell=(0, 0),
        ),
        "W_lowacc": Process(
            "W_lowacc", "background", templates[1:], products[1, 1][None]
        ),
    }
    shared = SharedEvents(("W", "W_lowacc"), products[:, :, None])
    model = build_model(single_set(processes, shared=(shared,)))
    weight = np.array([0.1, 0.2])
    matrix, score = noise_floor(model, np.array([2.0]), weight)
    assert_allclose(matrix, [[4 * 0.1 + 9 * 0.2]])
    assert_allclose(score, 2 * matrix[0] + 1 * 0.1 + 2 * 0.2)


def test_noise_free_templates_need_no_correction():
    model = two_process_model(TRUE, np.zeros_like(TRUE))
    counts = DISPLACED @ TRUE
    minimum = fit_model(model, counts)
    finite = judged(model, minimum, counts)
    assert finite.verdict == "sound"
    assert finite.needed is None
    assert np.isinf(finite.eigenvalues).all()
    assert (finite.slopes == 1).all()
    assert_allclose(finite.values, minimum.values, atol=1e-6)
    assert_allclose(finite.covariance, np.linalg.inv(minimum.point.fisher()), rtol=1e-6)
    # bit for bit: the three methods are the same sums
    likelihood = likelihood_at(model, counts, minimum.values)
    fits = [
        solve_score(
            likelihood,
            minimum.values,
            free=minimum.free,
            barlow_beeston=noise,
            corrected=score,
        )
        for noise, score in ((False, False), (True, False), (True, True))
    ]
    assert (fits[0].values == fits[1].values).all()
    assert (fits[0].values == fits[2].values).all()


def test_between_the_gates_the_need_for_simulation_is_named():
    model = two_process_model(TRUE, 2.0 * TRUE)
    finite = assess(model, fit_model(model, TRUE.sum(axis=0)).point)
    # twice the noise and s = ν + v = 3ν: information/noise is 2/(2·3)·3 = 1.5 … of
    # a true template, whose H is not inflated: λ = I/M = 1.5
    assert finite.verdict == "limited"
    assert finite.eigenvalues[0] == pytest.approx(1.5, rel=1e-3)
    assert finite.needed == pytest.approx(6.0, rel=1e-2)


def test_pure_noise_is_refused_by_name():
    rng = np.random.default_rng(6)
    flat = np.full((20, N_BINS), 500.0)
    templates = rng.poisson(flat).astype(float)
    model = two_process_model(templates, templates)
    counts = templates.sum(axis=0)
    finite = judged(model, fit_model(model, counts), counts)
    assert finite.verdict == "undetermined"
    assert finite.values is None
    assert finite.covariance is None
    assert finite.lost
    assert "Wplus/W_" in finite.lost[0]
    # 19 differences are noise: eigenvalues spread as (1 ± √(P/N))²
    width = np.sqrt(20 / N_BINS)
    assert finite.eigenvalues[0] > (1 - width) ** 2 - 0.1
    assert finite.eigenvalues[18] < (1 + width) ** 2 + 0.1
    assert finite.eigenvalues[19] > 100


def test_the_result_does_not_depend_on_the_scale_of_a_template():
    rng = np.random.default_rng(4)
    templates = rng.poisson(TRUE).astype(float)
    model = two_process_model(templates, templates)
    factor = np.array([1.0, 50.0])
    scaled = two_process_model(
        templates * factor[:, None], templates * factor[:, None] ** 2
    )
    counts = rng.poisson(DISPLACED @ TRUE).astype(float)
    first = judged(model, fit_model(model, counts), counts)
    # the scaled fit starts far off: its prediction is 25 times the data
    second = judged(scaled, fit_model(scaled, counts), counts)
    assert_allclose(second.eigenvalues, first.eigenvalues, rtol=1e-4)
    assert_allclose(second.values * factor, first.values, rtol=1e-4)
    assert_allclose(second.slopes, first.slopes, rtol=1e-4)


def test_a_fit_with_nuisances_is_profiled_before_it_is_judged():
    templates = build_set(weight=0.001)
    model = build_model(templates)
    finite = assess(model, fit_model(model, observed(templates, model)).point)
    assert finite.verdict == "sound"
    # noise of the nuisance derivatives is not counted: their slope is one
    assert_allclose(finite.slopes[12:], 1.0, atol=1e-12)
    assert (finite.slopes[:12] < 1).all()


def test_fixed_parameters_are_not_judged():
    templates = build_set(weight=0.05)
    model = build_model(templates)
    names = model.parameters.names
    fixed = {"Wplus/W_A4_y0_qt1": 1.2, "Wminus/W_A0_y0_qt0": 1.0, "lumi": 0.0}
    counts = observed(templates, model)
    minimum = fit_model(model, counts, fixed=fixed)
    finite = judged(model, minimum, counts)
    where = [model.parameters.index(name) for name in fixed]
    assert (finite.values[where] == list(fixed.values())).all()
    assert not finite.covariance[where].any()
    assert (finite.slopes[where] == 1).all()
    assert not finite.pull_rms_naive[where].any()
    assert not finite.pull_rms_barlow_beeston[where].any()
    # noise is in the strengths that are free, nowhere else
    assert np.isfinite(finite.eigenvalues).sum() == 12 - 2
    rest = np.setdiff1d(np.arange(len(names)), where)
    assert (finite.pull_rms_barlow_beeston[rest] > 0.5).all()


def test_a_fixed_template_counts_like_a_background():
    """Fixed at strength 1, a signal is nothing but a background."""
    rng = np.random.default_rng(9)
    templates = rng.poisson(TRUE).astype(float)
    counts = rng.poisson(TRUE.sum(axis=0)).astype(float)
    both = two_process_model(templates, templates)
    minimum = fit_model(both, counts, fixed={"Wplus/W_1": 1.0})
    finite = judged(both, minimum, counts)
    processes = {
        "W_0": Process(
            *("W_0", "signal", templates[[0]], templates[[0]]),
            component="UL",
            cell=(0, 0),
        ),
        "top": Process("top", "background", templates[[1]], templates[[1]]),
    }
    one = build_model(single_set(processes))
    expected = judged(one, fit_model(one, counts), counts)
    assert_allclose(finite.values[:1], expected.values, rtol=1e-9)
    assert_allclose(finite.covariance[:1, :1], expected.covariance, rtol=1e-9)
    assert_allclose(finite.eigenvalues[:1], expected.eigenvalues, rtol=1e-9)
    assert_allclose(finite.slopes[:1], expected.slopes, rtol=1e-9)


def test_masked_channels_and_external_measurements_are_known():
    templates = build_set(weight=0.05, n_cells=1)
    shared = tuple(replace(s, constrained=True) for s in templates.systematics)
    background = {
        name: replace(process, role="background")
        for name, process in templates.channels["Wminus"].processes.items()
    }
    masked = replace(templates.channels["Wminus"], processes=background, data=None)
    both = replace(
        templates,
        systematics=shared,
        channels={"Wplus": templates.channels["Wplus"], "Wminus": masked},
    )
    # a sharp measurement of one strength is as good as to fix it
    name = "Wplus/W_A0_y0_qt0"
    constraint = Constraint([{name: 1.0}], [1.0], [[1e-12]])
    measured = build_model(both, masked=["Wminus"], constraints=[constraint])
    plain = build_model(both, channels=["Wplus"])
    first = fit_model(measured, observed(both, measured))
    second = fit_model(plain, observed(both, plain), fixed={name: 1.0})
    got = judged(measured, first, observed(both, measured))
    expected = judged(plain, second, observed(both, plain))
    free = np.flatnonzero(second.free)
    n = plain.parameters.n_poi
    positions = [measured.parameters.index(plain.parameters.names[i]) for i in free]
    assert_allclose(got.slopes[positions], expected.slopes[free], rtol=1e-6)
    assert_allclose(got.eigenvalues[: n - 1], expected.eigenvalues[: n - 1], rtol=1e-5)
    errors = np.sqrt(np.diag(got.covariance))[positions]
    assert_allclose(errors, np.sqrt(np.diag(expected.covariance))[free], rtol=1e-5)
    values = got.values[positions]
    assert_allclose(values, expected.values[free], atol=1e-4 * errors.max())
