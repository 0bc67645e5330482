"""Open correctionlib files (the project's own, a user's or a POG's) and use them.

`finite_columns`, `require` and `bin_index` are what the evaluators share.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import correctionlib
import numpy as np
from correctionlib.highlevel import CompoundCorrection, Correction
from numpy.typing import ArrayLike, NDArray

from wprops.errors import ConfigError, InputError


def version_of(path: Path) -> tuple[int, int]:
    """Time and size of a file, which caches need besides its name.

    Raises
    ------
    ConfigError
        If there is no such file.
    """
    if not path.is_file():
        msg = f"there is no correction file {path}; correct the path in the catalogue"
        raise ConfigError(msg)
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def open_set(path: Path) -> correctionlib.CorrectionSet:
    """Open a correctionlib file (JSON, also gzipped), once per process.

    Raises
    ------
    ConfigError
        If the file is missing or no correctionlib file.
    """
    return _open_set(path, version_of(path))


@lru_cache(maxsize=32)
def _open_set(path: Path, _version: tuple[int, int]) -> correctionlib.CorrectionSet:
    try:
        return correctionlib.CorrectionSet.from_file(str(path))
    except (RuntimeError, ValueError, OSError) as error:
        msg = (
            f"{path} is not a correctionlib file (schema version 2): {error}; build it "
            "with one of the scripts in corrections/, or download it again"
        )
        raise ConfigError(msg) from error


def get_correction(
    path: Path, name: str, inputs: Sequence[str]
) -> Correction | CompoundCorrection:
    """Return one correction of a file after a look at its inputs.

    Parameters
    ----------
    path : Path
        The correctionlib file.
    name : str
        Name of the correction in it.
    inputs : sequence of str
        Names of the inputs that it will be given, in this order.

    Raises
    ------
    ConfigError
        If the file has no such correction, or it has other inputs.
    """
    found = open_set(path)
    # Not `name in found`, which raises IndexError for an unknown name.
    single, compound = set(found), set(found.compound)
    if name in single | compound:
        correction = found[name] if name in single else found.compound[name]
    else:
        known = ", ".join([*found, *found.compound])
        msg = f"{path} has no correction {name!r}; it has {known}"
        raise ConfigError(msg)
    expected = [variable.name for variable in correction.inputs]
    if expected != list(inputs):
        msg = (
            f"{path}: correction {name!r} has the inputs {', '.join(expected)}; this "
            f"use of it gives {', '.join(inputs)}. Name a correction with these inputs"
        )
        raise ConfigError(msg)
    return correction


def finite_columns(**columns: ArrayLike) -> list[NDArray[np.float64]]:
    """Return flat columns of one length as floats; look-ups take NaN silently.

    Raises
    ------
    InputError
        Naming the column that is not flat, of another length or not finite.
    """
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1 or any(len(s) != 1 for s in shapes.values()):
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        msg = f"found columns of shape {found}; expected flat ones of one length"
        raise InputError(msg)
    for name, array in arrays.items():
        finite = np.isfinite(array)
        require(name, array, finite, "a finite number", "select valid objects first")
    return [array.astype(np.float64, copy=False) for array in arrays.values()]


def require(
    name: str,
    values: NDArray[np.generic],
    good: NDArray[np.bool_],
    expected: str,
    remedy: str,
) -> None:
    """Name the first bad entry of a column, if there is one.

    Parameters
    ----------
    name : str
        Name of the column.
    values : ndarray, shape (n,)
    good : ndarray of bool, shape (n,)
        Which of the values are possible.
    expected, remedy : str
        What they should be, and what to do about it.

    Raises
    ------
    InputError
        If one is not.
    """
    if not good.all():
        bad = np.flatnonzero(~good)
        msg = (
            f"{name}[{bad[0]}] is {values[bad[0]]:g}, expected {expected} ({len(bad)} "
            f"of {len(values)} entries are not); {remedy}"
        )
        raise InputError(msg)


def require_charge(charge: NDArray[np.generic]) -> None:
    """Refuse a column ``charge`` with other values than +1 and -1.

    Raises
    ------
    InputError
        Naming the first one.
    """
    require("charge", charge, np.abs(charge) == 1, "+1 or -1", "select muons")


def bin_index(
    edges: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the half-open bin of each value, the nearest one for those outside."""
    # Inner edges only: everything beyond the outer ones is in the first or last bin.
    return np.searchsorted(edges[1:-1], values, side="right")
