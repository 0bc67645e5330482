"""What is wrong with files: each case has its message, and the guide has them all."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import uproot
from click.testing import CliRunner

from tests.events.nano import toy_catalog, write_nano
from tests.execution.small import (
    CODE,
    assert_same_bits,
    edited,
    entry_of,
    n_chunks,
    produce,
    write_code,
    write_files,
)
from wprops.cli import main
from wprops.errors import ConfigError, InputError, TemplateError, WpropsError

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "running.md"


@pytest.fixture
def files(tmp_path):
    return write_files(tmp_path / "files")


def replace(path, **branches):
    """Write a file again, with other branches."""
    n = len(next(iter(branches.values())))
    genweight = {} if "data" in path.name else {"genWeight": np.ones(n, np.float32)}
    write_nano(path, genweight | branches)


def truncated(folder):
    path = folder / "W_1.root"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def of_no_length(folder):
    (folder / "W_1.root").write_bytes(b"")


def random_bytes(folder):
    (folder / "W_1.root").write_bytes(np.random.default_rng(1).bytes(5000))


def zeroed_bytes(folder):
    """Zeros inside of a basket that is read in a chunk."""
    path = folder / "W_1.root"
    with uproot.open(path) as file:
        branch = file["Events"]["event"]
        start = branch.member("fBasketSeek")[0]
        size = branch.member("fBasketBytes")[0]
    content = bytearray(path.read_bytes())
    content[start + 70 : start + size] = bytes(int(size) - 70)
    path.write_bytes(content)


def missing(folder):
    (folder / "W_1.root").unlink()


def no_events_tree(folder):
    with uproot.recreate(folder / "W_1.root") as file:
        file.mktree("Runs", {"run": np.array([1], np.uint32)})


def missing_branch(folder):
    return of_toy(folder, "v9", {"triggers": ["HLT_Mu50"]})


def other_version(folder):
    return of_toy(folder, "v15", {"met": "MET"})


def of_toy(folder, nano, changes):
    """A catalogue that asks for what the files of a toy lack."""
    toy = toy_catalog(folder, events=300, seed=1, nano=nano, samples=["top"])
    return edited(toy, folder, lambda content: content["datasets"][0].update(changes))


def mixed_conventions(folder):
    ones = {name: np.ones(25, np.float32) for name in ("PFMET_pt", "PFMET_phi")}
    replace(folder / "W_0.root", **ones)
    replace(folder / "W_1.root", MET_pt=np.ones(30), MET_phi=np.ones(30))


def nan_weights(folder):
    weights = np.ones(30, np.float32)
    weights[3:5] = np.nan
    replace(folder / "W_1.root", genWeight=weights)


def nan_variations(folder):
    """A processor finds them, and does not know the file."""
    found = """
        if "W_1" in events.metadata["filename"]:
            ratios = np.array([[1.0, np.nan], [1.0, np.nan]])
            _require_finite("variation", ("nominal", "pdf_01_up"), ratios)
        rows ="""
    code = CODE.replace("FACTOR", "1").replace("\n        rows =", found)
    code = f"from wprops.templates.filling import _require_finite\n{code}"
    (folder / "mine.py").write_text(code)


def copied(folder):
    shutil.copy(folder / "W_0.root", folder / "W_1.root")


def linked(folder):
    (folder / "data_1.root").unlink()
    os.link(folder / "data_0.root", folder / "data_1.root")


def repeated_sections(folder):
    sections = {"luminosityBlock": np.repeat([4, 5], 10).astype(np.uint32)}
    replace(folder / "data_0.root", event=np.arange(20).astype(np.uint64), **sections)
    sections = {"luminosityBlock": np.repeat([5, 6], 10).astype(np.uint32)}
    numbers = np.arange(15, 35).astype(np.uint64)
    replace(folder / "data_1.root", event=numbers, **sections)


def runs(sumw, count):
    return {"run": [1], "genEventSumw": [sumw], "genEventCount": [count]}


def too_many_events(folder):
    weights = {"genWeight": np.ones(35, np.float32)}
    write_nano(folder / "top_0.root", weights, runs(34.0, 34))


def other_weights(folder):
    weights = {"genWeight": np.ones(35, np.float32)}
    write_nano(folder / "top_0.root", weights, runs(34.0, 35))


def no_positive_sum(folder):
    replace(folder / "top_0.root", genWeight=np.full(35, -1.0, np.float32))


#: By the words of the guide: damage, error, and processor of the project that finds it.
CASES = {
    "file cut off": (truncated, InputError, None),
    "file of no length": (of_no_length, InputError, None),
    "random bytes": (random_bytes, InputError, None),
    "zeroed bytes in a basket": (zeroed_bytes, InputError, None),
    "no file": (missing, ConfigError, None),
    "no tree `Events`": (no_events_tree, InputError, None),
    "a branch is missing": (missing_branch, InputError, "cut_flow"),
    "version without the missing momentum": (other_version, InputError, "cut_flow"),
    "two kinds of missing momentum": (mixed_conventions, InputError, None),
    "NaN generator weights": (nan_weights, InputError, None),
    "NaN in another weight": (nan_variations, TemplateError, None),
    "copy of a file": (copied, ConfigError, None),
    "one file under two names": (linked, ConfigError, None),
    "luminosity sections twice": (repeated_sections, ConfigError, None),
    "more events than generated": (too_many_events, InputError, None),
    "weights unlike those of `Runs`": (other_weights, InputError, None),
    "weights that sum to nothing": (no_positive_sum, InputError, None),
}
FROM_RUNS = {"too_many_events", "other_weights"}


def from_runs(content):
    entry_of(content, "top").update(sum_of_weights="runs")


def guide_table():
    """The rows of the guide: what is wrong, and the message."""
    rows = re.findall(r"^\| ([^|]+) \| `` (.+) `` \|$", GUIDE.read_text(), re.MULTILINE)
    return {what.strip(): message for what, message in rows}


def message_of(case, files, mine, tmp_path):
    damage, kind, project = CASES[case]
    catalog = damage(files.base) or edited(
        files, tmp_path, from_runs if damage.__name__ in FROM_RUNS else list
    )
    own = files.base / "mine.py"
    processor = project or (own if own.exists() else mine)
    with pytest.raises(kind) as caught:
        produce(catalog, processor, chunksize=1000)
    assert type(caught.value) is kind
    return str(caught.value).replace(f"{files.base}/", "").replace(str(files.base), "F")


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gives_the_message_of_the_guide(case, files, mine, tmp_path):
    message = message_of(case, files, mine, tmp_path).replace("\n", " ")
    # Dots stand for what uproot says, which is its own, and for identifiers.
    expected = guide_table()[case]
    pattern = ".*".join(re.escape(part) for part in expected.split("…"))
    assert re.fullmatch(pattern, message), message


def test_the_guide_has_no_other_messages():
    assert list(guide_table()) == list(CASES)


def test_a_copy_in_another_dataset_is_found_too(files, mine, tmp_path):
    shutil.copy(files.base / "W_0.root", files.base / "top_0.root")
    with pytest.raises(
        ConfigError,
        match=r"top_0\.root \(dataset 'top'\) is a copy of .*W_0\.root \(dataset 'W'\)",
    ):
        produce(files, mine)


def test_a_section_may_be_spread_over_files(files, mine):
    """All small files of data share sections, and have events of their own."""
    with uproot.open(files.base / "data_0.root") as file:
        first = set(file["Events/luminosityBlock"].array().tolist())
    with uproot.open(files.base / "data_1.root") as file:
        assert first & set(file["Events/luminosityBlock"].array().tolist())
    produce(files.only(["data"]), mine)


def test_all_bad_files_are_named_before_anything_is_processed(files, mine, tmp_path):
    for name in ("W_0", "W_2", "data_0"):
        (files.base / f"{name}.root").write_bytes(b"nothing")
    with pytest.raises(InputError) as caught:
        produce(files, mine, tmp_path / "ledger")
    names = [Path(line.split()[0]).name for line in str(caught.value).splitlines()]
    assert names == ["W_0.root", "W_2.root", "data_0.root"]
    assert not (tmp_path / "ledger").exists()


VANISHING = CODE.replace("FACTOR", "1").replace(
    "        certified = certified_events",
    "        from pathlib import Path\n"
    '        path = Path(events.metadata["filename"])\n'
    '        path.with_name("W_1.root").unlink(missing_ok=True)\n'
    "        certified = certified_events",
)


@pytest.mark.parametrize("executor", ["iterative", "futures"])
def test_a_file_that_vanishes_during_a_run_is_named(files, tmp_path, executor):
    (tmp_path / "vanishing.py").write_text(VANISHING)
    with pytest.raises(
        InputError, match=r"W_1\.root cannot be read any more: FileNotF"
    ):
        produce(files, tmp_path / "vanishing.py", tmp_path / "kept", executor=executor)
    # All others are finished first.
    assert (tmp_path / "kept" / "data").is_dir()


# Going on without them


@pytest.mark.parametrize("damage", [truncated, zeroed_bytes, nan_weights])
def test_a_run_without_a_bad_file_is_that_of_the_others(
    files, mine, tmp_path, caplog, damage
):
    damage(files.base)
    result, _ = produce(files, mine, tmp_path / "kept", skip_bad_files=True)
    others = edited(
        files, tmp_path, lambda c: entry_of(c, "W")["files"].remove("W_1.root")
    )
    expected, kept = produce(others, mine, tmp_path / "kept")
    assert kept == n_chunks(expected)
    assert_same_bits(dict(result.outputs), dict(expected.outputs))
    # Its chunks that were read well are in the ledger, not in the sum.
    assert result.outputs["W"]["n"] == 25 + 8
    (left_out,) = result.performance["left_out"]
    assert left_out["dataset"] == "W"
    assert left_out["file"] == str(files.base / "W_1.root")
    assert "W_1.root" in left_out["reason"]
    rows = {row["dataset"]: row for row in result.performance["samples"]}
    assert rows["W"]["files_left_out"] == 1
    assert rows["top"]["files_left_out"] == 0
    if damage is zeroed_bytes:  # which could be opened
        assert rows["W"]["lost_of"] == "events"
        assert rows["W"]["lost"] == 30 / (25 + 30 + 8)
    else:
        assert rows["W"]["lost_of"] == "bytes"
        assert 0.1 < rows["W"]["lost"] < 0.5
    assert "dataset 'W': 1 of 3 files left out" in caplog.text
    assert "the others are normalised to its cross section" in caplog.text


def test_lost_luminosity_is_said(files, mine, caplog):
    path = files.base / "data_1.root"
    path.write_bytes(path.read_bytes()[:300])
    result, _ = produce(files, mine, skip_bad_files=True)
    assert result.outputs["data"]["n"] == 20
    (warning,) = result.performance["warnings"]
    (row,) = (r for r in result.performance["samples"] if r["dataset"] == "data")
    assert f"ABOUT {row['lost']:.2%} OF ITS LUMINOSITY IS LOST" in warning
    assert "`luminosity: 3` of the catalogue does not know" in warning
    assert warning in caplog.text


def test_a_dataset_without_a_good_file_is_not_left_out(files, mine):
    (files.base / "top_0.root").write_bytes(b"nothing")
    with pytest.raises(
        InputError, match=r"no good file is left of dataset 'top':\n.*top_0\.root can"
    ):
        produce(files, mine, skip_bad_files=True)


@pytest.mark.parametrize("executor", ["iterative", "futures"])
def test_bad_files_are_skipped_by_all_executors(files, tmp_path, executor):
    (tmp_path / "vanishing.py").write_text(VANISHING)
    result, _ = produce(
        files, tmp_path / "vanishing.py", executor=executor, skip_bad_files=True
    )
    assert result.outputs["W"]["n"] == 25 + 8


def test_copies_stop_a_run_that_skips_bad_files(files, mine):
    copied(files.base)
    with pytest.raises(ConfigError, match="is a copy of"):
        produce(files, mine, skip_bad_files=True)


def test_a_wrong_processor_is_no_bad_file(files, tmp_path):
    wrong = write_code(tmp_path, "undefined_name")
    with pytest.raises(WpropsError, match="NameError: name 'undefined_name'"):
        produce(files, wrong, skip_bad_files=True)


def test_the_command_line_says_what_is_lost(files, mine, tmp_path):
    (files.base / "data_1.root").write_bytes(b"nothing")
    arguments = ["run", str(files.base / "catalogue.yaml")]
    arguments += ["-o", str(tmp_path / "flow.csv"), "--dataset", "data"]
    arguments += ["--processor", str(write_saving(mine, tmp_path))]
    stopped = CliRunner().invoke(main, arguments)
    assert stopped.exit_code == 1
    assert "data_1.root cannot be read as a ROOT file" in stopped.output
    result = CliRunner().invoke(main, [*arguments, "--skip-bad-files"])
    assert result.exit_code == 0, result.output
    assert re.search(
        r"wprops: warning: dataset 'data': 1 of 2 files left out, .* of its bytes: "
        r"ABOUT .* OF ITS LUMINOSITY IS LOST",
        result.output,
    )
    assert (tmp_path / "flow.csv").read_text() == "20"


def write_saving(mine, folder):
    """A processor that the command line can use to the end."""
    path = folder / "saving.py"
    save = """
    def save(self, result, path):
        path.write_text(str(result.outputs["data"]["n"]))
"""
    path.write_text(mine.read_text() + save)
    return path
