"""Records of arrays and plain values in the groups of an HDF5 file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

import h5py
import numpy as np

from wprops.hdf5 import child, read_array, read_json, write_array, write_json

Record = TypeVar("Record")


def write_record(group: h5py.Group, record: Any) -> None:
    """Store the arrays of a dataclass one by one, all else as one JSON string."""
    plain = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, np.ndarray):
            write_array(group, field.name, value)
        else:
            plain[field.name] = value
    write_json(group, "plain", plain)


def read_record(group: h5py.Group, kind: type[Record]) -> Record:
    """Read a dataclass that `write_record` wrote; its lists come back as tuples."""
    plain = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in read_json(group, "plain").items()
    }
    arrays = {name: read_array(group, name) for name in group if name != "plain"}
    return kind(**plain, **arrays)


def write_records(folder: h5py.Group, records: Mapping[str, Any]) -> None:
    """Store records by name."""
    # numbered groups: names of derived quantities contain slashes
    write_json(folder, "names", list(records))
    for index, record in enumerate(records.values()):
        write_record(folder.create_group(str(index)), record)


def read_records(folder: h5py.Group, kind: type[Record]) -> dict[str, Record]:
    """Read records of one kind that `write_records` wrote."""
    return {
        key: read_record(child(folder, str(index)), kind)
        for index, key in enumerate(read_json(folder, "names"))
    }
