from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.fit.conftest import build_set
from wprops.errors import ConfigError, TemplateError
from wprops.fit.external import Constraint
from wprops.fit.likelihood import Likelihood, relative_variance
from wprops.fit.model import build_model, observed
from wprops.fit.pseudo_data import thrower
from wprops.fit.run import fit_model, goodness_of_fit
from wprops.fit.toys import Experiment, run_ensemble

POIS = ("Wplus/W_A0_y0_qt0", "Wplus/W_A4_y0_qt0")
COMBINATIONS = ({POIS[0]: 1.0, POIS[1]: -2.0}, {POIS[1]: 1.0, "mw": 0.5})
COVARIANCE = np.array([[0.02, 0.005], [0.005, 0.01]])
CONSTRAINT = Constraint(COMBINATIONS, [-0.9, 1.1], COVARIANCE)


@pytest.fixture(scope="module")
def templates():
    return build_set(n_cells=1)


def test_a_constrained_parameter_is_a_free_one_with_an_external_measurement(templates):
    declared = build_model(templates)
    free = tuple(
        replace(s, constrained=False) if s.name == "lumi" else s
        for s in templates.systematics
    )
    external = build_model(
        replace(templates, systematics=free),
        constraints=[Constraint([{"lumi": 1.0}], [0.0], [[1.0]])],
    )
    assert (
        external.parameters.precision.sum() == declared.parameters.precision.sum() - 1
    )
    fits = [fit_model(m, observed(templates, m)) for m in (declared, external)]
    assert_allclose(fits[1].values, fits[0].values, atol=1e-12)
    assert_allclose(fits[1].hessian, fits[0].hessian, rtol=1e-12)
    gof = [
        goodness_of_fit(m, f) for m, f in zip((declared, external), fits, strict=True)
    ]
    assert gof[0] == gof[1]


def test_an_external_measurement_of_data_that_agree_is_a_weighted_mean(templates):
    plain = build_model(templates)
    counts = plain.expected(plain.parameters.start)
    before = fit_model(plain, counts, barlow_beeston=False)
    model = build_model(templates, constraints=[CONSTRAINT])
    L = model.external.combinations
    after = fit_model(
        model, counts, barlow_beeston=False, external=L @ plain.parameters.start
    )
    # with nothing pulled, the information of the measurement adds to the other
    expected = before.hessian + L.T @ np.linalg.inv(COVARIANCE) @ L
    assert_allclose(after.values, before.values, atol=1e-9)
    assert_allclose(after.hessian, expected, rtol=1e-9, atol=1e-9)


def test_derivatives_contain_the_external_term(templates):
    model = build_model(templates, constraints=[CONSTRAINT])
    start = model.parameters.start
    data, relative = observed(templates, model), relative_variance(model, start)
    likelihood = Likelihood(model, data, relative, start)
    x = start + 0.1
    point = likelihood.at(x)
    residual = model.external.combinations @ x - [-0.9, 1.1]
    term = 0.5 * residual @ np.linalg.solve(COVARIANCE, residual)
    without = build_model(templates)
    plain = Likelihood(without, data, relative, start).at(x)
    assert point.value == pytest.approx(plain.value + term, rel=1e-13)
    for k in range(len(x)):
        step = np.zeros_like(x)
        step[k] = 1e-5
        up, down = likelihood.at(x + step), likelihood.at(x - step)
        # values of about 1e4 with rounding 1e-12/1e-5
        slope = (up.value - down.value) / 2e-5
        assert point.gradient()[k] == pytest.approx(slope, rel=1e-6, abs=1e-5)


def test_toys_throw_the_external_measurements(templates):
    model = build_model(templates, channels=["Wplus"], constraints=[CONSTRAINT])
    start = model.parameters.start
    source = thrower(model, start, 2)
    thrown = np.array([source.throw(i).external for i in range(4000)])
    mean = model.external.combinations @ start
    spread = np.sqrt(np.diag(COVARIANCE))
    assert (abs(thrown.mean(axis=0) - mean) < 4 * spread / np.sqrt(4000)).all()
    # 4 standard errors of a variance or covariance
    assert_allclose(np.cov(thrown.T), COVARIANCE, atol=4 * 0.02 * np.sqrt(2 / 4000))
    ensemble = run_ensemble(Experiment(source), range(100))
    assert not ensemble.failures
    assert (abs(ensemble.pulls.std(axis=0) - 1) < 4 / np.sqrt(200)).all()


@pytest.mark.parametrize(
    ("constraint", "error", "message"),
    [
        (Constraint([{"mz": 1.0}], [0.0], [[1.0]]), TemplateError, "no parameter 'mz'"),
        (Constraint([{"mw": 1.0}], [0.0, 1.0], [[1.0]]), ConfigError, "1 combinations"),
        (Constraint([{"mw": 1.0}], [0.0], [[-1.0]]), ConfigError, "positive definite"),
        (Constraint([{"mw": 1.0}], [np.nan], [[1.0]]), ConfigError, "mw needs finite"),
        (
            Constraint([{"mw": 1.0}, {"lumi": 1.0}], [0, 0], [[1, 0.5], [0, 1]]),
            ConfigError,
            "symmetric",
        ),
    ],
)
def test_impossible_constraints_are_named(templates, constraint, error, message):
    with pytest.raises(error, match=message):
        build_model(templates, constraints=[constraint])
