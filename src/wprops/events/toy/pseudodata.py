"""Pseudo-data: all processes in one stream, as a detector would record them."""

from __future__ import annotations

import numpy as np

from wprops.events.toy.events import (
    SAMPLES,
    BoolArray,
    IntArray,
    Reconstructed,
    concatenate,
)
from wprops.events.toy.generate import generate
from wprops.events.toy.nano import Identity
from wprops.events.toy.truth import ToyTruth

FIRST_RUN = 273158
#: Luminosity sections per run; every event falls into one at random.
SECTIONS_PER_RUN = 101
#: The section that the golden JSON leaves out.
UNCERTIFIED_SECTION = 51
#: Events are drawn for this much more luminosity than is certified.
ALL_OVER_CERTIFIED = SECTIONS_PER_RUN / (SECTIONS_PER_RUN - 1)


def golden_json(n_runs: int) -> dict[str, list[list[int]]]:
    """Certified sections of the toy's runs.

    Examples
    --------
    >>> golden_json(1)
    {'273158': [[1, 50], [52, 101]]}
    """
    certified = [
        [1, UNCERTIFIED_SECTION - 1],
        [UNCERTIFIED_SECTION + 1, SECTIONS_PER_RUN],
    ]
    return {str(FIRST_RUN + k): certified for k in range(n_runs)}


def expected_events(truth: ToyTruth, luminosity: float) -> float:
    """Mean number of simulated events of all processes, uncertified ones included.

    Parameters
    ----------
    truth : ToyTruth
        The truth of the pseudo-data.
    luminosity : float
        Certified luminosity [pb⁻¹].
    """
    total = sum(sample.cross_section(truth) for sample in SAMPLES.values())
    return total * luminosity * ALL_OVER_CERTIFIED


def draw_data(
    truth: ToyTruth, luminosity: float, rng: np.random.Generator, *, fsr: bool = False
) -> Reconstructed:
    """Draw one run of triggered events, processes mixed at random.

    Parameters
    ----------
    truth : ToyTruth
        The truth, with its deviations.
    luminosity : float
        Certified luminosity of the run [pb⁻¹].
    rng : numpy.random.Generator
        Source of randomness.
    fsr : bool
        Whether muons radiate.

    Returns
    -------
    Reconstructed
        Detector-level columns of the events that fired the trigger.
    """
    parts = []
    for sample in SAMPLES.values():
        mean = sample.cross_section(truth) * luminosity * ALL_OVER_CERTIFIED
        n = int(rng.poisson(mean))
        events = generate(sample, n, rng, truth, fsr=fsr).reconstructed
        recorded: BoolArray = events.triggered & ~events.prefired
        parts.append(events.take(recorded))
    mixed = concatenate(parts)
    order: IntArray = rng.permutation(len(mixed.triggered))
    return mixed.take(order)


def identify(n: int, run_index: int, rng: np.random.Generator) -> Identity:
    """Assign run, ordered luminosity sections and event numbers."""
    sections = np.sort(rng.integers(1, SECTIONS_PER_RUN + 1, n))
    return Identity(
        run=np.full(n, FIRST_RUN + run_index, np.uint32),
        luminosity_block=sections.astype(np.uint32),
        event=np.arange(1, n + 1, dtype=np.uint64) + np.uint64(run_index * 10**7),
    )
