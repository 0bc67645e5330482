"""What is wrong with an estimate, by charge and eta: a table, and an error.

Some findings leave no estimate (``fatal``); the others are for the eye.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wprops.backgrounds.counts import CHARGES, REGIONS, Regions
from wprops.backgrounds.rates import HIGH_MT, LOW_MT, Rates, subtracted
from wprops.errors import TemplateError

Array = NDArray[np.float64]
Bool = NDArray[np.bool_]

#: Fits with a smaller p-value are reported.
SMALLEST_P = 1e-4
#: What helps where a rate could not be fitted: erf and logistic have edges that some
#: hundred simulated anti-isolated muons per (charge, eta) do not determine.
_CURVES = {
    "prompt rate": "a curve of the prompt rate that needs fewer anti-isolated muons in "
    "simulation (`wprops backgrounds --prompt-curve quadratic`, or `linear`), ",
    "fake rate": "a curve of the fake rate with fewer parameters (`wprops backgrounds "
    "--fake-curve constant`), ",
}
#: Fatal findings that an error message spells out.
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One finding.

    Attributes
    ----------
    variation : str
        Label of the variation.
    charge : int
        Charge of the muon.
    eta_low, eta_high : float
        The eta bin.
    what : str
        What was found.
    where : str
        Region or rate that it was found in.
    value : float
        The number that shows it.
    fatal : bool
        Whether there is no estimate with it.
    """

    variation: str
    charge: int
    eta_low: float
    eta_high: float
    what: str
    where: str
    value: float
    fatal: bool

    def __str__(self) -> str:
        return (
            f"{self.variation}, charge {self.charge:+d}, eta {self.eta_low:g} to "
            f"{self.eta_high:g}, {self.where}: {self.what} ({self.value:.4g})"
        )


def as_table(diagnoses: Iterable[Diagnosis]) -> list[dict[str, Any]]:
    """Plain data, one row per finding."""
    return [asdict(diagnosis) for diagnosis in diagnoses]


def require_estimate(diagnoses: Iterable[Diagnosis]) -> None:
    """Raise TemplateError that names the fatal findings, if there are any."""
    fatal = [diagnosis for diagnosis in diagnoses if diagnosis.fatal]
    if not fatal:
        return
    shown = "".join(f"\n  {diagnosis}" for diagnosis in fatal[:_SHOWN])
    more = f"\n  and {len(fatal) - _SHOWN} more" if len(fatal) > _SHOWN else ""
    places = {diagnosis.where for diagnosis in fatal}
    curves = "".join(text for rate, text in _CURVES.items() if rate in places)
    msg = (
        f"multijet cannot be estimated from data, for these reasons:{shown}{more}\n"
        f"Use more events or wider eta bins, {curves}or `multijet: simulation`."
    )
    raise TemplateError(msg)


@dataclass(frozen=True, slots=True)
class _Finder:
    """Turns masks over (variation, charge, eta) into findings."""

    regions: Regions
    labels: Sequence[str]

    def find(
        self, what: str, where: str, wrong: Bool, value: Array, *, fatal: bool
    ) -> list[Diagnosis]:
        shape = (len(self.labels), len(CHARGES), self.regions.shape[0])
        value = np.broadcast_to(value, shape)
        places = np.argwhere(np.broadcast_to(wrong, shape)).tolist()
        edges = self.regions.eta_edges
        return [
            Diagnosis(
                variation=self.labels[label],
                charge=CHARGES[charge],
                eta_low=float(edges[eta]),
                eta_high=float(edges[eta + 1]),
                what=what,
                where=where,
                value=float(value[label, charge, eta]),
                fatal=fatal,
            )
            for label, charge, eta in places
        ]


def diagnose_counts(regions: Regions, labels: Sequence[str]) -> list[Diagnosis]:
    """Look for empty regions, and for more prompt muons than data.

    Parameters
    ----------
    regions : Regions
        Counts, with at most one leading axis.
    labels : sequence of str
        Names along the leading axis; one when there is none.

    Returns
    -------
    list of Diagnosis
        With the number of events as value: fatal if a region has no data, the
        simulation has no isolated or anti-isolated muons at high mT, or at low mT
        there is no multijet left after subtraction. Not fatal are single bins of pT
        that are negative after subtraction; their number is the value.
    """
    finder = _Finder(regions, labels)
    found = []
    for region in REGIONS:
        events = regions.of("data", region).sum(axis=-1)
        found += finder.find("empty region", region, events == 0, events, fatal=True)
    for region in HIGH_MT:
        events = regions.of("prompt", region).sum(axis=-1)
        what = "no simulated prompt muons"
        found += finder.find(what, region, events <= 0, events, fatal=True)
    for region in LOW_MT:
        left = subtracted(regions, region)
        total, negative = left.sum(axis=-1), (left < 0).sum(axis=-1)
        what = "no multijet left after subtraction of prompt muons"
        found += finder.find(what, region, total <= 0, total, fatal=True)
        what = "bins negative after subtraction of prompt muons"
        found += finder.find(what, region, negative > 0, negative, fatal=False)
    return found


def diagnose_rates(
    regions: Regions, rates: Rates, labels: Sequence[str]
) -> list[Diagnosis]:
    """Look at the fits of both rates.

    Returns
    -------
    list of Diagnosis
        Fatal if a fit failed (value: its χ²) or the prompt rate does not exceed the
        fake rate (value: number of pT bins). Not fatal are p-values below 1e-4, and
        rates outside of 0 to 1 (value: number of pT bins).
    """
    finder = _Finder(regions, labels)
    found = []
    for name, fit in (("fake rate", rates.fake), ("prompt rate", rates.prompt)):
        what = f"fit of {fit.curve.name} failed"
        found += finder.find(what, name, ~fit.converged, fit.chi2, fatal=True)
        p = fit.p_value()
        what = f"p-value of the fit of {fit.curve.name} is small"
        found += finder.find(what, name, p < SMALLEST_P, p, fatal=False)
        values = fit.rates()
        outside = ((values < 0) | (values > 1)).sum(axis=-1)
        what = "bins with a rate outside of 0 to 1"
        found += finder.find(what, name, outside > 0, outside, fatal=False)
    below = (~(rates.prompt.rates() > rates.fake.rates())).sum(axis=-1)
    what = "bins in which it does not exceed the fake rate"
    return found + finder.find(what, "prompt rate", below > 0, below, fatal=True)


def diagnose_yield(
    regions: Regions, nominal: Array, labels: Sequence[str]
) -> list[Diagnosis]:
    """Look for negative estimates: a sum over pT, or single bins (not fatal both)."""
    finder = _Finder(regions, labels)
    total, bins = nominal.sum(axis=-1), (nominal < 0).sum(axis=-1)
    what = "estimate negative, summed over pT"
    found = finder.find(what, "signal", total < 0, total, fatal=False)
    what = "bins with a negative estimate"
    return found + finder.find(what, "signal", bins > 0, bins, fatal=False)
