"""Compiled loops that sum the response over decays.

All take the arrays to add to as their last argument. Bins are half-open; −1 stands for
a place outside of them.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def find_bin(edges, value):  # type: ignore[no-untyped-def]
    """Bin of a value by bisection; −1 outside and for NaN."""
    if not edges[0] <= value < edges[-1]:
        return -1
    low, high = 0, len(edges) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if value < edges[middle]:
            high = middle
        else:
            low = middle
    return low


@numba.njit(cache=True, nogil=True)
def find_bins(edges, values):  # type: ignore[no-untyped-def]
    """Bins of many values."""
    found = np.empty(len(values), np.int64)
    for i in range(len(values)):
        found[i] = find_bin(edges, values[i])
    return found


@numba.njit(cache=True, nogil=True)
def find_classes(first_edges, first, second_edges, second):  # type: ignore[no-untyped-def]
    """Flat bins in two variables, the second one faster."""
    n = len(second_edges) - 1
    found = np.empty(len(first), np.int64)
    for i in range(len(first)):
        one, two = find_bin(first_edges, first[i]), find_bin(second_edges, second[i])
        found[i] = one * n + two if one >= 0 and two >= 0 else -1
    return found


@numba.njit(cache=True, nogil=True)
def _lagrange(powers, edges, panel, value, out):  # type: ignore[no-untyped-def]
    """Lagrange polynomials of a panel's nodes, from their powers of x in [−1, 1]."""
    low, high = edges[panel], edges[panel + 1]
    x = (2.0 * value - low - high) / (high - low)
    n = len(out)
    for a in range(n):
        total = powers[a, n - 1]
        for k in range(n - 2, -1, -1):
            total = total * x + powers[a, k]
        out[a] = total


@numba.njit(cache=True, nogil=True)
def fill_boson(  # type: ignore[no-untyped-def]
    edges, powers, panels, bosons, weight, charge, fold, into
):
    """Add the weights at the nodes of the panels; the rest goes to ``outside``."""
    moments, squares, outside = into
    n_y = len(edges[1]) - 1
    at_qt, at_y = np.empty(len(powers[0])), np.empty(len(powers[1]))
    for i in range(len(weight)):
        c, panel, w = charge[i], panels[i], weight[i]
        if panel < 0:
            outside[c] += w
            continue
        q, y = divmod(panel, n_y)
        _lagrange(powers[0], edges[0], q, bosons[0][i], at_qt)
        _lagrange(powers[1], edges[1], y, bosons[1][i], at_y)
        squares[c, q, y] += w * w
        cell = moments[fold[i], c, q, :, y]
        for a in range(len(at_qt)):
            for b in range(len(at_y)):
                cell[a, b] += w * at_qt[a] * at_y[b]


@numba.njit(cache=True, nogil=True)
def fill_mass(edges, mass, weight, charge, fold, into):  # type: ignore[no-untyped-def]
    """Add the weights in bins of the mass, and their squares."""
    sums, squares = into
    for i in range(len(mass)):
        place = find_bin(edges, mass[i])
        if place >= 0:
            sums[fold[i], charge[i], place] += weight[i]
            squares[charge[i], place] += weight[i] * weight[i]


@numba.njit(cache=True, nogil=True)
def fill_generated(classes, pt, weight, charge, fold, into):  # type: ignore[no-untyped-def]
    """Add the weights of all leptons in flat classes, and their mean momentum."""
    sums, with_pt = into
    for i in range(len(classes)):
        k = classes[i]
        if k >= 0:
            sums[fold[i], charge[i], k] += weight[i]
            with_pt[charge[i], k] += weight[i] * pt[i]


@numba.njit(cache=True, nogil=True)
def fill_ratio(edges, classes, ratio, weight, charge, fold, into):  # type: ignore[no-untyped-def]
    """Add the weights of matched muons in flat classes and bins of pT/pT_gen."""
    for i in range(len(classes)):
        place = find_bin(edges, ratio[i])
        if classes[i] >= 0 and place >= 0:
            into[fold[i], charge[i], classes[i], place] += weight[i]


@numba.njit(cache=True, nogil=True)
def fill_efficiency(bins, generated, passing, charge, fold, into):  # type: ignore[no-untyped-def]
    """Add the weights of matched muons, and of those that pass, in flat bins."""
    for i in range(len(bins)):
        if bins[i] >= 0:
            into[fold[i], 0, charge[i], bins[i]] += generated[i]
            into[fold[i], 1, charge[i], bins[i]] += passing[i]


@numba.njit(cache=True, nogil=True)
def fill_efficiency_squares(bins, generated, passing, charge, into):  # type: ignore[no-untyped-def]
    """Add the products of the weights of `fill_efficiency`."""
    for i in range(len(bins)):
        if bins[i] >= 0:
            g, p = generated[i], passing[i]
            into[0, charge[i], bins[i]] += g * g
            into[1, charge[i], bins[i]] += g * p
            into[2, charge[i], bins[i]] += p * p


@numba.njit(cache=True, nogil=True)
def fill_recoil(classes, residual, size, weight, fold, into):  # type: ignore[no-untyped-def]
    """Add the weights in cells of the residual; beyond the last cells, in those."""
    n_par, n_perp = into.shape[2:]
    for i in range(len(classes)):
        if classes[i] < 0:
            continue
        along = residual[0, i] / size + n_par / 2
        across = abs(residual[1, i]) / size
        # Clipped as numbers: a huge one has no integer.
        a = int(min(max(along, 0.0), n_par - 1.0))
        b = int(min(across, n_perp - 1.0))
        into[fold[i], classes[i], a, b] += weight[i]


@numba.njit(cache=True, nogil=True)
def fill_varied(panels, weight, ratios, charge, into):  # type: ignore[no-untyped-def]
    """Add the weights of all variations in flat panels."""
    for i in range(len(panels)):
        if panels[i] >= 0:
            row = into[charge[i], panels[i]]
            for v in range(ratios.shape[1]):
                row[v] += weight[i] * ratios[i, v]


@numba.njit(cache=True, nogil=True)
def fill_polarisation(cells, weight, ratios, harmonics, charge, into):  # type: ignore[no-untyped-def]
    """Add the weights of all variations, and times each harmonic, in flat cells."""
    for i in range(len(cells)):
        if cells[i] < 0:
            continue
        rows = into[charge[i], cells[i]]
        for v in range(ratios.shape[1]):
            w = weight[i] * ratios[i, v]
            rows[v, 0] += w
            for k in range(harmonics.shape[1]):
                rows[v, k + 1] += w * harmonics[i, k]


@numba.njit(cache=True, nogil=True)
def fill_passing(eta_edges, pt_edges, muons, weight, charge, group, into):  # type: ignore[no-untyped-def]
    """Add the weights of muons at (eta, pT) in classes, by charge."""
    eta, pt = muons
    for i in range(len(weight)):
        one, two = find_bin(eta_edges, eta[i]), find_bin(pt_edges, pt[i])
        if one >= 0 and two >= 0:
            into[group[i], charge[i], one, two] += weight[i]
