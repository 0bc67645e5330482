"""Weight variations, as the records declare them.

A weight systematic is one record in `wprops.systematics.catalog` and one function
here, which returns the weights relative to nominal by variation label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from wprops.corrections.efficiency import MuonFactors
from wprops.datasets import Dataset
from wprops.errors import ConfigError, InputError
from wprops.events.schema import file_name, get_branch
from wprops.nominal import prefire
from wprops.physics.breit_wigner import mass_weight
from wprops.physics.collins_soper import BosonDecay
from wprops.systematics.catalog import MASS_STEP, SCALE_SLICES, SCALES, scale_name
from wprops.systematics.declaration import NOMINAL, Systematic, variation_label

Columns = dict[str, NDArray[np.float64]]
#: Place of the nominal entry among nine scale weights.
NOMINAL_SCALE, N_SCALES = 4, 9


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightInputs:
    """What the weight functions may read.

    Attributes
    ----------
    events : awkward.Array
        The chunk of NanoEvents.
    pick : ndarray of int64, shape (n,)
        Indices of the events in the chunk for which weights are wanted.
    dataset : Dataset
        The catalogue's record of the sample.
    hessian : ndarray, shape (n_replicas, n_directions), optional
        Turns PDF replicas into Hessian directions.
    boson : BosonDecay, optional
        Generator-level boson of the picked events.
    muons : MuonFactors, optional
        Efficiency scale factors of the muons of the picked events.
    """

    events: ak.Array
    pick: NDArray[np.int64]
    dataset: Dataset
    hessian: NDArray[np.float64] | None = None
    boson: BosonDecay | None = None
    muons: MuonFactors | None = None

    def restricted(
        self, index: NDArray[np.int64], boson: BosonDecay | None = None
    ) -> WeightInputs:
        """Return the inputs of some of the picked events, with their bosons."""
        muons = self.muons
        if muons is not None:
            muons = MuonFactors(
                nominal=muons.nominal[index],
                stat=muons.stat[index],
                eta_bin=muons.eta_bin[index],
                systematic=muons.systematic[index],
            )
        return replace(self, pick=self.pick[index], boson=boson, muons=muons)


def lhe_weights(inputs: WeightInputs, branch: str) -> NDArray[np.float32]:
    """Return a jagged weight branch as a matrix, shape (n, n_weights).

    Raises
    ------
    InputError
        If the branch is absent or its length differs between events.
    """
    remedy = (
        f"the catalogue says that dataset {inputs.dataset.name!r} has it; remove it "
        "from `weights:` of the dataset to run without these variations"
    )
    weights = get_branch(inputs.events, branch, remedy=remedy)
    lengths = ak.to_numpy(ak.num(weights))
    if len(lengths) and lengths.min() != lengths.max():
        msg = (
            f"{file_name(inputs.events)}: {branch} has {lengths.min()} to "
            f"{lengths.max()} entries per event; a fixed number is needed, split the "
            "dataset by file"
        )
        raise InputError(msg)
    width = int(lengths[0]) if len(lengths) else 0
    flat = ak.to_numpy(ak.flatten(weights)).reshape(len(inputs.events), width)
    return flat[inputs.pick]


def split_pdf_weights(
    inputs: WeightInputs,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Split the PDF weights into replicas, (n, n_replicas), and alphaS, (n, 2).

    The replicas come first or follow a nominal member; the number of entries tells
    which. Down and up of alphaS are the last two.

    Raises
    ------
    InputError
        If the number of entries fits neither.
    ConfigError
        If the catalogue declares no PDF weights.
    """
    declared = inputs.dataset.weights.pdf
    if declared is None:
        msg = (
            f"dataset {inputs.dataset.name!r} declares no PDF weights in the "
            "catalogue, but its process has PDF systematics: add `weights: {pdf: ...}`"
        )
        raise ConfigError(msg)
    members = lhe_weights(inputs, declared.branch)
    n_alphas = 2 if declared.alphas else 0
    offset = members.shape[1] - declared.replicas - n_alphas
    if offset not in (0, 1):
        msg = (
            f"{file_name(inputs.events)}: {declared.branch} has {members.shape[1]} "
            f"entries; {declared.replicas} replicas and {n_alphas} alphaS members make "
            f"{declared.replicas + n_alphas}, or one more with the nominal first. "
            "Correct `weights: pdf:` of the dataset"
        )
        raise InputError(msg)
    if offset:  # some files have a nominal member other than 1
        members = members / members[:, :1]
    replicas = members[:, offset : offset + declared.replicas]
    return replicas, members[:, offset + declared.replicas :]


def pdf(inputs: WeightInputs) -> Columns:
    """Hessian directions of the parton densities.

    A direction k has weight ``1 + sum_j T_jk (r_j - 1)`` from the replicas r_j
    relative to nominal (Carrazza et al., arXiv:1505.06736).
    """
    replicas, _ = split_pdf_weights(inputs)
    if inputs.hessian is None:
        msg = (
            f"dataset {inputs.dataset.name!r} has PDF replicas but no matrix that "
            "turns them into Hessian directions; add `hessian: FILE.csv` below `pdf:`"
        )
        raise ConfigError(msg)
    directions = 1.0 + (replicas - 1.0) @ inputs.hessian
    return {
        variation_label(f"pdf_{k + 1:02d}", "up"): directions[:, k]
        for k in range(directions.shape[1])
    }


def alphas(inputs: WeightInputs) -> Columns:
    """Members with alphaS down and up."""
    _, members = split_pdf_weights(inputs)
    if not members.shape[1]:
        msg = (
            f"dataset {inputs.dataset.name!r} has no alphaS members, but others have; "
            "correct `alphas:` of its `pdf:`, or set `without: [alphas]`"
        )
        raise ConfigError(msg)
    return {
        variation_label("alphas", side): members[:, k].astype(float)
        for k, side in enumerate(("down", "up"))
    }


def _scale_members(inputs: WeightInputs) -> NDArray[np.float64]:
    """Weights of (muR, muF) relative to the nominal one, shape (n, 9)."""
    branch = inputs.dataset.weights.scale
    if branch is None:
        msg = (
            f"dataset {inputs.dataset.name!r} declares no scale weights, but others "
            "do; add `scale: LHEScaleWeight` to its `weights:`, or set "
            "`without: [scale_z, scale_w]`"
        )
        raise ConfigError(msg)
    members = lhe_weights(inputs, branch).astype(float)
    if members.shape[1] != N_SCALES:
        msg = (
            f"{file_name(inputs.events)}: {branch} has {members.shape[1]} entries; "
            "nine are needed, (muR, muF) from (0.5, 0.5) to (2, 2) with the nominal in "
            "the middle. Set `without: [scale_z, scale_w]` to run without"
        )
        raise InputError(msg)
    # Some samples have a nominal entry other than 1.
    return members / members[:, [NOMINAL_SCALE]]


def scale_z(inputs: WeightInputs) -> Columns:
    """Vary (muR, muF) in six ways."""
    members = _scale_members(inputs)
    return {variation_label(scale_name(k), "up"): members[:, k] for k in SCALES}


def scale_w(inputs: WeightInputs) -> Columns:
    """Vary (muR, muF) in six ways in slices of the boson's qT, nominal outside."""
    if inputs.boson is None:
        msg = f"dataset {inputs.dataset.name!r}: scales in slices of qT need its boson"
        raise ConfigError(msg)
    members, qt = _scale_members(inputs), inputs.boson.qt
    return {
        variation_label(scale_name(k, part), "up"): np.where(
            (qt >= low) & (qt < high), members[:, k], 1.0
        )
        for part, (low, high) in SCALE_SLICES.items()
        for k in SCALES
    }


def boson_mass(inputs: WeightInputs) -> Columns:
    """Ratios of normalised Breit-Wigner shapes, m_W moved up and down.

    Raises
    ------
    ConfigError
        If the generated mass and width of the sample are not known.
    """
    pole = inputs.dataset.boson
    if inputs.boson is None or pole is None:
        msg = (
            f"dataset {inputs.dataset.name!r}: the m_W variation needs the mass and "
            "width that the bosons were generated with; add "
            "`boson: {mass: ..., width: ...}` in GeV"
        )
        raise ConfigError(msg)
    return {
        variation_label("mw", side): mass_weight(
            inputs.boson.mass,
            pole=pole.mass,
            width=pole.width,
            new_pole=pole.mass + step,
            new_width=pole.width,
        )
        for side, step in (("up", MASS_STEP), ("down", -MASS_STEP))
    }


def _muon_factors(inputs: WeightInputs) -> MuonFactors:
    if inputs.muons is None:
        msg = (
            f"dataset {inputs.dataset.name!r} has no efficiency scale factors, but "
            "others have; give all the same `corrections: efficiency:`"
        )
        raise ConfigError(msg)
    return inputs.muons


def efficiency_stat(inputs: WeightInputs) -> Columns:
    """Statistical variations of the efficiency in the muon's own eta bin."""
    factors = _muon_factors(inputs)
    if not factors.stat.shape[1]:
        msg = (
            f"dataset {inputs.dataset.name!r}: none of its efficiency steps has "
            "statistical variations; set `without: [sf_stat]` in the catalogue"
        )
        raise ConfigError(msg)
    return {
        variation_label(f"sf_stat_{k}", side): 1.0 + sign * factors.stat[:, k]
        for k in range(factors.stat.shape[1])
        for side, sign in (("up", 1), ("down", -1))
    }


def efficiency_syst(inputs: WeightInputs) -> Columns:
    """Systematic variation of the efficiency, one for all muons."""
    systematic = _muon_factors(inputs).systematic
    return {
        variation_label("sf_syst", "up"): 1.0 + systematic,
        variation_label("sf_syst", "down"): 1.0 - systematic,
    }


def prefiring(inputs: WeightInputs) -> Columns:
    """Larger and smaller probability of prefiring."""
    if inputs.dataset.corrections.prefire is None:
        msg = (
            f"dataset {inputs.dataset.name!r} has no prefire weights, but others have; "
            "give all the same `corrections: prefire:`"
        )
        raise ConfigError(msg)
    found = prefire(inputs.events, inputs.dataset)
    nominal = found["nominal"][inputs.pick]
    return {
        variation_label("prefire", side): np.divide(
            found[side][inputs.pick],
            nominal,
            out=np.ones_like(nominal),
            where=nominal > 0,  # an event of weight zero has no ratio, and no effect
        )
        for side in ("up", "down")
    }


#: The function that makes the weights of each group of weight systematics.
WEIGHTS: dict[str, Callable[[WeightInputs], Columns]] = {
    "mass": boson_mass,
    "pdf": pdf,
    "alphas": alphas,
    "scale_z": scale_z,
    "scale_w": scale_w,
    "sf_stat": efficiency_stat,
    "sf_syst": efficiency_syst,
    "prefire": prefiring,
}


def weight_ratios(
    inputs: WeightInputs, systematics: Iterable[Systematic], process: str
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """All weight variations of a process, relative to nominal.

    Parameters
    ----------
    inputs : WeightInputs
        The events and their sample.
    systematics : iterable of Systematic
        The declarations in force.
    process : str
        The process as the records name it.

    Returns
    -------
    labels : tuple of str
        ``nominal`` first.
    ratios : ndarray, shape (n, n_labels)

    Raises
    ------
    ConfigError
        If a declared systematic has no function that makes its weights.
    """
    wanted = [
        record
        for record in systematics
        if record.kind == "weight" and process in record.processes
    ]
    columns: Columns = {NOMINAL: np.ones(len(inputs.pick))}
    for group, function in WEIGHTS.items():
        if any(record.group == group for record in wanted):
            columns |= function(inputs)
    labels = (NOMINAL, *(label for record in wanted for label in record.labels))
    missing = [label for label in labels if label not in columns]
    if missing:
        msg = (
            f"no function in wprops.weights makes {', '.join(missing)} for dataset "
            f"{inputs.dataset.name!r}; add it to WEIGHTS"
        )
        raise ConfigError(msg)
    return labels, np.stack([columns[label] for label in labels], axis=1)
