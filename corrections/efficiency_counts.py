"""Tables of tag-and-probe counts: one line per charge, eta bin and pT bin."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corrections.common import FloatArray
from wprops.errors import ConfigError

COLUMNS = (
    "charge",
    "eta_low",
    "eta_high",
    "pt_low",
    "pt_high",
    "data_pass",
    "data_total",
    "mc_pass",
    "mc_total",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Probes of one sample that pass, and all, in bins of charge, eta and pT.

    Attributes
    ----------
    passing, total : ndarray, shape (2, n_eta, n_pt)
        Charge −1 first. Weighted counts are fine if scaled to their effective number.
    eta, pt : ndarray
        Edges of the bins.
    source : str
        Name for messages.
    """

    passing: FloatArray
    total: FloatArray
    eta: FloatArray
    pt: FloatArray
    source: str


def read_counts(path: Path) -> tuple[Counts, Counts]:
    """Read a table of counts: one line per charge, eta bin and pT bin.

    Parameters
    ----------
    path : Path
        CSV with a header line and at least the `COLUMNS`, in any order of the lines.

    Returns
    -------
    data, mc : Counts

    Raises
    ------
    ConfigError
        If a column or a bin is missing, or counts are impossible.
    """
    if not path.is_file():
        msg = f"there is no file {path}; correct the path"
        raise ConfigError(msg)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    missing = [name for name in COLUMNS if not rows or name not in rows[0]]
    if missing:
        msg = f"{path} lacks {', '.join(missing)}; it needs the columns {COLUMNS}"
        raise ConfigError(msg)
    try:
        table = np.array([[float(row[name]) for name in COLUMNS] for row in rows])
    except (TypeError, ValueError) as error:
        msg = f"{path}: {error}; every entry has to be a number"
        raise ConfigError(msg) from error
    column = dict(zip(COLUMNS, table[np.lexsort(table.T[[3, 1, 0]])].T, strict=True))
    axes = {axis: _bins(path, column, axis) for axis in ("eta", "pt")}
    shape = (2, len(axes["eta"]) - 1, len(axes["pt"]) - 1)
    expected = np.meshgrid([-1, 1], axes["eta"][:-1], axes["pt"][:-1], indexing="ij")
    given = [column[name] for name in ("charge", "eta_low", "pt_low")]
    if len(table) != np.prod(shape) or not all(
        np.array_equal(a, b.ravel()) for a, b in zip(given, expected, strict=True)
    ):
        msg = (
            f"{path} has {len(table)} lines, expected one for each of charge -1 and 1, "
            f"{shape[1]} eta bins and {shape[2]} pT bins; add or remove lines"
        )
        raise ConfigError(msg)
    samples = []
    for sample in ("data", "mc"):
        passing, total = column[f"{sample}_pass"], column[f"{sample}_total"]
        wrong = np.flatnonzero(~((passing >= 0) & (passing <= total)))
        if len(wrong):
            at = {name: float(column[name][wrong[0]]) for name in COLUMNS}
            msg = (
                f"{path}: {sample}_pass is not between 0 and {sample}_total in {at}; "
                "correct the counts"
            )
            raise ConfigError(msg)
        counts = {"passing": passing.reshape(shape), "total": total.reshape(shape)}
        samples.append(Counts(**counts, **axes, source=f"{path}, {sample}"))
    return samples[0], samples[1]


def _bins(path: Path, column: Mapping[str, FloatArray], axis: str) -> FloatArray:
    """Edges of one axis of a table, whose bins have to touch."""
    low, high = (np.unique(column[f"{axis}_{side}"]) for side in ("low", "high"))
    if not (len(low) == len(high) and np.array_equal(low[1:], high[:-1])):
        msg = (
            f"{path}: the {axis} bins overlap or leave gaps; each {axis}_high has to "
            f"be the {axis}_low of the next bin"
        )
        raise ConfigError(msg)
    return np.append(low, high[-1])
