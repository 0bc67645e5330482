"""The filling engine: one bin lookup per event, then an outer product.

An event adds ``component[k] * variation[v]`` to every (k, v) of its cell: six
helicity components times all weight variations cost one pass over memory that
is contiguous in v. A kinematic shift adds the nominal components to the cell that the
event moves to. Only occupied cells are stored, so a chunk of events returns a compact
`Block` instead of the dense array of all templates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.errors import TemplateError

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
#: Names of columns, and the columns: shape (n_events, n_columns).
Columns = tuple[tuple[str, ...], FloatArray]

#: Number of statistically independent parts of the simulation.
N_FOLDS = 20
#: Share of occupied cells from which a sum of blocks keeps all of them: new cells
#: would otherwise move everything at each addition.
_DENSE = 0.3


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
        Names of the components and of the variations, nominal first and kinematic
        shifts last.
    derivative : bool
        Whether a derivative was filled: it is one more column of ``products`` and
        ``folds``, behind the components.
    sums : ndarray, shape (n, n_components, n_labels)
        Sums of weights.
    products : ndarray, shape (n, n_columns (n_columns + 1) / 2)
        Sums over events of the products of two nominal columns, upper triangle row by
        row: the covariance of templates that are filled by the same events.
    folds : ndarray, shape (n, n_folds, n_columns)
        Sums of the nominal columns in statistically independent parts of the events.
    entries : ndarray of int64, shape (n,)
        Numbers of events.
    """

    cells: IntArray
    n_cells: int
    components: tuple[str, ...]
    labels: tuple[str, ...]
    derivative: bool
    sums: FloatArray
    products: FloatArray
    folds: FloatArray
    entries: IntArray

    def __add__(self, other: Block) -> Block:
        """Add two blocks of the same templates; raises TemplateError otherwise."""
        self._require_same(other)
        cells = np.union1d(self.cells, other.cells)
        if len(cells) > _DENSE * self.n_cells:
            cells = np.arange(self.n_cells)
        empty: dict[str, Any] = {
            name: np.zeros((len(cells), *values.shape[1:]), dtype=values.dtype)
            for name, values in self._arrays().items()
        }
        total = replace(self, cells=cells, **empty)
        total += self
        total += other
        return total

    def __iadd__(self, other: Block) -> Block:
        """Add in place where the block has all cells of the other."""
        self._require_same(other)
        place = np.searchsorted(self.cells, other.cells)
        known = place < len(self.cells)
        if not (known.all() and np.array_equal(self.cells[place], other.cells)):
            return self + other
        added = other._arrays()
        for name, values in self._arrays().items():
            n = len(other.cells), -1
            _add_rows(place, added[name].reshape(n), values.reshape(len(values), -1))
        return self

    def _arrays(self) -> dict[str, NDArray[Any]]:
        names = ("sums", "products", "folds", "entries")
        return {name: getattr(self, name) for name in names}

    def _require_same(self, other: Block) -> None:
        one, two = (
            (b.n_cells, b.components, b.labels, b.derivative, b.folds.shape[1])
            for b in (self, other)
        )
        if one != two:
            msg = (
                "blocks of different templates cannot be added: cells, components, "
                f"labels, derivative and folds are {one} against {two}"
            )
            raise TemplateError(msg)

    def section(self, start: int, length: int) -> Section:
        """Return a range of cells, empty ones included."""
        first, last = np.searchsorted(self.cells, (start, start + length))
        where = self.cells[first:last] - start
        n = self.folds.shape[2]
        rows, columns = np.triu_indices(n)
        sums = np.zeros((len(self.components), len(self.labels), length))
        sums[:, :, where] = np.moveaxis(self.sums[first:last], 0, -1)
        products = np.zeros((n, n, length))
        products[rows[:, None], columns[:, None], where] = self.products[first:last].T
        products[columns[:, None], rows[:, None], where] = self.products[first:last].T
        folds = np.zeros((self.folds.shape[1], n, length))
        folds[:, :, where] = np.moveaxis(self.folds[first:last], 0, -1)
        entries = np.zeros(length, dtype=np.int64)
        entries[where] = self.entries[first:last]
        return Section(sums, products, folds, entries)


class Section(NamedTuple):
    """Dense content of neighbouring cells of a block.

    Attributes
    ----------
    sums : ndarray, shape (n_components, n_labels, n_cells)
        Sums of weights.
    products : ndarray, shape (n_columns, n_columns, n_cells)
        Covariance of the nominal templates, and of the derivative if there is one.
    folds : ndarray, shape (n_folds, n_columns, n_cells)
        Sums of the nominal columns in each fold.
    entries : ndarray of int64, shape (n_cells,)
        Numbers of events.
    """

    sums: FloatArray
    products: FloatArray
    folds: FloatArray
    entries: IntArray


@numba.njit(cache=True, nogil=True)
def _add_rows(place, rows, total):  # type: ignore[no-untyped-def]
    for row in range(len(place)):
        target = place[row]
        for column in range(rows.shape[1]):
            total[target, column] += rows[row, column]


def bin_index(values: ArrayLike, edges: Sequence[float]) -> IntArray:
    """Find half-open bins ``[low, high)``; −1 below, above and for NaN.

    Examples
    --------
    >>> bin_index([-1.0, 0.0, 1.9, 2.0, 4.0], [0.0, 2.0, 4.0]).tolist()
    [-1, 0, 0, 1, -1]
    """
    index = np.searchsorted(edges, values, side="right") - 1
    return np.where(index < len(edges) - 1, index, -1)


def flat_index(indices: Sequence[IntArray], shape: Sequence[int]) -> IntArray:
    """Combine bin indices, last axis fastest; −1 where any of them is −1."""
    flat = np.zeros(len(indices[0]), dtype=np.int64)
    inside = np.ones(len(indices[0]), dtype=bool)
    for index, size in zip(indices, shape, strict=True):
        flat = flat * size + index
        inside &= index >= 0
    return np.where(inside, flat, -1)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cells:
    """Where the events of a chunk go.

    Attributes
    ----------
    n_cells : int
        Number of cells.
    nominal : ndarray of int64, shape (n_events,)
        Flat cell index per event; −1 for events that do not count.
    shifted : mapping of str to ndarray of int64, shape (n_events,)
        The same for each kinematic shift.
    fold : ndarray of int64, shape (n_events,)
        Fold of each event, below `N_FOLDS`.
    """

    n_cells: int
    nominal: IntArray
    fold: IntArray
    shifted: Mapping[str, IntArray] = field(default_factory=dict)


def fill(
    cells: Cells,
    components: Columns,
    variations: Columns,
    *,
    derivative: FloatArray | None = None,
) -> Block:
    """Fill the templates of all components and variations.

    Parameters
    ----------
    cells : Cells
        Where the events go.
    components : (names, ndarray of shape (n_events, n_components))
        Nominal weight of the event in each component.
    variations : (labels, ndarray of shape (n_events, n_labels))
        Weights relative to nominal; the first column is the nominal one.
    derivative : ndarray, shape (n_events,), optional
        Relative change of an event's weight with a parameter, whose noise is wanted
        together with that of the components.

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
    columns = weight
    if derivative is not None:
        columns = np.column_stack([weight, weight.sum(axis=1) * derivative])
    places = np.stack([cells.nominal, *cells.shifted.values()], axis=1)
    occupied = np.zeros(cells.n_cells, dtype=bool)
    occupied[places[places >= 0]] = True
    found = np.flatnonzero(occupied)
    slot = np.full(cells.n_cells + 1, -1, dtype=np.int64)  # the last one is cell −1
    slot[found] = np.arange(len(found))
    n, n_columns = len(found), columns.shape[1]
    block = Block(
        cells=found,
        n_cells=cells.n_cells,
        components=tuple(names),
        labels=(*labels, *cells.shifted),
        derivative=derivative is not None,
        sums=np.zeros((n, len(names), ratio.shape[1] + len(cells.shifted))),
        products=np.zeros((n, n_columns * (n_columns + 1) // 2)),
        folds=np.zeros((n, N_FOLDS, n_columns)),
        entries=np.zeros(n, dtype=np.int64),
    )
    _fill(
        slot[places],
        cells.fold,
        weight,
        columns,
        ratio,
        (block.sums, block.products, block.folds, block.entries),
    )
    return block


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
def _fill(slots, fold, weight, columns, ratio, into):  # type: ignore[no-untyped-def]
    sums, products, folds, entries = into
    n_components, n_weights = weight.shape[1], ratio.shape[1]
    for event in range(len(slots)):
        for shift in range(1, slots.shape[1]):
            row = slots[event, shift]
            if row >= 0:
                for k in range(n_components):
                    sums[row, k, n_weights + shift - 1] += weight[event, k]
        row = slots[event, 0]
        if row < 0:
            continue
        entries[row] += 1
        pair = 0
        for k in range(columns.shape[1]):
            w = columns[event, k]
            folds[row, fold[event], k] += w
            for other in range(k, columns.shape[1]):
                products[row, pair] += w * columns[event, other]
                pair += 1
        for k in range(n_components):
            w = weight[event, k]
            for v in range(n_weights):
                sums[row, k, v] += w * ratio[event, v]
