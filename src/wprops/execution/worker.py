"""What happens to a chunk on a worker: the ledger, the processor, and its book.

A failure that one file is to blame for travels as data, so that all others are finished
first. Anything else stops the run at once.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
from coffea.processor import ProcessorABC
from coffea.processor.executor import WorkItem

from wprops.errors import ConfigError, InputError, WpropsError
from wprops.events.runs import sum_weights
from wprops.events.schema import has_branch
from wprops.execution.ledger import Entry, Ledger
from wprops.stages import measure, stage

#: Modules whose frames are in the traceback of whatever goes wrong in reading events.
_READING = ("uproot.", "coffea.nanoevents.mapping")
#: How coffea begins if it does not come to process a chunk.
_NOT_OPENED = ("Failed to open file", "Failed creating nanoevents")


class Chunk(NamedTuple):
    """What was processed of one chunk.

    Attributes
    ----------
    dataset : str
        Name of the dataset.
    number : int
        Number of the chunk in it.
    events : int
        Number of events.
    sumw : float or None
        Sum of generator weights; None where there are none.
    """

    dataset: str
    number: int
    events: int
    sumw: float | None


class Failure(NamedTuple):
    """A file that is no good, and why."""

    dataset: str
    path: str
    error: WpropsError


class ProcessorError(WpropsError):
    """A processor raised something that is no error of its input."""


class Worker(ProcessorABC):
    """Processes a chunk or takes it from the ledger, and keeps the book.

    Parameters
    ----------
    processor : ProcessorABC
        Returns ``{dataset: result}``.
    ledger : Ledger, optional
        Where finished chunks are kept.
    """

    def __init__(self, processor: ProcessorABC, ledger: Ledger | None) -> None:
        self.processor = processor
        self.ledger = ledger

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Return the result of a chunk with what is noted of it.

        Raises
        ------
        ConfigError, ProcessorError
            If it does not depend on the file: the run stops at once.
        """
        metadata = events.metadata
        name, path = metadata["record"].name, metadata["filename"]
        try:
            with measure() as seconds, stage("ledger"):
                entry = None if self.ledger is None else self.ledger.read(metadata)
                hits = int(entry is not None)
                if entry is None:
                    with stage("other"):
                        entry = Entry(_sum_genweight(events), self._result(events))
                    if self.ledger is not None:
                        self.ledger.write(metadata, entry)
        except (ConfigError, ProcessorError):
            raise
        except WpropsError as error:
            return _notes(failures=[Failure(name, path, _named(error, path))])
        except Exception as error:
            failure = Failure(name, path, self._explain(error, metadata))
            return _notes(failures=[failure])
        chunk = Chunk(name, metadata["chunk"], len(events), entry.sumw)
        return _notes(
            results={name: entry.result}, book=[chunk], hits=hits, seconds=seconds
        )

    def postprocess(self, accumulator: Any) -> Any:
        """Leave the sums as they are."""
        return accumulator

    def _result(self, events: ak.Array) -> Any:
        name = events.metadata["record"].name
        found = self.processor.process(events)
        if not isinstance(found, Mapping) or set(found) != {name}:
            keys = list(found) if isinstance(found, Mapping) else type(found).__name__
            msg = (
                f"{type(self.processor).__name__} returned {keys} for a chunk of "
                f"dataset {name!r}; let `process` return "
                "{events.metadata['dataset']: result}"
            )
            raise ConfigError(msg)
        return found[name]

    def _explain(self, error: Exception, metadata: Mapping[str, Any]) -> InputError:
        """Blame the file for what was raised in reading it; else the processor."""
        cause = _raised_in_reading(error)
        path = metadata["filename"]
        where = f"{path}, entries {metadata['entrystart']} to {metadata['entrystop']}"
        if cause is not None and not isinstance(cause, MemoryError):
            msg = (
                f"{where}: cannot be read: {_first_line(cause)}. Copy the file again, "
                "or take it out of the catalogue"
            )
            return InputError(msg)
        lines = "".join(traceback.format_exception(error))
        msg = (
            f"{lines}\nprocessor {type(self.processor).__name__} failed on {where}, of "
            f"dataset {metadata['record'].name!r}: {_first_line(error)}"
        )
        raise ProcessorError(msg) from error


def process_chunk(function: Callable[[WorkItem], Any], item: WorkItem) -> Any:
    """Process one chunk by coffea's function, without the wrapping of its errors.

    coffea raises an exception of its own from that of a processor, and the cause is
    lost on the way from another process.

    Raises
    ------
    WpropsError
        If it stops the run, see `Worker`.
    """
    try:
        return function(item)
    except Exception as error:
        cause = error.__cause__
        if not isinstance(cause, WpropsError):
            if cause is None or not str(error).startswith(_NOT_OPENED):
                raise
            msg = (
                f"{item.filename} cannot be read any more: {_first_line(cause)}. Copy "
                "the file again, or take it out of the catalogue"
            )
            failure = Failure(item.dataset, item.filename, InputError(msg))
            return {"out": _notes(failures=[failure])}
    # A new one: that of the worker and coffea's refer to each other, and such a ring
    # cannot be pickled.
    raise type(cause)(*cause.args)


def _notes(
    *,
    results: dict[str, Any] | None = None,
    book: Sequence[Chunk] = (),
    failures: Sequence[Failure] = (),
    hits: int = 0,
    seconds: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Return what is noted of a chunk; lists, as coffea adds to them at no cost."""
    return {
        "results": results or {},
        "book": list(book),
        "failures": list(failures),
        "hits": hits,
        "seconds": seconds or {},
    }


def _sum_genweight(events: ak.Array) -> float | None:
    """Sum generator weights, of simulation that has them."""
    if events.metadata["record"].kind == "data" or not has_branch(events, "genWeight"):
        return None
    return sum_weights(events.metadata["filename"], ak.to_numpy(events.genWeight))


def _named(error: WpropsError, path: str) -> WpropsError:
    """Add the name of the file where an error does not have it."""
    if Path(path).name in str(error):
        return error
    return type(error)(f"{path}: {error}")


def _raised_in_reading(error: BaseException) -> BaseException | None:
    """Return the innermost cause of an error that was raised in reading a file."""
    found = None
    for cause in _causes(error):
        modules = (
            frame.f_globals.get("__name__", "")
            for frame, _ in traceback.walk_tb(cause.__traceback__)
        )
        if any(module.startswith(_READING) for module in modules):
            found = cause
    return found


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    # awkward turns what is raised behind a field into an AttributeError.
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
