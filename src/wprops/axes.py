"""Every axis of the measurement: name, label with unit, edges.

``FULL`` is the binning of the measurement (2880 bins, 66 cells per charge);
``COARSE`` the one of the demo, for samples of a few million events.
"""

from __future__ import annotations

from dataclasses import dataclass

import hist
import numpy as np

#: The components of the decay density: 1 + cos² and the eight harmonics.
COMPONENTS = ("UL", "A0", "A1", "A2", "A3", "A4", "A5", "A6", "A7")
#: Components whose templates survive the integration over the decay plane's side.
EVEN_COMPONENTS = COMPONENTS[:6]
#: Components that vanish in (eta, pT) because they are odd in phi.
ODD_COMPONENTS = COMPONENTS[6:]


@dataclass(frozen=True, kw_only=True, slots=True)
class Binning:
    """The edges of the five axes of a measurement.

    Attributes
    ----------
    eta, pt : tuple of float
        Edges of the muon's pseudorapidity and transverse momentum [GeV].
    qt, absy : tuple of float
        Edges of the boson's transverse momentum [GeV] and absolute rapidity;
        bosons outside are the low-acceptance process.
    """

    eta: tuple[float, ...]
    pt: tuple[float, ...]
    qt: tuple[float, ...]
    absy: tuple[float, ...]

    @property
    def n_cells(self) -> int:
        """Number of (|Y|, qT) cells."""
        return (len(self.absy) - 1) * (len(self.qt) - 1)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of (eta, pT) bins."""
        return len(self.eta) - 1, len(self.pt) - 1

    def muon_axes(self) -> tuple[hist.axis.Variable, hist.axis.Variable]:
        """Axes of a template, without flow bins: the fit has none."""
        return (
            hist.axis.Variable(self.eta, name="eta", label=r"$\eta^\mu$", flow=False),
            hist.axis.Variable(
                self.pt, name="pt", label=r"$p_T^\mu$ [GeV]", flow=False
            ),
        )

    def boson_axes(self) -> tuple[hist.axis.Variable, hist.axis.Variable]:
        """Axes of a generator-level map, (|Y|, qT)."""
        return (
            hist.axis.Variable(self.absy, name="absy", label=r"$|Y_W|$", flow=False),
            hist.axis.Variable(self.qt, name="qt", label=r"$q_T^W$ [GeV]", flow=False),
        )


def _uniform(low: float, high: float, n: int) -> tuple[float, ...]:
    return tuple(float(edge) for edge in np.round(np.linspace(low, high, n + 1), 10))


FULL = Binning(
    eta=_uniform(-2.4, 2.4, 48),
    pt=_uniform(25.0, 55.0, 60),
    qt=(0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0, 26.0, 36.0, 60.0),
    absy=(0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 2.4),
)
COARSE = Binning(
    eta=_uniform(-2.4, 2.4, 24),
    pt=_uniform(25.0, 55.0, 30),
    qt=(0.0, 8.0, 20.0, 60.0),
    absy=(0.0, 0.8, 1.6, 2.4),
)
BINNINGS = {"full": FULL, "coarse": COARSE}
