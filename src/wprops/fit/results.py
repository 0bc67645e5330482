"""The result of a fit, in memory, in a file and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from wprops.fit import covariance as linear
from wprops.fit.derived import Derived
from wprops.fit.finite_mc import FiniteMC
from wprops.fit.parameters import Parameters
from wprops.fit.summary import summary_lines
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
Record = TypeVar("Record")
#: Kind and version of the file.
FORMAT = "wprops fit result"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class GoodnessOfFit:
    """Distance to the saturated model.

    Attributes
    ----------
    statistic : float
        Twice the NLL above that of ν = n, distributed like χ².
    ndf : int
        Bins less free parameters.
    p_value : float
        Probability of a larger statistic.
    """

    statistic: float
    ndf: int
    p_value: float


@dataclass(frozen=True, slots=True, eq=False)
class Postfit:
    """Expected events of one channel at the minimum.

    Attributes
    ----------
    processes : tuple of str
        Names of the processes.
    yields : ndarray, shape (n_processes, n_eta, n_pt)
        Fitted events by process.
    data : ndarray, shape (n_eta, n_pt)
        The counts that were fitted.
    """

    processes: tuple[str, ...]
    yields: Array
    data: Array


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FitResult:
    """A valid minimum with everything that follows from it.

    Attributes
    ----------
    parameters : Parameters
        Names, groups, units and constraints.
    values : ndarray, shape (n_par,)
        Fitted parameters.
    covariance : ndarray, shape (n_par, n_par)
        Inverse of the exact Hessian.
    nll, edm : float
        Negative log-likelihood relative to the saturated model, constraints
        included, and estimated distance to the minimum in the same units.
    iterations : int
        Steps of the minimiser, refreshes included.
    gof : GoodnessOfFit
        Distance to the saturated model.
    derived : mapping of str to Derived
        Cross sections, coefficients, m_W; see `wprops.fit.derived.derive`.
    corrected : mapping of str to Derived, optional
        The same from the parameters corrected for the finite simulation; None
        where it cannot be corrected.
    finite_mc : FiniteMC
        What the finite simulation does to this fit.
    postfit : mapping of str to Postfit
        Expected events by channel.
    linearised : tuple of (channel, process, systematic)
        Log-normal declarations that are linear since the template changes sign.
    inactive : tuple of str
        Systematics without a process in this fit.
    provenance : dict
        Versions, time, options and digest of the templates.
    """

    parameters: Parameters
    values: Array
    covariance: Array
    nll: float
    edm: float
    iterations: int
    gof: GoodnessOfFit
    derived: Mapping[str, Derived]
    corrected: Mapping[str, Derived] | None
    finite_mc: FiniteMC
    postfit: Mapping[str, Postfit]
    linearised: tuple[tuple[str, str, str], ...]
    inactive: tuple[str, ...]
    provenance: dict[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return self.parameters.names

    @property
    def errors(self) -> Array:
        """Standard deviations of the parameters, shape (n_par,)."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def correlation(self) -> Array:
        """Correlation of the parameters, shape (n_par, n_par)."""
        return linear.correlation(self.covariance)

    def write(self, path: Path) -> None:
        """Write one HDF5 file; an existing one is replaced at the end."""
        with writing(path, FORMAT, SCHEMA_VERSION) as file:
            _write(file, self)

    @classmethod
    def read(cls, path: Path) -> FitResult:
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


_PLAIN = ("nll", "edm", "iterations", "linearised", "inactive", "provenance")


def _write(file: h5py.File, result: FitResult) -> None:
    write_array(file, "values", result.values)
    write_array(file, "covariance", result.covariance)
    write_json(file, "plain", {name: getattr(result, name) for name in _PLAIN})
    _write_record(file.create_group("parameters"), result.parameters)
    _write_record(file.create_group("gof"), result.gof)
    _write_record(file.create_group("finite_mc"), result.finite_mc)
    _write_records(file, "derived", result.derived)
    if result.corrected is not None:
        _write_records(file, "corrected", result.corrected)
    _write_records(file, "postfit", result.postfit)


def _read(file: h5py.File) -> FitResult:
    plain = read_json(file, "plain")
    plain["linearised"] = tuple(tuple(row) for row in plain["linearised"])
    plain["inactive"] = tuple(plain["inactive"])
    return FitResult(
        parameters=_read_record(child(file, "parameters"), Parameters),
        values=read_array(file, "values"),
        covariance=read_array(file, "covariance"),
        gof=_read_record(child(file, "gof"), GoodnessOfFit),
        finite_mc=_read_record(child(file, "finite_mc"), FiniteMC),
        derived=_read_records(file, "derived", Derived),
        corrected=(
            _read_records(file, "corrected", Derived) if "corrected" in file else None
        ),
        postfit=_read_records(file, "postfit", Postfit),
        **plain,
    )


def _write_record(group: h5py.Group, record: Any) -> None:
    """Store the arrays of a record one by one and all else as one JSON string."""
    plain = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, np.ndarray):
            write_array(group, field.name, value)
        else:
            plain[field.name] = value
    write_json(group, "plain", plain)


def _read_record(group: h5py.Group, kind: type[Record]) -> Record:
    plain = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in read_json(group, "plain").items()
    }
    arrays = {name: read_array(group, name) for name in group if name != "plain"}
    return kind(**plain, **arrays)


def _write_records(file: h5py.File, name: str, records: Mapping[str, Any]) -> None:
    # numbered groups: names of derived quantities contain slashes
    folder = file.create_group(name)
    write_json(folder, "names", list(records))
    for index, record in enumerate(records.values()):
        _write_record(folder.create_group(str(index)), record)


def _read_records(file: h5py.File, name: str, kind: type[Record]) -> dict[str, Record]:
    folder = child(file, name)
    return {
        key: _read_record(child(folder, str(index)), kind)
        for index, key in enumerate(read_json(folder, "names"))
    }
