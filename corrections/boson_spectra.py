"""Tables of boson spectra: one line per bin, with data, their error and simulation."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from corrections.common import Histogram
from wprops.errors import ConfigError

#: Names of the columns of a table, unless the user gives others.
COLUMNS = ("low", "high", "data", "error", "simulation")


class Spectra(NamedTuple):
    """Spectrum of data, with its errors, and of simulation, in equal bins."""

    data: Histogram
    simulation: Histogram


def read_spectra(path: Path, columns: tuple[str, ...] = COLUMNS) -> Spectra:
    """Read a table of spectra: one line per bin, in order.

    Parameters
    ----------
    path : Path
        CSV whose first line has the names of the columns, also after a ``#``.
    columns : tuple of str
        Names of the columns that hold what `COLUMNS` says.

    Raises
    ------
    ConfigError
        If a column is missing, an entry is no number or bins do not touch.
    """
    if not path.is_file():
        msg = f"there is no file {path}; correct the path"
        raise ConfigError(msg)
    with path.open(newline="") as file:
        lines = [line for line in csv.reader(file) if line]
    header, rows = lines[:1], lines[1:]
    names = [name.strip().removeprefix("#").strip() for line in header for name in line]
    if not rows or any(names.count(name) != 1 for name in columns):
        msg = (
            f"{path} has {len(rows)} lines with the columns {', '.join(names)}, "
            f"expected some with {', '.join(columns)}, each once; name the columns "
            "with --columns"
        )
        raise ConfigError(msg)
    try:
        table = np.array([[float(r[names.index(c)]) for c in columns] for r in rows])
    except (IndexError, ValueError) as error:
        msg = f"{path}: {error}; every entry has to be a number"
        raise ConfigError(msg) from error
    low, high, data, errors, simulation = table.T
    if not np.array_equal(low[1:], high[:-1]):
        i = int(np.argmin(low[1:] == high[:-1]))
        msg = (
            f"{path}: a bin ends at {high[i]:g} and the next starts at {low[i + 1]:g}; "
            "sort the bins and close the gaps"
        )
        raise ConfigError(msg)
    edges = np.append(low, high[-1])
    where = [f"{path}, {name}" for name in (columns[2], columns[4])]
    return Spectra(
        Histogram.from_arrays(data, edges, errors=errors, source=where[0]),
        Histogram.from_arrays(simulation, edges, source=where[1]),
    )
