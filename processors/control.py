"""Control distributions in the signal region: data beside the corrected simulation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import awkward as ak
import hist
import numpy as np
from coffea.lumi_tools import LumiMask
from coffea.processor import ProcessorABC
from numpy.typing import NDArray

from wprops.axes import Binning
from wprops.catalog import Catalog
from wprops.control import OBSERVABLES, ControlPlots
from wprops.events.schema import get_branch
from wprops.execution.run import RunResult
from wprops.nominal import efficiency, nominal_weight
from wprops.selection.candidates import certified_events, golden_mask, select
from wprops.selection.regions import SIGNAL


class ControlProcessor(ProcessorABC):
    """Fill each observable by the charge of the muon."""

    def __init__(self, golden: LumiMask | None = None) -> None:
        self.golden = golden

    @classmethod
    def from_catalog(cls, catalog: Catalog, binning: Binning) -> Self:
        """Configure the processor for a catalogue; the binning is its own."""
        return cls(golden_mask(catalog))

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Select the events of a chunk and fill."""
        dataset = events.metadata["record"]
        certified = certified_events(events, dataset, self.golden)
        candidates = select(events, dataset, certified)
        pick = np.flatnonzero(SIGNAL.passes(candidates))
        weight = nominal_weight(events)[pick]
        charge, eta, pt = (
            getattr(candidates, name)[pick] for name in ("charge", "eta", "pt")
        )
        muons = efficiency(dataset, charge, eta, pt)
        if muons is not None:
            weight = weight * muons.nominal
        remedy = "use a file with this branch"
        vertices = get_branch(events, "PV_npvsGood", remedy=remedy)
        values: dict[str, NDArray[Any]] = {
            name: getattr(candidates, name)[pick]
            for name in ("pt", "eta", "phi", "mt", "met", "isolation")
        } | {"vertices": ak.to_numpy(vertices)[pick]}
        filled = {}
        for name, axis in OBSERVABLES.items():
            histogram = hist.Hist(
                hist.axis.IntCategory([1, -1], name="charge"),
                axis,
                storage=hist.storage.Weight(),
            )
            histogram.fill(charge, values[name], weight=weight)
            filled[name] = histogram.view(flow=False)
        sums = {name: np.stack([v.value, v.variance]) for name, v in filled.items()}
        return {dataset.name: sums}

    def postprocess(self, accumulator: Any) -> Any:
        """Leave the sums as they are."""
        return accumulator

    def save(self, result: RunResult, path: Path) -> None:
        """Write all distributions by process."""
        sums: dict[str, dict[str, NDArray[np.float64]]] = {}
        for dataset in result.catalog.datasets:
            process = sums.setdefault(dataset.process, {})
            for name, values in result.outputs[dataset.name].items():
                process[name] = process.get(name, 0.0) + values
        ControlPlots(sums, result.provenance).write(path)
