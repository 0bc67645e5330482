"""Toys on disk: kept as they come, gone on with after any interruption.

While toys run, every few of them are a file of their own in the folder OUTPUT.parts;
each appears whole or not at all. At the end they are joined in one file. Both have the
same layout, and the key of all that the toys depend on.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wprops import provenance
from wprops.errors import ConfigError
from wprops.fit.toys import Ensemble, Experiment, run_ensemble, worker_threads
from wprops.hdf5 import (
    read_array,
    read_json,
    reading,
    write_array,
    write_json,
    writing,
)

logger = logging.getLogger(__name__)

#: Kind and version of the file.
FORMAT = "wprops toys"
SCHEMA_VERSION = 1
#: Toys that are kept together, and lost together by an interruption.
BATCH = 10
_ARRAYS = ("truth", "values", "errors", "statistic")
_PLAIN = ("names", "groups", "ndf")
Key = dict[str, Any]


def run_toys(
    experiment: Experiment, n: int, output: Path, *, n_workers: int = 1
) -> Ensemble:
    """Fit the toys 0 … n − 1 and keep them in a file.

    Toys that the file, or an interrupted run to it, has already are not fitted again;
    the content does not depend on interruptions or on the number of workers.

    Parameters
    ----------
    experiment : Experiment
        What a toy is.
    n : int
        Number of toys; more may be in the file.
    output : Path
        HDF5 file; unfinished work is in the folder ``OUTPUT.parts`` beside it.
    n_workers : int
        Toys that are fitted at the same time, see `run_ensemble`.

    Returns
    -------
    Ensemble
        All toys of the file.

    Raises
    ------
    ConfigError
        If the file has toys of another model, truth, seed or option.
    TemplateError
        If the file, or a part, is damaged or of another kind.
    """
    key = experiment_key(experiment)
    folder = output.with_name(f"{output.name}.parts")
    parts = _files(output, folder)
    done = {index for path in parts for index in _indices(path, key)}
    missing = [index for index in range(n) if index not in done]
    if done and missing:
        logger.info("%d toys are there; going on with %d", len(done), len(missing))
    batches = [missing[i : i + BATCH] for i in range(0, len(missing), BATCH)]

    def work(batch: Sequence[int]) -> None:
        # a batch begins with a toy that no other file has
        path = folder / f"{batch[0]:07d}.h5"
        _write(path, run_ensemble(experiment, batch), key)

    with worker_threads(n_workers) as pool:
        for number, _ in enumerate(pool.map(work, batches), start=1):
            if number * 10 // len(batches) > (number - 1) * 10 // len(batches):
                logger.info("toys: %d %%", number * 100 // len(batches))
    if missing or folder.exists():
        files = _files(output, folder)
        record = provenance.collect(toys=key)
        _write(output, join([read_toys(path) for path in files]), key, record)
        shutil.rmtree(folder, ignore_errors=True)  # its content is in the file now
    return read_toys(output)


def read_toys(path: Path) -> Ensemble:
    """Read what `run_toys` wrote.

    Raises
    ------
    TemplateError
        If the file is missing, damaged, foreign or of another version.
    """
    with reading(path, FORMAT, SCHEMA_VERSION) as file:
        plain = read_json(file, "plain")
        failures = read_json(file, "failures")
        index = read_array(file, "index").astype(np.int64)
        arrays = {name: read_array(file, name) for name in _ARRAYS}
    return Ensemble(
        names=tuple(plain["names"]),
        groups=tuple(plain["groups"]),
        ndf=plain["ndf"],
        failures={int(index): reason for index, reason in failures.items()},
        index=index,
        **arrays,
    )


def join(ensembles: Sequence[Ensemble]) -> Ensemble:
    """Join toys of one experiment, in the order of their numbers.

    A toy that occurs twice is taken once: it is the same toy.
    """
    index, first = np.unique(
        np.concatenate([e.index for e in ensembles]), return_index=True
    )
    failures = {i: reason for e in ensembles for i, reason in e.failures.items()}
    return Ensemble(
        names=ensembles[0].names,
        groups=ensembles[0].groups,
        truth=ensembles[0].truth,
        index=index,
        values=np.concatenate([e.values for e in ensembles])[first],
        errors=np.concatenate([e.errors for e in ensembles])[first],
        statistic=np.concatenate([e.statistic for e in ensembles])[first],
        ndf=max(e.ndf for e in ensembles),
        failures=dict(sorted(failures.items())),
    )


def experiment_key(experiment: Experiment) -> Key:
    """Return all that toys depend on, as plain data with digests of arrays."""
    thrower = experiment.thrower
    return {
        "model": _digest(experiment.model),
        "derived quantities": _digest(tuple(experiment.derived.items())),
        "truth": _digest(thrower.truth),
        "seed": thrower.seed,
        "noise of the templates": _digest(thrower.relative_variance),
        "Barlow-Beeston": experiment.barlow_beeston,
    }


def _digest(content: Any) -> str:
    """SHA-256 of nested records, tuples, sets, arrays and plain values."""
    state = hashlib.sha256()
    _feed(state, content)
    return state.hexdigest()


def _feed(state: Any, content: Any) -> None:
    state.update(f"{type(content).__name__}:".encode())
    if isinstance(content, np.ndarray):
        state.update(f"{content.dtype.str}{content.shape}".encode())
        state.update(np.ascontiguousarray(content).reshape(-1).view(np.uint8).data)
    elif is_dataclass(content):
        _feed(state, tuple(getattr(content, f.name) for f in fields(content)))
    elif isinstance(content, tuple):
        state.update(f"{len(content)}:".encode())
        for item in content:
            _feed(state, item)
    elif isinstance(content, frozenset):
        _feed(state, tuple(sorted(content)))
    else:
        state.update(f"{content!r};".encode())


def _files(output: Path, folder: Path) -> list[Path]:
    # hidden files there are those whose writing was interrupted
    return [output] * output.exists() + sorted(folder.glob("[0-9]*.h5"))


def _indices(path: Path, key: Key) -> list[int]:
    """Numbers of the toys of a file that has to have the key."""
    with reading(path, FORMAT, SCHEMA_VERSION) as file:
        found = read_json(file, "key")
        failed = read_json(file, "failures")
        index = read_array(file, "index")
    different = [name for name in key if found.get(name) != key[name]]
    if different:
        msg = (
            f"{path} has toys with another {', '.join(different)}; give another "
            "output, or delete the file and its .parts to begin again"
        )
        raise ConfigError(msg)
    return [*index.astype(int).tolist(), *map(int, failed)]


def _write(
    path: Path, ensemble: Ensemble, key: Key, record: Mapping[str, Any] | None = None
) -> None:
    with writing(path, FORMAT, SCHEMA_VERSION) as file:
        write_json(file, "key", key)
        write_array(file, "index", ensemble.index)
        for name in _ARRAYS:
            write_array(file, name, getattr(ensemble, name))
        write_json(file, "plain", {name: getattr(ensemble, name) for name in _PLAIN})
        write_json(file, "failures", {str(i): r for i, r in ensemble.failures.items()})
        if record is not None:
            write_json(file, "provenance", record)
