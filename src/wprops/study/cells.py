"""Template sets with coarser cells: what a fit with fewer strengths would measure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from wprops.channels import Channel, Generated, Process, SharedEvents
from wprops.errors import ConfigError, TemplateError
from wprops.store import TemplateSet

Array = NDArray[np.float64]
Index = NDArray[np.int64]


def group_bins(n_bins: int, n_groups: int) -> Index:
    """Group of each of some neighbouring bins, in nearly equal numbers.

    Parameters
    ----------
    n_bins, n_groups : int
        Numbers of bins and of groups.

    Returns
    -------
    ndarray of int, shape (n_bins,)

    Raises
    ------
    ConfigError
        If there are more groups than bins, or none.

    Examples
    --------
    >>> group_bins(11, 5).tolist()
    [0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4]
    """
    if not 1 <= n_groups <= n_bins:
        msg = f"{n_bins} bins cannot be merged to {n_groups}; ask for 1 to {n_bins}"
        raise ConfigError(msg)
    # the group in which the middle of a bin lies
    return (2 * np.arange(n_bins) + 1) * n_groups // (2 * n_bins)


def cell_numbers(templates: TemplateSet) -> tuple[int, int]:
    r"""Return numbers of bins in qT and in \|Y\|, which all channels share.

    Raises
    ------
    TemplateError
        If a channel has no record of what was generated, or channels differ.
    """
    found = set()
    for channel in templates.channels.values():
        n_y, n_qt = _generated(channel).sigma.shape
        found.add((n_qt, n_y))
    if len(found) != 1:
        msg = (
            f"the channels have {sorted(found)} bins in (qT, |Y|); make them with one "
            "binning"
        )
        raise TemplateError(msg)
    return found.pop()


def merge_cells(templates: TemplateSet, n_qt: int, n_y: int) -> TemplateSet:
    r"""Add up the templates of neighbouring cells.

    A strength then multiplies the generated cross sections, or products of cross
    section and coefficient, of several cells. A merged process has the name of its
    first member.

    Parameters
    ----------
    templates : TemplateSet
        A set whose templates carry the generated A_i.
    n_qt, n_y : int
        Numbers of bins in qT and in \|Y\| to have.

    Returns
    -------
    TemplateSet

    Raises
    ------
    ConfigError
        If there are not so many bins.
    TemplateError
        If templates do not carry A_i, so that their sum is not what was generated, or
        a channel has no record of what was generated.
    """
    if templates.weighting != "sigma_A":
        msg = (
            f"cells of templates with weighting {templates.weighting!r} cannot be "
            "merged, since their A_i differ; make the templates with 'sigma_A'"
        )
        raise TemplateError(msg)
    old = cell_numbers(templates)
    groups = group_bins(old[0], n_qt), group_bins(old[1], n_y)
    renamed = {
        name: new
        for channel in templates.channels.values()
        for name, new in _new_names(channel, groups).items()
    }
    truth = templates.truth
    return replace(
        templates,
        channels={
            name: _merge_channel(channel, groups)
            for name, channel in templates.channels.items()
        },
        systematics=tuple(
            replace(
                record,
                processes=frozenset(renamed.get(n, n) for n in record.processes),
                interpolation_of={
                    renamed.get(n, n): kind
                    for n, kind in record.interpolation_of.items()
                },
            )
            for record in templates.systematics
        ),
        truth=truth
        and replace(
            truth,
            channels={n: _merge_map(g, groups) for n, g in truth.channels.items()},
        ),
    )


def _generated(channel: Channel) -> Generated:
    if channel.generated is None:
        msg = (
            f"channel {channel.name!r} has no record of what was generated, and so no "
            "edges of cells; produce it with one"
        )
        raise TemplateError(msg)
    return channel.generated


def _new_cell(process: Process, groups: tuple[Index, Index]) -> tuple[int, int]:
    assert process.cell is not None  # a signal process that was checked
    y, qt = process.cell
    return int(groups[1][y]), int(groups[0][qt])


def _members(
    channel: Channel, groups: tuple[Index, Index]
) -> dict[tuple[str | None, tuple[int, int]], list[Process]]:
    """Signal processes by component and new cell."""
    members: dict[tuple[str | None, tuple[int, int]], list[Process]] = {}
    for process in channel.processes.values():
        if process.role == "signal":
            key = process.component, _new_cell(process, groups)
            members.setdefault(key, []).append(process)
    return members


def _new_names(channel: Channel, groups: tuple[Index, Index]) -> dict[str, str]:
    return {
        process.name: together[0].name
        for together in _members(channel, groups).values()
        for process in together
    }


def _merge_channel(channel: Channel, groups: tuple[Index, Index]) -> Channel:
    merged = {
        together[0].name: _merge_processes(together, cell)
        for (_, cell), together in _members(channel, groups).items()
    }
    others = {n: p for n, p in channel.processes.items() if p.role != "signal"}
    names = _new_names(channel, groups)
    shared: dict[tuple[str, ...], list[SharedEvents]] = {}
    for group in (_rename(group, names) for group in channel.shared):
        shared.setdefault(group.processes, []).append(group)
    return replace(
        channel,
        processes=merged | others,
        shared=tuple(reduce(_add_shared, groups) for groups in shared.values()),
        generated=_merge_map(_generated(channel), groups),
    )


def _merge_processes(together: Sequence[Process], cell: tuple[int, int]) -> Process:
    labels = dict.fromkeys(label for p in together for label in p.variations)
    entries = [p.entries for p in together if p.entries is not None]
    return replace(
        together[0],
        cell=cell,
        nominal=_sum(p.nominal for p in together),
        variance=_sum(p.variance for p in together),
        # what a member lacks is nominal
        variations={
            label: _sum(p.variations.get(label, p.nominal) for p in together)
            for label in labels
        },
        entries=_sum(entries) if len(entries) == len(together) else None,
    )


def _sum(arrays: Iterable[Array]) -> Array:
    return np.sum(list(arrays), axis=0)


def _rename(group: SharedEvents, names: Mapping[str, str]) -> SharedEvents:
    """Covariance of the merged templates of one group of events."""
    new = [names.get(name, name) for name in group.processes]
    unique = tuple(dict.fromkeys(new))
    add = np.array([[float(name == n) for n in new] for name in unique])
    with_derivative = np.eye(len(unique) + 1, len(new) + 1)
    with_derivative[:-1, :-1], with_derivative[-1, -1] = add, 1.0
    products, folds = group.derivative_products, group.folds
    columns = with_derivative if group.derivative is not None else add
    return replace(
        group,
        processes=unique,
        products=np.einsum("ap,pq...,bq->ab...", add, group.products, add),
        derivative_products=(
            None if products is None else np.tensordot(with_derivative, products, 1)
        ),
        folds=None if folds is None else np.einsum("ap,fp...->fa...", columns, folds),
    )


def _add_shared(one: SharedEvents, two: SharedEvents) -> SharedEvents:
    """Add the covariances of different events."""
    if one.derivative != two.derivative:
        msg = (
            f"shared events of {', '.join(one.processes)} have derivatives in "
            f"{one.derivative} and {two.derivative}; produce all cells alike"
        )
        raise TemplateError(msg)

    def both(a: Array | None, b: Array | None) -> Array | None:
        return None if a is None or b is None else a + b

    return replace(
        one,
        products=one.products + two.products,
        derivative_products=both(one.derivative_products, two.derivative_products),
        folds=both(one.folds, two.folds),
    )


def _merge_map(generated: Generated, groups: tuple[Index, Index]) -> Generated:
    to_qt, to_y = (np.eye(group[-1] + 1)[group] for group in groups)
    sigma = to_y.T @ generated.sigma @ to_qt
    weighted = to_y.T @ (generated.coefficients * generated.sigma) @ to_qt
    return Generated(
        qt_edges=_merge_edges(generated.qt_edges, groups[0]),
        absy_edges=_merge_edges(generated.absy_edges, groups[1]),
        sigma=sigma,
        coefficients=weighted / sigma,
    )


def _merge_edges(edges: Array, group: Index) -> Array:
    is_kept = np.r_[True, np.diff(group) > 0, True]
    return edges[is_kept]
