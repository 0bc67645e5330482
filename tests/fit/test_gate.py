"""Verdicts on quoted numbers, the declared prior, and growth with the simulation."""

import re
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.fit.cells import shaped_set, toy_maps
from tests.fit.conftest import build_set, single_set
from tests.fit.two_processes import N_BINS, TRUE, X
from wprops.channels import Process
from wprops.errors import ConfigError
from wprops.fit.functionals import functionals, slopes_of
from wprops.fit.gate import METHODS
from wprops.fit.growth import growth
from wprops.fit.model import build_model, observed
from wprops.fit.results import FitResult
from wprops.fit.run import fit_model, run_fit
from wprops.fit.strength_prior import prior_widths

#: Two templates whose information is what it is on average: I + M = 4 M.
AVERAGE = TRUE.mean(axis=0) * np.array(
    [1 + 0.03 * np.sqrt(4 / 3) * X, 1 - 0.03 * np.sqrt(4 / 3) * X]
)


def strengths_only(templates, variances, data=None):
    processes = {
        f"W_{i}": Process(
            f"W_{i}", "signal", t[None], v[None], component="UL", cell=(0, i)
        )
        for i, (t, v) in enumerate(zip(templates, variances, strict=True))
    }
    return single_set(processes, data=None if data is None else data[None])


@pytest.fixture(scope="module")
def average():
    counts = np.round(AVERAGE.sum(axis=0))
    return run_fit(strengths_only(AVERAGE, TRUE, counts))


def test_three_fits_stand_side_by_side(average):
    gate = average.gate
    assert gate.names == average.names
    # errors of the two processes: naive, Barlow-Beeston, corrected
    assert METHODS == ("naive", "Barlow-Beeston", "corrected")
    assert_allclose(gate.errors[:, 0], [0.0354, 0.0500, 0.0667], rtol=0.01)
    assert_allclose(gate.errors[1], average.errors, rtol=1e-12)
    assert_allclose(gate.values[1], average.values, rtol=1e-12)
    assert_allclose(gate.values[2], average.finite_mc.values, rtol=1e-12)
    assert gate.verdicts == ("limited",) * 2
    assert_allclose(gate.eigenvalues, 4.0, rtol=2e-3)
    assert_allclose(gate.needed, 1.0, rtol=2e-3)
    assert not gate.weak.any()


def test_the_response_of_a_number_is_that_along_its_profile(average):
    """Strengths move against each other, where the data constrain them least."""
    assert_allclose(average.gate.slopes, 0.75, rtol=2e-3)
    # alone, half of a move is in the well-known sum
    assert_allclose(average.finite_mc.slopes, 0.875, rtol=2e-3)
    inverse, floor = np.diag([1.0, 1.0, 0.0]), np.diag([0.25, 0.0, 0.0])
    gradients = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert_allclose(slopes_of(gradients, inverse, floor), [1 - 0.25 / 2, 0.75, 1.0])


def test_the_error_is_split_into_data_and_simulation(average):
    data, simulation, constraints = average.gate.parts[:, 0]
    assert data + simulation == pytest.approx(average.gate.errors[2, 0] ** 2, rel=1e-9)
    assert constraints == 0
    # ν and v are equal: of I⁻¹ + I⁻¹MI⁻¹ with I = 3 M the data have I⁻¹/2
    assert data / (data + simulation) == pytest.approx(0.5 / (1 + 1 / 3), rel=0.01)


def test_errors_and_responses_grow_with_the_simulation(average):
    templates = strengths_only(AVERAGE, TRUE)
    model = build_model(templates)
    point = fit_model(model, AVERAGE.sum(axis=0)).point
    numbers = functionals(templates, model.parameters)
    found = growth(model, point, numbers, factors=(1.0, 10.0))
    assert found.factors.tolist() == [1, 10, np.inf]
    assert_allclose(found.naive[:, 0], [0.0354, 0.0402, 0.0408], rtol=0.01)
    assert_allclose(found.barlow_beeston[:, 0], [0.0500, 0.0421, 0.0408], rtol=0.01)
    assert_allclose(found.corrected[:, 0], [0.0667, 0.0435, 0.0408], rtol=0.01)
    assert_allclose(found.slopes[:, 0], [3 / 4, 30 / 31, 1], rtol=0.01)
    # at the size at hand it is the statement on the fit
    assert_allclose(found.corrected[0], average.gate.errors[2], rtol=1e-3)
    rows = list(found.rows())
    assert len(rows) == 2 * 3
    assert rows[1]["quantity"] == "Wplus/W_0"
    assert rows[1]["simulation"] == 10
    assert rows[1]["corrected"] == found.corrected[1, 0]


def test_templates_without_noise_have_the_information_that_they_show(average):
    templates = strengths_only(TRUE, TRUE)
    model = build_model(templates)
    point = fit_model(model, TRUE.sum(axis=0)).point
    numbers = functionals(templates, model.parameters)
    found = growth(model, point, numbers, factors=(1.0,), exact=True)
    assert_allclose(found.corrected[0], average.gate.errors[2], rtol=1e-3)
    assert_allclose(found.slopes[0], 0.75, rtol=1e-3)
    assert_allclose(found.naive[1], 0.0408, rtol=1e-2)


def test_growth_of_noise_is_not_known():
    rng = np.random.default_rng(2)
    T = rng.poisson(np.full((12, N_BINS), 500.0)).astype(float)
    templates = strengths_only(T, T)
    model = build_model(templates)
    point = fit_model(model, T.sum(axis=0)).point
    found = growth(model, point, functionals(templates, model.parameters))
    assert np.isnan(found.corrected).all()
    assert np.isnan(found.naive).all()


def same_twice(seed):
    """Two templates of one shape, and counts: λ of their difference is near 1."""
    rng = np.random.default_rng(seed)
    T = rng.poisson(np.full((2, N_BINS), 5e3)).astype(float)
    return strengths_only(T, T, rng.poisson(np.full(N_BINS, 1e4)).astype(float))


def test_growth_of_a_fluctuation_is_not_known():
    """Half of them have H − M positive definite by chance; none is distinguishable."""
    for seed in range(30):
        templates = same_twice(seed)
        model = build_model(templates)
        point = fit_model(model, observed(templates, model)).point
        numbers = functionals(templates, model.parameters)
        found = growth(model, point, numbers)
        for table in (found.naive, found.barlow_beeston, found.corrected, found.slopes):
            assert np.isnan(table).all(), seed


def test_no_simulation_is_promised_for_what_cannot_be_told_from_noise():
    result = run_fit(same_twice(0))
    assert 1 < result.finite_mc.eigenvalues[0] < 1.3
    assert result.finite_mc.needed is None
    assert np.isinf(result.gate.needed).all()
    assert "times the simulation" not in result.summary()


def lost_pair(k):
    """Two templates of one shape, and one of another, in ten bins."""
    rng = np.random.default_rng(4)
    x = np.linspace(-1, 1, 10)
    true = 5e3 * np.array([np.ones(10), np.ones(10), 1 + 0.8 * x])
    templates = rng.poisson(k * true) / k
    counts = rng.poisson(np.array([1.0, 1.0, 1.2]) @ true).astype(float)
    return strengths_only(templates, templates / k, counts)


def test_a_lost_direction_takes_every_number_with_it():
    result = run_fit(lost_pair(k=100))
    gate = result.gate
    assert result.corrected is None
    assert result.finite_mc.verdict == "undetermined"
    assert set(gate.verdicts) == {"undetermined"}
    assert np.isnan(gate.errors[2]).all()
    assert gate.weak[0] > 0.9
    assert gate.weak[2] < 0.2
    assert np.isinf(gate.needed[0])
    direction = r"\+1.00 Wplus/W_[01] -1.00 Wplus/W_[01]"
    assert re.match(direction, result.finite_mc.lost[0])
    assert "quoted numbers: 3 undetermined" in result.summary()
    assert "noise alone" in result.summary()


def test_a_declared_prior_determines_what_does_not_depend_on_it():
    result = run_fit(lost_pair(k=100), strength_prior=1.0)
    gate = result.gate
    assert gate.prior == 1.0
    assert gate.verdicts == ("undetermined", "undetermined", "sound")
    # the pair takes the width of the prior, the third strength is measured
    assert gate.errors[2, 0] == pytest.approx(1 / np.sqrt(2), rel=0.1)
    assert gate.changes[1, 0] > 0.5
    assert abs(gate.changes[:, 2]).max() < 0.03
    assert abs(gate.values[2, 2] - 1.2) < 4 * gate.errors[2, 2]
    assert gate.parts[2, 0] > 0.5 * gate.errors[2, 0] ** 2
    # the verdict on the fit is without the prior, its values are with it
    assert result.finite_mc.verdict == "undetermined"
    assert result.finite_mc.prior == 1.0
    assert_allclose(result.finite_mc.values, gate.values[2])
    assert "with a declared prior of 1" in result.summary()


def test_a_prior_that_noise_exceeds_rescues_nothing():
    result = run_fit(lost_pair(k=1), strength_prior=1.0)
    assert set(result.gate.verdicts) == {"undetermined"}
    assert result.corrected is None


def test_the_width_is_one_of_coefficients_themselves():
    templates = build_set()
    parameters = build_model(templates).parameters
    widths = prior_widths(templates, parameters, 0.5)
    generated = templates.channels["Wplus"].generated.coefficients
    by_name = dict(zip(parameters.names, widths, strict=False))
    assert by_name["Wplus/W_UL_y0_qt1"] == 0.5
    assert by_name["Wplus/W_A4_y0_qt1"] == pytest.approx(0.5 / generated[4, 0, 1])
    absolute = replace(templates, weighting="sigma")
    assert (prior_widths(absolute, parameters, 0.5) == 0.5).all()
    with pytest.raises(ConfigError, match="width of the prior on strengths is 0;"):
        run_fit(templates, strength_prior=0.0)


def test_a_corrected_fit_that_does_not_settle_is_no_result():
    """Noise like that of the data, and a mass that is hardly measured."""
    result = run_fit(build_set(weight=1.0))
    assert result.finite_mc.verdict == "limited"
    assert result.corrected is None
    assert set(result.gate.verdicts) == {"undetermined"}
    assert "the corrected fit does not settle" in result.summary()
    assert "not to be quoted: undetermined" in result.summary()


@pytest.fixture(scope="module")
def measured():
    return run_fit(build_set(weight=0.02))


def test_all_that_is_derived_is_judged(measured, tmp_path):
    gate = measured.gate
    for name in (
        "m_W",
        "Wplus/sigma/y0_qt1",
        "Wminus/A4/y0_qt0",
        "Wplus/dsigma_dqt/qt0",
    ):
        assert gate.verdicts[gate.index(name)] == "sound"
    for name, quantity in measured.corrected.items():
        assert_allclose(measured.quoted[name].values, quantity.values)
        assert_allclose(measured.quoted[name].covariance, quantity.covariance)
    assert measured.finite_mc.prior is None
    mass = measured.quoted["m_W"]
    text = measured.summary()
    assert f"to quote: {mass.values[0]:.4f} ± {mass.errors[0]:.4f} GeV" in text
    assert f"corrected {mass.values[0]:.5g} ± {mass.errors[0]:.3g}" in text
    assert "7 other nuisance parameters is not known and counts as zero" in text
    index = gate.index("m_W")
    assert gate.errors[2, index] == pytest.approx(mass.errors[0])
    assert gate.errors[1, index] == pytest.approx(measured.derived["m_W"].errors[0])
    assert gate.parts[:, index].sum() == pytest.approx(mass.errors[0] ** 2)
    assert gate.parts[2, index] > 0
    with pytest.raises(ConfigError, match="no quoted number 'm_Z'"):
        gate.index("m_Z")

    measured.write(tmp_path / "fit.h5")
    again = FitResult.read(tmp_path / "fit.h5").gate
    assert again.names == gate.names
    assert again.verdicts == gate.verdicts
    assert again.prior is None
    assert (again.errors == gate.errors).all()


def test_a_mass_far_from_its_templates_is_not_quoted(measured):
    values = measured.values.copy()
    values[measured.parameters.index("mw")] = -237.0
    text = replace(measured, values=values).summary()
    assert "not to be quoted: 237 times as far from the simulated mass" in text
    assert "to quote:" not in text


def test_what_is_undetermined_is_not_quoted(measured):
    gate = measured.gate
    refused = "m_W", "Wplus/A4/y0_qt1"
    verdicts = [
        "undetermined" if name in refused else verdict
        for name, verdict in zip(gate.names, gate.verdicts, strict=True)
    ]
    result = replace(measured, gate=replace(gate, verdicts=tuple(verdicts)))
    assert np.isnan(result.quoted["m_W"].values).all()
    assert np.isnan(result.quoted["m_W"].errors).all()
    found, known = result.quoted["Wplus/A4"], result.corrected["Wplus/A4"]
    assert_array_equal(np.isnan(found.values), [False, True])
    assert_array_equal(np.isnan(found.covariance), [[False, True], [True, True]])
    assert found.values[0] == known.values[0]
    assert found.errors[0] == known.errors[0]
    without = replace(result, corrected=None).quoted
    assert all(np.isnan(quantity.values).all() for quantity in without.values())


def test_what_depends_on_a_prior_is_not_quoted():
    templates = shaped_set(
        toy_maps(absy=(0.0, 1.2, 2.4), qt=(0.0, 10.0, 60.0)), factor=1.02, shift=0.5
    )
    result = run_fit(templates, strength_prior=0.03)
    gate, found = result.gate, set()
    assert set(gate.verdicts) == {"sound", "undetermined"}
    for name, quantity in result.quoted.items():
        for label, value in zip(quantity.labels, quantity.values, strict=True):
            index = gate.index(name if label == name else f"{name}/{label}")
            is_refused = gate.verdicts[index] == "undetermined"
            found.add(is_refused)
            assert_allclose(value, np.nan if is_refused else gate.values[2, index])
    assert found == {True, False}


def test_expected_results_have_corrected_errors_and_no_correction():
    result = run_fit(build_set(weight=0.25), data="asimov")
    assert (result.finite_mc.values == result.values).all()
    index = result.gate.index("m_W")
    naive, lite, corrected = result.gate.errors[:, index]
    assert naive < lite < corrected


def test_a_fit_without_barlow_beeston_stands_beside_one_with_it():
    templates = build_set(weight=0.1)
    first, second = (run_fit(templates, barlow_beeston=b) for b in (True, False))
    scale = first.gate.errors[0]
    assert_allclose(second.gate.values / scale, first.gate.values / scale, atol=2e-3)
    # the effective counts of Barlow-Beeston are those of another point
    assert_allclose(second.gate.errors, first.gate.errors, rtol=2e-3)


def test_what_is_frozen_is_not_quoted():
    result = run_fit(build_set(weight=0.02), freeze={"Wplus/W_*": None, "mw": None})
    names = result.gate.names
    assert not any(name.startswith("Wplus/") for name in names)
    assert "m_W" not in names
    assert "Wminus/A4/y0_qt0" in names
    nothing = run_fit(build_set(weight=0.02), freeze={"*": None})
    assert nothing.gate.names == ()
    assert "quoted numbers" not in nothing.summary()
