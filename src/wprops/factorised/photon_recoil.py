r"""Remedy for a recoil that contains hard photons.

A photon that left the muon's cone counts as recoil, which is then off by its momentum
along the muon. The mean of that is measured as a function of the reconstructed p', as
the part of the residual along the muon, :math:`e_p = e_∥ \cos φ + e_⊥ \sin φ`, of
muons that radiated hard minus that of the others. A term proportional to
:math:`\cos φ`, which a bias along qT gives, is fitted along and left out.

The hadronic vector of muons that radiated hard is :math:`V + δ(p')\,\hat p`, with the
residual of all muons. It is that of a boson with :math:`q_T + δ\,\hat p`, so the
acceptance is the usual one at another qT and another angle.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.polynomial.chebyshev import chebvander

from wprops.errors import TemplateError
from wprops.factorised.check_sums import HARD_FSR, find_class, muon_direction
from wprops.factorised.decays import Decays, FloatArray
from wprops.factorised.panels import RESIDUAL_MAX, Panels
from wprops.factorised.recoil_efficiency import chebyshev_series
from wprops.systematics.declaration import NOMINAL

#: Sums per bin of p': Σs, Σs cos φ, Σs cos² φ, Σs e_p, Σs e_p cos φ.
N_MOMENTS = 5
#: Degree of the mean shift in p'.
_DEGREE = 2


def photon_shape(panels: Panels) -> tuple[int, int, int]:
    """Shape of the array that `fill_photons` adds to."""
    return len(HARD_FSR) + 1, len(panels.efficiency_pt) - 1, N_MOMENTS


def fill_photons(decays: Decays, panels: Panels, into: FloatArray) -> None:
    """Sum moments of the residual along the muon, of passing muons.

    Parameters
    ----------
    decays : Decays
        Events of one chunk.
    panels : Panels
        The grid.
    into : ndarray, shape (2, n_pt, 5)
        Array to add to: muons that radiated hard and others, in the efficiency's bins
        of p', sums of selected weights times (1, cos φ, cos² φ, e_p, e_p cos φ).
    """
    used = np.flatnonzero(decays.passes)
    index = decays.reco[used]
    boson = (decays.qt, decays.y, decays.mass, decays.costheta, decays.phistar)
    _fill(
        *(np.ascontiguousarray(column[index], float) for column in boson),
        np.ascontiguousarray(decays.pt[index], float),
        np.ascontiguousarray(decays.reco_pt[NOMINAL][used], float),
        np.ascontiguousarray(decays.residual[NOMINAL][:, used], float),
        np.ascontiguousarray(decays.selected_weight[NOMINAL][used], float),
        panels.efficiency_pt,
        into,
    )


@numba.njit(cache=True, nogil=True)
def _fill(  # type: ignore[no-untyped-def]
    qt, y, mass, costheta, phistar, pt, reco_pt, residual, weight, edges, into
):
    for i in range(len(qt)):
        column = find_class(edges, reco_pt[i]) - 1
        if not 0 <= column < into.shape[1]:
            continue
        c, s = muon_direction(qt[i], y[i], mass[i], costheta[i], phistar[i], pt[i])
        along = min(max(residual[0, i], -RESIDUAL_MAX), RESIDUAL_MAX)
        across = min(max(residual[1, i], -RESIDUAL_MAX), RESIDUAL_MAX)
        e, w = along * c + across * s, weight[i]
        sums = into[find_class(HARD_FSR, reco_pt[i] / pt[i]), column]
        for k, value in enumerate((1.0, c, c * c, e, e * c)):
            sums[k] += w * value


def photon_shift(moments: FloatArray, panels: Panels) -> FloatArray:
    """Mean part of the residual along the muon that hard radiation adds.

    Parameters
    ----------
    moments : ndarray, shape (2, n_pt, 5)
        From `fill_photons`.
    panels : Panels
        The grid of the sums.

    Returns
    -------
    ndarray, shape (n_pt_fine,)
        The shift [GeV] in the fine bins of p', negative where photons are in the recoil.

    Raises
    ------
    TemplateError
        If there are too few muons that radiated hard.
    """
    edges = panels.efficiency_pt
    centre, half = (edges[0] + edges[-1]) / 2, (edges[-1] - edges[0]) / 2
    x = (edges[:-1] + edges[1:]) / 2
    powers = np.vander((x - centre) / half, _DEGREE + 1, increasing=True)
    weight, c, c2, e, ec = np.moveaxis(moments, -1, 0)
    n = _DEGREE + 2
    normal, right = np.empty((len(moments), n, n)), np.empty((len(moments), n))
    normal[:, :-1, :-1] = np.einsum("gp,pk,pl->gkl", weight, powers, powers)
    normal[:, :-1, -1] = normal[:, -1, :-1] = c @ powers
    normal[:, -1, -1] = c2.sum(axis=1)
    right[:, :-1], right[:, -1] = e @ powers, ec.sum(axis=1)
    if not (np.linalg.eigvalsh(normal)[:, 0] > 0.0).all():
        msg = (
            "photons: too few muons that radiated hard (pT_reco/pT_gen below "
            f"{HARD_FSR[0]:g}) for the remedy fsr; it needs a sample with radiation, "
            "or more simulated events"
        )
        raise TemplateError(msg)
    hard, soft = np.linalg.solve(normal, right[..., None])[:, :-1, 0]
    fine = (panels.pt_centres - centre) / half
    return np.vander(fine, _DEGREE + 1, increasing=True) @ (hard - soft)


def shifted_acceptance(
    series: FloatArray, qt: FloatArray, shift: FloatArray
) -> FloatArray:
    r"""Acceptance with a shift of the recoil along the muon, minus the one without.

    Parameters
    ----------
    series : ndarray, shape (n_q, n_order, n_pt)
        Coefficients of :math:`T_l(\cos\phi)`, from `wprops.factorised.recoil`.
    qt : ndarray, shape (n_q,)
        Their nodes [GeV], rising; in between they are interpolated linearly.
    shift : ndarray, shape (n_pt,)
        What is added to the hadronic vector along the muon [GeV].

    Returns
    -------
    ndarray, shape (n_q, n_order, n_pt)
        Coefficients of the difference.
    """
    n_order = series.shape[1]
    n = 2 * n_order
    cosphi = np.cos(np.pi * (np.arange(n) + 0.5) / n)[:, None]
    column = np.arange(len(shift))
    change = np.empty((len(qt), n, len(shift)))
    for i, q in enumerate(qt):
        moved = np.sqrt(q * q + shift * shift + 2.0 * q * shift * cosphi)
        turned = (q * cosphi + shift) / np.maximum(moved, 1e-9)
        place = np.interp(moved, qt, np.arange(len(qt)))
        low = np.minimum(place.astype(int), len(qt) - 2)
        part = (place - low)[..., None]
        mixed = (1.0 - part) * series[low, :, column] + part * series[
            low + 1, :, column
        ]
        # Rounding can leave the interval by a little.
        at = chebvander(np.clip(turned, -1.0, 1.0), n_order - 1)
        change[i] = np.sum(mixed * at, axis=-1)
        change[i] -= chebvander(cosphi[:, 0], n_order - 1) @ series[i]
    return chebyshev_series(change, n_order)
