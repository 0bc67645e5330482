"""Templates of the signal region: all components, cells and variations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import awkward as ak
import numpy as np
from coffea.lumi_tools import LumiMask
from coffea.processor import ProcessorABC
from numpy.typing import NDArray

from wprops.axes import Binning
from wprops.catalog import Catalog
from wprops.corrections.efficiency import MuonFactors
from wprops.datasets import Dataset
from wprops.events.samples import Sample, declare_for, read_samples
from wprops.execution.run import RunResult
from wprops.nominal import efficiency, efficiency_parts, nominal_weight
from wprops.selection.candidates import (
    Candidates,
    certified_events,
    golden_mask,
    select,
)
from wprops.selection.regions import (
    ANY,
    REGIONS,
    SIGNAL,
    cut_flows,
    isolation_and_mt,
)
from wprops.selection.shifts import kinematic_shifts
from wprops.stages import stage
from wprops.systematics.catalog import MULTIJET
from wprops.systematics.declaration import NOMINAL, Systematic
from wprops.templates.assemble import build_template_set
from wprops.templates.filling import bin_index, flat_index
from wprops.templates.parts import ODD, MuonBins, Part, event_folds, split_events
from wprops.templates.sidebands import N_CLASSES, fill_classes, with_classes


class TemplateProcessor(ProcessorABC):
    """Fill the (eta, pT) templates of every process and variation."""

    def __init__(
        self,
        samples: dict[str, Sample],
        systematics: tuple[Systematic, ...],
        binning: Binning,
        golden: LumiMask | None = None,
        *,
        sidebands: bool = False,
    ) -> None:
        self.samples = samples
        self.systematics = systematics
        self.binning = binning
        self.golden = golden
        self.sidebands = sidebands

    @classmethod
    def from_catalog(cls, catalog: Catalog, binning: Binning) -> Self:
        """Configure the processor for a catalogue."""
        samples = read_samples(catalog)
        parts = efficiency_parts(catalog, binning)
        systematics = declare_for(catalog, samples, parts)
        return cls(
            samples,
            systematics,
            binning,
            golden_mask(catalog),
            sidebands=catalog.multijet == "data",
        )

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Select the events of a chunk and fill their templates."""
        dataset = events.metadata["record"]
        with stage("selection"):
            certified = certified_events(events, dataset, self.golden)
            candidates = select(events, dataset, certified)
        with stage("weights"):
            weight = nominal_weight(events)
        with stage("selection"):
            flows = cut_flows(REGIONS, candidates, weight)
            pick, muons, classes = self._selected(events, dataset, candidates)
        with stage("weights"):
            kinematics = (candidates.eta[pick], candidates.pt[pick])
            isolated = candidates.isolated[pick]
            factors = efficiency(dataset, muons.charge, *kinematics, isolated)
            weight = weight[pick] * (1.0 if factors is None else factors.nominal)
            parts = list(self._parts(events, dataset, pick, weight, factors))
        with stage("filling"):
            blocks = {part.template: part.fill(muons) for part in parts}
            sidebands = {
                part.template: fill_classes(part, classes, candidates.mt[pick])
                for part in parts
                if classes is not None and part.template != ODD
            }
        result = {"blocks": blocks, "sidebands": sidebands, "flows": flows}
        return {dataset.name: result}

    def _parts(
        self,
        events: ak.Array,
        dataset: Dataset,
        pick: NDArray[np.int64],
        weight: NDArray[np.float64],
        factors: MuonFactors | None,
    ) -> Iterator[Part]:
        """Split the selected events; none of a simulation that data replace."""
        if self.sidebands and dataset.process == MULTIJET:
            return
        sample = self.samples[dataset.name]
        yield from split_events(
            events, pick, weight, sample, self.systematics, self.binning, factors
        )

    def _selected(
        self, events: ak.Array, dataset: Dataset, candidates: Candidates
    ) -> tuple[NDArray[np.int64], MuonBins, MuonBins | None]:
        """Events that count, nominally or shifted, and where their muons go.

        In the signal region, and in classes of isolation and mT where multijet is
        estimated from data.
        """
        wanted = ANY if self.sidebands else SIGNAL
        pick = np.flatnonzero(wanted.unshifted.passes(candidates))
        found = candidates.take(pick)
        eta_bin = bin_index(found.eta, self.binning.eta)
        n_bins = self.binning.shape[0] * self.binning.shape[1]
        signal, classes = {}, {}
        for label, shifted in kinematic_shifts(
            events, dataset, found, pick, self.systematics
        ):
            pt_bin = bin_index(shifted.pt, self.binning.pt)
            muon_bin = flat_index([eta_bin, pt_bin], self.binning.shape)
            signal[label] = np.where(SIGNAL.passes(shifted), muon_bin, -1)
            if self.sidebands:
                inside = np.where(ANY.passes(shifted), muon_bin, -1)
                classes[label] = with_classes(isolation_and_mt(shifted), inside, n_bins)
        counted = list((classes or signal).values())
        kept = np.flatnonzero(np.logical_or.reduce([bins >= 0 for bins in counted]))
        common = found.charge[kept], event_folds(events, pick[kept])

        def bins_of(places: dict[str, NDArray[np.int64]], n: int) -> MuonBins:
            places = {label: bins[kept] for label, bins in places.items()}
            return MuonBins(n, places.pop(NOMINAL), places, *common)

        muons = bins_of(signal, n_bins)
        if not self.sidebands:
            return pick[kept], muons, None
        return pick[kept], muons, bins_of(classes, N_CLASSES * n_bins)

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
