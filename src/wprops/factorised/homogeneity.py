"""The ingredients of factorised templates, compared between classes of events.

Each function takes the sums of `check_sums` and gives a χ², and the differences in
physical units and as a relative change of the templates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from wprops.factorised.check_sums import ALONG, response_eta
from wprops.factorised.comparisons import (
    MIN_EFFECTIVE,
    chi2_of,
    compare,
    excess,
    reach,
)
from wprops.factorised.contraction import eta_mixture
from wprops.factorised.decays import FloatArray, IntArray
from wprops.factorised.gaussian_recoil import gaussian_acceptance
from wprops.factorised.panels import RATIO_ABSETA, Panels
from wprops.factorised.recoil_efficiency import fit_along, well_filled

Arrays = Mapping[str, FloatArray]

#: Root mean squares of f'/f [1/GeV] and f''/f [1/GeV²] of the toy's pT spectrum f from
#: 25 to 55 GeV: what a shift and a wider response do to it.
SPECTRUM_SLOPE, SPECTRUM_CURVATURE = 0.11, 0.028
#: A muon's pT [GeV] where the spectrum is steep.
STEEP_PT = 42.0
#: Where acceptances are evaluated: pT [GeV], and midpoints in the muon's angle.
_PT, _AZIMUTH = (
    grid.ravel()
    for grid in np.meshgrid(
        [26.0, 30.0, 35.0, 40.0, 48.0], np.pi * np.arange(0.5, 8) / 8
    )
)
_COSPHI = np.cos(_AZIMUTH)


@dataclass(frozen=True, slots=True)
class Outcome:
    """χ² of a comparison and its ndf, 0 without enough events, and what it means.

    ``size`` is the largest difference beyond statistical noise, in ``unit``; ``effect``
    the relative change of templates, and ``reach`` the one that would have been seen,
    None without enough events.
    """

    chi2: float = 0.0
    ndf: int = 0
    size: float = 0.0
    unit: str = ""
    effect: float = 0.0
    reach: float | None = None


def efficiency(sums: Arrays, panels: Panels) -> Outcome:
    """Compare passing muons per class of recoil with the rate of their stratum."""
    unit = "relative efficiency"
    every, passing, squares, products, passing_squares = sums["check_efficiency"]
    stratum = every.sum(axis=-1)
    effective = stratum**2 / np.maximum(squares.sum(axis=-1), 1e-300)
    used = well_filled(sums["check_efficiency"])
    classes, class_squares = every[used].sum(axis=0), squares[used].sum(axis=0)
    if ((classes <= 0.0) | (classes**2 < MIN_EFFECTIVE * class_squares)).any():
        return Outcome(unit=unit)
    rate = (passing.sum(axis=-1) / np.where(used, stratum, 1.0))[..., None]
    share = every / np.where(used, stratum, 1.0)[..., None]
    # The rate is that of the same muons, which takes one of them as in a variance.
    bias = (effective / np.where(used, effective - 1.0, 1.0))[..., None]
    variance = bias * (passing_squares - 2 * rate * products + rate**2 * squares)
    difference = passing - rate * every
    eta = np.abs(panels.eta[:-1] + panels.eta[1:]) / 2
    group = np.searchsorted(RATIO_ABSETA, eta) - 1
    total, ndf = 0.0, 0
    for g in np.unique(group):
        mask = used & (group == g)[None, :, None]
        f, v = share[mask], variance[mask]
        cross = f.T @ v
        covariance = np.diag(v.sum(axis=0)) - cross - cross.T
        covariance += np.einsum("sc,sd,s->cd", f, f, v.sum(axis=1))
        one, n = chi2_of(difference[mask].sum(axis=0), covariance)
        total, ndf = total + one, ndf + n
    fit = fit_along(sums["check_efficiency"], panels)
    size = excess((fit.factor - 1.0) ** 2, fit.error**2)
    value = noise = weight = 0.0
    for qt, moments, yields in _recoil_classes(sums, panels):
        mean, spread = _gaussian(moments)
        parts = gaussian_acceptance(qt, _COSPHI, _PT, mean, spread, along_edges=ALONG)
        accepted = parts.sum(axis=0)
        w = yields * accepted / accepted.sum()
        ratio = fit.factor @ parts / accepted / fit.mean_at(_PT)
        value += float(w @ (ratio - 1.0) ** 2)
        noise += float(w @ (fit.error**2 @ (parts / accepted) ** 2))
        weight += yields
    effect = excess(value / weight, noise / weight)
    return Outcome(total, ndf, size, unit, effect, reach(noise / weight, ndf))


def _recoil_classes(
    sums: Arrays, panels: Panels
) -> list[tuple[float, FloatArray, float]]:
    """Centre in qT [GeV], means of the features and Σw of the classes with events."""
    cells = sums["check_residual_fsr"].sum(axis=1)
    qt = (panels.qt[:-1] + panels.qt[1:]) / 2
    return [
        (float(q), cell[1:-1] / cell[0], float(cell[0]))
        for q, cell in zip(qt, cells, strict=True)
        if cell[0] > 0.0 and cell[0] ** 2 >= MIN_EFFECTIVE * cell[-1]
    ]


def _gaussian(
    moments: FloatArray,
) -> tuple[tuple[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]:
    """Mean and variance along and across, from means (..., 4) of the features."""
    par, perp = moments[..., 0], moments[..., 1]
    return (par, perp), (moments[..., 2] - par**2, moments[..., 3] - perp**2)


def _acceptance_slopes(qt: float, moments: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Change of log E with the means of the features, (n, 4), and weights (n,)."""
    step = np.diag([0.1, 0.1, 1.0, 1.0])
    points = np.concatenate([moments[None] + step, moments[None] - step])
    mean, spread = _gaussian(points[:, None])
    (accepted,) = gaussian_acceptance(qt, _COSPHI, _PT, mean, spread)
    up, down = np.split(accepted, 2)
    central = (up + down).mean(axis=0) / 2
    slopes = (up - down) / (2 * np.diag(step)[:, None]) / central
    return slopes.T, central / central.sum()


def _moment_slopes(moments: FloatArray) -> FloatArray:
    """Slopes of mean and of width with means of (x, x²), shape (2, 2)."""
    width = np.sqrt(moments[1] - moments[0] ** 2)
    return np.array([[1.0, 0.0], [-moments[0] / width, 0.5 / width]])


def residual(sums: Arrays, panels: Panels, variable: str) -> Outcome:
    """Compare moments of the residual between classes, in all classes of qT.

    The variable is ``fsr``, ``absy`` or ``pileup``.
    """
    cells = sums[f"check_residual_{variable}"]
    n = cells.shape[1]
    total, ndf = 0.0, 0
    # Per class: Σw, and squares and noise of mean or width, and of the acceptance.
    weight, size, effect = np.zeros(n), np.zeros((2, n)), np.zeros((2, n))
    correlated = 0.0
    qt = (panels.qt[:-1] + panels.qt[1:]) / 2
    rate = _relative_rate(sums["check_pileup"]) if variable == "pileup" else np.ones(n)
    for q, panel, products in zip(qt, cells, sums["check_residual"], strict=True):
        comparison = compare(panel, products)
        if comparison is None:
            continue
        one, k = comparison.chi2()
        total, ndf = total + one, ndf + k
        slopes, weights = _acceptance_slopes(float(q), comparison.centre)
        width = _width_slopes(comparison.centre)
        weight += comparison.weight
        size += comparison.weight * np.array(comparison.squares(width, np.ones(4)))
        effect += comparison.weight * np.array(comparison.squares(slopes, weights))
        change = (comparison.weight * (rate - 1.0)) @ comparison.deviation @ slopes.T
        correlated += float(change**2 @ weights) / comparison.weight.sum()
    if ndf == 0:
        return Outcome(unit="GeV")
    filled = weight > 0.0
    weight, size, effect = weight[filled], size[:, filled], effect[:, filled]
    if variable == "fsr":
        # At given kinematics a template has some fraction of hard radiation; where it
        # has none or twice as many, this is what changes.
        effect *= (weight / weight.sum()) ** 2
    effect = effect / weight
    # Templates share the pile-up: unless the efficiency depends on it too, the average
    # residual is right for all.
    shared = float(np.sqrt(correlated / weight.sum()))
    return Outcome(
        chi2=total,
        ndf=ndf,
        size=excess(*(size / weight)),
        unit="GeV",
        effect=shared if variable == "pileup" else excess(*effect),
        reach=reach(effect[1], ndf),
    )


def _relative_rate(counts: FloatArray) -> FloatArray:
    """Efficiency of the classes over the average one; 1 without events."""
    every, passing = counts[:2]
    used = (every > 0.0) & (every**2 >= MIN_EFFECTIVE * counts[2])
    rate = np.divide(passing, every, out=np.ones(len(every)), where=used)
    average = passing[used].sum() / every[used].sum() if used.any() else 1.0
    return np.where(used, rate / average, 1.0)


def _width_slopes(moments: FloatArray) -> FloatArray:
    """Slopes of both means and both widths [GeV], shape (4, 4)."""
    slopes = np.zeros((4, 4))
    for i in range(2):
        pair = [i, i + 2]
        slopes[np.ix_(pair, pair)] = _moment_slopes(moments[pair])
    return slopes


def response(sums: Arrays, panels: Panels) -> Outcome:
    """Compare the response in fine cells of |eta| with the mixture of its classes."""
    between, member, group = _mixture(response_eta(panels))
    n_eta = len(group)
    inside = np.eye(n_eta) - member.T @ (member / member.sum(axis=1, keepdims=True))
    total, ndf = 0.0, 0
    weight, size, effect = np.zeros(n_eta), np.zeros((2, n_eta)), np.zeros((2, n_eta))
    # One table per charge and class of pT.
    for cells in sums["check_response"].swapaxes(1, 2).reshape(-1, n_eta, 8):
        n = cells[:, 0] ** 2 / np.maximum(cells[:, 3], 1e-300)
        if (cells[:, 0] <= 0.0).any() or (n < MIN_EFFECTIVE).any():
            continue
        by_class = member @ cells
        # Muons count by weight, as in the histograms of the classes.
        share = member * cells[:, 0] / by_class[:, :1]
        project = np.eye(n_eta) - between @ share
        deviation = project @ (cells[:, 1:3] / cells[:, :1])
        one = _core_covariance(by_class)[group] / n[:, None, None]
        covariance = np.einsum("ij,kj,jab->iakb", project, project, one)
        # Only differences inside of a class count for χ²: others are nearly zero by
        # construction, for any smooth dependence, with a variance that is as small.
        part = np.einsum("ij,kl,jalb->iakb", inside, inside, covariance)
        x, k = chi2_of((inside @ deviation).ravel(), part.reshape(2 * n_eta, 2 * n_eta))
        total, ndf = total + x, ndf + k
        weight += cells[:, 0]
        diagonal = np.einsum("iaib->iab", covariance)
        width, spectrum = _core_slopes(cells.sum(axis=0))
        for sums_of, slopes in ((size, width), (effect, spectrum)):
            noise = np.einsum("ra,iab,rb->i", slopes, diagonal, slopes)
            sums_of[0] += cells[:, 0] * np.sum((deviation @ slopes.T) ** 2, axis=1)
            sums_of[1] += cells[:, 0] * noise
    if ndf == 0:
        return Outcome(unit="relative pT")
    size, effect = size / weight, effect / weight
    return Outcome(
        chi2=total,
        ndf=ndf,
        size=excess(*size),
        unit="relative pT",
        effect=excess(*effect),
        reach=reach(effect[1], ndf),
    )


def _mixture(fine: FloatArray) -> tuple[FloatArray, FloatArray, IntArray]:
    """Cells against classes of |eta|, between whose centres templates interpolate.

    Returns the parts of the classes in a cell, (n, n_class), whether a cell belongs to
    a class, (n_class, n), and the class of each cell.
    """
    eta = (fine[:-1] + fine[1:]) / 2
    edges = np.array(RATIO_ABSETA)
    group = np.searchsorted(edges, eta) - 1
    member = (group == np.arange(len(edges) - 1)[:, None]).astype(float)
    lower, share = eta_mixture(eta)
    parts, cells = np.zeros((len(eta), len(member))), np.arange(len(eta))
    parts[cells, lower], parts[cells, lower + 1] = 1.0 - share, share
    return parts, member, group


def _core_covariance(cells: FloatArray) -> FloatArray:
    """Covariance of (d, d²) of one muon, from Σw² dⁿ in the last axis, (..., 2, 2)."""
    one, two, three, four = np.moveaxis(cells[..., 4:] / cells[..., 3:4], -1, 0)
    mixed = three - one * two
    rows = [[two - one**2, mixed], [mixed, four - two**2]]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def _core_slopes(cell: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slopes of mean and width, and of the pT spectrum, with means of (d, d²)."""
    mean = cell[1:3] / cell[0]
    return _moment_slopes(mean), _spectrum_slopes(mean, STEEP_PT)


def _spectrum_slopes(moments: FloatArray, lever: float) -> FloatArray:
    """Relative changes of the pT spectrum with means of (x, x²), shape (2, 2).

    By a shift and by a width in pT, which moves by the lever [GeV] times x.
    """
    shift, curvature = SPECTRUM_SLOPE * lever, SPECTRUM_CURVATURE / 2 * lever**2
    return np.array([[shift, 0.0], [-2.0 * curvature * moments[0], curvature]])


def mass(sums: Arrays) -> Outcome:
    """Compare mean and square of the clipped mass in projections on qT and |Y|."""
    cells = sums["check_mass"]
    n_qt, n_absy = cells.shape[:2]
    comparison = compare(cells.reshape(-1, 4), sums["check_mass_products"])
    if comparison is None:
        return Outcome(unit="GeV")
    # Projections see a trend that is lost among the fluctuations of all cells.
    row, column = np.divmod(np.arange(n_qt * n_absy), n_absy)
    project = np.concatenate(
        [row == np.arange(n_qt)[:, None], column == np.arange(n_absy)[:, None]]
    )
    chi2, ndf = comparison.chi2(project * comparison.weight)
    share = comparison.weight / comparison.weight.sum()
    slopes = _moment_slopes(comparison.centre)
    size = [share @ part for part in comparison.squares(slopes, np.ones(2))]
    # A lepton has half of the mass, and so half of its shift.
    spectrum = _spectrum_slopes(comparison.centre, 0.5)
    effect = [share @ part for part in comparison.squares(spectrum, np.ones(2))]
    return Outcome(
        chi2=chi2,
        ndf=ndf,
        size=excess(*size),
        unit="GeV",
        effect=excess(*effect),
        reach=reach(effect[1], ndf),
    )
