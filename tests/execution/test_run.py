"""Runs: the same bits everywhere, every chunk once, and what is noted of samples."""

import dataclasses
import re

import numpy as np
import pytest
import uproot
from numpy.testing import assert_array_equal

from tests.events.nano import write_nano
from tests.execution.small import (
    CHUNKSIZE,
    FILES,
    assert_same_bits,
    edited,
    entry_of,
    n_chunks,
    produce,
)
from wprops.errors import ConfigError, InputError
from wprops.execution.account import check_book
from wprops.execution.inputs import plan, read_files
from wprops.execution.processors import load_processor
from wprops.execution.run import run
from wprops.execution.worker import Chunk, ProcessorError

ELSEWHERE = ["futures", pytest.param("dask", marks=pytest.mark.dask)]


@pytest.mark.parametrize("executor", ELSEWHERE)
def test_all_executors_give_the_same_bits(small, mine, executor):
    here, _ = produce(small, mine)
    there, _ = produce(small, mine, executor=executor, workers=2)
    assert_same_bits(dict(here.outputs), dict(there.outputs))
    assert here.provenance["inputs"] == there.provenance["inputs"]
    assert here.performance["samples"] == there.performance["samples"]


@pytest.mark.parametrize("name", ["gen_moments", "cut_flow", "control"])
def test_the_processors_of_the_project_give_the_same_bits(toy, name):
    here, _ = produce(toy, name, chunksize=100)
    there, _ = produce(toy, name, chunksize=100, executor="futures", workers=2)
    assert n_chunks(here) > 10
    assert_same_bits(dict(here.outputs), dict(there.outputs))


def test_sums_are_those_of_the_files(small, mine):
    outputs = produce(small, mine)[0].outputs
    assert list(outputs) == list(FILES)
    for name, sizes in FILES.items():
        assert outputs[name]["n"] == sum(sizes)
    top = small.dataset("top")
    with uproot.open(top.files[0]) as file:
        columns = file["Events"].arrays(["event", "genWeight"], library="np")
    weight = columns["genWeight"].astype(float)
    expected = np.bincount(columns["event"].astype(int) % 7, weight, minlength=7)
    expected *= 2.5 * 1000 * small.luminosity / weight.sum()
    np.testing.assert_allclose(outputs["top"]["rows"], expected, rtol=1e-12)


# The book


@pytest.fixture(scope="module")
def planned(small):
    return plan(small, read_files(small).facts, CHUNKSIZE)


def whole_book(planned):
    return [
        Chunk(item.dataset, item.usermeta["chunk"], len(item), None)
        for item in planned.chunks
    ]


def test_chunks_are_numbered_in_the_order_of_files(small, planned):
    for dataset in small.datasets:
        items = [item for item in planned.chunks if item.dataset == dataset.name]
        assert [item.usermeta["chunk"] for item in items] == list(range(len(items)))
        places = [(dataset.files.index(i.filename), i.entrystart) for i in items]
        assert places == sorted(places)
        assert sum(len(item) for item in items) == sum(FILES[dataset.name])


def test_a_book_with_all_chunks_in_any_order_is_right(planned):
    assert check_book(planned, whole_book(planned)[::-1]) == []


def test_a_chunk_that_is_missing_is_named(planned):
    book = whole_book(planned)
    lost = planned.chunks[3]
    with pytest.raises(
        InputError,
        match=rf"1 of {len(book)} chunks did not come exactly once:\n"
        rf"{lost.filename}, entries {lost.entrystart} to {lost.entrystop} of dataset "
        r"'W': came 0 times, 0 events",
    ):
        check_book(planned, book[:3] + book[4:])


def test_a_chunk_that_came_twice_is_named(planned):
    book = whole_book(planned)
    twice = 2 * book[0].events
    with pytest.raises(
        InputError, match=f"of dataset 'W': came 2 times, {twice} events"
    ):
        check_book(planned, [*book, book[0]])


def test_a_chunk_with_fewer_events_is_named(planned):
    book = whole_book(planned)
    book[0] = book[0]._replace(events=2)
    with pytest.raises(InputError, match="came 1 times, 2 events"):
        check_book(planned, book)


# What is noted of samples


def test_the_table_of_samples_states_both_numbers(toy):
    result, _ = produce(toy, "cut_flow", chunksize=300)
    rows = {row["dataset"]: row for row in result.performance["samples"]}
    for dataset in toy.datasets:
        row = rows[dataset.name]
        assert row["files"] == len(dataset.files)
        assert row["events"] == row["processed"]
        assert row["lost"] == 0.0
        if dataset.kind == "data":
            assert row["generated"] is row["sumw"] is row["sumw_processed"] is None
            continue
        with uproot.open(dataset.files[0]) as file:
            assert row["generated"] == file["Runs/genEventCount"].array()[0]
            assert row["sumw"] == file["Runs/genEventSumw"].array()[0]
        assert row["sumw_processed"] == row["sumw"]


def test_a_skim_has_fewer_events_than_were_generated(small, mine, tmp_path):
    n = 35
    path = write_nano(
        tmp_path / "skim.root",
        {"genWeight": np.full(n, 2.0, np.float32)},
        {"run": [1], "genEventSumw": [500.0], "genEventCount": [250]},
    )
    skim = edited(small, tmp_path, with_file("top", path, sum_of_weights="runs"))
    result, _ = produce(skim.only(["top"]), mine)
    (row,) = result.performance["samples"]
    assert (row["events"], row["generated"]) == (35, 250)
    assert (row["sumw_processed"], row["sumw"]) == (70.0, 500.0)


def with_file(name, path, **changes):
    """A change of a catalogue: a dataset with one other file."""
    return lambda content: entry_of(content, name).update(files=[str(path)], **changes)


def test_a_run_takes_its_sums_of_weights_from_the_ledger_too(toy, tmp_path):
    first, _ = produce(toy, "cut_flow", tmp_path, chunksize=300)
    again, kept = produce(toy, "cut_flow", tmp_path, chunksize=300)
    assert kept == n_chunks(first)
    assert again.performance["samples"] == first.performance["samples"]


# Processors with bugs

BUGGY = """
from coffea.processor import ProcessorABC


class Buggy(ProcessorABC):
    def process(self, events):
        name = events.metadata["dataset"]
        if name == "top" and events.metadata["entrystart"] > 0:
            BUG
        return {name: len(events)}

    def postprocess(self, accumulator):
        return accumulator
"""


def buggy(folder, bug):
    path = folder / "buggy.py"
    path.write_text(BUGGY.replace("BUG", bug))
    return load_processor(str(path))()


@pytest.mark.parametrize("executor", ["iterative", *ELSEWHERE])
def test_a_bug_of_a_processor_is_told_with_its_place(small, tmp_path, executor):
    processor = buggy(tmp_path, "{}['nothing']")
    with pytest.raises(ProcessorError) as caught:
        run(
            small,
            processor,
            progress=False,
            chunksize=CHUNKSIZE,
            executor=executor,
            ledger=tmp_path / "kept",
        )
    text = str(caught.value)
    (path,) = small.dataset("top").files
    assert text.splitlines()[-1] == (
        f"processor Buggy failed on {path}, entries 9 to 18, of dataset 'top': "
        "KeyError: 'nothing'"
    )
    assert "line 9, in process" in text
    # What was finished before is kept.
    processor = buggy(tmp_path, "{}['nothing']")
    with pytest.raises(ProcessorError):
        run(small, processor, progress=False, chunksize=CHUNKSIZE)
    assert (tmp_path / "kept" / "W").is_dir()


def test_an_error_of_the_configuration_stops_a_run_at_once(small, tmp_path):
    bug = "from wprops.errors import ConfigError; raise ConfigError('mend it')"
    with pytest.raises(ConfigError, match=r"^mend it$"):
        run(
            small,
            buggy(tmp_path, bug),
            progress=False,
            chunksize=CHUNKSIZE,
            ledger=tmp_path / "kept",
        )
    # In order: W, top, data.
    assert not (tmp_path / "kept" / "data").exists()


@pytest.mark.parametrize(
    ("bug", "found"), [("return {'other': 1}", r"\['other'\]"), ("return 3", "int")]
)
def test_a_result_of_another_form_is_refused(small, tmp_path, bug, found):
    with pytest.raises(
        ConfigError, match=rf"Buggy returned {found} for a chunk of dataset 'top'; let"
    ):
        run(small, buggy(tmp_path, bug), progress=False, chunksize=CHUNKSIZE)


# Options


@pytest.mark.parametrize("executor", ["iterative", *ELSEWHERE])
def test_bars_show_rate_and_remaining_time(small, mine, capsys, executor):
    processor = load_processor(str(mine)).from_catalog(small, None)
    run(small, processor, executor=executor, workers=1, chunksize=CHUNKSIZE)
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert "100%" in line
    assert "events/s" in line
    assert re.search(r"\d:\d\d:\d\d < \d:\d\d:\d\d", line)  # elapsed, remaining


def test_a_scheduler_without_dask_is_refused(small, mine):
    with pytest.raises(ConfigError, match="executor is 'futures'; choose dask"):
        produce(small, mine, executor="futures", address="tcp://127.0.0.1:1")


def test_a_result_has_the_catalogue_it_was_made_of(small, mine):
    result, _ = produce(small, mine)
    assert result.catalog == small
    assert result.provenance["catalog_digest"] == small.digest
    assert dataclasses.asdict(result)["performance"]["left_out"] == []


def test_two_runs_may_share_a_processor(small, mine):
    processor = load_processor(str(mine)).from_catalog(small, None)
    results = [run(small, processor, progress=False) for _ in range(2)]
    assert_array_equal(*(r.outputs["W"]["rows"] for r in results))
