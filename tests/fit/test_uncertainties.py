"""Yields and their errors against finite differences, sampling and closed forms."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.fit.conftest import build_set
from wprops.fit.external import Constraint
from wprops.fit.model import build_model, observed
from wprops.fit.run import fit_model
from wprops.fit.uncertainties import prior_covariance, propagate_yields


@pytest.fixture(scope="module")
def fitted(model, template_set):
    minimum = fit_model(model, observed(template_set, model))
    covariance = minimum.covariance(model.parameters.names)
    return minimum.values, covariance


@pytest.fixture(scope="module")
def derivatives(model, fitted):
    """Central differences of the yields of each process, (n_par, …) by channel."""
    values, _ = fitted
    parts = {block.name: [] for block in model.blocks}
    for index in range(len(values)):
        step = np.zeros(len(values))
        step[index] = 1e-4
        high, low = (model.at(values + s * step).yields() for s in (1, -1))
        for name, part in parts.items():
            part.append((high[name] - low[name]) / 2e-4)
    return {name: np.array(part) for name, part in parts.items()}


def errors(derivative, covariance):
    """Of sums over all axes but the first two (parameter, row)."""
    return np.sqrt(np.einsum("ij,ik,kj->j", derivative, covariance, derivative))


def test_errors_are_propagated_through_the_yields(model, fitted, derivatives):
    values, covariance = fitted
    for name, yields in propagate_yields(model, values, covariance).items():
        J = derivatives[name]
        n = len(values)
        expected = model.split(model.expected(values))[name]
        assert_allclose(yields.events, expected, rtol=1e-12)
        total = J.sum(axis=1)
        close = {"rtol": 1e-6}
        got = errors(total.reshape(n, -1), covariance).reshape(yields.errors.shape)
        assert_allclose(yields.errors, got, **close)
        assert_allclose(
            yields.eta_errors, errors(total.sum(axis=2), covariance), **close
        )
        assert_allclose(
            yields.pt_errors, errors(total.sum(axis=1), covariance), **close
        )
        process = J.sum(axis=(2, 3))
        assert_allclose(
            yields.process_errors, errors(process, covariance), rtol=1e-6, atol=1e-8
        )
        whole = errors(process.sum(axis=1)[:, None], covariance)[0]
        assert yields.total_error == pytest.approx(whole, rel=1e-6)


def test_a_group_is_the_sum_of_its_processes_with_their_correlations(
    model, fitted, derivatives
):
    values, covariance = fitted
    yields = propagate_yields(model, values, covariance)["Wminus"]
    assert yields.groups == ("signal", "top", "qcd")
    signal = np.array([name.startswith("W_") for name in yields.processes])
    assert yields.group_events[0] == pytest.approx(yields.process_events[signal].sum())
    assert yields.group_events.sum() == pytest.approx(yields.events.sum())
    J = derivatives["Wminus"].sum(axis=(2, 3))[:, signal].sum(axis=1)
    expected = errors(J[:, None], covariance)[0]
    assert yields.group_errors[0] == pytest.approx(expected, rel=1e-6)
    # cross sections are anticorrelated: the sum is known best
    assert yields.group_errors[0] < yields.process_errors[signal].max()
    # nothing acts on this background
    assert yields.group_errors[2] == 0


def test_the_fit_knows_the_total_to_the_root_of_its_data(model, fitted, template_set):
    values, covariance = fitted
    for name, yields in propagate_yields(model, values, covariance).items():
        # templates weigh a quarter of an event: variance of n + v/4
        data = template_set.channels[name].data.sum()
        assert yields.total_error == pytest.approx(np.sqrt(1.25 * data), rel=0.15)


def test_norms_give_the_error_before_the_fit(model):
    start = model.parameters.start
    free = np.ones(len(start), dtype=bool)
    free[model.parameters.index("Wplus/muon_scale")] = False
    covariance = prior_covariance(model, free)
    assert not covariance[: model.parameters.n_poi].any()
    assert not covariance[model.parameters.index("mw")].any()
    yields = propagate_yields(model, start, covariance)["Wplus"]
    top = yields.processes.index("top")
    # 6 % of the cross section and 2.5 % of the luminosity
    norm = np.hypot(np.log(1.06), np.log(1.025)) * yields.process_events[top]
    assert yields.process_errors[top] == pytest.approx(norm, rel=1e-12)


def test_errors_before_the_fit_are_those_of_sampled_parameters(model):
    rng = np.random.default_rng(3)
    start = model.parameters.start
    free = np.ones(len(start), dtype=bool)
    covariance = prior_covariance(model, free)
    yields = propagate_yields(model, start, covariance)
    constrained = model.parameters.precision > 0
    totals = {name: [] for name in yields}
    for _ in range(1000):
        values = start + constrained * rng.standard_normal(len(start))
        for name, events in model.at(values).yields().items():
            totals[name].append(events.sum(axis=(1, 2)))
    for name, samples in totals.items():
        # 1000 samples know a width to 2.2 %; curvature adds some per mille
        spread = np.std(samples, axis=0)
        assert_allclose(spread, yields[name].process_errors, rtol=0.09, atol=1e-6)
        whole = np.std(np.sum(samples, axis=1))
        assert whole == pytest.approx(yields[name].total_error, rel=0.09)


def test_external_measurements_of_nuisances_count_before_the_fit():
    templates = build_set(n_cells=1)
    constraint = Constraint([{"lumi": 1.0}], [0.0], [[1.0]])
    model = build_model(templates, constraints=[constraint])
    free = np.ones(len(model.parameters), dtype=bool)
    index = model.parameters.index("lumi")
    assert prior_covariance(model, free)[index, index] == pytest.approx(0.5)
    free[index] = False
    assert not prior_covariance(model, free)[index].any()


def test_the_noise_is_that_of_the_templates(model, template_set):
    start = model.parameters.start
    yields = propagate_yields(model, start, np.zeros((len(start), len(start))))
    for name, channel in template_set.channels.items():
        assert_allclose(yields[name].noise ** 2, channel.total()[1], rtol=1e-12)
        assert not yields[name].errors.any()
