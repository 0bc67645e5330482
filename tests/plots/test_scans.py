"""Figures of profile likelihoods show the points they are given."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.contour import QuadContourSet

from wprops.errors import ConfigError
from wprops.fit.intervals import Interval
from wprops.fit.scans import Scan
from wprops.plots.scans import plot_scan, plot_scan_plane
from wprops.plots.style import SampleLabel

LABEL = SampleLabel(luminosity=0.02)


@pytest.fixture
def line():
    points = np.array([[1.0], [-1.0], [0.0], [2.0]])
    nll = np.array([0.5, 0.6, 0.0, np.nan])
    return Scan(("mw",), points, nll, ("", "", "", "why"), np.zeros(1), np.eye(1))


@pytest.fixture
def plane():
    x, y = np.meshgrid([-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0, 4.0], indexing="ij")
    points = np.stack([x, y], axis=-1).reshape(-1, 2)
    nll = 0.5 * (points[:, 0] ** 2 + points[:, 1] ** 2)
    nll[-1] = np.nan
    return Scan(
        ("mw", "lumi"), points, nll, ("",) * 11 + ("why",), np.zeros(2), np.eye(2)
    )


def test_a_scan_is_drawn_in_order_beside_its_parabola(line):
    interval = Interval(
        *("mw", 0.0, 1.0, np.array([0.5]), np.array([-0.9]), np.array([1.0])),
        reasons=(),
    )
    ax = plot_scan(line, label=LABEL, interval=interval, unit="50 MeV").axes[0]
    curves = {drawn.get_label(): drawn for drawn in ax.lines}
    fit = curves["fit"]
    np.testing.assert_array_equal(fit.get_xdata(), [-1, 0, 1])
    np.testing.assert_array_equal(fit.get_ydata(), [1.2, 0, 1])
    x, y = curves["parabola of the Hessian"].get_data()
    np.testing.assert_allclose(y, x**2)
    assert ax.get_legend().get_title().get_text() == "1 points without a minimum"
    (band,) = ax.patches
    assert (band.get_x(), band.get_width()) == pytest.approx((-0.9, 1.9))
    assert ax.get_xlabel() == "mw [50 MeV]"


def test_a_plane_has_its_points_where_they_belong(plane):
    figure = plot_scan_plane(plane, label=LABEL)
    ax = figure.axes[0]
    mesh = ax.collections[0]
    shown = mesh.get_array().reshape(4, 3)
    x, y = np.array([-1, 0, 1]), np.array([-2, 0, 2, 4])
    expected = x[None, :] ** 2 + y[:, None] ** 2
    np.testing.assert_allclose(shown.compressed(), expected.ravel()[:-1])
    assert shown.mask.ravel().tolist() == [False] * 11 + [True]
    crosses = [drawn for drawn in ax.lines if drawn.get_marker() == "x"]
    assert crosses[0].get_xydata().tolist() == [[1, 4]]


def test_heights_that_a_plane_does_not_reach_are_not_drawn(plane):
    def n_contours(scan):
        ax = plot_scan_plane(scan, label=LABEL).axes[0]
        return sum(isinstance(drawn, QuadContourSet) for drawn in ax.collections)

    assert n_contours(plane) == 2
    assert n_contours(replace(plane, nll=0.1 * plane.nll)) == 0
    assert n_contours(replace(plane, nll=plane.nll + 10)) == 0
    assert n_contours(replace(plane, nll=np.full(12, np.nan))) == 0


def test_the_number_of_parameters_has_to_fit_the_figure(line, plane):
    with pytest.raises(ConfigError, match="has 2 parameters, this figure is for 1"):
        plot_scan(plane, label=LABEL)
    with pytest.raises(ConfigError, match="has 1 parameters, this figure is for 2"):
        plot_scan_plane(line, label=LABEL)


def test_scattered_points_are_no_plane(plane):
    scattered = Scan(
        plane.names,
        plane.points + np.arange(12)[:, None] / 100,
        plane.nll,
        plane.reasons,
        plane.best,
        plane.covariance,
    )
    with pytest.raises(ConfigError, match="12 points, which are no grid of 12 × 12"):
        plot_scan_plane(scattered, label=LABEL)
