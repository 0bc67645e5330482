"""Figures of the templates show all components of a cell."""

from dataclasses import replace

import numpy as np
import pytest

from tests.plots.template_sample import EFFICIENCY, LUMINOSITY, make_template_set
from wprops.errors import TemplateError
from wprops.plots.style import SampleLabel
from wprops.plots.templates import (
    acceptance,
    cell_processes,
    plot_acceptance,
    plot_templates,
)


@pytest.fixture(scope="module")
def channel():
    return make_template_set().channels["Wminus"]


def test_a_cell_has_its_six_components(channel):
    found = cell_processes(channel, (1, 2))
    assert list(found) == ["UL", "A0", "A1", "A2", "A3", "A4"]
    assert {process.cell for process in found.values()} == {(1, 2)}


def test_a_cell_that_is_not_there_is_named(channel):
    with pytest.raises(TemplateError, match=r"no signal in cell \(3, 0\); it has \(0"):
        cell_processes(channel, (3, 0))


def test_acceptance_is_selected_over_generated(channel):
    # The odd modulations of the sample integrate to zero over eta.
    np.testing.assert_allclose(acceptance(channel, LUMINOSITY), EFFICIENCY, rtol=1e-9)


def test_acceptance_needs_the_generated_cross_section(channel):
    with pytest.raises(TemplateError, match="no generated cross sections"):
        acceptance(replace(channel, generated=None), LUMINOSITY)


def test_signed_templates_are_white_at_zero(channel):
    figure = plot_templates(channel, (0, 1), label=SampleLabel())
    panels = [ax for ax in figure.axes if ax.get_title(loc="right")]
    assert len(panels) == 6
    for ax, process in zip(
        panels, cell_processes(channel, (0, 1)).values(), strict=True
    ):
        (mesh,) = ax.collections
        assert mesh.norm.vmin == -mesh.norm.vmax
        np.testing.assert_array_equal(mesh.get_array(), process.nominal.T)
    assert "$0<|Y|<0.8$, $8<q_T<20$ GeV" in figure.get_suptitle()


def test_acceptance_is_written_into_its_cells(channel):
    figure = plot_acceptance(channel, LUMINOSITY, label=SampleLabel())
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts.count("0.30") == 9
