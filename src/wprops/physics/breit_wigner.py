r"""The line shape of a boson and the weights that shift its mass and width.

A running width is a fixed width with
:math:`\bar M = M/\sqrt{1 + γ^2}`, :math:`\bar Γ = Γ/\sqrt{1 + γ^2}`, γ = Γ/M
(D. Bardin et al., Phys. Lett. B 206 (1988) 539): for the W the mass moves by
−27 MeV. Shapes are normalised on the window of generated masses: a raw ratio of
Breit-Wigner functions for ±50 MeV changes the cross section by ∓0.06 %.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

#: Window of generated masses [GeV].
WINDOW = (50.0, 120.0)


def fixed_width(pole: float, width: float) -> tuple[float, float]:
    """Fixed-width mass and width [GeV] of a running-width Breit-Wigner.

    Examples
    --------
    >>> mass, _ = fixed_width(80.379, 2.085)
    >>> round(1000 * (mass - 80.379), 1)
    -27.0
    """
    root = np.sqrt(1.0 + (width / pole) ** 2)
    return float(pole / root), float(width / root)


def line_shape(
    mass: ArrayLike,
    *,
    pole: float,
    width: float,
    running: bool = False,
    window: tuple[float, float] = WINDOW,
) -> FloatArray:
    r"""Normalised Breit-Wigner density in m, ∝ 2m/((m² − M²)² + M²Γ²).

    Parameters
    ----------
    mass : array_like
        Boson mass [GeV].
    pole, width : float
        M and Γ [GeV].
    running : bool
        Whether M and Γ are those of a width that grows like m².
    window : tuple of float
        Range of masses on which the integral is 1 [GeV].

    Returns
    -------
    ndarray
        Density [1/GeV], zero outside of the window.

    Raises
    ------
    ValueError
        If pole, width or window are not positive and ordered.
    """
    if not (pole > 0 and width > 0 and 0 <= window[0] < window[1]):
        msg = (
            f"pole {pole}, width {width} and window {window} [GeV]: expected positive "
            "numbers and an increasing window"
        )
        raise ValueError(msg)
    if running:
        pole, width = fixed_width(pole, width)
    m = np.asarray(mass, dtype=float)
    scale = pole * width
    low, high = (np.arctan((edge**2 - pole**2) / scale) for edge in window)
    density = 2.0 * m * scale / ((m**2 - pole**2) ** 2 + scale**2) / (high - low)
    return np.where((m >= window[0]) & (m <= window[1]), density, 0.0)


def mass_weight(
    mass: ArrayLike,
    *,
    pole: float,
    width: float,
    new_pole: float,
    new_width: float,
    running: bool = False,
    window: tuple[float, float] = WINDOW,
) -> FloatArray:
    """Weights that turn a line shape into another, both normalised.

    Parameters
    ----------
    mass : array_like, shape (n_events,)
        Generated boson mass [GeV]; masses outside of the window (rounding of a
        generator's cut) have the weight at its edge.
    pole, width, new_pole, new_width : float
        Mass and width of the sample and of the variation [GeV].
    running, window
        As for `line_shape`.

    Returns
    -------
    ndarray, shape (n_events,)

    Raises
    ------
    ValueError
        As `line_shape`.

    Examples
    --------
    >>> same = dict(pole=80.379, width=2.085, new_pole=80.379, new_width=2.085)
    >>> float(mass_weight(80.0, **same))
    1.0
    """
    m = np.clip(np.asarray(mass, dtype=float), *window)
    new = line_shape(m, pole=new_pole, width=new_width, running=running, window=window)
    return new / line_shape(m, pole=pole, width=width, running=running, window=window)
