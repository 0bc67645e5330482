"""Theory variations of the toy: alternative truths and the event weights they imply.

Each member is a ratio of cross sections and a set of coefficients at a point of
phase space, so varied moments, templates and closures have known answers. The
event weight is the ratio of the two decay densities.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.errors import ConfigError
from wprops.events.toy.truth import ToyTruth, coefficients
from wprops.physics.pdf_sets import hessian_matrix

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]

N_REPLICAS = 100
#: Independent directions of the replicas: Legendre terms of σ and of A4.
N_DIRECTIONS = 9
#: Sizes of the Legendre terms in ln σ' and in A4'/A4.
SIGMA_SIZES = np.array([0.010, 0.012, 0.008, 0.006, 0.004, 0.003])
A4_SIZES = np.array([0.010, 0.006, 0.004])
#: One seed for all samples: replica j is the same physics everywhere.
REPLICA_SEED = 20210831
#: log2 of (muR, muF) in the order of LHEScaleWeight; entry 4 is nominal.
SCALES = tuple((kr, kf) for kr in (-1, 0, 1) for kf in (-1, 0, 1))
ALPHAS = ("alphas_down", "alphas_up")
#: Names of the members in the order of LHEPdfWeight.
PDF_MEMBERS = tuple(f"pdf_{j:03d}" for j in range(1, N_REPLICAS + 1)) + ALPHAS
SCALE_MEMBERS = tuple(f"scale_{k}" for k in range(len(SCALES)))


class MemberPoint(NamedTuple):
    """A member at given points: σ'/σ and the coefficients A', shape (8, ...)."""

    sigma_ratio: FloatArray
    coefficients: FloatArray


def replica_coordinates() -> tuple[FloatArray, FloatArray]:
    """Return the replicas' normal coordinates z (100, 6) and z' (100, 3)."""
    rng = np.random.default_rng(REPLICA_SEED)
    z_sigma = rng.standard_normal((N_REPLICAS, len(SIGMA_SIZES)))
    z_a4 = rng.standard_normal((N_REPLICAS, len(A4_SIZES)))
    return z_sigma, z_a4


def member(
    truth: ToyTruth, name: str, charge: int, qt: ArrayLike, y: ArrayLike
) -> MemberPoint:
    """Return a theory member's truth at points of phase space.

    Parameters
    ----------
    truth : ToyTruth
        The nominal truth.
    name : str
        One of `PDF_MEMBERS` or `SCALE_MEMBERS`.
    charge : {1, -1, 0}
        Boson.
    qt, y : array_like, broadcastable
        Transverse momentum [GeV] and rapidity.

    Returns
    -------
    MemberPoint
        Cross section relative to nominal, and coefficients.

    Raises
    ------
    ConfigError
        If there is no such member.
    """
    qt, y = np.broadcast_arrays(np.asarray(qt, float), np.asarray(y, float))
    a4: FloatArray | float
    values = coefficients(truth, charge, qt, y)
    if name in ALPHAS:
        ratio, a02, a4 = _alphas(1 if name == ALPHAS[1] else -1, qt)
    elif name in SCALE_MEMBERS:
        ratio, a02, a4 = _scale(*SCALES[SCALE_MEMBERS.index(name)], qt)
    elif name in PDF_MEMBERS:
        ratio, a02, a4 = _replica(PDF_MEMBERS.index(name), charge, y)
    else:
        msg = (
            f"the toy has no theory member {name!r}; it has {PDF_MEMBERS[0]} … "
            f"{PDF_MEMBERS[N_REPLICAS - 1]}, {', '.join(ALPHAS)} and "
            f"{SCALE_MEMBERS[0]} … {SCALE_MEMBERS[-1]}"
        )
        raise ConfigError(msg)
    values[[0, 2]] *= a02
    values[4] *= a4
    return MemberPoint(ratio, values)


def pdf_weights(
    truth: ToyTruth,
    charge: int,
    qt: FloatArray,
    y: FloatArray,
    costheta: FloatArray,
    phistar: FloatArray,
) -> Float32Array:
    """Weights of `PDF_MEMBERS` relative to nominal, shape (n, 102), float32."""
    A = coefficients(truth, charge, qt, y)
    p0, p2, d = _density(A, costheta, phistar)
    out = np.empty((len(qt), len(PDF_MEMBERS)), np.float32)
    legendre = _legendre(y, len(SIGMA_SIZES)).astype(np.float32)
    log_terms, a4_terms = _replica_terms(charge)
    replicas = np.exp(legendre @ log_terms.astype(np.float32))
    a4_change = legendre[:, : len(A4_SIZES)] @ a4_terms.astype(np.float32)
    a4_change *= (A[4] * costheta / d).astype(np.float32)[:, None]
    a4_change += np.float32(1.0)
    np.multiply(replicas, a4_change, out=out[:, :N_REPLICAS])
    a02_share = (A[0] * p0 + A[2] * p2) / d
    for column, sign in ((N_REPLICAS, -1), (N_REPLICAS + 1, 1)):
        ratio, a02, _ = _alphas(sign, qt)
        out[:, column] = ratio * (1.0 + (a02 - 1.0) * a02_share)
    return out


def scale_weights(
    truth: ToyTruth,
    charge: int,
    qt: FloatArray,
    y: FloatArray,
    costheta: FloatArray,
    phistar: FloatArray,
) -> Float32Array:
    """Weights of `SCALE_MEMBERS` relative to nominal, shape (n, 9), float32."""
    A = coefficients(truth, charge, qt, y)
    p0, p2, d = _density(A, costheta, phistar)
    a02_share = (A[0] * p0 + A[2] * p2) / d
    a4_share = A[4] * costheta / d
    out = np.empty((len(qt), len(SCALES)), np.float32)
    for column, (k_r, k_f) in enumerate(SCALES):
        ratio, a02, a4 = _scale(k_r, k_f, qt)
        out[:, column] = ratio * (1.0 + (a02 - 1.0) * a02_share + (a4 - 1.0) * a4_share)
    return out


def pdf_deviations(truth: ToyTruth) -> FloatArray:
    """Relative deviations of the replicas on a grid of points, (100, n_points).

    The grid covers both charges, |Y| ≤ 5, three qT and three polar angles: enough
    to span every direction in which replicas differ.
    """
    grid = np.meshgrid(
        np.linspace(0.0, 5.0, 26), [5.0, 20.0, 60.0], [-0.8, 0.0, 0.8], indexing="ij"
    )
    absy, qt, costheta = (axis.ravel() for axis in grid)
    phistar = np.full_like(absy, 0.5 * np.pi)
    weights = [
        pdf_weights(truth, charge, qt, absy, costheta, phistar)[:, :N_REPLICAS]
        for charge in (1, -1)
    ]
    return np.concatenate(weights).T.astype(float) - 1.0


def pdf_hessian(truth: ToyTruth) -> FloatArray:
    """Matrix from replicas to Hessian directions, shape (100, 9)."""
    return hessian_matrix(pdf_deviations(truth), N_DIRECTIONS)


def _legendre(y: ArrayLike, n_terms: int) -> FloatArray:
    """Legendre polynomials of 2 min(|Y|, 5)/5 − 1, shape (..., n_terms)."""
    argument = 2.0 * np.minimum(np.abs(y), 5.0) / 5.0 - 1.0
    terms = np.asarray(np.polynomial.legendre.legvander(argument, n_terms - 1), float)
    # legvander turns a scalar into an array of one.
    return terms.reshape(*np.shape(y), n_terms)


def _replica_terms(charge: int) -> tuple[FloatArray, FloatArray]:
    """Coefficients of the Legendre terms, shapes (6, 100) and (3, 100)."""
    z_sigma, z_a4 = replica_coordinates()
    sizes = SIGMA_SIZES.copy()
    if charge == -1:
        sizes[1::2] *= -1.0
    return (z_sigma * sizes).T, (z_a4 * A4_SIZES).T


def _replica(
    j: int, charge: int, y: FloatArray
) -> tuple[FloatArray, float, FloatArray]:
    """σ'/σ, factor of A0 and A2, factor of A4 for one replica."""
    log_terms, a4_terms = _replica_terms(charge)
    legendre = _legendre(y, len(SIGMA_SIZES))
    log_ratio = legendre @ log_terms[:, j]
    return np.exp(log_ratio), 1.0, 1.0 + legendre[..., : len(A4_SIZES)] @ a4_terms[:, j]


def _alphas(sign: int, qt: FloatArray) -> tuple[FloatArray, float, float]:
    """σ'/σ, factor of A0 and A2, factor of A4 for alphaS up or down."""
    log_ratio = 0.01 * (1.0 - 0.5 * np.log1p(qt / 10.0))
    return np.exp(sign * log_ratio), 1.0 + 0.03 * sign, 1.0


def _scale(k_r: int, k_f: int, qt: FloatArray) -> tuple[FloatArray, float, float]:
    """σ'/σ, factor of A0 and A2, factor of A4 for log2 of the scales."""
    log_ratio = k_r * (0.03 * qt / (qt + 10.0) - 0.02)
    log_ratio = log_ratio + k_f * (0.015 - 0.02 * np.exp(-qt / 8.0))
    return np.exp(log_ratio), 1.0 + 0.02 * k_r, 1.0 + 0.01 * k_f


def _density(
    A: FloatArray, costheta: FloatArray, phistar: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """P0, P2 and 1 + c² + Σ A_i P_i."""
    c2, s2 = costheta**2, 1.0 - costheta**2
    s, cos_phi = np.sqrt(s2), np.cos(phistar)
    p0, p2 = 0.5 * (1.0 - 3.0 * c2), s2 * (cos_phi**2 - 0.5)
    d = 1.0 + c2 + A[0] * p0 + A[2] * p2 + A[4] * costheta
    d += (2.0 * A[1] * costheta + A[3]) * s * cos_phi
    if np.any(A[5:]):
        sin_phi = np.sin(phistar)
        d += 2.0 * A[5] * s2 * sin_phi * cos_phi
        d += (2.0 * A[6] * costheta + A[7]) * s * sin_phi
    return p0, p2, d
