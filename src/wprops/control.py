"""Control distributions: sums of weights by process, and data against their sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import hist
import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from wprops.errors import TemplateError
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
FORMAT = "wprops control distributions"
SCHEMA_VERSION = 1
DATA = "data"

#: What is looked at, in the selected events of one charge.
OBSERVABLES = {
    axis.name: axis
    for axis in (
        hist.axis.Regular(30, 25, 55, name="pt", label=r"$p_T^\mu$ [GeV]"),
        hist.axis.Regular(24, -2.4, 2.4, name="eta", label=r"$\eta^\mu$"),
        hist.axis.Regular(24, -np.pi, np.pi, name="phi", label=r"$\phi^\mu$ [rad]"),
        hist.axis.Regular(32, 40, 120, name="mt", label=r"$m_T$ [GeV]"),
        hist.axis.Regular(30, 0, 90, name="met", label=r"$p_T^{miss}$ [GeV]"),
        hist.axis.Regular(15, 0, 0.15, name="isolation", label="relative isolation"),
        hist.axis.Regular(25, 0, 50, name="vertices", label="good vertices"),
    )
}
CHARGES = (1, -1)


class Agreement(NamedTuple):
    """Data against the sum of processes in one distribution.

    The test counts the statistical errors of data and simulation, not the systematic
    uncertainties.
    """

    chi2: float
    bins: int

    @property
    def p_value(self) -> float:
        """Probability of a larger χ²."""
        return float(chi2.sf(self.chi2, self.bins))


@dataclass(frozen=True, slots=True, eq=False)
class ControlPlots:
    """Distributions by process and observable.

    Attributes
    ----------
    sums : mapping of str to mapping of str to ndarray, shape (2, 2, n_bins)
        Sum of weights and of their squares, by charge (positive first), of each
        observable of each process; ``data`` is one of them.
    provenance : dict
        Versions, inputs and time.
    """

    sums: Mapping[str, Mapping[str, Array]]
    provenance: dict[str, Any] = field(default_factory=dict)

    def prediction(self, observable: str) -> Array:
        """Sum of all processes, shape (2, 2, n_bins)."""
        parts = [v[observable] for name, v in self.sums.items() if name != DATA]
        return np.sum(parts, axis=0)

    def agreement(self, observable: str, charge: int) -> Agreement:
        """Compare data with the prediction in the bins that expect 10 events or more.

        Raises
        ------
        TemplateError
            If there are no data.
        """
        if DATA not in self.sums:
            msg = f"there are no data among the processes {', '.join(self.sums)}"
            raise TemplateError(msg)
        index = CHARGES.index(charge)
        expected, variance = self.prediction(observable)[:, index]
        observed = self.sums[DATA][observable][0, index]
        filled = expected >= 10
        pulls2 = (observed - expected)[filled] ** 2 / (expected + variance)[filled]
        return Agreement(float(pulls2.sum()), int(filled.sum()))

    def write(self, path: Path) -> None:
        """Write one HDF5 file; an existing one is replaced at the end."""
        with writing(path, FORMAT, SCHEMA_VERSION) as file:
            write_json(file, "provenance", self.provenance)
            write_json(file, "processes", list(self.sums))
            for process, observables in self.sums.items():
                group = file.create_group(f"sums/{process}")
                for name, values in observables.items():
                    write_array(group, name, values)

    @classmethod
    def read(cls, path: Path) -> ControlPlots:
        """Read what `write` wrote.

        Raises
        ------
        TemplateError
            If the file is missing, damaged, foreign or of another version.
        """
        with reading(path, FORMAT, SCHEMA_VERSION) as file:
            sums = child(file, "sums")
            return cls(
                {
                    process: {
                        name: read_array(child(sums, process), name)
                        for name in OBSERVABLES
                    }
                    for process in read_json(file, "processes")
                },
                read_json(file, "provenance"),
            )
