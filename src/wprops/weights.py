"""Event weights: the nominal one and its variations, as the records declare them.

A weight systematic is one record in `wprops.systematics.catalog` and one function
here, which returns the weights relative to nominal by variation label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from wprops.datasets import Dataset
from wprops.errors import ConfigError, InputError
from wprops.events.schema import file_name, get_branch
from wprops.physics.breit_wigner import mass_weight
from wprops.physics.collins_soper import BosonDecay
from wprops.systematics.catalog import MASS_STEP
from wprops.systematics.declaration import NOMINAL, Systematic, variation_label

Columns = dict[str, NDArray[np.float64]]


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
    """

    events: ak.Array
    pick: NDArray[np.int64]
    dataset: Dataset
    hessian: NDArray[np.float64] | None = None
    boson: BosonDecay | None = None

    def restricted(self, index: NDArray[np.int64], boson: BosonDecay) -> WeightInputs:
        """Return the inputs of some of the picked events, with their bosons."""
        return replace(self, pick=self.pick[index], boson=boson)


def nominal_weight(events: ak.Array) -> NDArray[np.float64]:
    """Nominal weight of each event: its expected number at the luminosity.

    Data have weight 1, simulation the generator weight times the normalisation that
    `wprops.execution.run.run` gives.

    Raises
    ------
    InputError
        If the generator weight is missing.
    """
    normalisation = events.metadata["normalisation"]
    if events.metadata["record"].kind == "data":
        return np.ones(len(events))
    remedy = "use a file with generator weights, or set `kind: data`"
    weight = get_branch(events, "genWeight", remedy=remedy)
    return normalisation * ak.to_numpy(weight).astype(float)


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
    lengths = np.unique(ak.to_numpy(ak.num(weights)))
    if len(lengths) > 1:
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
    """
    pdf = inputs.dataset.weights.pdf
    if pdf is None:
        msg = (
            f"dataset {inputs.dataset.name!r} declares no PDF weights in the "
            "catalogue, but its process has PDF systematics: add `weights: {pdf: ...}`"
        )
        raise ConfigError(msg)
    members = lhe_weights(inputs, pdf.branch)
    n_alphas = 2 if pdf.alphas else 0
    offset = members.shape[1] - pdf.replicas - n_alphas
    if offset not in (0, 1):
        msg = (
            f"{file_name(inputs.events)}: {pdf.branch} has {members.shape[1]} entries; "
            f"{pdf.replicas} replicas and {n_alphas} alphaS members make "
            f"{pdf.replicas + n_alphas}, or one more with the nominal first. "
            "Correct `weights: pdf:` of the dataset"
        )
        raise InputError(msg)
    replicas = members[:, offset : offset + pdf.replicas]
    return replicas, members[:, offset + pdf.replicas :]


def pdf(inputs: WeightInputs) -> Columns:
    """Hessian directions of the parton densities, and alphaS down and up.

    A direction k has weight ``1 + sum_j T_jk (r_j - 1)`` from the replicas r_j
    relative to nominal (Carrazza et al., arXiv:1505.06736).
    """
    replicas, alphas = split_pdf_weights(inputs)
    if inputs.hessian is None:
        msg = (
            f"dataset {inputs.dataset.name!r} has PDF replicas but no matrix that "
            "turns them into Hessian directions; add `hessian: FILE.csv` below `pdf:`"
        )
        raise ConfigError(msg)
    directions = 1.0 + (replicas - 1.0) @ inputs.hessian
    columns = {
        variation_label(f"pdf_{k + 1:02d}", "up"): directions[:, k]
        for k in range(directions.shape[1])
    }
    if alphas.shape[1]:
        columns[variation_label("alphas", "down")] = alphas[:, 0].astype(float)
        columns[variation_label("alphas", "up")] = alphas[:, 1].astype(float)
    return columns


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


#: The function that makes the weights of each group of weight systematics.
WEIGHTS: dict[str, Callable[[WeightInputs], Columns]] = {
    "pdf": pdf,
    "mass": boson_mass,
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
