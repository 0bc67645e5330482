"""Options of a fit: fixed parameters, masked channels, storage, size."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from benchmarks.full_size_problem import QUARTER, build_problem
from wprops.errors import TemplateError
from wprops.fit.model import build_model, observed
from wprops.fit.run import fit_model, goodness_of_fit


@pytest.fixture(scope="module")
def quarter():
    return build_problem(QUARTER)


def test_fixed_parameters_stay_and_have_no_error(model, template_set):
    data = observed(template_set, model)
    names = model.parameters.names
    fixed = {"mw": 0.4, "Wplus/W_A0_y0_qt1": 0.9}
    minimum = fit_model(model, data, fixed=fixed)
    where = [model.parameters.index(name) for name in fixed]
    assert minimum.values[where].tolist() == [0.4, 0.9]
    covariance = minimum.covariance(names)
    assert not covariance[where].any()
    free = minimum.free
    assert free.sum() == len(names) - 2
    product = covariance[np.ix_(free, free)] @ minimum.hessian[np.ix_(free, free)]
    assert_allclose(product, np.eye(free.sum()), atol=1e-9)
    # at the edm of 1e-8 gradients are below 2e-4 of an inverse error
    pulls = minimum.point.gradient() * np.sqrt(np.diag(covariance))
    assert (abs(pulls) < 2e-4).all()


def test_fixing_at_the_minimum_changes_nothing_but_the_covariance(model, template_set):
    data = observed(template_set, model)
    best = fit_model(model, data, barlow_beeston=False)
    index = model.parameters.index("mw")
    fixed = fit_model(
        model, data, barlow_beeston=False, fixed={"mw": float(best.values[index])}
    )
    assert fixed.nll == pytest.approx(best.nll, abs=1e-7)
    # the conditional covariance is that of a Gaussian
    full = best.covariance(model.parameters.names)
    column = full[index]
    expected = full - np.outer(column, column) / column[index]
    got = fixed.covariance(model.parameters.names)
    assert_allclose(got, expected, atol=1e-4 * np.diag(full).max())
    assert goodness_of_fit(model, fixed).ndf == goodness_of_fit(model, best).ndf + 1


def test_the_profile_is_a_parabola_near_the_minimum(model, template_set):
    data = observed(template_set, model)
    best = fit_model(model, data, barlow_beeston=False)
    index = model.parameters.index("mw")
    error = np.sqrt(best.covariance(model.parameters.names)[index, index])
    away = {"mw": float(best.values[index] + 0.1 * error)}
    profiled = fit_model(model, data, barlow_beeston=False, fixed=away)
    # ½ δ² with third derivatives of relative size δ
    assert profiled.nll - best.nll == pytest.approx(0.5 * 0.1**2, rel=0.05)


def test_all_parameters_can_be_fixed(model, template_set):
    data = observed(template_set, model)
    start = model.parameters.start
    values = dict(zip(model.parameters.names, start.tolist(), strict=True))
    minimum = fit_model(model, data, fixed=values, barlow_beeston=False)
    assert (minimum.values == start).all()
    assert not minimum.covariance(model.parameters.names).any()


def test_an_unknown_fixed_parameter_is_named(model, template_set):
    with pytest.raises(TemplateError, match="no parameter 'mz'"):
        fit_model(model, observed(template_set, model), fixed={"mz": 0.0})


def test_a_fit_can_begin_elsewhere(model, template_set):
    data = observed(template_set, model)
    start = model.parameters.start + 0.1
    first, second = fit_model(model, data), fit_model(model, data, start=start)
    assert second.nll == pytest.approx(first.nll, abs=1e-6)


def without_data(templates, name):
    channel = replace(templates.channels[name], data=None)
    return replace(templates, channels={**templates.channels, name: channel})


def test_a_masked_channel_is_predicted_and_not_fitted(template_set):
    systematics = tuple(replace(s, constrained=True) for s in template_set.systematics)
    templates = replace(template_set, systematics=systematics)
    alone = build_model(templates, channels=["Wplus"])
    # only nuisance parameters are left of the masked channel
    background = {
        name: replace(process, role="background")
        for name, process in templates.channels["Wminus"].processes.items()
    }
    masked = replace(templates.channels["Wminus"], processes=background)
    both = replace(templates, channels={**templates.channels, "Wminus": masked})
    model = build_model(without_data(both, "Wminus"), masked=["Wminus"])
    fits = [
        fit_model(m, observed(without_data(both, "Wminus"), m)) for m in (alone, model)
    ]
    for name, value in zip(alone.parameters.names, fits[0].values, strict=True):
        got = fits[1].values[model.parameters.index(name)]
        assert got == pytest.approx(value, abs=1e-9)
    assert fits[1].nll == pytest.approx(fits[0].nll, abs=1e-9)
    gofs = [goodness_of_fit(m, f) for m, f in zip((alone, model), fits, strict=True)]
    assert gofs[0].ndf == gofs[1].ndf
    predicted = model.split(model.expected(fits[1].values))["Wminus"]
    assert (predicted > 0).all()


def test_a_strength_that_only_a_masked_channel_has_is_refused(template_set):
    with pytest.raises(TemplateError, match="no sensitivity to 'Wminus/W_UL"):
        build_model(template_set, masked=["Wminus"])


def test_masked_channels_have_to_be_some_of_the_model(template_set):
    with pytest.raises(TemplateError, match="masked channels Wzero are not in"):
        build_model(template_set, masked=["Wzero"])
    with pytest.raises(TemplateError, match="no channel to fit"):
        build_model(template_set, masked=["Wplus", "Wminus"])


def test_single_precision_moves_a_result_by_less_than_1e_5_of_its_error(quarter):
    results = []
    for storage in (np.float32, np.float64):
        model = build_model(quarter, storage=storage)
        minimum = fit_model(model, observed(quarter, model))
        covariance = minimum.covariance(model.parameters.names)
        # a last Newton step: the distance left at the end of a fit is larger
        values = minimum.values - covariance @ minimum.point.gradient()
        results.append((values, np.sqrt(np.diag(covariance))))
    (single, errors_single), (double, errors) = results
    # coefficients are rounded by 6e-8, strengths of several hundred enlarge that
    assert (abs(single - double) < 1e-5 * errors).all()
    assert np.median(abs(single - double) / errors) < 1e-6
    assert_allclose(errors_single, errors, rtol=1e-6)
    # and it is not the same number twice
    assert (single != double).any()


def test_the_synthetic_measurement_has_its_sizes_and_signs(quarter):
    model = build_model(quarter)
    assert model.n_bins == 720
    assert len(model.blocks[0].processes) == 114
    assert len(model.parameters) - model.parameters.n_poi == 140
    nominal = quarter.channels["Wplus"].processes["W_A4_y1_qt2"].nominal
    assert nominal.min() < 0 < nominal.max()
    assert quarter.channels["Wplus"].data.sum() == pytest.approx(1.3e8, rel=1e-3)


def test_a_nearly_degenerate_problem_is_fitted_with_a_sound_minimum(quarter):
    model = build_model(quarter)
    minimum = fit_model(model, observed(quarter, model))
    assert minimum.edm < 1e-8
    scale = np.sqrt(np.diag(minimum.hessian))
    eigenvalues = np.linalg.eigvalsh(minimum.hessian / np.outer(scale, scale))
    assert 0 < eigenvalues[0] < 1e-4
    gof = goodness_of_fit(model, minimum)
    assert gof.p_value > 1e-3


def test_the_pull_of_a_frozen_parameter_is_no_misfit(template_set):
    """Frozen at 3: that its measurement was elsewhere says nothing of the fit."""
    model = build_model(template_set)
    counts, centre = model.expected(model.parameters.start), model.parameters.start
    elsewhere = centre.copy()
    elsewhere[model.parameters.index("lumi")] = 3.0
    found = [
        goodness_of_fit(
            model, fit_model(model, counts, centre=where, fixed={"lumi": 3.0})
        )
        for where in (centre, elsewhere)
    ]
    assert_allclose(found[0].statistic, found[1].statistic, atol=1e-6)
