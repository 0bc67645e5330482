"""Open correctionlib files: the project's own, a user's or a POG's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import correctionlib
from correctionlib.highlevel import CompoundCorrection, Correction

from wprops.errors import ConfigError
from wprops.provenance import file_digest


@lru_cache(maxsize=32)
def open_set(path: Path) -> correctionlib.CorrectionSet:
    """Open a correctionlib file (JSON, also gzipped), once per process.

    Raises
    ------
    ConfigError
        If the file is missing or no correctionlib file.
    """
    if not path.is_file():
        msg = f"there is no correction file {path}; correct the path in the catalogue"
        raise ConfigError(msg)
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
    if name in found or name in found.compound:
        correction = found[name] if name in found else found.compound[name]
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


def provenance_of(path: Path) -> dict[str, str]:
    """Name and digest of a correction file, for the provenance of a result."""
    return {"file": path.name, "sha256": file_digest(path)}
