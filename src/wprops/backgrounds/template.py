r"""Multijet muons in the signal region, from both rates and the data at high mT.

With N_B anti-isolated and N_D isolated muons in data,

.. math:: N = \frac{f}{p - f} \left[p N_B - (1 - p) N_D\right],

which is a weight for each muon: p f/(p − f) if it is anti-isolated and
−(1 − p) f/(p − f) if it is isolated. Rates belong to a place in (charge, eta, pT). The
binned form takes them at the centres of the bins; event weights take them at the pT of
the event or, on request, at the centre of its bin, and then both forms are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.backgrounds.counts import CHARGES, Regions
from wprops.backgrounds.rate_fit import RateFit
from wprops.backgrounds.rates import Rates
from wprops.errors import TemplateError

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class QcdTemplate:
    """Multijet muons expected in the signal region, with their uncertainty.

    The covariance of the pT bins of one (charge, eta) is
    ``factor @ factor.T + diag(counting)``; rows of different charge or eta share
    neither data nor simulation and are independent. Left out: the isolated muons of
    data are also what the template is compared with, but enter with a weight of about
    a percent, and the simulation that the prompt rate comes from is that of the
    prompt templates.

    Attributes
    ----------
    nominal : ndarray, shape (..., 2, n_eta, n_pt)
        Expected muons.
    counting : ndarray, shape (..., 2, n_eta, n_pt)
        Variance from the numbers of isolated and anti-isolated muons.
    factor : ndarray, shape (..., 2, n_eta, n_pt, k)
        Changes by independent unit shifts of the k parameters of both rates.
    by_fake : ndarray, shape (..., 2, n_eta, n_pt)
        Derivative in the fake rate.
    """

    nominal: Array
    counting: Array
    factor: Array
    by_fake: Array

    def covariance(self) -> Array:
        """Covariance of the pT bins, shape (..., 2, n_eta, n_pt, n_pt)."""
        matrix = self.factor @ np.swapaxes(self.factor, -1, -2)
        diagonal = np.arange(matrix.shape[-1])
        matrix[..., diagonal, diagonal] += self.counting
        return matrix


def transfer_weights(fake: Array, prompt: Array) -> tuple[Array, Array]:
    """Weights of anti-isolated and of isolated muons, for rates of any shape.

    Examples
    --------
    With p = 1 isolated muons say nothing and the weight is that of f/(1 − f):

    >>> transfer_weights(np.array(0.2), np.array(1.0))[0].round(12).item()
    0.25
    """
    transfer = fake / (prompt - fake)
    return prompt * transfer, -(1 - prompt) * transfer


def qcd_yield(regions: Regions, rates: Rates) -> Array:
    """Multijet muons in the signal region, shape (..., 2, n_eta, n_pt)."""
    antiiso, iso = transfer_weights(rates.fake.rates(), rates.prompt.rates())
    return antiiso * regions.of("data", "signal_antiiso") + iso * regions.of(
        "data", "signal"
    )


def build_template(regions: Regions, rates: Rates) -> QcdTemplate:
    """Build the binned estimate with its covariance by linear propagation.

    Parameters
    ----------
    regions : Regions
        The counts; their data at high mT are used.
    rates : Rates
        Both rates, converged, p > f in all bins: see
        `wprops.backgrounds.multijet.estimate_multijet`, which makes sure.
    """
    f, p = rates.fake.rates(), rates.prompt.rates()
    isolated = regions.of("data", "signal")
    antiisolated = regions.of("data", "signal_antiiso")
    antiiso, iso = transfer_weights(f, p)
    by_fake = p / (p - f) ** 2 * (p * antiisolated - (1 - p) * isolated)
    by_prompt = f / (p - f) ** 2 * (isolated - f * (isolated + antiisolated))
    parts = [
        derivative[..., None] * (fit.jacobian() @ np.linalg.cholesky(fit.covariance))
        for derivative, fit in ((by_fake, rates.fake), (by_prompt, rates.prompt))
    ]
    lead = np.broadcast_shapes(*(part.shape[:-1] for part in parts))
    factor = np.concatenate(
        [np.broadcast_to(part, (*lead, part.shape[-1])) for part in parts], axis=-1
    )
    return QcdTemplate(
        nominal=antiiso * antiisolated + iso * isolated,
        counting=antiiso**2 * antiisolated + iso**2 * isolated,
        factor=factor,
        by_fake=by_fake,
    )


def event_weights(
    rates: Rates,
    eta_edges: ArrayLike,
    charge: ArrayLike,
    eta: ArrayLike,
    pt: ArrayLike,
    isolated: ArrayLike,
    *,
    pt_edges: ArrayLike | None = None,
) -> Array:
    """Weights that turn data at high mT into multijet muons of the signal region.

    Parameters
    ----------
    rates : Rates
        Nominal rates, of shape (2, n_eta).
    eta_edges : array_like, shape (n_eta + 1,)
        Edges of the rates in eta.
    charge, eta, pt : array_like, shape (n,)
        Charge ±1, pseudorapidity, transverse momentum [GeV] of the muon.
    isolated : array_like of bool, shape (n,)
        Whether the muon is isolated; the others have to be of the anti-isolated region.
    pt_edges : array_like, shape (n_pt + 1,), optional
        Take the rates at the centres of these bins, which gives the binned estimate
        exactly; at the muon's own pT when omitted.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    TemplateError
        If a charge is not ±1, a muon is outside of the edges, or the prompt rate does
        not exceed the fake rate for one.
    """
    q, y, x = (np.asarray(column, dtype=float) for column in (charge, eta, pt))
    column = _bins("eta", eta_edges, y)
    if not np.isin(q, CHARGES).all():
        wrong = q[~np.isin(q, CHARGES)][0]
        msg = f"a muon has charge {wrong:g}, expected +1 or -1."
        raise TemplateError(msg)
    row = np.where(q == CHARGES[0], 0, 1)
    if pt_edges is not None:
        edges = np.asarray(pt_edges, dtype=float)
        x = ((edges[1:] + edges[:-1]) / 2)[_bins("pt", edges, x)]

    def at_muons(fit: RateFit) -> Array:
        return fit.curve.value(x[:, None], fit.parameters[row, column])[:, 0]

    fake, prompt = at_muons(rates.fake), at_muons(rates.prompt)
    if not (prompt > fake).all():
        first = int(np.flatnonzero(~(prompt > fake))[0])
        msg = (
            f"at charge {q[first]:+g}, eta {y[first]:.3g}, pT {x[first]:.3g} GeV "
            f"the prompt rate {prompt[first]:.3g} does not exceed the fake rate "
            f"{fake[first]:.3g}, so that no weight exists; use events of the fitted "
            "range, or another curve."
        )
        raise TemplateError(msg)
    antiiso, iso = transfer_weights(fake, prompt)
    return np.where(np.asarray(isolated, dtype=bool), iso, antiiso)


def _bins(name: str, edges: ArrayLike, values: Array) -> NDArray[np.int64]:
    """Bin of each value; the intervals are half open, as in the histograms."""
    edges = np.asarray(edges, dtype=float)
    index = np.searchsorted(edges, values, side="right") - 1
    outside = ~((values >= edges[0]) & (values < edges[-1]))
    if outside.any():
        msg = (
            f"{int(outside.sum())} muons have {name} outside of [{edges[0]:g}, "
            f"{edges[-1]:g}), the first {values[outside][0]:g}; select those inside."
        )
        raise TemplateError(msg)
    return index
