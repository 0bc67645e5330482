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

A step that corrects the isolation moves muons between two classes: with the factor s on
an efficiency ε of the simulation, an isolated muon has the weight s, an anti-isolated
one (1 − s ε)/(1 − ε). Their sum is kept, and the isolated fraction is s ε.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.corrections.contents import (
    binnings_of,
    common_edges,
    content_of,
    options_of,
)
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
    isolation : EfficiencyStep, optional
        For a step that corrects the isolation, a table whose nominal values are the
        efficiency of the isolation in the simulation, above 0 and below 1.
    """

    name: str
    eta: FloatArray
    pt: FloatArray
    table: FloatArray
    stat_bin: IntArray
    isolation: EfficiencyStep | None = None

    @property
    def has_stat(self) -> bool:
        """Whether the step has statistical variations."""
        return self.table.shape[-1] > 2

    @property
    def stat_edges(self) -> FloatArray:
        """Edges in eta between the bins of the statistical variations."""
        return self.eta[1:-1][np.diff(self.stat_bin) != 0]

    def look_up(
        self, charge: FloatArray, eta: FloatArray, pt: FloatArray
    ) -> tuple[FloatArray, IntArray]:
        """Rows of the table, shape (n, 2 or 5), and bins in eta of some muons."""
        _, n_eta, n_pt, n_columns = self.table.shape
        eta_bin = bin_index(self.eta, eta)
        row = ((charge > 0) * n_eta + eta_bin) * n_pt + bin_index(self.pt, pt)
        return self.table.reshape(-1, n_columns)[row], eta_bin


@dataclass(frozen=True, kw_only=True, slots=True)
class MuonFactors:
    """Scale factors of n muons.

    Attributes
    ----------
    nominal : ndarray, shape (n,)
        Product of the steps; of a step that corrects the isolation, anti-isolated
        muons have the complement.
    stat : ndarray, shape (n, 3)
        Relative statistical variations of the muon's own eta bin: the factor is
        ``nominal * (1 ± stat)``. Shape (n, 0) if no step has them.
    eta_bin : ndarray of int64, shape (n,)
        That eta bin; a nuisance parameter belongs to a (variation, eta bin, charge).
        Zero if no step has variations.
    systematic : ndarray, shape (n,)
        Relative systematic uncertainty, one nuisance parameter: the steps in
        quadrature, plus that of a step that corrects the isolation, which is negative
        for anti-isolated muons. For POG steps it is their total uncertainty.
    """

    nominal: FloatArray
    stat: FloatArray
    eta_bin: IntArray
    systematic: FloatArray


def open_step(
    path: Path, name: str, isolation: tuple[Path, str] | None = None
) -> EfficiencyStep:
    """Open one correction of a file, in the project's or the POG's layout.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        Name of the correction in it.
    isolation : (Path, str), optional
        For factors that correct the isolation, file and name of its efficiency in the
        simulation: that of prompt muons which pass all other cuts, in either layout.

    Raises
    ------
    ConfigError
        If a file or a correction is missing, has other inputs, other content than
        bins, no nominal value, or incomplete variations. Or if the efficiency of the
        isolation, or its product with the factor, is not between 0 and 1.
    """
    step = _open_step(path, name, version_of(path))
    if isolation is None:
        return step
    versions = version_of(path), version_of(isolation[0])
    return _open_isolation((path, name), isolation, versions)


@lru_cache(maxsize=64)
def _open_isolation(
    factors: tuple[Path, str],
    efficiency: tuple[Path, str],
    _versions: tuple[tuple[int, int], tuple[int, int]],
) -> EfficiencyStep:
    """Open factors and efficiency of the isolation, which is a probability."""
    step, simulated = open_step(*factors), open_step(*efficiency)
    eta, pt = (
        _inside(np.union1d(getattr(step, axis), getattr(simulated, axis)))
        for axis in ("eta", "pt")
    )
    place = [axis.ravel() for axis in np.meshgrid([-1.0, 1.0], eta, pt, indexing="ij")]
    factor, mc = (table.look_up(*place)[0][:, 0] for table in (step, simulated))
    wrong = ~((mc > 0) & (mc < 1) & (factor > 0) & (factor * mc < 1))
    if wrong.any():
        first = int(np.argmax(wrong))
        q, at_eta, at_pt = (float(column[first]) for column in place)
        msg = (
            f"{factors[0]}: correction {factors[1]!r} has the factor {factor[first]:g} "
            f"for charge {q:+.0f}, eta {at_eta:g} and pT {at_pt:g} GeV, where the "
            f"isolation has the efficiency {mc[first]:g} in the simulation "
            f"({efficiency[1]!r} of {efficiency[0]}); both the efficiency and their "
            "product have to be between 0 and 1. Correct the files, use wider bins, or "
            "leave `isolation:` out"
        )
        raise ConfigError(msg)
    return replace(step, isolation=simulated)


@lru_cache(maxsize=64)
def _open_step(path: Path, name: str, _version: tuple[int, int]) -> EfficiencyStep:
    found = open_set(path)
    inputs = [v.name for v in found[name].inputs] if name in set(found) else []
    is_pog = POG_INPUTS[-1] in inputs
    layout = POG_INPUTS if is_pog else OWN_INPUTS
    correction = get_correction(path, name, layout)
    where = f"{path}: correction {name!r}"
    data = content_of(path, name)
    options = dict(options_of(data, layout[-1]))
    needed = {NOMINAL} | ({POG_UP} if is_pog else set())
    has_stat = not is_pog and not set(STAT).isdisjoint(options)
    missing = (needed | (set(STAT) if has_stat else set())) - set(options)
    if missing:
        msg = (
            f"{where} lacks {', '.join(sorted(missing))}; it has "
            f"{', '.join(sorted(options)) or 'none'} as {layout[-1]}. Add what is "
            "missing"
        )
        raise ConfigError(msg)
    eta, pt = (common_edges(data, axis) for axis in ("eta", "pt"))
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
    steps: Sequence[EfficiencyStep],
    charge: ArrayLike,
    eta: ArrayLike,
    pt: ArrayLike,
    isolated: NDArray[np.bool_] | None = None,
) -> MuonFactors:
    """Scale factors of muons: the product of the steps, with its uncertainties.

    A relative change d of the factor s on the efficiency ε of the isolation changes
    the weight of anti-isolated muons by −d s ε/(1 − s ε).

    Parameters
    ----------
    steps : sequence of EfficiencyStep
        From `open_step`; at most one with statistical variations, and at most one that
        corrects the isolation.
    charge : array_like, shape (n,)
        +1 or −1.
    eta, pt : array_like, shape (n,)
        Pseudorapidity and transverse momentum [GeV].
    isolated : ndarray of bool, shape (n,), optional
        False for anti-isolated muons; all are isolated when omitted.

    Returns
    -------
    MuonFactors

    Raises
    ------
    InputError
        If columns differ in length, are not finite, or a charge is neither +1 nor −1.
    ConfigError
        If two steps have statistical variations, or correct the isolation.
    """
    _require_one_of_each(steps)
    q, eta, pt = finite_columns(charge=charge, eta=eta, pt=pt)
    require_charge(q)
    nominal = np.ones(len(pt))
    variance = np.zeros(len(pt))
    of_isolation = np.zeros(len(pt))
    stat = np.empty((len(pt), 0))
    eta_bin = np.zeros(len(pt), dtype=np.int64)
    for step in steps:
        values, i = step.look_up(q, eta, pt)
        if step.isolation is None:
            variance += values[:, 1] ** 2
        else:
            if isolated is not None:
                efficiency = step.isolation.look_up(q, eta, pt)[0][:, 0]
                anti = ~np.asarray(isolated)
                values[anti] = _complement(values[anti], efficiency[anti])
            # In quadrature with the others it would lose its sign, and with it what it
            # does to the isolated fraction.
            of_isolation = values[:, 1]
        nominal *= values[:, 0]
        if step.has_stat:
            stat, eta_bin = values[:, 2:].copy(), step.stat_bin[i]
    return MuonFactors(
        nominal=nominal,
        stat=stat,
        eta_bin=eta_bin,
        systematic=np.sqrt(variance) + of_isolation,
    )


def _complement(values: FloatArray, efficiency: FloatArray) -> FloatArray:
    """Turn rows of a table for isolated muons into those for anti-isolated ones."""
    passing = values[:, 0] * efficiency
    response = -passing / (1.0 - passing)
    changes = response[:, None] * values[:, 1:]
    return np.column_stack([(1.0 - passing) / (1.0 - efficiency), changes])


def _require_one_of_each(steps: Sequence[EfficiencyStep]) -> None:
    """Refuse steps whose variations would share parameters, or their complement."""
    with_stat = [step.name for step in steps if step.has_stat]
    if len(with_stat) > 1:
        msg = (
            f"the steps {', '.join(with_stat)} all have statistical variations, but "
            "there are three nuisance parameters per eta bin and charge; keep them in "
            "one of the steps"
        )
        raise ConfigError(msg)
    isolating = [step.name for step in steps if step.isolation is not None]
    if len(isolating) > 1:
        msg = (
            f"the steps {', '.join(isolating)} all have `isolation:`, but a muon is "
            "isolated once; declare it for one step, whose factor is that of the "
            "whole isolation"
        )
        raise ConfigError(msg)


def _inside(edges: FloatArray) -> FloatArray:
    """Return a point in each bin, of which the last may extend to infinity."""
    return edges[:-1] + np.minimum(np.diff(edges) / 2, 1.0)


def _stat_edges(where: str, options: dict[str, Any]) -> FloatArray:
    """Return the eta bins of the statistical variations, one binning for all."""
    stat = (options[variation] for variation in STAT)
    binnings = {edges for content in stat for edges in binnings_of(content, "eta")}
    if len(binnings) != 1:
        msg = (
            f"{where} has {len(binnings)} different binnings in eta of its statistical "
            "variations, and needs one, which numbers the nuisance parameters; build "
            "them with one binning"
        )
        raise ConfigError(msg)
    return np.array(binnings.pop())
