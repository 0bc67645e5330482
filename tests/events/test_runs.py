"""Sums of generator weights, and what files say about themselves."""

import re

import numpy as np
import pytest
import uproot

from tests.events.nano import toy_catalog, write_nano
from wprops.errors import InputError
from wprops.events.runs import genweight_sums, read_facts

EVENTS = {"genWeight": np.array([2.0, -1.0, 2.0, 2.0], np.float32)}


def write(folder, name, *, runs=None, **branches):
    return str(write_nano(folder / name, branches or EVENTS, runs))


def facts_of_data(path):
    return read_facts(path, None)


def tails(tail, sumw, count):
    """The columns of a Runs tree in either spelling."""
    return {
        "run": np.arange(1, len(sumw) + 1, dtype=np.uint32),
        f"genEventSumw{tail}": np.array(sumw, float),
        f"genEventCount{tail}": np.array(count, np.int64),
    }


@pytest.mark.parametrize("tail", ["", "_"])
def test_all_rows_of_all_files_are_summed_with_their_sign(tmp_path, tail):
    paths = [
        write(tmp_path, "a.root", runs=tails(tail, [10.0, -4.5], [12, 6])),
        write(tmp_path, "b.root", runs=tails(tail, [100.25], [120])),
    ]
    sums = genweight_sums(paths)
    assert sums.sumw == 105.75
    assert sums.n_events == 138


def test_files_of_both_spellings_make_one_sample(tmp_path):
    paths = [
        write(tmp_path, f"{number}.root", runs=tails(tail, [3.0], [5]))
        for number, tail in enumerate(("", "_"))
    ]
    assert genweight_sums(paths).sumw == 6.0


def test_runs_count_the_events_that_a_skim_lost(tmp_path):
    path = write(tmp_path, "skim.root", runs=tails("", [1000.0], [1000]))
    assert genweight_sums([path]).n_events == 1000
    assert genweight_sums([path], source="events").n_events == 4


def test_events_are_summed_with_their_sign(tmp_path):
    path = write(tmp_path, "events.root")
    sums = genweight_sums([path, path], source="events")
    assert (sums.sumw, sums.n_events) == (10.0, 8)


def test_many_single_precision_weights_lose_no_digits(tmp_path):
    # A running sum in single precision stops growing at 2^24 / 0.1.
    weights = np.full(300_000, 0.1, np.float32)
    path = write(tmp_path, "many.root", genWeight=weights)
    expected = 300_000 * float(np.float32(0.1))
    # Rounding of a pairwise sum in double precision.
    assert genweight_sums([path], source="events").sumw == pytest.approx(
        expected, rel=1e-13
    )


@pytest.mark.parametrize("nano", ["v6", "v15"])
def test_both_sources_agree_on_a_toy_with_negative_weights(tmp_path, nano):
    catalog = toy_catalog(
        tmp_path,
        events=900,
        seed=8,
        nano=nano,
        samples=["Wplus_mu"],
        events_per_file=300,
        negative_fraction=0.3,
    )
    files = catalog.dataset("Wplus_mu").files
    assert len(files) == 2
    weights = np.concatenate(
        [uproot.open(file)["Events/genWeight"].array(library="np") for file in files]
    )
    positive, negative = (weights > 0).sum(), (weights < 0).sum()
    for source in ("runs", "events"):
        sums = genweight_sums(files, source=source)
        assert sums.sumw == positive - negative
        assert sums.n_events == positive + negative


def test_a_missing_file_is_named(tmp_path):
    path = str(tmp_path / "nowhere.root")
    for function in (facts_of_data, lambda name: genweight_sums([name])):
        with pytest.raises(
            InputError, match=rf"^{re.escape(path)} cannot be read as a ROOT file"
        ):
            function(path)


def corrupt(folder, kind):
    """Files that are no ROOT files, or were."""
    path = folder / f"{kind}.root"
    if kind == "random bytes":
        path.write_bytes(np.random.default_rng(1).bytes(4000))
    elif kind == "empty":
        path.touch()
    else:
        write(folder, path.name, runs=tails("", [1.0], [1]))
        whole = path.read_bytes()
        path.write_bytes(
            whole[: 30 if kind == "cut in the header" else len(whole) // 2]
        )
    return str(path)


@pytest.mark.parametrize("kind", ["random bytes", "empty", "cut in the header"])
def test_what_is_no_root_file_is_named_with_a_remedy(tmp_path, kind):
    path = corrupt(tmp_path, kind)
    for function in (facts_of_data, lambda name: genweight_sums([name])):
        with pytest.raises(
            InputError,
            match=rf"(?s)^{re.escape(path)} cannot be read .*Copy it again, or",
        ):
            function(path)


def test_a_file_of_which_half_was_copied_is_named(tmp_path):
    # Its header and list of trees are whole.
    path = corrupt(tmp_path, "cut in half")
    with pytest.raises(InputError, match=r"cut in half\.root"):
        genweight_sums([path])


def test_a_file_without_events_lists_what_it_has(tmp_path):
    path = tmp_path / "histograms.root"
    with uproot.recreate(path) as file:
        file.mktree("Runs", {"run": np.array([1], np.uint32)})
        file["cutflow"] = np.histogram([1.0])
    with pytest.raises(
        InputError, match=r"no Events tree, so it is not NanoAOD; it has Runs, cutflow"
    ):
        facts_of_data(str(path))
    with uproot.recreate(path):
        pass
    with pytest.raises(InputError, match="it has nothing"):
        facts_of_data(str(path))


def test_a_file_with_events_is_accepted(tmp_path):
    facts_of_data(write(tmp_path, "good.root"))


def test_without_a_runs_tree_the_message_names_an_option_that_works(tmp_path):
    path = write(tmp_path, "bare.root")
    with pytest.raises(
        InputError, match=r"bare\.root has no Runs tree.*`sum_of_weights: events`"
    ):
        genweight_sums([path])
    assert genweight_sums([path], source="events").sumw == 5.0


def test_a_runs_tree_without_sums_is_told_from_none(tmp_path):
    # As data have it.
    path = write(tmp_path, "data.root", runs={"run": np.array([1], np.uint32)})
    with pytest.raises(
        InputError, match=r"has a Runs tree with run, expected genEventSumw there"
    ):
        genweight_sums([path])


def test_events_without_generator_weight_are_named(tmp_path):
    path = write(tmp_path, "data.root", MET_pt=np.array([1.0, 2.0]))
    with pytest.raises(InputError, match=r"data\.root.*genWeight"):
        genweight_sums([path], source="events")


@pytest.mark.parametrize("total", [0.0, -3.0, np.nan])
def test_a_total_that_cannot_normalise_is_refused(tmp_path, total):
    paths = [
        write(tmp_path, "a.root", runs=tails("", [5.0], [5])),
        write(tmp_path, "b.root", runs=tails("", [total - 5.0], [9])),
    ]
    with pytest.raises(
        InputError,
        match=rf"a\.root, .*b\.root sum to {total}; a positive number is needed",
    ):
        genweight_sums(paths)


def test_paths_may_come_one_by_one(tmp_path):
    paths = [write(tmp_path, "a.root", runs=tails("", [0.0], [5]))]
    with pytest.raises(InputError, match=r"weights of .*a\.root sum to 0"):
        genweight_sums(iter(paths))
