"""The columns of a chunk of W → μν decays, from which the response is summed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wprops.errors import InputError
from wprops.systematics.declaration import NOMINAL
from wprops.templates.filling import N_FOLDS, Columns

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Columns of all decays, and of those with a reconstructed muon.
_GENERATED = ("qt", "y", "mass", "costheta", "phistar", "eta", "pt", "weight")
_LABELLED = ("reco_pt", "residual", "selected_weight")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Decays:
    """Generated decays of a chunk, and the muons that were reconstructed of them.

    Attributes
    ----------
    charge : ndarray of int, shape (n,)
        Charge of the boson, 1 or −1.
    qt, y, mass : ndarray, shape (n,)
        Transverse momentum [GeV], signed rapidity and mass [GeV] of the boson.
    costheta, phistar : ndarray, shape (n,)
        Collins-Soper angles [rad] of the charged lepton.
    eta, pt : ndarray, shape (n,)
        Pseudorapidity and transverse momentum [GeV] of the charged lepton before
        radiation.
    weight : ndarray, shape (n,)
        Generated weight at the luminosity.
    ratios : (labels, ndarray of shape (n, n_labels))
        Theory weights relative to nominal, which comes first.
    fold : ndarray of int, shape (n,)
        Statistically independent part of the simulation, below `N_FOLDS`.
    reco : ndarray of int, shape (m,)
        Indices of the decays whose muon was reconstructed.
    reco_pt : mapping of str to ndarray, shape (m,)
        Its calibrated transverse momentum [GeV], ``nominal`` and varied.
    reco_eta : ndarray, shape (m,)
        Its pseudorapidity.
    residual : mapping of str to ndarray, shape (2, m)
        Missing momentum plus the muon's minus qT [GeV], of all kinematic variations:
        along qT, and across in the direction that is a quarter turn counter-clockwise
        from it.
    passes : ndarray of bool, shape (m,)
        Whether the muon is the candidate of an event of the signal region, apart from
        the cuts on its momentum and on mT.
    selected_weight : mapping of str to ndarray, shape (m,)
        Weight of the event with pile-up and prefire but without the efficiency's scale
        factors, ``nominal`` and varied.
    pileup : ndarray, shape (m,)
        True number of interactions; 0 where it is not known.

    Raises
    ------
    InputError
        If columns have different lengths, numbers are not finite, or an index, charge
        or label is none; the message names the column.
    """

    charge: IntArray
    qt: FloatArray
    y: FloatArray
    mass: FloatArray
    costheta: FloatArray
    phistar: FloatArray
    eta: FloatArray
    pt: FloatArray
    weight: FloatArray
    ratios: Columns
    fold: IntArray
    reco: IntArray
    reco_pt: Mapping[str, FloatArray]
    reco_eta: FloatArray
    residual: Mapping[str, FloatArray]
    passes: NDArray[np.bool_]
    selected_weight: Mapping[str, FloatArray]
    pileup: FloatArray

    def __post_init__(self) -> None:
        for name in _LABELLED:
            if NOMINAL not in getattr(self, name):
                _refuse(name, f"has no entry {NOMINAL!r}", "add the nominal one")
        if self.ratios[0][:1] != (NOMINAL,):
            _refuse("ratios", f"has the labels {self.ratios[0]}", "put nominal first")
        for name, values, shape in self._columns():
            _check_column(name, values, shape)
        _check_range("charge", np.abs(self.charge), 1, 1, "give 1 or −1")
        _check_range("fold", self.fold, 0, N_FOLDS - 1, "see N_FOLDS")
        last = len(self.qt) - 1
        _check_range("reco", self.reco, 0, last, "these are indices of decays")

    def _columns(self) -> Iterator[tuple[str, NDArray[np.generic], tuple[int, ...]]]:
        """All columns with their names and the shapes that they should have."""
        n, m = len(self.qt), len(self.reco)
        for name in (*_GENERATED, "charge", "fold"):
            yield name, getattr(self, name), (n,)
        labels, ratios = self.ratios
        yield "ratios", ratios, (n, len(labels))
        for name in ("reco", "reco_eta", "passes", "pileup"):
            yield name, getattr(self, name), (m,)
        for name in _LABELLED:
            shape = (2, m) if name == "residual" else (m,)
            for label, values in getattr(self, name).items():
                yield f"{name}[{label!r}]", values, shape


def _refuse(name: str, found: str, remedy: str) -> None:
    msg = f"decays: {name} {found}; {remedy}"
    raise InputError(msg)


def _check_column(
    name: str, values: NDArray[np.generic], shape: tuple[int, ...]
) -> None:
    if values.shape != shape:
        _refuse(name, f"has the shape {values.shape}", f"expected {shape}")
    # A sum is finite only if all are, and much quicker than a look at each.
    if not np.isfinite(values.sum()):
        n_bad = int((~np.isfinite(values)).sum())
        remedy = "look for such values in the branches it comes from"
        _refuse(name, f"has {n_bad} values that are NaN or infinite", remedy)


def _check_range(name: str, values: IntArray, low: int, high: int, remedy: str) -> None:
    if len(values) and not (low <= values.min() and values.max() <= high):
        found = f"reaches from {values.min()} to {values.max()}, not {low} to {high}"
        _refuse(name, found, remedy)
