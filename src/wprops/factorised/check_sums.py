r"""Small moments of the events that tell whether the factorisation holds.

Factorised templates take the efficiency, the recoil's residual, the response of the
muon and the line shape from all events together. Each of the sums here has one more
class in which the ingredient must not change; `assumptions` compares the classes. All
are linear in the weights, or in their squares, so they add over chunks of events.

With the muon at the angle φ from the boson's transverse momentum, the hadronic vector
:math:`V = q_T + e` has the part :math:`V_p = (q + e_∥) \cos φ + e_⊥ \sin φ` along the
muon, and the recoil the part :math:`u_p = -V_p`.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from wprops.factorised.decays import Decays, FloatArray
from wprops.factorised.panels import (
    RATIO_ABSETA,
    RATIO_PT,
    RECOIL_PT,
    RESIDUAL_MAX,
    STEP,
    Panels,
)

#: Inner edges of the classes of u_p/p', the recoil along the muon over its pT.
ALONG = np.array([-0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6])
#: Inner edges of the classes of pile-up, true interactions.
PILEUP = np.array([15.0, 20.0, 25.0, 30.0, 35.0])
#: Inner edges of the classes of the boson's |Y| for residuals.
ABSY = np.array([0.4, 0.8, 1.2, 1.6, 2.0])
#: Below this pT_reco/pT_gen the muon counts as one that radiated hard.
HARD_FSR = np.array([0.9])
#: Width of the classes of the boson's |Y| for the mass.
MASS_ABSY_STEP = 0.4
#: Width of the efficiency's strata in p' [GeV]: 1 % of its change over one is 1e-4.
STRATUM_PT = 1.0
#: Responses farther from 1 are not of the core.
CORE = 0.1
#: Masses are clipped to this range [GeV], outside of which few events have much weight.
MASS_CLIP = (70.0, 90.0)
#: Features of a residual: 1, e_par, ±e_perp counted towards the muon, and squares.
N_FEATURES = 5


def strata(panels: Panels) -> tuple[FloatArray, FloatArray]:
    """Edges of the efficiency's strata in the muon's eta and p' [GeV].

    The last one in p' is narrower if the range is no multiple of 1 GeV.
    """
    low, high = panels.pt[0], panels.pt[-1]
    pt = np.append(np.arange(low, high - 1e-9, STRATUM_PT), high)
    return panels.eta, pt


def response_eta(panels: Panels) -> FloatArray:
    """Edges of the cells of the response in |eta|, parts of its classes."""
    return np.linspace(0.0, RATIO_ABSETA[-1], round(RATIO_ABSETA[-1] / STEP) + 1)


def check_shapes(panels: Panels) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of `fill_checks`."""
    eta, pt = strata(panels)
    n_qt, n_pileup = len(panels.qt) - 1, len(PILEUP) + 1
    n_absy = int(np.ceil(panels.absy[-1] / MASS_ABSY_STEP - 1e-9))
    return {
        "check_efficiency": (5, 2, len(eta) - 1, len(pt) - 1, len(ALONG) + 1),
        "check_pileup": (5, n_pileup),
        "check_residual": (n_qt, N_FEATURES, N_FEATURES),
        "check_residual_fsr": (n_qt, 2, N_FEATURES + 1),
        "check_residual_absy": (n_qt, len(ABSY) + 1, N_FEATURES + 1),
        "check_residual_pileup": (n_qt, n_pileup, N_FEATURES + 1),
        "check_response": (2, len(response_eta(panels)) - 1, len(RATIO_PT) - 1, 8),
        "check_mass": (n_qt, n_absy, 4),
        "check_mass_products": (3, 3),
    }


def fill_checks(decays: Decays, panels: Panels) -> dict[str, FloatArray]:
    """Sum what the tests of the assumptions need.

    Parameters
    ----------
    decays : Decays
        Events of one chunk. ``residual`` is signed: across is counter-clockwise from
        qT. It and ``selected_weight`` hold for all matched muons.
    panels : Panels
        The grid.

    Returns
    -------
    dict of str to ndarray
        With w the generated weight and s the selected one, all float:

        ``check_efficiency`` (5, 2, n_eta, n_pt, 8): Σw, Σs of passing muons, Σw²,
        Σws and Σs², in charge (+, −), strata of (eta, p') and classes of u_p/p'.

        ``check_pileup`` (5, 6): the same in classes of pile-up.

        ``check_residual`` (n_qt, 5, 5): Σw² z zᵀ in classes of qT, with the
        features z = (1, e_par, e_s, e_par², e_s²) [GeV], and e_s = e_perp sign(sin φ);
        e is clipped to the range of the recoil's histogram.

        ``check_residual_fsr`` (n_qt, 2, 6), ``check_residual_absy`` and
        ``check_residual_pileup`` (n_qt, 6, 6): Σw z and Σw², in classes of
        pT_reco/pT_gen (below and above 0.9), |Y| and pile-up.

        ``check_response`` (2, n_abseta, n_ratio_pt, 8): Σw (1, d, d²) and
        Σw² (1, d, d², d³, d⁴) of d = pT_reco/pT_gen − 1 within ±0.1, per charge.

        ``check_mass`` (n_qt, n_absy, 4) and ``check_mass_products`` (3, 3): Σw z and
        Σw², and Σw² z zᵀ of all, with z = (1, m − 80, (m − 80)²) and m clipped to
        70 … 90 GeV.
    """
    eta, pt = strata(panels)
    sums = {name: np.zeros(shape) for name, shape in check_shapes(panels).items()}
    _fill_mass(
        *_columns(decays.qt, decays.y, decays.mass, decays.weight),
        panels.qt,
        sums["check_mass"],
        sums["check_mass_products"],
    )
    _fill_muons(
        *_columns(decays.charge, decays.qt, decays.y, decays.mass, decays.costheta),
        *_columns(decays.phistar, decays.eta, decays.pt, decays.weight),
        np.asarray(decays.reco, dtype=np.int64),
        *_columns(decays.reco_pt["nominal"], decays.reco_eta),
        *_columns(*decays.residual["nominal"]),
        np.asarray(decays.passes, dtype=np.bool_),
        *_columns(decays.selected_weight["nominal"], decays.pileup),
        panels.qt,
        (eta[0], eta[-1], pt[0], pt[-1]),
        *(sums[f"check_{name}"] for name in ("efficiency", "pileup", "residual")),
        *(sums[f"check_residual_{name}"] for name in ("fsr", "absy", "pileup")),
        sums["check_response"],
    )
    for name in ("check_residual", "check_mass_products"):
        # The loops fill the upper triangle only.
        upper = np.triu(sums[name])
        sums[name] = upper + np.triu(upper, 1).swapaxes(-1, -2)
    return sums


def _columns(*columns: NDArray[np.generic]) -> list[FloatArray]:
    return [np.ascontiguousarray(column, dtype=np.float64) for column in columns]


@numba.njit(cache=True, nogil=True)
def find_class(edges, value):  # type: ignore[no-untyped-def]
    """Count the edges at or below the value: the class between inner edges."""
    n = 0
    while n < len(edges) and value >= edges[n]:
        n += 1
    return n


@numba.njit(cache=True, nogil=True)
def _fill_mass(qt, y, mass, weight, qt_edges, cells, products):  # type: ignore[no-untyped-def]
    low, high = MASS_CLIP
    z = np.ones(3)
    for i in range(len(qt)):
        panel = find_class(qt_edges, qt[i]) - 1
        row = int(abs(y[i]) / MASS_ABSY_STEP + 1e-9)
        if panel < 0 or panel >= cells.shape[0] or row >= cells.shape[1]:
            continue
        z[1] = min(max(mass[i], low), high) - 80.0
        z[2] = z[1] * z[1]
        square = weight[i] * weight[i]
        for a in range(3):
            cells[panel, row, a] += weight[i] * z[a]
            for b in range(a, 3):
                products[a, b] += square * z[a] * z[b]
        cells[panel, row, 3] += square


@numba.njit(cache=True, nogil=True)
def muon_direction(qt, y, mass, costheta, phistar, pt):  # type: ignore[no-untyped-def]
    """Cosine and sine of the muon's angle from qT, counter-clockwise."""
    s = np.sqrt(max(1.0 - costheta * costheta, 0.0))
    turn = 1.0 if y >= 0.0 else -1.0
    along = 0.5 * (qt + np.sqrt(mass * mass + qt * qt) * s * np.cos(phistar))
    across = 0.5 * turn * mass * s * np.sin(phistar)
    return along / pt, across / pt


@numba.njit(cache=True, nogil=True)
def _fill_muons(  # type: ignore[no-untyped-def]
    charge,
    qt,
    y,
    mass,
    costheta,
    phistar,
    eta,
    pt,
    weight,
    reco,
    reco_pt,
    reco_eta,
    e_par,
    e_perp,
    passes,
    selected,
    pileup,
    qt_edges,
    window,
    efficiency,
    by_pileup,
    products,
    by_fsr,
    by_absy,
    residual_by_pileup,
    response,
):
    z = np.ones(N_FEATURES)
    for j in range(len(reco)):
        i = reco[j]
        p = reco_pt[j]
        w, s = weight[i], selected[j] if passes[j] else 0.0
        sign = 0 if charge[i] > 0.0 else 1
        puclass = find_class(PILEUP, pileup[j])
        cosphi, sinphi = muon_direction(
            qt[i], y[i], mass[i], costheta[i], phistar[i], pt[i]
        )
        if window[0] <= reco_eta[j] < window[1] and window[2] <= p < window[3]:
            along = (qt[i] + e_par[j]) * cosphi + e_perp[j] * sinphi
            row = min(int((reco_eta[j] - window[0]) / STEP), efficiency.shape[2] - 1)
            column = int((p - window[2]) / STRATUM_PT)
            group = find_class(ALONG, -along / p)
            for a, value in enumerate((w, s, w * w, w * s, s * s)):
                efficiency[a, sign, row, column, group] += value
                by_pileup[a, puclass] += value
        ratio = p / pt[i]
        panel = find_class(qt_edges, qt[i]) - 1
        inside = RECOIL_PT[0] <= p <= RECOIL_PT[1]
        if inside and 0 <= panel < products.shape[0]:
            z[1] = min(max(e_par[j], -RESIDUAL_MAX), RESIDUAL_MAX)
            z[2] = min(max(e_perp[j], -RESIDUAL_MAX), RESIDUAL_MAX)
            if sinphi < 0.0:
                z[2] = -z[2]
            z[3], z[4] = z[1] * z[1], z[2] * z[2]
            fsr = by_fsr[panel, find_class(HARD_FSR, ratio)]
            absy = by_absy[panel, find_class(ABSY, abs(y[i]))]
            piled = residual_by_pileup[panel, puclass]
            _add(w, z, products[panel], fsr, absy, piled)
        row = int(abs(eta[i]) / STEP)
        column = find_class(RATIO_PT, pt[i]) - 1
        inside = row < response.shape[1] and 0 <= column < response.shape[2]
        if inside and abs(ratio - 1.0) < CORE:
            cell = response[sign, row, column]
            d, term = ratio - 1.0, w
            for a in range(3):
                cell[a] += term
                term *= d
            term = w * w
            for a in range(3, 8):
                cell[a] += term
                term *= d


@numba.njit(cache=True, nogil=True)
def _add(w, z, products, fsr, absy, pileup):  # type: ignore[no-untyped-def]
    """Add one residual to the products of its features and to its classes."""
    for a in range(len(z)):
        term = w * z[a]
        fsr[a] += term
        absy[a] += term
        pileup[a] += term
        for b in range(a, len(z)):
            products[a, b] += w * term * z[b]
    fsr[len(z)] += w * w
    absy[len(z)] += w * w
    pileup[len(z)] += w * w
