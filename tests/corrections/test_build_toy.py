"""The corrections of a toy undo what they say, and say what they leave."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from correctionlib.highlevel import open_auto
from numpy.testing import assert_allclose

from corrections.build_toy import BLOCK, ISOLATION_STEP, UNDONE, build_toy, main
from wprops.corrections.rochester import Rochester
from wprops.errors import ConfigError
from wprops.events.toy.detector import respond
from wprops.events.toy.deviations import DEVIATIONS, VARYING_RESOLUTION, deviate
from wprops.events.toy.events import Particle
from wprops.events.toy.truth import ToyTruth

HANDLED = set().union(*UNDONE.values())
README = Path(__file__).parents[2] / "corrections" / "README.md"


def write_truth(folder, data, alike=None):
    """A truth file as `write_toy` writes it; the data have both."""
    alike = alike or {}
    truths = {"simulation": alike, "data": {**alike, **data}}
    path = folder / "truth.json"
    path.write_text(
        json.dumps({k: deviate(ToyTruth(), v).to_dict() for k, v in truths.items()})
    )
    return path


def descriptions(folder):
    return {
        name: json.loads(open_auto(str(folder / name)))["description"]
        for name in UNDONE
    }


def test_what_is_not_undone_is_named_by_the_files_and_the_command(tmp_path):
    everything = {name: DEVIATIONS[name].typical for name in DEVIATIONS}
    path = write_truth(tmp_path, everything)
    output = tmp_path / "out"
    result = CliRunner().invoke(main, [str(path), "-o", str(output)])
    assert result.exit_code == 0, result.output
    _, _, left = result.output.strip().partition("; not undone: ")
    names = {entry.split(" = ")[0] for entry in left.split(", ")}
    assert names == set(DEVIATIONS) - HANDLED - {"prefire"}
    assert {"iso_recoil", "mu_resolution_slope", "recoil_photon"} <= names
    for name, text in descriptions(output).items():
        undone, _, rest = text.partition("; not undone")
        assert {key for key in everything if f"{key} = " in undone} == UNDONE[name]
        assert f": {left}." in rest


@pytest.mark.parametrize(
    ("data", "alike", "left"),
    [
        ({}, {}, {}),
        ({"iso_recoil": 0.1}, {}, {"iso_recoil": 0.1}),
        ({"mu_scale": 0.01}, VARYING_RESOLUTION, {}),
        ({"recoil_absy": 0.0}, {"recoil_absy": 0.1}, {"recoil_absy": 0.0}),
        # The weights in the events are those of the whole probability.
        ({"prefire": 1.0}, {}, {}),
        ({"prefire": 0.5}, {}, {"prefire": 0.5}),
    ],
)
def test_only_what_data_have_and_simulation_has_not_is_left(
    tmp_path, data, alike, left
):
    assert build_toy(write_truth(tmp_path, data, alike), tmp_path) == left


def test_momenta_are_those_without_deviations_at_any_resolution(tmp_path):
    """In simulation with and without partner, and in data, which deviate more."""
    alike = VARYING_RESOLUTION | {"mu_scale": 0.004, "mu_misalignment": 1e-4}
    different = {"mu_scale": 0.012, "mu_misalignment": 2e-4}
    build_toy(write_truth(tmp_path, different, alike), tmp_path)
    n = 2000
    rng = np.random.default_rng(3)
    # Centres of the file's bins in phi, where the sine is its mean to 4e-4.
    phi = -np.pi + (rng.integers(0, 64, n) + 0.5) * 2 * np.pi / 64
    eta, charge = rng.uniform(-2.4, 2.4, n), rng.choice([-1, 1], n)
    muon = Particle(rng.uniform(25.0, 55.0, n), eta, phi)

    def measured(deviations):
        detector = deviate(ToyTruth(), deviations).detector
        return respond(detector, muon, charge, np.random.default_rng(4))

    expected = measured(VARYING_RESOLUTION)
    rochester = Rochester.read(tmp_path / "muons.json.gz")
    pt = measured(alike)
    columns = charge, pt, eta, phi
    matched = rochester.spread_mc(*columns, muon.pt).nominal
    others = rochester.smear_mc(*columns, np.full(n, 12), rng.uniform(size=n)).nominal
    assert np.max(np.abs(pt / expected - 1)) > 5e-3
    assert_allclose(pt * matched, expected, rtol=1e-5)
    assert_allclose(pt * others, expected, rtol=1e-5)
    pt = measured(alike | different)
    factor = rochester.scale_data(charge, pt, eta, phi).nominal
    assert_allclose(pt * factor, expected, rtol=1e-5)


def test_an_isolation_that_the_recoil_adds_to_is_refused(tmp_path):
    path = write_truth(tmp_path, {"iso_recoil": 0.1})
    record = json.loads(path.read_text())
    record["data"]["detector"]["isolation_mean"] = 2.0
    path.write_text(json.dumps(record))
    with pytest.raises(
        ConfigError,
        match=r"isolation_recoil .* is 0\.1 in data, 0 in simulation.* 2 and 1\.6 GeV",
    ):
        build_toy(path, tmp_path / "out")


def test_the_command_refuses_a_foreign_file(tmp_path):
    path = tmp_path / "truth.json"
    path.write_text("{}")
    result = CliRunner().invoke(main, [str(path), "-o", str(tmp_path)])
    assert result.exit_code == 1
    assert "truth.json is not the truth file of a toy" in result.output


def test_the_guide_has_the_step_of_the_isolation():
    text = README.read_text()
    block = text.rpartition("```yaml\n")[2].partition("```")[0]
    assert yaml.safe_load(block) == [ISOLATION_STEP]
    assert ISOLATION_STEP not in BLOCK["efficiency"]
