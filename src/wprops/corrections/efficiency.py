"""Muon efficiency scale factors: the product of steps such as selection and trigger.

A step is one correction of a file, in one of two layouts, told apart by its inputs:

- the project's own (``corrections/build_efficiency.py``, or a user's file like it):
  ``charge, eta, pt, variation``, where ``variation`` is ``nominal``, and optionally
  ``stat_0`` … ``stat_2`` and ``systematic``, both relative to nominal;
- a muon POG file (``muon_Z``): ``eta, pt, scale_factors``.

Factors are looked up in bins, without interpolation. A muon outside of the range of a
file, such as 25 < pT < 55 GeV, has the factor of the nearest bin. A step is opened by
one evaluation of correctionlib in every bin; muons are then looked up in a table, four
times as fast as with one evaluation per muon and variation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from correctionlib.highlevel import open_auto
from numpy.typing import ArrayLike, NDArray

from wprops.corrections.sets import (
    bin_index,
    finite_columns,
    get_correction,
    open_set,
    require_charge,
    version_of,
)
from wprops.errors import ConfigError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

OWN_INPUTS = ("charge", "eta", "pt", "variation")
POG_INPUTS = ("eta", "pt", "scale_factors")
NOMINAL = "nominal"
#: Relative statistical variations: three orthogonal ones, independent per eta bin.
STAT = ("stat_0", "stat_1", "stat_2")
#: Relative systematic uncertainty, fully correlated.
SYSTEMATIC = "systematic"
#: Nominal plus total uncertainty, in POG files.
POG_UP = "systup"
#: What a look-up table can represent.
BINNED_NODES = {"category", "binning", "multibinning"}


@dataclass(frozen=True, kw_only=True, slots=True)
class EfficiencyStep:
    """Scale factors of one step, as a table.

    Attributes
    ----------
    name : str
        Name of the correction.
    eta, pt : ndarray, shape (n_eta + 1,), (n_pt + 1,)
        Edges of the bins of the table, pt in GeV: all edges of all variations.
    table : ndarray, shape (2, n_eta, n_pt, 2 or 5)
        For charge −1 and +1 the nominal factor, its relative systematic uncertainty
        and, where the step has them, its relative statistical variations.
    stat_bin : ndarray of int64, shape (n_eta,)
        Which eta bin of the statistical variations a bin of the table lies in.
    """

    name: str
    eta: FloatArray
    pt: FloatArray
    table: FloatArray
    stat_bin: IntArray

    @property
    def has_stat(self) -> bool:
        """Whether the step has statistical variations."""
        return self.table.shape[-1] > 2

    @property
    def stat_edges(self) -> FloatArray:
        """Edges in eta between the bins of the statistical variations."""
        return self.eta[1:-1][np.diff(self.stat_bin) != 0]


@dataclass(frozen=True, kw_only=True, slots=True)
class MuonFactors:
    """Scale factors of n muons.

    Attributes
    ----------
    nominal : ndarray, shape (n,)
        Product of the steps.
    stat : ndarray, shape (n, 3)
        Relative statistical variations of the muon's own eta bin: the factor is
        ``nominal * (1 ± stat)``. Shape (n, 0) if no step has them.
    eta_bin : ndarray of int64, shape (n,)
        That eta bin; a nuisance parameter belongs to a (variation, eta bin, charge).
        Zero if no step has variations.
    systematic : ndarray, shape (n,)
        Relative systematic uncertainty, one nuisance parameter: the steps in
        quadrature. For POG steps it is their total uncertainty.
    """

    nominal: FloatArray
    stat: FloatArray
    eta_bin: IntArray
    systematic: FloatArray


def open_step(path: Path, name: str) -> EfficiencyStep:
    """Open one correction of a file, in the project's or the POG's layout.

    Raises
    ------
    ConfigError
        If the file or the correction is missing, has other inputs, other content than
        bins, no nominal factor, or incomplete variations.
    """
    return _open_step(path, name, version_of(path))


@lru_cache(maxsize=64)
def _open_step(path: Path, name: str, _version: tuple[int, int]) -> EfficiencyStep:
    found = open_set(path)
    inputs = [v.name for v in found[name].inputs] if name in set(found) else []
    is_pog = POG_INPUTS[-1] in inputs
    layout = POG_INPUTS if is_pog else OWN_INPUTS
    correction = get_correction(path, name, layout)
    where = f"{path}: correction {name!r}"
    data = _content(path, name)
    options = dict(_options(data, layout[-1]))
    needed = {NOMINAL} | ({POG_UP} if is_pog else set())
    has_stat = not is_pog and not set(STAT).isdisjoint(options)
    missing = (needed | (set(STAT) if has_stat else set())) - set(options)
    if missing:
        msg = (
            f"{where} lacks {', '.join(sorted(missing))}; it has "
            f"{', '.join(sorted(options))} as {layout[-1]}. Add what is missing"
        )
        raise ConfigError(msg)
    eta, pt = (_common_edges(data, axis) for axis in ("eta", "pt"))
    inside = np.meshgrid([-1, 1], _inside(eta), _inside(pt), indexing="ij")
    place = [axis.ravel() for axis in (inside[1:] if is_pog else inside)]

    def column(variation: str) -> FloatArray:
        try:
            return correction.evaluate(*place, variation).reshape(inside[0].shape)
        except (IndexError, RuntimeError) as error:
            msg = (
                f"{where} has no {variation} for all of charge -1 and +1, eta from "
                f"{eta[0]:g} to {eta[-1]:g} and pT from {pt[0]:g} to {pt[-1]:g} GeV: "
                f"{error}. Fill its gaps"
            )
            raise ConfigError(msg) from error

    nominal = column(NOMINAL)
    if is_pog:
        systematic = column(POG_UP) / nominal - 1.0
    else:
        has_systematic = SYSTEMATIC in options
        systematic = column(SYSTEMATIC) if has_systematic else np.zeros(nominal.shape)
    stat = [column(variation) for variation in STAT] if has_stat else []
    stat_eta = _stat_edges(where, options) if has_stat else eta[[0, -1]]
    return EfficiencyStep(
        name=name,
        eta=eta,
        pt=pt,
        table=np.stack([nominal, systematic, *stat], axis=-1),
        stat_bin=bin_index(stat_eta, _inside(eta)),
    )


def muon_factors(
    steps: Sequence[EfficiencyStep], charge: ArrayLike, eta: ArrayLike, pt: ArrayLike
) -> MuonFactors:
    """Scale factors of muons: the product of the steps, with its uncertainties.

    Parameters
    ----------
    steps : sequence of EfficiencyStep
        From `open_step`; at most one with statistical variations.
    charge : array_like, shape (n,)
        +1 or −1.
    eta, pt : array_like, shape (n,)
        Pseudorapidity and transverse momentum [GeV].

    Returns
    -------
    MuonFactors

    Raises
    ------
    InputError
        If columns differ in length, are not finite, or a charge is neither +1 nor −1.
    ConfigError
        If two steps have statistical variations.
    """
    with_stat = [step.name for step in steps if step.has_stat]
    if len(with_stat) > 1:
        msg = (
            f"the steps {', '.join(with_stat)} all have statistical variations, but "
            "there are three nuisance parameters per eta bin and charge; keep them in "
            "one of the steps"
        )
        raise ConfigError(msg)
    q, eta, pt = finite_columns(charge=charge, eta=eta, pt=pt)
    require_charge(q)
    nominal = np.ones(len(pt))
    variance = np.zeros(len(pt))
    stat = np.empty((len(pt), 0))
    eta_bin = np.zeros(len(pt), dtype=np.int64)
    for step in steps:
        _, n_eta, n_pt, n_columns = step.table.shape
        i = bin_index(step.eta, eta)
        row = ((q > 0) * n_eta + i) * n_pt + bin_index(step.pt, pt)
        values = step.table.reshape(-1, n_columns)[row]
        nominal *= values[:, 0]
        variance += values[:, 1] ** 2
        if step.has_stat:
            stat, eta_bin = values[:, 2:].copy(), step.stat_bin[i]
    return MuonFactors(
        nominal=nominal, stat=stat, eta_bin=eta_bin, systematic=np.sqrt(variance)
    )


def _inside(edges: FloatArray) -> FloatArray:
    """Return a point in each bin, of which the last may extend to infinity."""
    return edges[:-1] + np.minimum(np.diff(edges) / 2, 1.0)


def _content(path: Path, name: str) -> Any:
    """Return the content of a correction; correctionlib itself does not show it."""
    entries = json.loads(open_auto(str(path)))["corrections"]
    data = next((e["data"] for e in entries if e["name"] == name), None)
    if data is None:
        msg = f"{path}: {name!r} combines other corrections; name each as a step"
        raise ConfigError(msg)
    # Bins in abs(eta) are written as a transform, with the formula as its rule.
    rules = [id(node["rule"]) for node in _nodes(data) if _is_absolute(node)]
    others = {
        node.get("nodetype", "category")
        for node in _nodes(data)
        if not _is_absolute(node) and id(node) not in rules
    } - BINNED_NODES
    if others:
        msg = (
            f"{path}: correction {name!r} has content of type "
            f"{', '.join(sorted(others))}, but factors are looked up in bins; give "
            "their values in bins"
        )
        raise ConfigError(msg)
    return data


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Return all nodes of a correction's content, outer ones first."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node:
        if isinstance(child, dict | list):
            yield from _nodes(child)


def _is_absolute(node: dict[str, Any]) -> bool:
    """Whether a node replaces an input by its absolute value."""
    return (
        node.get("nodetype") == "transform"
        and node["rule"].get("expression") in ("abs(x)", "fabs(x)")
        and node["rule"]["variables"] == [node["input"]]
    )


def _options(data: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Return the values that an input of type string may have, with their content."""
    for node in _nodes(data):
        if node.get("nodetype") == "category" and node["input"] == name:
            yield from ((item["key"], item["value"]) for item in node["content"])


def _binnings(data: Any, name: str) -> Iterator[tuple[float, ...]]:
    """Return the edges of one input, of each node that has bins in it."""
    for node in _nodes(data):
        if node.get("nodetype") == "binning" and node["input"] == name:
            edges = node["edges"]
        elif node.get("nodetype") == "multibinning" and name in node["inputs"]:
            edges = node["edges"][node["inputs"].index(name)]
        else:
            continue
        if isinstance(edges, dict):
            edges = np.linspace(edges["low"], edges["high"], edges["n"] + 1)
        yield tuple(float(edge) for edge in edges)


def _common_edges(data: Any, name: str) -> FloatArray:
    """Return all edges of an input, in the range that all its binnings cover."""
    binnings = set(_binnings(data, name)) or {(-1.0, 1.0)}  # one bin, of any range
    if any(_is_absolute(node) and node["input"] == name for node in _nodes(data)):
        # A bin in abs(eta) has its lower edge, so its mirror image has the upper one.
        binnings = {
            (*(np.nextafter(-edge, 0.0) for edge in edges[:0:-1]), *edges)
            for edges in binnings
        }
    low = max(edges[0] for edges in binnings)
    high = min(edges[-1] for edges in binnings)
    inner = {edge for edges in binnings for edge in edges if low < edge < high}
    return np.array([low, *sorted(inner), high])


def _stat_edges(where: str, options: dict[str, Any]) -> FloatArray:
    """Return the eta bins of the statistical variations, one binning for all."""
    stat = (options[variation] for variation in STAT)
    binnings = {edges for content in stat for edges in _binnings(content, "eta")}
    if len(binnings) != 1:
        msg = (
            f"{where} has {len(binnings)} different binnings in eta of its statistical "
            "variations, and needs one, which numbers the nuisance parameters; build "
            "them with one binning"
        )
        raise ConfigError(msg)
    return np.array(binnings.pop())
