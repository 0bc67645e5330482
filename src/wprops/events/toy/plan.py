"""What a toy consists of: its luminosities and the files of each sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from wprops.errors import ConfigError
from wprops.events.toy.events import SAMPLES
from wprops.events.toy.jobs import STREAMS, FileJob
from wprops.events.toy.nano import NanoVersion, check_version
from wprops.events.toy.pseudodata import expected_events
from wprops.events.toy.truth import ToyTruth
from wprops.events.toy.writer import COMPRESSIONS

#: Simulated events per run of pseudo-data; about a third fires the trigger.
EVENTS_PER_RUN = 250_000


@dataclass(frozen=True, kw_only=True, slots=True)
class ToyPlan:
    """What is to be written; the arguments of `write_toy`, checked."""

    events: int
    seed: int
    samples: tuple[str, ...]
    nano: NanoVersion
    data_fraction: float
    events_per_file: int
    fsr: bool
    negative_fraction: float
    compression: str
    simulation: ToyTruth
    data: ToyTruth

    def __post_init__(self) -> None:
        check_version(self.nano)
        unknown = sorted(set(self.samples) - set(STREAMS))
        problems = {
            f"unknown samples {unknown}; known are {', '.join(STREAMS)}": bool(unknown),
            f"events is {self.events}, must be at least 1": self.events < 1,
            f"events_per_file is {self.events_per_file}, must be at least 1": (
                self.events_per_file < 1
            ),
            f"data_fraction is {self.data_fraction}, must be positive": (
                not self.data_fraction > 0.0
            ),
            f"negative_fraction is {self.negative_fraction}, must be in [0, 0.5)": (
                not 0.0 <= self.negative_fraction < 0.5
            ),
            f"compression is {self.compression!r}, not one of "
            f"{', '.join(COMPRESSIONS)}": self.compression not in COMPRESSIONS,
        }
        for problem, present in problems.items():
            if present:
                msg = f"cannot write the toy: {problem}"
                raise ConfigError(msg)

    @property
    def luminosity(self) -> float:
        """Luminosity of the simulation [pb⁻¹]."""
        return self.events / (
            self.simulation.wplus.sigma + self.simulation.wminus.sigma
        )

    @property
    def data_luminosity(self) -> float:
        """Certified luminosity of the pseudo-data [pb⁻¹]."""
        return self.luminosity * self.data_fraction

    @property
    def n_runs(self) -> int:
        """Number of runs of pseudo-data."""
        expected = expected_events(self.data, self.data_luminosity)
        return max(1, math.ceil(expected / EVENTS_PER_RUN))


def file_jobs(plan: ToyPlan, name: str, outdir: Path) -> list[FileJob]:
    """Split one sample into files."""
    is_data = name == "data"
    if is_data:
        # About a third of the simulated events of a run is recorded.
        total = plan.n_runs
        size = max(1, 3 * plan.events_per_file // EVENTS_PER_RUN)
    else:
        sigma = SAMPLES[name].cross_section(plan.simulation)
        total = max(1, round(sigma * plan.luminosity))
        size = plan.events_per_file
    return [
        FileJob(
            sample=name,
            index=index,
            path=outdir / f"{name}_{index:03d}.root",
            start=start,
            stop=min(start + size, total),
            truth=plan.data if is_data else plan.simulation,
            seed=plan.seed,
            run_luminosity=plan.data_luminosity / plan.n_runs if is_data else 0.0,
            nano=plan.nano,
            fsr=plan.fsr,
            negative_fraction=plan.negative_fraction,
            compression=plan.compression,
        )
        for index, start in enumerate(range(0, total, size))
    ]
