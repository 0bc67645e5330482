import re
from pathlib import Path

import numpy as np

from tests.backgrounds.region_counts import truth

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
