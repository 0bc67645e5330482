"""Sums over W → μν decays from which factorised templates are made."""

from __future__ import annotations

from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, Self

import awkward as ak
import numpy as np
from coffea.lumi_tools import LumiMask
from coffea.processor import ProcessorABC
from numpy.typing import NDArray

from wprops.axes import Binning
from wprops.catalog import Catalog
from wprops.errors import InputError
from wprops.events.generator import MUON, HardLeptons, hard_leptons
from wprops.events.samples import Sample, declare_for, read_samples
from wprops.events.schema import file_name, get_branch, has_branch
from wprops.execution.run import RunResult
from wprops.factorised.build_response import build_response
from wprops.factorised.matched_muons import match_muons
from wprops.factorised.panels import Panels
from wprops.factorised.sums import Decays, fill
from wprops.nominal import efficiency_parts, generated_weight, nominal_weight
from wprops.physics.collins_soper import boson_and_angles
from wprops.selection.candidates import certified_events, golden_mask, select
from wprops.stages import stage
from wprops.systematics.catalog import LOW_ACCEPTANCE
from wprops.systematics.declaration import NOMINAL, Systematic
from wprops.templates.parts import event_folds
from wprops.weights import WeightInputs, weight_ratios

#: Processes of the samples with W → μν.
PROCESSES = ("W", "W_mu")
#: Groups of uncertainties that change the bosons; the line shape's need no events.
THEORY = ("pdf", "alphas", "scale_w")


class ResponseProcessor(ProcessorABC):
    """Sum the bosons, and the response of the detector to their decays."""

    def __init__(
        self,
        samples: dict[str, Sample],
        systematics: tuple[Systematic, ...],
        binning: Binning,
        golden: LumiMask | None = None,
        *,
        n_parts: int = 1,
    ) -> None:
        self.samples = samples
        self.systematics = systematics
        self.panels = Panels.of(binning)
        self.golden = golden
        self.n_parts = n_parts

    @classmethod
    def from_catalog(cls, catalog: Catalog, binning: Binning) -> Self:
        """Configure the processor for a catalogue."""
        samples = read_samples(catalog)
        parts = efficiency_parts(catalog, binning)
        systematics = declare_for(catalog, samples, parts)
        return cls(samples, systematics, binning, golden_mask(catalog), n_parts=parts)

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Sum the decays of a chunk; samples without W → μν give nothing."""
        dataset = events.metadata["record"]
        sums = {}
        if dataset.kind == "mc" and dataset.process in PROCESSES:
            decays = self.decays(events)
            if decays is not None:
                with stage("filling"):
                    sums["sums"] = fill(decays, self.panels)
        return {dataset.name: sums}

    def decays(self, events: ak.Array) -> Decays | None:
        """Collect the columns of the W → μν decays of a chunk; None without any.

        Raises
        ------
        InputError
            If an event has no W, or a branch is missing.
        """
        dataset = events.metadata["record"]
        leptons = hard_leptons(events)
        _require_w(events, leptons)
        pick = np.flatnonzero(leptons.flavour == MUON)
        if not len(pick):
            return None
        charge, (pt, eta, phi) = leptons.charge[pick], leptons.lepton[:, pick]
        boson = boson_and_angles((pt, eta, phi), leptons.other[:, pick])
        with stage("selection"):
            certified = certified_events(events, dataset, self.golden)
            candidates = select(events, dataset, certified)
            muons = match_muons(events, candidates, pick, (eta, phi, charge))
            residual = muons.residuals(events, boson, self.systematics)
        with stage("weights"):
            inputs = WeightInputs(
                events=events,
                pick=pick,
                dataset=dataset,
                hessian=self.samples[dataset.name].hessian,
                boson=boson,
            )
            # The scales of the signal count where it is of low acceptance.
            ratios = weight_ratios(inputs, self._of(*THEORY), LOW_ACCEPTANCE)
            selected = self._selected_weights(inputs.restricted(muons.decay))
            weight = generated_weight(events)[pick]
        return Decays(
            charge=charge,
            qt=boson.qt,
            y=boson.y,
            mass=boson.mass,
            costheta=boson.costheta,
            phistar=boson.phistar,
            eta=eta,
            pt=pt,
            weight=weight,
            ratios=ratios,
            fold=event_folds(events, pick),
            reco=muons.decay,
            reco_pt=muons.momenta(self.systematics),
            reco_eta=muons.candidates.eta,
            residual=residual,
            passes=muons.passes,
            selected_weight=selected,
            pileup=_interactions(events)[muons.event],
        )

    def _of(self, *groups: str) -> list[Systematic]:
        return [record for record in self.systematics if record.group in groups]

    def _selected_weights(self, inputs: WeightInputs) -> dict[str, NDArray[np.float64]]:
        """Weights of matched muons with what is lost at the detector, and varied."""
        nominal = nominal_weight(inputs.events)[inputs.pick]
        labels, ratios = weight_ratios(inputs, self._of("prefire"), LOW_ACCEPTANCE)
        varied = zip(labels, (nominal[:, None] * ratios).T, strict=True)
        return dict(varied) | {NOMINAL: nominal}

    def postprocess(self, accumulator: Any) -> Any:
        """Leave the sums as they are."""
        return accumulator

    def save(self, result: RunResult, path: Path) -> None:
        """Write the response file."""
        names = [name for name, output in result.outputs.items() if output]
        if not names:
            msg = (
                f"no W → μν was generated in {', '.join(result.outputs)}; run over "
                "datasets with `process:` W or W_mu that have GenPart"
            )
            raise InputError(msg)
        build_response(
            reduce(add, (result.outputs[name]["sums"] for name in names)),
            [self.samples[name] for name in names],
            luminosity=result.catalog.luminosity,
            systematics=self.systematics,
            n_parts=self.n_parts,
            provenance=result.provenance,
        ).write(path)


def _require_w(events: ak.Array, leptons: HardLeptons) -> None:
    """Raise InputError where an event has no W: it would lack in the cross section."""
    n_lost = int((leptons.charge == 0).sum())
    if n_lost:
        process = events.metadata["record"].process
        msg = (
            f"{file_name(events)}: {n_lost} of {len(events)} events have no W → lν in "
            "GenPart (statusFlags fromHardProcess and isLastCopy); is "
            f"`process: {process}` right for this sample?"
        )
        raise InputError(msg)


def _interactions(events: ak.Array) -> NDArray[np.float64]:
    """Return true numbers of interactions, 0 where the file has none."""
    if not has_branch(events, "Pileup_nTrueInt"):
        return np.zeros(len(events))
    found = get_branch(events, "Pileup_nTrueInt", remedy="leave the branch out")
    return ak.to_numpy(found).astype(float)
