"""Cross sections and angular coefficients of a simulation, measured in itself.

The file is that of ``wprops run --processor gen_moments``; what a toy knows from its
truth, any other sample of W bosons takes from there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.axes import Binning
from wprops.channels import Generated
from wprops.errors import ConfigError
from wprops.moment_maps import MomentMap, MomentMaps
from wprops.physics.harmonics import harmonics, unpolarised
from wprops.physics.smooth_coefficients import (
    SmoothCoefficients,
    boson_nodes,
    fit_coefficients,
)

FloatArray = NDArray[np.float64]
logger = logging.getLogger(__name__)

#: Bosons of the file by their charge.
BOSONS = {1: "Wplus", -1: "Wminus"}
#: Smallest probability of a fit that is believed.
MIN_P_VALUE = 1e-6
#: Effective number of events from which the error of a mean is known to a tenth.
MIN_EVENTS = 50.0


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredCoefficients:
    """Maps and smooth coefficients of the W bosons of a file.

    Attributes
    ----------
    path : Path
        The file, for messages.
    maps : mapping of int to MomentMap
        Maps by charge.
    smooth : mapping of int to SmoothCoefficients
        A0 … A7 at points, by charge.
    """

    path: Path
    maps: Mapping[int, MomentMap]
    smooth: Mapping[int, SmoothCoefficients]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of moments and fit it; logs χ²/ndf of every fit.

        Raises
        ------
        TemplateError
            If the file cannot be read.
        ConfigError
            If it has no W, a fit fails, or the decay density of the fitted
            coefficients is negative somewhere.
        """
        found = MomentMaps.read(path)
        maps = {q: found.bosons[b] for q, b in BOSONS.items() if b in found.bosons}
        if not maps:
            msg = (
                f"{path} has moments of {', '.join(found.bosons)}, and none of W "
                "bosons; run `--processor gen_moments` over the samples of W bosons"
            )
            raise ConfigError(msg)
        smooth = {
            charge: _fit(f"{path}: {BOSONS[charge]}", maps[charge]) for charge in maps
        }
        return cls(path, maps, smooth)

    def coefficients(self, charge: int, qt: ArrayLike, y: ArrayLike) -> FloatArray:
        """A0 … A7 at points of (qT [GeV], Y), shape (8, n).

        Raises
        ------
        ConfigError
            If the file has no boson of this charge, or ends before a point.
        """
        qt, absy = np.asarray(qt, dtype=float), np.abs(np.asarray(y, dtype=float))
        if not qt.size:  # of a charge, say, that neither sample nor file has
            return np.zeros((8, *qt.shape))
        if charge not in self.smooth:
            msg = (
                f"{self.path} has no moments of {BOSONS.get(charge, 'the Z')}; run "
                "`--processor gen_moments` over the samples of both charges"
            )
            raise ConfigError(msg)
        try:
            return self.smooth[charge](qt, absy)
        except ValueError as error:
            msg = (
                f"{self.path}: {error}. Measure the moments with a `--binning` that "
                "covers that of the templates"
            )
            raise ConfigError(msg) from error

    def generated_maps(self, binning: Binning) -> dict[int, Generated]:
        """Cross sections and mean coefficients in cells of templates, by charge.

        The means are those of the smooth coefficients, which weights of templates
        take as truth, over the measured cross section.

        Raises
        ------
        ConfigError
            If the edges of the cells are not among those of the file.
        """
        return {q: self._generated(q, binning) for q in self.maps}

    def _generated(self, charge: int, binning: Binning) -> Generated:
        found = self.maps[charge]
        groups = []
        for name, edges, wanted in (
            ("|Y|", found.absy_edges, binning.absy),
            ("qT", found.qt_edges, binning.qt),
        ):
            place = [np.flatnonzero(np.isclose(edges, edge)) for edge in wanted]
            if not all(len(p) for p in place):
                msg = (
                    f"{self.path} has the {name} edges {edges.tolist()}, templates "
                    f"have {list(wanted)}, which have to be among them; measure the "
                    "moments with the `--binning` of the templates, or a finer one"
                )
                raise ConfigError(msg)
            groups.append([int(p[0]) for p in place])
        (y_first, y_last), (q_first, q_last) = ((g[0], g[-1]) for g in groups)
        sigma = found.sigma["nominal"]
        weighted = _bin_means(found, self.smooth[charge]) * sigma
        parts = []
        for values in (sigma, weighted):
            inside = values[..., y_first:y_last, q_first:q_last]
            for axis, group in ((-2, groups[0]), (-1, groups[1])):
                starts = [start - group[0] for start in group[:-1]]
                inside = np.add.reduceat(inside, starts, axis=axis)
            parts.append(inside)
        absy, qt = np.array(binning.absy), np.array(binning.qt)
        return Generated(qt, absy, parts[0], parts[1] / parts[0])


def _bin_means(found: MomentMap, smooth: SmoothCoefficients) -> FloatArray:
    """Mean coefficients of each bin of a map, shape (8, n_y, n_qt)."""
    sigma = found.sigma["nominal"]
    absy, qt = boson_nodes((found.absy_edges, found.qt_edges), sigma)
    values = smooth(
        *np.broadcast_arrays(qt.points[None, None], absy.points[:, :, None, None])
    )
    return np.einsum("iynqm,yn,qm->iyq", values, absy.weights, qt.weights)


def _fit(where: str, found: MomentMap) -> SmoothCoefficients:
    sigma = found.sigma["nominal"]
    errors = np.where(
        sigma**2 >= MIN_EVENTS * found.sigma_error**2, found.errors, np.nan
    )
    edges = found.absy_edges, found.qt_edges
    try:
        smooth = fit_coefficients(edges, sigma, found.coefficients["nominal"], errors)
    except ValueError as error:
        msg = f"{where}: {error}. Measure the moments of more events"
        raise ConfigError(msg) from error
    for i, fit in enumerate(smooth.fits):
        n_qt, n_absy = fit.parameters.shape
        logger.info(
            "%s: A%d with %d x %d terms in qT and |Y|: chi2/ndf = %.1f/%d",
            *(where, i, n_qt, n_absy, fit.chi2, fit.ndf),
        )
        if fit.p_value < MIN_P_VALUE:
            msg = (
                f"{where}: no polynomial describes A{i}: the best one has chi2/ndf = "
                f"{fit.chi2:.1f}/{fit.ndf}, p = {fit.p_value:.1g}. Measure the moments "
                "in finer bins"
            )
            raise ConfigError(msg)
    _require_positive(where, smooth)
    return smooth


def _require_positive(where: str, smooth: SmoothCoefficients) -> None:
    """Raise ConfigError where the fitted coefficients make a negative density."""
    qt, absy = (
        axis.ravel()
        for axis in np.meshgrid(
            np.linspace(0.0, smooth.qt_max, 31), np.linspace(0.0, smooth.absy_max, 13)
        )
    )
    costheta, phi = (
        axis.ravel()
        for axis in np.meshgrid(
            np.linspace(-1.0, 1.0, 21), np.linspace(-np.pi, np.pi, 25)
        )
    )
    density = unpolarised(costheta)[:, None] + harmonics(costheta, phi).T @ smooth(
        qt, absy
    )
    lowest = density.min(axis=0)
    if not (lowest > 0).all():
        worst = int(np.argmin(lowest))
        msg = (
            f"{where}: the fitted coefficients make a negative decay density at qT = "
            f"{qt[worst]:g} GeV, |Y| = {absy[worst]:g}. Measure the moments of more "
            "events"
        )
        raise ConfigError(msg)
