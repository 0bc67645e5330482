"""The description in an input file of rabbit: a pickle, read without running it.

rabbit pickles a dictionary of names and histogram axes into a group of the file. Only
plain data, arrays and axes of hist are read; whatever else a pickle names is refused.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import h5py
import numpy as np

from wprops.errors import TemplateError

#: HDF5 filter that rabbit compresses the description with; h5py needs a plugin for it.
_BLOSC = 32001
#: Version of the pickle in a group, as rabbit's library checks it.
_VERSION = {"narf_h5py_pickle_protocol_version": 1}
#: What a pickle may hold besides plain Python: all or some names of a module.
_ALLOWED: dict[str, set[str] | None] = {
    "hist.axis": None,
    "boost_histogram._core.axis": None,
    "boost_histogram._core.axis.transform": None,
    "numpy": {"dtype", "ndarray"},
    "builtins": {"set", "frozenset", "bytearray", "complex", "range", "slice"},
    "collections": {"OrderedDict"},
}
#: Functions that numpy pickles arrays with.
_OF_NUMPY = {"_frombuffer", "_reconstruct", "scalar"}
_NUMPY = {
    f"numpy.{core}.{module}"
    for core in ("core", "_core")
    for module in ("numeric", "multiarray")
}


def write_description(file: h5py.File, description: dict[str, Any]) -> None:
    """Store a dictionary where rabbit looks for it."""
    group = file.create_group("meta")
    group.attrs.update(_VERSION)
    group["pickle_data"] = np.frombuffer(pickle.dumps(description, 5), np.uint8)


def read_description(file: h5py.File) -> dict[str, Any]:
    """Read what rabbit or `write_description` stored.

    Raises
    ------
    TemplateError
        If it is compressed and the plugin that decompresses it is not installed.
    pickle.UnpicklingError
        If it holds something that is no data.
    """
    dataset = file["meta"]["pickle_data"]
    filters = dataset.id.get_create_plist()
    if filters.get_nfilters() and not h5py.h5z.filter_avail(_BLOSC):
        try:
            # registers the filter with HDF5
            import hdf5plugin  # noqa: F401
        except ImportError as error:
            msg = (
                f"{file.filename} is compressed with Blosc, which HDF5 reads with a "
                "plugin; install it with pip install 'wprops[interchange]'"
            )
            raise TemplateError(msg) from error
    return _Reader(io.BytesIO(dataset[...].tobytes())).load()


class _Reader(pickle.Unpickler):
    """Loads data, and never calls what a file names beyond that."""

    def find_class(self, module: str, name: str) -> Any:
        # no attribute of a class, and nothing that every module has
        public = name.isidentifier() and not name.startswith("_")
        names = _ALLOWED.get(module, set())
        of_numpy = module in _NUMPY and name in _OF_NUMPY
        if of_numpy or (public and (names is None or name in names)):
            return super().find_class(module, name)
        msg = f"its description holds {module}.{name}, which is no data"
        raise pickle.UnpicklingError(msg)
