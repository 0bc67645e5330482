"""One file of the toy, written by one call: what worker processes run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wprops.events.toy.events import SAMPLES, Sample
from wprops.events.toy.generate import generate
from wprops.events.toy.nano import Identity, NanoVersion, detector_branches
from wprops.events.toy.nano_gen import draw_weights, generator_branches
from wprops.events.toy.pseudodata import draw_data, identify
from wprops.events.toy.truth import ToyTruth
from wprops.events.toy.writer import NanoWriter

#: Events per chunk: one basket per branch, some 100 MB of columns in memory.
CHUNK = 125_000
EVENTS_PER_SECTION = 1000
#: Order of the samples' random streams and of their ranges of event numbers.
STREAMS = (*SAMPLES, "data")


@dataclass(frozen=True, kw_only=True, slots=True)
class FileJob:
    """What one file holds.

    Attributes
    ----------
    sample : str
        Name of a simulated sample, or ``data``.
    index : int
        Number of the file in the sample; with the seed it fixes the content.
    path : Path
        File to write.
    start, stop : int
        Range of the sample's events, or of the runs of pseudo-data.
    run_luminosity : float
        Certified luminosity of each run of pseudo-data [pb⁻¹].
    truth : ToyTruth
        The truth.
    seed : int
        Seed of the whole toy.
    nano, fsr, negative_fraction, compression
        As for `wprops.events.toy.samples.write_toy`.
    """

    sample: str
    index: int
    path: Path
    start: int
    stop: int
    truth: ToyTruth
    seed: int
    run_luminosity: float = 0.0
    nano: NanoVersion = "v9"
    fsr: bool = False
    negative_fraction: float = 0.0
    compression: str = "zstd"

    def metadata(self) -> dict[str, Any]:
        """Plain data stored in the file."""
        return {
            "sample": self.sample,
            "seed": self.seed,
            "fsr": self.fsr,
            "negative_fraction": self.negative_fraction,
            "truth": self.truth.to_dict(),
        }


def write_file(job: FileJob) -> int:
    """Simulate and write one file; return its number of events.

    The content depends on the seed, the sample and the number of the file only, so
    it is the same whichever process writes it.
    """
    stream = np.random.SeedSequence(
        job.seed, spawn_key=(STREAMS.index(job.sample), job.index)
    )
    rng = np.random.default_rng(stream)
    with NanoWriter(
        job.path, nano=job.nano, truth=job.metadata(), compression=job.compression
    ) as writer:
        if job.sample == "data":
            return _write_data(job, writer, rng)
        return _write_simulation(job, SAMPLES[job.sample], writer, rng)


def _write_simulation(
    job: FileJob, sample: Sample, writer: NanoWriter, rng: np.random.Generator
) -> int:
    for start in range(job.start, job.stop, CHUNK):
        number = np.arange(start, min(start + CHUNK, job.stop))
        offset = STREAMS.index(sample.name) * 10**10
        identity = Identity(
            run=np.ones(len(number), np.uint32),
            luminosity_block=(1 + number // EVENTS_PER_SECTION).astype(np.uint32),
            event=(1 + offset + number).astype(np.uint64),
        )
        events = generate(sample, len(number), rng, job.truth, fsr=job.fsr)
        weights = draw_weights(len(number), job.negative_fraction, rng)
        branches = detector_branches(
            events.reconstructed, identity, job.nano, job.truth.detector, rng
        )
        branches |= generator_branches(events, weights, job.nano, job.truth)
        writer.extend(branches)
    return job.stop - job.start


def _write_data(job: FileJob, writer: NanoWriter, rng: np.random.Generator) -> int:
    written = 0
    for run_index in range(job.start, job.stop):
        events = draw_data(job.truth, job.run_luminosity, rng, fsr=job.fsr)
        n = len(events.triggered)
        identity = identify(n, run_index, rng)
        writer.extend(
            detector_branches(events, identity, job.nano, job.truth.detector, rng)
        )
        written += n
    return written
