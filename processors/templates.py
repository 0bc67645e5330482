"""Templates of the signal region: all components, cells and variations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import awkward as ak
import numpy as np
from coffea.lumi_tools import LumiMask
from coffea.processor import ProcessorABC

from wprops.axes import Binning
from wprops.catalog import Catalog
from wprops.events.samples import Sample, declare_for, read_samples
from wprops.execution.run import RunResult
from wprops.nominal import efficiency, nominal_weight
from wprops.selection.candidates import certified_events, golden_mask, select
from wprops.selection.regions import REGIONS, SIGNAL, cut_flow
from wprops.selection.shifts import kinematic_shifts
from wprops.systematics.declaration import NOMINAL, Systematic
from wprops.templates.assemble import build_template_set
from wprops.templates.filling import bin_index, flat_index
from wprops.templates.ordered_sum import OrderedSum
from wprops.templates.parts import split_events


class TemplateProcessor(ProcessorABC):
    """Fill the (eta, pT) templates of every process and variation."""

    def __init__(
        self,
        samples: dict[str, Sample],
        systematics: tuple[Systematic, ...],
        binning: Binning,
        golden: LumiMask | None = None,
    ) -> None:
        self.samples = samples
        self.systematics = systematics
        self.binning = binning
        self.golden = golden

    @classmethod
    def from_catalog(cls, catalog: Catalog, binning: Binning) -> Self:
        """Configure the processor for a catalogue."""
        samples = read_samples(catalog)
        systematics = declare_for(catalog, samples)
        return cls(samples, systematics, binning, golden_mask(catalog))

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Select the events of a chunk and fill their templates."""
        dataset = events.metadata["record"]
        certified = certified_events(events, dataset, self.golden)
        candidates = select(events, dataset, certified)
        weight = nominal_weight(events)
        flows = np.stack([cut_flow(region, candidates, weight) for region in REGIONS])

        pick = np.flatnonzero(SIGNAL.unshifted.passes(candidates))
        shifted = dict(
            kinematic_shifts(
                events, dataset, candidates.take(pick), pick, self.systematics
            )
        )
        passes = {label: SIGNAL.passes(found) for label, found in shifted.items()}
        # Events that pass in one of the variations at least.
        kept = np.flatnonzero(np.logical_or.reduce(list(passes.values())))
        pick = pick[kept]
        eta, charge = candidates.eta[pick], candidates.charge[pick]
        muons = efficiency(dataset, charge, eta, candidates.pt[pick])
        weight = weight[pick] * (1.0 if muons is None else muons.nominal)
        eta_bin = bin_index(eta, self.binning.eta)
        cells = {}
        for label, found in shifted.items():
            bins = [eta_bin, bin_index(found.pt[kept], self.binning.pt)]
            inside = flat_index(bins, self.binning.shape)
            cells[label] = np.where(passes[label][kept], inside, -1)

        n_muon = self.binning.shape[0] * self.binning.shape[1]
        blocks = {
            part.template: {
                label: part.fill(cell, n_muon, charge, nominal=label != NOMINAL)
                for label, cell in cells.items()
                if part.varies or label == NOMINAL
            }
            for part in split_events(
                events,
                pick,
                weight,
                self.samples[dataset.name],
                self.systematics,
                self.binning,
                muons,
            )
        }
        result = {"blocks": blocks, "flows": flows}
        return {dataset.name: OrderedSum(result, events.metadata["chunk"])}

    def postprocess(self, accumulator: Any) -> Any:
        """Leave the sums as they are."""
        return accumulator

    def save(self, result: RunResult, path: Path) -> None:
        """Write the template file."""
        templates = build_template_set(
            result.outputs, result.catalog, self.samples, self.systematics, self.binning
        )
        templates.tables["performance"] = result.performance
        replace(templates, provenance=result.provenance).write(path)
