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
        If shapes do not match, a node is not positive, a class of eta has no leptons,
        or mean pT do not rise from class to class.
    """
    counts, every = np.asarray(ratio, float), np.asarray(generated, float)
    sums, nodes = np.asarray(ratio_pt, float), np.asarray(pt_nodes, float)
    edges, bins = RATIO, panels.pt
    _check(counts, every, sums, nodes)
    lead, n_class = every.shape[:-1], every.shape[-1]
    # A bin of pT is a range of the ratio, which differs from node to node.
    place, share = _places(bins / nodes[:, None], edges)
    rows = zip(
        counts.reshape(-1, n_class, len(edges) - 1),
        every.reshape(-1, n_class),
        sums.reshape(-1, n_class),
        strict=True,
    )
    out = np.empty((every[..., 0].size, len(nodes), len(bins) - 1))
    for target, (count, total, weighted) in zip(out, rows, strict=True):
        # Classes without leptons leave their pT to the mixture of their neighbours.
        known = total > 0
        density = count[known] / total[known, None]
        cumulated = np.pad(np.cumsum(density, axis=1), ((0, 0), (1, 0)))
        lower, mixture = _mixture(nodes, weighted[known] / total[known])
        upper = np.minimum(lower + 1, len(cumulated) - 1)
        below = _interpolated(cumulated, lower, place, share)
        above = _interpolated(cumulated, upper, place, share)
        target[:] = np.diff(below + mixture[:, None] * (above - below), axis=1)
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


def _check(
    counts: FloatArray, every: FloatArray, sums: FloatArray, nodes: FloatArray
) -> None:
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
    known = every > 0
    empty = ~known.any(axis=-1)
    if empty.any():
        msg = (
            f"the response has no leptons in class {np.argwhere(empty)[0, -1]} of "
            "|eta|; the sample needs more events"
        )
        raise TemplateError(msg)
    mean = sums / np.where(known, every, 1.0)
    # The highest mean so far, which classes without leptons leave as it is.
    highest = np.maximum.accumulate(np.where(known, mean, 0.0), axis=-1)
    before = np.pad(highest, [(0, 0)] * (highest.ndim - 1) + [(1, 0)])[..., :-1]
    wrong = known & ~(mean > before)
    if wrong.any():
        eta, pt = np.argwhere(wrong)[0, -2:]
        msg = (
            f"the mean pT of class {pt} of pT in class {eta} of |eta| is not above "
            "that of the class before; the sample needs more events there"
        )
        raise TemplateError(msg)
