"""Does the fake rate depend on mT? It is measured in slices and extrapolated.

The estimate takes the fake rate at low mT for that at high mT. Here it is fitted in
slices of mT below the signal region, each parameter of the curve becomes a straight
line in mT, and what that line says about the signal region is compared with its error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2 as chi2_distribution

from wprops.backgrounds.counts import CHARGES
from wprops.backgrounds.multijet import Multijet
from wprops.backgrounds.rate_fit import fit_rate
from wprops.backgrounds.rates import subtraction_split
from wprops.errors import TemplateError

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class MtSlices:
    """Counts in slices of mT.

    Attributes
    ----------
    mean_mt : ndarray, shape (n_slices,)
        Mean mT of multijet muons [GeV], such as that of anti-isolated data.
    data, prompt, prompt_variance : ndarray, shape (n_slices, 2, 2, n_eta, n_pt)
        Counts as in `wprops.backgrounds.counts.Regions`; the second axis is isolated,
        anti-isolated, the third the charge.

    Raises
    ------
    TemplateError
        If there are fewer than two slices or shapes differ.
    """

    mean_mt: Array
    data: Array
    prompt: Array
    prompt_variance: Array

    def __post_init__(self) -> None:
        shapes = {a.shape for a in (self.data, self.prompt, self.prompt_variance)}
        n = len(self.mean_mt)
        if n < 2 or len(shapes) != 1 or self.data.shape[:3] != (n, 2, len(CHARGES)):
            msg = (
                f"{n} slices of mT have counts of shapes {sorted(shapes)}; expected "
                f"two or more slices and one shape ({n}, 2, 2, n_eta, n_pt)."
            )
            raise TemplateError(msg)


class Shift(NamedTuple):
    """A relative change of the yield, with its error."""

    value: float
    error: float

    @property
    def significance(self) -> float:
        """Value over error."""
        return self.value / self.error


@dataclass(frozen=True, slots=True, eq=False)
class MtDependence:
    """How the fake rate changes with mT, and what that does to the estimate.

    Attributes
    ----------
    slope, slope_error : ndarray, shape (2, n_eta)
        Change of the fake rate with mT relative to the fake rate [1/GeV], averaged
        over the pT of multijet muons in the signal region.
    shift, shift_error : ndarray, shape (2, n_eta)
        Relative change of the yield in the signal region if the fake rate is
        extrapolated to its mean mT.
    chi2, ndf : ndarray, shape (2, n_eta)
        Of the straight lines through all slices.
    yields : ndarray, shape (2, n_eta)
        Multijet muons in the signal region, without extrapolation.
    """

    slope: Array
    slope_error: Array
    shift: Array
    shift_error: Array
    chi2: Array
    ndf: NDArray[np.int64]
    yields: Array

    def total(self) -> Shift:
        """Relative change of the whole yield, from all (charge, eta)."""
        part = self.yields / self.yields.sum()
        error = np.sqrt(np.sum((part * self.shift_error) ** 2))
        return Shift(float(np.sum(part * self.shift)), float(error))

    def common_slope(self) -> Shift:
        """Relative slope [1/GeV], averaged with weights 1/error²."""
        weight = self.slope_error**-2
        value = np.sum(weight * self.slope) / weight.sum()
        return Shift(float(value), float(weight.sum() ** -0.5))

    def p_value(self) -> float:
        """Probability of larger slopes if there is no dependence on mT."""
        statistic = np.sum((self.slope / self.slope_error) ** 2)
        return float(chi2_distribution.sf(statistic, self.slope.size))


def measure_mt_dependence(
    slices: MtSlices, multijet: Multijet, sideband_mt: float, signal_mt: float
) -> MtDependence:
    """Fit the fake rate in slices of mT and extrapolate it.

    Parameters
    ----------
    slices : MtSlices
        Counts below the signal region; mT of 0-15, 15-30 and 30-40 GeV, say.
    multijet : Multijet
        The estimate, whose curve of the fake rate is fitted in the slices.
    sideband_mt, signal_mt : float
        Mean mT of multijet muons in the sideband and the signal region [GeV].

    Returns
    -------
    MtDependence

    Raises
    ------
    TemplateError
        If the shapes of slices and estimate differ, or a fit fails, naming slice,
        charge and eta bin.
    """
    fake, template = multijet.rates.fake, multijet.template
    if slices.data.shape[2:] != template.nominal.shape:
        msg = (
            f"slices of mT have {slices.data.shape[2:]} (charge, eta, pT) bins, the "
            f"estimate {template.nominal.shape}."
        )
        raise TemplateError(msg)
    data, prompt, variance = (
        (counts[:, 0], counts[:, 1])
        for counts in (slices.data, slices.prompt, slices.prompt_variance)
    )
    split = subtraction_split(data, prompt, variance)
    fit = fit_rate(fake.curve, fake.pt, split)
    if not fit.converged.all():
        index, charge, eta = np.argwhere(~fit.converged)[0].tolist()
        msg = (
            f"the fake rate could not be fitted in slice {index} of mT, charge "
            f"{CHARGES[charge]:+d}, eta bin {eta} ({int((~fit.converged).sum())} such "
            "fits): use more events, wider eta bins or fewer slices."
        )
        raise TemplateError(msg)
    line, covariance, chi2 = _straight_lines(
        fit.parameters, fit.covariance, slices.mean_mt - sideband_mt
    )
    # A change of the parameters changes the rate, and the rate the yield.
    k = fit.parameters.shape[-1]
    yields = template.nominal.sum(axis=-1)
    by_rate = template.nominal / yields[..., None] / fake.rates()
    by_yield = template.by_fake / yields[..., None]
    jacobian = fake.jacobian()

    def along(weight: Array) -> tuple[Array, Array]:
        direction = np.einsum("...b,...bk->...k", weight, jacobian)
        value = np.einsum("...k,...k->...", direction, line[..., k:])
        variance = np.einsum(
            "...k,...kl,...l->...", direction, covariance[..., k:, k:], direction
        )
        return value, np.sqrt(variance)

    slope, slope_error = along(by_rate)
    shift, shift_error = along(by_yield * (signal_mt - sideband_mt))
    return MtDependence(
        slope=slope,
        slope_error=slope_error,
        shift=shift,
        shift_error=shift_error,
        chi2=chi2,
        ndf=np.full(chi2.shape, (len(slices.mean_mt) - 2) * k),
        yields=yields,
    )


def _straight_lines(
    parameters: Array, covariance: Array, distance: Array
) -> tuple[Array, Array, Array]:
    """Fit parameters θ = α + β distance to all slices.

    Returns
    -------
    line : ndarray, shape (..., 2 k)
        α and β.
    covariance : ndarray, shape (..., 2 k, 2 k)
    chi2 : ndarray, shape (...)
    """
    precision = np.linalg.inv(covariance)
    k = parameters.shape[-1]
    design = [np.hstack([np.eye(k), step * np.eye(k)]) for step in distance]
    information = sum(d.T @ p @ d for d, p in zip(design, precision, strict=True))
    pull = sum(
        (d.T @ p @ t[..., None])[..., 0]
        for d, p, t in zip(design, precision, parameters, strict=True)
    )
    line = np.linalg.solve(information, np.asarray(pull)[..., None])[..., 0]
    chi2 = np.zeros(line.shape[:-1])
    for d, p, t in zip(design, precision, parameters, strict=True):
        rest = t - line @ d.T
        chi2 += np.einsum("...k,...kl,...l->...", rest, p, rest)
    return line, np.linalg.inv(information), chi2
