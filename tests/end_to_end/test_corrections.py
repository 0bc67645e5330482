"""Corrections undo what the toy's data deviate by, and each of them is needed."""

import pytest
import yaml

from corrections.build_toy import BLOCK, build_toy
from wprops.axes import COARSE
from wprops.catalog import Catalog
from wprops.control import OBSERVABLES, ControlPlots
from wprops.events.toy.samples import write_toy
from wprops.execution.processors import load_processor
from wprops.execution.run import run

#: Larger than what is expected of a real detector, to be seen in a small sample.
#: Prefiring removes 2 % of the most forward muons at most, which a test of this size
#: does not see; `test_prefire` has more events, without files.
DEVIATIONS = {
    "mu_scale": 0.012,
    "mu_misalignment": 2e-4,
    "eff_turn_on": 0.1,
    "eff_charge": 0.05,
    "eff_eta": 0.1,
    "pileup": -3.0,
    "prefire": 1.0,
    "qt_tilt": 0.15,
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A toy whose data deviate, with the corrections that its truth implies."""
    folder = tmp_path_factory.mktemp("deviating")
    write_toy(
        folder,
        events=300_000,
        seed=7,
        data_fraction=1.0,
        deviations=DEVIATIONS,
        workers=2,
        progress=False,
    )
    build_toy(folder / "truth.json", folder / "corrections")
    return folder


def control(toy, leave_out=()):
    """Control distributions with all corrections but some."""
    content = yaml.safe_load((toy / "catalogue.yaml").read_text())
    block = {key: value for key, value in BLOCK.items() if key not in leave_out}
    content["corrections"] = block
    for dataset in content["datasets"]:
        if not dataset["name"].startswith("W"):  # the W alone deviates in qT
            dataset["corrections"] = {k: v for k, v in block.items() if k != "boson"}
    path = toy / f"without_{'_'.join(leave_out)}.yaml"
    path.write_text(yaml.safe_dump(content))
    catalog = Catalog.read(path)
    processor = load_processor("control").from_catalog(catalog, COARSE)
    result = run(catalog, processor, progress=False)
    processor.save(result, path.with_suffix(".h5"))
    return ControlPlots.read(path.with_suffix(".h5"))


def test_data_and_simulation_agree_with_all_corrections(toy):
    plots = control(toy)
    p = [plots.agreement(name, q).p_value for name in OBSERVABLES for q in (1, -1)]
    # The smallest of fourteen.
    assert min(p) > 1e-3


@pytest.mark.parametrize(
    ("correction", "observable"),
    [
        ("muons", "pt"),
        ("efficiency", "eta"),
        ("efficiency", "pt"),
        ("pileup", "vertices"),
        ("boson", "pt"),
    ],
)
def test_data_and_simulation_disagree_without_one_of_them(toy, correction, observable):
    plots = control(toy, (correction,))
    p = [plots.agreement(observable, charge).p_value for charge in (1, -1)]
    assert min(p) < 1e-4
