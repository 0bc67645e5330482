r"""Templates from the decay tensor: sums over bosons, then over the muon's bins.

With :math:`S_k` the density of bosons of both signs of Y, for component k multiplied
by its angular coefficient or not,

.. math::

    H_k(\eta, p') &= \int dq_T\, d|Y|\, \tfrac12 S_k(q_T, |Y|)
        \left[ G_k(q_T, \eta - |Y|, p') + G_k(q_T, -\eta - |Y|, p') \right], \\
    T_k(\text{bin}) &= \int d\eta \sum_{p'} \varepsilon(\eta, p')\, H_k(\eta, p'),

because the Collins-Soper axis follows the boson, so that a decay at negative Y is the
mirror image. H is even in eta: it is computed for :math:`|\eta|`, and only the
efficiency tells the two sides apart.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from wprops.axes import EVEN_COMPONENTS
from wprops.errors import TemplateError
from wprops.factorised.lattice import Lattice
from wprops.factorised.panels import ABSY_MAX, RATIO_ABSETA, STEP, Panels
from wprops.templates.filling import bin_index

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Components that change sign with u.
_IS_ODD = tuple(name in ("A1", "A4") for name in EVEN_COMPONENTS)
# The row of the lattice where the panels of eta and Y are the same.
_SAME_PANEL = round((ABSY_MAX + RATIO_ABSETA[-1]) / STEP)


def cells_of(panels: Panels) -> IntArray:
    """Cell of every panel, shape (n_qpanel, n_ypanel).

    Cells are numbered with |Y| slow and qT fast, as in the templates of events; one
    more holds all panels outside of the cells, the low acceptance.
    """
    binning = panels.binning
    slow = _bins(panels.absy, binning.absy)
    fast = _bins(panels.qt, binning.qt)[:, None]
    cell = slow * (len(binning.qt) - 1) + fast
    return np.where((slow >= 0) & (fast >= 0), cell, binning.n_cells)


def contract(
    tensor: FloatArray,
    source: FloatArray,
    panels: Panels,
    cells: IntArray,
    *,
    workers: int = 2,
) -> FloatArray:
    """Sum over the bosons of every cell.

    Parameters
    ----------
    tensor : ndarray, shape (n_class, n_q, 6, n_u, n_pt)
        From `wprops.factorised.kernel.decay_tensor`.
    source : ndarray, shape (1 or 6, n_q, n_y)
        Bosons of both signs of Y per unit of qT and |Y| [1/GeV] at the panels' nodes:
        the density alone, or for every component (`weighted_source`).
    panels : Panels
        The grid.
    cells : ndarray of int, shape (n_qpanel, n_ypanel)
        Cell of every panel from 0 up, as from `cells_of`; −1 for none.
    workers : int
        Threads.

    Returns
    -------
    ndarray, shape (n_cells, 6, n_abseta, n_pt)
        Muons per unit of eta in fine bins of pT, at the nodes in |eta|, with the
        acceptance of the cut on mT but before all other efficiencies.

    Raises
    ------
    TemplateError
        If an argument has another shape.

    References
    ----------
    The response is interpolated linearly between the centres of classes of |eta|.
    """
    lattice = Lattice.of(panels)
    n_q, n_y = panels.qt_nodes.size, panels.absy_nodes.size
    n_k, n_pt = len(EVEN_COMPONENTS), panels.pt.size - 1
    expected = (len(RATIO_ABSETA) - 1, n_q, n_k, lattice.u.size, n_pt)
    _check_shape("the decay tensor", tensor, expected)
    _check_shape("the source", source, (1 if len(source) == 1 else n_k, n_q, n_y))
    _check_shape("cells", cells, (panels.qt.size - 1, panels.absy.size - 1))
    measure = panels.qt_weights.reshape(-1, 1) * panels.absy_weights.ravel() / 2
    weight = np.broadcast_to(source * measure, (n_k, n_q, n_y)).reshape(
        n_k, *panels.qt_nodes.shape, *panels.absy_nodes.shape
    )
    abseta_panels, nodes = _abseta(panels)
    lower, share = eta_mixture(nodes)
    out = np.zeros((int(cells.max()) + 1, n_k, *nodes.shape, n_pt))
    work = partial(
        _sum_bosons,
        tensor=tensor.reshape(len(tensor), *weight.shape[1:3], *tensor.shape[2:]),
        weight=np.ascontiguousarray(weight),
        cells=cells,
        place=lattice.place,
        sign=lattice.sign,
        panels=abseta_panels,
        lower=lower,
        share=share,
        out=out,
    )
    with ThreadPoolExecutor(workers) as pool:
        # Components write to different places, so threads can share them.
        for _ in pool.map(work, range(n_k)):
            pass
    return out.reshape(*out.shape[:2], nodes.size, n_pt)


def bin_templates(
    contracted: FloatArray, efficiency: FloatArray, panels: Panels
) -> FloatArray:
    """Integrate over the bins of the muon.

    Parameters
    ----------
    contracted : ndarray, shape (..., n_abseta, n_pt)
        From `contract`.
    efficiency : ndarray, shape (n_eta_nodes, n_pt)
        Efficiency times all factors at the nodes in signed eta, in the fine bins.
    panels : Panels
        The grid, whose binning the result has.

    Returns
    -------
    ndarray, shape (..., n_eta, n_pt)
        Expected muons per bin.

    Raises
    ------
    TemplateError
        If an argument has another shape.
    """
    abseta_panels, nodes = _abseta(panels)
    n_pt = panels.pt.size - 1
    expected = (*contracted.shape[:-2], nodes.size, n_pt)
    _check_shape("the contracted tensor", contracted, expected)
    _check_shape("the efficiency", efficiency, (panels.eta_nodes.size, n_pt))
    # Nodes of a panel at negative eta are those of its mirror image, in falling order.
    start = np.round(panels.eta[:-1] / STEP).astype(np.int64)
    mirror = np.where(start >= 0, start, -start - 1) - abseta_panels[0]
    n_nodes = nodes.shape[1]
    inner = np.arange(n_nodes)
    order = np.where(start[:, None] >= 0, inner, inner[::-1])
    place = (mirror[:, None] * n_nodes + order).ravel()
    eta_bin = np.repeat(_bins(panels.eta, panels.binning.eta), n_nodes)
    pt_bin = _bins(panels.pt, panels.binning.pt)
    weight = efficiency * panels.eta_weights.reshape(-1, 1)
    flat = np.ascontiguousarray(contracted).reshape(-1, nodes.size, n_pt)
    out = np.zeros((len(flat), *panels.binning.shape))
    _sum_muons(flat, weight, place, eta_bin, pt_bin, out)
    return out.reshape(*contracted.shape[:-2], *panels.binning.shape)


def _check_shape(name: str, array: NDArray[Any], expected: tuple[int, ...]) -> None:
    if np.shape(array) != expected:
        msg = (
            f"{name} has shape {np.shape(array)}, expected {expected} for these "
            "panels; make all parts with the same binning"
        )
        raise TemplateError(msg)


def _bins(edges: FloatArray, of: tuple[float, ...]) -> IntArray:
    """Bin that holds each of the panels; −1 for none."""
    return bin_index((edges[:-1] + edges[1:]) / 2, of)


def _abseta(panels: Panels) -> tuple[IntArray, FloatArray]:
    """Numbers of the panels in |eta| from 0 up, and their nodes, a row per panel."""
    start = np.round(panels.eta[:-1] / STEP).astype(np.int64)
    numbers = np.unique(np.where(start >= 0, start, -start - 1))
    # The range is connected and, unless it is on one side, contains zero.
    offsets = panels.absy_nodes[0]
    return numbers, STEP * numbers[:, None] + offsets


def eta_mixture(abseta: FloatArray) -> tuple[IntArray, FloatArray]:
    r"""Lower one of two classes of \|eta\| to mix, and the share of the other one.

    Linear through the centres of the classes. Shares are negative, or above 1, in the
    outer halves of the first and the last class: a constant there would make the
    resolution of those muons wrong by as much as it changes in half a class.
    """
    edges = np.array(RATIO_ABSETA)
    centres = (edges[:-1] + edges[1:]) / 2
    lower = np.clip(np.searchsorted(centres, abseta) - 1, 0, centres.size - 2)
    share = (abseta - centres[lower]) / (centres[lower + 1] - centres[lower])
    return lower, share


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _sum_bosons(  # type: ignore[no-untyped-def]
    k, tensor, weight, cells, place, sign, panels, lower, share, out
):
    """Add component k to ``out``, shape (n_cells, 6, n_panel, n_nodes, n_pt)."""
    n_qpanel, n_q = weight.shape[1:3]
    n_ypanel, n_nodes = weight.shape[3:]
    for qp in range(n_qpanel):
        # One panel in qT is in the cache for all eta and Y.
        for i in range(panels.size):
            for a in range(n_nodes):
                near = tensor[lower[i, a], qp, :, k]
                far = tensor[lower[i, a] + 1, qp, :, k]
                t = share[i, a]
                for yp in range(n_ypanel):
                    if cells[qp, yp] < 0:
                        continue
                    row = out[cells[qp, yp], k, i, a]
                    for b in range(n_nodes):
                        # eta − |Y|, and −eta − |Y|: the mirrored node of the mirrored
                        # panel.
                        sides = (
                            (_SAME_PANEL + panels[i] - yp, a),
                            (_SAME_PANEL - panels[i] - 1 - yp, n_nodes - 1 - a),
                        )
                        for m, node in sides:
                            u = place[m, node, b]
                            if u < 0:
                                continue
                            turn = sign[m, node, b] if _IS_ODD[k] else 1.0
                            for q in range(n_q):
                                w = turn * weight[k, qp, q, yp, b]
                                _add(row, w * (1.0 - t), near[q, u], w * t, far[q, u])


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _add(row, v, near, w, far):  # type: ignore[no-untyped-def]
    for j in range(row.size):
        row[j] += v * near[j] + w * far[j]


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _sum_muons(contracted, weight, place, eta_bin, pt_bin, out):  # type: ignore[no-untyped-def]
    """Add (n, n_abseta, n_pt) times weights (n_eta, n_pt) to the bins of ``out``."""
    for n in range(len(contracted)):
        for e in range(place.size):
            for j in range(pt_bin.size):
                value = contracted[n, place[e], j] * weight[e, j]
                out[n, eta_bin[e], pt_bin[j]] += value
