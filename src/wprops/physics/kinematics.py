"""Expressions of momenta at the detector: arrays in, arrays out.

Functions act on NumPy and awkward arrays alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def transverse_mass(pt: Any, phi: Any, met: Any, met_phi: Any) -> Any:
    r"""Transverse mass of a lepton and the missing transverse momentum.

    .. math:: m_T = \sqrt{2 p_T p_T^{miss} (1 - \cos Δφ)}

    Parameters
    ----------
    pt, phi : array_like, shape (n,)
        Transverse momentum [GeV] and azimuth [rad] of the lepton.
    met, met_phi : array_like, shape (n,)
        Magnitude [GeV] and azimuth [rad] of the missing transverse momentum.

    Returns
    -------
    array_like, shape (n,)
        Transverse mass [GeV].

    Examples
    --------
    Back to back, it is twice the geometric mean:

    >>> float(transverse_mass(40.0, 0.0, 40.0, np.pi))
    80.0
    """
    # 1 − cos Δφ = 2 sin²(Δφ/2) keeps its digits when the two are parallel.
    return 2.0 * np.sqrt(pt * met) * abs(np.sin(0.5 * (phi - met_phi)))
