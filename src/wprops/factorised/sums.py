"""The sums over events that the factorised templates are made of.

Everything is linear in the weights, so chunks and folds add up. Of the bosons there is
the spectrum, as weights at the nodes of a quadrature; of the detector the response of
the muon's momentum, its efficiency, and the residual of the recoil, each in the few
variables that it depends on and shared by all helicities.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray

from wprops.axes import COMPONENTS
from wprops.errors import TemplateError
from wprops.factorised import fill_kernels as kernels
from wprops.factorised.check_sums import fill_checks
from wprops.factorised.decays import Decays, FloatArray, IntArray
from wprops.factorised.panels import (
    MASS,
    RATIO,
    RATIO_ABSETA,
    RATIO_PT,
    RECOIL_PT,
    RESIDUAL_PAR,
    RESIDUAL_PERP,
    RESIDUAL_STEP,
    Panels,
)
from wprops.factorised.photon_recoil import (
    N_MOMENTS,
    PHOTON_CLASSES,
    fill_photons,
)
from wprops.factorised.recoil_classes import class_shapes, fill_classes
from wprops.physics.harmonics import harmonics
from wprops.systematics.declaration import NOMINAL
from wprops.templates.filling import N_FOLDS, bin_index, flat_index

__all__ = ["FOLDED", "Decays", "ResponseSums", "array_shapes", "fill"]

#: Arrays whose first axis are statistically independent parts of the events.
FOLDED = ("boson", "mass", "generated", "ratio", "efficiency", "recoil")
#: Arrays whose first axis are variations, by name in ``labels``.
VARIED = (
    *("boson_varied", "polarisation", "ratio_varied"),
    *("efficiency_varied", "recoil_varied"),
)
_RATIO_ABSETA, _RATIO_PT = np.array(RATIO_ABSETA), np.array(RATIO_PT)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ResponseSums:
    """Sums over decays; charges are in the order +1, −1.

    Attributes
    ----------
    panels : Panels
        Edges of all axes.
    labels : mapping of str to tuple of str
        Variations along the first axis of each of the arrays `VARIED`; the theory's
        begin with ``nominal``.
    arrays : dict of str to ndarray
        ``boson`` [fold, charge, qT panel, node, |Y| panel, node]: Σ w L_a(qT) L_b(|Y|)
        with the Lagrange polynomials of the nodes; ``boson_squares`` [charge, qT panel,
        |Y| panel]: Σ w²; ``boson_varied`` [label, charge, qT panel, |Y| panel];
        ``outside`` [charge]: Σ w of bosons beyond all panels; ``polarisation`` [label,
        charge, cell, 9]: Σ w (1, P0 … P7); ``mass`` [fold, charge, bin],
        ``mass_squares`` [charge, bin].

        ``generated`` [fold, charge, |eta| class, pT class]: Σ w of all leptons,
        ``ratio_pt`` [charge, |eta| class, pT class]: Σ w pT of them; ``ratio`` [fold,
        charge, |eta| class, pT class, bin], ``ratio_varied`` [label, charge, …]: Σ w of
        matched ones in bins of pT_reco/pT.

        ``efficiency`` [fold, 2, charge, eta, pT], ``efficiency_varied`` [label, 2, …]:
        generated weights of matched muons and selected weights of passing ones, in
        reconstructed kinematics; ``efficiency_squares`` [3, charge, eta, pT]: Σ w_g²,
        w_g w_p and w_p².

        ``recoil`` [fold, class, along, across], ``recoil_varied`` [label, class, …]:
        selected weights of passing events in cells of the residual; ``recoil_qt``
        [class]: Σ w qT of them; ``recoil_matched`` [class, along, across]: selected
        weights of all events with a matched muon. ``check_…`` test assumptions, see
        `wprops.factorised.check_sums`. ``recoil_absy``, ``recoil_pileup``,
        ``recoil_soft`` and ``passing_pileup`` are for remedies, see `fill_classes` in
        `wprops.factorised.recoil_classes`, and so is ``photons``, see `fill_photons`
        in `wprops.factorised.photon_recoil`.
    """

    panels: Panels
    labels: Mapping[str, tuple[str, ...]]
    arrays: dict[str, FloatArray] = field(repr=False)

    def __add__(self, other: ResponseSums) -> ResponseSums:
        """Add two sums; raises TemplateError if their axes differ."""
        copied = {name: values.copy() for name, values in self.arrays.items()}
        total = replace(self, arrays=copied)
        total += other
        return total

    def __iadd__(self, other: ResponseSums) -> ResponseSums:
        """Add in place; raises TemplateError if the axes differ."""
        self._require_same(other)
        for name, values in self.arrays.items():
            values += other.arrays[name]
        return self

    @property
    def mean_qt(self) -> FloatArray:
        """Mean qT of passing events by panel [GeV]."""
        return self.arrays["recoil_qt"] / self.fold_sum("recoil").sum(axis=(1, 2))

    def fold_sum(self, name: str) -> FloatArray:
        """Sum one of the arrays `FOLDED` over the folds."""
        return self.arrays[name].sum(axis=0)

    def leave_out(self, *folds: int) -> ResponseSums:
        """Return the sums without some folds, scaled to all events, for a jackknife.

        Arrays without folds stay as they are, and so do the means of classes, which
        say where on an axis a class is.
        """
        arrays = dict(self.arrays)
        for name in FOLDED:
            left = self.arrays[name] * (N_FOLDS / (N_FOLDS - len(folds)))
            left[list(folds)] = 0.0
            arrays[name] = left
        for sums, counted, axes in (
            ("ratio_pt", "generated", (0,)),
            ("recoil_qt", "recoil", (0, -2, -1)),
        ):
            every = self.arrays[counted].sum(axis=axes)
            kept = np.divide(
                arrays[counted].sum(axis=axes),
                every,
                out=np.zeros_like(every),
                where=every != 0,
            )
            arrays[sums] = self.arrays[sums] * kept
        return replace(self, arrays=arrays)

    def _require_same(self, other: ResponseSums) -> None:
        for what, one, two in (
            ("panels", self.panels, other.panels),
            ("labels of variations", dict(self.labels), dict(other.labels)),
            ("arrays", sorted(self.arrays), sorted(other.arrays)),
        ):
            if one != two:
                msg = (
                    f"sums of different responses cannot be added: their {what} are "
                    f"{one} and {two}; run one processor over all datasets"
                )
                raise TemplateError(msg)


def array_shapes(
    panels: Panels, labels: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[int, ...]]:
    """Shapes of all arrays of `ResponseSums` except for those of the checks."""
    n_q, n_y = len(panels.qt) - 1, len(panels.absy) - 1
    boson, mass = (2, n_q, n_y), (2, len(MASS) - 1)
    leptons = (2, len(RATIO_ABSETA) - 1, len(RATIO_PT) - 1)
    ratio = (*leptons, len(RATIO) - 1)
    efficiency = (2, panels.binning.shape[0], len(panels.efficiency_pt) - 1)
    recoil = (n_q, len(RESIDUAL_PAR) - 1, len(RESIDUAL_PERP) - 1)
    nodes = (2, n_q, panels.n_qt_nodes, n_y, panels.n_y_nodes)
    varied = {
        "boson_varied": boson,
        "polarisation": (2, panels.binning.n_cells, len(COMPONENTS)),
        "ratio_varied": ratio,
        "efficiency_varied": (2, *efficiency),
        "recoil_varied": recoil,
    }
    return {
        "boson": (N_FOLDS, *nodes),
        "boson_squares": boson,
        "outside": (2,),
        "mass": (N_FOLDS, *mass),
        "mass_squares": mass,
        "generated": (N_FOLDS, *leptons),
        "ratio_pt": leptons,
        "ratio": (N_FOLDS, *ratio),
        "efficiency": (N_FOLDS, 2, *efficiency),
        "efficiency_squares": (3, *efficiency),
        "recoil": (N_FOLDS, *recoil),
        "recoil_qt": (n_q,),
        "recoil_matched": recoil,
        "photons": (len(PHOTON_CLASSES) + 1, N_MOMENTS),
        **class_shapes(panels),
    } | {name: (len(labels[name]), *shape) for name, shape in varied.items()}


def fill(decays: Decays, panels: Panels) -> ResponseSums:
    """Sum the decays of a chunk.

    Parameters
    ----------
    decays : Decays
        The columns of the chunk.
    panels : Panels
        The axes.
    """
    muon = tuple(label for label in decays.reco_pt if label != NOMINAL)
    weights = tuple(label for label in decays.selected_weight if label != NOMINAL)
    labels = {
        "boson_varied": tuple(decays.ratios[0]),
        "polarisation": tuple(decays.ratios[0]),
        "ratio_varied": muon,
        "efficiency_varied": (*muon, *weights),
        "recoil_varied": tuple(k for k in decays.residual if k != NOMINAL),
    }
    shapes = array_shapes(panels, labels)
    arrays = {name: np.zeros(shape) for name, shape in shapes.items()}
    sums = ResponseSums(panels=panels, labels=labels, arrays=arrays)
    negative = (np.asarray(decays.charge) < 0).astype(np.int64)
    _fill_bosons(sums, decays, negative)
    _fill_ratios(sums, decays, negative)
    _fill_efficiencies(sums, decays, negative)
    _fill_recoil(sums, decays)
    arrays |= fill_checks(decays, panels)
    return sums


def _fill_bosons(sums: ResponseSums, decays: Decays, negative: IntArray) -> None:
    panels, arrays, absy = sums.panels, sums.arrays, np.abs(decays.y)
    common = decays.weight, negative, decays.fold
    edges = panels.qt, panels.absy
    panel = kernels.find_classes(panels.qt, decays.qt, panels.absy, absy)
    # The line shape is normalised on its window, so the spectrum has to be that of the
    # bosons in it.
    panel[(decays.mass < MASS[0]) | (decays.mass >= MASS[-1])] = -1
    kernels.fill_boson(
        edges,
        (_node_polynomials(panels.n_qt_nodes), _node_polynomials(panels.n_y_nodes)),
        panel,
        (decays.qt, absy),
        *common,
        tuple(arrays[name] for name in ("boson", "boson_squares", "outside")),
    )
    into = arrays["mass"], arrays["mass_squares"]
    kernels.fill_mass(MASS, decays.mass, *common, into)
    _, ratios = decays.ratios
    n_labels = ratios.shape[1]
    # Labels last while filling: they are what one event adds to in a row.
    varied = np.zeros((2, (len(edges[0]) - 1) * (len(edges[1]) - 1), n_labels))
    kernels.fill_varied(panel, decays.weight, ratios, negative, varied)
    shape = arrays["boson_varied"].shape
    arrays["boson_varied"] += np.moveaxis(varied, -1, 0).reshape(shape)
    binning = panels.binning
    cell = flat_index(
        [bin_index(absy, binning.absy), bin_index(decays.qt, binning.qt)],
        (len(binning.absy) - 1, len(binning.qt) - 1),
    )
    P = np.ascontiguousarray(harmonics(decays.costheta, decays.phistar).T)
    polarised = np.zeros((2, binning.n_cells, n_labels, len(COMPONENTS)))
    kernels.fill_polarisation(cell, decays.weight, ratios, P, negative, polarised)
    arrays["polarisation"] += np.moveaxis(polarised, 2, 0)


def _node_polynomials(n: int) -> FloatArray:
    """Lagrange polynomials of n Gauss-Legendre nodes as rows of powers of x."""
    x, _ = leggauss(n)
    return np.ascontiguousarray(np.linalg.inv(np.vander(x, increasing=True)).T)


def _fill_ratios(sums: ResponseSums, decays: Decays, negative: IntArray) -> None:
    arrays, reco = sums.arrays, decays.reco
    classes = kernels.find_classes(
        _RATIO_ABSETA, np.abs(decays.eta), _RATIO_PT, decays.pt
    )
    flat = 2, (len(RATIO_ABSETA) - 1) * (len(RATIO_PT) - 1)
    into = arrays["generated"].reshape(-1, *flat), arrays["ratio_pt"].reshape(flat)
    kernels.fill_generated(
        classes, decays.pt, decays.weight, negative, decays.fold, into
    )
    for label, fold, target in _targets(sums, decays, "ratio", "ratio_varied"):
        kernels.fill_ratio(
            RATIO,
            classes[reco],
            decays.reco_pt[label] / decays.pt[reco],
            decays.weight[reco],
            negative[reco],
            fold,
            target.reshape(-1, *flat, len(RATIO) - 1),
        )


def _fill_efficiencies(sums: ResponseSums, decays: Decays, negative: IntArray) -> None:
    arrays, panels = sums.arrays, sums.panels
    charge, generated = negative[decays.reco], decays.weight[decays.reco]
    eta = np.array(panels.binning.eta)
    for label, fold, target in _targets(
        sums, decays, "efficiency", "efficiency_varied"
    ):
        weight = decays.selected_weight.get(label, decays.selected_weight[NOMINAL])
        pt = decays.reco_pt.get(label, decays.reco_pt[NOMINAL])
        bins = kernels.find_classes(eta, decays.reco_eta, panels.efficiency_pt, pt)
        passing = np.where(decays.passes, weight, 0.0)
        n_bins = target.shape[-2] * target.shape[-1]
        into = target.reshape(-1, 2, 2, n_bins)
        kernels.fill_efficiency(bins, generated, passing, charge, fold, into)
        if label == NOMINAL:
            squares = arrays["efficiency_squares"].reshape(3, 2, n_bins)
            kernels.fill_efficiency_squares(bins, generated, passing, charge, squares)


def _fill_recoil(sums: ResponseSums, decays: Decays) -> None:
    qt = decays.qt[decays.reco]
    pt, weight = decays.reco_pt[NOMINAL], decays.selected_weight[NOMINAL]
    matched = kernels.find_bins(sums.panels.qt, qt)
    matched[(pt < RECOIL_PT[0]) | (pt > RECOIL_PT[1])] = -1
    passing = np.where(decays.passes, matched, -1)
    for label, fold, target in _targets(sums, decays, "recoil", "recoil_varied"):
        residual = decays.residual[label]
        kernels.fill_recoil(passing, residual, RESIDUAL_STEP, weight, fold, target)
    kernels.fill_recoil(
        matched,
        decays.residual[NOMINAL],
        RESIDUAL_STEP,
        weight,
        np.zeros(len(qt), np.int64),
        sums.arrays["recoil_matched"][None],
    )
    fill_classes(decays, sums.panels, passing, sums.arrays)
    fill_photons(decays, sums.arrays["photons"])
    inside = passing >= 0
    sums.arrays["recoil_qt"] += np.bincount(
        passing[inside],
        weight[inside] * qt[inside],
        minlength=len(sums.arrays["recoil_qt"]),
    )


def _targets(
    sums: ResponseSums, decays: Decays, nominal: str, varied: str
) -> Iterator[tuple[str, IntArray, NDArray[np.float64]]]:
    """Labels with the folds of the matched muons and the array to fill.

    Variations are not split: all their events are in one fold.
    """
    yield NOMINAL, decays.fold[decays.reco], sums.arrays[nominal]
    whole = np.zeros(len(decays.reco), np.int64)
    for k, label in enumerate(sums.labels[varied]):
        yield label, whole, sums.arrays[varied][k : k + 1]
