"""The figure of growth shows errors and slopes of m_W, cross sections and A_i."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from wprops.fit.growth import Growth
from wprops.plots.growth import is_known, plot_growth, representatives
from wprops.plots.style import SampleLabel

LABEL = SampleLabel(luminosity=0.02)
FACTORS = np.array([0.5, 1.0, 10.0, np.inf])
SLOPES = {
    "Wplus/W_UL_y0_qt0": 0.1,
    "m_W": 0.9,
    "Wplus/sigma/y0_qt0": 0.7,
    "Wplus/sigma/y0_qt1": 0.5,
    "Wplus/sigma/y0_qt2": 0.6,
    "Wplus/dsigma_dqt/qt0": 0.2,
    "Wplus/A0/y0_qt0": 0.4,
    "Wminus/A4/y0_qt1": 0.3,
    "Wminus/A4/y0_qt2": 0.8,
}


def grown(names=tuple(SLOPES)):
    """Errors and slopes as of λ − 1 proportional to the size."""
    slope = np.array([SLOPES[name] for name in names])
    noise = (1 - slope) / slope / FACTORS[:, None]
    slopes, corrected = 1 / (1 + noise), np.sqrt(1 + noise)
    scale = 0.01 * (1 + np.arange(len(names)))
    return Growth(
        names=names,
        units=tuple("GeV" if name == "m_W" else "" for name in names),
        factors=FACTORS,
        naive=scale * slopes,
        barlow_beeston=scale * np.sqrt(corrected),
        corrected=scale * corrected,
        slopes=slopes,
    )


def test_the_median_and_the_weakest_number_of_a_family_are_chosen():
    found = representatives(grown())
    assert list(found.values()) == [
        ("m_W",),
        ("Wplus/sigma/y0_qt2", "Wplus/sigma/y0_qt1"),
        ("Wplus/A0/y0_qt0", "Wminus/A4/y0_qt1"),
    ]


def test_strengths_are_chosen_where_nothing_else_is_measured():
    names = ("Wplus/W_UL_y0_qt0",)
    assert representatives(grown(names)) == {"strengths": names}


def test_errors_are_drawn_in_units_of_those_without_noise():
    table = grown()
    figure = plot_growth(table, representatives(table), label=LABEL)
    top, bottom = figure.axes[:3], figure.axes[3:]
    column = table.names.index("Wplus/sigma/y0_qt1")
    lines = [line for line in top[1].lines if line.get_linestyle() == "--"]
    naive, lite, corrected = (line.get_ydata() for line in lines)
    for drawn, errors in (
        (naive, table.naive),
        (lite, table.barlow_beeston),
        (corrected, table.corrected),
    ):
        assert_allclose(drawn, errors[:3, column] / table.corrected[3, column])
    assert lines[0].get_xdata().tolist() == [0.5, 1, 10]
    (slopes,) = (line for line in bottom[1].lines if line.get_linestyle() == "--")
    assert_allclose(slopes.get_ydata(), table.slopes[:3, column])
    assert slopes.get_ydata()[1] == pytest.approx(0.5)
    assert top[0].get_xscale() == top[0].get_yscale() == "log"
    texts = [text.get_text() for text in top[0].get_legend().get_texts()]
    assert texts == [
        "m_W: ± 0.02 GeV at ∞",
        *("naive", "Barlow-Beeston", "corrected"),
    ]


@pytest.mark.parametrize(("smallest", "low"), [(0.3, 0.0), (-0.4, -0.4)])
def test_slopes_below_zero_are_seen(smallest, low):
    table = grown(("m_W",))
    table.slopes[0] = smallest
    figure = plot_growth(table, representatives(table), label=LABEL)
    assert figure.axes[1].get_ylim() == (low, 1.05)


def test_one_family_is_one_column():
    table = grown(("m_W",))
    figure = plot_growth(table, representatives(table), label=LABEL)
    assert len(figure.axes) == 2
    assert figure.axes[0].get_title(loc="right") == LABEL.luminosity_text


def test_growth_without_a_value_at_hand_is_not_known():
    table = grown()
    assert is_known(table)
    missing = table.corrected.copy()
    missing[0] = np.nan
    assert is_known(replace(table, corrected=missing))
    missing[1] = np.nan
    assert not is_known(replace(table, corrected=missing))
