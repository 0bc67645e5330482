from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.testing import assert_allclose

from tests.fit.cells import shaped_set, toy_maps
from wprops.cli import main
from wprops.errors import ConfigError, TemplateError
from wprops.fit.ansatz import Ansatz, Degrees
from wprops.fit.regularise import regularise
from wprops.fit.regularised import Regularised
from wprops.fit.results import BLINDING, FitResult
from wprops.fit.run import run_fit

GENERATED = toy_maps(absy=(0.0, 0.8, 1.6, 2.4), qt=(0.0, 4.0, 10.0, 20.0, 60.0))
ANSATZ = Ansatz(
    degrees=dict.fromkeys(("A0", "A1", "A2", "A3"), Degrees(2, 1))
    | {"A4": Degrees(2, 2)}
)


@pytest.fixture(scope="module")
def templates():
    """Data with Poisson noise of a truth that is not the generated one."""
    A = GENERATED.coefficients.copy()
    A[4] *= 1.1
    clean = shaped_set(GENERATED, coefficients=A, factor=1.02, shift=0.5)
    channel = clean.channels["Wplus"]
    counts = np.random.default_rng(3).poisson(channel.data).astype(float)
    return replace(clean, channels={"Wplus": replace(channel, data=counts)})


@pytest.fixture(scope="module")
def result(templates):
    return run_fit(templates)


@pytest.fixture(scope="module")
def smooth(templates, result):
    return regularise(templates, result, ansatz=ANSATZ)


def test_both_results_stand_side_by_side(templates, result, smooth):
    assert smooth.source == "corrected"
    assert set(smooth.free) == set(smooth.derived) == set(smooth.quality)
    for name, quantity in smooth.derived.items():
        assert_allclose(smooth.free[name].values, result.corrected[name].values)
        assert (quantity.errors <= smooth.free[name].errors * (1 + 1e-6)).all()
    assert smooth.n_numbers == 72
    assert smooth.n_smooth == 12 + 4 + 2 + 4 + 4 + 6
    assert smooth.n_effective == pytest.approx(smooth.n_smooth, abs=1e-6)
    assert smooth.gof.ndf == 72 - smooth.n_smooth
    assert smooth.gof.p_value > 0.001
    text = smooth.summary()
    for wanted in ("Wplus/A4", "effective of 72", "m_W without", "m_W with", "χ² ="):
        assert wanted in text


def test_the_truth_is_found_with_the_expected_bias(templates, smooth):
    truth = templates.truth.channels["Wplus"]
    assert smooth.truth == "truth"
    found = {"sigma": truth.sigma, "A4": truth.coefficients[4]}
    for name, true in found.items():
        quantity, quality = (
            m[f"Wplus/{name}"] for m in (smooth.derived, smooth.quality)
        )
        pulls = (quantity.values - quality.bias - true.ravel()) / quantity.errors
        assert abs(pulls).max() < 4
    mass = smooth.derived["m_W"]
    assert abs(mass.values[0] - templates.truth.boson_mass) < 4 * mass.errors[0]
    # the default truth of A1 is not of these degrees: its bias is known, and not zero
    biased = abs(smooth.quality["Wplus/A1"].bias / smooth.derived["Wplus/A1"].errors)
    assert biased.max() > 1


def test_without_a_truth_the_bias_is_that_of_generated_values(templates, result):
    blank = replace(templates, truth=None)
    found = regularise(blank, result, ansatz=ANSATZ)
    assert found.truth == "generated"
    assert found.quality["Wplus/A4"].bias.any()


def test_the_bias_of_expected_data_is_that_of_generated_values(templates):
    """They are made there, whatever the truth of the pseudo-data in the file."""
    expected = run_fit(templates, data="asimov")
    found = regularise(templates, expected, ansatz=ANSATZ)
    assert found.truth == "generated"
    # what was fitted has no noise, so that the bias is all that differs
    for name, quantity in found.derived.items():
        moved = quantity.values - expected.derived[name].values
        away = (moved - found.quality[name].bias) / quantity.errors
        assert_allclose(away, 0, atol=0.05)


def test_expected_data_have_corrected_errors_and_no_correction():
    """Simulation as large as the data, and a penalty that leaves what was fitted."""
    clean = shaped_set(GENERATED)
    channel = clean.channels["Wplus"]
    processes = {
        name: replace(process, variance=1e6 * process.variance)
        for name, process in channel.processes.items()
    }
    noisy = replace(clean, channels={"Wplus": replace(channel, processes=processes)})
    expected = run_fit(noisy, data="asimov")
    found = regularise(noisy, expected, ansatz=ANSATZ, strength=1.0, simultaneous=True)
    assert found.source == "corrected"
    errors = np.sqrt(np.diag(found.covariance))
    assert_allclose((found.values - expected.values) / errors, 0, atol=0.01)
    assert (errors > expected.errors * (1 + 1e-3)).any()


def test_a_result_with_a_declared_prior_is_refused(templates):
    declared = run_fit(templates, strength_prior=0.03)
    assert declared.provenance["fit"]["strength_prior"] == 0.03
    for simultaneous in (False, True):
        with pytest.raises(ConfigError, match=r"of 0.03 .* fit without a prior"):
            regularise(templates, declared, strength=1e3, simultaneous=simultaneous)


def test_simultaneous_and_post_fit_agree_where_the_likelihood_is_a_parabola(
    templates, result
):
    both = [
        regularise(templates, result, ansatz=ANSATZ, strength=1e3, simultaneous=s)
        for s in (False, True)
    ]
    assert [r.kind for r in both] == ["post-fit", "simultaneous"]
    errors = np.sqrt(np.diag(both[0].covariance))
    assert_allclose((both[1].values - both[0].values) / errors, 0, atol=0.1)
    assert both[1].n_effective == pytest.approx(both[0].n_effective, abs=0.5)
    assert 32 < both[0].n_effective < 72
    assert both[1].penalty == pytest.approx(both[0].penalty, rel=0.1)
    for name, quality in both[0].quality.items():
        assert_allclose(both[1].quality[name].spread, quality.spread, rtol=0.05)
        assert (quality.spread <= both[0].derived[name].errors * (1 + 1e-9)).all()


def test_the_default_of_few_bins_and_lam_tung(templates, result):
    found = regularise(templates, result)
    assert found.degrees["A4"] == Degrees(3, 3)
    shared = regularise(templates, result, ansatz=replace(ANSATZ, lam_tung=True))
    assert_allclose(
        shared.derived["Wplus/A0"].values, shared.derived["Wplus/A2"].values, atol=1e-6
    )
    assert shared.n_smooth == 28


def test_degrees_can_be_searched(templates, result):
    found = regularise(templates, result, ansatz=ANSATZ, search=True)
    assert all(c.p_value > 0.001 for c in found.comparisons)
    assert found.gof.p_value > 1e-3
    assert found.n_smooth < 72


def test_a_file_gives_back_what_was_written(smooth, tmp_path):
    path = tmp_path / "regularised.h5"
    smooth.write(path)
    again = Regularised.read(path)
    assert again.summary() == smooth.summary()
    assert again.degrees == smooth.degrees
    assert_allclose(again.spread, smooth.spread, rtol=0)
    assert_allclose(again.factors.covariance, smooth.factors.covariance, rtol=0)
    assert again.comparisons == smooth.comparisons


def test_foreign_templates_and_blind_results_are_refused(templates, result):
    other = shaped_set(GENERATED, seed=9)
    with pytest.raises(TemplateError, match="made with other templates"):
        regularise(other, result)
    blind = replace(result, provenance={**result.provenance, BLINDING: {}})
    with pytest.raises(ConfigError, match="blind"):
        regularise(templates, blind)
    with pytest.raises(ConfigError, match="finite strength"):
        regularise(templates, result, ansatz=ANSATZ, simultaneous=True)


def test_the_command(templates, result, smooth, tmp_path):
    files = [str(tmp_path / name) for name in ("fit.h5", "templates.h5", "out.h5")]
    result.write(tmp_path / "fit.h5")
    templates.write(tmp_path / "templates.h5")
    degrees = [f"--degrees={n}={d.qt},{d.absy}" for n, d in ANSATZ.degrees.items()]
    run = CliRunner().invoke(main, ["regularise", *files[:2], "-o", files[2], *degrees])
    assert run.exit_code == 0, run.output
    assert run.output == smooth.summary() + "\n"
    assert_allclose(Regularised.read(tmp_path / "out.h5").values, smooth.values)
    assert FitResult.read(tmp_path / "fit.h5").names == result.names
    wrong = CliRunner().invoke(main, ["regularise", *files[:2], "--degrees", "A4=3"])
    assert wrong.exit_code == 2
    assert "not NAME=QT,Y" in wrong.output
