"""Pile-up weights: data over simulation, by the number of true interactions.

The project's own files (``corrections/build_pileup.py``) have the inputs of the POG
files, ``NumTrueInteractions`` and ``weights``, so either serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from correctionlib.highlevel import Correction
from numpy.typing import ArrayLike, NDArray

from wprops.corrections.sets import finite_columns, get_correction, require
from wprops.errors import ConfigError

FloatArray = NDArray[np.float64]

#: Name of the correction in the project's own files.
NAME = "pileup"
#: Inputs of the correction: the number of true interactions, and a variation.
INPUTS = ("NumTrueInteractions", "weights")
#: Nominal weights, and those of a larger and a smaller inelastic cross section.
VARIATIONS = ("nominal", "up", "down")


def open_pileup(path: Path, name: str = NAME) -> Correction:
    """Open the pile-up weights of a file.

    Raises
    ------
    ConfigError
        If the file or the correction is missing, or it has other inputs.
    """
    return get_correction(path, name, INPUTS)


def pileup_weights(
    correction: Correction,
    n_true: ArrayLike,
    variations: Sequence[str] = VARIATIONS,
) -> dict[str, FloatArray]:
    """Weights of simulated events, by variation.

    Numbers of interactions beyond the last bin of the file have its weight.

    Parameters
    ----------
    correction : Correction
        From `open_pileup`.
    n_true : array_like, shape (n_events,)
        Mean number of interactions per crossing (``Pileup_nTrueInt``).
    variations : sequence of str
        Which to return; a file made without up and down has ``nominal`` only.

    Returns
    -------
    dict of str to ndarray, shape (n_events,)

    Raises
    ------
    InputError
        If a number of interactions is negative or not finite.
    ConfigError
        If the file lacks a variation.
    """
    (interactions,) = finite_columns(n_true=n_true)
    require(
        "n_true",
        interactions,
        interactions >= 0,
        "0 or more interactions",
        "is the sample simulated?",
    )
    try:
        return {name: correction.evaluate(interactions, name) for name in variations}
    except IndexError as error:
        msg = (
            f"correction {correction.name!r} lacks one of the variations "
            f"{', '.join(variations)}: {error}; build it with --up and --down, or ask "
            "for nominal only"
        )
        raise ConfigError(msg) from error
