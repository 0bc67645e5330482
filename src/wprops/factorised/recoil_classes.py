r"""Remedy for a residual of the recoil that differs between classes of events.

The acceptance of the cut on mT is then that of a class, with templates as sums over
classes of what they otherwise are once. Nothing else changes in the chain:

``absy``
    Every class of the boson's |Y| has its acceptance and its decay tensor; `contract`
    is called once per class with `cells_of_class`, and the results add up.

``fsr``
    Muons that radiated hard have pT_reco/pT_gen below 0.9. `split_response` divides
    the response into that of both classes; `decay_tensor` takes the pairs (response of
    a class, acceptance of the class), and the tensors add up.

``pileup``
    Every class has its acceptance and its efficiency, passing muons of the class over
    all matched ones (`fill_efficiency_classes`); `bin_templates` is called once per
    class, and the templates add up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wprops.errors import ConfigError
from wprops.factorised import fill_kernels as kernels
from wprops.factorised.check_sums import ABSY, HARD_FSR, PILEUP
from wprops.factorised.contraction import cells_of
from wprops.factorised.decays import Decays, FloatArray, IntArray
from wprops.factorised.panels import (
    RATIO,
    RECOIL_PT,
    RESIDUAL_PAR,
    RESIDUAL_PERP,
    RESIDUAL_STEP,
    Panels,
)
from wprops.systematics.declaration import NOMINAL

#: Inner edges of the classes by variable: the pT ratio, |Y|, and true interactions.
RECOIL_CLASSES = {"fsr": HARD_FSR, "absy": ABSY, "pileup": PILEUP}


def class_of(decays: Decays, variable: str) -> IntArray:
    """Classes of the matched muons.

    Raises
    ------
    ConfigError
        If there are no classes of the variable.
    """
    if variable not in RECOIL_CLASSES:
        msg = (
            f"there are no recoil classes of {variable!r}; "
            f"choose from {', '.join(RECOIL_CLASSES)}"
        )
        raise ConfigError(msg)
    values = {
        "fsr": decays.reco_pt[NOMINAL] / decays.pt[decays.reco],
        "absy": np.abs(decays.y[decays.reco]),
        "pileup": decays.pileup,
    }
    return np.digitize(values[variable], RECOIL_CLASSES[variable])


def fill_recoil_classes(decays: Decays, panels: Panels, variable: str) -> FloatArray:
    """Sum the residuals of passing events as ``recoil`` does, in classes.

    Parameters
    ----------
    decays : Decays
        Events of one chunk.
    panels : Panels
        The grid.
    variable : {"fsr", "absy", "pileup"}
        What the classes are of.

    Returns
    -------
    ndarray, shape (n_class, n_recoil, n_par, n_perp)
        Selected weights; each class gives an acceptance by
        `wprops.factorised.recoil.acceptance`. The sum over classes is ``recoil``.

    Raises
    ------
    ConfigError
        If there are no classes of the variable.
    """
    group = class_of(decays, variable)
    place = kernels.find_bins(panels.qt, decays.qt[decays.reco])
    pt = decays.reco_pt[NOMINAL]
    place[~decays.passes | (pt < RECOIL_PT[0]) | (pt > RECOIL_PT[1])] = -1
    out = np.zeros(
        (
            len(RECOIL_CLASSES[variable]) + 1,
            len(panels.qt) - 1,
            len(RESIDUAL_PAR) - 1,
            len(RESIDUAL_PERP) - 1,
        )
    )
    weight = decays.selected_weight[NOMINAL]
    residual = decays.residual[NOMINAL]
    kernels.fill_recoil(place, residual, RESIDUAL_STEP, weight, group, out)
    return out


def fill_efficiency_classes(
    decays: Decays, panels: Panels, variable: str
) -> FloatArray:
    """Sum matched and passing muons as ``efficiency`` does, passing ones in classes.

    Parameters
    ----------
    decays, panels, variable
        As of `fill_recoil_classes`.

    Returns
    -------
    ndarray, shape (n_class, 2, 2, n_eta, n_pt)
        Generated weights of all matched muons, the same for each class, and selected
        weights of the passing ones of the class, by charge (+, −): their ratios are
        efficiencies that add up to the one of all classes.

    Raises
    ------
    ConfigError
        If there are no classes of the variable.
    """
    group = class_of(decays, variable)
    eta, pt = np.array(panels.binning.eta), panels.efficiency_pt
    bins = kernels.find_classes(eta, decays.reco_eta, pt, decays.reco_pt[NOMINAL])
    n_bins = (len(eta) - 1) * (len(pt) - 1)
    out = np.zeros((len(RECOIL_CLASSES[variable]) + 1, 2, 2, n_bins))
    kernels.fill_efficiency(
        bins,
        decays.weight[decays.reco],
        np.where(decays.passes, decays.selected_weight[NOMINAL], 0.0),
        (decays.charge[decays.reco] < 0).astype(np.int64),
        group,
        out,
    )
    out[:, 0] = out[:, 0].sum(axis=0)
    return out.reshape(*out.shape[:3], len(eta) - 1, len(pt) - 1)


def split_response(ratio: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Divide ``ratio`` into muons that radiated hard and the others.

    Both are normalised to all leptons by `wprops.factorised.momentum.response_matrix`,
    which is linear in the counts, so that their matrices add up to the one of all.

    Parameters
    ----------
    ratio : ndarray, shape (..., n_ratio)
        Weights of matched muons in the bins of pT_reco/pT_gen.

    Returns
    -------
    hard, soft : ndarray, shape (..., n_ratio)
        In the order of the classes ``fsr``.
    """
    hard = np.where(RATIO[1:] < HARD_FSR[0] + 1e-9, ratio, 0.0)
    return hard, ratio - hard


def cells_of_class(panels: Panels, group: int) -> NDArray[np.int64]:
    """Cells of the panels, as from `cells_of`, of one class of |Y|; −1 elsewhere.

    Edges of the classes are edges of panels.
    """
    centre = (panels.absy[:-1] + panels.absy[1:]) / 2
    inside = np.digitize(centre, RECOIL_CLASSES["absy"]) == group
    return np.where(inside, cells_of(panels), -1)
