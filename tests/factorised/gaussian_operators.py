"""Gaussian responses of muon and recoil, and the toy's bosons, at panels' nodes."""

import numpy as np
from scipy.special import ndtr

from wprops.events.toy.truth import ToyTruth, coefficients, density
from wprops.factorised.kernel import DecayNodes
from wprops.factorised.line_shape import LineShape
from wprops.factorised.panels import RATIO_ABSETA, RESIDUAL_PAR, RESIDUAL_PERP

TRUTH = ToyTruth()
W = TRUTH.boson(1)
LINE_SHAPE = LineShape(pole=W.mass, width=W.width, window=(W.mass_low, W.mass_high))
RESOLUTION = TRUTH.detector.muon_resolution
N_CLASSES = len(RATIO_ABSETA) - 1


def recoil_width(qt):
    """The toy's recoil resolution [GeV]."""
    detector = TRUTH.detector
    return np.hypot(detector.recoil_constant, detector.recoil_slope * np.asarray(qt))


def residuals(width_par, width_perp=None, mean=0.0):
    """Histogram of a Gaussian residual, by exact integrals over the cells."""
    par = np.diff(ndtr((RESIDUAL_PAR - mean) / width_par))
    perp = 2.0 * np.diff(ndtr(RESIDUAL_PERP / (width_perp or width_par)))
    return np.outer(par, perp)


def muon_response(panels, nodes=None, resolution=RESOLUTION):
    """Response of pT (1 + resolution g), or none at all for a resolution of zero."""
    pt = (nodes or DecayNodes.of(panels)).pt[:, None]
    if resolution > 0.0:
        below = ndtr((panels.pt / pt - 1.0) / resolution)
    else:
        below = (pt < panels.pt).astype(float)
    return np.repeat(np.diff(below, axis=1)[None], N_CLASSES, axis=0)


def no_cut(panels):
    """Acceptance of 1."""
    return np.ones((panels.qt_nodes.size, 1, panels.pt.size - 1))


def source(panels, charge, weighting="sigma_A"):
    """The toy's bosons at the nodes [pb/GeV]."""
    point = panels.qt_nodes.reshape(-1, 1), panels.absy_nodes.ravel()
    bosons = density(TRUTH, charge, *point)[None]
    if weighting == "sigma":
        return bosons
    A = coefficients(TRUTH, charge, *point)[:5]
    return np.concatenate([bosons, bosons * A])
