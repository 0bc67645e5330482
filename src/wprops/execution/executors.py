"""Where chunks are processed: in this process, on its cores, or on a dask cluster."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Literal

import loky
from coffea.util import coffea_console
from distributed import Client
from loky import process_executor

from wprops.errors import ConfigError
from wprops.execution.cluster import Cluster, open_cluster
from wprops.execution.in_order import InOrderExecutor

ExecutorName = Literal["iterative", "futures", "dask"]
#: Groups of chunks under way per worker: one at work and one that waits.
AHEAD = 2


@contextmanager
def open_executor(
    name: ExecutorName,
    *,
    workers: int,
    address: str | None,
    cluster: Cluster | None,
    progress: bool,
) -> Iterator[InOrderExecutor]:
    """Open an executor; whatever ends the block, its own processes end too.

    Parameters
    ----------
    name : {"iterative", "futures", "dask"}
        Where chunks are processed.
    workers : int
        Processes for ``futures``, and for ``dask`` without one of the following.
    address : str, optional
        Scheduler of a running dask cluster.
    cluster : Cluster, optional
        The dask cluster to start.
    progress : bool
        Whether to show progress bars.

    Raises
    ------
    ConfigError
        If a cluster is given to another executor than dask, or two are given.
    """
    if name != "dask" and not (address is None and cluster is None):
        given = "scheduler" if cluster is None else "cluster"
        msg = f"a {given} was given, but the executor is {name!r}; choose dask"
        raise ConfigError(msg)
    if address is not None and cluster is not None:
        msg = "a scheduler and a cluster were given; choose one of them"
        raise ConfigError(msg)
    with _quiet(not progress), ExitStack() as stack:
        if name == "iterative":
            yield InOrderExecutor(status=progress)
            return
        if name == "futures":
            pool = stack.enter_context(_pool(workers))
            yield InOrderExecutor(
                status=progress, submit=pool.submit, window=lambda: AHEAD * workers
            )
            return
        chosen = cluster or Cluster(kind="local", workers=workers)
        if address is None:
            address = stack.enter_context(open_cluster(chosen))
        client = stack.enter_context(Client(address))
        yield InOrderExecutor(
            status=progress,
            submit=partial(client.submit, pure=False),
            # Jobs come and go; those that were asked for should find work.
            window=lambda: AHEAD * max(chosen.n_workers, len(client.nthreads())),
        )


@contextmanager
def _pool(workers: int) -> Iterator[loky.ProcessPoolExecutor]:
    """Open processes that end at once, with what is left to do, on any error."""
    pool = loky.ProcessPoolExecutor(workers, initializer=_start_worker)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=True, kill_workers=True)
        raise
    pool.shutdown()


def _start_worker() -> None:
    # The keyboard interrupts all processes of a terminal; the first one answers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # loky takes the memory that is kept for the next chunk for a leak, and would start
    # a new process, with all imports and compiled code, after each chunk. It has no
    # option for this.
    process_executor._USE_PSUTIL = False


@contextmanager
def _quiet(quiet: bool) -> Iterator[None]:
    """Silence coffea's bars, which ``status=False`` of its executors leaves on."""
    before = coffea_console.quiet
    coffea_console.quiet = before or quiet
    try:
        yield
    finally:
        coffea_console.quiet = before
