"""The efficiency of muons as a smooth function of pT, per charge and bin of eta.

The curve minimises Σ u²/V of the differences u = P − εG between passing muons and those
that are expected, with the variance that the fit itself predicts, see
`wprops.factorised.efficiency_variance`: the condition Σ G u ∂ε/V = 0 has mean zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.errors import TemplateError
from wprops.factorised.efficiency_curves import SHAPES, Shape
from wprops.factorised.efficiency_variance import (
    Spread,
    inverse_variance,
    mean_squares,
)
from wprops.factorised.goodness import p_values, pick_shape, require_fit
from wprops.physics.rate_curves import Curve
from wprops.physics.row_fits import invert_rows, minimise_rows

FloatArray = NDArray[np.float64]

#: Variances are predicted again this many times, with the efficiencies of the last fit.
_ROUNDS = 3
#: A richer shape is taken if it improves χ² by more than chance does at this level.
_SIGNIFICANCE = 0.01
#: Shapes that a sample does not determine wander; others need about ten.
_MAX_ITERATIONS = 60


@dataclass(frozen=True, slots=True, eq=False)
class EfficiencyFit:
    """Fitted efficiencies; leading axes are those of the counts.

    Attributes
    ----------
    shape : Shape
        The curve, and which of its parameters are common to all rows.
    pt : ndarray, shape (n_pt,)
        Centres of the bins [GeV].
    parameters : ndarray, shape (..., charge, eta, k)
        Best values.
    covariance : ndarray, shape (..., charge, eta, k, k)
        Their covariance in each row.
    chi2, ndf : ndarray, shape (..., charge, eta)
        Goodness of the fit of each row, common parameters not subtracted.
    spread : Spread
        Sums of squares per muon, for fits of other sums of the same events.
    """

    shape: Shape
    pt: FloatArray
    parameters: FloatArray
    covariance: FloatArray
    chi2: FloatArray
    ndf: NDArray[np.int64]
    spread: Spread

    @property
    def p_value(self) -> FloatArray:
        """Probability of a larger χ² of all rows together, shape (...)."""
        return p_values(self.chi2.sum(axis=(-1, -2)), self.total_ndf)

    @property
    def curve(self) -> Curve:
        """The curve."""
        return self.shape.curve

    @property
    def total_ndf(self) -> NDArray[np.int64]:
        """Degrees of freedom of all rows together, shape (...)."""
        return self.ndf.sum(axis=(-1, -2)) - len(self.shape.tied)

    def values(self, pt: ArrayLike) -> FloatArray:
        """Efficiencies at reconstructed pT [GeV], shape (..., charge, eta, n_pt)."""
        return self.curve.value(np.asarray(pt, dtype=float), self.parameters)

    def variations(self, pt: ArrayLike) -> FloatArray:
        """Independent changes of one standard deviation, (k, ..., charge, eta, n_pt).

        Their squares add up to the variance of `values` in every row.
        """
        slopes = self.curve.jacobian(np.asarray(pt, dtype=float), self.parameters)
        return np.moveaxis(slopes @ np.linalg.cholesky(self.covariance), -1, 0)

    def errors(self, pt: ArrayLike) -> FloatArray:
        """Statistical errors of `values`."""
        slopes = self.curve.jacobian(np.asarray(pt, dtype=float), self.parameters)
        square = np.einsum("...pa,...ab,...pb->...p", slopes, self.covariance, slopes)
        return np.sqrt(square)


def fit_efficiency(
    counts: ArrayLike,
    squares: ArrayLike,
    pt_edges: ArrayLike,
    *,
    shape: Shape | None = None,
    accept: bool = False,
) -> EfficiencyFit:
    """Fit efficiencies of all charges and bins of eta, with the simplest shape.

    Of the shapes `SHAPES` the first that no richer one improves at the level of 1 % is
    taken, for all rows: a constant, the rise that an isolation makes, and a turn-on,
    whose parameters are common to all rows or their own. The efficiency of a bin is
    taken at its centre: with bins of 0.5 GeV its mean is less than 1e-4 away.

    Parameters
    ----------
    counts : array_like, shape (2, charge, eta, n_pt)
        Sums of weights of all muons and of those that pass.
    squares : array_like, shape (3, charge, eta, n_pt)
        Sums of w_g², w_g w_p and w_p².
    pt_edges : array_like, shape (n_pt + 1,)
        Edges of the bins of reconstructed pT [GeV].
    shape : Shape, optional
        The shape, if it is not to be chosen.
    accept : bool
        Whether to take a fit that does not describe the counts.

    Returns
    -------
    EfficiencyFit

    Raises
    ------
    TemplateError
        If shapes do not match or a row has no muons.
    FitError
        If a row is not fitted, the p-value of all rows together is below 1e-4, or that
        of one row is below 1e-4 divided by their number, and it is not accepted.
    """
    values, second = np.asarray(counts, float), np.asarray(squares, float)
    edges = np.asarray(pt_edges, dtype=float)
    pt, spread = (edges[1:] + edges[:-1]) / 2, mean_squares(values, second, edges)
    if shape is None:
        fits = [_fit(one, pt, values, spread) for one in SHAPES]
        chi2 = [float(np.nan_to_num(fit.chi2, nan=np.inf).sum()) for fit in fits]
        n_rows = values[0, ..., 0].size
        sizes = [one.n_parameters(n_rows) for one in SHAPES]
        chosen = fits[pick_shape(chi2, sizes, significance=_SIGNIFICANCE)]
    else:
        chosen = _fit(shape, pt, values, spread)
    _require(chosen, accept=accept)
    return chosen


def refit_efficiency(
    nominal: EfficiencyFit, counts: ArrayLike, *, accept: bool = False
) -> EfficiencyFit:
    """Fit other sums of the same events with the shape of a nominal fit.

    Parameters
    ----------
    nominal : EfficiencyFit
        Fit of the nominal sums.
    counts : array_like, shape (..., 2, charge, eta, n_pt)
        Sums of variations, or of all events but those of one fold.
    accept : bool
        As for `fit_efficiency`.

    Returns
    -------
    EfficiencyFit

    Raises
    ------
    TemplateError, FitError
        As `fit_efficiency`.
    """
    values = np.asarray(counts, dtype=float)
    rows = (*nominal.parameters.shape[-3:-1], len(nominal.pt))
    if values.shape[-4:] != (2, *rows):
        msg = (
            f"counts of efficiencies have the shape {values.shape}, but the nominal "
            f"ones end with {(2, *rows)}"
        )
        raise TemplateError(msg)
    fit = _fit(nominal.shape, nominal.pt, values, nominal.spread, nominal.parameters)
    _require(fit, accept=accept)
    return fit


def _require(fit: EfficiencyFit, *, accept: bool) -> None:
    """Refuse a bad fit, of all rows together and of each."""
    remedy = "use wider bins of eta where it varies, or give another curve"
    name = f"efficiency ({fit.curve.name})"
    chi2, ndf = fit.chi2, fit.ndf
    for part in ((chi2.sum(axis=(-1, -2)), fit.total_ndf), (chi2, ndf)):
        require_fit(name, *part, remedy=remedy, accept=accept)


def _fit(
    shape: Shape,
    pt: FloatArray,
    counts: FloatArray,
    spread: Spread,
    start: FloatArray | None = None,
) -> EfficiencyFit:
    """Fit all rows of counts (..., 2, charge, eta, n_pt) with one shape."""
    curve, k = shape.curve, len(shape.curve.parameters)
    every, passing = counts[..., 0, :, :, :], counts[..., 1, :, :, :]
    lead = every.shape[:-1]
    # Rows that have parameters in common make a group, others are one by themselves.
    n_rows = lead[-1] * lead[-2] if shape.tied else 1
    places = shape.places(n_rows)
    flat = Spread(*(_grouped(np.broadcast_to(s, every.shape), n_rows) for s in spread))
    g, p = _grouped(every, n_rows), _grouped(passing, n_rows)
    begin = _start(curve, pt, every, passing) if start is None else start
    rows = _grouped(np.broadcast_to(begin, (*lead, k)), n_rows)
    vector = np.empty((len(g), shape.n_parameters(n_rows)))
    vector[:, places] = np.where(
        np.isin(np.arange(k), shape.tied), np.median(rows, axis=1, keepdims=True), rows
    )
    rate = np.clip(p.sum(axis=2) / g.sum(axis=2), 0.0, 1.0)[..., None]
    for _ in range(_ROUNDS):
        weight = inverse_variance(rate, g, flat)
        fit = _Squares(curve, pt, g, p, weight, places)
        vector, finished = minimise_rows(
            fit.objective, fit.normal, vector, max_iterations=_MAX_ITERATIONS
        )
        rate = curve.value(pt, vector[:, places])
    fit = fit._replace(weight=inverse_variance(rate, g, flat))
    _, information = fit.normal(np.arange(len(g)), vector)
    covariance, determined = invert_rows(information)
    chi2 = np.sum(fit.weight * (p - rate * g) ** 2, axis=2)
    chi2[~(finished & determined)] = np.nan
    ndf = (fit.weight > 0).sum(axis=2) - (k - len(shape.tied))
    blocks = covariance[:, places[:, :, None], places[:, None, :]]
    return EfficiencyFit(
        shape,
        pt,
        vector[:, places].reshape(*lead, k),
        blocks.reshape(*lead, k, k),
        chi2.reshape(lead),
        ndf.reshape(lead),
        spread,
    )


class _Squares(NamedTuple):
    """Least squares of groups of rows at fixed weights 1/V, for `minimise_rows`.

    Attributes
    ----------
    curve : Curve
        The curve.
    pt : ndarray, shape (n_pt,)
        Centres of the bins [GeV].
    every, passing, weight : ndarray, shape (n_groups, n_rows, n_pt)
        Muons, those that pass, and weights of squared differences.
    places : ndarray of int, shape (n_rows, k)
        Where a row finds its parameters in the vector of its group.
    """

    curve: Curve
    pt: FloatArray
    every: FloatArray
    passing: FloatArray
    weight: FloatArray
    places: NDArray[np.int64]

    def residual(self, chosen: NDArray[np.int64], parameters: FloatArray) -> FloatArray:
        rate = self.curve.value(self.pt, parameters)
        return self.passing[chosen] - rate * self.every[chosen]

    def objective(self, chosen: NDArray[np.int64], vector: FloatArray) -> FloatArray:
        """Sum of weighted squares of each group."""
        residual = self.residual(chosen, vector[:, self.places])
        return np.sum(self.weight[chosen] * residual**2, axis=(1, 2))

    def normal(
        self, chosen: NDArray[np.int64], vector: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Gradient and information in the vectors of the groups."""
        parameters, weight = vector[:, self.places], self.weight[chosen]
        residual = weight * self.residual(chosen, parameters)
        slopes = self.curve.jacobian(self.pt, parameters)
        slopes *= self.every[chosen][..., None]
        blocks = np.swapaxes(slopes * weight[..., None], 2, 3) @ slopes
        n, m = vector.shape
        # Common parameters collect what all rows say: the groups are last here.
        parts = np.einsum("nrbk,nrb->rkn", slopes, residual)
        gradient, information = np.zeros((m, n)), np.zeros((m * m, n))
        pairs = m * self.places[:, :, None] + self.places[:, None]
        np.add.at(gradient, self.places, parts)
        np.add.at(information, pairs, np.moveaxis(blocks, 0, -1))
        return gradient.T, information.T.reshape(n, m, m)


def _grouped(values: FloatArray, n_rows: int) -> FloatArray:
    """Rows (..., n) in groups, shape (n_groups, n_rows, n)."""
    return values.reshape(-1, n_rows, values.shape[-1])


def _start(
    curve: Curve, pt: FloatArray, every: FloatArray, passing: FloatArray
) -> FloatArray:
    """Start from the efficiencies in the lower and the upper half of the bins."""
    half = len(pt) // 2
    parts = slice(None, half), slice(half, None)
    rate = [passing[..., s].sum(axis=-1) / every[..., s].sum(axis=-1) for s in parts]
    places = np.broadcast_to([pt[s].mean() for s in parts], (*every.shape[:-1], 2))
    return curve.start(places, np.clip(np.stack(rate, axis=-1), 0.0, 1.0))
