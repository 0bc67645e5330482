"""The result of a fit, in memory, in a file and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wprops.channels import Channel
from wprops.fit import covariance as linear
from wprops.fit.derived import Derived, quoted_names
from wprops.fit.finite_mc import FiniteMC
from wprops.fit.gate import Gate
from wprops.fit.impacts import Impacts
from wprops.fit.intervals import Interval
from wprops.fit.parameters import Parameters
from wprops.fit.record_io import (
    read_record,
    read_records,
    write_record,
    write_records,
)
from wprops.fit.scans import Scan
from wprops.fit.summary import summary_lines
from wprops.fit.uncertainties import Yields
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
#: Kind and version of the file.
FORMAT = "wprops fit result"
SCHEMA_VERSION = 4
#: Entry in the provenance of a blind result.
BLINDING = "blinding"


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

    def applied_to(self, channel: Channel) -> Channel:
        """Return the channel with fitted yields and fitted counts in place."""
        yields = dict(zip(self.processes, self.yields, strict=True))
        processes = {
            name: replace(process, nominal=yields[name])
            for name, process in channel.processes.items()
        }
        return replace(channel, processes=processes, data=self.data)


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
        The same from the parameters corrected for the finite simulation, with numbers
        that ``gate`` calls undetermined (see ``quoted``); None where it cannot be
        corrected.
    finite_mc : FiniteMC
        What the finite simulation does to this fit.
    gate : Gate
        Naive, Barlow-Beeston and corrected result of every quoted number side by side,
        with the verdict on it.
    postfit : mapping of str to Postfit
        Templates at the minimum, by channel.
    prefit_yields, postfit_yields : mapping of str to Yields
        Expected events with errors by channel: from the auxiliary measurements, and
        from the fit.
    impacts : Impacts, optional
        Impacts on all parameters and derived quantities, if they were asked for.
    scans : mapping of str to Scan
        Profile likelihoods by what was scanned, such as ``"m_W"`` or ``"m_W, lumi"``.
    intervals : mapping of str to Interval
        Profile-likelihood intervals.
    frozen : tuple of str
        Parameters that were not fitted. They have no error.
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
    gate: Gate
    postfit: Mapping[str, Postfit]
    prefit_yields: Mapping[str, Yields]
    postfit_yields: Mapping[str, Yields]
    impacts: Impacts | None
    scans: Mapping[str, Scan]
    intervals: Mapping[str, Interval]
    frozen: tuple[str, ...]
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
        """Correlation of the parameters, (n_par, n_par); 0 for frozen ones."""
        free = np.flatnonzero(self.errors > 0)
        where = np.ix_(free, free)
        correlation = np.zeros_like(self.covariance)
        correlation[where] = linear.correlation(self.covariance[where])
        return correlation

    @property
    def quoted(self) -> Mapping[str, Derived]:
        """What to quote: corrected for the finite simulation, NaN where undetermined.

        Without a corrected result, as in a blind one, all that is measured is NaN.
        What is not measured, such as of frozen strengths, has no error.
        """
        found = self.derived if self.corrected is None else self.corrected
        refused = {
            name
            for name, verdict in zip(self.gate.names, self.gate.verdicts, strict=True)
            if verdict == "undetermined" or self.corrected is None
        }
        return {
            name: quantity.without(
                np.array([n in refused for n in quoted_names(name, quantity.labels)])
            )
            for name, quantity in found.items()
        }

    @property
    def is_blind(self) -> bool:
        """Whether values are shifted; see `wprops.fit.blinding`."""
        return BLINDING in self.provenance

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


_PLAIN = ("nll", "edm", "iterations", "provenance")
_TUPLES = ("linearised", "inactive", "frozen")
_ARRAYS = ("values", "covariance")
#: Records, some of which may be missing, and mappings of names to records.
_RECORDS = {
    "parameters": Parameters,
    "gof": GoodnessOfFit,
    "finite_mc": FiniteMC,
    "gate": Gate,
    "impacts": Impacts,
}
_MAPPINGS = {
    "derived": Derived,
    "corrected": Derived,
    "postfit": Postfit,
    "prefit_yields": Yields,
    "postfit_yields": Yields,
    "scans": Scan,
    "intervals": Interval,
}


def _write(file: h5py.File, result: FitResult) -> None:
    plain = {name: getattr(result, name) for name in (*_PLAIN, *_TUPLES)}
    write_json(file, "plain", plain)
    for name in _ARRAYS:
        write_array(file, name, getattr(result, name))
    for names, write in ((_RECORDS, write_record), (_MAPPINGS, write_records)):
        for name in names:
            if getattr(result, name) is not None:
                write(file.create_group(name), getattr(result, name))


def _read(file: h5py.File) -> FitResult:
    plain = read_json(file, "plain")
    for name in _TUPLES:
        plain[name] = tuple(
            tuple(row) if isinstance(row, list) else row for row in plain[name]
        )
    parts: dict[str, Any] = {"impacts": None, "corrected": None}
    parts |= {name: read_array(file, name) for name in _ARRAYS}
    for names, read in ((_RECORDS, read_record), (_MAPPINGS, read_records)):
        for name, kind in names.items():
            if name in file or name not in parts:
                parts[name] = read(child(file, name), kind)
    return FitResult(**plain, **parts)
