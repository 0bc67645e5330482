"""The grid: its edges, nodes and lattice."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from wprops.axes import COARSE, FULL
from wprops.errors import ConfigError
from wprops.factorised.panels import (
    MASS,
    RATIO,
    RESIDUAL_PAR,
    RESIDUAL_PERP,
    Panels,
)


@pytest.mark.parametrize("binning", [FULL, COARSE])
def test_edges_of_bins_are_edges_of_panels(binning):
    panels = Panels.of(binning)
    for bins, edges in (
        (binning.qt, panels.qt),
        (binning.absy, panels.absy),
        (binning.eta, panels.eta),
        (binning.pt, panels.pt),
        (binning.pt, panels.efficiency_pt),
    ):
        # To the bit: an event must not be on different sides of one edge.
        assert set(bins) <= set(edges)
        assert (np.diff(edges) > 0).all()
    assert_array_equal(panels.qt[-5:], [60.0, 80.0, 110.0, 150.0, 200.0])
    assert 48.0 in panels.qt
    assert (panels.absy[0], panels.absy[-1], len(panels.absy)) == (0.0, 5.0, 51)
    assert_allclose(np.diff(panels.pt), 0.25, rtol=1e-12)


def test_a_coarse_binning_has_the_panels_of_the_full_one():
    coarse, full = Panels.of(COARSE), Panels.of(FULL)
    assert_array_equal(coarse.qt, full.qt)
    assert_array_equal(coarse.pt, full.pt)
    assert coarse != full


def test_differences_of_nodes_form_a_lattice():
    panels = Panels.of(FULL)
    u = panels.eta_nodes[:, :, None, None] - panels.absy_nodes
    offsets = (np.polynomial.legendre.leggauss(3)[0]) * 0.05
    steps = (u - offsets[:, None, None] + offsets) / 0.1
    assert_allclose(steps, np.round(steps), atol=1e-9)


@pytest.mark.parametrize(
    ("nodes", "weights", "edges", "degree"),
    [
        ("qt_nodes", "qt_weights", "qt", 7),
        ("absy_nodes", "absy_weights", "absy", 5),
        ("eta_nodes", "eta_weights", "eta", 5),
    ],
)
def test_integrals_of_polynomials_are_exact(nodes, weights, edges, degree):
    panels = Panels.of(FULL)
    low, high = getattr(panels, edges)[:-1], getattr(panels, edges)[1:]
    n = degree + 1
    exact = (high**n - low**n) / n
    found = (getattr(panels, weights) * getattr(panels, nodes) ** degree).sum(axis=1)
    assert_allclose(found, exact, rtol=1e-11, atol=1e-14)


def test_bins_are_as_wide_as_they_should_be():
    assert (len(RATIO), RATIO[0], RATIO[-1]) == (601, 0.3, 1.5)
    assert_allclose(np.diff(RATIO[:121]), 0.005, rtol=1e-9)
    assert_allclose(np.diff(RATIO[120:521]), 0.0005, rtol=1e-9)
    assert_allclose(np.diff(RATIO[520:]), 0.005, rtol=1e-9)
    assert (len(MASS), MASS[0], MASS[-1]) == (1401, 50.0, 120.0)
    assert (len(RESIDUAL_PAR), RESIDUAL_PAR[0], RESIDUAL_PAR[-1]) == (91, -90.0, 90.0)
    assert (len(RESIDUAL_PERP), RESIDUAL_PERP[0], RESIDUAL_PERP[-1]) == (46, 0.0, 90.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"absy": (0.0, 0.25, 2.4)},
            r"binning.absy has the edge 0.25, .*multiple of 0",
        ),
        ({"eta": (-2.4, 0.05, 2.4)}, r"binning.eta has the edge 0.05"),
        (
            {"pt": (25.0, 30.2, 55.0)},
            r"binning.pt has the edge 30.2, .*multiple of 0.5",
        ),
        ({"absy": (0.0, 6.0)}, r"binning.absy has the edge 6, .*reach from 0 to 4"),
        ({"eta": (-2.5, 2.5)}, r"binning.eta has the edge -2.5, .*from -2.4 to 2.4"),
        ({"qt": (0.0, 300.0)}, r"binning.qt has the edge 300, .*from 0 to 60"),
    ],
)
def test_edges_between_panels_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        Panels.of(dataclasses.replace(FULL, **changes))
