"""Residuals of the recoil in classes of events, for remedies.

They are summed of all events, like `recoil`, for remedies of a residual that differs
between the classes (`wprops.factorised.remedies`). Classes are of the nominal
kinematics alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from wprops.factorised import fill_kernels as kernels
from wprops.factorised.check_sums import ABSY, HARD_FSR, PILEUP
from wprops.factorised.decays import Decays, FloatArray, IntArray
from wprops.factorised.panels import (
    RESIDUAL_PAR,
    RESIDUAL_PERP,
    RESIDUAL_STEP,
    Panels,
)
from wprops.systematics.declaration import NOMINAL

#: Inner edges of the classes by variable: |Y|, and true interactions.
RECOIL_CLASSES = {"absy": ABSY, "pileup": PILEUP}


def class_shapes(panels: Panels) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays that `fill_classes` adds to."""
    recoil = len(panels.qt) - 1, len(RESIDUAL_PAR) - 1, len(RESIDUAL_PERP) - 1
    efficiency = 2, panels.binning.shape[0], len(panels.efficiency_pt) - 1
    shapes: dict[str, tuple[int, ...]] = {
        f"recoil_{variable}": (len(edges) + 1, *recoil)
        for variable, edges in RECOIL_CLASSES.items()
    }
    passing = len(PILEUP) + 1, *efficiency
    return shapes | {"recoil_soft": recoil, "passing_pileup": passing}


def fill_classes(
    decays: Decays, panels: Panels, place: IntArray, into: Mapping[str, FloatArray]
) -> None:
    """Sum residuals and passing muons in classes.

    Parameters
    ----------
    decays : Decays
        Events of one chunk.
    panels : Panels
        The grid.
    place : ndarray of int, shape (m,)
        Panel in qT of the passing muons that ``recoil`` counts, −1 for others.
    into : mapping of str to ndarray
        Arrays to add to: ``recoil_absy`` and ``recoil_pileup`` (6, n_qt, n_par,
        n_perp), selected weights of passing muons, which add up to ``recoil``;
        ``recoil_soft`` (n_qt, …), those of muons that did not radiate hard;
        ``passing_pileup`` (6, 2, n_eta, n_pt), selected weights by charge (+, −) in the
        efficiency's bins, which add up to those of ``efficiency``.
    """
    weight, residual = decays.selected_weight[NOMINAL], decays.residual[NOMINAL]
    groups = {
        "absy": np.abs(decays.y[decays.reco]),
        "pileup": decays.pileup,
    }
    for variable, edges in RECOIL_CLASSES.items():
        group = np.digitize(groups[variable], edges)
        target = into[f"recoil_{variable}"]
        kernels.fill_recoil(place, residual, RESIDUAL_STEP, weight, group, target)
    pt = decays.reco_pt[NOMINAL]
    hard = np.digitize(pt / decays.pt[decays.reco], HARD_FSR) == 0
    kernels.fill_recoil(
        np.where(hard, -1, place),
        residual,
        RESIDUAL_STEP,
        weight,
        np.zeros(len(place), np.int64),
        into["recoil_soft"][None],
    )
    kernels.fill_passing(
        np.array(panels.binning.eta),
        panels.efficiency_pt,
        (decays.reco_eta, pt),
        np.where(decays.passes, weight, 0.0),
        (decays.charge[decays.reco] < 0).astype(np.int64),
        np.digitize(decays.pileup, PILEUP),
        into["passing_pileup"],
    )
