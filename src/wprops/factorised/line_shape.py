"""The spectrum of the boson's mass: a Breit-Wigner function times a polynomial."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial.legendre import leggauss
from numpy.polynomial.polynomial import polyval
from numpy.typing import ArrayLike, NDArray

from wprops.errors import ConfigError, FitError, TemplateError
from wprops.factorised.goodness import p_values, pick_shape, require_fit
from wprops.factorised.panels import MASS
from wprops.physics.breit_wigner import fixed_width, line_shape

FloatArray = NDArray[np.float64]

#: The polynomial is in (m − centre) / half-width [GeV], of this degree or less.
CENTRE, HALF_WIDTH = 85.0, 35.0
MAX_DEGREE = 4
#: A higher degree is taken if it improves χ² by more than chance does at this level: a
#: polynomial that follows the noise of 1e7 events moves the mean mass by 1 MeV or two,
#: while what generators do to a Breit-Wigner is far from chance in any sample.
_SIGNIFICANCE = 1e-3
#: Neighbouring bins are merged until this many events are expected.
_LEAST_EVENTS = 25.0
#: Nodes of the integral over a bin, or over a panel of a part of the width.
_NODES, _PANELS_PER_WIDTH = 4, 20
#: Predictions of the variance, from the last fit.
_ROUNDS = 6


def scaled_mass(mass: ArrayLike) -> FloatArray:
    """Return the variable of the polynomial, for masses [GeV]."""
    return (np.asarray(mass, dtype=float) - CENTRE) / HALF_WIDTH


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LineShape:
    """Density of the boson's mass.

    Attributes
    ----------
    pole, width : float
        M and Γ of a fixed-width Breit-Wigner in m² [GeV].
    window : tuple of float
        Range of masses [GeV].
    coefficients : tuple of float
        Polynomial in (m − 85 GeV)/35 GeV, lowest power first, which multiplies the
        Breit-Wigner that is normalised on the window; the product is normalised too.
    running : bool
        Whether mass and width of the sample are those of a running width, which
        variations are meant to shift.
    chi2, ndf : float, int
        Goodness of the fit; 0 and 0 for a shape that is declared.
    """

    pole: float
    width: float
    window: tuple[float, float]
    coefficients: tuple[float, ...] = (1.0,)
    running: bool = False
    chi2: float = 0.0
    ndf: int = 0

    @property
    def p_value(self) -> float:
        """Probability of a larger χ²."""
        return float(p_values(self.chi2, self.ndf))

    def density(self, mass: ArrayLike) -> FloatArray:
        """Density at masses [GeV], in 1/GeV; zero outside of the window."""
        shape = line_shape(mass, pole=self.pole, width=self.width, window=self.window)
        return shape * polyval(scaled_mass(mass), self.coefficients)

    def shifted(self, dm: float = 0.0, dwidth: float = 0.0) -> LineShape:
        """Shape of another mass and width with the same polynomial, normalised again.

        Parameters
        ----------
        dm, dwidth : float
            Shifts of mass and width [GeV], of the running ones if the sample's are.

        Raises
        ------
        ConfigError
            If mass or width become negative.
        """
        pole, width = self.pole, self.width
        if self.running:
            # Γ/M is the same for fixed and running width.
            root = np.hypot(1.0, width / pole)
            pole, width = pole * root, width * root
        pole, width = float(pole + dm), float(width + dwidth)
        if not (pole > 0 and width > 0):
            msg = (
                f"shifts of {dm:g} and {dwidth:g} GeV give a mass of {pole:g} and a "
                f"width of {width:g} GeV; both have to be positive"
            )
            raise ConfigError(msg)
        if self.running:
            pole, width = fixed_width(pole, width)
        n_panels = int(np.ceil(np.ptp(self.window) / width * _PANELS_PER_WIDTH))
        edges = np.linspace(*self.window, n_panels + 1)
        moments = _bin_moments(edges, pole, width, self.window).sum(axis=0)
        norm = float(moments[: len(self.coefficients)] @ self.coefficients)
        return LineShape(
            pole=pole,
            width=width,
            window=self.window,
            coefficients=tuple(c / norm for c in self.coefficients),
            running=self.running,
            chi2=self.chi2,
            ndf=self.ndf,
        )


def fit_line_shape(
    counts: ArrayLike,
    squares: ArrayLike,
    *,
    pole: float,
    width: float,
    running: bool = False,
    degree: int | None = None,
    edges: ArrayLike = MASS,
    accept: bool = False,
) -> LineShape:
    """Fit the polynomial to the mass spectrum of a sample of known mass and width.

    The degree is the smallest, of 0 to 4, that no higher one improves at the level of
    0.1 %. Bins are merged by what the Breit-Wigner expects in them.

    Parameters
    ----------
    counts, squares : array_like, shape (n_bins,)
        Sums of weights and of squared weights.
    pole, width : float
        Mass and width of the sample [GeV].
    running : bool
        Whether they are those of a running width.
    degree : int, optional
        The degree, if it is not to be chosen.
    edges : array_like, shape (n_bins + 1,)
        Edges of the bins [GeV], which span the window of generated masses.
    accept : bool
        Whether to take a fit that does not describe the counts.

    Returns
    -------
    LineShape

    Raises
    ------
    TemplateError
        If shapes do not match, sums are not positive, or the degree is not possible.
    FitError
        If the p-value is below 1e-4 and the fit is not accepted, or it is negative.
    """
    values, second = np.asarray(counts, float), np.asarray(squares, float)
    edges = np.asarray(edges, dtype=float)
    if not values.shape == second.shape == (len(edges) - 1,):
        msg = (
            f"mass counts and squares have shapes {values.shape} and {second.shape}, "
            f"expected ({len(edges) - 1},) from the edges"
        )
        raise TemplateError(msg)
    if not (values.sum() > 0 and second.sum() > 0):
        msg = (
            f"the mass spectrum has a sum of weights of {values.sum():g}, expected a "
            "positive number; was the sample filled?"
        )
        raise TemplateError(msg)
    if running:
        pole, width = fixed_width(pole, width)
    window = float(edges[0]), float(edges[-1])
    powers = _bin_moments(edges, pole, width, window)
    kappa = second.sum() / values.sum()
    groups = _groups(powers[:, 0] * values.sum() / kappa)
    n = np.add.reduceat(values, groups)
    design = np.add.reduceat(powers, groups, axis=0)
    degrees = list(range(min(MAX_DEGREE, len(n) - 2) + 1))
    if degree is not None:
        degrees = [d for d in degrees if d == degree]
    if not degrees:
        msg = (
            f"degree {degree} of the mass spectrum: expected 0 to {MAX_DEGREE}, and "
            f"less than its {len(n)} groups of {_LEAST_EVENTS:g} events"
        )
        raise TemplateError(msg)
    fits = [_fit(n, design[:, : d + 1], kappa) for d in degrees]
    chosen = pick_shape(
        [chi2 for _, chi2 in fits], np.array(degrees) + 1, significance=_SIGNIFICANCE
    )
    found, chi2 = fits[chosen]
    ndf = len(n) - len(found)
    remedy = "check the mass and width that the catalogue declares for the sample"
    name = f"mass spectrum with M = {pole:.4f} and Γ = {width:.4f} GeV"
    require_fit(name, chi2, ndf, remedy=remedy, accept=accept)
    if not (polyval(scaled_mass(edges), found) > 0).all():
        msg = (
            f"the fit of the {name} is negative at some masses; {remedy}, or run over "
            "more simulation"
        )
        raise FitError(msg)
    return LineShape(
        pole=pole,
        width=width,
        window=window,
        coefficients=tuple(
            float(c) for c in found / (powers.sum(axis=0)[: len(found)] @ found)
        ),
        running=running,
        chi2=chi2,
        ndf=ndf,
    )


def _fit(n: FloatArray, design: FloatArray, kappa: float) -> tuple[FloatArray, float]:
    """Fit counts by a sum of functions, with the variance that the fit expects."""
    mean = design[:, 0] * n.sum()
    found = np.zeros(design.shape[1])
    for _ in range(_ROUNDS):
        weight = 1 / np.sqrt(kappa * mean)
        found = np.linalg.lstsq(design * weight[:, None], n * weight, rcond=None)[0]
        # A polynomial that falls below zero has no variance to offer.
        mean = np.maximum(design @ found, 1e-3 * design[:, 0] * n.sum())
    chi2 = np.sum((n - design @ found) ** 2 / (kappa * mean))
    return found, float(chi2)


def _groups(expected: FloatArray) -> NDArray[np.int64]:
    """First bins of the groups that expect enough events, in rising order."""
    starts, total = [0], 0.0
    for i, events in enumerate(expected):
        if total >= _LEAST_EVENTS:
            starts.append(i)
            total = 0.0
        total += events
    # What is left over at the end joins the last group.
    if total < _LEAST_EVENTS and len(starts) > 1:
        starts.pop()
    return np.array(starts)


def _bin_moments(
    edges: FloatArray, pole: float, width: float, window: tuple[float, float]
) -> FloatArray:
    """Integrals of the Breit-Wigner times powers over bins, (n_bins, degree + 1)."""
    x, w = leggauss(_NODES)
    half = np.diff(edges)[:, None] / 2
    mass = (edges[:-1] + edges[1:])[:, None] / 2 + half * x
    shape = line_shape(mass, pole=pole, width=width, window=window)
    powers = scaled_mass(mass)[..., None] ** np.arange(MAX_DEGREE + 1)
    return np.einsum("bn,bnk->bk", shape * half * w, powers)
