from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.fit.conftest import build_set
from tests.fit.test_template_noise import RATE, Simulation, folds_of
from wprops.channels import Generated
from wprops.errors import TemplateError
from wprops.fit.absolute import absolute_coefficients
from wprops.fit.derived import derive
from wprops.fit.finite_mc import assess
from wprops.fit.model import build_model, observed
from wprops.fit.run import fit_model
from wprops.fit.template_noise import fold_floor, mass_derivatives, noise_floor


@pytest.fixture(scope="module")
def fits():
    """The set as it is and with absolute strengths."""
    sets = build_set(), absolute_coefficients(build_set())
    models = [build_model(s) for s in sets]
    return [
        (s, m, fit_model(m, observed(s, m), tolerance=1e-14))
        for s, m in zip(sets, models, strict=True)
    ]


def scales(templates, model):
    """Generated coefficient of each strength, 1 for all else."""
    scale = np.ones(len(model.parameters))
    for name, channel in templates.channels.items():
        for key, process in channel.processes.items():
            if process.component in ("A0", "A4"):
                index = model.parameters.index(f"{name}/{key}")
                A = channel.generated.coefficients[int(process.component[1])]
                scale[index] = A[process.cell]
    return scale


def test_strengths_are_coefficients_and_start_at_the_generated_ones(fits):
    (templates, plain, first), (_, model, second) = fits
    scale = scales(templates, plain)
    assert_allclose(model.parameters.start, plain.parameters.start * scale)
    assert_allclose(second.values, first.values * scale, rtol=1e-7)
    covariances = [f.covariance(m.parameters.names) for _, m, f in fits]
    expected = covariances[0] * np.outer(scale, scale)
    # Barlow-Beeston is refreshed at minima that differ by rounding
    assert_allclose(covariances[1], expected, rtol=1e-5, atol=1e-9)
    assert second.nll == pytest.approx(first.nll, abs=1e-9)
    units = dict(zip(model.parameters.names, model.parameters.units, strict=True))
    assert units["Wplus/W_A0_y0_qt1"] == "sigma_UL"
    assert units["Wplus/W_UL_y0_qt1"] == "prediction"


def test_derived_quantities_do_not_change(fits):
    results = [
        derive(s, m.parameters, f.values, f.covariance(m.parameters.names))
        for s, m, f in fits
    ]
    assert results[0].keys() == results[1].keys()
    for name, quantity in results[0].items():
        assert_allclose(results[1][name].values, quantity.values, rtol=1e-7)
        assert_allclose(results[1][name].errors, quantity.errors, rtol=1e-5)


def test_the_verdict_on_the_simulation_does_not_change(fits):
    first, second = (assess(m, f.point) for _, m, f in fits)
    assert_allclose(second.eigenvalues, first.eigenvalues, rtol=1e-5)
    assert_allclose(second.slopes, first.slopes, atol=1e-5)


def set_with_folds():
    """One cell whose derivative in the mass and whose folds are stored."""
    simulation = Simulation(np.random.default_rng(1).poisson(RATE))
    templates = simulation.templates(folds_of(simulation))
    channel = templates.channels["Wplus"]
    generated = Generated(
        qt_edges=np.array([0.0, 8.0]),
        absy_edges=np.array([0.0, 2.4]),
        sigma=np.array([[4000.0]]),
        coefficients=np.full((8, 1, 1), -0.4),
    )
    channels = {"Wplus": replace(channel, generated=generated)}
    return replace(templates, channels=channels)


def test_the_noise_of_the_mass_and_of_the_folds_is_that_of_the_same_events():
    templates = set_with_folds()
    weight = 1 / RATE.sum(axis=1)
    scale = np.array([1.0, -0.4, 1.0])  # UL, A4, mass
    for values in ([1.0, 1.0, 0.0], [1.2, 0.8, 0.5]):
        found = []
        for chosen, point in (
            (templates, np.array(values)),
            (absolute_coefficients(templates), scale * values),
        ):
            model = build_model(chosen)
            derivatives = mass_derivatives(chosen, model)
            floor, score = noise_floor(model, point, weight, derivatives)
            found.append((floor, score, fold_floor(chosen, model, weight, 20)))
        both = np.outer(scale, scale)
        for (first, second), factor in zip(
            zip(*found, strict=True), (both, scale, both), strict=True
        ):
            size = abs(first).max()
            assert_allclose(second * factor, first, rtol=1e-9, atol=1e-9 * size)


def test_a_group_without_derivative_and_folds_stays_without():
    for channel in absolute_coefficients(build_set()).channels.values():
        for group in channel.shared:
            assert group.derivative_products is None
            assert group.folds is None


def test_a_set_with_absolute_strengths_stays_as_it_is(fits):
    templates = fits[1][0]
    assert absolute_coefficients(templates) is templates


def changed(coefficients):
    templates = build_set()
    channel = templates.channels["Wplus"]
    generated = replace(channel.generated, coefficients=coefficients)
    channels = {"Wplus": replace(channel, generated=generated)}
    return replace(templates, channels=channels)


def test_a_coefficient_of_zero_is_named():
    with pytest.raises(TemplateError, match="'W_A0_y0_qt0': the generated"):
        absolute_coefficients(changed(np.zeros((8, 1, 2))))


def test_generated_coefficients_are_needed():
    templates = build_set()
    channel = replace(templates.channels["Wplus"], generated=None)
    unknown = replace(templates, channels={"Wplus": channel})
    with pytest.raises(TemplateError, match="no record of the generated"):
        absolute_coefficients(unknown)
    with pytest.raises(TemplateError, match="no record of what was generated"):
        build_model(replace(unknown, weighting="sigma"))
