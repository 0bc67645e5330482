r"""Test whether factorised templates describe the simulation they come from.

The sum of the event-weighted templates is fitted by the factorised ones, as if it
were data with its own statistical errors. Where every assumption holds the strengths
scatter around 1 by their errors. A comparison of the sums alone would not do: a wrong
response can hide in a χ² over all bins and still move one strength by half of its
error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import chi2

from wprops.channels import Channel
from wprops.errors import TemplateError

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Closure:
    """Fit of the simulation by the factorised templates of one channel.

    Attributes
    ----------
    processes : tuple of str
        The signal processes.
    strengths, errors : ndarray, shape (n,)
        Fitted strengths, 1 expected, and the errors from the simulation's statistics.
    chi2, fitted_chi2 : float
        Σ (simulation − templates)²/variance at strength 1, and at the fitted ones.
    n_bins : int
        Bins in which events are expected.
    """

    processes: tuple[str, ...]
    strengths: Array
    errors: Array
    chi2: float
    fitted_chi2: float
    n_bins: int

    @property
    def pulls(self) -> Array:
        """(strength − 1)/error, shape (n,)."""
        return (self.strengths - 1.0) / self.errors

    @property
    def pull_rms(self) -> float:
        """Root mean square of the pulls."""
        return float(np.sqrt(np.mean(self.pulls**2)))

    @property
    def p_value(self) -> float:
        """Probability of a larger χ² of the strengths at 1."""
        return float(chi2.sf(self.chi2 - self.fitted_chi2, len(self.processes)))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the template file."""
        return {
            "processes": list(self.processes),
            "strengths": self.strengths.tolist(),
            "errors": self.errors.tolist(),
            "chi2": self.chi2,
            "fitted_chi2": self.fitted_chi2,
            "n_bins": self.n_bins,
            "pull_rms": self.pull_rms,
            "p": self.p_value,
        }


def fit_simulation(plain: Channel, factorised: Channel) -> Closure:
    """Fit the sum of event-weighted signal templates by the factorised ones.

    The operators of the factorised templates come from the same events, which makes
    the pulls a little smaller than 1. The variance of a bin is that of the expected
    events, with the mean weight of its row in eta: that of the observed ones would
    give bins that fluctuated down too much weight.

    Parameters
    ----------
    plain : Channel
        Event-weighted templates with the covariance of those that share events.
    factorised : Channel
        Templates to test; they count as exact.

    Raises
    ------
    TemplateError
        If the channels have different signals or bins, or the factorised templates
        are linearly dependent.

    References
    ----------
    The fit is linear least squares; its weights are the inverse variances of the sum.
    """
    names = tuple(p.name for p in factorised.processes.values() if p.role == "signal")
    events, squares = _sum_of_signal(plain, names)
    templates = np.stack([factorised.process(n).nominal for n in names])
    expected = templates.sum(axis=0)
    mean_weight = squares.sum(axis=1, keepdims=True) / events.sum(axis=1, keepdims=True)
    variance = mean_weight * expected
    filled = variance > 0
    templates, target = templates[:, filled], events[filled]
    weight = 1.0 / variance[filled]
    information = (templates * weight) @ templates.T
    scale = np.sqrt(np.diag(information))
    try:
        factor = cho_factor(information / np.outer(scale, scale), lower=True)
    except np.linalg.LinAlgError as error:
        msg = (
            f"channel {factorised.name!r}: the factorised templates are linearly "
            f"dependent in the {int(filled.sum())} bins with events, so "
            "their strengths cannot be fitted; use a coarser binning of (qT, |Y|)"
        )
        raise TemplateError(msg) from error
    residual = target - templates.sum(axis=0)
    moved = cho_solve(factor, (templates @ (weight * residual)) / scale) / scale
    covariance = cho_solve(factor, np.eye(len(names))) / np.outer(scale, scale)
    left = residual - moved @ templates
    return Closure(
        processes=names,
        strengths=1.0 + moved,
        errors=np.sqrt(np.diag(covariance)),
        chi2=float(weight @ residual**2),
        fitted_chi2=float(weight @ left**2),
        n_bins=int(filled.sum()),
    )


def _sum_of_signal(plain: Channel, names: tuple[str, ...]) -> tuple[Array, Array]:
    """Sum of the signal templates and its variance, shape (n_eta, n_pt)."""
    wanted = {p.name for p in plain.processes.values() if p.role == "signal"}
    if wanted != set(names):
        odd = sorted(wanted.symmetric_difference(names))
        msg = (
            f"channel {plain.name!r}: {len(odd)} signal processes are in one of the "
            f"files only, such as {', '.join(odd[:3])}; use the same binning in both"
        )
        raise TemplateError(msg)
    events = sum(plain.process(name).nominal for name in names)
    shared = [group for group in plain.shared if set(group.processes) <= wanted]
    alone = wanted.difference(*(group.processes for group in shared))
    variance = sum(plain.process(name).variance for name in alone)
    variance = variance + sum(group.products.sum(axis=(0, 1)) for group in shared)
    return np.asarray(events), np.asarray(variance)
