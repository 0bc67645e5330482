"""Templates of simulated events against the quadrature, which knows no events."""

import numpy as np
import pytest

from wprops.axes import COARSE, EVEN_COMPONENTS
from wprops.events.toy.events import SAMPLES
from wprops.events.toy.generate import generate
from wprops.events.toy.truth import ToyTruth, coefficients, density
from wprops.physics.collins_soper import BosonDecay
from wprops.physics.lepton_spectrum import lepton_template
from wprops.physics.moments import helicity_weights
from wprops.systematics.declaration import NOMINAL
from wprops.templates.filling import Cells, bin_index, fill, flat_index
from wprops.templates.parts import boson_cell

TRUTH = ToyTruth()
ETA, PT = np.linspace(-2.4, 2.4, 13), np.linspace(25.0, 55.0, 7)
N_MUON = (len(ETA) - 1) * (len(PT) - 1)
SAMPLE_OF = {1: "Wplus_mu", -1: "Wminus_mu"}


def simulated(charge, n):
    """Templates [pb] of reweighted events with their covariance, by cell."""
    rng = np.random.default_rng(11)
    events = generate(SAMPLES[SAMPLE_OF[charge]], n, rng, TRUTH)
    g, r = events.generated, events.reconstructed
    boson = BosonDecay(g.qt, g.y, g.mass, g.phi, g.costheta, g.phistar)
    A = coefficients(TRUTH, charge, g.qt, g.y)
    weights = helicity_weights(g.costheta, g.phistar, A)[:, : len(EVEN_COMPONENTS)]
    cell = flat_index(
        [
            boson_cell(boson, COARSE),
            bin_index(r.eta[:, 0], ETA),
            bin_index(r.pt[:, 0], PT),
        ],
        (COARSE.n_cells, len(ETA) - 1, len(PT) - 1),
    )
    one = TRUTH.boson(charge).sigma / n
    return fill(
        Cells(
            n_cells=COARSE.n_cells * N_MUON,
            nominal=cell,
            fold=np.zeros(n, dtype=np.int64),
        ),
        (EVEN_COMPONENTS, weights * one),
        ((NOMINAL,), np.ones((n, 1))),
    )


def quadrature(charge, iabsy, iqt):
    def spectrum(qt, absy):
        return (
            density(TRUTH, charge, qt, absy),
            coefficients(TRUTH, charge, *np.broadcast_arrays(qt, absy)),
        )

    boson = TRUTH.boson(charge)
    return lepton_template(
        spectrum,
        COARSE.qt[iqt : iqt + 2],
        COARSE.absy[iabsy : iabsy + 2],
        ETA,
        PT,
        pole=boson.mass,
        width=boson.width,
        resolution=TRUTH.detector.muon_resolution,
    ).reshape(len(EVEN_COMPONENTS), -1)


@pytest.mark.parametrize("charge", [1, -1])
def test_simulated_templates_agree_with_the_quadrature(charge):
    """Each component, in the bins of all cells."""
    block = simulated(charge, 1_500_000)
    chi2, ndf = np.zeros(len(EVEN_COMPONENTS)), 0
    for index in range(COARSE.n_cells):
        section = block.section(index * N_MUON, N_MUON)
        expected = quadrature(charge, *divmod(index, len(COARSE.qt) - 1))
        # With fewer events the weights of a bin are not Gaussian.
        filled = section.entries >= 50
        difference = (section.sums[:, 0] - expected)[:, filled]
        variance = np.einsum("kki->ki", section.products)[:, filled]
        chi2 += (difference**2 / variance).sum(axis=1)
        ndf += int(filled.sum())
    assert ndf > 400
    # Four errors of χ²/ndf; bins estimate their own variance, which moves the mean by
    # 1/entries at most.
    assert np.abs(chi2 / ndf - 1).max() < 4 * np.sqrt(2 / ndf) + 1 / 50
