"""Muon counts of the four regions that the multijet estimate starts from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wprops.errors import TemplateError

Array = NDArray[np.float64]

#: Regions in the order of their axis: isolated and anti-isolated muons at high mT
#: (D, B), then at low mT (C, A); names as in the selection.
REGIONS = ("signal", "signal_antiiso", "sideband", "sideband_antiiso")
#: Charges of the muon in the order of their axis.
CHARGES = (1, -1)


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Counts by region, charge, eta and pT.

    The regions are exclusive: an event is isolated, anti-isolated, or in none of
    them. All arrays end in (4, 2, n_eta, n_pt), in the order of `REGIONS` and
    `CHARGES`; further axes before these are broadcast, so that pseudo-data sets or
    variations are treated together.

    Attributes
    ----------
    eta_edges, pt_edges : ndarray, shape (n_eta + 1,), (n_pt + 1,)
        Edges in the muon's pseudorapidity and transverse momentum [GeV].
    data : ndarray, shape (..., 4, 2, n_eta, n_pt)
        Observed events.
    prompt : ndarray, shape (..., 4, 2, n_eta, n_pt)
        Expected events of all simulated processes with prompt muons.
    prompt_variance : ndarray, shape (4, 2, n_eta, n_pt)
        Sum of the squared weights of the nominal ``prompt``.

    Raises
    ------
    TemplateError
        If edges do not increase, shapes differ, numbers are not finite, or data or
        variances are negative.
    """

    eta_edges: Array
    pt_edges: Array
    data: Array
    prompt: Array
    prompt_variance: Array

    def __post_init__(self) -> None:
        for name in ("eta_edges", "pt_edges"):
            edges = getattr(self, name)
            if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
                msg = f"{name} are {edges}, expected two or more increasing numbers."
                raise TemplateError(msg)
        shape = (len(REGIONS), len(CHARGES), *self.shape)
        for name in ("data", "prompt", "prompt_variance"):
            values = getattr(self, name)
            if values.shape[-4:] != shape:
                msg = (
                    f"{name} of the multijet regions has shape {values.shape}; its "
                    f"last axes are (region, charge, eta, pT) with sizes {shape}."
                )
                raise TemplateError(msg)
            bad = ~np.isfinite(values)
            if name != "prompt":
                bad |= values < 0
            if bad.any():
                self._refuse(name, bad)

    def _refuse(self, name: str, bad: NDArray[np.bool_]) -> None:
        first = np.argwhere(bad)[0].tolist()
        region, charge, i, j = first[-4:]
        value = getattr(self, name)[tuple(first)]
        msg = (
            f"{name} of region {REGIONS[region]!r}, charge {CHARGES[charge]:+d}, eta "
            f"bin {i}, pT bin {j} is {value}, and {int(bad.sum())} bins are like it: "
            f"expected {'finite' if name == 'prompt' else 'non-negative'} numbers."
        )
        raise TemplateError(msg)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of (eta, pT) bins."""
        return len(self.eta_edges) - 1, len(self.pt_edges) - 1

    @property
    def pt(self) -> Array:
        """Centres of the pT bins [GeV], shape (n_pt,)."""
        return (self.pt_edges[1:] + self.pt_edges[:-1]) / 2

    def of(self, name: str, region: str) -> Array:
        """One array in one region, shape (..., 2, n_eta, n_pt)."""
        values: Array = getattr(self, name)[..., REGIONS.index(region), :, :, :]
        return values
