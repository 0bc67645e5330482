r"""The Collins-Soper frame: angles from momenta and momenta from angles.

In the rest frame of the boson z bisects the directions of one proton and the
opposite of the other, with the sign of the boson's pz; x points along the
boson's transverse momentum; y = z × x. All lepton masses are neglected. In
light-cone components v± = (E ± pz)/√2 the angles are

.. math::
   \cosθ = \mathrm{sgn}(q_z) \frac{2 (l^+ n^- - l^- n^+)}{Q \sqrt{Q^2 + q_T^2}},
   \qquad \tanφ = \frac{\sqrt{Q^2 + q_T^2}}{Q}
   \frac{D_T · R}{D_T · \hat q_T},

with l the charged lepton, n the other one, D = l − n and
R = sgn(q_z) ẑ × q̂_T (J. Collins and D. Soper, Phys. Rev. D 16 (1977) 2219).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
#: pT [GeV], eta and phi [rad] of one massless particle per event.
PtEtaPhi = tuple[FloatArray, FloatArray, FloatArray]


class BosonDecay(NamedTuple):
    """A boson and the decay angles of its charged lepton, shape (n,) each.

    ``qt`` [GeV], signed rapidity ``y``, ``mass`` [GeV], azimuth ``phi`` [rad], and
    the Collins-Soper ``costheta`` and ``phistar`` [rad, in (−π, π]].
    """

    qt: FloatArray
    y: FloatArray
    mass: FloatArray
    phi: FloatArray
    costheta: FloatArray
    phistar: FloatArray


def boson_and_angles(
    lepton: Sequence[ArrayLike] | FloatArray,
    other: Sequence[ArrayLike] | FloatArray,
) -> BosonDecay:
    """Reconstruct the boson and the Collins-Soper angles from its two leptons.

    Parameters
    ----------
    lepton, other : array_like, shape (3, n)
        pT [GeV], eta and phi [rad] of the charged lepton whose angles are wanted
        (the μ− for a Z), and of the neutrino (the μ+).

    Returns
    -------
    BosonDecay

    Examples
    --------
    Two leptons of equal pT, back to back along the beam's normal:

    >>> decay = boson_and_angles(([40.0], [0.0], [0.0]), ([40.0], [0.0], [np.pi]))
    >>> round(float(decay.mass[0]), 10), round(abs(float(decay.costheta[0])), 10)
    (80.0, 0.0)
    """
    columns = [
        np.ascontiguousarray(values, dtype=np.float64) for values in (*lepton, *other)
    ]
    out = np.empty((6, len(columns[0])))
    _fill_angles(*columns, out)
    return BosonDecay(*out)


def leptons_from_angles(
    qt: FloatArray,
    y: FloatArray,
    mass: FloatArray,
    costheta: FloatArray,
    phistar: FloatArray,
    phi: FloatArray,
) -> tuple[PtEtaPhi, PtEtaPhi]:
    """Lab momenta of the two leptons of a decay.

    Parameters
    ----------
    qt, y, mass, phi : ndarray, shape (n,)
        Transverse momentum [GeV], rapidity, mass [GeV] and azimuth [rad] of the
        boson.
    costheta, phistar : ndarray, shape (n,)
        Collins-Soper angles of the charged lepton.

    Returns
    -------
    lepton, other : tuple of ndarray
        pT [GeV], eta and phi [rad] of the charged lepton and of the other one.
    """
    out = np.empty((6, len(qt)))
    _fill_leptons(qt, y, mass, costheta, phistar, phi, out)
    return (out[0], out[1], out[2]), (out[3], out[4], out[5])


@numba.njit(cache=True, nogil=True)
def _fill_angles(pt1, eta1, phi1, pt2, eta2, phi2, out):  # type: ignore[no-untyped-def]
    for i in range(len(pt1)):
        x1, y1 = pt1[i] * np.cos(phi1[i]), pt1[i] * np.sin(phi1[i])
        x2, y2 = pt2[i] * np.cos(phi2[i]), pt2[i] * np.sin(phi2[i])
        # Light-cone components times √2: E ± pz of a massless particle.
        plus1, minus1 = pt1[i] * np.exp(eta1[i]), pt1[i] * np.exp(-eta1[i])
        plus2, minus2 = pt2[i] * np.exp(eta2[i]), pt2[i] * np.exp(-eta2[i])
        qx, qy = x1 + x2, y1 + y2
        qt = np.hypot(qx, qy)
        # 2 l·n, from half angles: exact for nearly parallel leptons too.
        half_eta = np.sinh(0.5 * (eta1[i] - eta2[i]))
        half_phi = np.sin(0.5 * (phi1[i] - phi2[i]))
        m2 = 4.0 * pt1[i] * pt2[i] * (half_eta * half_eta + half_phi * half_phi)
        mass, transverse = np.sqrt(m2), np.sqrt(m2 + qt * qt)
        y = 0.5 * np.log((plus1 + plus2) / (minus1 + minus2))
        sign = 1.0 if y >= 0.0 else -1.0
        # Without transverse momentum x is free; the x axis of the lab stands in.
        ux, uy = (qx / qt, qy / qt) if qt > 0.0 else (1.0, 0.0)
        dx, dy = x1 - x2, y1 - y2
        along = mass * (dx * ux + dy * uy)
        across = transverse * sign * (dy * ux - dx * uy)
        cosine = sign * (plus1 * minus2 - minus1 * plus2)
        # Two massless parallel leptons have no rest frame.
        scale = mass * transverse
        out[0, i] = qt
        out[1, i] = y
        out[2, i] = mass
        out[3, i] = np.arctan2(qy, qx)
        out[4, i] = min(1.0, max(-1.0, cosine / scale)) if scale > 0.0 else np.nan
        out[5, i] = np.arctan2(across, along) if scale > 0.0 else np.nan


@numba.njit(cache=True, nogil=True)
def _fill_leptons(qt, y, mass, costheta, phistar, phi, out):  # type: ignore[no-untyped-def]
    for i in range(len(qt)):
        q, m, c = qt[i], mass[i], costheta[i]
        s = np.sqrt(max(1.0 - c * c, 0.0))
        transverse = np.sqrt(m * m + q * q)
        sign = 1.0 if y[i] >= 0.0 else -1.0
        cos_q, sin_q = np.cos(phi[i]), np.sin(phi[i])
        along, across = s * np.cos(phistar[i]), s * np.sin(phistar[i])
        for slot in range(2):
            turn = 1.0 if slot == 0 else -1.0
            # Along qT, perpendicular to it, and light cone in the frame at Y = 0.
            px = 0.5 * (q + turn * transverse * along)
            py = 0.5 * turn * sign * m * across
            pt = np.hypot(px, py)
            pz = 0.5 * turn * sign * m * c
            out[3 * slot, i] = pt
            # asinh loses no digits at large eta, unlike E − pz.
            out[3 * slot + 1, i] = (
                np.arcsinh(pz / pt) + y[i] if pt > 0.0 else (np.inf * pz)
            )
            out[3 * slot + 2, i] = np.arctan2(
                px * sin_q + py * cos_q, px * cos_q - py * sin_q
            )
