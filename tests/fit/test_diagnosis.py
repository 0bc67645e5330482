"""What the diagnosis says of broken models, and of sound ones."""

import contextlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.testing import assert_allclose

from tests.fit.conftest import single_set
from wprops.channels import Process, SharedEvents
from wprops.cli import main
from wprops.errors import FitError, TemplateError
from wprops.fit.arrays import template_set as arrays
from wprops.fit.diagnosis import diagnose, explain_failure
from wprops.fit.findings import Finding, ordered, table, to_json
from wprops.fit.inspection import inspect
from wprops.fit.model import build_model, observed
from wprops.fit.run import fit_model, likelihood_at
from wprops.fit.suspect_parameters import INFORMED, UNINFORMED, extreme_pulls

PAGE = Path(__file__).resolve().parents[2] / "docs/guide/diagnosis.md"
FALLING = 4000 * np.exp(-np.arange(30) / 12)


def found(findings, kind):
    return [finding for finding in findings if finding.kind == kind]


def the(findings, kind):
    (finding,) = found(findings, kind)
    return finding


def fitted(templates, **options):
    model = build_model(templates)
    counts = observed(templates, model)
    return diagnose(model, fit_model(model, counts, **options), templates)


def test_the_page_shows_what_the_diagnosis_says():
    namespace, printed = {}, None
    blocks = re.findall(r"```(python|text)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert sum(kind == "text" for kind, _ in blocks) == 10
    for kind, content in blocks:
        if kind == "text":
            assert content == printed
            continue
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(content, namespace)
        printed = output.getvalue()


def test_a_sound_model_has_no_findings():
    slope = np.linspace(1.01, 0.99, 30)
    templates = arrays(
        signal={"peak": 500 * np.exp(-((np.arange(30) - 15) ** 2) / 8)},
        background={"top": FALLING},
        shapes={"scale": {"top": (FALLING * slope, FALLING / slope)}},
        variance={"top": FALLING / 20},
    )
    assert inspect(templates, data="asimov") == ()
    assert table(()) == "nothing found"


def test_a_measurement_with_all_kinds_of_systematics_has_no_errors(template_set):
    severities = {finding.severity for finding in inspect(template_set, parabola=False)}
    assert "error" not in severities


def test_flat_directions_are_combinations_of_parameters():
    shape = np.array([10.0, 20.0, 30.0])
    templates = arrays(
        signal={"one": shape, "two": shape, "three": shape[::-1]}, background={}
    )
    findings = diagnose(build_model(templates), None, templates)
    finding = the(findings, "flat direction")
    assert finding.severity == "error"
    assert re.fullmatch(r"\+0.71 channel/\w+ -0.71 channel/\w+", finding.where)
    assert "three" not in finding.where


def test_a_fixed_parameter_is_not_flat():
    shape = np.array([10.0, 20.0, 30.0])
    templates = arrays(
        signal={"one": shape, "two": shape}, background={}, data=2.1 * shape
    )
    assert not found(fitted(templates, fixed={"channel/two": 1.0}), "flat direction")


def test_bins_without_simulation_name_the_process_with_the_noise():
    templates = arrays(
        signal={"peak": [50.0, 50.0, 5.0]},
        background={"fakes": [90.0, 30.0, 3.0], "top": [20.0, 20.0, 1.0]},
        variance={
            "fakes": [60.0, 50.0, 150.0],
            "top": [5.0, 1500.0, 0.5],
            "peak": [1.0, 1.0, 1.0],
        },
    )
    findings = diagnose(build_model(templates), None, templates)
    empty = the(findings, "bins without simulation")
    assert empty.where == "channel (0, 2)"
    # 9² events over a variance of 151.5, of which fakes make 150
    assert "0.53 effective" in empty.what
    assert "channel/fakes makes at least 99%" in empty.what
    few = the(findings, "few simulated events")
    # 100² over 1551, of which top makes 1500
    assert (few.where, few.severity) == ("channel (0, 1)", "warning")
    assert "6.4 effective simulated events; channel/top makes at least 96%" in few.what


def test_the_noise_of_shared_events_is_divided_with_its_covariance():
    nominal = np.array([[3.0, 300.0]])
    products = np.array([[9.0, 12.0], [12.0, 25.0]])[:, :, None, None] * np.ones((1, 2))
    processes = {
        name: Process(
            name,
            "signal",
            nominal,
            products[i, i],
            component=component,
            cell=(0, 0),
        )
        for i, (name, component) in enumerate((("UL", "UL"), ("A0", "A0")))
    }
    shared = (SharedEvents(("UL", "A0"), products),)
    templates = single_set(processes, shared=shared)
    findings = diagnose(build_model(templates), None, templates)
    finding = the(findings, "bins without simulation")
    # A0 makes 12 + 25 of 58 in the sum of strengths one
    assert "Wplus/A0 makes at least 63%" in finding.what
    assert f"{6**2 / 58:.2g} effective" in finding.what


def test_bins_are_numbered_in_their_channel(template_set):
    channel = template_set.channels["Wminus"]
    variance = channel.processes["top"].variance.copy()
    variance[4, 5] = 1e9
    top = replace(channel.processes["top"], variance=variance)
    broken = replace(channel, processes={**channel.processes, "top": top})
    templates = replace(
        template_set, channels={**template_set.channels, "Wminus": broken}
    )
    findings = diagnose(build_model(templates), None, templates)
    finding = the(findings, "bins without simulation")
    assert finding.where == "Wminus (4, 5)"
    assert "Wminus/top" in finding.what


def test_a_negative_expectation_names_bin_process_and_parameter():
    templates = arrays(
        signal={"one": [60.0, 5.0], "signed": [50.0, -10.0]},
        background={"top": [50.0, 20.0]},
        data=[300.0, 0.0],
    )
    model = build_model(templates)
    counts = observed(templates, model)
    assert not found(diagnose(model, None, templates), "negative expectation")
    fixed = {"channel/one": 1.0}
    finding = the(
        explain_failure(model, counts, model.parameters.start, fixed=fixed),
        "negative expectation",
    )
    assert finding.where == "channel (0, 1)"
    # a step of 50 (300/160 − 1) + 10 over 50²/160 + 10²/15, 2.4, and 15 − 10·2.4 < 0
    assert "where its first step leads, 1 bin expects no events" in finding.what
    assert "channel/signed is the lowest process, 'channel/signed' does" in finding.what


def test_templates_that_are_negative_at_the_start_name_their_process():
    templates = arrays(
        signal={"signed": [50.0, -30.0]}, background={"top": [50.0, 20.0]}
    )
    finding = the(
        diagnose(build_model(templates), None, templates), "negative expectation"
    )
    assert finding.where == "channel (0, 1)"
    assert "-10 at the lowest; channel/signed is the lowest" in finding.what


def test_a_process_made_negative_names_the_shift_that_did_it():
    shapes = {
        "harmless": {"top": ([101.0, 5.0], [99.0, 5.0])},
        "tail": {"top": ([100.0, 10.0], [100.0, 0.0])},
    }
    templates = arrays(
        signal={},
        background={"top": [100.0, 5.0], "fakes": [200.0, 25.0]},
        data=[300.0, 11.0],
        shapes=shapes,
        interpolation="linear",
    )
    finding = the(fitted(templates), "negative process")
    assert (finding.where, finding.severity) == ("channel/top", "warning")
    assert re.search(r"in channel \(0, 1\), by 'tail' = -2", finding.what)


@pytest.mark.parametrize(("data", "severity"), [(90.0, "note"), (40.0, "warning")])
def test_a_negative_strength_is_judged_by_its_error(data, severity):
    templates = arrays(
        signal={"peak": [50.0]}, background={"top": [100.0]}, data=[data]
    )
    finding = the(fitted(templates), "negative process")
    assert finding.severity == severity
    assert f"by 'channel/peak' = {(data - 100) / 50:.3g}" in finding.what


def test_a_template_that_is_noise_is_told_from_one_that_is_not():
    rng = np.random.default_rng(1)
    templates = arrays(
        signal={"main": FALLING, "rare": 3 * rng.standard_normal(30)},
        background={},
        variance={"main": FALLING, "rare": np.full(30, 9.0)},
    )
    finding = the(
        diagnose(build_model(templates), None, templates), "template of noise"
    )
    assert finding.where == "channel/rare"


def noisy_set(kind, size, rng=None):
    rng = rng or np.random.default_rng(1)
    change = {
        "noise": size * FALLING * rng.standard_normal(30),
        "smooth": size * FALLING * np.linspace(-1, 1, 30),
    }[kind]
    return arrays(
        signal={},
        background={"top": FALLING},
        data=FALLING,
        shapes={"tune": {"top": (FALLING + change, FALLING - change)}},
        variance={"top": FALLING / 10},
    )


@pytest.mark.parametrize(("size", "severity"), [(0.02, "warning"), (1e-4, "note")])
def test_a_noisy_variation_is_as_severe_as_what_it_feigns(size, severity):
    finding = the(fitted(noisy_set("noise", size)), "noisy variation")
    assert (finding.where, finding.severity) == ("tune in channel", severity)
    assert "1 of 1 templates: top (roughness" in finding.what


def test_a_smooth_variation_is_no_noise():
    findings = fitted(noisy_set("smooth", 0.02))
    assert {f.kind for f in findings} <= {"strong constraint"}


def test_a_constraint_from_noise_is_named():
    finding = the(fitted(noisy_set("noise", 0.02)), "noise in a constraint")
    assert finding.where == "tune"
    assert finding.size > 0.5


def test_sides_and_missing_effects_of_variations_are_seen():
    bump = 0.02 * FALLING * np.linspace(0, 1, 30)
    templates = arrays(
        signal={"main": FALLING},
        background={"top": FALLING[::-1]},
        shapes={
            "model": {"main": (FALLING + bump, FALLING + 0.9 * bump)},
            "forgotten": {"top": (FALLING[::-1], FALLING[::-1])},
        },
        variance={"main": FALLING / 10, "top": FALLING[::-1] / 10},
    )
    findings = diagnose(build_model(templates), None, templates)
    assert the(findings, "one-sided variation").where == "model in channel"
    assert the(findings, "variation without effect").where == "forgotten in channel"


def test_pulls_and_constraints_have_their_numbers():
    templates = arrays(
        signal={},
        background={"top": [9000.0, 100.0], "fakes": [100.0, 9000.0]},
        data=[10000.0, 9100.0],
        norms={"top_norm": (1.01, ["top"]), "fakes_norm": (1.5, ["fakes"])},
    )
    model = build_model(templates)
    minimum = fit_model(model, observed(templates, model))
    findings = diagnose(model, minimum, templates)
    pull = the(findings, "extreme pull")
    assert pull.where == "top_norm"
    error = np.sqrt(minimum.covariance(model.parameters.names)[0, 0])
    assert pull.size == pytest.approx(minimum.values[0] / np.sqrt(1 - error**2))
    constraint = the(findings, "strong constraint")
    assert constraint.where == "fakes_norm"
    # to 1/√9100 of the yield, in units of ln 1.5
    assert 1 / constraint.size == pytest.approx(
        1 / np.sqrt(9100) / np.log(1.5), rel=0.02
    )


def test_a_pull_without_information_is_laid_to_the_templates(template_set):
    model = build_model(template_set)
    values, errors = model.parameters.start.copy(), np.ones(len(model.parameters))
    index = model.parameters.index("lumi")
    values[index] = 0.4
    # six nuisance parameters are constrained: 3.1 standard deviations of √0.02
    assert not list(extreme_pulls(model, values, errors, model.parameters.start))
    values[index] = 0.5
    (finding,) = extreme_pulls(model, values, errors, model.parameters.start)
    assert (finding.where, finding.remedy) == ("lumi", UNINFORMED)
    errors[index] = 0.5
    values[index] = 3.0
    (finding,) = extreme_pulls(model, values, errors, model.parameters.start)
    assert finding.remedy == INFORMED


def test_pulls_of_fluctuated_data_are_not_extreme(template_set):
    rng = np.random.default_rng(4)
    model = build_model(template_set)
    expected = model.expected(model.parameters.start)
    for _ in range(5):
        minimum = fit_model(model, rng.poisson(expected).astype(float))
        assert not found(diagnose(model, minimum, template_set), "extreme pull")


def test_degenerate_pairs_are_named_with_their_correlation():
    templates = arrays(
        signal={"low": [1000.0, 2000.0, 3000.0], "high": [1000.0, 2000.0, 3100.0]},
        background={},
        data=[2010.0, 3990.0, 6120.0],
    )
    finding = the(fitted(templates), "degenerate pair")
    assert finding.where == "channel/low and channel/high"
    assert "-0.9999" in finding.what


def test_few_events_are_not_quadratic_and_many_are():
    few = arrays(signal={"peak": [2.0]}, background={}, data=[4.0])
    finding = the(inspect(few), "not quadratic")
    # μT − n ln μ: ±1σ is μ̂ (1 ± 1/2), the rise n [±1/2 − ln(1 ± 1/2)]
    up, down = 4 * (0.5 - np.log(1.5)), 4 * (-0.5 - np.log(0.5))
    assert f"profile rises by {up:.2f} at +1σ and by {down:.2f} at −1σ" in finding.what
    assert finding.severity == "warning"
    many = arrays(signal={"peak": [2.0]}, background={}, data=[4000.0])
    assert not inspect(many)


def test_a_curved_valley_is_not_taken_for_a_wrong_error(template_set):
    findings = found(inspect(template_set), "not quadratic")
    worst = next(f for f in findings if f.where == "alphas")
    assert worst.severity == "note"
    assert "curved valley" in worst.remedy
    model = build_model(template_set)
    counts = observed(template_set, model)
    minimum = fit_model(model, counts)
    values, names = minimum.values, model.parameters.names
    covariance = minimum.covariance(names)
    index = model.parameters.index("alphas")
    step = covariance[index] / np.sqrt(covariance[index, index])
    likelihood = likelihood_at(model, counts, values)
    rise = likelihood.at(values + step).value - likelihood.at(values).value
    assert f"straight line the NLL rises by {rise:.2f} at +1σ" in worst.what


def test_a_step_beyond_the_model_is_said_to_be_out_of_reach():
    templates = arrays(
        signal={"signed": [50.0, -10.0]},
        background={"top": [100.0, 20.0]},
        data=[150.0, 0.0],
    )
    model = build_model(templates)
    minimum = fit_model(model, observed(templates, model))
    error = 1 / np.sqrt(minimum.hessian[0, 0])
    # 40 − 50·150/(100 + 50 μ) vanishes at 1.75, and the second bin at 2
    assert_allclose(minimum.values, 1.75, atol=1e-3)
    assert 20 - 10 * (minimum.values[0] + error) < 0
    finding = the(inspect(templates), "not quadratic")
    assert "beyond reach at +1σ" in finding.what
    assert finding.severity == "warning"


def test_a_failed_fit_says_why_first():
    shape = np.array([10.0, 20.0, 30.0])
    templates = arrays(signal={"one": shape, "two": shape}, background={}, data=shape)
    first, second, *_ = inspect(templates)
    assert (first.kind, second.kind) == ("no minimum", "flat direction")


def test_the_error_of_a_fit_names_what_explains_it():
    shape = np.array([10.0, 20.0, 30.0])
    twice = arrays(signal={"one": shape, "two": shape}, background={})
    signed = arrays(signal={"signed": [50.0, -10.0]}, background={"top": [50.0, 20.0]})
    thin = arrays(
        signal={"peak": [50.0, 2.0]},
        background={},
        variance={"peak": [1.0, 9.0]},
    )
    cases = {
        r"(?s)cannot determine.*flat direction: \+0.71 channel/\w+ -0.71": (
            twice,
            shape,
        ),
        r"(?s)no minimum.*negative expectation: channel \(0, 1\)\s.*'channel/signed'": (
            signed,
            np.array([300.0, 0.0]),
        ),
        r"(?s)bins without simulation: channel \(0, 1\)\s.*channel/peak makes": (
            thin,
            np.array([50.0, 2.0]),
        ),
    }
    for message, (templates, counts) in cases.items():
        with pytest.raises(FitError, match=message):
            fit_model(build_model(templates), counts)


def test_the_error_of_a_fit_tells_no_values_of_parameters():
    templates = arrays(
        signal={"signed": [50.0, -10.0]}, background={"top": [50.0, 20.0]}
    )
    model = build_model(templates)
    texts = {
        table(explain_failure(model, np.array([n, 0.0]), model.parameters.start))
        for n in (300.0, 310.0)
    }
    assert len(texts) == 1


def test_counts_that_cannot_be_fitted_are_refused(template_set):
    model = build_model(template_set)
    counts = observed(template_set, model)
    with pytest.raises(TemplateError, match="needs 96 counts"):
        fit_model(model, counts[:-1])
    counts[3] = -1.0
    with pytest.raises(TemplateError, match=r"Wplus \(0, 3\) is -1\.0"):
        fit_model(model, counts)


def test_findings_are_ordered_by_severity_then_kind_then_size():
    rows = [
        ("note", "not quadratic", 3.0),
        ("warning", "extreme pull", 4.0),
        ("error", "flat direction", 1.0),
        ("warning", "extreme pull", 6.0),
        ("warning", "few simulated events", 1.0),
    ]
    findings = [
        Finding(kind=k, severity=s, where="", what="", remedy="", size=x)
        for s, k, x in rows
    ]
    assert ordered(findings) == tuple(findings[i] for i in (2, 4, 3, 1, 0))


def test_the_table_counts_what_it_leaves_out():
    findings = [
        Finding(
            kind="extreme pull",
            severity="warning",
            where=f"parameter_{i}",
            what="far",
            remedy="look",
            size=1.0,
        )
        for i in range(7)
    ]
    lines = table(findings, n_shown=2).splitlines()
    assert lines[0] == "warning  extreme pull: parameter_0"
    assert lines[-2:] == [
        "         … and 5 more of this kind",
        "         → look",
    ]
    assert len(json.loads(to_json(findings))) == 7


def test_the_command_prints_a_table_and_writes_all_findings(template_set, tmp_path):
    path, output = tmp_path / "templates.h5", tmp_path / "findings.json"
    template_set.write(path)
    arguments = ["diagnose", str(path), "--json", str(output), "--shown", "1"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    records = json.loads(output.read_text())
    assert tuple(Finding(**record) for record in records) == inspect(template_set)
    assert "more of this kind" in result.output
    plain = CliRunner().invoke(main, ["diagnose", str(path), "--no-parabola"])
    assert "not quadratic" not in plain.output


def test_diagnosis_does_not_move_the_minimum(template_set):
    model = build_model(template_set)
    minimum = fit_model(model, observed(template_set, model))
    before = minimum.values.copy(), minimum.hessian.copy()
    diagnose(model, minimum, template_set)
    assert_allclose(minimum.values, before[0], rtol=0)
    assert_allclose(minimum.hessian, before[1], rtol=0)
