r"""The decay harmonics of a spin-1 boson and the density they build.

In the Collins-Soper frame, with θ and φ those of the charged lepton,

.. math:: \frac{dσ}{d\cosθ\,dφ} = \frac{3}{16π} σ_{UL}
   \left[ 1 + \cos^2θ + \sum_{i=0}^{7} A_i P_i(θ, φ) \right].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

#: Normalisation of the density over the sphere.
NORM = 3.0 / (16.0 * np.pi)


def unpolarised(costheta: ArrayLike) -> FloatArray:
    """1 + cos²θ, the harmonic of the unpolarised cross section."""
    c = np.asarray(costheta, dtype=float)
    return 1.0 + c * c


def harmonics(costheta: ArrayLike, phi: ArrayLike) -> FloatArray:
    """Harmonics P0 … P7.

    Parameters
    ----------
    costheta, phi : array_like, broadcastable
        Polar cosine and azimuth [rad] of the charged lepton in the
        Collins-Soper frame.

    Returns
    -------
    ndarray, shape (8, ...)
        P0 = (1 − 3c²)/2, P1 = sin2θ cosφ, P2 = ½ sin²θ cos2φ, P3 = sinθ cosφ,
        P4 = cosθ, P5 = sin²θ sin2φ, P6 = sin2θ sinφ, P7 = sinθ sinφ.

    References
    ----------
    E. Mirkes and J. Ohnemus, Phys. Rev. D 50 (1994) 5692.

    Examples
    --------
    >>> harmonics(1.0, 0.0).tolist()
    [-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    """
    c, phi = np.broadcast_arrays(np.asarray(costheta, float), np.asarray(phi, float))
    c2 = c * c
    s2 = np.maximum(1.0 - c2, 0.0)
    s = np.sqrt(s2)
    cos_phi, sin_phi = np.cos(phi), np.sin(phi)
    sin_2theta = 2.0 * s * c
    return np.stack(
        [
            0.5 * (1.0 - 3.0 * c2),
            sin_2theta * cos_phi,
            0.5 * s2 * (cos_phi * cos_phi - sin_phi * sin_phi),
            s * cos_phi,
            c,
            2.0 * s2 * sin_phi * cos_phi,
            sin_2theta * sin_phi,
            s * sin_phi,
        ]
    )


def decay_density(costheta: ArrayLike, phi: ArrayLike, A: ArrayLike) -> FloatArray:
    """Density of the decay per unit solid angle; its integral is 1.

    Parameters
    ----------
    costheta, phi : array_like, shape (...)
        Angles as for `harmonics`.
    A : array_like, shape (8,) or (8, ...)
        Angular coefficients A0 … A7.

    Examples
    --------
    >>> round(float(decay_density(0.0, 0.0, np.zeros(8)) / NORM), 12)
    1.0
    """
    P = harmonics(costheta, phi)
    A = np.asarray(A, dtype=float)
    A = A.reshape(A.shape + (1,) * (P.ndim - A.ndim))
    return NORM * (unpolarised(costheta) + (A * P).sum(axis=0))
