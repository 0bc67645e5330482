r"""Remedy for a recoil that contains hard photons.

A photon that left the muon's cone counts as recoil, which is then off by its momentum
along the muon. In classes of pT_reco/pT_gen this is proportional to the reconstructed
p'. The factor is measured as that of the residual along the muon,

.. math:: e_p = e_∥ \cos φ + e_⊥ \sin φ = a\,p' + b \cos φ,

in a class minus that of muons that did not radiate hard; the second term is what a
bias along qT gives. The hadronic vector of the class is :math:`V + a p' \hat p`, with
the residual of those muons. It is that of a boson with :math:`q_T + a p' \hat p`, so
the acceptance is the usual one at another qT and another angle.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.polynomial.chebyshev import chebvander

from wprops.errors import TemplateError
from wprops.factorised.check_sums import HARD_FSR, find_class, muon_direction
from wprops.factorised.decays import Decays, FloatArray
from wprops.factorised.kernel import pt_nodes
from wprops.factorised.panels import RECOIL_PT, RESIDUAL_MAX, Panels
from wprops.factorised.recoil_efficiency import chebyshev_series
from wprops.systematics.declaration import NOMINAL

#: Edges of the classes of pT_reco/pT_gen; above the last one are most muons.
PHOTON_CLASSES = np.array([0.65, 0.8, *HARD_FSR])
#: Sums in each: Σs, Σs p'², Σs p' cos φ, Σs cos² φ, Σs e_p p', Σs e_p cos φ.
N_MOMENTS = 6


def fill_photons(decays: Decays, into: FloatArray) -> None:
    """Sum moments of the residual along the muon, of passing muons.

    Parameters
    ----------
    decays : Decays
        Events of one chunk.
    into : ndarray, shape (4, 6)
        Array to add to, by class of pT_reco/pT_gen: sums of selected weights times
        (1, p'², p' cos φ, cos² φ, e_p p', e_p cos φ).
    """
    pt = decays.reco_pt[NOMINAL]
    used = np.flatnonzero(decays.passes & (pt >= RECOIL_PT[0]) & (pt <= RECOIL_PT[1]))
    index = decays.reco[used]
    boson = (decays.qt, decays.y, decays.mass, decays.costheta, decays.phistar)
    _fill(
        *(np.ascontiguousarray(column[index], float) for column in boson),
        np.ascontiguousarray(decays.pt[index], float),
        np.ascontiguousarray(pt[used], float),
        np.ascontiguousarray(decays.residual[NOMINAL][:, used], float),
        np.ascontiguousarray(decays.selected_weight[NOMINAL][used], float),
        into,
    )


@numba.njit(cache=True, nogil=True)
def _fill(  # type: ignore[no-untyped-def]
    qt, y, mass, costheta, phistar, pt, reco_pt, residual, weight, into
):
    for i in range(len(qt)):
        c, s = muon_direction(qt[i], y[i], mass[i], costheta[i], phistar[i], pt[i])
        along = min(max(residual[0, i], -RESIDUAL_MAX), RESIDUAL_MAX)
        across = min(max(residual[1, i], -RESIDUAL_MAX), RESIDUAL_MAX)
        p, e, w = reco_pt[i], along * c + across * s, weight[i]
        sums = into[find_class(PHOTON_CLASSES, p / pt[i])]
        for k, value in enumerate((1.0, p * p, p * c, c * c, e * p, e * c)):
            sums[k] += w * value


def photon_factors(moments: FloatArray) -> FloatArray:
    """Fit the part of the residual along the muon that hard radiation adds, over p'.

    Parameters
    ----------
    moments : ndarray, shape (4, 6)
        From `fill_photons`.

    Returns
    -------
    ndarray, shape (4,)
        By class, negative where photons are in the recoil; the last one is 0.

    Raises
    ------
    TemplateError
        If a class has too few muons.
    """
    _, pp, pc, cc, ep, ec = moments.T
    determinant = pp * cc - pc * pc
    if not ((pp > 0.0) & (determinant > 0.0)).all():
        few = PHOTON_CLASSES[min(int(np.argmin(determinant)), len(PHOTON_CLASSES) - 1)]
        msg = (
            f"photons: too few muons with pT_reco/pT_gen around {few:g} for the "
            "remedy fsr; it needs a sample with radiation, or more simulated events"
        )
        raise TemplateError(msg)
    factor: FloatArray = (ep * cc - ec * pc) / determinant
    return factor - factor[-1]


def response_shares(panels: Panels) -> FloatArray:
    """Shares of the classes of pT_reco/pT_gen in the response.

    Parameters
    ----------
    panels : Panels
        Gives the fine bins of reconstructed pT.

    Returns
    -------
    ndarray, shape (4, n_pt_nodes, n_pt)
        Part of each bin that is in the class, for each node of generated pT.
    """
    nodes, _ = pt_nodes(panels)
    edges = PHOTON_CLASSES[:, None, None] * nodes[:, None]
    below = np.clip((edges - panels.pt[:-1]) / np.diff(panels.pt), 0.0, 1.0)
    shape = (1, *below.shape[1:])
    return np.diff(below, axis=0, prepend=np.zeros(shape), append=np.ones(shape))


def shifted_acceptance(
    series: FloatArray, qt: FloatArray, shift: FloatArray
) -> FloatArray:
    r"""Return the acceptance with a shift of the hadronic vector along the muon.

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
        Its coefficients.
    """
    # More polynomials than the qT with the photon's needs would be noise, and slow.
    used = series.shape[1] - np.argmax((series != 0).any(axis=2)[:, ::-1], axis=1)
    reach = np.searchsorted(qt, qt + np.abs(shift).mean()).clip(max=len(qt) - 1)
    column = np.arange(len(shift))
    out = np.zeros_like(series)
    for i, (q, n_order) in enumerate(zip(qt, used[reach], strict=True)):
        n = 2 * n_order
        cosphi = np.cos(np.pi * (np.arange(n) + 0.5) / n)[:, None]
        moved = np.sqrt(q * q + shift * shift + 2.0 * q * shift * cosphi)
        turned = (q * cosphi + shift) / np.maximum(moved, 1e-9)
        place = np.interp(moved, qt, np.arange(len(qt)))
        low = np.minimum(place.astype(int), len(qt) - 2)
        part = (place - low)[..., None]
        near, far = series[low, :, column], series[low + 1, :, column]
        mixed = near + part * (far - near)
        # Rounding can leave the interval by a little.
        at = chebvander(np.clip(turned, -1.0, 1.0), series.shape[1] - 1)
        values = np.sum(mixed * at, axis=-1)
        out[i, :n_order] = chebyshev_series(values[None], n_order)[0]
    return out
