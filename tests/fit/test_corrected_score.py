"""Ensembles in which simulation and data fluctuate, at the generated point and away."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import root

from tests.fit.conftest import single_set
from tests.fit.two_processes import (
    DISPLACED,
    GENERATED,
    N_BINS,
    TRUE,
    Replicas,
    corrected,
    corrected_fit,
    covered,
    cross_fit,
    products,
    pulls,
    stacked,
    throw,
    uncorrected,
)
from wprops.channels import Process
from wprops.fit.finite_mc import correct
from wprops.fit.model import build_model
from wprops.fit.run import fit_model, likelihood_at

#: Tolerances of a coverage and of the width of pulls with 1000 replicas.
COVERAGE, WIDTH = 0.045, 0.07
TRUTHS = {"generated": GENERATED, "displaced": DISPLACED}


@pytest.fixture(scope="module")
def ensembles():
    found = {}
    for name, truth in TRUTHS.items():
        replicas = throw(truth)
        fits = corrected(replicas)
        values, covariance = stacked(fits)
        found[name] = {
            "replicas": replicas,
            "fits": fits,
            "naive": uncorrected(replicas, barlow_beeston=False),
            "lite": uncorrected(replicas, barlow_beeston=True),
            "corrected": (values, covariance),
            # (H − M)⁻¹ is no covariance
            "wrong": (
                values,
                np.array([np.linalg.inv(f.fisher - f.floor) for f in fits]),
            ),
        }
    return found


@pytest.mark.parametrize(
    ("method", "truth", "bias", "mean", "std", "coverage", "sigma"),
    [
        ("naive", "generated", 0.0, 0.0, 1.43, 0.50, 0.0354),
        ("naive", "displaced", -0.076, -2.15, 1.43, 0.19, 0.0354),
        ("lite", "generated", 0.0, 0.0, 1.01, 0.67, 0.0500),
        ("lite", "displaced", -0.076, -1.52, 1.01, 0.30, 0.0500),
        ("wrong", "generated", 0.0, 0.0, 1.16, 0.60, 0.058),
        ("wrong", "displaced", 0.0, 0.0, 1.14, 0.62, 0.058),
        ("corrected", "generated", 0.0, 0.0, 1.01, 0.67, 0.0667),
        ("corrected", "displaced", 0.0, 0.0, 1.00, 0.68, 0.0681),
    ],
)
def test_pulls_of_every_method(
    ensembles, method, truth, bias, mean, std, coverage, sigma
):
    replicas = ensembles[truth]["replicas"]
    values, covariances = ensembles[truth][method]
    pull = pulls(replicas, values, covariances)
    # four standard errors of 1000 replicas
    error = 4 * values[:, 0].std() / np.sqrt(1000)
    assert values[:, 0].mean() - replicas.truth[0] == pytest.approx(bias, abs=error)
    assert pull.mean() == pytest.approx(mean, abs=4 * std / np.sqrt(1000) + 0.01)
    assert pull.std() == pytest.approx(std, abs=WIDTH * std)
    assert covered(pull) == pytest.approx(coverage, abs=COVERAGE)
    assert np.median(np.sqrt(covariances[:, 0, 0])) == pytest.approx(sigma, rel=0.025)


def test_the_information_is_too_large_by_the_noise_floor(ensembles):
    """In the difference: in the sum the information fluctuates by more than M."""
    u = np.array([1.0, -1.0])
    excess, true_ones = [], []
    for fit in ensembles["displaced"]["fits"]:
        true = (TRUE * fit.weight) @ TRUE.T
        excess.append(u @ (fit.fisher - true) @ u / (u @ fit.floor @ u))
        true_ones.append(u @ (fit.fisher - fit.floor) @ u / (u @ true @ u))
    for found in (excess, true_ones):
        error = np.std(found) / np.sqrt(len(found))
        assert error < 0.01
        assert np.mean(found) == pytest.approx(1.0, abs=4 * error)


def test_barlow_beeston_is_drawn_back_by_the_noise_floor(ensembles):
    values, _ = ensembles["displaced"]["lite"]
    fit = ensembles["displaced"]["fits"][0]
    true, floor = (TRUE * fit.weight) @ TRUE.T, products(TRUE) @ fit.weight
    drawn = np.linalg.solve(true + floor, floor @ (DISPLACED - GENERATED))
    expected = DISPLACED - drawn
    assert expected[0] == pytest.approx(1.2249, abs=5e-4)
    error = values[:, 0].std() / np.sqrt(len(values))
    assert values[:, 0].mean() == pytest.approx(expected[0], abs=4 * error)


def test_the_response_to_the_truth_is_one_only_when_corrected():
    difference = {"lite": [], "naive": [], "corrected": []}
    moves = np.array([0.0, 0.15, 0.3])
    for move in moves:
        # the same random numbers for all truths: most of the noise cancels
        replicas = throw(np.array([1 + move, 1 - move]), seed=7, n=700)
        for name, (values, _) in (
            ("naive", uncorrected(replicas, barlow_beeston=False)),
            ("lite", uncorrected(replicas, barlow_beeston=True)),
            ("corrected", stacked(corrected(replicas))),
        ):
            difference[name].append((values @ [0.5, -0.5]).mean())
    slopes = {
        name: np.polyfit(moves, found, 1)[0] for name, found in difference.items()
    }
    assert slopes["naive"] == pytest.approx(0.75, abs=0.02)
    assert slopes["lite"] == pytest.approx(0.75, abs=0.02)
    assert slopes["corrected"] == pytest.approx(1.0, abs=0.025)


@pytest.mark.parametrize(("truth", "std"), [("generated", 1.0), ("displaced", 1.0)])
def test_ten_times_the_simulation_leaves_little_to_correct(truth, std):
    replicas = throw(TRUTHS[truth], k=10, seed=3)
    values, covariances = stacked(corrected(replicas))
    pull = pulls(replicas, values, covariances)
    assert np.median(np.sqrt(covariances[:, 0, 0])) == pytest.approx(0.0435, rel=0.02)
    assert pull.std() == pytest.approx(std, abs=WIDTH)
    assert covered(pull) == pytest.approx(0.68, abs=COVERAGE)
    values, covariances = uncorrected(replicas, barlow_beeston=False)
    assert pulls(replicas, values, covariances).std() == pytest.approx(1.035, abs=WIDTH)
    bias = {"generated": 0.0, "displaced": -0.0097}[truth]
    error = 4 * values[:, 0].std() / np.sqrt(1000)
    assert values[:, 0].mean() - replicas.truth[0] == pytest.approx(bias, abs=error)


@pytest.mark.parametrize(("n_folds", "sigma"), [(2, 0.0708), (4, 0.0681), (10, 0.0672)])
def test_the_cross_fit_of_folds_covers_at_a_price(ensembles, n_folds, sigma):
    found = {name: folded(ensembles[name], n_folds) for name in TRUTHS}
    for name, (values, covariances) in found.items():
        replicas = ensembles[name]["replicas"]
        pull = pulls(replicas, values, covariances)
        error = 4 * values[:, 0].std() / np.sqrt(1000)
        assert np.median(values[:, 0]) == pytest.approx(replicas.truth[0], abs=error)
        assert pull.std() == pytest.approx(1.02, abs=WIDTH)
        assert covered(pull) == pytest.approx(0.67, abs=COVERAGE)
    error = np.median(np.sqrt(found["generated"][1][:, 0, 0]))
    assert error == pytest.approx(sigma, rel=0.015)


def folded(ensemble, n_folds):
    """Cross-fits of simulations that are split by chance."""
    replicas, fits = ensemble["replicas"], ensemble["fits"]
    rng = np.random.default_rng(n_folds)
    found = []
    for T, fit, n in zip(replicas.templates, fits, replicas.counts, strict=True):
        folds = rng.multinomial(T.astype(int), np.full(n_folds, 1 / n_folds))
        found.append(cross_fit(np.moveaxis(folds, -1, 0).astype(float), fit, n))
    values, covariances = map(np.array, zip(*found, strict=True))
    return values, covariances


def test_the_full_profile_finds_the_point_but_not_its_error(ensembles):
    """Barlow-Beeston with a factor per template, Gaussian: errors in variables."""
    replicas, fits = ensembles["displaced"]["replicas"], ensembles["displaced"]["fits"]

    def score(theta, T, S, n):
        r, s = n - theta @ T, n + theta**2 @ S
        return T @ (r / s) + (theta[:, None] * S) @ (r / s) ** 2

    profile, own, sandwich = [], [], []
    for i in range(500):
        data = replicas.templates[i], replicas.variances[i], replicas.counts[i]
        found = root(score, fits[i].values, args=data, tol=1e-10)
        assert found.success
        steps = 1e-4 * np.eye(2)
        slope = [score(found.x + h, *data) - score(found.x - h, *data) for h in steps]
        profile.append(found.x)
        own.append(np.linalg.inv(-np.array(slope) / 2e-4))
        sandwich.append(fits[i].covariance)
    pull = pulls(replicas, np.array(profile), np.array(own))
    assert 1.08 < pull.std() < 1.32
    assert 0.50 < covered(pull) < 0.66
    pull = pulls(replicas, np.array(profile), np.array(sandwich))
    assert pull.std() == pytest.approx(1.0, abs=0.1)
    assert covered(pull) == pytest.approx(0.67, abs=0.06)


def test_pseudo_data_of_the_same_templates_are_no_closure():
    """They make the naive fit look right, and the corrected one biased by θM/I."""
    replicas = throw(DISPLACED, seed=11)
    rng = np.random.default_rng(12)
    means = np.einsum("p,rpi->ri", DISPLACED, replicas.templates)
    replicas.counts = rng.poisson(means).astype(float)
    naive = uncorrected(replicas, barlow_beeston=False)
    assert naive[0][:, 0].mean() == pytest.approx(1.3, abs=0.006)
    assert pulls(replicas, *naive).std() == pytest.approx(1.0, abs=WIDTH)
    lite = uncorrected(replicas, barlow_beeston=True)
    assert pulls(replicas, *lite).std() == pytest.approx(1 / np.sqrt(2), abs=0.06)
    values, _ = stacked(corrected(replicas))
    bias = np.median(values[:, 0]) - 1.3
    assert bias == pytest.approx(0.3 / 3, abs=4 * 1.25 * values[:, 0].std() / 31.6)


def test_pseudo_data_of_the_other_half_have_noise_of_their_own():
    """Simulation of half the data in each half: s is ν + 2ν + 2ν, not ν + 2ν."""
    replicas = throw(GENERATED, k=0.5, seed=13)
    other = throw(GENERATED, k=0.5, seed=14).templates
    rng = np.random.default_rng(15)
    replicas.counts = rng.poisson(other.sum(axis=1)).astype(float)
    values, covariances = stacked(corrected(replicas))
    pull = pulls(replicas, values, covariances)
    spread = 1.4826 * np.median(abs(pull - np.median(pull)))
    expected = np.sqrt(5 / 3)
    assert spread == pytest.approx(expected, abs=0.12)
    assert covered(pull) == pytest.approx(0.561, abs=COVERAGE)
    assert covered(pull / expected) == pytest.approx(0.68, abs=COVERAGE)


def negative_weights(truth, fraction, seed, n=1000):
    """As many events as data, a fraction with negative weights, the same net yield."""
    rng = np.random.default_rng(seed)
    size, weight = (n, *TRUE.shape), 1 / (1 - 2 * fraction)
    up = rng.poisson((1 - fraction) * TRUE, size)
    down = rng.poisson(fraction * TRUE, size)
    counts = rng.poisson(truth @ TRUE, (n, N_BINS)).astype(float)
    return Replicas(truth, weight * (up - down), weight**2 * (up + down), counts)


@pytest.mark.parametrize(
    ("fraction", "naive_std", "sigma"), [(0.2, 1.98, 0.111), (0.3, 2.75, 0.197)]
)
def test_negative_weights_cost_what_their_squares_say(fraction, naive_std, sigma):
    replicas = negative_weights(GENERATED, fraction, seed=17)
    naive = uncorrected(replicas, barlow_beeston=False)
    assert pulls(replicas, *naive).std() == pytest.approx(naive_std, rel=0.07)
    rows = zip(replicas.templates, replicas.variances, replicas.counts, strict=True)
    fits = [corrected_fit(T, products(S), n) for T, S, n in rows]
    # near the gate a noisy simulation can lose a direction; that is no result
    solved = np.array([f is not None for f in fits])
    assert solved.mean() > 0.99
    values, covariances = stacked([f for f in fits if f is not None])
    pull = pulls(replicas, values, covariances)
    assert np.median(np.sqrt(covariances[:, 0, 0])) == pytest.approx(sigma, rel=0.05)
    assert covered(pull) * solved.mean() == pytest.approx(0.675, abs=COVERAGE)


@pytest.mark.parametrize(
    ("truth", "coverage"), [("generated", 0.51), ("displaced", 0.19)]
)
def test_negative_weights_need_the_sum_of_squares(truth, coverage):
    """With S = T the noise floor is 1 instead of 1/0.36, in units of I/3.

    Displaced, the pull has the mean −(1.78/4.78) 0.3/0.0514 = −2.18 and the width 1.39.
    """
    replicas = negative_weights(TRUTHS[truth], 0.2, seed=18)
    replicas.variances = replicas.templates  # mean weight times yield
    pull = pulls(replicas, *stacked(corrected(replicas)))
    assert covered(pull) == pytest.approx(coverage, abs=COVERAGE)


@pytest.mark.parametrize("fraction", [0.0, 0.2])
@pytest.mark.parametrize("n_fixed", [0, 1])
def test_the_model_has_the_solution_of_the_linear_fit(fraction, n_fixed):
    """With a fixed template, and with events of negative weights."""
    replicas = negative_weights(DISPLACED, fraction, seed=21, n=4)
    for T, S, n in zip(
        replicas.templates, replicas.variances, replicas.counts, strict=True
    ):
        processes = {
            f"W_{i}": Process(
                f"W_{i}",
                "signal",
                T[[i]],
                S[[i]],
                component="UL",
                cell=(0, i),
            )
            for i in range(2 - n_fixed)
        }
        if n_fixed:
            processes["top"] = Process("top", "background", T[[1]], S[[1]])
        model = build_model(single_set(processes))
        minimum = fit_model(model, n)
        likelihood = likelihood_at(model, n, minimum.values)
        found = correct(likelihood, minimum.values)
        expected = corrected_fit(T, products(S), n, n_fixed=n_fixed)
        errors = np.sqrt(np.diag(expected.covariance))
        assert_allclose((found.values - expected.values) / errors, 0, atol=1e-3)
        scale = np.outer(errors, errors)
        assert_allclose((found.covariance - expected.covariance) / scale, 0, atol=2e-3)


def test_a_fit_without_noise_is_the_weighted_one():
    replicas = throw(DISPLACED, n=3)
    replicas.variances = np.zeros_like(replicas.variances)
    naive = uncorrected(replicas, barlow_beeston=False)
    values, covariances = stacked(corrected(replicas))
    assert_allclose(values, naive[0], rtol=1e-7)
    assert_allclose(covariances, naive[1], rtol=1e-4)
