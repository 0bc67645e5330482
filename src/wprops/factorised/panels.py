"""The grid of the factorised templates: panels, quadrature nodes and classes.

Sums over events and integrals over the decay share one grid. Bosons are summed in
panels of qT and |Y|, at the nodes of Gauss-Legendre rules; the muon's eta has panels
of the same width and rule as |Y|, so that the differences eta - Y, on which the decay
depends, form a lattice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.polynomial.legendre import leggauss
from numpy.typing import ArrayLike, NDArray

from wprops.axes import FULL, Binning
from wprops.errors import ConfigError

FloatArray = NDArray[np.float64]

#: Width of the panels of eta and |Y|.
STEP = 0.1
#: Bosons beyond this |Y| or the last edge of qT are in no panel.
ABSY_MAX = 5.0
#: Cells reach no further: the spectrum beyond them is fitted in panels of its own.
CELL_ABSY_MAX, QT_MAX = 4.0, 60.0
#: Muons with more pT [GeV] could come, by radiation, from beyond the generated nodes.
PT_MAX = 60.0
#: Edges of panels in qT above the last cell [GeV].
LOW_ACCEPTANCE_QT = (80.0, 110.0, 150.0, 200.0)
#: The last cell is too wide for one panel, and is split here [GeV].
SPLIT_QT = 48.0
#: Width of the fine bins of reconstructed pT, and of those of efficiencies [GeV].
PT_STEP = 0.25
EFFICIENCY_PT_STEP = 0.5
#: Classes of the response pT_reco / pT_gen: |eta| and generated pT [GeV].
RATIO_ABSETA = (0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 2.4)
RATIO_PT = (15.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0, 60.0, 80.0, 150.0)
#: Reconstructed pT [GeV] of the muons whose recoil is summed: wider than any template,
#: and far from the muons that are hardly efficient.
RECOIL_PT = (20.0, 70.0)
#: Residuals of the recoil beyond this count in the edge cells; width of cells [GeV].
RESIDUAL_MAX = 90.0
RESIDUAL_STEP = 2.0
#: Range and width of the bins of the boson's mass [GeV].
MASS_RANGE = (50.0, 120.0)
MASS_STEP = 0.05


def _steps(low: float, high: float, step: float) -> FloatArray:
    """Edges at multiples of a step; the division keeps them free of rounding."""
    per_unit = round(1.0 / step)
    return np.arange(round(low * per_unit), round(high * per_unit) + 1) / per_unit


#: Edges of bins of the response: fine where the core of the muons is.
RATIO = np.concatenate(
    [_steps(0.3, 0.9, 0.005), _steps(0.9, 1.1, 0.0005)[1:], _steps(1.1, 1.5, 0.005)[1:]]
)
#: Edges of cells of the residual along qT, and of its size across [GeV].
RESIDUAL_PAR = np.arange(-RESIDUAL_MAX, RESIDUAL_MAX + RESIDUAL_STEP, RESIDUAL_STEP)
RESIDUAL_PERP = np.arange(0.0, RESIDUAL_MAX + RESIDUAL_STEP, RESIDUAL_STEP)
#: Edges of bins of the boson's mass [GeV].
MASS = _steps(*MASS_RANGE, MASS_STEP)


def gauss_legendre(edges: ArrayLike, n: int) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of the n-point rule on each panel, shapes (n panels, n)."""
    x, w = leggauss(n)
    edge = np.asarray(edges, dtype=float)
    half = np.diff(edge)[:, None] / 2
    return (edge[:-1] + edge[1:])[:, None] / 2 + half * x, half * w


@dataclass(frozen=True, kw_only=True, slots=True)
class Panels:
    """Edges of all panels and classes of one binning; made by :meth:`of`.

    Attributes
    ----------
    binning : Binning
        The binning of the measurement, of whose bins the panels are parts.
    n_qt_nodes, n_y_nodes : int
        Nodes per panel of qT, and of |Y| and eta.
    qt, absy : numpy.ndarray
        Edges of the bosons' panels in qT [GeV] and |Y|, beyond the cells.
    eta : numpy.ndarray
        Edges of the panels in the muon's eta.
    pt : numpy.ndarray
        Edges of the fine bins of reconstructed pT [GeV].
    efficiency_pt : numpy.ndarray
        Edges of the efficiency's bins in reconstructed pT [GeV]; those in eta are
        the binning's.
    """

    binning: Binning
    n_qt_nodes: int = 4
    n_y_nodes: int = 3
    qt: FloatArray = field(compare=False, repr=False)
    absy: FloatArray = field(compare=False, repr=False)
    eta: FloatArray = field(compare=False, repr=False)
    pt: FloatArray = field(compare=False, repr=False)
    efficiency_pt: FloatArray = field(compare=False, repr=False)

    @classmethod
    def of(cls, binning: Binning, *, n_qt_nodes: int = 4, n_y_nodes: int = 3) -> Self:
        """Lay panels over a binning.

        Parameters
        ----------
        binning : Binning
            Edges of absy and eta have to be multiples of 0.1, those of pT of 0.5 GeV.
        n_qt_nodes, n_y_nodes : int
            Nodes per panel; with the defaults integrals are exact for polynomials of
            degree 7 and 5, and moments of events for degree 3 and 2.

        Raises
        ------
        ConfigError
            Edges are between the panels' or beyond their range.
        """
        checks = (
            ("absy", binning.absy, STEP, (0.0, CELL_ABSY_MAX)),
            ("eta", binning.eta, STEP, (-RATIO_ABSETA[-1], RATIO_ABSETA[-1])),
            ("pt", binning.pt, EFFICIENCY_PT_STEP, (RATIO_PT[0], PT_MAX)),
            ("qt", binning.qt, None, (0.0, QT_MAX)),
        )
        for axis, edges, step, limits in checks:
            _check(axis, edges, step, limits)
        beyond = [edge for edge in LOW_ACCEPTANCE_QT if edge > binning.qt[-1]]
        qt = np.unique([*binning.qt, *FULL.qt, SPLIT_QT, *beyond])
        return cls(
            binning=binning,
            n_qt_nodes=n_qt_nodes,
            n_y_nodes=n_y_nodes,
            qt=qt,
            absy=_steps(0.0, ABSY_MAX, STEP),
            eta=_steps(binning.eta[0], binning.eta[-1], STEP),
            pt=_steps(binning.pt[0], binning.pt[-1], PT_STEP),
            efficiency_pt=_steps(binning.pt[0], binning.pt[-1], EFFICIENCY_PT_STEP),
        )

    @property
    def qt_nodes(self) -> FloatArray:
        """Nodes in qT [GeV], shape (n panels, n nodes)."""
        return gauss_legendre(self.qt, self.n_qt_nodes)[0]

    @property
    def qt_weights(self) -> FloatArray:
        """Weights of the nodes in qT [GeV], shape (n panels, n nodes)."""
        return gauss_legendre(self.qt, self.n_qt_nodes)[1]

    @property
    def absy_nodes(self) -> FloatArray:
        """Nodes in |Y|, shape (n panels, n nodes)."""
        return gauss_legendre(self.absy, self.n_y_nodes)[0]

    @property
    def absy_weights(self) -> FloatArray:
        """Weights of the nodes in |Y|, shape (n panels, n nodes)."""
        return gauss_legendre(self.absy, self.n_y_nodes)[1]

    @property
    def eta_nodes(self) -> FloatArray:
        """Nodes in eta, shape (n panels, n nodes), at the same places as in |Y|."""
        return gauss_legendre(self.eta, self.n_y_nodes)[0]

    @property
    def eta_weights(self) -> FloatArray:
        """Weights of the nodes in eta, shape (n panels, n nodes)."""
        return gauss_legendre(self.eta, self.n_y_nodes)[1]

    @property
    def pt_centres(self) -> FloatArray:
        """Centres of the fine bins of reconstructed pT [GeV]."""
        return (self.pt[:-1] + self.pt[1:]) / 2


def _check(
    axis: str,
    edges: tuple[float, ...],
    step: float | None,
    limits: tuple[float, float],
) -> None:
    low, high = limits
    for edge in edges:
        if not low <= edge <= high:
            msg = (
                f"binning.{axis} has the edge {edge:g}, but factorised templates "
                f"reach from {low:g} to {high:g}; choose edges inside"
            )
            raise ConfigError(msg)
        if step and abs(edge / step - round(edge / step)) > 1e-6:
            msg = (
                f"binning.{axis} has the edge {edge:g}, which is no multiple of "
                f"{step:g}; factorised templates need edges of their panels"
            )
            raise ConfigError(msg)
