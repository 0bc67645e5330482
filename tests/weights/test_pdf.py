"""Directions of the parton densities and alphaS, against the truth of the toy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.events.nano import dataset, jagged
from tests.weights.examples import DECLARED, SIGMAS, TRUTH, open_with
from wprops.datasets import LheWeights, PdfWeights
from wprops.errors import ConfigError
from wprops.events.toy.theory import PDF_MEMBERS, member
from wprops.events.toy.truth import coefficients, density
from wprops.systematics.catalog import Available, declare
from wprops.weights import WEIGHTS, WeightInputs, weight_ratios

ABSY = (0.0, 0.8, 1.6, 2.4)


def test_directions_are_the_published_sum_over_replicas(toy):
    inputs, _ = toy
    made = WEIGHTS["pdf"](inputs)
    members = inputs.events.LHEPdfWeight[:50].to_numpy().astype(float)
    for k in range(9):
        for event in range(50):
            expected = 1.0 + sum(
                inputs.hessian[j, k] * (members[event, j] - 1.0) for j in range(100)
            )
            # Differences of single-precision weights from 1.
            assert_allclose(made[f"pdf_{k + 1:02d}_up"][event], expected, atol=1e-7)
    alphas = WEIGHTS["alphas"](inputs)
    assert set(alphas) == {"alphas_down", "alphas_up"}
    for k, side in enumerate(("down", "up")):
        assert_array_equal(alphas[f"alphas_{side}"][:50], members[:, 100 + k])


def bosons(charge, low, high):
    """Points of (qT, |Y|) in a range of |Y|, and the share of bosons at each."""
    # The middles of 300 x 30 cells; qT = q/(1 - q) crowds them where bosons are.
    u = (np.arange(300) + 0.5) / 300 * (200 / 208)
    absy = low + (high - low) * (np.arange(30) + 0.5) / 30
    absy, u = (grid.ravel() for grid in np.meshgrid(absy, u, indexing="ij"))
    qt = 8 * u / (1 - u)
    share = density(TRUTH, charge, qt, absy) / (1 - u) ** 2
    return qt, absy, share / share.sum()


def predicted(charge, low, high, name=None):
    """σ'/σ and σ' A4'/σ of a member in a range of |Y|."""
    qt, absy, share = bosons(charge, low, high)
    if name is None:
        return np.array([1.0, share @ coefficients(TRUTH, charge, qt, absy)[4]])
    ratio, A = member(TRUTH, name, charge, qt, absy)
    return np.array([share @ ratio, share @ (ratio * A[4])])


@pytest.mark.parametrize("y_bin", range(3))
def test_directions_move_cross_section_and_a4_as_the_truth_says(toy, y_bin):
    inputs, charge = toy
    low, high = ABSY[y_bin], ABSY[y_bin + 1]
    absy = np.abs(inputs.boson.y)
    chosen = (absy >= low) & (absy < high)
    n = chosen.sum()
    nominal = predicted(charge, low, high)
    # A replica's weights are linear in these two numbers.
    members = np.array([predicted(charge, low, high, m) for m in PDF_MEMBERS[:100]])
    shifts = inputs.hessian.T @ (members - nominal)
    columns = WEIGHTS["pdf"](inputs)
    made = np.stack([columns[f"pdf_{k:02d}_up"][chosen] for k in range(1, 10)])
    harmonics = np.stack([np.ones(n), 4 * inputs.boson.costheta[chosen]])
    change = (made - 1.0)[:, None] * harmonics
    error = change.std(axis=2) / np.sqrt(n)
    # The toy keeps 14 bits of each weight: at most 3e-5, at random.
    assert (np.abs(change.mean(axis=2) - shifts) < SIGMAS * error + 3e-6).all()
    # All directions together have the spread of the replicas.
    total = np.sqrt((change.mean(axis=2) ** 2).sum(axis=0))
    spread = members.std(axis=0, ddof=1)
    # Error propagation of the root of a sum of squares.
    allowed = SIGMAS * np.sqrt((error**2).sum(axis=0))
    assert (np.abs(total - spread) < allowed).all()
    assert spread[0] > 5e-3


@pytest.mark.parametrize("side", ["up", "down"])
def test_alphas_moves_the_spectrum_as_the_truth_says(toy, side):
    inputs, charge = toy
    made = WEIGHTS["alphas"](inputs)[f"alphas_{side}"]
    for low, high in ((0, 5), (5, 15), (30, 60)):
        chosen = (inputs.boson.qt >= low) & (inputs.boson.qt < high)
        qt, y = inputs.boson.qt[chosen], inputs.boson.y[chosen]
        expected = member(TRUTH, f"alphas_{side}", charge, qt, y).sigma_ratio
        difference = made[chosen] - expected
        error = difference.std() / np.sqrt(chosen.sum())
        assert abs(difference.mean()) < SIGMAS * error
        assert abs(made[chosen].mean() - 1) > 5 * error


def pdf_inputs(folder, entries, *, replicas=100, alphas=True, pick=(0, 1, 2), **extra):
    """Three events whose weights are numbered, and a record that describes them."""
    rows = [np.arange(n) + 1000 * row + 1 for row, n in enumerate(entries)]
    pdf = PdfWeights(branch="LHEPdfWeight", replicas=replicas, alphas=alphas)
    record = dataset(name="W", weights=LheWeights(pdf=pdf))
    events = open_with(folder, record, LHEPdfWeight=jagged(rows, np.float32), **extra)
    return WeightInputs(events=events, pick=np.array(pick), dataset=record)


def test_a_matrix_is_needed_for_directions(tmp_path):
    with pytest.raises(ConfigError, match=r"'W' has PDF replicas.*`hessian: FILE\.csv"):
        WEIGHTS["pdf"](pdf_inputs(tmp_path, [102] * 3))


def test_alphas_needs_its_members(tmp_path):
    inputs = pdf_inputs(tmp_path, [100] * 3, alphas=False)
    with pytest.raises(ConfigError, match=r"'W' has no alphaS members, but.*`alphas:`"):
        WEIGHTS["alphas"](inputs)
    # They need no matrix.
    made = WEIGHTS["alphas"](pdf_inputs(tmp_path, [102] * 3))
    assert_array_equal(made["alphas_down"], [101, 1101, 2101])


def test_bosons_need_declared_parton_densities(tmp_path):
    events = open_with(tmp_path, dataset(name="Z"), MET_T1_pt=np.ones(3))
    inputs = WeightInputs(events=events, pick=np.arange(3), dataset=dataset(name="Z"))
    with pytest.raises(ConfigError, match=r"'Z' declares no PDF weights.*`weights: "):
        weight_ratios(inputs, DECLARED, "Z")
    labels, _ = weight_ratios(inputs, declare(Available(n_pdf=0, alphas=False)), "Z")
    assert labels == ("nominal",)
