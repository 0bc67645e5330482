"""Does the method hold? Closure at low mT, and other shapes of the rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wprops.backgrounds.counts import CHARGES, Regions
from wprops.backgrounds.curves import CUBIC, ERF, LINEAR, LOGISTIC, QUADRATIC
from wprops.backgrounds.multijet import Multijet, estimate_multijet
from wprops.backgrounds.quasi_likelihood import profile
from wprops.backgrounds.rate_fit import fit_rate
from wprops.backgrounds.rates import LOW_MT, fake_split, prompt_split, subtracted
from wprops.backgrounds.template import transfer_weights
from wprops.physics.rate_curves import Curve

Array = NDArray[np.float64]

#: Shapes of (fake rate, prompt rate) to compare with the measurement's.
ALTERNATIVES = {
    "quadratic fake rate": (QUADRATIC, ERF),
    "logistic prompt rate": (LINEAR, LOGISTIC),
    "cubic prompt rate": (LINEAR, CUBIC),
}


@dataclass(frozen=True, slots=True, eq=False)
class Closure:
    """Estimated and observed multijet muons, isolated and at low mT.

    Attributes
    ----------
    estimate, observed : ndarray, shape (..., 2, n_eta, n_pt)
        From the rates, and from data minus prompt muons.
    difference : ndarray, shape (..., 2, n_eta)
        Observed minus estimate, summed over pT.
    error : ndarray, shape (..., 2, n_eta)
        Of the difference, for many muons per bin; NaN where the simulation at low mT
        does not determine the prompt rate.
    """

    estimate: Array
    observed: Array
    difference: Array
    error: Array


def sideband_closure(regions: Regions, multijet: Multijet) -> Closure:
    r"""Apply the method to the sideband at mT < 30 GeV.

    The two regions of low mT take the place of those of high mT, with the prompt rate
    of the simulation there. The fake rate was fitted to the same data: what is tested
    is its shape, the subtraction, and that the prompt rate describes the simulation.

    With x and y the subtracted counts, observed − estimate is
    p/(p − f) [(1 − f) x − f y] when p is that of the simulation in the bin, so its
    variance is that of a residual of the fit, V − J C Jᵀ, to which that of the fitted p
    is added as if it were independent.

    Parameters
    ----------
    regions : Regions
        The counts.
    multijet : Multijet
        The nominal estimate.
    """
    fake = multijet.rates.fake
    split = prompt_split(regions, LOW_MT)
    prompt = fit_rate(multijet.rates.prompt.curve, regions.pt, split)
    f, p = fake.rates(), prompt.rates()
    antiiso, iso = transfer_weights(f, p)
    isolated, antiisolated = (regions.of("data", region) for region in LOW_MT)
    estimate = antiiso * antiisolated + iso * isolated
    observed = subtracted(regions, LOW_MT[0])
    total, _, variance = profile(fake_split(regions), f)
    scale = p / (p - f)
    slope = np.einsum("...b,...bk->...k", scale * total, fake.jacobian())
    fitted = np.einsum("...k,...kl,...l->...", slope, fake.covariance, slope)
    excess = isolated - f * (isolated + antiisolated)
    by_prompt = f * excess / (p - f) ** 2
    slope = np.einsum("...b,...bk->...k", by_prompt, prompt.jacobian())
    from_prompt = np.einsum("...k,...kl,...l->...", slope, prompt.covariance, slope)
    counts = np.sum(scale**2 * variance, axis=-1)
    error = np.sqrt(np.maximum(counts - fitted, 0.0) + from_prompt)
    return Closure(
        estimate=estimate,
        observed=observed,
        difference=(observed - estimate).sum(axis=-1),
        error=np.where(prompt.converged, error, np.nan),
    )


def compare_curves(
    regions: Regions,
    multijet: Multijet,
    alternatives: Mapping[str, tuple[Curve, Curve]] = ALTERNATIVES,
) -> list[dict[str, Any]]:
    """Repeat the estimate with other shapes of the rates.

    Returns
    -------
    list of dict
        Per alternative and charge, next to the nominal: the relative ``change`` of the
        yield, the largest of a single eta bin (``largest``), the sum of the absolute
        changes of all bins over the yield (``moved``), which sees a change of shape,
        and the sums over eta of χ² and degrees of freedom of both fits.

    Raises
    ------
    TemplateError
        If there is no estimate with one of them.
    """
    nominal = multijet.template.nominal
    yields = nominal.sum(axis=-1)
    results = {"nominal": multijet} | {
        name: estimate_multijet(regions, fake_curve=fake, prompt_curve=prompt)
        for name, (fake, prompt) in alternatives.items()
    }
    rows = []
    for name, result in results.items():
        change = result.template.nominal - nominal
        for index, charge in enumerate(CHARGES):
            fits = {"fake": result.rates.fake, "prompt": result.rates.prompt}
            total = yields[index].sum()
            relative = change[index].sum(axis=-1) / yields[index]
            rows.append(
                {
                    "curves": name,
                    "charge": charge,
                    "change": float(change[index].sum() / total),
                    "largest": float(relative[np.abs(relative).argmax()]),
                    "moved": float(np.abs(change[index]).sum() / total),
                }
                | {f"{key}_chi2": float(f.chi2[index].sum()) for key, f in fits.items()}
                | {f"{key}_ndf": int(f.ndf[index].sum()) for key, f in fits.items()}
            )
    return rows
