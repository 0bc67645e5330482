"""The HDF5 input file of rabbit: read and written without rabbit.

Checked against the writer and the reader of rabbit-fit 0.2.5. Arrays have the bins of
all channels on their first axis, fitted channels before masked ones, and processes with
a strength before the others.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import h5py
import hist
import numpy as np
from numpy.typing import NDArray

from wprops.errors import TemplateError
from wprops.hdf5 import writing
from wprops.interchange.rabbit_pickle import read_description, write_description

Array = NDArray[np.float64]
SystematicType: TypeAlias = Literal["log_normal", "normal"]


@dataclass(frozen=True, slots=True, eq=False)
class RabbitChannel:
    """One channel: its name, the edges of its axes, and whether it is masked."""

    name: str
    edges: tuple[Array, ...]
    masked: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of bins of each axis."""
        return tuple(len(edges) - 1 for edges in self.edges)

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """All of a file but its numbers.

    Attributes
    ----------
    channels : tuple of RabbitChannel
        Masked ones at the end.
    processes : tuple of str
        Those with a strength first.
    n_signal : int
        Number of processes with a strength.
    systematics : tuple of str
        Those without a constraint first.
    weights : ndarray, shape (n_syst,)
        Inverse variance of the constraint.
    groups : mapping of str to sequence of int
        Positions of the systematics of each row of the table of impacts.
    systematic_type : {"log_normal", "normal"}
        Whether effects are exponents, μ n exp(kθ), or add events, μ n + kθ.
    symmetric : bool
        Whether effects are odd in θ.
    """

    channels: tuple[RabbitChannel, ...]
    processes: tuple[str, ...]
    n_signal: int
    systematics: tuple[str, ...]
    weights: Array
    groups: Mapping[str, Sequence[int]]
    systematic_type: SystematicType
    symmetric: bool


@dataclass(frozen=True, slots=True, eq=False)
class RabbitInput:
    """The content of a file.

    Attributes
    ----------
    header : Header
        Names and constraints.
    data : ndarray, shape (n_fitted_bins,)
        Observed events of the channels that are not masked.
    nominal : ndarray, shape (n_bins, n_processes)
        Templates n [events].
    effects : ndarray, shape (n_bins, n_processes, 1 or 2, n_syst)
        k of the systematics: what is odd in θ, then what is even.
    sum_of_weights : ndarray, shape (n_bins,) or (n_bins, n_processes)
        Content that the variance belongs to.
    variance : ndarray, of the same shape
        Sum of squared weights.
    ignored : tuple of str
        Parts of the file that are not read.
    """

    header: Header
    data: Array
    nominal: Array
    effects: Array
    sum_of_weights: Array
    variance: Array
    ignored: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> RabbitInput:
        """Read a file, dense or sparse.

        Raises
        ------
        TemplateError
            If it is missing, no input of rabbit or damaged, or if the plugin that
            decompresses its description is not installed.
        """
        if not path.is_file():
            msg = f"there is no file {path}; expected an input file of rabbit"
            raise TemplateError(msg)
        try:
            with h5py.File(path, "r") as file:
                return _read(file)
        # Bytes that are no pickle, and arrays of other lengths than the header says.
        except (
            *(KeyError, OSError, pickle.UnpicklingError, EOFError),
            *(ValueError, TypeError, AttributeError, IndexError),
        ) as error:
            msg = f"{path} cannot be read as an input file of rabbit: {error}"
            raise TemplateError(msg) from error


def write_file(
    path: Path,
    header: Header,
    data: Array,
    nominal: Array,
    totals: tuple[Array, Array],
    effects: Iterable[Array],
) -> None:
    """Write a file; an existing one is replaced at the end.

    Parameters
    ----------
    path : Path
        The file to write.
    header : Header
        Names and constraints.
    data : ndarray, shape (n_fitted_bins,)
        Observed events.
    nominal : ndarray, shape (n_bins, n_processes)
        Templates.
    totals : tuple of ndarray, shape (n_bins,)
        Expected events and their variance from the finite simulation.
    effects : iterable of ndarray, shape (n, n_processes, 2, n_syst)
        Effects of one range of bins after the other, so that all of them need not be
        in memory together; the even part is not written for a symmetric file.
    """
    with writing(path, "rabbit input", 1) as file:
        _write_header(file, header)
        for name, values in {
            "hconstraintweights": header.weights,
            "hdata_obs": data,
            "hpseudodata": np.zeros((len(data), 0)),
            "hsumw": totals[0],
            "hsumw2": totals[1],
            "hnorm": nominal,
        }.items():
            file[name] = values
        sides = () if header.symmetric else (2,)
        shape = (*nominal.shape, *sides, len(header.systematics))
        target = file.create_dataset("hlogk", shape, np.float64)
        first = 0
        for part in effects:
            last = first + len(part)
            if part.size:
                target[first:last] = part[:, :, 0] if header.symmetric else part
            first = last


def _write_header(file: h5py.File, header: Header) -> None:
    description = {
        "meta_info": {},
        "channel_info": {
            channel.name: {
                "axes": [
                    hist.axis.Variable(
                        edges, name=f"axis{i}", underflow=False, overflow=False
                    )
                    for i, edges in enumerate(channel.edges)
                ],
                "masked": channel.masked,
                "flow": False,
            }
            for channel in header.channels
        },
        "symmetric_tensor": header.symmetric,
        "systematic_type": header.systematic_type,
    }
    write_description(file, description)
    free = np.flatnonzero(header.weights == 0)
    for name, texts in {
        "hprocs": header.processes,
        "hsignals": header.processes[: header.n_signal],
        "hsysts": header.systematics,
        "hsystsnoconstraint": [header.systematics[i] for i in free],
        "hsystgroups": list(header.groups),
        "hpseudodatanames": [],
    }.items():
        file.create_dataset(name, (len(texts),), h5py.string_dtype(), data=list(texts))
    members = file.create_dataset(
        "hsystgroupidxs", (len(header.groups),), h5py.vlen_dtype(np.int32)
    )
    for i, positions in enumerate(header.groups.values()):
        members[i] = np.array(positions, dtype=np.int32)
    # a parameter without a constraint is something to measure, and blind in rabbit
    file["hnoiidxs"] = free.astype(np.int32)


def _read(file: h5py.File) -> RabbitInput:
    header = _read_header(file)
    n_proc, n_syst = len(header.processes), len(header.systematics)
    if "hnorm" in file:
        nominal, effects = _numbers(file, "hnorm"), _numbers(file, "hlogk")
    else:
        nominal, effects = _dense(file, 1 if header.symmetric else 2, n_syst)
    sides = 1 if header.symmetric else 2
    return RabbitInput(
        header=header,
        data=_numbers(file, "hdata_obs"),
        nominal=nominal,
        effects=effects.reshape(len(nominal), n_proc, sides, n_syst),
        sum_of_weights=_numbers(file, "hsumw"),
        variance=_numbers(file, "hsumw2"),
        ignored=tuple(_ignored(file)),
    )


def _ignored(file: h5py.File) -> Iterable[str]:
    if len(file.get("hpseudodatanames", ())):
        yield "pseudo-data"
    if "hdata_var" in file:
        yield "variances of the data"
    if "hdata_cov_inv" in file:
        yield "the covariance of the data"


def _read_header(file: h5py.File) -> Header:
    description = read_description(file)
    systematic_type = description["systematic_type"]
    if systematic_type not in get_args(SystematicType):
        msg = (
            f"{file.filename} has systematics of the type {systematic_type!r}, "
            f"expected one of {', '.join(get_args(SystematicType))}"
        )
        raise TemplateError(msg)
    signals, processes = _texts(file, "hsignals"), _texts(file, "hprocs")
    if processes[: len(signals)] != signals:
        msg = f"{file.filename} does not list its signals before other processes"
        raise TemplateError(msg)
    members = [tuple(map(int, group)) for group in file["hsystgroupidxs"][...]]
    return Header(
        channels=tuple(
            RabbitChannel(
                name,
                tuple(_edges(axis, info.get("flow", False)) for axis in info["axes"]),
                info.get("masked", False),
            )
            for name, info in description["channel_info"].items()
        ),
        processes=processes,
        n_signal=len(signals),
        systematics=_texts(file, "hsysts"),
        weights=_numbers(file, "hconstraintweights"),
        groups=dict(zip(_texts(file, "hsystgroups"), members, strict=True)),
        systematic_type=systematic_type,
        symmetric=bool(description["symmetric_tensor"]),
    )


def _edges(axis: Any, flow: bool) -> Array:
    """Edges of an axis; numbers of bins for categories and with flow bins."""
    if flow or isinstance(axis, (hist.axis.StrCategory, hist.axis.IntCategory)):
        return np.arange((axis.extent if flow else axis.size) + 1.0)
    return np.array(axis.edges)


def _numbers(group: h5py.Group, name: str) -> Array:
    """Read an array that may be stored flat, with its shape beside it."""
    dataset = group[name]
    return np.reshape(dataset[...], dataset.attrs.get("original_shape", dataset.shape))


def _texts(group: h5py.Group, name: str) -> tuple[str, ...]:
    return tuple(group[name].asstr()[...].tolist())


def _dense(file: h5py.File, sides: int, n_syst: int) -> tuple[Array, Array]:
    """Read sparse templates, and effects on their non-zero contents."""
    sparse, varied = file["hnorm_sparse"], file["hlogk_sparse"]
    shape = tuple(sparse.attrs["dense_shape"])
    where = tuple(_numbers(sparse, "indices").T)
    nominal = np.zeros(shape)
    nominal[where] = _numbers(sparse, "values")
    entry, column = _numbers(varied, "indices").T
    effects = np.zeros((*shape, sides * n_syst))
    effects[where[0][entry], where[1][entry], column] = _numbers(varied, "values")
    return nominal, effects
