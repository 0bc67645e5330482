"""Generator-level moments: σ and A0 … A7 of W+, W− and Z in bins of |Y| and qT."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import awkward as ak
import numpy as np
from coffea.processor import ProcessorABC

from wprops.axes import COMPONENTS, Binning
from wprops.catalog import Catalog
from wprops.errors import InputError
from wprops.events.generator import MUON, hard_leptons
from wprops.events.samples import Sample, declare_for, read_samples
from wprops.execution.inputs import PB_IN_FB
from wprops.execution.run import RunResult
from wprops.moment_maps import MomentMaps, moment_map
from wprops.nominal import generated_weight
from wprops.physics.collins_soper import boson_and_angles
from wprops.physics.harmonics import harmonics
from wprops.systematics.catalog import BOSON, SIGNAL
from wprops.systematics.declaration import Systematic
from wprops.templates.assemble import merge_blocks
from wprops.templates.filling import Block, Cells, fill
from wprops.templates.parts import boson_cell, event_folds
from wprops.weights import WeightInputs, weight_ratios

#: Charge of each boson, whose samples are of these processes.
BOSONS = {"Wplus": 1, "Wminus": -1, "Z": 0}
PROCESSES = {"W": SIGNAL, "W_mu": SIGNAL, "Z": "Z"}
#: Groups of uncertainties that change the bosons.
THEORY = ("mass", "width", "pdf", "alphas", "scale_z")


class MomentProcessor(ProcessorABC):
    """Measure the angular coefficients of decays to muons, before any selection."""

    def __init__(
        self,
        samples: dict[str, Sample],
        systematics: tuple[Systematic, ...],
        binning: Binning,
    ) -> None:
        self.samples = samples
        self.systematics = systematics
        self.binning = binning

    @classmethod
    def from_catalog(cls, catalog: Catalog, binning: Binning) -> Self:
        """Configure the processor for a catalogue."""
        samples = read_samples(catalog)
        # Scales of all bosons at all qT: slices are for backgrounds of the fit.
        theory = tuple(
            replace(record, processes=BOSON) if record.group == "scale_z" else record
            for record in declare_for(catalog, samples)
            if record.group in THEORY
        )
        return cls(samples, theory, binning)

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Sum moments of a chunk; samples without a simulated boson give none."""
        dataset = events.metadata["record"]
        blocks: dict[str, Block] = {}
        if dataset.process in PROCESSES:
            blocks = self.moments(events)
        return {dataset.name: blocks}

    def moments(self, events: ak.Array) -> dict[str, Block]:
        """Sum the weight and the weight times each harmonic, by boson."""
        dataset = events.metadata["record"]
        weight = generated_weight(events)
        leptons = hard_leptons(events)
        inputs = WeightInputs(
            events=events,
            pick=np.arange(len(events)),
            dataset=dataset,
            hessian=self.samples[dataset.name].hessian,
        )
        blocks = {}
        for name, charge in BOSONS.items():
            index = np.flatnonzero(
                (leptons.flavour == MUON) & (leptons.charge == charge)
            )
            if not len(index):
                continue
            boson = boson_and_angles(leptons.lepton[:, index], leptons.other[:, index])
            columns = np.ones((len(index), len(COMPONENTS)))
            columns[:, 1:] = harmonics(boson.costheta, boson.phistar).T
            columns *= weight[index][:, None]
            ratios = weight_ratios(
                inputs.restricted(index, boson),
                self.systematics,
                PROCESSES[dataset.process],
            )
            cells = Cells(
                n_cells=self.binning.n_cells,
                nominal=boson_cell(boson, self.binning),
                fold=event_folds(events, index),
            )
            blocks[name] = fill(cells, (COMPONENTS, columns), ratios)
        return blocks

    def postprocess(self, accumulator: Any) -> Any:
        """Leave the sums as they are."""
        return accumulator

    def save(self, result: RunResult, path: Path) -> None:
        """Write the maps of all bosons."""
        luminosity = PB_IN_FB * result.catalog.luminosity
        merged = merge_blocks(result.outputs.values())
        if not merged:
            names = ", ".join(result.outputs)
            msg = (
                f"no W or Z → μμ was generated in {names}; run over datasets with "
                "`process:` W, W_mu or Z that have GenPart"
            )
            raise InputError(msg)
        maps = {}
        for name, block in merged.items():
            section = block.section(0, self.binning.n_cells)
            maps[name] = moment_map(block.labels, section, self.binning, luminosity)
        MomentMaps(maps, result.provenance).write(path)
