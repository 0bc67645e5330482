"""The response file: sums over events and all else that factorised templates need.

It is self-contained: templates can be made of it without the catalogue, the event files
or the files of corrections.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wprops.axes import Binning
from wprops.channels import Generated, check_generated
from wprops.errors import TemplateError
from wprops.factorised.check_sums import check_shapes
from wprops.factorised.panels import Panels
from wprops.factorised.sums import ResponseSums, array_shapes
from wprops.hdf5 import (
    child,
    read_array,
    read_json,
    reading,
    write_array,
    write_json,
    writing,
)
from wprops.systematics.declaration import Systematic

FloatArray = NDArray[np.float64]
#: Kind and version of the file.
FORMAT = "wprops response"
SCHEMA_VERSION = 1
#: Channels of a template set by charge, in the order of the arrays.
CHARGES = (1, -1)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Factors:
    """Efficiency scale factors on the grid of the templates.

    Attributes
    ----------
    nominal, systematic : ndarray, shape (2, n_eta_panels, n_nodes, n_pt)
        Factor and its relative systematic uncertainty by charge (+1, −1) at the nodes
        in eta and the centres of the fine bins of pT.
    stat : ndarray, shape (2, n_eta_panels, n_nodes, n_pt, n_stat)
        Relative statistical variations; each belongs to the eta bin of its node.
    eta_bin : ndarray of int, shape (n_eta_panels, n_nodes)
        That eta bin.
    n_parts : int
        Most of these bins in one eta bin of the templates.
    """

    nominal: FloatArray
    systematic: FloatArray
    stat: FloatArray
    eta_bin: NDArray[np.int64]
    n_parts: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Response:
    """What factorised templates are made of.

    Attributes
    ----------
    sums : ResponseSums
        Sums over the decays, normalised to the luminosity.
    luminosity : float
        Integrated luminosity [fb^-1].
    systematics : tuple of Systematic
        The uncertainties in force, with samples as processes.
    mass, width : float
        Of the simulated boson [GeV].
    generated : mapping of int to Generated
        Cross sections and coefficients of the cells, by charge.
    coefficients : ndarray, shape (2, 8, n_qt_panels, n_nodes, n_y_panels, n_nodes)
        A0 … A7 of the simulation at the nodes of the panels, by charge (+1, −1).
    factors : Factors, optional
        Efficiency scale factors; None where none are applied.
    provenance : dict
        Versions, inputs and time.
    """

    sums: ResponseSums
    luminosity: float
    systematics: tuple[Systematic, ...]
    mass: float
    width: float
    generated: Mapping[int, Generated]
    coefficients: FloatArray
    factors: Factors | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def panels(self) -> Panels:
        """Edges of all axes."""
        return self.sums.panels

    def write(self, path: Path) -> None:
        """Write one HDF5 file; an existing one is replaced at the end."""
        with writing(path, FORMAT, SCHEMA_VERSION) as file:
            write_json(file, "header", self._header())
            write_json(file, "provenance", self.provenance)
            write_array(file, "coefficients", self.coefficients)
            group = file.create_group("sums")
            for name, values in self.sums.arrays.items():
                write_array(group, name, values)
            _write_generated(file.create_group("generated"), self.generated)
            if self.factors is not None:
                _write_factors(file.create_group("factors"), self.factors)

    def _header(self) -> dict[str, Any]:
        return {
            "luminosity": self.luminosity,
            "mass": self.mass,
            "width": self.width,
            "systematics": [record.to_dict() for record in self.systematics],
            "binning": asdict(self.panels.binning),
            "nodes": [self.panels.n_qt_nodes, self.panels.n_y_nodes],
            "labels": {name: list(v) for name, v in self.sums.labels.items()},
        }

    @classmethod
    def read(cls, path: Path) -> Response:
        """Read what `write` wrote.

        Raises
        ------
        TemplateError
            If the file is missing, damaged, foreign or of another version.
        """
        with reading(path, FORMAT, SCHEMA_VERSION) as file:
            header = read_json(file, "header")
            edges = {name: tuple(v) for name, v in header["binning"].items()}
            n_qt_nodes, n_y_nodes = header["nodes"]
            panels = Panels.of(
                Binning(**edges), n_qt_nodes=n_qt_nodes, n_y_nodes=n_y_nodes
            )
            labels = {name: tuple(v) for name, v in header["labels"].items()}
            group = child(file, "sums")
            arrays = {name: read_array(group, name) for name in group}
            coefficients = read_array(file, "coefficients")
            nodes = *panels.qt_nodes.shape, *panels.absy_nodes.shape
            expected = array_shapes(panels, labels) | check_shapes(panels)
            expected["coefficients"] = len(CHARGES), 8, *nodes
            found = arrays | {"coefficients": coefficients}
            _check_shapes(path, found, expected)
            return cls(
                sums=ResponseSums(panels=panels, labels=labels, arrays=arrays),
                luminosity=header["luminosity"],
                systematics=tuple(map(Systematic.from_dict, header["systematics"])),
                mass=header["mass"],
                width=header["width"],
                generated=_read_generated(child(file, "generated")),
                coefficients=coefficients,
                factors=_read_factors(file["factors"]) if "factors" in file else None,
                provenance=read_json(file, "provenance"),
            )


def _write_generated(group: h5py.Group, generated: Mapping[int, Generated]) -> None:
    write_json(group, "charges", list(generated))
    for charge, found in generated.items():
        one = group.create_group(f"charge_{charge}")
        for entry in fields(Generated):
            write_array(one, entry.name, getattr(found, entry.name))


def _read_generated(group: h5py.Group) -> dict[int, Generated]:
    result = {}
    for charge in read_json(group, "charges"):
        one = child(group, f"charge_{charge}")
        names = (entry.name for entry in fields(Generated))
        result[charge] = Generated(**{name: read_array(one, name) for name in names})
        check_generated(result[charge], f"{group.file.filename}, charge {charge}")
    return result


_FACTORS = ("nominal", "systematic", "stat", "eta_bin")


def _write_factors(group: h5py.Group, factors: Factors) -> None:
    for name in _FACTORS:
        write_array(group, name, getattr(factors, name))
    write_json(group, "n_parts", factors.n_parts)


def _read_factors(group: h5py.Group) -> Factors:
    arrays = {name: read_array(group, name) for name in _FACTORS}
    eta_bin = arrays.pop("eta_bin").astype(np.int64)
    return Factors(**arrays, eta_bin=eta_bin, n_parts=read_json(group, "n_parts"))


def _check_shapes(
    path: Path,
    arrays: Mapping[str, FloatArray],
    expected: Mapping[str, tuple[int, ...]],
) -> None:
    for name, shape in expected.items():
        found = arrays[name].shape if name in arrays else None
        if found != shape:
            msg = (
                f"{path}: sums {name!r} have the shape {found}, expected {shape}; "
                "produce the file again"
            )
            raise TemplateError(msg)
