r"""How much of a variation, and of a constraint that comes from it, could be noise.

Half the difference δ of an up and a down template has an effect of the source in it,
and noise of the finite simulation. With V the sum of squared weights of a bin, the
variance of the noise is κ²V in both cases that occur:

- a weight changes by 1 + r: δ = Σ w r, of variance Σ w²r² = κ²V with κ² the mean of
  r². If all events of a bin have one r, δ/n is exact: the variation fluctuates with
  the nominal template, and how many events there are says nothing on the noise;
- a kinematic shift moves events between bins, other ones in each bin: κ² is the
  fraction of events that leave or enter. A net change δ needs at least |δ|/w events
  of weight w, so the variance is at least w|δ|: a bound from counting.

The templates do not keep κ, but the noise of different bins is independent or
anti-correlated (who leaves a bin enters the next), while effects of a source are smooth
in pT, or in pT times any step in η. So z = δ/√V has a smooth mean and a constant noise,
and differences Δ of neighbouring bins, of order m in pT and of second order in η, see
the noise alone: those of a polynomial in pT of degree m − 1 vanish,

.. math:: \hat κ^2 = \frac{\sum (Δ z)^2}{N_Δ \binom{2m}{m} \binom{4}{2}},
   \qquad R = N \hat κ^2 / \sum z^2 .

R is von Neumann's ratio, generalised: 1 on average if z is white noise, near 0 if it is
smooth, up to 2 for events that change to the next bin. Structure of a few bins that
changes with η makes R too large: the share of noise is R at most.

References
----------
J. von Neumann, Ann. Math. Statist. 12 (1941) 367.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wprops.channels import Channel, Process
from wprops.fit.checks import acts_on
from wprops.systematics.declaration import Systematic

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
#: Bins in pT per order of the differences: three of a smooth curve make a parabola.
BINS_PER_ORDER = 3
LOWEST_ORDER, HIGHEST_ORDER = 2, 5
#: Order of the differences in η, where there are enough rows.
ETA_ORDER = 2
#: Standard deviations below 1 at which R is still that of noise.
COMPATIBLE = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Roughness:
    """Differences of neighbouring bins of one channel, as an estimator of noise.

    Attributes
    ----------
    in_eta : ndarray, shape (n_rows, n_eta)
        Differences in η, or the identity.
    in_pt : ndarray, shape (n_columns, n_pt)
        Differences in pT.
    usable : ndarray, shape (n_rows, n_columns)
        1 for differences whose bins are all filled, else 0.
    filled : ndarray of bool, shape (n_eta, n_pt)
        Bins that count.
    """

    in_eta: Array
    in_pt: Array
    usable: Array
    filled: Mask

    @property
    def _trace(self) -> float:
        squares = (self.in_eta[0] ** 2).sum() * (self.in_pt[0] ** 2).sum()
        return float(self.usable.sum() * squares)

    @property
    def spread(self) -> float:
        """Standard deviation of R for white noise, from the traces of its form."""
        n = int(self.filled.sum())
        eta, pt = self.in_eta @ self.in_eta.T, self.in_pt @ self.in_pt.T
        square = float((self.usable * (eta**2 @ self.usable @ pt**2)).sum())
        return float(np.sqrt(2 * (n * square / self._trace**2 - 1) / (n + 2)))

    def noise(self, values: Array) -> Array:
        """Estimate the sum of the variances of all filled bins.

        Parameters
        ----------
        values : ndarray, shape (..., n_eta, n_pt)
            Numbers whose noise is of one size; 0 in bins that are not filled.

        Returns
        -------
        ndarray, shape (...)
        """
        differences = self.in_eta @ (values @ self.in_pt.T)
        total = (differences**2 * self.usable).sum(axis=(-2, -1))
        return total * self.filled.sum() / self._trace


def roughness(filled: Mask, *, across_eta: bool = True) -> Roughness | None:
    """Make the estimator for some filled bins, None where they are too few.

    Parameters
    ----------
    filled : ndarray of bool, shape (n_eta, n_pt)
        Bins with simulated events.
    across_eta : bool
        Whether to take differences in η too; not for what lives in one row.
    """
    n_eta, n_pt = filled.shape
    order = min(HIGHEST_ORDER, n_pt // BINS_PER_ORDER)
    if order < LOWEST_ORDER:
        return None
    in_pt = np.diff(np.eye(n_pt), n=order, axis=0)
    eta_order = ETA_ORDER if across_eta and n_eta > ETA_ORDER else 0
    in_eta = np.diff(np.eye(n_eta), n=eta_order, axis=0)
    whole = (in_eta != 0).astype(float) @ filled @ (in_pt != 0).astype(float).T
    usable = (whole == (eta_order + 1) * (order + 1)).astype(float)
    # differences have to see the noise of a good part of the bins
    if usable.sum() < filled.sum() / 4:
        return None
    return Roughness(in_eta, in_pt, usable, filled) if usable.any() else None


@dataclass(frozen=True, slots=True)
class VariationNoise:
    """What one systematic does to one process, judged.

    Attributes
    ----------
    channel, process, systematic : str
        Their names.
    ratio : float
        R; NaN where there are too few bins in pT.
    spread : float
        Standard deviation of R for noise alone.
    counted : float
        Share of noise at least there in what was filled, from the number of events
        that moved; 0 for a weight.
    moved : float
        Net number of simulated events that changed the bin; NaN for a weight.
    cosine : float
        Cosine between (up − nominal) and (down − nominal) in units of the noise; −1
        for a symmetric source.
    effect : float
        Largest relative change of a bin; 0 without any effect.
    """

    channel: str
    process: str
    systematic: str
    ratio: float
    spread: float
    counted: float
    moved: float
    cosine: float
    effect: float

    @property
    def is_compatible_with_noise(self) -> bool:
        """Whether noise explains it: by roughness, by counting where there is none.

        Counting does not know of variations that were smoothed, roughness does.
        """
        if np.isnan(self.ratio):
            return self.counted >= 1
        return self.ratio > 1 - COMPATIBLE * self.spread


def judge_variations(
    channel: Channel, systematics: tuple[Systematic, ...]
) -> list[VariationNoise]:
    """Judge all variations of a channel.

    Parameters
    ----------
    channel : Channel
        Templates with variances; processes without variance are left out.
    systematics : tuple of Systematic
        Records; norms have no templates.

    Returns
    -------
    list of VariationNoise
        By process, then by systematic.
    """
    judged: list[VariationNoise] = []
    for process in channel.processes.values():
        acting = [s for s in systematics if s.labels and acts_on(s, process)]
        if acting and process.variance.any():
            judged += _judge_process(channel.name, process, acting)
    return judged


def _judge_process(
    channel: str, process: Process, systematics: list[Systematic]
) -> list[VariationNoise]:
    nominal, variance = process.nominal, process.variance
    filled = variance > 0
    scale = np.where(filled, np.sqrt(np.where(filled, variance, 1.0)), np.inf)
    up = np.stack([process.variations[s.labels[0]] for s in systematics]) - nominal
    down = np.stack(
        [
            nominal - process.variations[s.labels[0]]
            if len(s.labels) == 1
            else process.variations[s.labels[1]] - nominal
            for s in systematics
        ]
    )
    half = (up - down) / 2
    total = _squares(half / scale)
    estimator = roughness(filled)
    noise = np.full(len(systematics), np.nan)
    if estimator is not None:
        noise = estimator.noise(half / scale)
    lengths = np.sqrt(_squares(up / scale) * _squares(down / scale))
    products = ((up / scale) * (down / scale)).sum(axis=(1, 2))
    size = abs(nominal) + np.where(filled, np.sqrt(variance), np.inf)
    effects = (np.maximum(abs(up), abs(down)) / size).max(axis=(1, 2))
    weight = _event_weight(process)
    judged = []
    for k, systematic in enumerate(systematics):
        moved, counted = np.nan, 0.0
        if systematic.kind == "kinematic" and weight is not None and total[k] > 0:
            moved = float((abs(half[k])[filled] / weight[filled]).sum())
            least = (weight * abs(half[k]) / scale**2)[filled].sum()
            counted = min(1.0, float(least / total[k]))
        judged.append(
            VariationNoise(
                channel=channel,
                process=process.name,
                systematic=systematic.name,
                ratio=float(noise[k] / total[k]) if total[k] > 0 else np.nan,
                spread=np.nan if estimator is None else estimator.spread,
                counted=counted,
                moved=moved,
                cosine=float(products[k] / lengths[k]) if lengths[k] > 0 else np.nan,
                effect=float(effects[k]),
            )
        )
    return judged


def _squares(values: Array) -> Array:
    return (values**2).sum(axis=(1, 2))


def _event_weight(process: Process) -> Array | None:
    """Size of a weight in each bin; None where the templates do not tell."""
    filled = process.variance > 0
    if process.entries is not None:
        number = np.maximum(process.entries, 1.0)
        return np.where(filled, np.sqrt(process.variance / number), 1.0)
    if (process.nominal[filled] > 0).all():
        nominal = np.where(filled, process.nominal, 1.0)
        return np.where(filled, process.variance / nominal, 1.0)
    return None
