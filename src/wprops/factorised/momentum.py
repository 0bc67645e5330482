r"""The response of the muon's momentum, from histograms of pT_reco / pT_gen.

The histogram :math:`h_c(r)` of a class of generated pT, divided by all leptons of the
class, is the response at their mean pT. Between two means the response is a
mixture of both, in proportion to the distance, and beyond the first and the last it is
theirs. Losses of muons are in it, as its integral is below 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.errors import TemplateError
from wprops.factorised.panels import RATIO, Panels

FloatArray = NDArray[np.float64]


def response_matrix(
    ratio: ArrayLike,
    generated: ArrayLike,
    ratio_pt: ArrayLike,
    panels: Panels,
    pt_nodes: ArrayLike,
) -> FloatArray:
    """Probabilities that leptons are reconstructed in bins of pT.

    Parameters
    ----------
    ratio : array_like, shape (..., n_eta, n_pt_class, n_ratio)
        Weighted counts of pT_reco / pT_gen of matched muons in classes of absolute eta
        and generated pT.
    generated : array_like, shape (..., n_eta, n_pt_class)
        Weighted counts of all leptons of the classes, with or without a muon.
    ratio_pt : array_like, shape (..., n_eta, n_pt_class)
        Sums of weight times generated pT [GeV] of all leptons.
    panels : Panels
        Gives the fine bins of reconstructed pT.
    pt_nodes : array_like, shape (n_nodes,)
        Generated pT [GeV].

    Returns
    -------
    ndarray, shape (..., n_eta, n_nodes, n_bins)
        Probabilities; a row adds up to what is neither lost nor outside of the bins.

    Raises
    ------
    TemplateError
        If shapes do not match, a node is not positive, or a class has no leptons.
    """
    counts, every = np.asarray(ratio, float), np.asarray(generated, float)
    sums, nodes = np.asarray(ratio_pt, float), np.asarray(pt_nodes, float)
    edges, bins = RATIO, panels.pt
    mean = _means(counts, every, sums, nodes)
    lead, n_class = every.shape[:-1], every.shape[-1]
    cumulated = np.zeros((*counts.shape[:-1], len(edges)))
    np.cumsum(counts, axis=-1, out=cumulated[..., 1:])
    cumulated /= every[..., None]
    flat = cumulated.reshape(-1, n_class, len(edges))
    # A bin of pT is a range of the ratio, which differs from node to node.
    place, share = _places(bins / nodes[:, None], edges)
    out = np.empty((len(flat), len(nodes), len(bins) - 1))
    for row, (table, means) in enumerate(
        zip(flat, mean.reshape(-1, n_class), strict=True)
    ):
        lower, mixture = _mixture(nodes, means)
        upper = np.minimum(lower + 1, n_class - 1)
        below = _interpolated(table, lower, place, share)
        above = _interpolated(table, upper, place, share)
        out[row] = np.diff(below + mixture[:, None] * (above - below), axis=1)
    return out.reshape(*lead, len(nodes), len(bins) - 1)


def _places(
    values: FloatArray, edges: FloatArray
) -> tuple[NDArray[np.int64], FloatArray]:
    """Bins of values and the shares of the bins that lie below them."""
    inside = np.clip(values, edges[0], edges[-1])
    place = np.clip(np.searchsorted(edges, inside, side="right") - 1, 0, len(edges) - 2)
    return place, (inside - edges[place]) / (edges[place + 1] - edges[place])


def _interpolated(
    cumulated: FloatArray,
    classes: NDArray[np.int64],
    place: NDArray[np.int64],
    share: FloatArray,
) -> FloatArray:
    """Cumulated responses of the class of each node, shape (n_nodes, n_edges)."""
    low = cumulated[classes[:, None], place]
    return low + share * (cumulated[classes[:, None], place + 1] - low)


def _mixture(
    nodes: FloatArray, means: FloatArray
) -> tuple[NDArray[np.int64], FloatArray]:
    """Class below each node, and the part of the next class in its response."""
    position = np.interp(nodes, means, np.arange(len(means)))
    lower = np.minimum(position.astype(np.int64), len(means) - 1)
    return lower, position - lower


def _means(
    counts: FloatArray,
    every: FloatArray,
    sums: FloatArray,
    nodes: FloatArray,
) -> FloatArray:
    """Mean pT of the classes; checks all arguments."""
    if counts.shape != (*every.shape, len(RATIO) - 1) or sums.shape != every.shape:
        msg = (
            f"ratio, generated and ratio_pt have shapes {counts.shape}, {every.shape} "
            f"and {sums.shape}, expected (..., n_eta, n_pt_class, {len(RATIO) - 1}) "
            "and twice (..., n_eta, n_pt_class)"
        )
        raise TemplateError(msg)
    if not (nodes > 0).all():
        msg = f"the generated pT {nodes.min():g} GeV of a node is not positive"
        raise TemplateError(msg)
    matched = counts.sum(axis=-1)
    empty = ~((every > 0) & (matched > 0))
    if empty.any():
        where = np.argwhere(empty)[0]
        msg = (
            f"the response has no positive sum of weights in class {where[-2]} of eta "
            f"and {where[-1]} of pT; the sample needs more events there"
        )
        raise TemplateError(msg)
    means = sums / every
    if not (np.diff(means, axis=-1) > 0).all():
        where = np.argwhere(~(np.diff(means, axis=-1) > 0))[0]
        msg = (
            f"the mean pT of classes {where[-1]} and {where[-1] + 1} of pT in class "
            f"{where[-2]} of eta do not rise; the sample needs more events there"
        )
        raise TemplateError(msg)
    return means
