"""From toy files to a fit with multijet from data, as a user types it."""

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from tests.backgrounds.sideband_set import make_set
from wprops.backgrounds.findings import TABLE
from wprops.backgrounds.tables import event_yields
from wprops.cli import main
from wprops.events.toy.samples import write_toy
from wprops.events.toy.yields import REFERENCE_LUMINOSITY, REFERENCE_YIELDS
from wprops.fit.results import FitResult
from wprops.store import TemplateSet

#: Without simulated multijet, which is not used, and the smallest processes.
SAMPLES = ["Wplus_mu", "Wminus_mu", "Wplus_tau", "Wminus_tau", "Z_mumu", "data"]


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def succeed(*arguments):
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Toy, histograms, templates with multijet, fit."""
    folder = tmp_path_factory.mktemp("chain")
    options = {"events": 400_000, "seed": 3, "data_fraction": 0.5, "samples": SAMPLES}
    path = write_toy(folder / "toy", workers=1, progress=False, **options)
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(content | {"multijet": "data"}))
    histograms, templates = folder / "histograms.h5", folder / "templates.h5"
    succeed("run", path, "--binning", "coarse", "--no-ledger", "-o", histograms)
    # The simulation is too small for an error function.
    estimate = "--prompt-curve", "quadratic", "--tables", folder / "tables"
    output = succeed("backgrounds", histograms, "-o", templates, *estimate)
    (folder / "output.txt").write_text(output)
    succeed("fit", templates, "-o", folder / "fit.h5")
    return folder


def test_the_estimate_is_the_multijet_of_the_toy(chain):
    templates = TemplateSet.read(chain / "templates.h5")
    expected = sum(REFERENCE_YIELDS["qcd"]) * 1e6 / REFERENCE_LUMINOSITY
    expected *= templates.luminosity
    rows = [row for row in event_yields(templates) if row["process"] == "qcd"]
    found = sum(row["events"] for row in rows)
    error = np.sqrt(sum(row["statistical"] ** 2 for row in rows) + expected)
    assert abs(found - expected) < 4 * error
    assert error < 0.04 * expected


def test_the_fit_has_the_parameters_of_multijet(chain):
    result = FitResult.read(chain / "fit.h5")
    assert result.edm < 1e-8
    assert result.gof.p_value > 1e-4
    names = set(result.names)
    assert {"qcd_norm", "fake_lumi", "Wminus/fake_stat_0_eta23"} <= names


def test_the_output_names_what_was_found_and_written(chain):
    output = (chain / "output.txt").read_text()
    templates = TemplateSet.read(chain / "templates.h5")
    assert "multijet in Wplus: " in output
    for row in templates.tables[TABLE]["checks"]:
        assert f"{row['check']}: {row['result']}" in output
    for name in ("yields", "yield_variations", "multijet_rates"):
        assert f"wrote {chain / 'tables' / name}.csv" in output
        assert (chain / "tables" / f"{name}.csv").exists()


def test_the_command_names_what_is_wrong(tmp_path):
    templates, _ = make_set()
    path = tmp_path / "histograms.h5"
    templates.write(path)
    succeed("backgrounds", path, "-o", tmp_path / "templates.h5")
    again = invoke("backgrounds", tmp_path / "templates.h5", "-o", tmp_path / "no.h5")
    assert again.exit_code == 1
    assert "wprops: error: channel 'Wplus' has a process 'qcd' already" in again.output
    assert not (tmp_path / "no.h5").exists()
