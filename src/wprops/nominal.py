"""The nominal weight of each event: its expected number at the luminosity.

`generated_weight` is that of the bosons that were produced, `nominal_weight` that of
what the detector would have recorded.

Generator weight times normalisation, and what the catalogue's ``corrections:`` ask
for: pile-up, prefiring, the boson's spectra and the efficiency of the muon.
"""

from __future__ import annotations

from collections.abc import Mapping

import awkward as ak
import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.axes import Binning
from wprops.catalog import Catalog
from wprops.corrections.boson import boson_weights, open_boson
from wprops.corrections.efficiency import (
    EfficiencyStep,
    MuonFactors,
    muon_factors,
    open_step,
)
from wprops.corrections.pileup import open_pileup, pileup_weights
from wprops.corrections.prefire import (
    BRANCHES,
    EMObjects,
    Jets,
    branch_weights,
    open_maps,
    prefire_weights,
)
from wprops.datasets import Dataset
from wprops.errors import ConfigError, InputError
from wprops.events.generator import hard_leptons
from wprops.events.schema import file_name, get_branch, has_branch
from wprops.physics.collins_soper import boson_and_angles

FloatArray = NDArray[np.float64]
#: Processes of samples in which single W or Z bosons were produced.
BOSON_SAMPLES = ("W", "W_mu", "W_tau", "Z")


def generated_weight(events: ak.Array) -> FloatArray:
    """Weight of each generated event, whatever the detector does, shape (n,).

    Needs the normalisation that `wprops.execution.run.run` gives.

    Raises
    ------
    InputError
        If the generator weight is missing.
    """
    dataset = events.metadata["record"]
    remedy = "use a file with generator weights, or set `kind: data`"
    weight = events.metadata["normalisation"] * _column(events, "genWeight", remedy)
    # The W of a top decay, say, does not have the spectrum of a W that was produced.
    if dataset.corrections.boson is not None and dataset.process in BOSON_SAMPLES:
        weight = weight * _boson(events, dataset)
    return weight


def nominal_weight(events: ak.Array) -> FloatArray:
    """Nominal weight of each event before the efficiency of its muon, shape (n,).

    Data have weight 1.

    Raises
    ------
    InputError
        If a branch is missing that the weight or a correction needs.
    """
    dataset = events.metadata["record"]
    if dataset.kind == "data":
        return np.ones(len(events))
    weight = generated_weight(events)
    corrections = dataset.corrections
    if corrections.pileup is not None:
        remedy = "take `pileup:` out of the corrections of this dataset"
        n_true = _column(events, "Pileup_nTrueInt", remedy)
        opened = open_pileup(corrections.pileup.file, corrections.pileup.name)
        weight = weight * pileup_weights(opened, n_true, ("nominal",))["nominal"]
    if corrections.prefire is not None:
        weight = weight * prefire(events, dataset)["nominal"]
    return weight


def prefire(events: ak.Array, dataset: Dataset) -> Mapping[str, FloatArray]:
    """Probability that nothing prefired: ``nominal``, ``up``, ``down``.

    Raises
    ------
    InputError
        If the file lacks the branches, or the objects that the maps need.
    """
    source = dataset.corrections.prefire
    if source == "branches":
        names = {name for flavour in BRANCHES.values() for name in flavour}
        columns = {
            name: _column(events, name, "")
            for name in sorted(names)
            if has_branch(events, name)
        }
        found = branch_weights(columns)
        if found is None:
            msg = (
                f"{file_name(events)} has no prefire weights; give a file of maps as "
                f"`prefire:` for dataset {dataset.name!r}"
            )
            raise InputError(msg)
        return found
    assert source is not None  # the caller asks for a dataset with prefire weights
    electrons = _objects(events, "Electron")
    return prefire_weights(
        open_maps(source),
        len(events),
        Jets(**_kinematics(events, "Jet")),
        _objects(events, "Photon"),
        electrons,
    )


def efficiency(
    dataset: Dataset,
    charge: NDArray[np.int64],
    eta: FloatArray,
    pt: FloatArray,
    isolated: NDArray[np.bool_] | None = None,
) -> MuonFactors | None:
    """Efficiency scale factors of selected muons; None where none are applied.

    All muons are isolated unless ``isolated`` tells which are.
    """
    steps = _efficiency_steps(dataset)
    return muon_factors(steps, charge, eta, pt, isolated) if steps else None


def _efficiency_steps(dataset: Dataset) -> list[EfficiencyStep]:
    """Open the steps that apply to a dataset; data have none."""
    opened = []
    for step in dataset.corrections.efficiency if dataset.kind == "mc" else ():
        simulated = step.isolation
        isolation = None if simulated is None else (simulated.file, simulated.name)
        opened.append(open_step(step.file, step.name, isolation))
    return opened


def efficiency_parts(catalog: Catalog, binning: Binning) -> int:
    """Eta bins of the efficiency's statistical variations in one of the templates.

    Raises
    ------
    ConfigError
        If bins of the variations reach across edges of the templates, or datasets
        have variations in different bins, which cannot share parameters.
    """
    if "sf_stat" in catalog.without:
        return 1
    found: dict[tuple[float, ...], tuple[str, EfficiencyStep]] = {}
    for dataset in catalog.datasets:
        for step in _efficiency_steps(dataset):
            if step.has_stat:
                found.setdefault(tuple(step.stat_edges), (dataset.name, step))
    if not found:
        return 1
    if len(found) > 1:
        edges = "; ".join(f"{name!r} {list(e)}" for e, (name, _) in found.items())
        msg = (
            "the datasets have statistical variations of the efficiency in different "
            f"eta bins, with the inner edges {edges}; they share their parameters, so "
            "give all the same `corrections: efficiency:`"
        )
        raise ConfigError(msg)
    ((_, step),) = found.values()
    return parts_per_bin(step, binning.eta)


def parts_per_bin(step: EfficiencyStep, eta: ArrayLike) -> int:
    """Count the bins of the statistical variations in one eta bin of templates.

    The largest one counts. Each bin of the variations was measured independently, so
    it has parameters of its own, which act in one eta bin of the templates: bins of
    the variations may not reach across an edge of the templates.

    Parameters
    ----------
    step : EfficiencyStep
        A step with statistical variations.
    eta : array_like, shape (n + 1,)
        Edges of the templates.

    Raises
    ------
    ConfigError
        If an edge of the templates lies inside of a bin of the variations.
    """
    eta, inner = np.asarray(eta, dtype=float), step.stat_edges
    inside = [edge for edge in eta[1:-1] if not np.isclose(inner, edge).any()]
    if inside:
        shown = ", ".join(f"{edge:g}" for edge in inside)
        msg = (
            f"correction {step.name!r}: the statistical variations have the inner eta "
            f"edges {np.round(inner, 6).tolist()}, the templates the edges "
            f"{eta.tolist()}. A bin of the variations reaches across {shown}, where "
            "one parameter would have to move two bins of the templates. Build the "
            "factors in the eta bins of the templates or finer ones, choose another "
            "`--binning`, or set `without: [sf_stat]` in the catalogue"
        )
        raise ConfigError(msg)
    # Edges of the templates, which may differ by rounding, do not count as inside.
    between = inner[~np.isclose(inner[:, None], eta).any(axis=1)]
    return int(np.histogram(between, eta)[0].max()) + 1


def _boson(events: ak.Array, dataset: Dataset) -> FloatArray:
    """Weight in qT and |Y| of the boson; 1 for events without one."""
    assert dataset.corrections.boson is not None
    leptons = hard_leptons(events)
    found = leptons.flavour > 0
    boson = boson_and_angles(leptons.lepton[:, found], leptons.other[:, found])
    weight = np.ones(len(events))
    opened = open_boson(dataset.corrections.boson)
    weight[found] = boson_weights(opened, boson.qt, np.abs(boson.y))["nominal"]
    return weight


def _column(events: ak.Array, name: str, remedy: str) -> FloatArray:
    return ak.to_numpy(get_branch(events, name, remedy=remedy)).astype(float)


def _kinematics(events: ak.Array, collection: str) -> dict[str, NDArray[np.generic]]:
    remedy = "set `prefire: branches`, or use a file with this collection"
    columns = {
        name: get_branch(events, f"{collection}_{name}", remedy=remedy)
        for name in ("pt", "eta")
    }
    counts = ak.to_numpy(ak.num(columns["pt"]))
    return {
        name: ak.to_numpy(ak.flatten(values)) for name, values in columns.items()
    } | {"event": np.repeat(np.arange(len(events)), counts)}


def _objects(events: ak.Array, collection: str) -> EMObjects:
    remedy = "set `prefire: branches`, or use a file with this branch"
    indices = {"jet_index": f"{collection}_jetIdx"}
    if collection == "Electron":
        indices["photon_index"] = "Electron_photonIdx"
    flat = {
        key: ak.to_numpy(ak.flatten(get_branch(events, name, remedy=remedy)))
        for key, name in indices.items()
    }
    return EMObjects(**_kinematics(events, collection), **flat)
