"""Goodness of smooth fits, and refusal of those that do not describe a sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2 as chi2_distribution

from wprops.errors import FitError

FloatArray = NDArray[np.float64]

#: Fits with a smaller p-value are refused.
LEAST_P = 1e-4


def p_values(chi2: ArrayLike, ndf: ArrayLike) -> FloatArray:
    """Probabilities of a larger χ²; 1 without degrees of freedom, 0 for NaN."""
    chi2, free = np.broadcast_arrays(np.asarray(chi2, float), np.asarray(ndf))
    values = chi2_distribution.sf(chi2, np.maximum(free, 1))
    return np.asarray(np.where(free > 0, np.nan_to_num(values), 1.0))


def require_fit(
    operator: str, chi2: ArrayLike, ndf: ArrayLike, *, remedy: str, accept: bool
) -> None:
    """Refuse fits that do not describe the sample.

    Parameters
    ----------
    operator : str
        What was fitted, for the message.
    chi2, ndf : array_like, broadcastable
        Goodness of one or of many fits.
    remedy : str
        What the caller can change, for the message.
    accept : bool
        Whether the caller has declared to take a bad fit as it is.

    Raises
    ------
    FitError
        A fit has no solution (its χ² is NaN), or a p-value below 1e-4 divided by the
        number of fits which is not accepted.
    """
    p = p_values(chi2, ndf)
    worst = int(np.argmin(p))
    chi2, free = np.broadcast_arrays(np.asarray(chi2, float), np.asarray(ndf))
    which = f" (the worst of {p.size}, number {worst})" if p.size > 1 else ""
    # Without a solution p is 0, so that the worst is one of them.
    if np.isnan(chi2).any():
        msg = (
            f"the fit of the {operator}{which} does not determine all of its "
            "parameters; the sample needs more events, or the fit a simpler shape"
        )
        raise FitError(msg)
    if accept or p.flat[worst] >= LEAST_P / p.size:
        return
    msg = (
        f"the fit of the {operator}{which} does not describe the sample: "
        f"chi2/ndf = {chi2.flat[worst]:.1f}/{free.flat[worst]}, "
        f"p = {p.flat[worst]:.1g}; {remedy}, or accept it (--accept-bad-fits)"
    )
    raise FitError(msg)


def pick_shape(chi2: ArrayLike, n_parameters: ArrayLike, *, significance: float) -> int:
    """Choose the simplest of several shapes that no richer one improves on.

    Parameters
    ----------
    chi2, n_parameters : array_like, shape (n_shapes,)
        Of the shapes, in the order of preference; infinite for one that cannot be had.
    significance : float
        A richer shape is taken if it improves χ² by more than chance does at this
        level.

    Returns
    -------
    int
        Index of the shape.
    """
    chi2, n = np.asarray(chi2, float), np.asarray(n_parameters)
    for i in range(len(chi2)):
        richer = [j for j in range(len(chi2)) if n[j] > n[i] and np.isfinite(chi2[j])]
        gains = np.array([p_values(chi2[i] - chi2[j], n[j] - n[i]) for j in richer])
        # Of several richer shapes the best gains by chance more often.
        if np.isfinite(chi2[i]) and (gains >= significance / max(len(gains), 1)).all():
            return i
    return int(np.argmin(chi2))
