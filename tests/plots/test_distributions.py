"""Projections add up, and the figure shows them."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tests.plots.template_sample import make_template_set
from wprops.plots.distributions import plot_distribution, project
from wprops.plots.style import SampleLabel


@pytest.fixture(scope="module")
def channel():
    return make_template_set().channels["Wplus"]


@pytest.mark.parametrize(("axis", "n", "summed"), [("eta", 24, 1), ("pt", 30, 0)])
def test_projection_adds_up(channel, axis, n, summed):
    shown = project(channel, axis)
    assert len(shown.edges) == n + 1
    expected = sum(p.nominal for p in channel.processes.values()).sum(axis=summed)
    np.testing.assert_allclose(shown.total, expected, rtol=1e-12)
    np.testing.assert_array_equal(shown.data, channel.data.sum(axis=summed))
    signal = sum(p.nominal for p in channel.processes.values() if p.cell is not None)
    np.testing.assert_allclose(
        shown.groups["signal"], signal.sum(axis=summed), rtol=1e-12
    )


def test_groups_grow_from_bottom_to_top(channel):
    assert list(project(channel, "pt").groups) == ["top", "Z", "qcd", "signal"]


def test_uncertainty_is_that_of_events_not_of_templates(channel):
    """Weights 1 + c split over templates have the variance of their sum."""
    shown = project(channel, "pt")
    group = channel.shared[0]
    naive = sum(channel.processes[name].variance for name in group.processes)
    together = group.products.sum(axis=(0, 1))
    assert np.abs(together - naive).max() > 0.05 * naive.max()
    backgrounds = sum(
        p.variance for p in channel.processes.values() if p.role == "background"
    )
    expected = backgrounds + sum(g.products.sum(axis=(0, 1)) for g in channel.shared)
    np.testing.assert_allclose(shown.variance, expected.sum(axis=0), rtol=1e-12)


def test_figure_shows_stack_data_and_ratio(channel):
    figure = plot_distribution(channel, "pt", label=SampleLabel(luminosity=0.5))
    main, ratio = figure.axes
    shown = project(channel, "pt")
    drawn = main.containers[-1].lines[0].get_ydata()
    np.testing.assert_array_equal(drawn, shown.data)
    drawn = ratio.containers[-1].lines[0].get_ydata()
    np.testing.assert_allclose(drawn, shown.data / shown.total, rtol=1e-12)
    texts = [text.get_text() for text in main.get_legend().get_texts()]
    assert set(texts) == {
        "Top",
        r"$Z\to\mu\mu$",
        "Multijet",
        r"$W\to\mu\nu$",
        "MC stat.",
        "Data",
    }
    assert ratio.get_xlabel() == r"$p_T^\mu$ [GeV]"
    assert plt.get_fignums() == []  # nothing is left open in pyplot


def test_blind_channels_have_no_ratio(channel):
    figure = plot_distribution(replace(channel, data=None), "eta", label=SampleLabel())
    assert len(figure.axes) == 1


def test_bins_without_prediction_are_not_drawn_in_the_ratio(channel):
    data = channel.data.copy()
    data[:, -1] = 0
    processes = {}
    for name, process in channel.processes.items():
        nominal = process.nominal.copy()
        nominal[:, -1] = 0
        processes[name] = replace(process, nominal=nominal)
    figure = plot_distribution(
        replace(channel, data=data, processes=processes), "pt", label=SampleLabel()
    )
    low, high = figure.axes[1].get_ylim()
    assert np.isfinite([low, high]).all()
