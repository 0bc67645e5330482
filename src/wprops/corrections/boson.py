"""Boson weights: measured over simulated spectrum, in qT and in absolute rapidity.

Their mean over the simulated spectrum is 1, so they change shapes and not the cross
section. A file (``corrections/build_boson.py``) has weights in one of the two variables
or in both, which then multiply.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from correctionlib.highlevel import Correction
from numpy.typing import ArrayLike, NDArray

from wprops.corrections.sets import (
    finite_columns,
    get_correction,
    open_set,
    require,
)
from wprops.errors import ConfigError

FloatArray = NDArray[np.float64]

#: Names of the corrections in a file.
QT, ABSY = "boson_qt", "boson_absy"
#: Inputs of each correction.
INPUTS = {QT: ("qt", "variation"), ABSY: ("absy", "variation")}
#: Nominal weights, and those with all data one error higher or lower.
VARIATIONS = ("nominal", "up", "down")


def open_boson(path: Path) -> dict[str, Correction]:
    """Open the boson weights of a file: `QT`, `ABSY` or both.

    Raises
    ------
    ConfigError
        If the file is missing, has neither of them, or one has other inputs.
    """
    found = set(open_set(path))
    if found.isdisjoint(INPUTS):
        msg = (
            f"{path} has {', '.join(sorted(found))}, expected {' or '.join(INPUTS)}; "
            "name a file of corrections/build_boson.py"
        )
        raise ConfigError(msg)
    return {
        name: get_correction(path, name, inputs)
        for name, inputs in INPUTS.items()
        if name in found
    }


def boson_weights(
    corrections: Mapping[str, Correction], qt: ArrayLike, absy: ArrayLike
) -> dict[str, FloatArray]:
    """Weights of simulated events, by variation.

    Bosons beyond the spectra have the weight of the nearest bin. A variation shifts
    all bins of all spectra together; to shift one spectrum alone, give its correction
    alone.

    Parameters
    ----------
    corrections : mapping of str to Correction
        From `open_boson`.
    qt, absy : array_like, shape (n_events,)
        Transverse momentum [GeV] and absolute rapidity of the generated boson, with
        the leptons that the measurement is corrected to (dressed ones, usually).

    Returns
    -------
    dict of str to ndarray, shape (n_events,)
        By the names of `VARIATIONS`.

    Raises
    ------
    InputError
        If a column is not flat, of another length, not finite or negative.
    """
    qt, absy = finite_columns(qt=qt, absy=absy)
    require("qt", qt, qt >= 0, "0 GeV or more", "give the boson's transverse momentum")
    require("absy", absy, absy >= 0, "0 or more", "give the absolute rapidity")
    place = {QT: qt, ABSY: absy}
    weights = {}
    for variation in VARIATIONS:
        weights[variation] = np.ones(len(qt))
        for name, correction in corrections.items():
            weights[variation] *= correction.evaluate(place[name], variation)
    return weights
