"""Where files are cut, and what happens to freed memory."""

import sys

import numpy as np
import pytest
from loky import process_executor

from wprops.events.runs import FileFacts
from wprops.execution.in_order import group_chunks
from wprops.execution.inputs import chunk_edges
from wprops.execution.memory import keep_freed_memory


def facts(entries, clusters=()):
    return FileFacts(
        path="a.root",
        uuid=b"",
        entries=entries,
        size=1,
        generated=None,
        sections=None,
        branches=frozenset(),
        clusters=tuple(clusters),
    )


def test_chunks_begin_where_baskets_do():
    clusters = [0, 125_000, 250_000, 375_000, 430_000]
    assert chunk_edges(facts(430_000, clusters), 250_000) == [0, 250_000, 430_000]
    assert chunk_edges(facts(430_000, clusters), 125_000) == [
        *(0, 125_000, 250_000, 430_000)
    ]


def test_baskets_larger_than_chunks_are_cut():
    assert chunk_edges(facts(1_000_000, [0, 1_000_000]), 250_000) == [
        *(0, 250_000, 500_000, 750_000, 1_000_000)
    ]


@pytest.mark.parametrize("entries", [0, 1, 999, 1000, 1001, 123_457])
@pytest.mark.parametrize("chunksize", [300, 1000, 10**6])
def test_chunks_cover_a_file_once(entries, chunksize):
    rng = np.random.default_rng(entries)
    clusters = np.unique(np.r_[0, rng.integers(0, entries + 1, 20), entries])
    edges = chunk_edges(facts(entries, clusters), chunksize)
    assert (edges[0], edges[-1]) == (0, entries)
    assert (np.diff(edges) > 0).all() or edges == [0, 0]
    assert max(np.diff(edges)) <= 2 * chunksize + 1


def test_groups_keep_the_order_of_chunks():
    for n in (1, 5, 63, 64, 1000):
        groups = group_chunks(range(n))
        assert [item for group in groups for item in group] == list(range(n))
        assert max(map(len, groups)) <= 8


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")
def test_freed_memory_is_kept():
    assert keep_freed_memory()


def test_loky_still_has_the_switch_that_workers_turn_off():
    assert hasattr(process_executor, "_USE_PSUTIL")
