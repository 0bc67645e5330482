"""A declared prior is checked with twice its width, and the command says so."""

import numpy as np
import pytest
from click.testing import CliRunner

from tests.fit.test_gate import lost_pair
from wprops.cli import main
from wprops.fit.prior_check import doubling_lines
from wprops.fit.results import FitResult
from wprops.fit.run import run_fit


def lines_of(k, **options):
    return list(doubling_lines(run_fit(lost_pair(k=k), **options).gate))


def test_without_a_prior_there_is_nothing_to_say():
    assert lines_of(100) == []


def test_numbers_that_move_are_counted_and_the_largest_move_is_named():
    gate = run_fit(lost_pair(k=100), strength_prior=1.0).gate
    first, second = doubling_lines(gate)
    assert "declared prior 1, and 2 to check it: 2 of 3 numbers depend on it" in first
    assert gate.verdicts.count("undetermined") == 2
    largest = int(np.argmax(abs(gate.changes[1])))
    assert second == (
        f"  {gate.names[largest]}: value {gate.changes[0, largest]:+.3f} errors, error "
        f"{gate.changes[1, largest]:+.1%}: undetermined"
    )
    assert gate.changes[1, largest] > 0.5


def test_without_a_corrected_fit_nothing_is_determined():
    (line,) = lines_of(1, strength_prior=1.0)
    assert "every number is undetermined" in line


@pytest.fixture
def folder(tmp_path):
    lost_pair(k=100).write(tmp_path / "templates.h5")
    return tmp_path


def test_the_command_takes_a_prior_and_prints_the_check(folder):
    command = ["fit", str(folder / "templates.h5"), "-o", str(folder / "fit.h5")]
    found = CliRunner().invoke(main, [*command, "--strength-prior", "1"])
    assert found.exit_code == 0, found.output
    assert "and 2 to check it: 2 of 3 numbers depend on it" in found.output
    assert FitResult.read(folder / "fit.h5").gate.prior == 1.0
    plain = CliRunner().invoke(main, command)
    assert plain.exit_code == 0, plain.output
    assert "prior" not in plain.output
    assert FitResult.read(folder / "fit.h5").gate.prior is None


@pytest.mark.parametrize("width", ["0", "-1", "wide"])
def test_a_width_that_is_none_is_refused(folder, width):
    command = ["fit", str(folder / "templates.h5"), "-o", str(folder / "fit.h5")]
    found = CliRunner().invoke(main, [*command, "--strength-prior", width])
    assert found.exit_code == 2
    assert "Invalid value for '--strength-prior'" in found.output
    assert not (folder / "fit.h5").exists()
