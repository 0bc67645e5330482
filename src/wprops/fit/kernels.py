"""Compiled sums over processes, nuisance parameters and bins.

All kernels work on the tiles of a group, shape (n_members, n_eta, n_rows, n_pt), see
`wprops.fit.effects.Group`, and on a range of eta rows: different rows write to
different places, so threads share the rows and results do not depend on how many there
are. Coefficients may be stored in single precision; all arithmetic is double.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

import numba
import numpy as np

# NUMBA_NUM_THREADS in the environment, or the cores this process may use
_THREADS: ContextVar[int] = ContextVar(
    "threads", default=numba.config.NUMBA_NUM_THREADS
)
#: Numbers in the tiles below which starting threads costs more than it saves.
_SMALL = 500_000
#: Parts per thread, so that threads that are interrupted by others do not hold all up.
_PARTS = 4


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Limit the threads of the kernels that are called from this thread."""
    token = _THREADS.set(n)
    try:
        yield
    finally:
        _THREADS.reset(token)


def over_rows(kernel: Callable[..., None], tiles: Any, *arguments: Any) -> None:
    """Call ``kernel(first, last, tiles, *arguments)`` until all eta rows are done."""
    n_rows, n_threads = tiles.shape[1], _THREADS.get()
    if n_threads == 1 or tiles.size < _SMALL:
        kernel(0, n_rows, tiles, *arguments)
        return
    n_parts = min(_PARTS * n_threads, n_rows)
    edges = np.linspace(0, n_rows, n_parts + 1).astype(int).tolist()
    with ThreadPoolExecutor(n_threads) as pool:
        parts = [
            pool.submit(kernel, first, last, tiles, *arguments)
            for first, last in pairwise(edges)
        ]
        for part in parts:
            part.result()


# Sums in any order let inner loops run on vector registers.
_compiled = numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"}
)


@_compiled
def evaluate(first, last, tiles, members, is_log, value, norm, nominal, unit, factor):  # type: ignore[no-untyped-def]
    """Set ``factor`` and ``unit = (nominal + shifts) · factor`` of the members.

    ``value`` (n_eta, n_rows) multiplies the rows; ``norm`` (n_processes,) is the
    logarithm of a factor of the whole process.
    """
    n_rows, n_pt = tiles.shape[2:]
    log, shift = np.empty(n_pt), np.empty(n_pt)
    for e in range(first, last):
        for m in range(tiles.shape[0]):
            p = members[m]
            log[:] = norm[p]
            shift[:] = nominal[p, e]
            for r in range(n_rows):
                c = value[e, r]
                if c == 0.0:
                    continue
                target = log if is_log[r] else shift
                for j in range(n_pt):
                    target[j] += c * tiles[m, e, r, j]
            for j in range(n_pt):
                factor[p, e, j] = np.exp(log[j])
                unit[p, e, j] = shift[j] * factor[p, e, j]


@_compiled
def differentiate(  # type: ignore[no-untyped-def]
    first, last, tiles, members, is_log, slope, column, yields, scale, out
):
    """Add the derivatives of the expected events to ``out`` (n_eta, n_columns, n_pt).

    ``slope`` (n_eta, n_rows) multiplies the rows and ``column`` (n_rows,) tells where
    they belong.
    """
    n_rows, n_pt = tiles.shape[2:]
    for e in range(first, last):
        for m in range(tiles.shape[0]):
            p = members[m]
            for r in range(n_rows):
                c = slope[e, r]
                if c == 0.0:
                    continue
                weight = yields[p, e] if is_log[r] else scale[p, e]
                target = out[e, column[r]]
                for j in range(n_pt):
                    target[j] += c * weight[j] * tiles[m, e, r, j]


@_compiled
def contract(first, last, tiles, members, is_log, slope, column, unit, factor, out):  # type: ignore[no-untyped-def]
    """Add derivatives of ``unit``, summed over pT, to ``out`` (n_eta, n_proc, n_col).

    ``unit`` and ``factor`` (n_processes, n_eta, n_pt) contain the weight of the bins.
    """
    n_rows, n_pt = tiles.shape[2:]
    for e in range(first, last):
        for m in range(tiles.shape[0]):
            p = members[m]
            for r in range(n_rows):
                c = slope[e, r]
                if c == 0.0:
                    continue
                weight = unit[p, e] if is_log[r] else factor[p, e]
                total = 0.0
                for j in range(n_pt):
                    total += weight[j] * tiles[m, e, r, j]
                out[e, p, column[r]] += c * total


@_compiled
def curve(  # type: ignore[no-untyped-def]
    first, last, tiles, members, n_log, n_slopes, slope, bent, yields, scale, out
):
    """Add products of two derivatives to ``out`` (n_eta, n_slopes, n_slopes).

    The first ``n_log`` of ``n_slopes`` rows are logarithms, and each further row bends
    the row ``bent``. ``yields`` and ``scale`` contain the weight of the bins. Products
    of logarithms i ≥ j are at (i, j), those of a logarithm j and a shift i at (i, j):
    the lower triangle.
    """
    n_rows, n_pt = tiles.shape[2:]
    derivative = np.empty((n_slopes, n_pt))
    left = np.empty(n_pt)
    for e in range(first, last):
        for m in range(tiles.shape[0]):
            p = members[m]
            for r in range(n_slopes):
                for j in range(n_pt):
                    derivative[r, j] = tiles[m, e, r, j]
            for r in range(n_slopes, n_rows):
                target = derivative[bent[r - n_slopes]]
                for j in range(n_pt):
                    target[j] += slope[e, r] * tiles[m, e, r, j]
            for i in range(n_slopes):
                weight = yields[p, e] if i < n_log else scale[p, e]
                for j in range(n_pt):
                    left[j] = weight[j] * derivative[i, j]
                _add_products(left, derivative, min(i + 1, n_log), out[e, i])


@_compiled
def _add_products(left, derivative, n, out):  # type: ignore[no-untyped-def]
    """Add ``derivative[:n] @ left`` to ``out``, four rows at a time."""
    n_pt = left.size
    k = 0
    while k + 4 <= n:
        a = b = c = d = 0.0
        for j in range(n_pt):
            x = left[j]
            a += x * derivative[k, j]
            b += x * derivative[k + 1, j]
            c += x * derivative[k + 2, j]
            d += x * derivative[k + 3, j]
        out[k] += a
        out[k + 1] += b
        out[k + 2] += c
        out[k + 3] += d
        k += 4
    while k < n:
        a = 0.0
        for j in range(n_pt):
            a += left[j] * derivative[k, j]
        out[k] += a
        k += 1
