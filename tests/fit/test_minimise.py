from dataclasses import replace

import numpy as np
import pytest
from iminuit import Minuit
from numpy.testing import assert_allclose

from tests.fit.conftest import build_set, single_set
from wprops.channels import Process
from wprops.errors import FitError
from wprops.fit.likelihood import Likelihood, relative_variance
from wprops.fit.minimise import minimise
from wprops.fit.model import build_model, observed
from wprops.fit.run import fit_model
from wprops.systematics.declaration import Systematic


def signal(name, nominal, variance=None):
    nominal = np.atleast_2d(np.asarray(nominal, dtype=float))
    spread = np.zeros_like(nominal) if variance is None else np.atleast_2d(variance)
    return Process(name, "signal", nominal, spread, component="UL", cell=(0, 0))


def test_one_bin_has_the_analytic_solution():
    templates = single_set({"W": signal("W", [80.0])})
    minimum = fit_model(build_model(templates), np.array([100.0]))
    # NLL μT − n ln μT: minimum n/T and curvature n/μ² = T²/n there; both are
    # reached to the square root of twice the tolerated distance, 1e-4 of an error
    assert_allclose(minimum.values, 1.25, atol=1e-4 * 0.125)
    assert_allclose(minimum.hessian, 6400 / 100, rtol=1e-4)
    assert minimum.nll == pytest.approx(0.0, abs=1e-8)


def test_one_bin_with_template_noise_has_the_propagated_error():
    templates = single_set({"W": signal("W", [80.0], [[160.0]])})
    minimum = fit_model(build_model(templates), np.array([100.0]))
    # relative variances add: 1/n of the data and v/ν² of the template
    relative = 1 / 100 + 160 / 80**2
    assert_allclose(1 / minimum.hessian, 1.25**2 * relative, rtol=1e-3)


def test_a_norm_nuisance_shares_the_deviation_with_its_constraint():
    top = Process("top", "background", np.array([[1e4]]), np.array([[0.0]]))
    systematic = Systematic(
        name="norm",
        kind="norm",
        processes=frozenset({"top"}),
        group="norm",
        size=np.exp(0.01),
    )
    model = build_model(single_set({"top": top}, systematics=(systematic,)))
    minimum = fit_model(model, np.array([1e4 * np.exp(0.01)]))
    # 1σ of the norm is 1σ of the data: to leading order half a σ each way
    assert_allclose(minimum.values, 0.5, atol=0.01)
    theta = minimum.values[0]
    nu = 1e4 * np.exp(0.01 * theta)
    assert 0.01 * (nu - 1e4 * np.exp(0.01)) + theta == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("barlow_beeston", [False, True])
def test_the_minimum_is_the_one_of_minuit(barlow_beeston):
    templates = build_set(n_cells=1)
    model = build_model(templates)
    start = model.parameters.start
    relative = relative_variance(model, start) * barlow_beeston
    likelihood = Likelihood(model, observed(templates, model), relative, start)
    minimum = minimise(likelihood, start)

    def nll(values):
        point = likelihood.at(values)
        return 1e10 if point is None else point.value

    minuit = Minuit(nll, start, name=model.parameters.names)
    minuit.errordef = Minuit.LIKELIHOOD
    minuit.strategy = 1
    minuit.tol = 1e-4
    minuit.migrad(ncall=20_000)
    minuit.hesse()
    errors = np.sqrt(np.diag(np.linalg.inv(minimum.hessian)))
    assert minimum.nll <= minuit.fval + 1e-8
    assert_allclose(minuit.fval, minimum.nll, atol=1e-4)
    assert (abs(np.array(minuit.values) - minimum.values) < 0.01 * errors).all()
    # hesse differentiates numerically, and at its own minimum
    assert_allclose(np.array(minuit.errors), errors, rtol=0.01)


def test_the_result_does_not_depend_on_the_order_of_bins_and_processes():
    templates = build_set()
    turned = {
        name: replace(
            channel,
            data=channel.data[::-1],
            processes={
                key: replace(
                    p,
                    nominal=p.nominal[::-1],
                    variance=p.variance[::-1],
                    variations={k: v[::-1] for k, v in p.variations.items()},
                )
                for key, p in reversed(channel.processes.items())
            },
            shared=tuple(
                replace(s, products=s.products[:, :, ::-1]) for s in channel.shared
            ),
        )
        for name, channel in templates.channels.items()
    }
    other = replace(templates, channels=turned)
    models = build_model(templates), build_model(other)
    fits = [
        fit_model(model, observed(t, model))
        for model, t in zip(models, (templates, other), strict=True)
    ]
    order = [models[0].parameters.index(n) for n in models[1].parameters.names]
    # rounding, enlarged by the condition number of the Hessian of about 1e4
    assert_allclose(fits[1].values, fits[0].values[order], atol=1e-9)
    assert fits[1].nll == pytest.approx(fits[0].nll, abs=1e-9)


def test_a_far_start_is_brought_back(model, template_set):
    start = model.parameters.start
    data = observed(template_set, model)
    likelihood = Likelihood(model, data, relative_variance(model, start), start)
    far = start.copy()
    far[:12] = 4.0
    far[12:] = 2.5
    near = minimise(likelihood, start)
    assert minimise(likelihood, far).nll == pytest.approx(near.nll, abs=1e-7)


def test_refreshes_have_converged(model, template_set):
    data = observed(template_set, model)
    minimum = fit_model(model, data)
    relative = relative_variance(model, minimum.values)
    likelihood = Likelihood(model, data, relative, model.parameters.start)
    again = minimise(likelihood, minimum.values, tolerance=1e-14)
    errors = np.sqrt(np.diag(np.linalg.inv(minimum.hessian)))
    assert (abs(again.values - minimum.values) < 1e-3 * errors).all()


def test_flat_directions_are_named():
    shape = np.array([10.0, 20.0, 30.0])
    templates = single_set({"W_a": signal("W_a", shape), "W_b": signal("W_b", shape)})
    message = r"cannot determine 1 combinations .*\+0.71 Wplus/W_\w -0.71 Wplus/W_\w;"
    with pytest.raises(FitError, match=message):
        fit_model(build_model(templates), 2 * shape)


def test_negative_expectations_at_the_start_are_named():
    templates = single_set({"W": signal("W", [10.0, -2.0])})
    model = build_model(templates)
    with pytest.raises(FitError, match=r"negative number: Wplus \(0, 1\)"):
        fit_model(model, np.array([10.0, 0.0]), barlow_beeston=False)


def test_data_that_pull_an_expectation_to_zero_have_no_minimum():
    # all data in the first bin: the best strength makes the second bin vanish
    templates = single_set(
        {
            "W": signal("W", [50.0, -10.0]),
            "top": Process(
                "top", "background", np.array([[50.0, 20.0]]), np.ones((1, 2))
            ),
        }
    )
    model = build_model(templates)
    with pytest.raises(FitError, match=r"no minimum after \d+ steps: .*smallest bin"):
        fit_model(model, np.array([300.0, 0.0]), barlow_beeston=False)
