"""Cross sections and angular coefficients of a simulation in bins of |Y| and qT.

Maps are filled with the engine of the templates: the components of an event are its
weight and its weight times P0 … P7, so one pass gives all weight variations and the
covariance of the nominal moments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from wprops.axes import Binning
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
from wprops.physics.moments import coefficients_from_sums
from wprops.systematics.declaration import NOMINAL

Array = NDArray[np.float64]
#: Kind and version of the file.
FORMAT = "wprops moment maps"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class MomentMap:
    """Maps of one boson.

    Attributes
    ----------
    absy_edges, qt_edges : ndarray, shape (n_y + 1,), (n_qt + 1,)
        Edges in |Y| and in qT [GeV].
    sigma : mapping of str to ndarray, shape (n_y, n_qt)
        Cross section of each bin [pb], by weight variation.
    coefficients : mapping of str to ndarray, shape (8, n_y, n_qt)
        A0 … A7, by weight variation; NaN in bins without events.
    sigma_error : ndarray, shape (n_y, n_qt)
        Statistical error of the nominal cross section [pb].
    covariance : ndarray, shape (8, 8, n_y, n_qt)
        Statistical covariance of the nominal coefficients of each bin; NaN in bins
        with less than two events, which tell no spread.
    """

    absy_edges: Array
    qt_edges: Array
    sigma: Mapping[str, Array]
    coefficients: Mapping[str, Array]
    sigma_error: Array
    covariance: Array

    @property
    def errors(self) -> Array:
        """Statistical errors of the nominal A0 … A7, shape (8, n_y, n_qt)."""
        # Rounding may leave −1e-17 where a harmonic does not vary.
        return np.sqrt(np.maximum(np.einsum("ii...->i...", self.covariance), 0.0))


class Sums(Protocol):
    """What maps are made of: `wprops.templates.filling.Section` is of this form."""

    @property
    def sums(self) -> Array:
        """Sums of w and of w P0 … w P7, shape (9, n_labels, n_cells)."""

    @property
    def products(self) -> Array:
        """Sums of the products of two of them, shape (9, 9, n_cells)."""

    @property
    def entries(self) -> NDArray[np.int64]:
        """Numbers of events, shape (n_cells,)."""


def moment_map(
    labels: tuple[str, ...], section: Sums, binning: Binning, luminosity: float
) -> MomentMap:
    """Make the maps of one boson from sums over its events.

    Parameters
    ----------
    labels : tuple of str
        Weight variations, nominal first.
    section : Sums
        Sums in all cells, normalised to the luminosity.
    binning : Binning
        Gives the cells, |Y| slower than qT.
    luminosity : float
        Luminosity [pb⁻¹] of the normalisation.
    """
    shape = len(binning.absy) - 1, len(binning.qt) - 1
    cells = section.sums.reshape(*section.sums.shape[:2], *shape)
    squares = section.products.reshape(9, 9, *shape)
    # A bin without weight has no mean: NaN says so in every figure and file.
    weight = np.where(cells[0] == 0, np.nan, cells[0])
    results = {
        label: coefficients_from_sums(
            weight[v],
            cells[1:, v],
            (squares[0, 0], squares[0, 1:], squares[1:, 1:]),
        )
        for v, label in enumerate(labels)
    }
    return MomentMap(
        absy_edges=np.array(binning.absy),
        qt_edges=np.array(binning.qt),
        sigma={label: cells[0, v] / luminosity for v, label in enumerate(labels)},
        coefficients={label: A for label, (A, _) in results.items()},
        sigma_error=np.sqrt(squares[0, 0]) / luminosity,
        covariance=np.where(
            section.entries.reshape(shape) < 2, np.nan, results[NOMINAL][1]
        ),
    )


@dataclass(frozen=True, slots=True, eq=False)
class MomentMaps:
    """Maps of all bosons of a run.

    Attributes
    ----------
    bosons : mapping of str to MomentMap
        Maps by boson: ``Wplus``, ``Wminus``, ``Z`` (angles of the negative lepton).
    provenance : dict
        Versions, inputs and time.
    """

    bosons: Mapping[str, MomentMap]
    provenance: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write one HDF5 file; an existing one is replaced at the end."""
        with writing(path, FORMAT, SCHEMA_VERSION) as file:
            write_json(file, "provenance", self.provenance)
            write_json(file, "bosons", list(self.bosons))
            for name, boson in self.bosons.items():
                _write_map(file.create_group(name), boson)

    @classmethod
    def read(cls, path: Path) -> MomentMaps:
        """Read what `write` wrote.

        Raises
        ------
        TemplateError
            If the file is missing, damaged, foreign or of another version.
        """
        with reading(path, FORMAT, SCHEMA_VERSION) as file:
            names = read_json(file, "bosons")
            return cls(
                {name: _read_map(child(file, name)) for name in names},
                read_json(file, "provenance"),
            )

    def boson(self, name: str) -> MomentMap:
        """Return the maps of one boson; raises TemplateError if there are none."""
        if name not in self.bosons:
            had = ", ".join(self.bosons)
            msg = f"there are no moments of {name!r}; the run had {had}"
            raise TemplateError(msg)
        return self.bosons[name]


_ARRAYS = ("absy_edges", "qt_edges", "sigma_error", "covariance")


def _write_map(group: h5py.Group, boson: MomentMap) -> None:
    write_json(group, "variations", list(boson.sigma))
    for name in _ARRAYS:
        write_array(group, name, getattr(boson, name))
    write_array(group, "sigma", np.stack(list(boson.sigma.values())))
    write_array(group, "coefficients", np.stack(list(boson.coefficients.values())))


def _read_map(group: h5py.Group) -> MomentMap:
    labels = read_json(group, "variations")

    def by_label(name: str) -> dict[str, Array]:
        return dict(zip(labels, read_array(group, name), strict=True))

    return MomentMap(
        sigma=by_label("sigma"),
        coefficients=by_label("coefficients"),
        **{name: read_array(group, name) for name in _ARRAYS},
    )
