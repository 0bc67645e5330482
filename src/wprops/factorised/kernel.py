r"""The decay and the muon's measurement, for all bosons at once.

At given boson :math:`q_T`, :math:`u = \eta - Y`, generated transverse momentum
:math:`p` and azimuth :math:`\phi` from the boson, the boson's mass is fixed, so the
line shape is a factor (formulas: `wprops.physics.lepton_spectrum`). The acceptance of
the cut on mT is a Chebyshev series in :math:`\cos\phi`, which separates it from the
integral over the azimuth:

.. math::

    F_{kl}(q_T, u, p) &= \int_0^{2\pi} d\phi\, T_l(\cos\phi)\,
        \frac{d^3 N_k}{d\eta\, d\phi\, dp}, \\
    G_k(q_T, u, p') &= \sum_l E_l(q_T, p') \int dp\, R(p'|p)\, F_{kl}(q_T, u, p).

F knows nothing of the detector: one pass serves every response R and every acceptance
E. G is even in u, or odd for A1 and A4, and does not depend on the bins of Y.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Self

import numba
import numpy as np
from numpy.polynomial.chebyshev import chebvander
from numpy.typing import NDArray

from wprops.axes import EVEN_COMPONENTS
from wprops.errors import TemplateError
from wprops.factorised.lattice import LARGEST_RATIO, Lattice
from wprops.factorised.line_shape import CENTRE, HALF_WIDTH, LineShape
from wprops.factorised.panels import (
    MASS_RANGE,
    RATIO_ABSETA,
    Panels,
    gauss_legendre,
)

FloatArray = NDArray[np.float64]

N_COMPONENTS = len(EVEN_COMPONENTS)
# Values of u whose decays are in the cache together.
_BLOCK = 8
# The line shape of a muon at rest has a quarter of the boson's width in pT: equal
# steps of this size [GeV] resolve it, and the muon's resolution averages the rest ...
_PT_STEP = 0.2
# ... from this fraction of the lowest to this multiple of the highest measured pT.
_FINE = (0.9, 1.14)
# Harder muons come from fast bosons and lose energy: panels of 4 nodes [GeV].
_HARD_PT = (66.0, 72.0, 80.0, 92.0, 120.0)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DecayNodes:
    """Quadrature in the generated pT and in the azimuth; made by :meth:`of`.

    Attributes
    ----------
    pt, pt_weights : ndarray, shape (n,)
        Nodes and weights in the generated transverse momentum [GeV].
    phi : float
        Midpoints in azimuth per half circle, at least.
    phi_per_gev : float
        Midpoints per unit of qT [1/GeV].
    """

    pt: FloatArray
    pt_weights: FloatArray
    phi: float = 20.0
    phi_per_gev: float = 2.8

    @classmethod
    def of(cls, panels: Panels, *, finer: float = 1.0) -> Self:
        """Nodes for the fine bins of ``panels``, ``finer`` times as dense as usual."""
        low, high = panels.pt[0] * _FINE[0], panels.pt[-1] * _FINE[1]
        n = round(finer * (high - low) / _PT_STEP)
        step = (high - low) / n
        soft = gauss_legendre([panels.pt[0] / LARGEST_RATIO, low], round(8 * finer))
        edges = [high, *(edge for edge in _HARD_PT if edge > high + 1.0)]
        hard = gauss_legendre(edges, round(4 * finer))
        middle = low + step * (np.arange(n) + 0.5)
        return cls(
            pt=np.concatenate([soft[0].ravel(), middle, hard[0].ravel()]),
            pt_weights=np.concatenate(
                [soft[1].ravel(), np.full(n, step), hard[1].ravel()]
            ),
            phi=20.0 * finer,
            phi_per_gev=2.8 * finer,
        )

    def cosphi(self, qt: float) -> FloatArray:
        """Cosines of the midpoints at one qT [GeV]."""
        n = round(max(self.phi, self.phi_per_gev * qt))
        return np.cos(np.pi * (np.arange(n) + 0.5) / n)


def pt_nodes(panels: Panels) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights in the generated pT [GeV], shape (n,) each."""
    nodes = DecayNodes.of(panels)
    return nodes.pt, nodes.pt_weights


def decay_tensor(
    panels: Panels,
    line_shape: LineShape,
    responses: Mapping[str, FloatArray],
    acceptances: Mapping[str, FloatArray],
    pairs: Mapping[str, tuple[str, str]],
    *,
    nodes: DecayNodes | None = None,
    workers: int = 2,
) -> dict[str, FloatArray]:
    r"""Measured muons per decay of a boson, by helicity component.

    Every pair of a response and an acceptance takes 0.2 GB.

    Parameters
    ----------
    panels : Panels
        The grid; bosons are at its nodes in qT, muons in its fine bins of pT.
    line_shape : LineShape
        The boson's mass.
    responses : mapping of str to ndarray, shape (n_class, n_pt_nodes, n_pt)
        Probability that a muon at a node of `pt_nodes` is measured in a fine bin, by
        class of :math:`|\eta|`.
    acceptances : mapping of str to ndarray, shape (n_q, n_order, n_pt)
        Chebyshev coefficients of the acceptance of the cut on mT, from
        `wprops.factorised.recoil.acceptance`.
    pairs : mapping of str to (str, str)
        The wanted combinations: name of the response and of the acceptance.
    nodes : DecayNodes, optional
        The nodes of the responses, when they are not the usual ones.
    workers : int
        Threads; BLAS should have one (``OPENBLAS_NUM_THREADS=1``).

    Returns
    -------
    dict of str to ndarray, shape (n_class, n_q, 6, n_u, n_pt)
        Probability per unit of eta for the weights :math:`1 + \cos^2\theta^*` and
        :math:`P_0 \ldots P_4`, times :math:`3/16\pi`, at the lattice's :math:`u \ge 0`.

    Raises
    ------
    TemplateError
        If a table has another shape, a pair names no table, or the line shape reaches
        beyond the masses of the grid.

    References
    ----------
    E. Mirkes and J. Ohnemus, Phys. Rev. D 50 (1994) 5692, for the harmonics.
    """
    grid = nodes or DecayNodes.of(panels)
    qt = panels.qt_nodes.ravel()
    _check(panels, line_shape, grid, responses, acceptances, pairs)
    u = Lattice.of(panels).u
    n_class, n_pt = len(RATIO_ABSETA) - 1, panels.pt.size - 1
    shape = (n_class, qt.size, N_COMPONENTS, u.size, n_pt)
    out = {name: np.zeros(shape) for name in pairs}
    targets = [
        (
            # Classes and bins are columns of one matrix, nodes are rows.
            np.ascontiguousarray(
                (responses[label] * grid.pt_weights[:, None]).swapaxes(0, 1)
            ).reshape(grid.pt.size, -1),
            [
                (np.ascontiguousarray(acceptances[acceptance]), out[name])
                for name, (response, acceptance) in pairs.items()
                if response == label
            ],
        )
        for label in dict.fromkeys(response for response, _ in pairs.values())
    ]
    work = partial(
        _fill_boson,
        line_shape=line_shape,
        grid=grid,
        u=u,
        targets=targets,
    )
    with ThreadPoolExecutor(workers) as pool:
        # The most expensive first, so that no thread waits long for another.
        for _ in pool.map(work, range(qt.size - 1, -1, -1), qt[::-1]):
            pass
    return out


def _check(
    panels: Panels,
    line_shape: LineShape,
    grid: DecayNodes,
    responses: Mapping[str, FloatArray],
    acceptances: Mapping[str, FloatArray],
    pairs: Mapping[str, tuple[str, str]],
) -> None:
    low, high = line_shape.window
    if not MASS_RANGE[0] <= low < high <= MASS_RANGE[1]:
        msg = (
            f"the line shape has the window {low:g} to {high:g} GeV, but factorised "
            f"templates reach from {MASS_RANGE[0]:g} to {MASS_RANGE[1]:g}"
        )
        raise TemplateError(msg)
    n_q, n_pt = panels.qt_nodes.size, panels.pt.size - 1
    for name, (response, acceptance) in pairs.items():
        for kind, key, tables in (
            ("response", response, responses),
            ("acceptance", acceptance, acceptances),
        ):
            if key not in tables:
                msg = (
                    f"pair {name!r} needs the {kind} {key!r}, which is not among "
                    f"{', '.join(tables)}"
                )
                raise TemplateError(msg)
        found = responses[response].shape
        expected = (len(RATIO_ABSETA) - 1, grid.pt.size, n_pt)
        if found != expected:
            msg = (
                f"response {response!r} has shape {found}, expected {expected}: "
                "classes of |eta|, nodes of `pt_nodes` and fine bins of pT"
            )
            raise TemplateError(msg)
        found = acceptances[acceptance].shape
        if len(found) != 3 or found[::2] != (n_q, n_pt):
            msg = (
                f"acceptance {acceptance!r} has shape {found}, expected "
                f"({n_q}, any, {n_pt}): nodes in qT, orders and fine bins of pT"
            )
            raise TemplateError(msg)


def _fill_boson(
    i: int,
    qt: float,
    *,
    line_shape: LineShape,
    grid: DecayNodes,
    u: FloatArray,
    targets: Sequence[tuple[FloatArray, Sequence[tuple[FloatArray, FloatArray]]]],
) -> None:
    """Fill qT node ``i``: of every response its acceptances, each with its tensor."""
    tables = [table[i] for _, accepted in targets for table, _ in accepted]
    used = [np.flatnonzero(table.any(axis=1)) for table in tables]
    # A cut that nothing passes has no order at all.
    n_order = 1 + max((int(orders[-1]) for orders in used if orders.size), default=-1)
    if n_order == 0:
        return
    cosphi = grid.cosphi(qt)
    chebyshev = np.ascontiguousarray(chebvander(cosphi, n_order - 1).T)
    line = (line_shape.pole, line_shape.width, *line_shape.window)
    powers = np.asarray(line_shape.coefficients, dtype=float)
    first, last = _reach(qt, u, grid.pt, *line_shape.window)
    for start in range(0, u.size, _BLOCK):
        block = slice(start, min(start + _BLOCK, u.size))
        # Larger u need softer muons.
        begin, end = first[block].min(), last[block].max()
        if begin >= end:
            continue
        pt = grid.pt[begin:end]
        decays = np.empty((block.stop - start, N_COMPONENTS, n_order, pt.size))
        density = np.empty((N_COMPONENTS, cosphi.size, pt.size))
        for k, value in enumerate(u[block]):
            _fill_density(qt, value, pt, cosphi, line, powers, density)
            np.matmul(chebyshev, density, out=decays[k])
        shape = (*decays.shape[:3], -1, tables[0].shape[1])
        for matrix, accepted in targets:
            measured = decays.reshape(-1, pt.size) @ matrix[begin:end]
            for table, tensor in accepted:
                _accept(measured.reshape(shape), table[i], tensor[:, i, :, block])


def _reach(
    qt: float, u: FloatArray, pt: FloatArray, low: float, high: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and past-the-last node in pT of masses in the window, for every u."""
    cosh = np.cosh(u)
    slowest = low**2 / 2 / (np.hypot(low, qt) * cosh + qt)
    fastest = high**2 / 2 / (np.hypot(high, qt) * cosh - qt)
    return np.searchsorted(pt, slowest), np.searchsorted(pt, fastest, side="right")


# Divisions without a check for zero and sums in any order let the inner loops run on
# vector registers.
@numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"}
)
def _fill_density(qt, u, pt, cosphi, line, powers, out):  # type: ignore[no-untyped-def]
    """Set ``out``, shape (6, n_phi, n_pt), to the density times the step in azimuth.

    ``line`` is pole, width, and the lowest and highest mass; ``powers`` multiply them.
    """
    pole, width, low, high = line
    pg = pole * width
    span = np.arctan((high**2 - pole**2) / pg) - np.arctan((low**2 - pole**2) / pg)
    # The sum over φ covers half a circle, the other half is the same.
    scale = 2.0 * np.pi / cosphi.size * 3.0 / (16.0 * np.pi) * 4.0 * pg / span
    cosh, sinh = np.cosh(u), np.sinh(u)
    weight, energy, m = np.empty(pt.size), np.empty(pt.size), np.empty(pt.size)
    for i in range(cosphi.size):
        x = cosphi[i]
        for j in range(pt.size):
            p = pt[j]
            e_nu = np.sqrt((p * cosh) ** 2 + qt * qt - 2.0 * p * qt * x)
            energy[j] = p * cosh + e_nu
            m2 = energy[j] * energy[j] - qt * qt
            m[j] = np.sqrt(m2)
            off = m2 - pole * pole
            w = scale * p * energy[j] / (e_nu * (off * off + pg * pg))
            weight[j] = w if low * low <= m2 <= high * high else 0.0
        if powers.size > 1 or powers[0] != 1.0:
            for j in range(pt.size):
                value = 0.0
                for k in range(powers.size - 1, -1, -1):
                    value = value * (m[j] - CENTRE) / HALF_WIDTH + powers[k]
                weight[j] *= value
        for j in range(pt.size):
            w, ratio = weight[j], 2.0 * pt[j] / (m[j] * m[j])
            c = ratio * m[j] * sinh
            sx = ratio * (energy[j] * x - qt * cosh)
            out[0, i, j] = w * (1.0 + c * c)
            out[1, i, j] = w * 0.5 * (1.0 - 3.0 * c * c)
            out[2, i, j] = w * 2.0 * c * sx
            out[3, i, j] = w * 0.5 * (sx * sx - 2.0 * pt[j] * ratio * (1.0 - x * x))
            out[4, i, j] = w * sx
            out[5, i, j] = w * c


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _accept(measured, table, out):  # type: ignore[no-untyped-def]
    """Set ``out``, shape (n_class, 6, n_u, n_pt), to Σ_l E_l ``measured``."""
    n_u, n_k, n_order, n_class, n_pt = measured.shape
    total = np.empty((n_class, n_pt))
    for i in range(n_u):
        for k in range(n_k):
            total[:] = 0.0
            for order in range(min(n_order, table.shape[0])):
                for c in range(n_class):
                    for j in range(n_pt):
                        total[c, j] += table[order, j] * measured[i, k, order, c, j]
            out[:, k, i] = total
