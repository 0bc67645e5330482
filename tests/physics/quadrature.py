"""Exact quadrature on the sphere."""

import numpy as np


def sphere(n=12):
    """Quadrature that is exact for all products of two harmonics."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    phi = np.linspace(-np.pi, np.pi, 2 * n, endpoint=False)
    c, phi = (grid.ravel() for grid in np.meshgrid(nodes, phi, indexing="ij"))
    return c, phi, np.repeat(weights, 2 * n) * np.pi / n
