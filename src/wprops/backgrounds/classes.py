"""The counts that the multijet estimate starts from, out of a template set."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wprops.backgrounds.counts import Regions
from wprops.backgrounds.mt_dependence import MtSlices
from wprops.channels import Channel, Sidebands
from wprops.errors import TemplateError
from wprops.store import TemplateSet

Array = NDArray[np.float64]

#: The sideband lies below, the signal region above these [GeV], as in the selection.
SIDEBAND_BELOW, SIGNAL_FROM = 30.0, 40.0
#: Position of isolated and anti-isolated muons on their axis.
ISOLATED, ANTI_ISOLATED = 0, 1


class MtClasses(NamedTuple):
    """Slices of mT below the signal region, and mean mT of multijet muons [GeV]."""

    slices: MtSlices
    sideband: float
    signal: float


def require_sidebands(templates: TemplateSet) -> Sidebands:
    """Return the sidebands of a set; raises TemplateError if there is nothing in it."""
    if templates.sidebands is None:
        msg = (
            "these histograms have no sidebands, from which multijet is estimated; set "
            "`multijet: data` in the catalogue, let it have data, and run again"
        )
        raise TemplateError(msg)
    if not templates.sidebands.processes:
        msg = "the sidebands have no simulated process to subtract from the data."
        raise TemplateError(msg)
    return templates.sidebands


def counts_of(templates: TemplateSet) -> Regions:
    """Count the events of the four regions.

    Parameters
    ----------
    templates : TemplateSet
        With sidebands.

    Returns
    -------
    Regions
        The data, and the sum of all simulated processes with prompt muons.

    Raises
    ------
    TemplateError
        If there are no sidebands, slices of mT do not end where regions do, or
        channels differ in their edges.
    """
    channel = _common_channel(templates)
    edges = channel.eta_edges, channel.pt_edges
    return regions_of(require_sidebands(templates), *edges)


def regions_of(sidebands: Sidebands, eta_edges: Array, pt_edges: Array) -> Regions:
    """Sum classes into regions, and all processes; see `counts_of`."""
    edges, processes = sidebands.mt_edges, sidebands.processes.values()
    return Regions(
        eta_edges=eta_edges,
        pt_edges=pt_edges,
        data=by_region(edges, sidebands.data),
        prompt=by_region(edges, _sum([p.nominal for p in processes])),
        prompt_variance=by_region(edges, _sum([p.variance for p in processes])),
    )


def by_region(mt_edges: Array, counts: Array) -> Array:
    """Sum slices of mT into regions.

    Parameters
    ----------
    mt_edges : ndarray, shape (n_mt + 1,)
        Edges of the slices [GeV].
    counts : ndarray, shape (2, n_mt, 2, n_eta, n_pt)
        Counts by isolation, slice, charge, eta and pT.

    Returns
    -------
    ndarray, shape (4, 2, n_eta, n_pt)
        In the order of `wprops.backgrounds.counts.REGIONS`.

    Raises
    ------
    TemplateError
        If no slice ends where the sideband does, or begins where the signal does.
    """
    missing = sorted({SIDEBAND_BELOW, SIGNAL_FROM} - set(mt_edges.tolist()))
    if missing:
        msg = (
            f"the sidebands have slices of mT between {mt_edges.tolist()} GeV; edges "
            f"at {', '.join(f'{edge:g}' for edge in missing)} GeV are needed, where "
            "the regions of the estimate begin or end."
        )
        raise TemplateError(msg)
    high, low = mt_edges[:-1] >= SIGNAL_FROM, mt_edges[1:] <= SIDEBAND_BELOW
    return np.stack(
        [
            counts[isolation, chosen].sum(axis=0)
            for chosen in (high, low)
            for isolation in (ISOLATED, ANTI_ISOLATED)
        ]
    )


def mt_classes(sidebands: Sidebands) -> MtClasses:
    """Slices of mT below the signal region, and where the muons are in them.

    The mean mT of multijet muons is that of anti-isolated data minus simulation, both
    charges together. Isolated ones have the same up to the dependence of the fake rate
    on mT that is looked for, and most of the isolated data are prompt.

    Raises
    ------
    TemplateError
        If nothing is left in a slice, or the mean of what is left lies outside of it.
    """
    edges, processes = sidebands.mt_edges, list(sidebands.processes.values())
    prompt = _sum([p.nominal for p in processes])
    variance = _sum([p.variance for p in processes])
    events = (sidebands.data - prompt)[ANTI_ISOLATED].sum(axis=(1, 2, 3))
    mt_sum = sidebands.data_mt_sum - _sum([p.mt_sum for p in processes])
    mt_sum = mt_sum[ANTI_ISOLATED].sum(axis=1)
    _require_means(edges, events, mt_sum)
    below, above = edges[1:] <= SIGNAL_FROM, edges[:-1] >= SIGNAL_FROM
    sideband = edges[1:] <= SIDEBAND_BELOW
    slices = MtSlices(
        (mt_sum / events)[below],
        *(
            np.moveaxis(counts[:, below], 0, 1)
            for counts in (sidebands.data, prompt, variance)
        ),
    )
    return MtClasses(
        slices=slices,
        sideband=float(mt_sum[sideband].sum() / events[sideband].sum()),
        signal=float(mt_sum[above].sum() / events[above].sum()),
    )


def _require_means(edges: Array, events: Array, mt_sum: Array) -> None:
    """Refuse slices of mT in which the subtraction leaves no meaningful mean."""
    for low, high, n, total in zip(edges[:-1], edges[1:], events, mt_sum, strict=True):
        if n > 0 and low * n <= total <= high * n:
            continue
        msg = (
            f"anti-isolated data minus simulation are {n:.4g} muons with mT from "
            f"{low:g} to {high:g} GeV, and their mT adds up to {total:.4g} GeV; a mean "
            "within the slice is needed to extrapolate in mT. Use more events, or "
            "correct the size of the simulation."
        )
        raise TemplateError(msg)


def varied_prompt(sidebands: Sidebands, prompt: Array, labels: Sequence[str]) -> Array:
    """Prompt muons of variations; a process without a label stays nominal.

    Parameters
    ----------
    sidebands : Sidebands
        Simulated processes with their variations.
    prompt : ndarray, shape (4, 2, n_eta, n_pt)
        Their nominal sum.
    labels : sequence of str
        The variations.

    Returns
    -------
    ndarray, shape (n_labels, 4, 2, n_eta, n_pt)

    Raises
    ------
    TemplateError
        If no process has one of the variations.
    """
    varied = np.repeat(prompt[None], len(labels), axis=0)
    for index, label in enumerate(labels):
        having = [p for p in sidebands.processes.values() if label in p.variations]
        if not having:
            msg = (
                f"multijet varies with {label!r}, but no process of the sidebands has "
                f"this variation ({', '.join(sidebands.processes)}); fill it, or leave "
                "its systematic out with `without:` in the catalogue"
            )
            raise TemplateError(msg)
        change = _sum([p.variations[label] - p.nominal for p in having])
        varied[index] += by_region(sidebands.mt_edges, change)
    return varied


def scaled_prompt(
    sidebands: Sidebands, prompt: Array, names: Collection[str], factor: float
) -> Array:
    """Prompt muons with the processes of some names scaled, (4, 2, n_eta, n_pt)."""
    scaled = np.array(prompt)
    for name, process in sidebands.processes.items():
        if name in names:
            scaled += (factor - 1) * by_region(sidebands.mt_edges, process.nominal)
    return scaled


def _common_channel(templates: TemplateSet) -> Channel:
    """Return one channel for its edges; all must have the same, one per charge."""
    channels = list(templates.channels.values())
    first = channels[0]
    charges = [channel.charge for channel in channels]
    for channel in channels:
        same = all(
            np.array_equal(getattr(channel, name), getattr(first, name))
            for name in ("eta_edges", "pt_edges")
        )
        if not same or charges.count(channel.charge) > 1:
            msg = (
                f"channel {channel.name!r} has charge {channel.charge:+d}, and its "
                f"edges {'are' if same else 'are not'} those of {first.name!r}; "
                "multijet is estimated for one channel per charge, of the same edges."
            )
            raise TemplateError(msg)
    return first


def _sum(arrays: Sequence[Array]) -> Array:
    """Sum arrays without a stack of them in memory."""
    total = np.zeros_like(arrays[0])
    for array in arrays:
        total += array
    return total
