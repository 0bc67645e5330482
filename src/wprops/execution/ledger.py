"""Finished chunks on disk, so that a run that was cut off goes on where it stopped.

An entry is what came of one chunk under a key that holds all it depends on: the file
by its UUID, the range of entries, what the catalogue says of the dataset, the
normalisation, the versions of libraries, the code of the package, of the processor and
of the Python files beside it, and the processor's configuration. Whatever changes,
changes the key: nothing old is used by mistake, and what did not change is not computed
again. Entries are written under another name and renamed when complete, so one that
exists is whole; its checksum is looked at all the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import logging
import pickle
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
from coffea.processor import ProcessorABC
from pydantic import BaseModel

import wprops
from wprops.datasets import Dataset
from wprops.errors import ConfigError
from wprops.provenance import digest, file_digest, package_versions

logger = logging.getLogger(__name__)

#: Parts of the package that cannot change what a chunk gives.
_DOWNSTREAM = (
    "backgrounds",
    "commands",
    "fit",
    "interchange",
    "plots",
    "report.py",
    "demo.py",
    "cli.py",
    "store.py",
)
_CHECKSUM = 32  # bytes of the SHA-256 in front of an entry


class Entry(NamedTuple):
    """What is kept of a chunk.

    Attributes
    ----------
    sumw : float or None
        Sum of the generator weights of its events; None where there are none.
    result : Any
        What the processor returned.
    """

    sumw: float | None
    result: Any


class Ledger:
    """A folder of finished chunks, for one processor and its configuration.

    Parameters
    ----------
    processor : ProcessorABC
        What chunks are processed by.
    folder : Path
        Where entries are kept; all workers have to see it.
    datasets : mapping of str to str
        Digest of what the catalogue says of each dataset, apart from its files.

    Raises
    ------
    ConfigError
        If the configuration of the processor has something that no digest can be
        made of.
    """

    def __init__(
        self, processor: ProcessorABC, folder: Path, datasets: Mapping[str, str]
    ) -> None:
        self.folder = folder
        code = [package_digest(), package_versions(), _code(processor)]
        settings = vars(processor).copy()
        # What a processor knows of one sample does not change the others' entries.
        samples = settings.get("samples")
        if isinstance(samples, Mapping) and set(samples) >= set(datasets):
            del settings["samples"]
        else:
            samples = {}
        common = [code, type(processor).__name__, plain(settings)]
        self.datasets = {
            name: digest([common, content, plain(samples.get(name))])
            for name, content in datasets.items()
        }

    def read(self, metadata: Mapping[str, Any]) -> Entry | None:
        """Return the entry of a chunk; None if there is none or it is damaged.

        Raises
        ------
        ConfigError
            If the folder cannot be read.
        """
        return _read(self._path(metadata))

    def write(self, metadata: Mapping[str, Any], entry: Entry) -> None:
        """Keep a chunk; raises ConfigError if the folder cannot be written."""
        _write(self._path(metadata), entry)

    def _path(self, metadata: Mapping[str, Any]) -> Path:
        name = metadata["record"].name
        key = digest(
            [
                self.datasets[name],
                metadata["normalisation"],
                str(metadata["fileuuid"]),
                int(metadata["entrystart"]),
                int(metadata["entrystop"]),
            ]
        )
        return self.folder / name / key


def _read(path: Path) -> Entry | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, error) from error
    payload = memoryview(content)[_CHECKSUM:]
    if hashlib.sha256(payload).digest() != content[:_CHECKSUM]:
        logger.warning("the entry %s is damaged; its chunk is processed again", path)
        return None
    return pickle.loads(payload)


def _write(path: Path, entry: Entry) -> None:
    payload = pickle.dumps(entry, protocol=pickle.HIGHEST_PROTOCOL)
    # One name per attempt: two workers, of two hosts even, may have the same chunk.
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(hashlib.sha256(payload).digest() + payload)
        temporary.replace(path)
    except OSError as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: OSError) -> ConfigError:
    msg = (
        f"the ledger entry {path} cannot be used: {error}; give `--ledger` a folder "
        "with space that all workers see, or `--no-ledger`"
    )
    return ConfigError(msg)


@lru_cache(maxsize=1)
def package_digest() -> str:
    """Digest of the package's code as far as chunks depend on it."""
    root = Path(wprops.__file__).parent
    files = sorted(
        path
        for path in root.rglob("*.py")
        if path.relative_to(root).parts[0] not in _DOWNSTREAM
    )
    return digest([[str(f.relative_to(root)), file_digest(f)] for f in files])


def _code(processor: ProcessorABC) -> list[str]:
    """Digests of the file of a processor and of those beside it."""
    try:
        file = Path(inspect.getfile(type(processor)))
    except (OSError, TypeError) as error:
        msg = (
            f"the code of {type(processor).__name__} cannot be found ({error}); put it "
            "into a file, or run without a ledger"
        )
        raise ConfigError(msg) from error
    return [file_digest(path) for path in sorted(file.parent.glob("*.py"))]


def plain(value: Any) -> Any:
    """Turn configuration into plain data that a digest can be made of.

    Sets are sorted, arrays become the digest of their bytes, records the name of
    their class and their fields, and other objects the digest of their pickle.

    Raises
    ------
    ConfigError
        If there is something in it that cannot be pickled.

    Examples
    --------
    >>> plain({"b": {2, 1}, "a": (1.5, None)})
    {'b': [1, 2], 'a': [1.5, None]}
    """
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)  # JSON has no infinity
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        # Content, where there is any: a correction may change under its name.
        return file_digest(value) if value.is_file() else str(value)
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, np.ndarray):
        hexdigest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return [str(value.dtype), list(value.shape), hexdigest]
    if isinstance(value, Dataset):
        return value.name  # the catalogue has the digest of the rest
    if isinstance(value, BaseModel):
        return [type(value).__name__, plain(dict(value))]
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        content = {field.name: plain(getattr(value, field.name)) for field in fields}
        return [type(value).__name__, content]
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(plain(entry) for entry in value)
    if hasattr(value, "_asdict"):  # a named tuple
        return [type(value).__name__, plain(value._asdict())]
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    try:
        return hashlib.sha256(pickle.dumps(value)).hexdigest()
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        msg = (
            f"no digest can be made of {value!r} in the configuration of a processor "
            f"({error}); use plain data, arrays and records, or run without a ledger"
        )
        raise ConfigError(msg) from error
