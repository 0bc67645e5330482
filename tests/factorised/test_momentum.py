"""The response of the momentum against responses that are known at every pT."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import ndtr

from wprops.axes import FULL
from wprops.errors import TemplateError
from wprops.events.toy.parameters import BACKGROUND
from wprops.events.toy.truth import ToyTruth, coefficients, density
from wprops.factorised.momentum import response_matrix
from wprops.factorised.panels import RATIO, RATIO_ABSETA, RATIO_PT, Panels
from wprops.physics.lepton_spectrum import Nodes, lepton_template

PANELS, TRUTH = Panels.of(FULL), ToyTruth()
#: Generated pT: the leptons of a bin are taken to be at its centre.
PT_EDGES = np.linspace(15.0, 100.0, 256)
PT = (PT_EDGES[1:] + PT_EDGES[:-1]) / 2
PT_CLASS = np.digitize(PT, RATIO_PT) - 1
FOUND = 0.97


def constant(pt, eta):
    return 0.015 + 0 * pt * eta


def growing(pt, eta):
    return np.hypot(0.010, 0.0001 * pt) * (1 + 0.5 * np.abs(eta) / 2.4)


def below(ratio, pt, eta, resolution, *, fsr):
    """Probability of pT_reco/pT_gen below a ratio; arrays that broadcast."""

    def smeared(kept):
        width = resolution(kept * pt, eta)
        return ndtr((ratio / kept - 1) / width)

    if not fsr:
        return smeared(1.0)
    # The photon's part is uniform in its logarithm.
    x, w = np.polynomial.legendre.leggauss(32)
    low, high = np.log([BACKGROUND.fsr_low, BACKGROUND.fsr_high])
    photon = np.exp((low + high) / 2 + (high - low) / 2 * x)
    radiated = sum(w_i / 2 * smeared(1 - p) for p, w_i in zip(photon, w, strict=True))
    p = BACKGROUND.fsr_probability
    return (1 - p) * smeared(1.0) + p * radiated


@cache
def spectra(qt_range=(4.0, 6.0), absy_range=(0.4, 0.8)):
    """Lepton spectra of the components in a cell, by quadrature, (6, n_eta, n_pt)."""

    def spectrum(qt, absy):
        return density(TRUTH, 1, qt, absy), coefficients(TRUTH, 1, qt, absy)

    boson = TRUTH.wplus
    return lepton_template(
        spectrum,
        qt_range,
        absy_range,
        np.array(RATIO_ABSETA),
        PT_EDGES,
        pole=boson.mass,
        width=boson.width,
        nodes=Nodes(qt=2, absy=3, u=3, pt=2),
    )


def responses(resolution, *, fsr, eta_nodes=3):
    """Sums of all leptons of the classes, as exact integrals, and the matrix."""
    leptons = spectra()[0] + spectra((50.0, 52.0))[0]
    x, w = np.polynomial.legendre.leggauss(eta_nodes)
    edges = np.array(RATIO_ABSETA)
    n_eta, n_pt = len(edges) - 1, len(RATIO_PT) - 1
    generated, sums = np.zeros((2, n_eta, n_pt))
    ratio = np.zeros((n_eta, n_pt, len(RATIO) - 1))
    one_class = np.arange(n_pt) == PT_CLASS[:, None]
    for i in range(n_eta):
        generated[i] = leptons[i] @ one_class
        sums[i] = (leptons[i] * PT) @ one_class
        for x_j, w_j in zip(x, w / 2, strict=True):
            eta = (edges[i] + edges[i + 1]) / 2 + np.diff(edges)[i] / 2 * x_j
            cdf = below(RATIO, PT[:, None], eta, resolution, fsr=fsr)
            ratio[i] += FOUND * w_j * (one_class.T * leptons[i]) @ np.diff(cdf, axis=1)
    return ratio, generated, sums


def exact(eta, resolution, *, fsr):
    """The true matrix at an eta, shape (n_pt_nodes, n_bins)."""
    ratio = PANELS.pt / PT[:, None]
    return FOUND * np.diff(below(ratio, PT[:, None], eta, resolution, fsr=fsr), axis=1)


def distance(found, truth):
    """Sum of differences of templates in measured bins of 0.5 GeV over the sum."""
    found, truth = (
        t.reshape(*t.shape[:-1], -1, 2).sum(axis=-1) for t in (found, truth)
    )
    axes = tuple(range(1, truth.ndim))
    return abs(found - truth).sum(axis=axes) / abs(truth).sum(axis=axes)


@pytest.mark.parametrize("fsr", [False, True])
def test_rows_add_up_to_what_is_not_lost(fsr):
    matrix = response_matrix(*responses(constant, fsr=fsr, eta_nodes=1), PANELS, PT)
    assert matrix.shape == (6, len(PT), 120)
    ratio = np.array([25.0, 55.0]) / PT[:, None]
    inside = np.diff(below(ratio, PT[:, None], 0.0, constant, fsr=fsr), axis=1)[:, 0]
    assert_allclose(matrix.sum(axis=-1)[2], FOUND * inside, atol=2e-4)
    core = (PT > 28) & (PT < 50)
    if not fsr:
        assert_allclose(matrix[:, core].sum(axis=-1), FOUND, rtol=1e-5)


@pytest.mark.parametrize("fsr", [False, True])
@pytest.mark.parametrize("cell", [((4.0, 6.0), (0.4, 0.8)), ((26.0, 28.0), (1.6, 2.0))])
def test_templates_are_those_of_the_true_response(fsr, cell):
    matrix = response_matrix(*responses(constant, fsr=fsr, eta_nodes=1), PANELS, PT)
    truth = exact(0.0, constant, fsr=fsr)
    leptons = spectra(*cell)
    found = np.einsum("kep,epb->keb", leptons, matrix)
    assert (distance(found, leptons @ truth) < 1e-4).all()
    # As it has to be: a resolution of 1.6 instead of 1.5 % is seen.
    other = exact(0.0, lambda pt, eta: 0.016 + 0 * pt * eta, fsr=fsr)
    assert (distance(leptons @ other, leptons @ truth) > 5e-4).all()


def test_mixtures_of_classes_follow_a_resolution_that_depends_on_pt_and_eta():
    """Classes in pT cost 4e-5 of UL and 1e-4 of A2, mixtures in |eta| 7e-5 and 5e-4."""
    matrix = response_matrix(*responses(growing, fsr=True), PANELS, PT)
    edges, leptons = np.array(RATIO_ABSETA), spectra()
    centres = (edges[1:] + edges[:-1]) / 2
    x, w = np.polynomial.legendre.leggauss(3)
    averages, mixtures, truths = [], [], []
    for i in range(6):
        eta = centres[i] + np.diff(edges)[i] / 2 * x
        true = [exact(e, growing, fsr=True) for e in eta]
        averages.append(np.einsum("n,npb->pb", w / 2, true))
        position = np.interp(eta, centres, np.arange(6.0))
        lower = np.minimum(position.astype(int), 4)
        share = (position - lower)[:, None, None]
        mixed = (1 - share) * matrix[lower] + share * matrix[lower + 1]
        # at the nodes in eta, with which templates are integrated
        truths.append([leptons[:, i] @ t for t in true])
        mixtures.append([leptons[:, i] @ m for m in mixed])
    found = np.einsum("kep,epb->keb", leptons, matrix)
    by_class = np.einsum("kep,epb->keb", leptons, np.array(averages))
    assert (distance(found, by_class) < 2e-4).all()
    mixtures, truths = (np.moveaxis(np.array(t), 2, 0) for t in (mixtures, truths))
    off = distance(mixtures, truths)
    assert off[0] < 1e-4
    assert (off < 7e-4).all()
    # Without the mixture: the response of the class at all of its eta.
    steps = np.broadcast_to(found[:, :, None], truths.shape)
    assert (distance(steps, truths) > 2 * off).all()


def test_charges_and_variations_are_leading_axes():
    ratio, generated, sums = responses(constant, fsr=True, eta_nodes=1)
    both = response_matrix(
        np.stack([ratio, 0.5 * ratio]),
        np.stack([generated, generated]),
        np.stack([sums, sums]),
        PANELS,
        PT,
    )
    one = response_matrix(ratio, generated, sums, PANELS, PT)
    assert_allclose(both, np.stack([one, 0.5 * one]), rtol=1e-12)


def test_bad_input_is_refused_by_name():
    ratio, generated, sums = responses(constant, fsr=False, eta_nodes=1)
    with pytest.raises(TemplateError, match="ratio, generated and ratio_pt"):
        response_matrix(ratio[..., 1:], generated, sums, PANELS, PT)
    with pytest.raises(TemplateError, match="pT -1 GeV of a node"):
        response_matrix(ratio, generated, sums, PANELS, [30.0, -1.0])
    wrong = sums.copy()
    wrong[1, 2] *= 2
    with pytest.raises(TemplateError, match=r"class 3 of pT in class 1 of \|eta\|"):
        response_matrix(ratio, generated, wrong, PANELS, PT)
    generated[4] = 0.0
    with pytest.raises(TemplateError, match=r"no leptons in class 4 of \|eta\|"):
        response_matrix(ratio, generated, sums, PANELS, PT)


def test_classes_without_leptons_are_left_to_their_neighbours():
    ratio, generated, sums = responses(constant, fsr=False, eta_nodes=1)
    full = response_matrix(ratio, generated, sums, PANELS, PT)
    for values in (ratio, generated, sums):
        values[:, [3, 8]] = 0.0
    # The resolution is the same in all classes, and so is then the response.
    found = response_matrix(ratio, generated, sums, PANELS, PT)
    assert_allclose(found, full, atol=1e-5)
