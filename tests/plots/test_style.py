"""One style for all figures."""

import matplotlib as mpl
import pytest

from wprops.axes import COMPONENTS
from wprops.plots.style import (
    COMPONENT_LABELS,
    PROCESSES,
    SampleLabel,
    add_label,
    new_figure,
    styled,
)


@pytest.mark.parametrize(
    ("luminosity", "text"),
    [
        (35.9, "35.9 fb$^{-1}$ (13 TeV)"),
        (0.0123, "12.3 pb$^{-1}$ (13 TeV)"),
        (None, "13 TeV"),
    ],
)
def test_luminosity_has_a_readable_unit(luminosity, text):
    assert SampleLabel(luminosity=luminosity).luminosity_text == text


def test_every_component_has_a_label():
    assert set(COMPONENT_LABELS) == set(COMPONENTS)


def test_every_process_has_its_own_colour():
    colours = [colour for _, colour in PROCESSES.values()]
    assert len(set(colours)) == len(colours)


def test_the_label_is_not_that_of_an_experiment():
    with styled():
        figure = new_figure()
        ax = figure.subplots()
        add_label(ax, SampleLabel(luminosity=1.0))
    shown = [text.get_text() for text in ax.findobj(mpl.text.Text)]
    assert "wprops" in shown
    assert "toy" in shown
    assert not any("CMS" in text or "Simulation" in text for text in shown)


def test_the_style_ends_with_the_block():
    before = mpl.rcParams["font.size"]
    with styled():
        assert mpl.rcParams["font.size"] == 13
    assert mpl.rcParams["font.size"] == before
