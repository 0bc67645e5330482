"""Toys: thrown by number, fitted, kept through interruptions, and summed up."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.testing import assert_allclose
from scipy.stats import binomtest

from tests.fit.conftest import build_set, single_set
from wprops.channels import Process
from wprops.cli import main
from wprops.errors import ConfigError, FitError, TemplateError
from wprops.fit.blinding import blind_fit
from wprops.fit.coverage import (
    coverage,
    coverage_lines,
    p_value,
    wilson,
    write_coverage,
)
from wprops.fit.model import build_model
from wprops.fit.pseudo_data import thrower
from wprops.fit.run import run_fit
from wprops.fit.toy_store import BATCH, join, read_toys, run_toys
from wprops.fit.toys import Experiment, plan_toys, run_ensemble

N_TOYS = 200
TRUTH = {"Wplus/W_UL_y0_qt0": 1.1, "Wplus/W_A0_y0_qt0": 0.7, "Wplus/W_A4_y0_qt0": 1.2}


@pytest.fixture(scope="module")
def small():
    return build_set(n_cells=1)


@pytest.fixture(scope="module")
def linear(small):
    """All variations of the signal linear, so that they cancel in A_i."""
    systematics = tuple(
        s if s.kind == "norm" else replace(s, interpolation="linear")
        for s in small.systematics
    )
    return replace(small, systematics=systematics)


@pytest.fixture(scope="module", params=[False, True], ids=["naive", "barlow_beeston"])
def ensemble(linear, request):
    experiment = plan_toys(
        linear, seed=12, truth=TRUTH, channels=["Wplus"], barlow_beeston=request.param
    )
    return run_ensemble(experiment, range(N_TOYS))


def test_pulls_are_standard_normal(ensemble):
    assert not ensemble.failures
    pulls = ensemble.pulls
    # 9 parameters and 6 derived: 4 standard errors of a mean and of a width
    assert (abs(pulls.mean(axis=0)) < 4 / np.sqrt(N_TOYS)).all()
    assert (abs(pulls.std(axis=0) - 1) < 4 / np.sqrt(2 * N_TOYS)).all()


def test_goodness_of_fit_is_a_chi_square(ensemble):
    spread = np.sqrt(2 * ensemble.ndf / N_TOYS)
    assert abs(ensemble.statistic.mean() - ensemble.ndf) < 4 * spread
    # 48 bins, less 3 strengths and the mass
    assert ensemble.ndf == 44


def test_derived_quantities_have_their_truth_and_errors(small, ensemble):
    generated = small.channels["Wplus"].generated
    mean = generated.coefficients[4, 0, 0]
    i = ensemble.names.index("Wplus/A4/y0_qt0")
    assert ensemble.groups[i] == "Wplus/A4"
    assert ensemble.truth[i] == pytest.approx(mean * 1.2 / 1.1)
    mass, shift = ensemble.names.index("m_W"), ensemble.names.index("mw")
    assert ensemble.truth[mass] == small.boson_mass
    assert_allclose(ensemble.pulls[:, mass], ensemble.pulls[:, shift], rtol=1e-9)
    assert_allclose(
        ensemble.errors[:, mass], 0.05 * ensemble.errors[:, shift], rtol=1e-12
    )


def test_templates_of_low_statistics_need_the_noise_in_toys_and_fits(small):
    experiment = plan_toys(small, seed=5, channels=["Wplus"])
    noisy = run_ensemble(experiment, range(40))
    naive = run_ensemble(replace(experiment, barlow_beeston=False), range(40))
    strengths = slice(0, 3)
    assert (noisy.pulls[:, strengths].std(axis=0) < 1 + 4 / np.sqrt(80)).all()
    # a quarter of the variance of the data more than the fit knows of
    widths = naive.pulls[:, strengths].std(axis=0)
    assert widths.max() > noisy.pulls[:, strengths].std(axis=0).max()
    assert naive.statistic.mean() > naive.ndf * 1.15


def test_counts_are_poisson_and_auxiliary_measurements_normal(model):
    start = model.parameters.start
    source = thrower(model, start, 1)
    toys = [source.throw(i) for i in range(400)]
    counts = np.array([toy.counts for toy in toys])
    expected = model.expected(start)
    chi2 = ((counts - expected) ** 2 / expected).sum() / counts.size
    assert chi2 == pytest.approx(1.0, abs=5 * np.sqrt(2 / counts.size))
    centres = np.array([toy.centre for toy in toys])
    free = model.parameters.precision == 0
    assert (centres[:, free] == start[free]).all()
    assert_allclose(centres[:, ~free].std(axis=0), 1, atol=5 / np.sqrt(800))


def test_the_noise_of_the_templates_adds_to_the_variance_of_the_counts(model):
    start = model.parameters.start
    source = thrower(model, start, 1, template_noise=True)
    counts = np.array([source.throw(i).counts for i in range(400)])
    expected, variance = model.expected(start), model.variance(start)
    assert (variance > 0.2 * expected).any()
    chi2 = ((counts - expected) ** 2 / (expected + variance)).sum() / counts.size
    assert chi2 == pytest.approx(1.0, abs=5 * np.sqrt(2 / counts.size))


def test_a_toy_follows_from_seed_and_number_alone(model):
    start = model.parameters.start
    first, again = thrower(model, start, 4), thrower(model, start, 4)
    first.throw(0)
    for one, two in zip(first.throw(7), again.throw(7), strict=True):
        assert (one == two).all()
    assert (first.throw(7).counts != first.throw(8).counts).any()
    assert (first.throw(7).counts != thrower(model, start, 5).throw(7).counts).any()


def test_a_truth_with_negative_expectations_is_refused(small):
    with pytest.raises(FitError, match="bins expect no events or a negative number"):
        plan_toys(small, seed=1, truth={"Wplus/W_UL_y0_qt0": -2.0})
    with pytest.raises(TemplateError, match="no parameter 'mz'"):
        plan_toys(small, seed=1, truth={"mz": 0.0})


@pytest.fixture(scope="module")
def fragile():
    """Toys some of which have no minimum."""
    shape = np.array([[50.0, -30.0]])
    bulk = np.array([[50.0, 31.0]])
    zero = np.zeros((1, 2))
    templates = single_set(
        {
            "W": Process("W", "signal", shape, zero, component="A4", cell=(0, 0)),
            "top": Process("top", "background", bulk, zero),
        }
    )
    model = build_model(templates)
    return Experiment(thrower(model, model.parameters.start, 0))


def test_a_toy_without_a_minimum_is_kept_with_its_reason(fragile, tmp_path):
    got = run_toys(fragile, 25, tmp_path / "toys.h5")
    assert got.failures
    assert sorted([*got.index.tolist(), *got.failures]) == list(range(25))
    assert all("no minimum" in reason for reason in got.failures.values())
    assert any("no minimum" in line for line in coverage_lines(got))


def test_arithmetic_that_breaks_down_fails_one_toy_only(fragile, monkeypatch):
    fit = Experiment.fit

    def sometimes(self, index):
        if index == 2:
            msg = "singular"
            raise np.linalg.LinAlgError(msg)
        return fit(self, index)

    monkeypatch.setattr(Experiment, "fit", sometimes)
    got = run_ensemble(fragile, range(4))
    assert got.failures[2] == "LinAlgError: singular"
    assert {*got.index.tolist(), *got.failures} == {0, 1, 2, 3}


def test_toys_do_not_depend_on_the_number_of_workers(small, tmp_path):
    experiment = plan_toys(small, seed=1, channels=["Wplus"])
    one = run_ensemble(experiment, range(6))
    two = run_ensemble(experiment, range(6), n_workers=2)
    assert (one.values == two.values).all()
    assert (one.errors == two.errors).all()
    n = 2 * BATCH + 3
    files = [run_toys(experiment, n, tmp_path / f"{w}.h5", n_workers=w) for w in (1, 2)]
    assert same(*files)
    assert (files[0].values[:6] == one.values).all()


def same(one, two):
    arrays = ("truth", "index", "values", "errors", "statistic")
    return (
        all((getattr(one, a) == getattr(two, a)).all() for a in arrays)
        and one.failures == two.failures
        and (one.names, one.groups, one.ndf) == (two.names, two.groups, two.ndf)
    )


def test_a_file_is_read_as_it_was_written_and_grows(small, tmp_path):
    experiment = plan_toys(small, seed=1, channels=["Wplus"])
    path = tmp_path / "toys.h5"
    few = run_toys(experiment, 12, path)
    assert same(few, read_toys(path))
    more = run_toys(experiment, 25, path)
    assert more.index.tolist() == list(range(25))
    assert (more.values[:12] == few.values).all()
    assert same(more, run_ensemble(experiment, range(25)))
    before = path.stat().st_mtime_ns
    assert same(run_toys(experiment, 20, path), more)
    assert path.stat().st_mtime_ns == before
    assert [p.name for p in tmp_path.iterdir()] == ["toys.h5"]


def test_parts_may_overlap(small):
    experiment = plan_toys(small, seed=1, channels=["Wplus"])
    parts = [run_ensemble(experiment, part) for part in ([3, 4], [0, 1, 2, 3])]
    assert same(join(parts), run_ensemble(experiment, range(5)))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"seed": 2}, "seed"),
        ({"truth": {"mw": 0.5}}, "truth"),
        ({"barlow_beeston": False}, "noise of the templates, Barlow-Beeston"),
        ({"channels": ["Wminus"]}, "model, derived quantities"),
    ],
)
def test_toys_of_something_else_are_not_gone_on_with(small, tmp_path, options, what):
    path = tmp_path / "toys.h5"
    common = {"seed": 1, "channels": ["Wplus"]}
    run_toys(plan_toys(small, **common), 2, path)
    with pytest.raises(ConfigError, match=f"toys with another .*{what}.*; give"):
        run_toys(plan_toys(small, **common | options), 4, path)


def test_a_change_of_one_template_is_another_model(small, tmp_path):
    path = tmp_path / "toys.h5"
    run_toys(plan_toys(small, seed=1, channels=["Wplus"]), 2, path)
    channel = small.channels["Wplus"]
    top = channel.processes["top"]
    label = next(iter(top.variations))
    variations = {**top.variations, label: top.variations[label] * (1 + 1e-12)}
    processes = {**channel.processes, "top": replace(top, variations=variations)}
    changed = replace(small, channels={"Wplus": replace(channel, processes=processes)})
    with pytest.raises(ConfigError, match="toys with another model"):
        run_toys(plan_toys(changed, seed=1), 4, path)


SCRIPT = """
import sys
from pathlib import Path
from tests.fit.conftest import build_set
from wprops.fit.toy_store import run_toys
from wprops.fit.toys import plan_toys

experiment = plan_toys(build_set(n_cells=1), seed=1, channels=["Wplus"])
run_toys(experiment, 100_000, Path(sys.argv[1]))
"""


def test_a_killed_run_goes_on_and_ends_with_the_same_content(small, tmp_path, request):
    path, parts = tmp_path / "toys.h5", tmp_path / "toys.h5.parts"
    command = [sys.executable, "-c", SCRIPT, str(path)]
    environment = os.environ | {"PYTHONPATH": str(request.config.rootpath)}
    process = subprocess.Popen(command, env=environment)
    while process.poll() is None and len(list(parts.glob("[0-9]*.h5"))) < 2:
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    kept = {part.name for part in parts.glob("[0-9]*.h5")}
    assert not path.exists()
    # what was interrupted while it was written is not used
    (parts / ".0000500.h5.1.part").write_bytes(b"half")
    n = len(kept) * BATCH + 5
    experiment = plan_toys(small, seed=1, channels=["Wplus"])
    fitted = []

    class Counting(Experiment):
        def fit(self, index):
            fitted.append(index)
            return super().fit(index)

    counting = Counting(experiment.thrower, True, experiment.derived)
    resumed = run_toys(counting, n, path)
    assert fitted == list(range(n - 5, n))
    assert same(resumed, run_toys(experiment, n, tmp_path / "whole.h5"))
    contents = []
    for file in (path, tmp_path / "whole.h5"):
        with h5py.File(file) as opened:
            contents.append(
                {k: v[()].tobytes() for k, v in opened.items() if k != "provenance"}
            )
    assert contents[0] == contents[1]
    assert not parts.exists()


def test_an_interruption_does_not_wait_for_what_has_not_begun(small, tmp_path):
    experiment = plan_toys(small, seed=1, channels=["Wplus"])
    fitted = []

    class Interrupting(Experiment):
        def fit(self, index):
            fitted.append(index)
            if index == BATCH:
                raise KeyboardInterrupt
            return super().fit(index)

    interrupted = Interrupting(experiment.thrower, True, experiment.derived)
    with pytest.raises(KeyboardInterrupt):
        run_toys(interrupted, 100 * BATCH, tmp_path / "toys.h5")
    assert len(fitted) < 50 * BATCH
    assert (tmp_path / "toys.h5.parts/0000000.h5").exists()


def test_coverage_counts_what_is_inside(ensemble):
    table = coverage(ensemble)
    pulls = ensemble.pulls
    assert_allclose(table.mean, pulls.mean(axis=0))
    assert_allclose(table.rms, np.sqrt((pulls**2).mean(axis=0)))
    inside = (abs(ensemble.values - ensemble.truth) < ensemble.errors).sum(axis=0)
    assert_allclose(table.covered[:, 0], inside / N_TOYS)
    spread = np.sqrt(0.683 * 0.317 / N_TOYS)
    assert (abs(table.covered[:, 0] - 0.6827) < 4 * spread).all()
    assert (abs(table.covered[:, 1] - 0.95) < 4 * np.sqrt(0.0475 / N_TOYS)).all()


@pytest.mark.parametrize("k", [0, 7, 40, 50])
def test_errors_of_a_coverage_are_those_of_wilson(k):
    interval = binomtest(k, 50).proportion_ci(0.6826894921, method="wilson")
    half = (interval.high - interval.low) / 2
    assert wilson(np.array(k / 50), 50) == pytest.approx(half, rel=1e-8)


def test_the_table_has_all_quantities(ensemble, tmp_path):
    write_coverage(ensemble, tmp_path / "tables/toys.csv")
    with (tmp_path / "tables/toys.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["quantity"] for row in rows] == list(ensemble.names)
    table = coverage(ensemble)
    assert [float(row["pull_rms"]) for row in rows] == table.rms.tolist()
    spreads = ensemble.values.std(axis=0, ddof=1)
    assert_allclose([float(row["spread"]) for row in rows], spreads)


def test_a_shifted_quantity_stands_out_in_the_summary(ensemble):
    values = ensemble.values.copy()
    i = ensemble.names.index("lumi")
    values[:, i] += ensemble.errors[:, i]
    lines = list(coverage_lines(replace(ensemble, values=values)))
    farthest = next(k for k, line in enumerate(lines) if "farthest" in line)
    assert lines[farthest + 1].split()[0] == "lumi"
    # the mean is off by 1 ± 0.07
    assert float(lines[farthest + 1].split("(")[1].split()[0]) > 10


def test_pulls_need_two_toys(fragile):
    failed = sorted(run_ensemble(fragile, range(25)).failures)
    with pytest.raises(FitError, match=r"0 of 1 toys have a valid fit.*no minimum"):
        coverage(run_ensemble(fragile, failed[:1]))


def test_p_values_count_worse_toys(ensemble):
    middle = float(np.median(ensemble.statistic))
    assert p_value(ensemble, middle) == pytest.approx(0.5, abs=0.01)
    assert p_value(ensemble, 1e6) == 0.0


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_command_prints_pulls_and_writes_table_and_figure(small, tmp_path):
    templates, result = tmp_path / "templates.h5", tmp_path / "fit.h5"
    small.write(templates)
    fitted = run_fit(small)
    fitted.write(result)
    output = tmp_path / "toys.h5"
    arguments = ("toys", templates, "-n", 6, "-o", output, "--workers", 1)
    truth = ("--truth", result, "--truth", "mw=0.25")
    table, figure = tmp_path / "toys.csv", tmp_path / "toys.png"
    got = invoke(*arguments, *truth, "--table", table, "--figure", figure)
    assert got.exit_code == 0, got.output
    assert "6 toys fitted, 0 without a valid fit" in got.output
    assert f"of {result} among the toys" in got.output
    assert figure.stat().st_size > 1000
    assert len(table.read_text().splitlines()) == 1 + len(read_toys(output).names)
    toys = read_toys(output)
    expected = fitted.values.copy()
    expected[fitted.names.index("mw")] = 0.25
    assert_allclose(toys.truth[: len(expected)], expected)
    other = invoke(*arguments, "--seed", 3)
    assert other.exit_code == 1
    assert "toys with another truth, seed" in other.output


def test_the_command_refuses_a_truth_it_cannot_use(small, tmp_path):
    templates = tmp_path / "templates.h5"
    small.write(templates)
    blind = tmp_path / "blind.h5"
    blind_fit(small, tmp_path / "key").write(blind)
    got = invoke("toys", templates, "-o", tmp_path / "toys.h5", "--truth", blind)
    assert got.exit_code == 1
    assert "no toys of a blind result" in got.output
    got = invoke("toys", templates, "--truth", "a.h5", "--truth", "b.h5")
    assert "give one result file" in got.output
    assert got.exit_code == 2


def test_the_command_says_how_to_go_on_after_an_interruption(
    small, tmp_path, monkeypatch
):
    templates = tmp_path / "templates.h5"
    small.write(templates)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("wprops.fit.toy_store.run_ensemble", interrupted)
    output = tmp_path / "toys.h5"
    got = invoke("toys", templates, "-n", 4, "-o", output)
    assert got.exit_code == 130
    assert f"finished toys are in {output}.parts; the same command" in got.output


def test_the_example_of_the_guide_runs(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small.write(Path("templates.h5"))
    page = Path(__file__).resolve().parents[2] / "docs/guide/toys.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    namespace = {"Path": Path}
    exec(example, namespace)
    assert len(namespace["toys"].values) == 20
    assert namespace["one"].counts.sum() > 0
