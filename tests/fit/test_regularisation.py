import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import least_squares
from scipy.stats import chi2 as chi2_distribution
from scipy.stats import kstest

from tests.fit.cells import (
    cells_set,
    neighbours_covariance,
    parameters_of,
    strengths,
    toy_maps,
)
from wprops.errors import ConfigError, FitError
from wprops.fit.ansatz import Ansatz, Degrees, averages
from wprops.fit.degrees import compare_degrees, find_degrees
from wprops.fit.regularisation import estimate
from wprops.fit.span import build_span

SMALL = toy_maps(absy=(0.0, 0.8, 1.6, 2.4), qt=(0.0, 4.0, 8.0, 14.0, 26.0, 60.0))
ANSATZ = Ansatz(
    degrees={
        "A0": Degrees(3, 1),
        "A1": Degrees(2, 1),
        "A2": Degrees(3, 1),
        "A3": Degrees(2, 1),
        "A4": Degrees(2, 2),
    }
)


@pytest.fixture(scope="module")
def small():
    """A truth inside of the span: templates, parameters, span, true values, errors."""
    templates = cells_set(SMALL)
    parameters = parameters_of(templates)
    span = build_span(templates, parameters, ANSATZ, parameters.start)
    smooth = span.basis @ span.factors(span.numbers(parameters.start))
    A = SMALL.coefficients.copy()
    A[:5] = smooth.reshape(5, *SMALL.sigma.shape)
    truth = strengths(templates, 1.03 * SMALL.sigma, A)
    truth[-1] = 0.4
    return templates, parameters, span, truth, neighbours_covariance(templates, 0.03)


def throw(truth, covariance, n, seed=1):
    rng = np.random.default_rng(seed)
    factor = np.linalg.cholesky(covariance)
    return truth + rng.standard_normal((n, len(truth))) @ factor.T


def direct(span, values, covariance):
    """Least squares in cross sections, factors and the mass, without derivatives."""
    inverse = np.linalg.inv(np.linalg.cholesky(covariance))
    n_cells = SMALL.sigma.size
    n_factors = len(span.labels)

    def parameters(free):
        ul, factors, mass = np.split(free, [n_cells, n_cells + n_factors])
        A = (span.basis @ factors).reshape(5, n_cells)
        return np.concatenate([ul, (A * ul).ravel(), mass])

    first = np.concatenate([np.ones(n_cells), span.factors(span.numbers(values)), [0]])
    found = least_squares(
        lambda free: inverse @ (parameters(free) - values),
        first,
        xtol=1e-14,
        ftol=1e-14,
    )
    return parameters(found.x), 2 * found.cost


def test_infinite_strength_is_the_fit_of_smooth_functions(small):
    _, _, span, truth, covariance = small
    for values in throw(truth, covariance, 3):
        found = estimate(span, values, covariance)
        expected, chi2 = direct(span, values, covariance)
        errors = np.sqrt(np.diag(covariance))
        assert_allclose((found.values - expected) / errors, 0, atol=1e-5)
        assert found.chi2 == pytest.approx(chi2, rel=1e-6)
        z, variance = found.departures.z, found.departures.variance
        assert (z**2 / variance).sum() == pytest.approx(chi2, rel=1e-4)
        assert_allclose(span.complement @ span.numbers(found.values), 0, atol=1e-9)


def test_smooth_cross_sections_are_fitted_too(small):
    templates, parameters, _, truth, covariance = small
    ansatz = ANSATZ.changed("sigma", Degrees(2, 1))
    span = build_span(templates, parameters, ansatz, parameters.start)
    n_cells, n_sigma = SMALL.sigma.size, 6
    values = throw(truth, covariance, 1)[0]
    inverse = np.linalg.inv(np.linalg.cholesky(covariance))

    def full(free):
        factors, mass = free[:-1], free[-1:]
        numbers = span.basis @ factors
        A, ul = numbers[:-n_cells].reshape(5, n_cells), numbers[-n_cells:]
        return np.concatenate([ul, (A * ul).ravel(), mass])

    first = np.append(span.factors(span.numbers(values)), 0)
    best = least_squares(
        lambda free: inverse @ (full(free) - values), first, xtol=1e-14, ftol=1e-14
    )
    found = estimate(span, values, covariance)
    errors = np.sqrt(np.diag(covariance))
    assert_allclose((found.values - full(best.x)) / errors, 0, atol=1e-5)
    assert found.chi2 == pytest.approx(2 * best.cost, rel=1e-8)
    expected = len(span.labels) + 1
    assert np.trace(found.response) == pytest.approx(expected, abs=1e-8)
    assert len(span.labels) == 6 + 2 + 6 + 4 + 6 + n_sigma
    soft = estimate(span, values, covariance, strength=1e3)
    assert expected < np.trace(soft.response) < parameters.n_poi + 1


def unfolded(span, values, covariance):
    """Generalised least squares in A_i as measured: factors and their covariance."""
    J = span.jacobian(values)
    inverse = np.linalg.inv(J @ covariance @ J.T)
    D = span.basis
    matrix = np.linalg.inv(D.T @ inverse @ D)
    return matrix @ D.T @ inverse @ span.numbers(values), matrix


def test_with_small_errors_it_is_the_fit_to_measured_coefficients(small):
    _, _, span, truth, covariance = small
    little = covariance * 1e-6
    values = throw(truth, little, 1)[0]
    factors, matrix = unfolded(span, values, little)
    found = estimate(span, values, little)
    errors = np.sqrt(np.diag(matrix))
    assert_allclose((span.factors(span.numbers(found.values)) - factors) / errors, 0,
                    atol=0.01)  # fmt: skip
    J = span.factors(span.jacobian(found.values))
    assert_allclose(J @ found.covariance @ J.T / np.outer(errors, errors),
                    matrix / np.outer(errors, errors), atol=1e-3)  # fmt: skip


def p_value(found):
    """Probability of a larger χ² of the smooth functions."""
    return chi2_distribution.sf(found.chi2, len(found.departures.z))


def test_closure_inside_of_the_span(small):
    """Toys: slope 1, pulls of RMS 1, χ² as it should be, smaller errors."""
    _, parameters, span, truth, covariance = small
    toys = [
        estimate(span, v, covariance, start=parameters.start)
        for v in throw(truth, covariance, 400)
    ]
    values = np.array([t.values for t in toys])
    errors = np.array([np.sqrt(np.diag(t.covariance)) for t in toys])
    pulls = (values - truth) / errors
    assert (abs(pulls.mean(axis=0)) < 4.5 / np.sqrt(400)).all()
    # 105 + 1 pulls: 4.5 standard errors of an RMS
    assert (abs(pulls.std(axis=0) - 1) < 4.5 / np.sqrt(800)).all()
    assert kstest([p_value(t) for t in toys], "uniform").pvalue > 1e-3
    # covariance over toys, correlation by correlation
    mean = np.mean([t.covariance for t in toys], axis=0)
    scale = np.sqrt(np.diag(mean))
    off = (np.cov(values.T) - mean) / np.outer(scale, scale)
    assert abs(off).max() < 5 * np.sqrt(2 / 400)
    ratio = scale / np.sqrt(np.diag(covariance))
    assert ratio.max() < 1
    assert np.median(ratio[SMALL.sigma.size : -1]) < 0.65
    # the mass gains through its correlations
    assert ratio[-1] < 0.99


def test_the_slope_to_a_smooth_truth_is_one(small):
    templates, _, span, truth, covariance = small
    rng = np.random.default_rng(6)
    moved = span.basis @ rng.standard_normal(len(span.labels)) * 0.05
    A = SMALL.coefficients.copy()
    A[:5] = (span.numbers(truth) + moved).reshape(5, *SMALL.sigma.shape)
    far = strengths(templates, 0.9 * SMALL.sigma, A)
    assert_allclose(estimate(span, far, covariance).values, far, atol=1e-8)
    for strength in (1e2, 1e5):
        soft = estimate(span, far, covariance, strength=strength)
        assert_allclose(soft.values, far, atol=1e-8)


def rough(small, size):
    """A truth whose A4 is of one degree more in qT, and departs by a size."""
    templates, _, span, truth, _ = small
    edges = SMALL.absy_edges, SMALL.qt_edges
    # |Y| times a cubic, less what a parabola takes of it
    cubic = averages("A4", Degrees(3, 2), edges, SMALL.sigma)[:, 3]
    known = averages("A4", Degrees(2, 2), edges, SMALL.sigma)
    cubic = cubic - known @ np.linalg.lstsq(known, cubic)[0]
    A = SMALL.coefficients.copy()
    A[:5] = span.numbers(truth).reshape(5, *SMALL.sigma.shape)
    A[4] += size * (cubic / abs(cubic).max()).reshape(SMALL.sigma.shape)
    values = strengths(templates, 1.03 * SMALL.sigma, A)
    values[-1] = truth[-1]
    return values


def test_a_truth_outside_of_the_span_is_found(small):
    templates, parameters, span, _, covariance = small
    values = rough(small, 0.2)
    found = estimate(span, values, covariance)
    # expected χ²: that of the departures on top of their number
    assert found.chi2 > 8 * np.sqrt(2 * len(found.departures.z))
    thrown = throw(values, covariance, 40)
    p = [p_value(estimate(span, v, covariance)) for v in thrown]
    assert np.mean(np.array(p) < 0.01) > 0.9
    tests = compare_degrees(
        templates, parameters, ANSATZ, thrown[0], covariance, parameters.start
    )
    best = min(tests, key=lambda c: c.p_value)
    assert best.what == "A4 qT^3"
    assert best.p_value < 1e-4


def test_degrees_that_are_needed_are_found_and_no_more(small):
    """Linear in both variables but for A4, which has qT^2."""
    templates, parameters, _, _, covariance = small
    true = Ansatz(
        degrees={n: Degrees(1, 1) for n in ("A0", "A1", "A2", "A3")}
        | {"A4": Degrees(2, 1)}
    )
    shapes = build_span(templates, parameters, true, parameters.start)
    A = SMALL.coefficients.copy()
    factors = shapes.factors(shapes.numbers(parameters.start))
    A[:5] = (shapes.basis @ factors).reshape(5, *SMALL.sigma.shape)
    wiggle = [label.startswith("Wplus/A4: y0 qt2") for label in shapes.labels]
    A[4] += 0.4 * (shapes.basis @ np.array(wiggle))[-SMALL.sigma.size :].reshape(
        SMALL.sigma.shape
    )
    truth = strengths(templates, SMALL.sigma, A)
    start = true.changed("A4", Degrees(1, 1))
    found = [
        find_degrees(templates, parameters, start, values, covariance, parameters.start)
        for values in throw(truth, covariance, 20, seed=7)
    ]
    ansaetze = [ansatz for ansatz, _ in found]
    # one toy in 60 adds a degree that is not needed
    assert ansaetze.count(true) >= 17
    assert all(steps[0].what == "A4 qT^2" for _, steps in found)


def test_limits_of_the_strength(small):
    _, _, span, truth, covariance = small
    values = throw(truth, covariance, 1)[0]
    hard = estimate(span, values, covariance)
    strong = estimate(span, values, covariance, strength=1e9)
    errors = np.sqrt(np.diag(hard.covariance))
    assert_allclose((strong.values - hard.values) / errors, 0, atol=1e-3)
    assert_allclose(strong.covariance, hard.covariance, atol=1e-7)
    weak = estimate(span, values, covariance, strength=1e-4)
    assert_allclose(weak.values, values, atol=1e-5)
    assert_allclose(weak.covariance, covariance, atol=1e-6)
    # nothing is declared: the spread is all there is
    assert_allclose(hard.spread, hard.covariance, atol=1e-12)
    errors_between = [
        np.sqrt(np.diag(estimate(span, values, covariance, strength=s).covariance))
        for s in (1.0, 1e2, 1e3, 1e4, 1e6)
    ]
    assert (np.diff(errors_between, axis=0) < 1e-12).all()


def test_effective_parameters_go_from_all_to_those_of_the_functions(small):
    _, parameters, span, truth, covariance = small
    n = parameters.n_poi
    effective = [
        np.trace(estimate(span, truth, covariance, strength=s).response) - 1
        for s in (1e-6, 1e2, 1e3, 1e4, np.inf)
    ]
    assert effective[0] == pytest.approx(n, abs=1e-3)
    smooth = SMALL.sigma.size + len(span.labels)
    assert effective[-1] == pytest.approx(smooth, abs=1e-9)
    assert (np.diff(effective) < 0).all()


def test_a_soft_penalty_covers_departures_as_declared(small):
    """Truths that scatter by 1/√τ: errors cover; at one truth the spread is right."""
    _, parameters, span, truth, covariance = small
    strength = 30.0**2
    n_x = len(span.basis)
    rng = np.random.default_rng(8)
    J = span.jacobian(truth)
    # parameters of a departure: only those of A_i move
    moving = np.arange(SMALL.sigma.size, parameters.n_poi)
    inverse = np.linalg.inv(J[:, moving])
    pulls, at_one = [], []
    for values in throw(np.zeros_like(truth), covariance, 300):
        away = span.complement.T @ rng.standard_normal(len(span.complement))
        true = truth.copy()
        true[moving] += inverse @ away / np.sqrt(strength)
        found = estimate(span, true + values, covariance, strength=strength)
        pulls.append((found.values - true) / np.sqrt(np.diag(found.covariance)))
        one = estimate(span, truth + values, covariance, strength=strength)
        at_one.append((one.values - truth) / np.sqrt(np.diag(one.spread)))
    assert n_x == len(moving)
    for found in (np.array(pulls), np.array(at_one)):
        assert (abs(found.std(axis=0) - 1) < 5 / np.sqrt(600)).all()
        assert (abs(found.mean(axis=0)) < 5 / np.sqrt(300)).all()


def test_the_expected_bias_is_that_of_toys(small):
    _, _, span, _, covariance = small
    truth = rough(small, 0.1)
    expected = estimate(span, truth, covariance).values - truth
    found = [estimate(span, v, covariance) for v in throw(truth, covariance, 300)]
    shift = np.mean([f.values for f in found], axis=0) - truth
    errors = np.sqrt(np.diag(found[0].covariance))
    assert abs(expected / errors).max() > 2
    assert_allclose(shift / errors, expected / errors, atol=5 / np.sqrt(300))


def test_derivatives_at_the_result_do_not_follow_fluctuations(small):
    """Where cross sections are poorly known, coefficients as measured are biased."""
    templates, parameters, span, truth, _ = small
    covariance = neighbours_covariance(templates, 0.15, correlation=-0.3)
    true = span.factors(span.numbers(truth))
    pulls = {"result": [], "measurement": []}
    for values in throw(truth, covariance, 200):
        found = estimate(span, values, covariance, start=parameters.start)
        J = span.factors(span.jacobian(found.values))
        errors = np.sqrt(np.diag(J @ found.covariance @ J.T))
        away = span.factors(span.numbers(found.values)) - true
        pulls["result"].append(away / errors)
        factors, matrix = unfolded(span, values, covariance)
        pulls["measurement"].append((factors - true) / np.sqrt(np.diag(matrix)))
    bias = {name: abs(np.mean(p, axis=0)).max() for name, p in pulls.items()}
    rms = {name: np.std(p, axis=0).max() for name, p in pulls.items()}
    assert bias["result"] < 4.5 / np.sqrt(200)
    assert rms["result"] < 1.2
    assert bias["measurement"] > 0.5


def test_frozen_nuisances_stay_and_frozen_strengths_are_refused(small):
    _, _, span, truth, covariance = small
    frozen = covariance.copy()
    frozen[-1] = frozen[:, -1] = 0
    values = throw(truth, covariance, 1)[0]
    found = estimate(span, values, frozen)
    assert found.values[-1] == values[-1]
    n_cells = SMALL.sigma.size
    frozen[n_cells : 2 * n_cells] = frozen[:, n_cells : 2 * n_cells] = 0
    frozen[:n_cells] = frozen[:, :n_cells] = 0
    with pytest.raises(FitError, match="fit all strengths, or leave out"):
        estimate(span, values, frozen)


def test_a_strength_is_positive(small):
    _, _, span, truth, covariance = small
    with pytest.raises(ConfigError, match="strength of regularisation is 0"):
        estimate(span, truth, covariance, strength=0.0)
