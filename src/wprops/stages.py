"""Where the time of a chunk goes: reading, selection, weights, filling.

Code names the stage it is in; while a `measure` is open, the time between two changes
of stage is added to the inner one, so that the stages of a chunk add up to its time.
Without it, naming a stage costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter

#: Time outside of any named stage.
OTHER = "other"


@dataclass(slots=True)
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)
    current: str = OTHER
    since: float = 0.0

    def change(self, stage: str) -> str:
        """Go over to another stage and return the one before."""
        now = perf_counter()
        before = self.current
        self.seconds[before] = self.seconds.get(before, 0.0) + now - self.since
        self.current, self.since = stage, now
        return before


_clock: ContextVar[_Clock | None] = ContextVar("clock", default=None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count the time inside for a stage, and no longer for the one around it.

    Also a decorator of functions, as any context manager of this kind.

    Examples
    --------
    >>> with measure() as seconds:
    ...     with stage("selection"):
    ...         with stage("reading"):
    ...             pass
    >>> sorted(seconds)
    ['other', 'reading', 'selection']
    """
    clock = _clock.get()
    if clock is None:
        yield
        return
    before = clock.change(name)
    try:
        yield
    finally:
        clock.change(before)


@contextmanager
def measure() -> Iterator[dict[str, float]]:
    """Measure the stages of what is done inside.

    Yields
    ------
    dict of str to float
        Wall time per stage [s], complete at the end.
    """
    clock = _Clock(since=perf_counter())
    token = _clock.set(clock)
    try:
        yield clock.seconds
    finally:
        clock.change(OTHER)
        _clock.reset(token)
