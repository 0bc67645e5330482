"""The regularised result beside the unregularised one, in memory and in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from wprops.fit.ansatz import Degrees
from wprops.fit.derived import Derived
from wprops.fit.positivity import Positivity
from wprops.fit.record_io import (
    read_record,
    read_records,
    write_record,
    write_records,
)
from wprops.fit.regularised_summary import summary_lines
from wprops.fit.results import GoodnessOfFit
from wprops.fit.smoothing import Comparison, LCurve
from wprops.hdf5 import (
    child,
    read_array,
    read_json,
    reading,
    write_array,
    write_json,
    writing,
)

Array = NDArray[np.float64]
FORMAT = "wprops regularised result"
SCHEMA_VERSION = 1
Kind = Literal["post-fit", "simultaneous"]
Source = Literal["fit", "corrected"]


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """What regularisation does to the numbers of one quantity.

    Attributes
    ----------
    spread : ndarray, shape (n,)
        Standard deviation over repetitions at one truth, in the unit of the quantity.
        The errors of the result contain the declared departures too; both are the same
        at infinite strength.
    bias : ndarray, shape (n,)
        Expected regularised result minus truth, at the truth of `Regularised.truth`.
    response : ndarray, shape (n,)
        Slope to the truth of this number alone, all other bins staying as they are;
        the sum is the effective number of parameters. Empty for what several cells add
        up to.
    """

    spread: Array
    bias: Array
    response: Array


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Regularised:
    """A regularised result, and what it is worth.

    Attributes
    ----------
    kind : {"post-fit", "simultaneous"}
        Whether the result of a fit was smoothed, or the likelihood had a penalty.
    source, free_source : {"fit", "corrected"}
        Whether the regularised and the unregularised result are corrected for the
        finite simulation.
    verdict : str
        On the finite simulation of the unregularised fit.
    strength : float, optional
        τ; None for the smooth functions themselves.
    degrees : dict of str to Degrees
        Highest powers of qT and of the absolute rapidity, by quantity.
    lam_tung : bool
        Whether A0 = A2.
    names : tuple of str
        Parameters of the fit.
    values, covariance, spread : ndarray, shapes (n_par,), (n_par, n_par)
        Regularised parameters; see `wprops.fit.regularisation.Estimate`.
    free, derived : mapping of str to Derived
        What is measured without and with regularisation.
    quality : mapping of str to Quality
        Bias, spread and response of what is measured.
    truth : {"truth", "generated"}
        Truth of the bias: that of the pseudo-data, or the generated values.
    factors : Derived
        Factors of the polynomials, of the closest smooth values.
    gof : GoodnessOfFit
        χ² of the unregularised result to smooth functions.
    n_smooth : int
        Parameters of smooth functions and free numbers.
    n_effective, n_numbers : float, int
        Effective number of parameters of all cross sections and coefficients, and
        how many these are.
    penalty : float
        τ times the squared departures that are left; 0 at infinite strength.
    scatter : float
        Most likely scatter of the true departures about smooth values; 0 if their
        errors explain them.
    comparisons : tuple of Comparison
        Tests of one degree more.
    curve : LCurve, optional
        Of all strengths; None if nothing departs.
    positivity_free, positivity : mapping of str to Positivity
        Of the density of decays by channel, without and with regularisation.
    provenance : dict
        Of the fit.
    """

    kind: Kind
    source: Source
    free_source: Source
    verdict: str
    strength: float | None
    degrees: dict[str, Degrees]
    lam_tung: bool
    names: tuple[str, ...]
    values: Array
    covariance: Array
    spread: Array
    free: Mapping[str, Derived]
    derived: Mapping[str, Derived]
    quality: Mapping[str, Quality]
    truth: Literal["truth", "generated"]
    factors: Derived
    gof: GoodnessOfFit
    n_smooth: int
    n_effective: float
    n_numbers: int
    penalty: float
    scatter: float
    comparisons: tuple[Comparison, ...]
    curve: LCurve | None
    positivity_free: Mapping[str, Positivity]
    positivity: Mapping[str, Positivity]
    provenance: dict[str, Any]

    def write(self, path: Path) -> None:
        """Write one HDF5 file; an existing one is replaced at the end."""
        with writing(path, FORMAT, SCHEMA_VERSION) as file:
            _write(file, self)

    @classmethod
    def read(cls, path: Path) -> Regularised:
        """Read what `write` wrote.

        Raises
        ------
        TemplateError
            If the file is missing, damaged, foreign or of another version.
        """
        with reading(path, FORMAT, SCHEMA_VERSION) as file:
            return _read(file)

    def summary(self) -> str:
        """Return a short table for the terminal."""
        return "\n".join(summary_lines(self))


_ARRAYS = ("values", "covariance", "spread")
_RECORDS = {"factors": Derived, "gof": GoodnessOfFit, "curve": LCurve}
_MAPPINGS = {
    "free": Derived,
    "derived": Derived,
    "quality": Quality,
    "positivity_free": Positivity,
    "positivity": Positivity,
}


def _write(file: h5py.File, result: Regularised) -> None:
    stored = {*_ARRAYS, *_RECORDS, *_MAPPINGS, "comparisons"}
    names = [field.name for field in fields(result) if field.name not in stored]
    plain = {name: getattr(result, name) for name in names}
    write_json(file, "plain", plain)
    rows = [
        [getattr(row, field.name) for field in fields(Comparison)]
        for row in result.comparisons
    ]
    write_json(file, "comparisons", rows)
    for name in _ARRAYS:
        write_array(file, name, getattr(result, name))
    for name in _RECORDS:
        if getattr(result, name) is not None:
            write_record(file.create_group(name), getattr(result, name))
    for name in _MAPPINGS:
        write_records(file.create_group(name), getattr(result, name))


def _read(file: h5py.File) -> Regularised:
    plain = read_json(file, "plain")
    plain["names"] = tuple(plain["names"])
    plain["degrees"] = {n: Degrees(*pair) for n, pair in plain["degrees"].items()}
    parts: dict[str, Any] = {name: read_array(file, name) for name in _ARRAYS}
    for name, kind in _RECORDS.items():
        known = name in file
        parts[name] = read_record(child(file, name), kind) if known else None
    for name, kind in _MAPPINGS.items():
        parts[name] = read_records(child(file, name), kind)
    rows = read_json(file, "comparisons")
    return Regularised(
        comparisons=tuple(Comparison(*row) for row in rows), **plain, **parts
    )
