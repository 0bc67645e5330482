"""A response without smearing, to see what resolution costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from wprops.factorised.panels import RATIO, RESIDUAL_PAR, RESIDUAL_PERP
from wprops.factorised.response_file import Response
from wprops.factorised.template_set import factorised_set
from wprops.store import TemplateSet

Array = NDArray[np.float64]
#: Width of the residual of the recoil: that of a cell of its histogram [GeV], or this
#: part of qT, since the number of polynomials in the acceptance grows with qT/width.
RECOIL_WIDTH, RECOIL_SHARE = 2.0, 0.1


def perfect_set(response: Response) -> TemplateSet:
    """Make templates of the signal without smearing, see `perfect_response`."""
    return factorised_set(perfect_response(response), n_replicas=0)


def perfect_response(response: Response) -> Response:
    """Replace measured muons and recoil by nearly perfect ones.

    Matched muons have their generated momentum, to half of a per mille, and radiate
    nothing. The residual of the recoil is Gaussian with the width `RECOIL_WIDTH`, or
    `RECOIL_SHARE` of qT where that is more. Bosons, efficiency and losses of muons stay
    what they are. Variations of muon and recoil are dropped.

    Parameters
    ----------
    response : Response
        Sums over the events of a sample.

    Returns
    -------
    Response
    """
    sums = response.sums
    arrays = dict(sums.arrays)
    arrays["ratio"] = _at_one(arrays["ratio"])
    arrays["recoil"] = _narrow(arrays["recoil"], sums.mean_qt)
    kinematic = {r.name for r in response.systematics if r.kind == "kinematic"}
    labels = dict(sums.labels)
    for name in ("ratio_varied", "recoil_varied"):
        arrays[name], labels[name] = arrays[name][:0], ()
    return replace(
        response,
        sums=replace(sums, arrays=arrays, labels=labels),
        systematics=tuple(r for r in response.systematics if r.name not in kinematic),
    )


def _at_one(ratio: Array) -> Array:
    """Put all muons into the two bins next to pT_reco = pT_gen."""
    place = int(np.searchsorted(RATIO, 1.0))
    perfect = np.zeros_like(ratio)
    perfect[..., place - 1] = perfect[..., place] = ratio.sum(axis=-1) / 2
    return perfect


def _narrow(recoil: Array, mean_qt: Array) -> Array:
    """Gaussian residuals of the classes of qT, with the sums of the measured ones."""
    width = np.maximum(RECOIL_WIDTH, RECOIL_SHARE * mean_qt)[:, None]
    along = np.diff(ndtr(RESIDUAL_PAR / width), axis=-1)
    across = 2 * np.diff(ndtr(RESIDUAL_PERP / width), axis=-1)
    shape = along[:, :, None] * across[:, None, :]
    return np.asarray(recoil.sum(axis=(-2, -1), keepdims=True) * shape)
