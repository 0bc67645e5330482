"""Put sums over events and what is known of their samples together."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wprops.corrections.efficiency import MuonFactors
from wprops.errors import ConfigError
from wprops.events.samples import Sample
from wprops.factorised.panels import Panels
from wprops.factorised.response_file import CHARGES, Factors, Response
from wprops.factorised.sums import ResponseSums
from wprops.nominal import efficiency
from wprops.systematics.declaration import Systematic

FloatArray = NDArray[np.float64]
logger = logging.getLogger(__name__)


def build_response(
    sums: ResponseSums,
    samples: Sequence[Sample],
    *,
    luminosity: float,
    systematics: tuple[Systematic, ...],
    n_parts: int = 1,
    provenance: dict[str, Any] | None = None,
) -> Response:
    """Put the sums and what is known of their samples together.

    Parameters
    ----------
    sums : ResponseSums
        Sums over the events of all samples.
    samples : sequence of Sample
        The samples.
    luminosity : float
        Integrated luminosity of the normalisation [fb^-1].
    systematics : tuple of Systematic
        The uncertainties in force.
    n_parts : int
        See `wprops.nominal.efficiency_parts`.
    provenance : dict, optional
        Versions, inputs and time.

    Raises
    ------
    ConfigError
        If the samples were not generated alike, or what was generated is not known.
    """
    sample = _one_of(samples)
    pole = sample.dataset.boson
    if pole is None:
        msg = (
            f"dataset {sample.dataset.name!r}: the line shape of its boson is needed; "
            "add `boson: {mass: ..., width: ...}` in GeV"
        )
        raise ConfigError(msg)
    panels = sums.panels
    return Response(
        sums=sums,
        luminosity=luminosity,
        systematics=systematics,
        mass=pole.mass,
        width=pole.width,
        generated={
            charge: found
            for charge, found in sample.generated_maps(panels.binning).items()
            if charge in CHARGES
        },
        coefficients=node_coefficients(sample, sums),
        factors=grid_factors(sample, panels, n_parts),
        provenance=provenance or {},
    )


def _one_of(samples: Sequence[Sample]) -> Sample:
    """Return a sample that stands for all: they are generated and corrected alike."""
    first = samples[0]
    for sample in samples:
        one, two = first.dataset, sample.dataset
        if two.corrections.boson is not None:
            msg = (
                f"dataset {two.name!r}: `boson:` changes the spectrum of the signal, "
                "but its strengths refer to the cross sections before; leave it out "
                "of the corrections of signal datasets"
            )
            raise ConfigError(msg)
        different = {
            "truths or `coefficients:`": sample.generated != first.generated,
            "`boson:` masses and widths": two.boson != one.boson,
            "efficiency factors": two.corrections.efficiency
            != one.corrections.efficiency,
        }
        for what, found in different.items():
            if found:
                msg = (
                    f"the signal datasets {one.name!r} and {two.name!r} have different "
                    f"{what}; one response needs the same for all of them"
                )
                raise ConfigError(msg)
    return first


def node_coefficients(sample: Sample, sums: ResponseSums) -> FloatArray:
    """A0 … A7 at the nodes of all panels, by charge, as in `Response`.

    Where coefficients were measured in the cells alone, bosons beyond have those of
    the nearest point; they are one template of low acceptance. Zero for a charge
    without bosons, of which the sample need not know any.

    Raises
    ------
    ConfigError
        If they are not known.
    """
    panels = sums.panels
    qt, absy = (
        axis.ravel()
        for axis in np.meshgrid(panels.qt_nodes, panels.absy_nodes, indexing="ij")
    )
    found = np.zeros((len(CHARGES), 8, qt.size))
    for k, charge in enumerate(CHARGES):
        if sums.arrays["boson_squares"][k].any():
            found[k] = sample.coefficients(charge, *_known(sample, charge, qt, absy))
    return found.reshape(
        *(len(CHARGES), 8),
        *(*panels.qt_nodes.shape, *panels.absy_nodes.shape),
    )


def _known(
    sample: Sample, charge: int, qt: FloatArray, absy: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Nearest points where the coefficients of a sample are known."""
    if sample.measured is None or charge not in sample.measured.smooth:
        return qt, absy
    smooth = sample.measured.smooth[charge]
    if qt.max() > smooth.qt_max or absy.max() > smooth.absy_max:
        logger.warning(
            "%s ends at qT = %g GeV and |Y| = %g: bosons of charge %+d beyond, which "
            "are of low acceptance, get the coefficients of its edge",
            *(sample.measured.path, smooth.qt_max, smooth.absy_max, charge),
        )
    return np.minimum(qt, smooth.qt_max), np.minimum(absy, smooth.absy_max)


def grid_factors(sample: Sample, panels: Panels, n_parts: int) -> Factors | None:
    """Efficiency scale factors of a sample on the grid; None where none are applied.

    Factors are constant in bins; a node is never on an edge, and centres of fine bins
    are not where the edges are multiples of 0.25 GeV.
    """
    eta, pt = np.meshgrid(panels.eta_nodes, panels.pt_centres, indexing="ij")
    shape = *panels.eta_nodes.shape, len(panels.pt_centres)
    columns: dict[str, list[FloatArray]] = {"nominal": [], "systematic": [], "stat": []}
    found: MuonFactors | None = None
    for charge in CHARGES:
        charges = np.full(eta.size, charge)
        found = efficiency(sample.dataset, charges, eta.ravel(), pt.ravel())
        if found is None:
            return None
        for name, values in columns.items():
            column = getattr(found, name)
            values.append(column.reshape(*shape, *column.shape[1:]))
    assert found is not None  # there are two charges
    return Factors(
        **{name: np.stack(values) for name, values in columns.items()},
        eta_bin=found.eta_bin.reshape(shape)[..., 0],
        n_parts=n_parts,
    )
