r"""The spectrum of bosons in qT and \|Y\| as a smooth function.

.. math:: \log S(q, y) = \log q + \sum_{ab} c_{ab} T_a(x) T_b(z), \quad
          x \propto \log(1 + q/5), \quad z \propto y^2 ,

with Chebyshev polynomials on the range of the fit. The factor q is that of a vector's
length, even powers of y are those of collisions of like beams. Counts of cells are
compared with integrals over them. A few dozen parameters keep the noise of the events
out of all templates alike, and out of their differences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.errors import TemplateError
from wprops.factorised.goodness import p_values, require_fit
from wprops.factorised.panels import Panels
from wprops.factorised.spectrum_cells import (
    CellIntegrals,
    cell_integrals,
    log_qt,
    pearson,
    polynomials,
)
from wprops.physics.row_fits import invert_rows, minimise_rows

FloatArray = NDArray[np.float64]

#: Degrees in qT and in |Y| of a fit by itself.
DEGREES = (6, 3)
#: Those of the measured range, of high |Y| and of high qT. A sample of 1e8 events sees
#: no difference to the spectra of either charge: χ² of exact counts is below 2.
DEGREES_OF_RANGES = ((8, 5), (7, 4), (3, 6))


@dataclass(frozen=True, slots=True, eq=False)
class SpectrumFit:
    r"""A fitted spectrum; leading axes are those of the counts.

    Attributes
    ----------
    qt_range, absy_range : tuple of float
        The range of the fit, qT in GeV.
    degrees : tuple of int
        Degrees in qT and in \|Y\|.
    parameters : ndarray, shape (..., k)
        Factors of the products of polynomials, that in \|Y\| running fastest.
    covariance : ndarray, shape (..., k, k)
        Their covariance.
    chi2, ndf : ndarray, shape (...)
        Goodness of the fit.
    """

    qt_range: tuple[float, float]
    absy_range: tuple[float, float]
    degrees: tuple[int, int]
    parameters: FloatArray
    covariance: FloatArray
    chi2: FloatArray
    ndf: NDArray[np.int64]

    @property
    def p_value(self) -> FloatArray:
        """Probability of a larger χ², shape (...)."""
        return p_values(self.chi2, self.ndf)

    def basis(self, qt: ArrayLike, absy: ArrayLike) -> FloatArray:
        """Return derivatives of the log of the density in the parameters."""
        qt, absy = np.broadcast_arrays(np.asarray(qt, float), np.asarray(absy, float))
        in_qt = polynomials(log_qt(qt), log_qt(self.qt_range), self.degrees[0])
        in_y = polynomials(absy**2, np.square(self.absy_range), self.degrees[1])
        products = in_qt[..., :, None] * in_y[..., None, :]
        return products.reshape(*qt.shape, -1)

    def density(self, qt: ArrayLike, absy: ArrayLike) -> FloatArray:
        r"""Events per GeV and unit of \|Y\|, both signs together.

        Parameters
        ----------
        qt, absy : array_like, broadcastable
            Points inside of the range [GeV], and absolute rapidity.

        Returns
        -------
        ndarray, shape (..., points)
        """
        log = np.tensordot(self.parameters, self.basis(qt, absy), axes=(-1, -1))
        return np.asarray(qt, dtype=float) * np.exp(log)


def fit_spectrum(
    counts: ArrayLike,
    squares: ArrayLike,
    qt_edges: ArrayLike,
    y_edges: ArrayLike,
    degrees: tuple[int, int] = DEGREES,
    *,
    start: FloatArray | None = None,
    operator: str = "boson spectrum",
    accept: bool = False,
) -> SpectrumFit:
    r"""Fit counts of bosons in cells of (qT, \|Y\|).

    The variance of a cell is its expected count times the mean weight κ = Σw²/Σw of
    its panel in qT, so that it depends neither on the fluctuation of the cell nor on
    signs of weights. The condition for the solution,
    :math:`\sum (n - \mu)\,\partial\mu / \kappa\mu = 0`, is that of the Poisson
    likelihood for events of equal weight (R. W. M. Wedderburn, Biometrika 61 (1974)
    439).

    Parameters
    ----------
    counts : array_like, shape (..., n_qt, n_y)
        Sums of weights.
    squares : array_like, broadcastable to the shape of counts
        Sums of squared weights; those of the nominal sample for a variation, whose
        fluctuations then cancel in the difference.
    qt_edges, y_edges : array_like, shapes (n_qt + 1,), (n_y + 1,)
        Edges of the cells [GeV], and in \|Y\|.
    degrees : tuple of int
        Degrees of the polynomials in qT and \|Y\|.
    start : ndarray, shape (..., k), optional
        Parameters to start from, such as those of the nominal fit.
    operator : str
        Name of the fit in messages.
    accept : bool
        Whether to take a fit that does not describe the counts.

    Returns
    -------
    SpectrumFit

    Raises
    ------
    TemplateError
        If shapes do not match, there are more parameters than cells, or a panel in qT
        has no positive sum of weights.
    FitError
        If a fit is not found, or its p-value is below 1e-4 and it is not accepted.
    """
    qt_edges, y_edges = np.asarray(qt_edges, float), np.asarray(y_edges, float)
    values = np.asarray(counts, dtype=float)
    scale = _mean_weights(values, squares, qt_edges, y_edges, degrees, operator)
    lead, cells = values.shape[:-2], values.shape[-2] * values.shape[-1]
    rows, kappa = values.reshape(-1, cells), scale.reshape(-1, cells)
    design = cell_integrals(qt_edges, y_edges, degrees)
    k = (degrees[0] + 1) * (degrees[1] + 1)
    if start is None:
        begin = _start(design, rows, qt_edges, y_edges)
    else:
        begin = np.broadcast_to(start, (*lead, k)).reshape(-1, k)

    def objective(chosen: NDArray[np.int64], parameters: FloatArray) -> FloatArray:
        mean, n = design.expected(parameters), rows[chosen]
        return 2 * np.sum((mean - n * np.log(mean)) / kappa[chosen], axis=1)

    def normal(
        chosen: NDArray[np.int64], parameters: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        mean, slopes = design.derivatives(parameters)
        weighted = slopes / (kappa[chosen] * mean)[..., None]
        gradient = np.einsum("rck,rc->rk", weighted, rows[chosen] - mean)
        return gradient, np.swapaxes(weighted, 1, 2) @ slopes

    found, finished = minimise_rows(objective, normal, begin)
    covariance, determined = invert_rows(normal(np.arange(len(rows)), found)[1])
    shape = (-1, *values.shape[-2:])
    chi2, n_terms = pearson(
        *(a.reshape(shape) for a in (rows, design.expected(found), kappa))
    )
    chi2[~(finished & determined)] = np.nan
    ndf = n_terms - k
    require_fit(
        operator,
        chi2,
        ndf,
        remedy=f"raise its degrees in qT and |Y|, now {degrees}",
        accept=accept,
    )
    return SpectrumFit(
        (float(qt_edges[0]), float(qt_edges[-1])),
        (float(y_edges[0]), float(y_edges[-1])),
        degrees,
        found.reshape(*lead, k),
        covariance.reshape(*lead, k, k),
        chi2.reshape(lead),
        ndf.reshape(lead),
    )


@dataclass(frozen=True, slots=True, eq=False)
class BosonFit:
    r"""The spectrum in all panels: the measured range and low acceptance.

    Attributes
    ----------
    measured : SpectrumFit
        The range of the cells.
    high_absy : SpectrumFit
        \|Y\| beyond the cells, at the qT of the cells.
    high_qt : SpectrumFit
        qT beyond the cells, at any \|Y\|.
    """

    measured: SpectrumFit
    high_absy: SpectrumFit
    high_qt: SpectrumFit

    @property
    def parts(self) -> tuple[SpectrumFit, SpectrumFit, SpectrumFit]:
        """The three fits."""
        return self.measured, self.high_absy, self.high_qt

    def densities(self, panels: Panels) -> FloatArray:
        r"""Events per GeV and unit of \|Y\| at the nodes of all panels.

        Returns
        -------
        ndarray, shape (..., n_qt_panels, n_qt_nodes, n_absy_panels, n_absy_nodes)
        """
        lead = self.measured.parameters.shape[:-1]
        qt, absy = panels.qt_nodes, panels.absy_nodes
        out = np.empty((*lead, *qt.shape, *absy.shape))
        for fit, (in_qt, in_y) in zip(self.parts, _ranges(panels), strict=True):
            points = qt[in_qt][:, :, None, None], absy[in_y]
            out[..., in_qt, :, in_y, :] = fit.density(*points)
        return out


def fit_boson(
    counts: ArrayLike,
    squares: ArrayLike,
    panels: Panels,
    *,
    nominal: BosonFit | None = None,
    operator: str = "boson spectrum",
    accept: bool = False,
) -> BosonFit:
    r"""Fit the spectrum in three ranges: measured, high \|Y\| and high qT.

    Parameters
    ----------
    counts, squares : array_like, shape (..., n_qt_panels, n_absy_panels)
        As for `fit_spectrum`, of the panels.
    panels : Panels
        The grid.
    nominal : BosonFit, optional
        Fit of the nominal sample, without leading axes, where variations start.
    operator, accept
        As for `fit_spectrum`.

    Returns
    -------
    BosonFit

    Raises
    ------
    TemplateError, FitError
        As `fit_spectrum`; a FitError names the range.
    """
    values, squares = np.asarray(counts, float), np.asarray(squares, float)
    names = ("", " at high |Y|", " at high qT")
    begin = (
        (None,) * 3 if nominal is None else tuple(p.parameters for p in nominal.parts)
    )
    fits = [
        fit_spectrum(
            values[..., in_qt, in_y],
            squares[..., in_qt, in_y],
            panels.qt[in_qt.start : in_qt.stop + 1],
            panels.absy[in_y.start : in_y.stop + 1],
            DEGREES_OF_RANGES[i],
            start=begin[i],
            operator=operator + names[i],
            accept=accept,
        )
        for i, (in_qt, in_y) in enumerate(_ranges(panels))
    ]
    return BosonFit(*fits)


def _ranges(panels: Panels) -> tuple[tuple[slice, slice], ...]:
    """Panels in qT and |Y| of the three ranges."""
    n_qt, n_y = len(panels.qt) - 1, len(panels.absy) - 1
    i = int(np.searchsorted(panels.qt, panels.binning.qt[-1]))
    j = int(np.searchsorted(panels.absy, panels.binning.absy[-1]))
    return (
        (slice(0, i), slice(0, j)),
        (slice(0, i), slice(j, n_y)),
        (slice(i, n_qt), slice(0, n_y)),
    )


def _start(
    design: CellIntegrals, rows: FloatArray, qt_edges: FloatArray, y_edges: FloatArray
) -> FloatArray:
    """Straight fit of the log of counts over integrals of qT, at the middle nodes."""
    area = np.outer(np.diff(qt_edges**2) / 2, np.diff(y_edges)).ravel()
    positive = np.maximum(rows, 1e-6 * rows.max(axis=1, keepdims=True))
    middle = (a[:, a.shape[1] // 2] for a in (design.in_qt, design.in_y))
    basis = np.einsum("qa,yb->qyab", *middle).reshape(rows.shape[1], -1)
    weight = np.sqrt(positive)
    found = [
        np.linalg.lstsq(basis * w[:, None], w * np.log(n / area), rcond=None)[0]
        for n, w in zip(positive, weight, strict=True)
    ]
    return np.stack(found)


def _mean_weights(
    counts: FloatArray,
    squares: ArrayLike,
    qt_edges: FloatArray,
    y_edges: FloatArray,
    degrees: tuple[int, int],
    operator: str,
) -> FloatArray:
    """Σw²/Σw of each panel in qT, for all of its cells; checks the shapes."""
    expected = len(qt_edges) - 1, len(y_edges) - 1
    if counts.shape[-2:] != expected:
        msg = (
            f"counts of the {operator} have the shape {counts.shape}, but the edges "
            f"make {expected} cells in qT and |Y|"
        )
        raise TemplateError(msg)
    if degrees[0] >= expected[0] or degrees[1] >= expected[1]:
        msg = (
            f"degrees {degrees} of the {operator} need more than the {expected} cells "
            "in qT and |Y|; lower them"
        )
        raise TemplateError(msg)
    second = np.broadcast_to(np.asarray(squares, float), counts.shape).sum(axis=-1)
    first = counts.sum(axis=-1)
    if not (np.isfinite(first) & (first > 0) & (second > 0)).all():
        bad = int(np.argwhere(~((first > 0) & (second > 0)))[0, -1])
        msg = (
            f"the {operator} has no positive sum of weights at qT from "
            f"{qt_edges[bad]:g} to {qt_edges[bad + 1]:g} GeV; the sample needs more "
            "events there"
        )
        raise TemplateError(msg)
    return np.broadcast_to((second / first)[..., None], counts.shape)
