"""An executor that adds results in the order of the chunks, whoever computed them.

Floating-point addition is not associative: an executor that merges results as they
finish gives other last digits in every run. Here groups of neighbouring chunks are
summed where they were processed, and the groups are added in their order: the same
additions, and so the same bits, on one core or on a cluster. Groups depend on the
number of chunks alone. Sums are made in place, so that one total is in memory beside
the few results that wait for their turn; no more are asked for than that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

from coffea.processor.accumulator import iadd
from coffea.processor.executor import ExecutorBase, WorkItem, rich_bar

from wprops.execution.memory import keep_freed_memory
from wprops.execution.worker import process_chunk

#: Chunks summed before they travel, at most: a group of template blocks is hardly
#: larger than one of them, since more and more cells are shared.
LARGEST_GROUP = 8
#: Groups in a run from which on they are made larger.
_MANY_GROUPS = 128

Group = Sequence[WorkItem]
Submit = Callable[[Callable[[Group], Any], Group], "Future[Any]"]


@dataclass
class InOrderExecutor(ExecutorBase):
    """Process chunks here or elsewhere, and add the results in order.

    Attributes
    ----------
    submit : callable, optional
        Sends a function and a group of chunks to a worker and returns a future;
        without one the work is done here.
    window : callable
        Number of groups that may be under way.
    """

    submit: Submit | None = None
    window: Callable[[], int] = lambda: 1

    def __call__(
        self, items: Sequence[WorkItem], function: Callable[[WorkItem], Any], start: Any
    ) -> tuple[Any, int]:
        """Sum the results of all chunks, as coffea's Runner expects it."""
        keep_freed_memory()
        groups = group_chunks(items)
        total = start
        with rich_bar() as bar:
            task = bar.add_task(
                self.desc,
                total=sum(len(item) for item in items),
                unit="events",
                disable=not self.status,
            )
            results = self._results(partial(_sum_group, function), groups)
            for group, result in zip(groups, results, strict=True):
                total = _added(total, result)
                bar.update(task, advance=sum(len(item) for item in group), refresh=True)
        return total, 0

    def _results(
        self, function: Callable[[Group], Any], groups: Sequence[Group]
    ) -> Iterator[Any]:
        if self.submit is None:
            yield from map(function, groups)
            return
        waiting: deque[Future[Any]] = deque()
        try:
            for group in groups:
                while len(waiting) >= self.window():
                    yield waiting.popleft().result()
                waiting.append(self.submit(function, group))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def group_chunks(items: Sequence[WorkItem]) -> list[Group]:
    """Cut the chunks of a run into groups of neighbours.

    Examples
    --------
    >>> [len(group_chunks(range(n))) for n in (1, 30, 64, 400)]
    [1, 30, 64, 134]
    """
    size = min(max(len(items) // _MANY_GROUPS, 1), LARGEST_GROUP)
    return [items[i : i + size] for i in range(0, len(items), size)]


def _sum_group(function: Callable[[WorkItem], Any], group: Group) -> Any:
    keep_freed_memory()
    total = None
    for item in group:
        total = _added(total, process_chunk(function, item))
    return total


def _added(total: Any, result: Any) -> Any:
    """Add a result in place, and the time of it to the times of the stages."""
    if total is None:
        return result
    start = perf_counter()
    total = iadd(total, result)
    seconds = total["out"]["seconds"]
    seconds["merging"] = seconds.get("merging", 0.0) + perf_counter() - start
    return total
