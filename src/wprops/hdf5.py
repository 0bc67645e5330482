"""HDF5 files that appear whole or not at all, with a checksum on all they hold.

Arrays are contiguous and uncompressed, so a gigabyte moves at the speed of the
disk. HDF5 refuses files that were cut short; the checksums find changed bytes.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.errors import TemplateError, WpropsError

#: Version of the uhi histogram schema that `write_histogram` follows.
UHI_SCHEMA = 1
#: From this format on HDF5 protects its own structures with checksums.
_LIBRARY_VERSION = ("v110", "v110")


@contextmanager
def writing(path: Path, kind: str, version: int) -> Iterator[h5py.File]:
    """Open a new file that takes the place of ``path`` once it is complete.

    Parameters
    ----------
    path : Path
        The file to write; its folder is made when missing. After an error the
        old file, if any, is still there and no other is left behind.
    kind : str
        What the file is, kept in its attribute ``format``.
    version : int
        Version of the layout, kept in its attribute ``schema_version``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with h5py.File(temporary, "w", libver=_LIBRARY_VERSION) as file:
            file.attrs["format"] = kind
            file.attrs["schema_version"] = version
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def reading(path: Path, kind: str, version: int) -> Iterator[h5py.File]:
    """Open ``path`` for reading after a look at its kind and version.

    Raises
    ------
    TemplateError
        If the file is missing, damaged, of another kind or another version.
    """
    if not path.is_file():
        msg = f"there is no file {path}; expected a {kind}."
        raise TemplateError(msg)
    try:
        with h5py.File(path, "r") as file:
            _check_header(file, path, kind, version)
            yield file
    except WpropsError:
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        msg = (
            f"{path} cannot be read as a {kind}: {error}. It is not an HDF5 file, "
            "or incomplete, or damaged; copy or produce it again."
        )
        raise TemplateError(msg) from error


def _check_header(file: h5py.File, path: Path, kind: str, version: int) -> None:
    found = file.attrs.get("format")
    if found != kind:
        msg = f"{path} has the format {found!r}, expected {kind!r}."
        raise TemplateError(msg)
    found = file.attrs.get("schema_version")
    if found != version:
        msg = (
            f"{path} has schema version {found}, this wprops reads {version}; "
            "produce the file again or use the wprops that wrote it "
            "(recorded in its provenance)."
        )
        raise TemplateError(msg)


def write_array(group: h5py.Group, name: str, values: ArrayLike) -> None:
    """Store numbers as contiguous float64, with their checksum."""
    array = np.ascontiguousarray(values, dtype=np.float64)
    dataset = group.create_dataset(name, data=array)
    dataset.attrs["crc32"] = zlib.crc32(array.reshape(-1).view(np.uint8).data)


def read_array(group: h5py.Group, name: str) -> NDArray[np.float64]:
    """Read what `write_array` stored; raises TemplateError if it changed."""
    dataset = _dataset(group, name)
    array = np.empty(dataset.shape, dtype=np.float64)
    if array.size:
        dataset.read_direct(array)
    _check_sum(dataset, zlib.crc32(array.reshape(-1).view(np.uint8).data))
    return array


def write_json(group: h5py.Group, name: str, content: Any) -> None:
    """Store plain data as one JSON string, with its checksum.

    Raises
    ------
    TemplateError
        If the content has something JSON does not know, such as NaN.
    """
    try:
        encoded = json.dumps(content, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        msg = f"{name} cannot be stored as JSON: {error}; convert it to plain data."
        raise TemplateError(msg) from error
    # Strings of fixed length: those of variable length lie outside the
    # structures that HDF5 protects and are slow to read one by one.
    dtype = h5py.string_dtype("utf-8", len(encoded))
    dataset = group.create_dataset(name, data=np.array(encoded, dtype=dtype))
    dataset.attrs["crc32"] = zlib.crc32(encoded)


def read_json(group: h5py.Group, name: str) -> Any:
    """Read what `write_json` stored; raises TemplateError if it changed."""
    dataset = _dataset(group, name)
    encoded = bytes(dataset[()])
    _check_sum(dataset, zlib.crc32(encoded))
    return json.loads(encoded)


def child(group: h5py.Group, name: str) -> h5py.Group:
    """Return a group inside another; raises TemplateError if there is none."""
    item = group.get(name)
    if not isinstance(item, h5py.Group):
        msg = (
            f"{group.file.filename} has no {name!r} in {group.name}; "
            f"it has {', '.join(group) or 'nothing'} there."
        )
        raise TemplateError(msg)
    return item


def _dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    item = group.get(name)
    if not isinstance(item, h5py.Dataset):
        msg = (
            f"{group.file.filename} lacks the dataset {name!r} in {group.name}; "
            f"it has {', '.join(group) or 'nothing'} there."
        )
        raise TemplateError(msg)
    return item


def _check_sum(dataset: h5py.Dataset, found: int) -> None:
    expected = dataset.attrs.get("crc32")
    if expected is None or int(expected) != found:
        msg = (
            f"{dataset.file.filename}: the content of {dataset.name} has the "
            f"checksum {found}, expected {expected}; copy or produce it again."
        )
        raise TemplateError(msg)


def write_axes(
    group: h5py.Group, axes: Sequence[tuple[str, str, NDArray[np.float64]]]
) -> None:
    """Store axes as (name, label, edges), without flow bins, in the uhi schema."""
    folder = group.create_group("ref_axes")
    references = group.create_dataset("axes", len(axes), dtype=h5py.ref_dtype)
    for index, (name, label, edges) in enumerate(axes):
        axis = folder.create_group(f"axis_{index}")
        axis.attrs["type"] = "variable"
        for flag in ("underflow", "overflow", "circular"):
            axis.attrs[flag] = False
        write_array(axis, "edges", edges)
        axis.create_group("metadata").attrs.update({"name": name, "label": label})
        references[index] = axis.ref


def write_histogram(
    group: h5py.Group,
    axes: h5py.Group,
    name: str,
    values: NDArray[np.float64],
    variances: NDArray[np.float64] | None = None,
) -> None:
    """Store a histogram in the uhi schema on axes that others share.

    Parameters
    ----------
    group : h5py.Group
        Where to write; ``uhi.io.hdf5.read(group)`` reads it back.
    axes : h5py.Group
        Group that `write_axes` has filled; it is linked, not copied.
    name : str
        Name of the histogram.
    values, variances : ndarray, shape of the axes
        Sums of weights and of their squares; unweighted without the latter.
    """
    group.attrs["uhi_schema"] = UHI_SCHEMA
    group["axes"], group["ref_axes"] = axes["axes"], axes["ref_axes"]
    group.create_group("metadata").attrs["name"] = name
    storage = group.create_group("storage")
    storage.attrs["type"] = "double" if variances is None else "weighted"
    write_array(storage, "values", values)
    if variances is not None:
        write_array(storage, "variances", variances)
