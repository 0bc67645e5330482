"""Figures of impacts show the numbers they are given."""

from dataclasses import replace

import numpy as np
import pytest

from wprops.errors import TemplateError
from wprops.fit.impacts import Impacts
from wprops.plots.impacts import has_impacts, plot_impact_groups, plot_impacts
from wprops.plots.style import SampleLabel

LABEL = SampleLabel(luminosity=0.02)


@pytest.fixture
def impacts():
    return Impacts(
        quantities=("mw", "m_W"),
        units=("50 MeV", "GeV"),
        sources=("mw", "lumi", "scale", "pdf"),
        groups=("mass", "lumi", "theory"),
        total=np.array([1.0, 0.0025]),
        traditional=np.array([[1.0, 0.2, 0.3, 0.1], [0.05, 0.01, -0.015, 0.005]]),
        global_=np.array([[0.0, 0.1, 0.2, 0.3], [0.0, 0.005, -0.01, 0.02]]),
        traditional_groups=np.array([[1.0, 0.2, 0.35], [0.05, 0.01, 0.018]]),
        global_groups=np.array([[0.0, 0.1, 0.36], [0.0, 0.005, 0.0224]]),
        parts=np.array([[0.9, -0.04, 0.14, 0.0], [0.0023, -0.0003, 0.0005, 0.0]]),
    )


def widths(bars):
    return [bar.get_width() for bar in bars]


def test_impacts_go_from_the_largest_down_without_the_quantity_itself(impacts):
    values, errors = np.array([0.3, 0.1, -0.2, 0.5]), np.array([1.0, 0.9, 0.8, 0.7])
    figure = plot_impacts(impacts, "m_W", values, errors, label=LABEL)
    pulls, bars = figure.axes
    labels = [text.get_text() for text in pulls.get_yticklabels()]
    order = ["pdf", "scale", "lumi"]
    assert dict(zip(labels, pulls.get_yticks(), strict=True)) == {
        name: 2 - i for i, name in enumerate(order)
    }
    traditional, global_ = bars.containers
    assert widths(traditional) == [0.005, -0.015, 0.01]
    assert widths(global_) == [0.02, -0.01, 0.005]
    np.testing.assert_array_equal(
        pulls.containers[0].lines[0].get_xdata(), [0.5, -0.2, 0.1]
    )
    assert bars.get_xlabel() == "impact on m_W [GeV]"
    low, high = bars.get_xlim()
    assert low < -0.02
    assert high > 0.02


def test_a_quantity_is_not_its_own_impact(impacts):
    assert has_impacts(impacts, "m_W")
    alone = np.array([[1.0, 0, 0, 0], [0.05, 0, 0, 0]])
    own = replace(impacts, traditional=alone, global_=np.zeros((2, 4)))
    assert not has_impacts(own, "m_W")
    with pytest.raises(TemplateError, match="no impacts on 'm_Z'"):
        has_impacts(impacts, "m_Z")


def test_only_so_many_are_shown(impacts):
    figure = plot_impacts(impacts, "m_W", np.zeros(4), np.ones(4), label=LABEL, n=2)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["pdf", "scale"]


def test_parts_and_groups_stand_below_the_total(impacts):
    ax = plot_impact_groups(impacts, "m_W", label=LABEL).axes[0]
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names == [*("total", "data", "simulation", "systematics"), "theory", "lumi"]
    parts, traditional, global_ = ax.containers
    expected = [0.05, np.sqrt(0.0023), -np.sqrt(0.0003), np.sqrt(0.0005)]
    np.testing.assert_allclose(widths(parts), expected)
    assert widths(traditional) == [0.018, 0.01]
    assert widths(global_) == [0.0224, 0.005]
    assert ax.get_xlim()[0] < -np.sqrt(0.0003)


def test_an_unknown_quantity_has_no_figure(impacts):
    with pytest.raises(TemplateError, match="no impacts on 'm_Z'"):
        plot_impact_groups(impacts, "m_Z", label=LABEL)
