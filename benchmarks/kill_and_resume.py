"""Kill runs at random moments, client or worker, and compare what was resumed.

Each kill is ``kill -9``, after a random number of further chunks and a random time; the
next run goes on from the ledger. A round that comes to its end is compared with an
undisturbed run, its ledger is removed, and another one begins, until there were enough
kills.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from wprops.events.toy.samples import write_toy
from wprops.fit.run import template_digest
from wprops.store import TemplateSet

SAMPLES = ["Wplus_mu", "Wminus_mu", "top", "data"]
#: How long a run may take after a worker was killed, before it is given up [s].
PATIENCE = 600.0
#: A kill comes after at most as many further chunks.
MOST_CHUNKS = 4


@dataclass(frozen=True)
class Setup:
    """What is run over, and where.

    Attributes
    ----------
    catalogue, folder : Path
        The toy, and where outputs and ledgers go.
    chunksize : int
        Events per chunk.
    workers : int
        Processes.
    """

    catalogue: Path
    folder: Path
    chunksize: int
    workers: int

    @property
    def output(self) -> Path:
        """The file of templates."""
        return self.folder / "templates.h5"

    @property
    def ledger(self) -> Path:
        """The folder of finished chunks."""
        return self.folder / "templates.h5.ledger"

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command line in a session of its own."""
        command = [sys.executable, "-m", "wprops.cli", "run", str(self.catalogue)]
        command += ["-o", str(self.output), "--binning", "coarse"]
        command += ["--chunksize", str(self.chunksize)]
        command += ["--executor", "futures", "--workers", str(self.workers)]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True
            )

    def finished_chunks(self) -> int:
        """Count the entries of the ledger."""
        found = self.ledger.rglob("*")
        return sum(path.is_file() and path.suffix != ".part" for path in found)

    def finish(self) -> str:
        """Return the digest of the templates, and remove them with their ledger."""
        digest = template_digest(TemplateSet.read(self.output))
        self.output.unlink()
        for path in sorted(self.ledger.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        self.ledger.rmdir()
        return digest


def main() -> None:
    """Write the toy, run it undisturbed, and kill."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000, help="W events")
    parser.add_argument("--chunksize", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        catalogue = write_toy(
            folder / "toy", events=arguments.events, seed=1, samples=SAMPLES
        )
        setup = Setup(catalogue, folder, arguments.chunksize, arguments.workers)
        begin = time.monotonic()
        if setup.start().wait():
            sys.exit((folder / "log").read_text())
        duration = time.monotonic() - begin
        n_chunks, expected = setup.finished_chunks(), setup.finish()
        print(f"undisturbed: {n_chunks} chunks, {duration:.1f} s, {expected[:16]}")
        pause = 2 * duration / n_chunks
        kill_and_resume(setup, arguments.kills, arguments.seed, pause, expected)


def kill_and_resume(
    setup: Setup, n_kills: int, seed: int, pause: float, expected: str
) -> None:
    """Kill ``n_kills`` times, print a line for each, and compare every result."""
    rng = np.random.default_rng(seed)
    killed = rounds = 0
    print(f"{'kill':>4s}  {'victim':6s} {'moment':>8s} {'chunks':>7s}  then")
    while True:
        victim = ("client", "worker")[rng.integers(2)]
        chunks, delay = int(rng.integers(0, MOST_CHUNKS + 1)), rng.uniform(0.0, pause)
        before, begin = setup.finished_chunks(), time.monotonic()
        process = setup.start()
        wait_for(setup, process, before + chunks, delay)
        if killed < n_kills and kill(process, victim):
            moment = time.monotonic() - begin
            killed += 1
            code = process.wait(PATIENCE)
            print(
                f"{killed:4d}  {victim:6s} {moment:6.1f} s "
                f"{before:3d}→{setup.finished_chunks():3d}  "
                f"{'the run went on' if code == 0 else f'exit code {code}'}"
            )
        elif process.wait(PATIENCE):
            sys.exit((setup.folder / "log").read_text())
        if not setup.output.exists():
            continue
        rounds += 1
        digest = setup.finish()
        same = "the same bits" if digest == expected else "ANOTHER RESULT"
        print(f"      round {rounds} ended: {digest[:16]}, {same}")
        if digest != expected:
            sys.exit(1)
        if killed >= n_kills:
            print(f"{killed} kills, {rounds} results, all as the undisturbed one")
            return


def wait_for(
    setup: Setup, process: subprocess.Popen[bytes], chunks: int, delay: float
) -> None:
    """Wait for chunks in the ledger, or the end of the run, and a little longer."""
    while setup.finished_chunks() < chunks and process.poll() is None:
        time.sleep(0.01)
    time.sleep(delay)


def kill(process: subprocess.Popen[bytes], victim: str) -> bool:
    """Kill the client with its workers, or one worker; False if there is none."""
    if process.poll() is None:
        client = psutil.Process(process.pid)
        workers = [
            child for child in client.children(recursive=True) if is_worker(child)
        ]
        if victim == "client":
            for found in (client, *workers):
                found.kill()
            return True
        if workers:
            workers[0].kill()
            return True
    return False


def is_worker(process: psutil.Process) -> bool:
    """Whether a process is one of the pool that processes chunks."""
    try:
        return any("popen_loky" in part for part in process.cmdline())
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    main()
