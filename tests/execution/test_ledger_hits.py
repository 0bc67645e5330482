"""Chunks that a ledger has are not computed again."""

import shutil

import pytest

from tests.execution.small import (
    assert_as_fresh,
    assert_same_bits,
    edited,
    entries,
    n_chunks,
    produce,
)
from wprops.catalog import Catalog


@pytest.mark.parametrize(
    "name", ["templates", "gen_moments", "cut_flow", "control", "response"]
)
def test_a_second_run_takes_all_chunks_from_the_ledger(toy, tmp_path, name):
    options = {"chunksize": 300}
    first, new = produce(toy, name, tmp_path, **options)
    again, kept = produce(toy, name, tmp_path, **options)
    assert new == 0
    assert kept == n_chunks(again) == len(entries(tmp_path)) >= 5
    assert_same_bits(dict(again.outputs), dict(first.outputs))
    assert_as_fresh(first, toy, name, **options)


def test_chunks_may_have_other_numbers(small, mine, tmp_path):
    """Files in another order: the same entries, added in another order."""
    produce(small, mine, tmp_path / "ledger")
    turned = edited(
        small, tmp_path, lambda c: [d["files"].reverse() for d in c["datasets"]]
    )
    result, kept = produce(turned, mine, tmp_path / "ledger")
    assert kept == n_chunks(result)
    assert_as_fresh(result, turned, mine)


def test_a_new_dataset_is_the_only_one_processed(small, mine, tmp_path):
    produce(small.only(["W", "data"]), mine, tmp_path)
    result, kept = produce(small, mine, tmp_path)
    assert kept == n_chunks(result, "W", "data")
    assert_as_fresh(result, small, mine)


def test_files_may_move(small, mine, tmp_path):
    first, _ = produce(small, mine, tmp_path / "ledger")
    shutil.copytree(small.base, tmp_path / "elsewhere")
    moved = Catalog.read(tmp_path / "elsewhere" / "catalogue.yaml")
    result, kept = produce(moved, mine, tmp_path / "ledger")
    assert kept == n_chunks(result)
    assert_same_bits(dict(result.outputs), dict(first.outputs))


@pytest.mark.parametrize("name", ["templates", "gen_moments"])
def test_processors_with_samples_process_a_new_dataset_alone(toy, tmp_path, name):
    options = {"chunksize": 10_000}
    produce(toy.only(["Wplus_mu"]), name, tmp_path, **options)
    result, kept = produce(toy, name, tmp_path, **options)
    assert kept == n_chunks(result, "Wplus_mu")


@pytest.mark.parametrize("name", ["templates", "gen_moments"])
def test_files_of_processors_with_samples_may_move(toy, tmp_path, name):
    options = {"chunksize": 10_000}
    produce(toy, name, tmp_path / "ledger", **options)
    shutil.copytree(toy.base, tmp_path / "elsewhere")
    moved = Catalog.read(tmp_path / "elsewhere" / "catalogue.yaml")
    result, kept = produce(moved, name, tmp_path / "ledger", **options)
    assert kept == n_chunks(result)
