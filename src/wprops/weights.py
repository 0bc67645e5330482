"""Weight variations, as the records declare them.

A weight systematic is one record in `wprops.systematics.catalog` and one function
here, which returns the weights relative to nominal by variation label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import product

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from wprops.corrections.efficiency import MuonFactors
from wprops.datasets import Dataset
from wprops.errors import ConfigError
from wprops.events.lhe import alphas_weights, replica_weights, scale_weights
from wprops.nominal import prefire
from wprops.physics.breit_wigner import mass_weight
from wprops.physics.collins_soper import BosonDecay
from wprops.systematics.catalog import (
    MASS_STEP,
    N_EFFICIENCY,
    SCALE_SLICES,
    SCALES,
    WIDTH_STEP,
    scale_name,
    stat_name,
)
from wprops.systematics.declaration import NOMINAL, Systematic, variation_label

#: Weights relative to nominal by label, in single or double precision.
Columns = dict[str, NDArray[np.floating]]
#: Events whose weights fit into the cache of a core.
_ROWS = 1024


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
    efficiency_parts : int
        Eta bins of the efficiency in one of the templates; `weight_ratios` counts
        them in the declarations.
    """

    events: ak.Array
    pick: NDArray[np.int64]
    dataset: Dataset
    hessian: NDArray[np.float64] | None = None
    boson: BosonDecay | None = None
    muons: MuonFactors | None = None
    efficiency_parts: int = 1

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


def pdf(inputs: WeightInputs) -> Columns:
    """Hessian directions of the parton densities.

    A direction k has weight ``1 + sum_j T_jk (r_j - 1)`` from the replicas r_j
    relative to nominal (Carrazza et al., arXiv:1505.06736).
    """
    change = replica_weights(inputs.events, inputs.dataset, inputs.pick)
    if inputs.hessian is None:
        msg = (
            f"dataset {inputs.dataset.name!r} has PDF replicas but no matrix that "
            "turns them into Hessian directions; add `hessian: FILE.csv` below `pdf:`"
        )
        raise ConfigError(msg)
    change -= np.float32(1.0)
    # In the precision of the file: differences from 1 lose no digits, and the error of
    # the sum, 1e-8, is below that of the replicas.
    directions = change @ inputs.hessian.astype(np.float32)
    directions += np.float32(1.0)
    return {
        variation_label(f"pdf_{k + 1:02d}", "up"): directions[:, k]
        for k in range(directions.shape[1])
    }


def alphas(inputs: WeightInputs) -> Columns:
    """Members with alphaS down and up."""
    members = alphas_weights(inputs.events, inputs.dataset, inputs.pick)
    if not members.shape[1]:
        msg = (
            f"dataset {inputs.dataset.name!r} has no alphaS members, but others have; "
            "correct `alphas:` of its `pdf:`, or set `without: [alphas]`"
        )
        raise ConfigError(msg)
    return {
        variation_label("alphas", side): members[:, k]
        for k, side in enumerate(("down", "up"))
    }


def scale_z(inputs: WeightInputs) -> Columns:
    """Vary (muR, muF) in six ways."""
    members = scale_weights(inputs.events, inputs.dataset, inputs.pick)
    return {variation_label(scale_name(k), "up"): members[:, k] for k in SCALES}


def scale_w(inputs: WeightInputs) -> Columns:
    """Vary (muR, muF) in six ways in slices of the boson's qT, nominal outside."""
    if inputs.boson is None:
        msg = f"dataset {inputs.dataset.name!r}: scales in slices of qT need its boson"
        raise ConfigError(msg)
    members = scale_weights(inputs.events, inputs.dataset, inputs.pick)
    qt = inputs.boson.qt
    return {
        variation_label(scale_name(k, part), "up"): np.where(
            (qt >= low) & (qt < high), members[:, k], 1.0
        )
        for part, (low, high) in SCALE_SLICES.items()
        for k in SCALES
    }


def _line_shapes(
    inputs: WeightInputs, name: str, mass_step: float, width_step: float
) -> Columns:
    """Ratios of normalised Breit-Wigner shapes, moved up and down by the steps.

    Raises
    ------
    ConfigError
        If the generated mass and width of the sample are not known.
    """
    pole = inputs.dataset.boson
    if inputs.boson is None or pole is None:
        msg = (
            f"dataset {inputs.dataset.name!r}: the variation {name!r} needs the mass "
            "and width that the bosons were generated with; add "
            "`boson: {mass: ..., width: ...}` in GeV"
        )
        raise ConfigError(msg)
    return {
        variation_label(name, side): mass_weight(
            inputs.boson.mass,
            pole=pole.mass,
            width=pole.width,
            new_pole=pole.mass + sign * mass_step,
            new_width=pole.width + sign * width_step,
        )
        for side, sign in (("up", 1.0), ("down", -1.0))
    }


def boson_mass(inputs: WeightInputs) -> Columns:
    """Vary m_W by `MASS_STEP`, the width fixed."""
    return _line_shapes(inputs, "mw", MASS_STEP, 0.0)


def boson_width(inputs: WeightInputs) -> Columns:
    """Vary the width of the W by `WIDTH_STEP`, the mass fixed."""
    return _line_shapes(inputs, "width", 0.0, WIDTH_STEP)


def _muon_factors(inputs: WeightInputs) -> MuonFactors:
    if inputs.muons is None:
        msg = (
            f"dataset {inputs.dataset.name!r} has no efficiency scale factors, but "
            "others have; give all the same `corrections: efficiency:`"
        )
        raise ConfigError(msg)
    return inputs.muons


def efficiency_stat(inputs: WeightInputs) -> Columns:
    """Statistical variations of the efficiency in the muon's own eta bin.

    With several of these bins in one of the templates, part p varies the muons of
    each p-th of them.
    """
    factors = _muon_factors(inputs)
    if not factors.stat.shape[1]:
        msg = (
            f"dataset {inputs.dataset.name!r}: none of its efficiency steps has "
            "statistical variations; set `without: [sf_stat]` in the catalogue"
        )
        raise ConfigError(msg)
    n_parts = inputs.efficiency_parts
    columns: Columns = {}
    for part, k in product(range(n_parts), range(factors.stat.shape[1])):
        # Bins that follow each other have different numbers, wherever the first is.
        inside = factors.eta_bin % n_parts == part
        change = np.where(inside, factors.stat[:, k], 0.0)
        name = stat_name(k, part, n_parts)
        columns[variation_label(name, "up")] = 1.0 + change
        columns[variation_label(name, "down")] = 1.0 - change
    return columns


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
    "width": boson_width,
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
    n_stat = sum(record.group == "sf_stat" for record in wanted)
    inputs = replace(inputs, efficiency_parts=max(n_stat // N_EFFICIENCY, 1))
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
    ratios = np.empty((len(inputs.pick), len(labels)))
    # Row by row in blocks, three times as fast as column by column: the columns are
    # far apart in memory.
    for start in range(0, len(ratios), _ROWS):
        rows = slice(start, start + _ROWS)
        for column, label in enumerate(labels):
            ratios[rows, column] = columns[label][rows]
    return labels, ratios
