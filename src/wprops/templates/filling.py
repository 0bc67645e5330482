"""The filling engine: one bin lookup per event, then an outer product.

An event adds ``component[k] * variation[v]`` to every (k, v) of its cell: six
helicity components times all weight variations cost one pass over memory that
is contiguous in v. Only occupied cells are stored, so a chunk of events returns
a compact `Block` instead of the dense array of all templates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.errors import TemplateError


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Sums of weights in the occupied cells of a set of templates.

    Attributes
    ----------
    cells : ndarray of int64, shape (n,)
        Flat indices of the occupied cells, ascending.
    n_cells : int
        Number of cells, occupied or not.
    components, labels : tuple of str
        Names of the components and of the weight variations, nominal first.
    sums : ndarray, shape (n, n_components, n_labels)
        Sums of weights.
    products : ndarray, shape (n, n_components (n_components + 1) / 2)
        Sums over events of the products of the nominal weights of two
        components, upper triangle row by row: the covariance of templates that
        are filled by the same events.
    entries : ndarray of int64, shape (n,)
        Numbers of events.
    """

    cells: NDArray[np.int64]
    n_cells: int
    components: tuple[str, ...]
    labels: tuple[str, ...]
    sums: NDArray[np.float64]
    products: NDArray[np.float64]
    entries: NDArray[np.int64]

    def __add__(self, other: Block) -> Block:
        """Add two blocks of the same templates; raises TemplateError otherwise."""
        if (self.n_cells, self.components, self.labels) != (
            other.n_cells,
            other.components,
            other.labels,
        ):
            msg = (
                "blocks of different templates cannot be added: "
                f"{self.n_cells} cells, {self.components}, {self.labels} against "
                f"{other.n_cells} cells, {other.components}, {other.labels}"
            )
            raise TemplateError(msg)
        cells = np.union1d(self.cells, other.cells)
        place = np.searchsorted(cells, self.cells), np.searchsorted(cells, other.cells)
        return Block(
            cells=cells,
            n_cells=self.n_cells,
            components=self.components,
            labels=self.labels,
            sums=_merged(len(cells), place, (self.sums, other.sums)),
            products=_merged(len(cells), place, (self.products, other.products)),
            entries=_merged(len(cells), place, (self.entries, other.entries)),
        )

    def section(self, start: int, length: int) -> Section:
        """Return a range of cells, empty ones included."""
        first, last = np.searchsorted(self.cells, (start, start + length))
        where = self.cells[first:last] - start
        n = len(self.components)
        rows, columns = np.triu_indices(n)
        sums = np.zeros((n, len(self.labels), length))
        sums[:, :, where] = np.moveaxis(self.sums[first:last], 0, -1)
        products = np.zeros((n, n, length))
        products[rows[:, None], columns[:, None], where] = self.products[first:last].T
        products[columns[:, None], rows[:, None], where] = self.products[first:last].T
        entries = np.zeros(length, dtype=np.int64)
        entries[where] = self.entries[first:last]
        return Section(sums, products, entries)


class Section(NamedTuple):
    """Dense content of neighbouring cells of a block.

    Attributes
    ----------
    sums : ndarray, shape (n_components, n_labels, n_cells)
        Sums of weights.
    products : ndarray, shape (n_components, n_components, n_cells)
        Covariance of the nominal templates.
    entries : ndarray of int64, shape (n_cells,)
        Numbers of events.
    """

    sums: NDArray[np.float64]
    products: NDArray[np.float64]
    entries: NDArray[np.int64]


def _merged(
    n: int,
    place: tuple[NDArray[np.int64], NDArray[np.int64]],
    values: tuple[NDArray[Any], NDArray[Any]],
) -> NDArray[Any]:
    """Add rows that two blocks have at given places; one pass over memory."""
    total = np.empty((n, *values[0].shape[1:]), dtype=values[0].dtype)
    flat = [array.reshape(len(array), -1) for array in values]
    _merge(*place, *flat, total.reshape(n, -1))
    return total


@numba.njit(cache=True, nogil=True)
def _merge(first_place, second_place, first, second, total):  # type: ignore[no-untyped-def]
    a = b = 0
    for row in range(total.shape[0]):
        in_first = a < len(first_place) and first_place[a] == row
        in_second = b < len(second_place) and second_place[b] == row
        for column in range(total.shape[1]):
            if in_first and in_second:
                total[row, column] = first[a, column] + second[b, column]
            elif in_first:
                total[row, column] = first[a, column]
            else:
                total[row, column] = second[b, column]
        a += in_first
        b += in_second


def bin_index(values: ArrayLike, edges: Sequence[float]) -> NDArray[np.int64]:
    """Find half-open bins ``[low, high)``; −1 below, above and for NaN.

    Examples
    --------
    >>> bin_index([-1.0, 0.0, 1.9, 2.0, 4.0], [0.0, 2.0, 4.0]).tolist()
    [-1, 0, 0, 1, -1]
    """
    index = np.searchsorted(edges, values, side="right") - 1
    return np.where(index < len(edges) - 1, index, -1)


def flat_index(
    indices: Sequence[NDArray[np.int64]], shape: Sequence[int]
) -> NDArray[np.int64]:
    """Combine bin indices, last axis fastest; −1 where any of them is −1."""
    flat = np.zeros(len(indices[0]), dtype=np.int64)
    inside = np.ones(len(indices[0]), dtype=bool)
    for index, size in zip(indices, shape, strict=True):
        flat = flat * size + index
        inside &= index >= 0
    return np.where(inside, flat, -1)


def fill(
    cell: NDArray[np.int64],
    n_cells: int,
    components: tuple[tuple[str, ...], NDArray[np.float64]],
    variations: tuple[tuple[str, ...], NDArray[np.floating]],
) -> Block:
    """Fill the templates of all components and weight variations.

    Parameters
    ----------
    cell : ndarray, shape (n_events,)
        Flat cell index per event; events at −1 are left out.
    n_cells : int
        Number of cells.
    components : (names, ndarray of shape (n_events, n_components))
        Nominal weight of the event in each component.
    variations : (labels, ndarray of shape (n_events, n_labels))
        Weights relative to nominal; the first column is the nominal one.

    Returns
    -------
    Block

    Raises
    ------
    TemplateError
        If a weight is NaN or infinite; the message names its column.
    """
    names, weight = components
    labels, ratio = variations
    _require_finite("component", names, weight)
    _require_finite("variation", labels, ratio)
    occupied = np.zeros(n_cells, dtype=bool)
    occupied[cell[cell >= 0]] = True
    cells = np.flatnonzero(occupied)
    slot = np.full(n_cells, -1, dtype=np.int64)
    slot[cells] = np.arange(len(cells))
    n = len(names)
    sums = np.zeros((len(cells), n, len(labels)))
    products = np.zeros((len(cells), n * (n + 1) // 2))
    entries = np.zeros(len(cells), dtype=np.int64)
    _fill(cell, slot, weight, ratio, sums, products, entries)
    return Block(
        cells=cells,
        n_cells=n_cells,
        components=tuple(names),
        labels=tuple(labels),
        sums=sums,
        products=products,
        entries=entries,
    )


def _require_finite(
    what: str, names: Sequence[str], values: NDArray[np.floating]
) -> None:
    if np.isfinite(values.sum()):
        return
    bad = ~np.isfinite(values)
    column = int(np.argmax(bad.any(axis=0)))
    msg = (
        f"{what} {names[column]!r} has {int(bad[:, column].sum())} weights that are "
        "NaN or infinite; look for such values in the branch it comes from, and leave "
        "the file or this variation out"
    )
    raise TemplateError(msg)


@numba.njit(cache=True, nogil=True)
def _fill(cell, slot, weight, ratio, sums, products, entries):  # type: ignore[no-untyped-def]
    n_components, n_labels = sums.shape[1], sums.shape[2]
    for event in range(len(cell)):
        if cell[event] < 0:
            continue
        row = slot[cell[event]]
        entries[row] += 1
        pair = 0
        for k in range(n_components):
            w = weight[event, k]
            for other in range(k, n_components):
                products[row, pair] += w * weight[event, other]
                pair += 1
            for v in range(n_labels):
                sums[row, k, v] += w * ratio[event, v]
