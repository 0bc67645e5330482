"""Smooth the fake rate in eta; the measurement does not, each eta bin has its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial.legendre import legvander
from numpy.typing import NDArray

from wprops.backgrounds.rates import Rates
from wprops.errors import TemplateError

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Smoothed:
    """Rates after smoothing, and how well the parameters follow it.

    Attributes
    ----------
    rates : Rates
        With smooth parameters of the fake rate.
    chi2 : ndarray, shape (2,)
        By charge, of the smooth parameters.
    ndf : int
        Degrees of freedom of each.
    """

    rates: Rates
    chi2: Array
    ndf: int


def smooth_in_eta(rates: Rates, eta_edges: Array, degree: int) -> Smoothed:
    """Replace the parameters of the fake rate by polynomials in eta.

    All parameters of one charge are fitted together, with their covariance in each eta
    bin. The rates keep the covariance of the bins before smoothing: it is right for
    sums over eta, which a fit with enough freedom leaves alone, and generous for one
    bin, whose error after smoothing is shared with its neighbours. Nuisances that act
    in one eta bin could not describe that.

    Parameters
    ----------
    rates : Rates
        Nominal rates of shape (2, n_eta).
    eta_edges : ndarray, shape (n_eta + 1,)
        Edges in eta.
    degree : int
        Degree of the polynomials, the same for all parameters.

    Returns
    -------
    Smoothed
        A χ² far above ``ndf`` says that the fake rate is not that smooth.

    Raises
    ------
    TemplateError
        If there are fewer eta bins than coefficients.
    """
    fake = rates.fake
    _, n_eta, k = fake.parameters.shape
    if not 0 <= degree < n_eta:
        msg = f"a polynomial of degree {degree} cannot be fitted to {n_eta} eta bins."
        raise TemplateError(msg)
    centres = (eta_edges[1:] + eta_edges[:-1]) / 2
    reach = max(abs(eta_edges[0]), abs(eta_edges[-1]))
    basis = legvander(centres / reach, degree)
    # Coefficients by (power, parameter); the parameters of one bin are correlated.
    precision = np.linalg.inv(fake.covariance)
    size = k * (degree + 1)
    information = np.einsum("ea,eb,cekl->cakbl", basis, basis, precision)
    pull = np.einsum("ea,cekl,cel->cak", basis, precision, fake.parameters)
    coefficients = np.linalg.solve(
        information.reshape(-1, size, size), pull.reshape(-1, size, 1)
    ).reshape(-1, degree + 1, k)
    smooth = np.einsum("ea,cak->cek", basis, coefficients)
    rest = fake.parameters - smooth
    return Smoothed(
        rates=replace(rates, fake=replace(fake, parameters=smooth)),
        chi2=np.einsum("cek,cekl,cel->c", rest, precision, rest),
        ndf=k * (n_eta - degree - 1),
    )
