"""Runs that are cut off, and go on."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.events.nano import toy_catalog
from tests.execution.small import (
    CODE,
    assert_same_bits,
    edited,
    entries,
    n_chunks,
    produce,
)
from wprops.axes import COARSE
from wprops.execution.processors import load_processor
from wprops.execution.run import run
from wprops.store import TemplateSet


def killed(catalogue, output, at_least, delay, workers):
    """Run the command line and kill it with its workers, once there are entries."""
    command = [sys.executable, "-m", "wprops.cli", "run", str(catalogue)]
    command += ["-o", str(output), "--binning", "coarse", "--chunksize", "75"]
    command += ["--executor", "futures", "--workers", workers]
    ledger = output.with_name(f"{output.name}.ledger")
    with output.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            start_new_session=True,  # so that its workers can be killed with it
        )
        try:
            deadline = time.monotonic() + 120
            while len(entries(ledger)) < at_least and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            time.sleep(delay)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not output.exists()
    return len(entries(ledger))


def test_a_run_that_was_killed_twice_gives_what_an_undisturbed_one_gives(tmp_path):
    written = toy_catalog(
        tmp_path / "toy",
        events=2400,
        seed=19,
        samples=["Wplus_mu", "Wminus_mu", "top", "data"],
        fsr=True,
    )
    # New processes would compile what looks up sections.
    catalog = edited(written, tmp_path, lambda content: content.pop("golden_json"))
    catalogue = tmp_path / "edited.yaml"
    processor = load_processor("templates").from_catalog(catalog, COARSE)
    options = {"progress": False, "chunksize": 75}
    undisturbed = run(catalog, processor, **options)
    total = undisturbed.performance["chunks"]
    processor.save(undisturbed, tmp_path / "undisturbed.h5")

    rng = np.random.default_rng()  # another moment each time
    output = tmp_path / "killed.h5"
    finished = 0
    for workers in ("2", "1"):
        before = finished
        at_least, delay = before + rng.integers(1, 7), rng.uniform(0.0, 0.1)
        finished = killed(catalogue, output, at_least, delay, workers)
        assert before < finished < total
    result = run(catalog, processor, ledger=tmp_path / "killed.h5.ledger", **options)
    assert result.performance["chunks_from_ledger"] == finished
    assert result.performance["chunks"] == total
    assert_same_bits(dict(result.outputs), dict(undisturbed.outputs))
    processor.save(result, output)
    first, second = (
        TemplateSet.read(path) for path in (tmp_path / "undisturbed.h5", output)
    )
    assert_same_bits(first.channels, second.channels)
    assert first.tables["cut_flow"] == second.tables["cut_flow"]
    assert first.provenance["inputs"] == second.provenance["inputs"]


def interrupted(files, mine, output, *options):
    """Run the command line on small files and press Ctrl-C once there are entries."""
    command = [sys.executable, "-m", "wprops.cli", "run", files.base / "catalogue.yaml"]
    command += ["--processor", mine, "-o", output, "--chunksize", "10", *options]
    ledger = output.with_name(f"{output.name}.ledger")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 120
        while len(entries(ledger)) < 2 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        # To all processes of the terminal, as the keyboard does.
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, error.decode()


@pytest.mark.parametrize(
    "executor",
    ["iterative", "futures", pytest.param("dask", marks=pytest.mark.dask)],
)
def test_the_keyboard_ends_a_run_with_a_word_on_what_is_kept(small, tmp_path, executor):
    slow = tmp_path / "slow.py"
    slow.write_text(
        CODE.replace("FACTOR", "1").replace(
            "        certified = ",
            "        import time; time.sleep(0.5)\n        certified = ",
        )
    )
    output = tmp_path / "out.h5"
    options = ["--executor", executor, "--workers", "1"]
    code, error = interrupted(small, slow, output, *options)
    assert code == 130
    line = next(line for line in error.splitlines() if line.startswith("wprops: inter"))
    assert line == (
        f"wprops: interrupted: finished chunks are in {output}.ledger; the same "
        "command goes on from there"
    )
    assert "KeyboardInterrupt" not in error
    assert not output.exists()
    finished = len(entries(tmp_path / "out.h5.ledger"))
    result, kept = produce(small, slow, tmp_path / "out.h5.ledger")
    assert 2 <= kept == finished < n_chunks(result)
