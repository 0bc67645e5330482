"""Cut flow of every region, in events and weights: the first look at any NanoAOD."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Self

import awkward as ak
from coffea.lumi_tools import LumiMask
from coffea.processor import ProcessorABC

from wprops.axes import Binning
from wprops.catalog import Catalog
from wprops.execution.run import RunResult
from wprops.nominal import nominal_weight
from wprops.selection.candidates import certified_events, golden_mask, select
from wprops.selection.regions import REGIONS, cut_flow_records, cut_flows


class CutFlowProcessor(ProcessorABC):
    """Count what passes the cuts of the signal and the ABCD regions."""

    def __init__(self, golden: LumiMask | None = None) -> None:
        self.golden = golden

    @classmethod
    def from_catalog(cls, catalog: Catalog, binning: Binning) -> Self:
        """Configure the processor for a catalogue; no binning is needed."""
        return cls(golden_mask(catalog))

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Count the events of a chunk."""
        dataset = events.metadata["record"]
        certified = certified_events(events, dataset, self.golden)
        candidates = select(events, dataset, certified)
        weight = nominal_weight(events)
        flows = cut_flows(REGIONS, candidates, weight)
        return {dataset.name: flows}

    def postprocess(self, accumulator: Any) -> Any:
        """Leave the sums as they are."""
        return accumulator

    def save(self, result: RunResult, path: Path) -> None:
        """Write one CSV row per dataset, region and cut."""
        rows = [
            row
            for name, flows in result.outputs.items()
            for row in cut_flow_records(name, list(zip(REGIONS, flows, strict=True)))
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
