r"""Let simulated bosons decay again: many decays for one boson and its recoil.

The boson of an event and the residual of its recoil, with the pile-up in it, are kept,
and K fresh decays, uniform on the sphere, get the weight of each helicity component.
With the density :math:`(3/16π) g_k` of a component and :math:`1/4π` of the decays,

.. math:: w_k = \tfrac{3}{4}\, g_k(\cosθ, φ)\, ε / K,

where :math:`g_k` is :math:`1 + \cos^2θ` or a harmonic, and ε the efficiency of the
fresh muon. All generated bosons decay again, whatever their first decay was, and the
A_i of the simulation are not needed. The noise of a template falls like 1/K until that
of bosons and recoil is left.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wprops.axes import EVEN_COMPONENTS
from wprops.errors import ConfigError
from wprops.events.toy.events import FloatArray, IntArray
from wprops.events.toy.sampling import Bosons
from wprops.events.toy.single_muon import charged_lepton, measure_muon, recoil_mt
from wprops.events.toy.truth import ToyTruth
from wprops.physics.harmonics import harmonics, unpolarised


class Redecays(NamedTuple):
    """Fresh decays whose muon can be selected, m of them.

    Attributes
    ----------
    boson : ndarray of int, shape (m,)
        Index of the boson.
    pt, eta : ndarray, shape (m,)
        Reconstructed muon, pT in GeV.
    mt : ndarray, shape (m,)
        Transverse mass with the recoil of the boson [GeV].
    weight : ndarray, shape (m, 6)
        Weights of UL and A0 … A4 for one generated boson, efficiency included and
        A_i = 1; the cut on mT is left to the caller.
    """

    boson: IntArray
    pt: FloatArray
    eta: FloatArray
    mt: FloatArray
    weight: FloatArray


def redecay(
    truth: ToyTruth,
    charge: int,
    bosons: Bosons,
    residual: FloatArray,
    n_decays: int,
    rng: np.random.Generator,
    *,
    fsr: bool = False,
) -> Redecays:
    """Let each boson decay ``n_decays`` times.

    Parameters
    ----------
    truth : ToyTruth
        The truth, for response and efficiency of the muon.
    charge : {1, -1}
        Charge of the bosons.
    bosons : Bosons
        Generated bosons, shape (n,); their angles are not used.
    residual : ndarray, shape (2, n)
        Measured minus true boson momentum along and across qT [GeV], without photons
        of the muon.
    n_decays : int
        Number K of fresh decays of a boson.
    rng : numpy.random.Generator
        Source of randomness.
    fsr : bool
        Whether muons radiate photons.

    Returns
    -------
    Redecays

    Raises
    ------
    ConfigError
        If there are no decays to make, or no residual for each boson.
    """
    n = len(bosons.qt)
    if n_decays < 1 or residual.shape != (2, n):
        msg = (
            f"{n_decays} decays of {n} bosons with residuals of shape "
            f"{residual.shape}: expected at least one decay and shape (2, {n})"
        )
        raise ConfigError(msg)
    source = np.repeat(np.arange(n), n_decays)
    costheta = rng.uniform(-1.0, 1.0, len(source))
    phistar = rng.uniform(-np.pi, np.pi, len(source))
    boson = Bosons(*(column[source] for column in bosons))
    lepton = charged_lepton(boson, costheta, phistar)
    kept_residual = residual[:, source]
    measured = measure_muon(
        truth, charge, boson.qt, boson.phi, lepton, kept_residual, rng, fsr=fsr
    )
    kept = np.flatnonzero(measured.efficiency)
    pt, eta, phi = (column[kept] for column in measured[:3])
    weight = component_weights(costheta[kept], phistar[kept])
    weight *= measured.efficiency[kept, None] / n_decays
    mt = recoil_mt(boson.qt[kept], measured.residual[:, kept], pt, phi)
    return Redecays(source[kept], pt, eta, mt, weight)


def component_weights(costheta: FloatArray, phistar: FloatArray) -> FloatArray:
    """Weights ¾ g_k that turn decays uniform on the sphere into UL and A0 … A4.

    Examples
    --------
    The mean over the sphere of the unpolarised decay is 1:

    >>> nodes, weights = np.polynomial.legendre.leggauss(8)
    >>> float(weights @ component_weights(nodes, 0 * nodes)[:, 0] / 2).__round__(12)
    1.0
    """
    weight = np.empty((len(costheta), len(EVEN_COMPONENTS)))
    weight[:, 0] = unpolarised(costheta)
    weight[:, 1:] = harmonics(costheta, phistar)[: len(EVEN_COMPONENTS) - 1].T
    return 0.75 * weight
