r"""Remedies for assumptions that fail: templates as sums over parts of the events.

Every part differs from all events together by what was measured of it once: an
acceptance of the cut on mT that is a little larger or smaller, a share of the
efficiency or of the response, the bosons of a range of \|Y\|. The differences are the
same for nominal and varied operators. So variations act on every part as they act on
all events, which neglects products of both.

``recoil_efficiency``
    One part, with the acceptance of `wprops.factorised.recoil_efficiency`.

``fsr``
    Three classes of muons that radiated hard, with pT_reco/pT_gen below 0.9, and the
    others, with the acceptances of `wprops.factorised.photon_recoil`.

``absy``
    Bosons in six ranges of \|Y\|.

``pileup``
    Six ranges of true interactions, with their shares of the passing muons in eta
    and pT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wprops.errors import ConfigError, TemplateError
from wprops.factorised.contraction import cells_of
from wprops.factorised.operators import Operators, Varied
from wprops.factorised.panels import Panels
from wprops.factorised.photon_recoil import (
    photon_factors,
    response_shares,
    shifted_acceptance,
)
from wprops.factorised.recoil import acceptance
from wprops.factorised.recoil_classes import RECOIL_CLASSES
from wprops.factorised.recoil_efficiency import fit_along, weighted_acceptance
from wprops.factorised.sums import ResponseSums
from wprops.systematics.declaration import NOMINAL

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Remedies with parts, of which only one can be taken.
_DIVIDING = ("fsr", *RECOIL_CLASSES)
#: Names of the remedies.
REMEDIES = ("recoil_efficiency", *_DIVIDING)
#: Filled cells of the residual, so events at least, of a panel in qT with a residual
#: of its own: 100 events know an acceptance to 5 %, of a part of all events.
LEAST_CELLS = 100


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """What distinguishes a part of the events from all of them.

    Attributes
    ----------
    cells : ndarray of int, shape (n_qpanel, n_ypanel)
        Cells of its bosons, as from `wprops.factorised.contraction.cells_of`.
    acceptance : ndarray, shape (n_q, n_order, n_pt)
        What is added to every acceptance.
    response : ndarray, shape (n_pt_nodes, n_pt)
        Its share of the muons by generated and measured pT.
    efficiency : ndarray, shape (2, n_eta, n_pt)
        Its share of the passing muons by charge, in bins of eta and fine bins of pT.
    """

    cells: IntArray
    acceptance: FloatArray | None = None
    response: FloatArray | float = 1.0
    efficiency: FloatArray | float = 1.0

    def of(self, operators: Operators) -> Operators:
        """Operators of the part, where those of all events are known."""

        def scaled(found: Varied, share: FloatArray | float) -> Varied:
            return {label: values * share for label, values in found.items()}

        return replace(
            operators,
            responses=tuple(scaled(r, self.response) for r in operators.responses),
            efficiencies=scaled(operators.efficiencies, self.efficiency),
            acceptances={
                label: _added(values, self.acceptance)
                for label, values in operators.acceptances.items()
            },
        )


def _added(one: FloatArray, two: FloatArray | None) -> FloatArray:
    """Sum of Chebyshev series along the middle axis."""
    if two is None:
        return one
    order = max(one.shape[1], two.shape[1])
    first, second = (
        np.pad(a, ((0, 0), (0, order - a.shape[1]), (0, 0))) for a in (one, two)
    )
    return first + second


def check_remedies(remedies: Sequence[str]) -> None:
    """Check names of remedies.

    Raises
    ------
    ConfigError
        If there is none of a name, or two of them exclude each other.
    """
    unknown = sorted(set(remedies) - set(REMEDIES))
    if unknown:
        msg = (
            f"there is no remedy {', '.join(map(repr, unknown))}; choose from "
            f"{', '.join(REMEDIES)}"
        )
        raise ConfigError(msg)
    dividing = sorted(set(remedies) & set(_DIVIDING))
    if len(dividing) > 1:
        msg = (
            f"the remedies {' and '.join(dividing)} divide the events in different "
            "classes, whose combinations are not summed; choose the one of the "
            "assumption with the largest effect"
        )
        raise ConfigError(msg)
    if {"recoil_efficiency", "pileup"} <= set(remedies):
        msg = (
            "the remedies recoil_efficiency and pileup count one thing twice: in all "
            "pile-up together, an efficiency that depends on pile-up depends on the "
            "recoil; choose one of them"
        )
        raise ConfigError(msg)


def parts_of(
    sums: ResponseSums, operators: Operators, remedies: Sequence[str]
) -> tuple[Part, ...]:
    """Divide the events as some remedies need it.

    Parameters
    ----------
    sums : ResponseSums
        Sums over the events.
    operators : Operators
        What was fitted to them.
    remedies : sequence of str
        Some of `REMEDIES`.

    Returns
    -------
    tuple of Part
        Their templates add up.

    Raises
    ------
    ConfigError
        As `check_remedies`.
    TemplateError
        If all events are in one class, or there are too few of them.
    """
    check_remedies(remedies)
    panels, cells = sums.panels, cells_of(sums.panels)
    common: FloatArray | None = None
    if "recoil_efficiency" in remedies:
        common = _recoil_efficiency(sums, operators)
    dividing = set(remedies) & set(_DIVIDING)
    if not dividing:
        return (Part(cells=cells, acceptance=common),)
    (variable,) = dividing
    if variable == "fsr":
        acceptances = _photon_acceptances(sums, operators)
    else:
        every = sums.arrays[f"recoil_{variable}"]
        acceptances = [_own_acceptance(sums, operators, own) for own in every]
    parts = [Part(cells=cells, acceptance=_added(a, common)) for a in acceptances]
    if variable == "absy":
        return tuple(
            replace(part, cells=cells_of_class(panels, group))
            for group, part in enumerate(parts)
        )
    if variable == "fsr":
        shares = response_shares(panels)
        return tuple(
            replace(part, response=share)
            for part, share in zip(parts, shares, strict=True)
        )
    return tuple(
        replace(part, efficiency=share)
        for part, share in zip(parts, pileup_shares(sums), strict=True)
        if share.any()
    )


def _photon_acceptances(sums: ResponseSums, operators: Operators) -> list[FloatArray]:
    """Return acceptances by class of hard photons in the recoil, minus that of all."""
    panels, nominal = sums.panels, operators.acceptances[NOMINAL]
    soft = _added(nominal, _own_acceptance(sums, operators, sums.arrays["recoil_soft"]))
    return [
        _added(
            shifted_acceptance(
                soft, panels.qt_nodes.ravel(), factor * panels.pt_centres
            ),
            -nominal,
        )
        for factor in photon_factors(sums.arrays["photons"])
    ]


def _recoil_efficiency(sums: ResponseSums, operators: Operators) -> FloatArray:
    """Return the acceptance with an efficiency that sees the recoil, minus all."""
    panels, arrays = sums.panels, sums.arrays
    along = fit_along(arrays["check_efficiency"], panels)
    nodes = panels.qt_nodes.ravel(), panels.pt_centres
    series = weighted_acceptance(arrays["recoil_matched"], sums.mean_qt, *nodes, along)
    return _added(series, -operators.acceptances[NOMINAL])


def _own_acceptance(
    sums: ResponseSums, operators: Operators, histogram: FloatArray
) -> FloatArray:
    """Return the acceptance of a class minus that of all; 0 where it has few events."""
    panels, common = sums.panels, sums.fold_sum("recoil")
    few = np.count_nonzero(histogram, axis=(1, 2)) < LEAST_CELLS
    # A class counts by its shape, so its scale in a panel does not matter.
    own = np.where(few[:, None, None], common, histogram)
    nodes = panels.qt_nodes.ravel(), panels.pt_centres
    series = acceptance(own, sums.mean_qt, *nodes)
    return _added(series, -operators.acceptances[NOMINAL])


def cells_of_class(panels: Panels, group: int) -> IntArray:
    r"""Cells of the panels, as from `cells_of`, of one class of \|Y\|; −1 elsewhere.

    Edges of the classes are edges of panels.
    """
    centre = (panels.absy[:-1] + panels.absy[1:]) / 2
    inside = np.digitize(centre, RECOIL_CLASSES["absy"]) == group
    return np.where(inside, cells_of(panels), -1)


def pileup_shares(sums: ResponseSums) -> FloatArray:
    """Shares of the classes of pile-up in the passing muons.

    They are straight lines in pT, by charge and bin of eta; lines of one weight for
    all classes add up to 1 as their counts do.

    Returns
    -------
    ndarray, shape (n_class, 2, n_eta, n_pt)
        In the fine bins of pT.

    Raises
    ------
    TemplateError
        If the pile-up is not known, or a bin of eta has too few passing muons.
    """
    counts, panels = sums.arrays["passing_pileup"], sums.panels
    if np.count_nonzero(counts.any(axis=(1, 2, 3))) < 2:
        msg = (
            "passing_pileup: all muons are in one class of true interactions, so the "
            "remedy pileup does nothing; run over files with Pileup_nTrueInt"
        )
        raise TemplateError(msg)
    edges = panels.efficiency_pt
    x = (edges[:-1] + edges[1:]) / 2 - edges.mean()
    basis = np.stack([np.ones_like(x), x])
    moments = np.einsum("csep,kp->csek", counts, basis)
    normal = np.einsum("csep,kp,lp->sekl", counts, basis, basis)
    if not (np.linalg.eigvalsh(normal)[..., 0] > 0.0).all():
        bad = np.argwhere(np.linalg.eigvalsh(normal)[..., 0] <= 0.0)[0]
        eta = panels.binning.eta[bad[1] : bad[1] + 2]
        msg = (
            f"passing_pileup: too few muons between eta {eta[0]:g} and {eta[1]:g} for "
            "the remedy pileup; it needs more simulated events"
        )
        raise TemplateError(msg)
    lines = np.linalg.solve(normal, moments[..., None])[..., 0]
    fine = np.stack([np.ones(len(panels.pt) - 1), panels.pt_centres - edges.mean()])
    return np.einsum("csek,kp->csep", lines, fine)
