"""The chain as a user types it, file to file, and what happens to bad input."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from wprops.cli import main
from wprops.fit.results import FitResult
from wprops.moment_maps import MomentMaps
from wprops.plots.comparison import compare, pulls_of
from wprops.store import TemplateSet

#: Enough simulated events for the coarse binning, few enough for a test.
EVENTS = "600000"


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def succeed(*arguments):
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Toy, templates, fit and report, one file after the other."""
    folder = tmp_path_factory.mktemp("chain")
    succeed("toy", folder / "toy", "--events", EVENTS, "--seed", 5, "--workers", 1)
    catalogue, templates = folder / "toy/catalogue.yaml", folder / "templates.h5"
    run = ("run", catalogue, "--binning", "coarse", "-o")
    output = succeed(*run, templates)
    assert "wrote" in output
    succeed("fit", templates, "-o", folder / "fit.h5")
    succeed("report", folder / "fit.h5", templates, "-o", folder / "report.html")
    return folder


def test_the_chain_recovers_the_truth(chain):
    """Pulls on independent pseudo-data, as large as the fit itself expects."""
    result = FitResult.read(chain / "fit.h5")
    templates = TemplateSet.read(chain / "templates.h5")
    assert result.edm < 1e-8
    assert result.gof.p_value > 1e-4
    mass = result.derived["m_W"]
    assert abs(mass.values[0] - templates.truth.boson_mass) < 4 * mass.errors[0]
    pulls = pulls_of(compare(result.derived, templates, templates.truth))
    assert len(pulls) == 108
    # Barlow-Beeston covers at the generated point; the RMS of 108 correlated pulls
    # scatters by far less than a half.
    assert 0.6 < np.sqrt(np.mean(pulls**2)) < 1.5


def test_templates_carry_what_they_were_made_of(chain):
    templates = TemplateSet.read(chain / "templates.h5")
    truth = json.loads((chain / "toy/truth.json").read_text())
    assert templates.luminosity == pytest.approx(truth["luminosity_data"])
    assert templates.boson_mass == truth["simulation"]["wplus"]["mass"]
    provenance = templates.provenance
    assert provenance["catalog"] == "toy"
    assert {item["dataset"] for item in provenance["inputs"]} >= {"data", "qcd"}
    assert templates.tables["performance"]["events"] > float(EVENTS)
    assert {row["region"] for row in templates.tables["cut_flow"]} == {
        "signal",
        "signal_antiiso",
        "sideband",
        "sideband_antiiso",
    }


def test_the_prediction_describes_the_data(chain):
    """Totals before the fit, within the luminosity-free statistical errors."""
    templates = TemplateSet.read(chain / "templates.h5")
    for channel in templates.channels.values():
        nominal, variance = channel.total()
        error = np.sqrt(nominal.sum() + variance.sum())
        assert abs(channel.data.sum() - nominal.sum()) < 4 * error


def test_other_processors_run_by_name(chain):
    catalogue = chain / "toy/catalogue.yaml"
    signal = ("--dataset", "Wplus_mu", "--dataset", "Wminus_mu")
    moments = ("run", catalogue, "--processor", "gen_moments", "--binning", "coarse")
    succeed(*moments, *signal, "-o", chain / "moments.h5")
    assert set(MomentMaps.read(chain / "moments.h5").bosons) == {"Wplus", "Wminus"}
    flow = chain / "flow.csv"
    succeed("run", catalogue, "--processor", "cut_flow", "--dataset", "top", "-o", flow)
    assert flow.read_text().startswith("dataset,region,cut,events,weighted\ntop,signal")


def test_the_report_is_one_page(chain):
    page = (chain / "report.html").read_text("utf-8")
    assert "m_W, fit − truth" in page
    assert "cut flow of the region signal" in page


@pytest.mark.parametrize("command", ["", "toy", "run", "fit", "report", "demo"])
def test_every_command_explains_itself(command):
    output = succeed(*command.split(), "--help")
    assert output.startswith("Usage:")


def test_a_fit_without_templates_says_so(tmp_path):
    (tmp_path / "t.h5").write_text("no HDF5")
    result = invoke("fit", tmp_path / "t.h5")
    assert result.exit_code == 1
    assert "t.h5 cannot be read as a wprops template set" in result.output
    assert "Traceback" not in result.output


def test_an_unknown_dataset_lists_the_known_ones(chain):
    result = invoke(
        *("run", chain / "toy/catalogue.yaml", "--dataset", "W", "-o", chain / "x.h5")
    )
    assert result.exit_code == 1
    assert "no dataset 'W'; it has Wplus_mu" in result.output


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("mw_shift", "not NAME=VALUE"),
        ("mw_shift=x", "with a number as value"),
        ("m=1", "unknown deviation 'm'"),
    ],
)
def test_a_wrong_deviation_is_refused(tmp_path, option, message):
    result = invoke("toy", tmp_path / "toy", "--deviation", option)
    assert result.exit_code != 0
    assert message in result.output
    assert not (tmp_path / "toy").exists()


def test_a_demo_does_not_overwrite_a_file(tmp_path):
    (tmp_path / "demo").write_text("mine")
    result = invoke("demo", "--output", tmp_path / "demo")
    assert result.exit_code == 2
    assert "is a file" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit", "{file}", "-o", "{folder}"), "is a directory"),
        (("toy", "{file}"), "is a file"),
        (("run", "{file}", "-o", "x.h5", "--workers", 0), "not in the range"),
        (("run", "{file}", "-o", "x.h5", "--chunksize", 0), "not in the range"),
    ],
)
def test_impossible_arguments_are_refused_at_once(tmp_path, arguments, message):
    file = tmp_path / "file.h5"
    file.touch()
    known = {"file": file, "folder": tmp_path}
    given = [str(argument).format(**known) for argument in arguments]
    result = invoke(*given)
    assert result.exit_code == 2
    assert message in result.output


def test_a_scheduler_is_not_ignored(chain):
    result = invoke(
        *("run", chain / "toy/catalogue.yaml", "-o", chain / "x.h5"),
        *("--address", "tcp://127.0.0.1:1"),
    )
    assert result.exit_code == 1
    assert "the executor is 'iterative'; choose dask" in result.output


def test_a_fit_explains_itself_in_one_file(chain, tmp_path):
    templates, first = chain / "templates.h5", chain / "fit.h5"
    output = succeed(
        *("fit", templates, "-o", tmp_path / "fit.h5", "--data", "toy", "--seed", 3),
        *("--start", first, "--freeze", "pdf_*=0.5", "--freeze", "lumi", "--impacts"),
        *("--scan", "m_W=80.3:80.5:3", "--scan", "lepton_veto=-1:1:2,m_W=80.3:80.4:2"),
        *("--interval", "m_W", "--no-barlow-beeston", "--channels", "Wplus"),
    )
    result = FitResult.read(tmp_path / "fit.h5")
    assert output.strip() == result.summary()
    options = result.provenance["fit"]
    assert (options["data"], options["seed"]) == ("toy", 3)
    assert options["barlow_beeston"] is False
    assert set(result.postfit) == {"Wplus"}
    values = dict(zip(result.names, result.values, strict=True))
    earlier = FitResult.read(first)
    start = earlier.values[earlier.names.index("lumi")]
    assert {values[name] for name in result.frozen} == {0.5, start}
    assert result.scans["m_W"].points.ravel().tolist() == [80.3, 80.4, 80.5]
    assert result.scans["lepton_veto, m_W"].points.shape == (4, 2)
    assert set(result.intervals) == {"m_W"}
    assert result.impacts.index("m_W") >= len(result.names)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--freeze", "lumi=much", "with a number as value"),
        ("--scan", "m_W", "not NAME=LOW:HIGH:N"),
        ("--scan", "m_W=80:81", "not NAME=LOW:HIGH:N"),
        ("--scan", "m_W=80:81:0", "not NAME=LOW:HIGH:N"),
        ("--scan", "a=0:1:2,b=0:1:2,c=0:1:2", "has 3 parameters; scan one or two"),
    ],
)
def test_a_wrong_option_of_a_fit_is_refused(chain, tmp_path, option, value, message):
    output = tmp_path / "fit.h5"
    result = invoke("fit", chain / "templates.h5", "-o", output, option, value)
    assert result.exit_code == 2
    assert message in result.output
    assert not output.exists()


def test_a_fit_without_parameters_says_so(chain, tmp_path):
    templates = TemplateSet.read(chain / "templates.h5")
    channel = templates.channels["Wplus"]
    processes = {
        name: replace(process, variations={})
        for name, process in channel.processes.items()
        if process.role == "background"
    }
    bare = replace(channel, processes=processes, shared=())
    replace(templates, channels={"Wplus": bare}, systematics=(), truth=None).write(
        tmp_path / "t.h5"
    )
    result = invoke("fit", tmp_path / "t.h5", "-o", tmp_path / "fit.h5")
    assert result.exit_code == 1
    assert "the model has no parameters" in result.output
