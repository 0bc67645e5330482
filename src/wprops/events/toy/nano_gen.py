"""The branches that only simulation has: particles, weights, pile-up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wprops.events.toy.events import Reconstructed, ToyEvents
from wprops.events.toy.genparts import GenParts, particle_list
from wprops.events.toy.nano import Branches, Jagged, NanoVersion
from wprops.events.toy.theory import SCALES, pdf_weights, scale_weights
from wprops.events.toy.truth import ToyTruth

#: Bits of the mantissa kept in theory weights, as central NanoAOD does.
WEIGHT_PRECISION = 14
#: Relative uncertainty of the prefire probability.
PREFIRE_UNCERTAINTY = 0.2

_SCALE_LIST = " ; ".join(
    f"[{k}] is muR={2.0**k_r:.5E} muF={2.0**k_f:.5E}"
    for k, (k_r, k_f) in enumerate(SCALES)
)
#: Documentation strings of branches, which are their titles in the file.
TITLES = {
    "LHEPdfWeight": "LHE pdf variation weights (w_var / w_nominal) "
    "for LHA IDs 292201 - 292302",
    "LHEScaleWeight": f"LHE scale variation weights (w_var / w_nominal); {_SCALE_LIST}",
    "LHEWeight_originalXWGTUP": "Nominal event weight in the LHE file",
    "genWeight": "generator weight",
    "Generator_weight": "MC generator weight",
    "Pileup_nTrueInt": "the true mean number of the poisson distribution "
    "for this event",
    "GenPart_pt": "pt",
    "GenPart_pdgId": "PDG id",
    "GenPart_status": "Particle status. 1=stable",
    "GenPart_statusFlags": "gen status flags stored bitwise, bits are: 0 : isPrompt, "
    "1 : isDecayedLeptonHadron, 2 : isTauDecayProduct, 3 : isPromptTauDecayProduct, "
    "4 : isDirectTauDecayProduct, 5 : isDirectPromptTauDecayProduct, "
    "6 : isDirectHadronDecayProduct, 7 : isHardProcess, 8 : fromHardProcess, "
    "9 : isHardProcessTauDecayProduct, 10 : isDirectHardProcessTauDecayProduct, "
    "11 : fromHardProcessBeforeFSR, 12 : isFirstCopy, 13 : isLastCopy, "
    "14 : isLastCopyBeforeFSR",
    "GenPart_genPartIdxMother": "index of the mother particle",
    "Muon_pt": "pt",
    "Muon_mediumId": "cut-based ID, medium WP",
    "Muon_looseId": "muon is loose muon",
    "Muon_pfRelIso04_all": "PF relative isolation dR=0.4, "
    "total (deltaBeta corrections)",
    "Muon_genPartIdx": "(index to Genpart) MC matching to status==1 muons",
    "Muon_genPartFlav": "Flavour of genParticle for MC matching to status==1 muons: "
    "1 = prompt muon (including gamma*->mu mu), 15 = muon from prompt tau, "
    "5 = muon from b, 4 = muon from c, 3 = muon from light or unknown, 0 = unmatched",
}


def round_mantissa(values: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Round float32 to ``bits`` of mantissa, to nearest: relative error ≤ 2^−(bits+1).

    Examples
    --------
    >>> float(round_mantissa(np.array([1.0 + 2.0**-20], np.float32), 14)[0])
    1.0
    """
    drop = 23 - bits
    raw = values.view(np.uint32) + np.uint32(1 << (drop - 1))
    return (raw & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)).view(np.float32)


def draw_weights(
    n: int, negative_fraction: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw generator weights: +1, or −1 with the given probability, shape (n,)."""
    return np.where(rng.random(n) < negative_fraction, -1.0, 1.0).astype(np.float32)


def generator_branches(
    events: ToyEvents,
    weights: NDArray[np.float32],
    nano: NanoVersion,
    truth: ToyTruth,
) -> Branches:
    """Particles, generator weights, pile-up and prefire weights.

    Parameters
    ----------
    events : ToyEvents
        The events.
    weights : ndarray of float32, shape (n,)
        Generator weights.
    nano : {"v6", "v9", "v15"}
        Version of NanoAOD.
    truth : ToyTruth
        The truth that the events were drawn from.
    """
    parts = particle_list(events)
    branches: Branches = {
        "genWeight": weights,
        "Generator_weight": weights,
        "LHEWeight_originalXWGTUP": weights,
        "Pileup_nTrueInt": events.reconstructed.interactions.astype(np.float32),
    }
    branches |= _particles(parts, small=nano == "v15")
    branches |= _dressed(events)
    branches |= _matching(events, parts, small=nano == "v15")
    branches |= _prefire(events.reconstructed, nano)
    if events.generated.qt is not None:
        branches |= _theory(events, truth)
    return branches


def _particles(parts: GenParts, *, small: bool) -> Branches:
    lists = Jagged(parts.present)
    return {
        "GenPart_pt": lists(parts.pt, np.float32),
        "GenPart_eta": lists(parts.eta, np.float32),
        "GenPart_phi": lists(parts.phi, np.float32),
        "GenPart_mass": lists(parts.mass, np.float32),
        "GenPart_pdgId": lists(parts.pdg_id, np.int32),
        "GenPart_status": lists(parts.status, np.int32),
        "GenPart_statusFlags": lists(parts.flags, np.uint16 if small else np.int32),
        "GenPart_genPartIdxMother": lists(
            parts.mother, np.int16 if small else np.int32
        ),
    }


def _dressed(events: ToyEvents) -> Branches:
    """Muons with their collinear photons; for tau decays the bare muon."""
    generated, is_tau = events.generated, events.sample.decay == "tau"
    muons = generated.muons if is_tau else generated.leptons
    shape = (len(events), len(muons))
    lists = Jagged(np.ones(shape, bool))
    signs = np.array([-13, 13])[: len(muons)]
    return {
        "GenDressedLepton_pt": lists(np.stack([m.pt for m in muons], 1), np.float32),
        "GenDressedLepton_eta": lists(np.stack([m.eta for m in muons], 1), np.float32),
        "GenDressedLepton_phi": lists(np.stack([m.phi for m in muons], 1), np.float32),
        "GenDressedLepton_mass": lists(np.full(shape, 0.1056583745), np.float32),
        "GenDressedLepton_pdgId": lists(generated.charge[:, None] * signs, np.int32),
        "GenDressedLepton_hasTauAnc": lists(np.full(shape, is_tau), np.bool_),
    }


def _matching(events: ToyEvents, parts: GenParts, *, small: bool) -> Branches:
    """Which particle each reconstructed muon is, and of what origin."""
    reconstructed = events.reconstructed
    muons = Jagged(reconstructed.found)
    places = np.array([*parts.muon_index, 0])[:2]
    index = places[reconstructed.source]
    origin = {"tau": 15}.get(events.sample.decay, 1)
    if events.sample.process == "qcd":
        origin = 5
    return {
        "Muon_genPartIdx": muons(index, np.int16 if small else np.int32),
        "Muon_genPartFlav": muons(np.full(index.shape, origin), np.uint8),
    }


def _prefire(events: Reconstructed, nano: NanoVersion) -> Branches:
    names = {
        "v6": ("PrefireWeight", "PrefireWeight_Up", "PrefireWeight_Down"),
        "v9": (
            "L1PreFiringWeight_Nom",
            "L1PreFiringWeight_Up",
            "L1PreFiringWeight_Dn",
        ),
    }
    nominal, up, down = names["v6" if nano == "v6" else "v9"]
    # Up and down name the probability, so the weight moves the other way.
    return {
        nominal: (1.0 - events.prefire).astype(np.float32),
        up: (1.0 - events.prefire * (1.0 + PREFIRE_UNCERTAINTY)).astype(np.float32),
        down: (1.0 - events.prefire * (1.0 - PREFIRE_UNCERTAINTY)).astype(np.float32),
    }


def _theory(events: ToyEvents, truth: ToyTruth) -> Branches:
    generated, charge = events.generated, events.sample.charge
    assert generated.qt is not None
    assert generated.y is not None
    assert generated.costheta is not None
    assert generated.phistar is not None
    point = (generated.qt, generated.y, generated.costheta, generated.phistar)
    branches: Branches = {}
    for name, weights in (
        ("LHEPdfWeight", pdf_weights(truth, charge, *point)),
        ("LHEScaleWeight", scale_weights(truth, charge, *point)),
    ):
        lists = Jagged(np.ones(weights.shape, bool))
        branches[name] = lists(round_mantissa(weights, WEIGHT_PRECISION), np.float32)
    return branches
