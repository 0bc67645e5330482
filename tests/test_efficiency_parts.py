"""How bins of the efficiency and of the templates go together."""

import numpy as np
import pytest

from corrections.build_efficiency import StepFactors
from tests.corrections.efficiency_toys import make_steps, write_steps
from tests.events.nano import dataset
from wprops.axes import COARSE, FULL
from wprops.catalog import Catalog
from wprops.datasets import Corrections, EfficiencyCorrection
from wprops.errors import ConfigError
from wprops.nominal import efficiency_parts


def with_steps(paths, name="trigger"):
    """A catalogue of one simulation per file of factors."""
    datasets = [
        dataset(
            name=path.stem,
            files=(f"{path.stem}.root",),
            corrections=Corrections(
                efficiency=(EfficiencyCorrection(file=path, name=name),)
            ),
        )
        for path in paths
    ]
    data = dataset(name="data", kind="data", xsec=None, files=("data.root",))
    return Catalog(name="small", luminosity=1.0, datasets=[*datasets, data])


def write_stat(path, eta):
    """Write factors with statistical variations in given eta bins."""
    shape = len(eta) - 1
    step = StepFactors(
        nominal=np.ones((2, shape, 1)),
        edges=(np.array(eta), np.array([25.0, 55.0])),
        stat=np.full((2, 3, shape, 1), 0.01),
        stat_edges=(np.array(eta), np.array([25.0, 55.0])),
    )
    write_steps(path, {"trigger": step})
    return path


FINE = np.round(np.linspace(-2.4, 2.4, 49), 10)


@pytest.mark.parametrize(
    ("factors", "binning", "parts"),
    [
        (FINE, FULL, 1),
        (FINE, COARSE, 2),
        (np.linspace(-2.5, 2.5, 51), FULL, 1),
        (np.linspace(-2.4, 2.4, 145), FULL, 3),
        (np.linspace(-2.4, 2.4, 25), COARSE, 1),
        # Bins of different widths: the largest number counts.
        (sorted({*FINE[::2], 0.05, 0.1, 0.15}), COARSE, 4),
    ],
)
def test_bins_of_the_efficiency_are_counted_in_those_of_the_templates(
    tmp_path, factors, binning, parts
):
    catalog = with_steps([write_stat(tmp_path / "factors.json", factors)])
    assert efficiency_parts(catalog, binning) == parts


def test_without_statistical_variations_there_is_one_part(tmp_path):
    path = tmp_path / "steps.json"
    write_steps(path, make_steps())
    assert efficiency_parts(with_steps([path], "selection"), FULL) == 1
    assert efficiency_parts(with_steps([]), FULL) == 1


@pytest.mark.parametrize(
    ("factors", "edge"),
    [
        (np.linspace(-2.4, 2.4, 25), "-2.3, -2.1"),
        (np.linspace(-2.35, 2.45, 49), "-2.3"),
    ],
)
def test_bins_of_the_efficiency_across_an_edge_are_refused(tmp_path, factors, edge):
    catalog = with_steps([write_stat(tmp_path / "factors.json", factors)])
    with pytest.raises(
        ConfigError,
        match=rf"(?s)'trigger': the statistical variations have the inner eta edges "
        rf"\[{factors[1]:g}.*the templates the edges \[-2\.4, -2\.3,.*A bin of the "
        rf"variations reaches across {edge}.*`without: \[sf_stat\]`",
    ):
        efficiency_parts(catalog, FULL)


def test_datasets_have_their_variations_in_the_same_bins(tmp_path):
    one, other = (
        write_stat(tmp_path / f"{name}.json", eta)
        for name, eta in (("one", FINE), ("other", FINE[::2]))
    )
    assert efficiency_parts(with_steps([one]), COARSE) == 2
    with pytest.raises(
        ConfigError, match=r"in different eta bins.*'one'.*'other'.*give all"
    ):
        efficiency_parts(with_steps([one, other]), COARSE)
