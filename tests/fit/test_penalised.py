from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.fit.cells import shaped_set, toy_maps
from wprops.channels import SharedEvents
from wprops.errors import ConfigError
from wprops.fit.ansatz import Ansatz, Degrees
from wprops.fit.likelihood import Likelihood, relative_variance
from wprops.fit.model import build_model, observed
from wprops.fit.penalised import correct_regularised, fit_regularised
from wprops.fit.regularisation import estimate
from wprops.fit.run import fit_model, likelihood_at
from wprops.fit.span import build_span

GENERATED = toy_maps(absy=(0.0, 0.8, 1.6, 2.4), qt=(0.0, 4.0, 10.0, 20.0, 60.0))
ANSATZ = Ansatz(
    degrees=dict.fromkeys(("A0", "A1", "A2", "A3"), Degrees(2, 1))
    | {"A4": Degrees(2, 2)}
)


@pytest.fixture(scope="module")
def fitted():
    """Model, counts with Poisson noise, and span."""
    templates = shaped_set(GENERATED, factor=1.02, shift=0.5)
    model = build_model(templates)
    span = build_span(templates, model.parameters, ANSATZ, model.parameters.start)
    counts = np.random.default_rng(3).poisson(observed(templates, model))
    return model, counts.astype(float), span


def test_a_penalty_in_the_likelihood_has_no_gradient_at_its_minimum(fitted):
    model, counts, span = fitted
    strength = 400.0
    fit = fit_regularised(model, counts, span, strength)
    x = fit.minimum.values
    likelihood = Likelihood(
        model, counts, relative_variance(model, x), model.parameters.start
    )

    def loss(values):
        left = span.complement @ span.numbers(values)
        return likelihood.at(values).value + strength / 2 * left @ left

    errors = np.sqrt(np.diag(fit.minimum.covariance(model.parameters.names)))
    for k in range(0, len(x), 5):
        move = np.zeros(len(x))
        move[k] = 0.1 * errors[k]
        slope = (loss(x + move) - loss(x - move)) / 0.2
        # in units of a standard deviation; cubic terms are left
        assert abs(slope) < 1e-2
        bend = (loss(x + move) + loss(x - move) - 2 * loss(x)) / 0.01
        assert bend == pytest.approx(
            fit.minimum.hessian[k, k] * errors[k] ** 2, rel=0.02
        )
    assert fit.minimum.nll == pytest.approx(loss(x), rel=1e-6)


def test_limits_of_a_penalty_in_the_likelihood(fitted):
    model, counts, span = fitted
    names = model.parameters.names
    free = fit_model(model, counts)
    errors = np.sqrt(np.diag(free.covariance(names)))
    weak = fit_regularised(model, counts, span, 1e-6).minimum
    assert_allclose((weak.values - free.values) / errors, 0, atol=1e-4)
    assert_allclose(weak.hessian, free.hessian, rtol=1e-5, atol=1e-3)
    strong = fit_regularised(model, counts, span, 1e9)
    left = span.complement @ span.numbers(strong.minimum.values)
    assert abs(left).max() < 1e-4
    # the parabola of the free fit, at infinite strength
    hard = estimate(span, free.values, free.covariance(names))
    hard_errors = np.sqrt(np.diag(hard.covariance))
    assert abs((strong.minimum.values - hard.values) / hard_errors).max() < 0.1
    found = np.sqrt(np.diag(strong.estimate.covariance))
    assert_allclose(found / hard_errors, 1, atol=0.02)
    spread = np.sqrt(np.diag(strong.estimate.spread))
    assert_allclose(spread / hard_errors, 1, atol=0.02)


def noisy(exact, weight, rng):
    """Templates with the noise of simulated events of one weight, shared by a cell."""
    channel = exact.channels["Wplus"]
    cells = {}
    for process in channel.processes.values():
        cells.setdefault(process.cell, []).append(process)
    processes, shared = {}, []
    for members in cells.values():
        n = np.array([p.nominal for p in members])
        products = weight * np.einsum("pij,qij->pqij", n, n) / n[0]
        factors = np.linalg.cholesky(
            np.moveaxis(products, (0, 1), (2, 3))
            + 1e-9 * weight * n[0][..., None, None] * np.eye(len(n))
        )
        # events that fill all templates of a cell, and others that tell them apart
        own = 0.5 * weight * n[0] * np.eye(len(n))[:, :, None, None]
        noise = np.einsum(
            "ijpq,qij->pij", factors, rng.standard_normal(n.shape)
        ) + np.sqrt(0.5 * weight * n[0]) * rng.standard_normal(n.shape)
        products = products + own
        for i, p in enumerate(members):
            ratio = 1 + noise[i] / p.nominal
            processes[p.name] = replace(
                p,
                nominal=p.nominal * ratio,
                variance=products[i, i],
                variations={k: v * ratio for k, v in p.variations.items()},
            )
        shared.append(SharedEvents(tuple(p.name for p in members), products))
    return replace(
        exact,
        channels={"Wplus": replace(channel, processes=processes, shared=tuple(shared))},
    )


def test_only_the_corrected_fit_has_slope_one():
    """Noisy templates, truth moved inside of the span: the naive fit stays behind."""
    few = toy_maps(absy=(0.0, 1.2, 2.4), qt=(0.0, 6.0, 16.0, 60.0))
    ansatz = Ansatz(
        degrees=dict.fromkeys(("A0", "A2"), Degrees(2, 0))
        | dict.fromkeys(("A1",), Degrees(1, 1))
        | {"A3": Degrees(1, 0), "A4": Degrees(1, 1)}
    )
    smooth = shaped_set(few)
    parameters = build_model(smooth).parameters
    span = build_span(smooth, parameters, ansatz, parameters.start)
    A = few.coefficients.copy()
    A[:5] = (span.basis @ span.factors(span.numbers(parameters.start))).reshape(
        5, *few.sigma.shape
    )
    start = replace(few, coefficients=A)
    moved = A.copy()
    moved[:5] *= 1.5
    # templates of A_i that differ by 10 %
    exact = shaped_set(start, coefficients=moved, events=4e5, contrast=0.1)
    n_poi = parameters.n_poi
    truth = np.concatenate(
        [
            [1.0 if c == 5 else moved[c][y, q]]
            for y, q in np.ndindex(few.sigma.shape)
            for c in (5, 0, 1, 2, 3, 4)
        ]
    )
    rng = np.random.default_rng(11)
    slopes = {"naive": [], "corrected": []}
    pulls = []
    for _ in range(30):
        templates = noisy(exact, 0.2, rng)
        model = build_model(templates)
        counts = rng.poisson(observed(exact, model)).astype(float)
        own = build_span(templates, model.parameters, ansatz, model.parameters.start)
        fit = fit_regularised(model, counts, own, 1e4)
        likelihood = likelihood_at(model, counts, fit.estimate.values)
        found = correct_regularised(
            likelihood, own, 1e4, fit.estimate.values, free=fit.minimum.free
        )
        assert found is not None
        shift = truth - model.parameters.start[:n_poi]
        for name, one in (("naive", fit.estimate), ("corrected", found)):
            away = one.values[:n_poi] - model.parameters.start[:n_poi]
            slopes[name].append(away @ shift / (shift @ shift))
        pulls.append(
            (found.values[:n_poi] - truth) / np.sqrt(np.diag(found.covariance))[:n_poi]
        )
    mean = {name: np.mean(s) for name, s in slopes.items()}
    error = np.std(slopes["corrected"]) / np.sqrt(30)
    assert mean["naive"] < 0.85
    assert abs(mean["corrected"] - 1) < 3 * error
    assert error < 0.05
    # 36 pulls in 30 toys, correlated
    assert np.sqrt(np.mean(np.square(pulls))) == pytest.approx(1, abs=0.15)


def test_a_penalty_is_finite(fitted):
    with pytest.raises(ConfigError, match="finite strength"):
        fit_regularised(*fitted, np.inf)
