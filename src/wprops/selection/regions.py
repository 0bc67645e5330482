"""The selection as data: cuts, the signal region and the three ABCD regions.

The four regions are one list of cuts with the isolation and the transverse mass
exchanged, so they share every other definition:

==================  ============  =========  ====
region              isolation     mT [GeV]   role
==================  ============  =========  ====
``signal``          ≤ 0.15        ≥ 40       D
``signal_antiiso``  > 0.15        ≥ 40       B
``sideband``        ≤ 0.15        < 30       C
``sideband_antiiso``  > 0.15      < 30       A
==================  ============  =========  ====
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wprops.selection.candidates import BoolArray, Candidates, FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """One condition on a column of `Candidates`, low ≤ value < high.

    Attributes
    ----------
    label : str
        Row of the cut flow.
    column : str
        Attribute of `Candidates`; a column of bools has to be true.
    low, high : float
        Half-open interval; NaN is outside of any.
    """

    label: str
    column: str
    low: float = -np.inf
    high: float = np.inf

    def passes(self, candidates: Candidates) -> BoolArray:
        """Events that pass, shape (n,)."""
        values = getattr(candidates, self.column)
        if values.dtype == bool:
            return values
        return (values >= self.low) & (values < self.high)


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """A selection: all of its cuts, in the order of the cut flow."""

    name: str
    cuts: tuple[Cut, ...]

    def passes(self, candidates: Candidates) -> BoolArray:
        """Events in the region, shape (n,)."""
        return np.logical_and.reduce([cut.passes(candidates) for cut in self.cuts])

    @property
    def unshifted(self) -> Region:
        """The cuts that no kinematic variation can change the outcome of."""
        kept = tuple(cut for cut in self.cuts if cut.column not in SHIFTED)
        return replace(self, cuts=kept)


#: Columns that kinematic variations change, among those of cuts.
SHIFTED = ("pt", "met", "met_phi", "mt")
BEFORE_ISOLATION = (
    Cut(label="certified section", column="certified"),
    Cut(label="trigger", column="triggered"),
    Cut(label="filters", column="passes_flags"),
    Cut(label="no electron", column="n_veto_electrons", high=1),
    Cut(label="no second loose muon", column="n_loose", high=2),
)
ACCEPTANCE = (
    Cut(label="25 ≤ pT < 55 GeV", column="pt", low=25.0, high=55.0),
    Cut(label="|eta| < 2.4", column="eta", low=-2.4, high=2.4),
)
ISOLATED = Cut(label="one isolated muon", column="isolated")
ANTI_ISOLATED = Cut(label="one anti-isolated muon", column="anti_isolated")
HIGH_MT = Cut(label="mT ≥ 40 GeV", column="mt", low=40.0)
LOW_MT = Cut(label="mT < 30 GeV", column="mt", high=30.0)


def _region(name: str, isolation: Cut, mt: Cut) -> Region:
    return Region(name=name, cuts=(*BEFORE_ISOLATION, isolation, *ACCEPTANCE, mt))


SIGNAL = _region("signal", ISOLATED, HIGH_MT)
REGIONS = (
    SIGNAL,
    _region("signal_antiiso", ANTI_ISOLATED, HIGH_MT),
    _region("sideband", ISOLATED, LOW_MT),
    _region("sideband_antiiso", ANTI_ISOLATED, LOW_MT),
)


#: Any isolation and transverse mass: what the multijet estimate is made from.
ANY = Region(name="any", cuts=(*BEFORE_ISOLATION, *ACCEPTANCE))
#: Classes of the candidate in the multijet estimate, and slices of mT [GeV]: the
#: sideband in two halves, the gap, and the signal region.
ISOLATION_CLASSES = ("isolated", "anti_isolated")
MT_SLICES = (0.0, 15.0, 30.0, 40.0, np.inf)


def isolation_and_mt(candidates: Candidates) -> NDArray[np.int64]:
    """Flat index of isolation class and mT slice, −1 for events in neither class.

    Classes are exclusive: an event has one isolated muon, or none and one that is
    anti-isolated. Without a finite mT an event is in no slice, and in no region either.
    """
    isolation = np.select([candidates.isolated, candidates.anti_isolated], [0, 1], -1)
    slice_ = np.searchsorted(MT_SLICES, candidates.mt, side="right") - 1
    n = len(MT_SLICES) - 1
    inside = (isolation >= 0) & np.isfinite(candidates.mt)
    return np.where(inside, isolation * n + slice_, -1)


def cut_flows(
    regions: Sequence[Region], candidates: Candidates, weight: FloatArray
) -> NDArray[np.float64]:
    """Events that pass the first k cuts of each region.

    Parameters
    ----------
    regions : sequence of Region
        Regions with one number of cuts; what they begin with in common is looked at
        once.
    candidates : Candidates
        A chunk of events.
    weight : ndarray, shape (n,)
        Event weights.

    Returns
    -------
    ndarray, shape (n_regions, n_cuts + 1, 2)
        Number of events and sum of weights; the first row is before any cut.
    """
    known: dict[tuple[Cut, ...], BoolArray] = {(): np.ones(len(weight), bool)}
    rows: dict[tuple[Cut, ...], tuple[int, float]] = {
        (): (len(weight), float(weight.sum()))
    }
    for region in regions:
        for k, cut in enumerate(region.cuts):
            before, after = region.cuts[:k], region.cuts[: k + 1]
            if after not in known:
                passed = known[before] & cut.passes(candidates)
                known[after] = passed
                rows[after] = int(np.count_nonzero(passed)), float(weight[passed].sum())
    return np.array(
        [
            [rows[region.cuts[:k]] for k in range(len(region.cuts) + 1)]
            for region in regions
        ],
        dtype=float,
    )


def cut_flow_records(
    dataset: str, flows: Sequence[tuple[Region, NDArray[np.float64]]]
) -> list[dict[str, Any]]:
    """Turn the cut flows of one dataset into rows of a table."""
    return [
        {
            "dataset": dataset,
            "region": region.name,
            "cut": label,
            "events": int(events),
            "weighted": weighted,
        }
        for region, flow in flows
        for label, (events, weighted) in zip(
            ("all", *(cut.label for cut in region.cuts)), flow.tolist(), strict=True
        )
    ]
