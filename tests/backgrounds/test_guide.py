import re
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from tests.backgrounds.region_counts import truth
from tests.backgrounds.sideband_set import make_set
from wprops.cli import main

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "backgrounds.md"


def test_the_example_of_the_guide_runs_as_printed():
    (block,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    counts = truth().regions()
    namespace = {
        "eta_edges": counts.eta_edges,
        "pt_edges": counts.pt_edges,
        "data": counts.data,
        "prompt": counts.prompt,
        "prompt_variance": counts.prompt_variance,
        "labels": ["fake_lumi_up", "fake_lumi_down"],
        "prompt_varied": np.stack([1.025 * counts.prompt, counts.prompt / 1.025]),
    }
    exec(block, namespace)
    processes = namespace["processes"]
    assert list(processes) == [1, -1]
    labels = {label for record in namespace["records"] for label in record.labels}
    assert set(processes[1].variations) == labels | {"fake_lumi_up", "fake_lumi_down"}
    up, nominal, down = (
        processes[1].varied(label).sum()
        for label in ("fake_lumi_up", "nominal", "fake_lumi_down")
    )
    assert up < nominal < down


def test_the_command_of_the_guide_writes_the_tables_it_lists(tmp_path, monkeypatch):
    text = GUIDE.read_text()
    (command,) = re.findall(r"^wprops (backgrounds .*)$", text, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    # Few enough muons for something to look odd.
    templates, _ = make_set(np.random.default_rng(1), qcd=2e4, n_pt=20)
    templates.write(Path("histograms.h5"))
    result = CliRunner().invoke(main, command.split())
    assert result.exit_code == 0, result.output
    listed = text.split("| file | rows |")[1].split("\n\n")[0]
    names = re.findall(r"`(yield\w+|multijet_\w+)`", listed)
    written = {path.stem for path in Path("tables").iterdir()}
    assert set(names) == written
