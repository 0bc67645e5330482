"""The template set: histograms, declarations and provenance, in memory and on disk.

It is the one agreement between the two towers: production writes a template
file, inference reads it, and ``docs/reference/template-file.md`` describes it
so that anyone may write or fit one. Its parts are the records of
`wprops.channels`, which can be imported from here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import h5py
import hist
import numpy as np

from wprops.channels import (
    Channel,
    Generated,
    Process,
    SharedEvents,
    Sideband,
    Sidebands,
    Truth,
    check_channel,
    check_generated,
    check_name,
    check_sidebands,
)
from wprops.errors import ConfigError, TemplateError
from wprops.hdf5 import (
    child,
    read_array,
    read_json,
    reading,
    write_array,
    write_axes,
    write_histogram,
    write_json,
    writing,
)
from wprops.systematics.declaration import NOMINAL, Systematic

__all__ = [
    "SCHEMA_VERSION",
    "Channel",
    "Generated",
    "Process",
    "SharedEvents",
    "Sideband",
    "Sidebands",
    "TemplateSet",
    "Truth",
]

#: What a template file says it is.
FORMAT = "wprops template set"
#: Version of the layout on disk; a reader accepts exactly its own.
SCHEMA_VERSION = 3

#: Arrays of shared events.
_SHARED = ("products", "derivative_products", "folds")

Weighting = Literal["sigma_A", "sigma"]


@dataclass(frozen=True, slots=True, eq=False)
class TemplateSet:
    """Channels, the systematics that act on them and where they come from.

    Attributes
    ----------
    channels : mapping of str to Channel
        Channels by name.
    systematics : tuple of Systematic
        The uncertainties for which variations were filled.
    luminosity : float
        Integrated luminosity of the data [fb^-1].
    boson_mass : float
        Mass of the W the nominal templates were generated with [GeV].
    weighting : {"sigma_A", "sigma"}
        Whether the template of a coefficient carries the A_i of the simulation
        (then A_i = <A_i> mu_i / mu_UL) or not (then A_i = mu_i / mu_UL).
    provenance : dict
        Versions, inputs and time, as JSON.
    truth : Truth, optional
        What pseudo-data were made with; None for real data.
    tables : dict
        Further results of the production as JSON, such as cut flows.
    sidebands : Sidebands, optional
        What multijet is estimated from, where it comes from data.
    """

    channels: Mapping[str, Channel]
    systematics: tuple[Systematic, ...]
    luminosity: float
    boson_mass: float
    weighting: Weighting = "sigma_A"
    provenance: dict[str, Any] = field(default_factory=dict)
    truth: Truth | None = None
    tables: dict[str, Any] = field(default_factory=dict)
    sidebands: Sidebands | None = None

    def channel(self, name: str) -> Channel:
        """Return one channel; raises TemplateError if the set lacks it."""
        if name not in self.channels:
            msg = (
                f"the template set has no channel {name!r}; "
                f"it has {', '.join(self.channels)}."
            )
            raise TemplateError(msg)
        return self.channels[name]

    @classmethod
    def read(cls, path: Path | str) -> TemplateSet:
        """Read and check a template file.

        Raises
        ------
        TemplateError
            If the file is missing, incomplete, foreign or of another version,
            or if its content does not fit together.
        """
        with reading(Path(path), FORMAT, SCHEMA_VERSION) as file:
            templates = _read_set(file)
        templates.validate()
        return templates

    @staticmethod
    def read_process(path: Path | str, channel: str, process: str) -> Process:
        """Read one process without the rest of the file.

        Raises
        ------
        TemplateError
            As `read`, and if the file has no such channel or process.
        """
        with reading(Path(path), FORMAT, SCHEMA_VERSION) as file:
            group = child(file["channels"], channel)
            return _read_process(child(group["processes"], process), group, process)

    def write(self, path: Path | str) -> None:
        """Check the set and write it; an existing file is replaced at the end.

        Raises
        ------
        TemplateError
            If the set does not pass `validate`.
        """
        self.validate()
        with writing(Path(path), FORMAT, SCHEMA_VERSION) as file:
            _write_set(file, self)

    def validate(self) -> None:
        """Check that all parts fit together.

        Raises
        ------
        TemplateError
            Naming channel, process and field: for shapes that differ, numbers
            that are not finite, negative data or variances, empty templates,
            names that do not match or occur twice, variations nobody declared and
            eta bins that differ where a parameter belongs to one of them.
        """
        _check_set(self)

    def hist(
        self, channel: str, process: str, variation: str = NOMINAL
    ) -> hist.Hist[hist.storage.Weight]:
        """Return one template as a histogram with named and labelled axes.

        Parameters
        ----------
        channel, process : str
            Names of the channel and of the process.
        variation : str
            Label of a variation; it has the variances of the nominal template.

        Raises
        ------
        TemplateError
            If there is no such channel, process or variation.
        """
        chosen = self.channel(channel)
        template = chosen.process(process)
        values = template.varied(variation)
        histogram = hist.Hist(
            *chosen.axes(), storage=hist.storage.Weight(), name=process
        )
        histogram.values()[...] = values
        histogram.variances()[...] = template.variance
        return histogram


def _check_set(templates: TemplateSet) -> None:
    for name, value in (
        ("luminosity", templates.luminosity),
        ("boson_mass", templates.boson_mass),
    ):
        if not (np.isfinite(value) and value > 0):
            msg = f"the template set has {name} {value}, expected a positive number."
            raise TemplateError(msg)
    if templates.weighting not in get_args(Weighting):
        msg = f"weighting {templates.weighting!r} is not one of {get_args(Weighting)}."
        raise TemplateError(msg)
    if not templates.channels:
        msg = "the template set has no channels."
        raise TemplateError(msg)
    _check_systematics(templates)
    declared = {label for record in templates.systematics for label in record.labels}
    for key, channel in templates.channels.items():
        check_name(key, channel.name, "channel")
        check_channel(channel, declared)
    if templates.sidebands is not None:
        first = next(iter(templates.channels.values()))
        check_sidebands(templates.sidebands, first.shape, declared)
    if templates.truth is not None:
        for key, generated in templates.truth.channels.items():
            channel = templates.channel(key)
            where = f"truth of channel {key!r}"
            check_generated(generated, where)
            _check_same_cells(generated, channel.generated, where)


def _check_systematics(templates: TemplateSet) -> None:
    names = [record.name for record in templates.systematics]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        msg = (
            f"names of systematics are not unique: {', '.join(repeated)}; declare each "
            "source once, or rename one."
        )
        raise TemplateError(msg)
    for record in templates.systematics:
        if record.size is not None and not (
            np.isfinite(record.size) and record.size > 0
        ):
            msg = (
                f"systematic {record.name!r} has size {record.size}, expected the "
                "positive factor at one standard deviation, such as 1.02."
            )
            raise TemplateError(msg)
        if record.eta_local and record.charge_correlated:
            _check_same_eta(templates, record)


def _check_same_eta(templates: TemplateSet, record: Systematic) -> None:
    """One parameter per eta bin for several channels asks for the same bins."""
    acting = [
        channel
        for channel in templates.channels.values()
        if any(
            set(record.labels) & set(p.variations) for p in channel.processes.values()
        )
    ]
    for channel in acting[1:]:
        if not np.array_equal(channel.eta_edges, acting[0].eta_edges):
            msg = (
                f"systematic {record.name!r} has one parameter per eta bin, but "
                f"channels {acting[0].name!r} and {channel.name!r} have different "
                "eta_edges; use one binning, or set charge_correlated=False."
            )
            raise TemplateError(msg)


def _check_same_cells(truth: Generated, other: Generated | None, where: str) -> None:
    for name in ("qt_edges", "absy_edges") if other is not None else ():
        found, expected = getattr(truth, name), getattr(other, name)
        if not np.array_equal(found, expected):
            msg = f"{where}, {name} are {found}, those of the simulation {expected}."
            raise TemplateError(msg)


def _write_set(file: h5py.File, templates: TemplateSet) -> None:
    header = {
        "luminosity": templates.luminosity,
        "boson_mass": templates.boson_mass,
        "weighting": templates.weighting,
        "channels": list(templates.channels),
        "truth_boson_mass": templates.truth and templates.truth.boson_mass,
    }
    write_json(file, "header", header)
    write_json(file, "systematics", [s.to_dict() for s in templates.systematics])
    write_json(file, "provenance", templates.provenance)
    write_json(file, "tables", templates.tables)
    for name, channel in templates.channels.items():
        _write_channel(file.create_group(f"channels/{name}"), channel)
    if templates.sidebands is not None:
        _write_sidebands(file.create_group("sidebands"), templates.sidebands)
    for name, generated in (
        templates.truth.channels if templates.truth else {}
    ).items():
        _write_generated(file.create_group(f"truth/{name}"), generated)


def _read_set(file: h5py.File) -> TemplateSet:
    header = read_json(file, "header")
    try:
        systematics = tuple(map(Systematic.from_dict, read_json(file, "systematics")))
    except ConfigError as error:
        msg = f"{file.filename}: {error}"
        raise TemplateError(msg) from error
    truth = None
    if header["truth_boson_mass"] is not None:
        folder = child(file, "truth")
        maps = {name: _read_generated(group) for name, group in folder.items()}
        truth = Truth(header["truth_boson_mass"], maps)
    return TemplateSet(
        channels={
            name: _read_channel(child(file["channels"], name), name)
            for name in _distinct(header["channels"], file)
        },
        systematics=systematics,
        luminosity=header["luminosity"],
        boson_mass=header["boson_mass"],
        weighting=header["weighting"],
        provenance=read_json(file, "provenance"),
        truth=truth,
        tables=read_json(file, "tables"),
        sidebands=_read_sidebands(file["sidebands"]) if "sidebands" in file else None,
    )


def _write_channel(group: h5py.Group, channel: Channel) -> None:
    edges = {"eta": channel.eta_edges, "pt": channel.pt_edges}
    axes = [(axis.name, axis.label, edges[axis.name]) for axis in channel.axes()]
    write_axes(group, axes)
    header = {
        "charge": channel.charge,
        "region": channel.region,
        "processes": list(channel.processes),
        "shared": [
            {"processes": group.processes, "derivative": group.derivative}
            for group in channel.shared
        ],
    }
    write_json(group, "header", header)
    if channel.data is not None:
        write_histogram(group.create_group("data"), group, "data", channel.data)
    if channel.generated is not None:
        _write_generated(group.create_group("generated"), channel.generated)
    for index, shared in enumerate(channel.shared):
        folder = group.create_group(f"shared/{index}")
        for name in _SHARED:
            if getattr(shared, name) is not None:
                write_array(folder, name, getattr(shared, name))
    for name, process in channel.processes.items():
        _write_process(group.create_group(f"processes/{name}"), group, process)


def _read_channel(group: h5py.Group, name: str) -> Channel:
    header = read_json(group, "header")
    folder = child(group, "processes")
    return Channel(
        name=name,
        charge=header["charge"],
        region=header["region"],
        eta_edges=read_array(group, "ref_axes/axis_0/edges"),
        pt_edges=read_array(group, "ref_axes/axis_1/edges"),
        processes={
            key: _read_process(child(folder, key), group, key)
            for key in _distinct(header["processes"], group)
        },
        shared=tuple(
            _read_shared(child(group, f"shared/{index}"), record)
            for index, record in enumerate(header["shared"])
        ),
        generated=_read_generated(group["generated"]) if "generated" in group else None,
        data=read_array(group, "data/storage/values") if "data" in group else None,
    )


def _distinct(names: list[str], group: h5py.Group) -> list[str]:
    """Refuse repeated names, of which a mapping would keep the last."""
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        msg = (
            f"{group.file.filename}: the header of {group.name} lists "
            f"{', '.join(repeated)} more than once; use distinct names."
        )
        raise TemplateError(msg)
    return names


def _read_shared(group: h5py.Group, record: dict[str, Any]) -> SharedEvents:
    return SharedEvents(
        processes=tuple(record["processes"]),
        derivative=record["derivative"],
        **{name: read_array(group, name) for name in _SHARED if name in group},
    )


def _write_process(group: h5py.Group, axes: h5py.Group, process: Process) -> None:
    write_histogram(group, axes, process.name, process.nominal, process.variance)
    header = {
        "role": process.role,
        "component": process.component,
        "cell": process.cell,
        "variations": list(process.variations),
    }
    write_json(group, "header", header)
    if process.variations:
        write_array(group, "variations", np.stack(list(process.variations.values())))
    if process.entries is not None:
        write_array(group, "entries", process.entries)


def _read_process(group: h5py.Group, channel: h5py.Group, name: str) -> Process:
    _check_same_axes(group, channel)
    header = read_json(group, "header")
    labels = header["variations"]
    varied = read_array(group, "variations") if labels else ()
    return Process(
        name=name,
        role=header["role"],
        nominal=read_array(group, "storage/values"),
        variance=read_array(group, "storage/variances"),
        variations=dict(zip(labels, varied, strict=True)),
        component=header["component"],
        cell=None if header["cell"] is None else tuple(header["cell"]),
        entries=read_array(group, "entries") if "entries" in group else None,
    )


def _check_same_axes(group: h5py.Group, channel: h5py.Group) -> None:
    """Compare axes that are stored again, not linked, with those of the channel."""
    if child(group, "ref_axes") == child(channel, "ref_axes"):
        return
    for axis in ("axis_0", "axis_1"):
        found = read_array(group, f"ref_axes/{axis}/edges")
        expected = read_array(channel, f"ref_axes/{axis}/edges")
        if not np.array_equal(found, expected):
            msg = (
                f"{group.file.filename}: {group.name} has the edges {found} in {axis}, "
                f"its channel {expected}; fill all processes of a channel in one "
                "binning."
            )
            raise TemplateError(msg)


def _write_sidebands(group: h5py.Group, sidebands: Sidebands) -> None:
    write_array(group, "mt_edges", sidebands.mt_edges)
    write_array(group, "data", sidebands.data)
    write_array(group, "data_mt_sum", sidebands.data_mt_sum)
    names = {name: list(p.variations) for name, p in sidebands.processes.items()}
    write_json(group, "header", {"processes": names})
    for name, process in sidebands.processes.items():
        folder = group.create_group(f"processes/{name}")
        write_array(folder, "nominal", process.nominal)
        write_array(folder, "variance", process.variance)
        write_array(folder, "mt_sum", process.mt_sum)
        if process.variations:
            write_array(folder, "variations", list(process.variations.values()))


def _read_sidebands(group: h5py.Group) -> Sidebands:
    processes = {}
    for name, labels in read_json(group, "header")["processes"].items():
        folder = child(child(group, "processes"), name)
        varied = read_array(folder, "variations") if labels else ()
        processes[name] = Sideband(
            nominal=read_array(folder, "nominal"),
            variance=read_array(folder, "variance"),
            mt_sum=read_array(folder, "mt_sum"),
            variations=dict(zip(labels, varied, strict=True)),
        )
    return Sidebands(
        mt_edges=read_array(group, "mt_edges"),
        data=read_array(group, "data"),
        data_mt_sum=read_array(group, "data_mt_sum"),
        processes=processes,
    )


def _write_generated(group: h5py.Group, generated: Generated) -> None:
    for item in fields(Generated):
        write_array(group, item.name, getattr(generated, item.name))


def _read_generated(group: h5py.Group) -> Generated:
    return Generated(**{f.name: read_array(group, f.name) for f in fields(Generated)})
