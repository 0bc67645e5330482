"""The response file: what is put together, written and read again."""

import dataclasses
import logging
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.corrections.efficiency_toys import look_up, make_steps, write_steps
from tests.events.nano import dataset
from tests.factorised.chunks import make_decays, some_of
from wprops.axes import COARSE, FULL
from wprops.datasets import BosonPole, Corrections, EfficiencyCorrection
from wprops.errors import ConfigError, TemplateError
from wprops.events.coefficients import MeasuredCoefficients
from wprops.events.samples import Sample
from wprops.events.toy.truth import ToyTruth, bin_truth, coefficients
from wprops.factorised.build_response import build_response
from wprops.factorised.panels import Panels
from wprops.factorised.response_file import Response
from wprops.factorised.sums import fill
from wprops.moment_maps import MomentMap
from wprops.physics.smooth_coefficients import fit_coefficients
from wprops.systematics.catalog import Available, declare

TRUTH = ToyTruth()
POLE = BosonPole(mass=80.379, width=2.085)
SYSTEMATICS = declare(Available(n_pdf=1, alphas=True, prefire=True))
PANELS = Panels.of(COARSE)


@pytest.fixture(scope="module")
def sums():
    return fill(make_decays(), PANELS)


def sample(name="W", truth=TRUTH, measured=None, pole=POLE, **corrections):
    record = dataset(
        name=name, process="W_mu", boson=pole, corrections=Corrections(**corrections)
    )
    return Sample(dataset=record, truth=truth, measured=measured)


def build(sums, *samples, **options):
    return build_response(
        sums, samples, luminosity=35.9, systematics=SYSTEMATICS, **options
    )


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    path = tmp_path_factory.mktemp("steps") / "steps.json"
    write_steps(path, make_steps())
    return tuple(EfficiencyCorrection(file=path, name=name) for name in make_steps())


@pytest.fixture(scope="module")
def response(sums, steps):
    return build(sums, sample(efficiency=steps), n_parts=2, provenance={"made": "here"})


def test_a_file_holds_what_was_written(response, tmp_path):
    path = tmp_path / "response.h5"
    response.write(path)
    again = Response.read(path)
    for name in ("luminosity", "mass", "width", "systematics", "provenance", "panels"):
        assert getattr(again, name) == getattr(response, name)
    assert again.provenance == {"made": "here"}
    assert again.sums.labels == response.sums.labels
    assert set(again.sums.arrays) == set(response.sums.arrays)
    for name, values in response.sums.arrays.items():
        assert_array_equal(again.sums.arrays[name], values)
    assert_array_equal(again.coefficients, response.coefficients)
    for charge, found in response.generated.items():
        for field in dataclasses.fields(found):
            values = getattr(again.generated[charge], field.name)
            assert_array_equal(values, getattr(found, field.name))
    for field in dataclasses.fields(response.factors):
        values = getattr(again.factors, field.name)
        assert_array_equal(values, getattr(response.factors, field.name))
        assert np.asarray(values).dtype == (
            np.asarray(getattr(response.factors, field.name)).dtype
        )
    # What was read can go on with sums of other events.
    total = again.sums + response.sums
    assert_allclose(total.arrays["mass"], 2 * response.sums.arrays["mass"])


def test_a_file_without_factors_has_none(sums, tmp_path):
    build(sums, sample()).write(tmp_path / "response.h5")
    assert Response.read(tmp_path / "response.h5").factors is None


def test_factors_are_those_of_the_steps_at_every_point(response):
    selection, trigger = make_steps().values()
    factors = response.factors
    nodes, centres = PANELS.eta_nodes, (PANELS.pt[1:] + PANELS.pt[:-1]) / 2
    assert factors.nominal.shape == (2, 48, 3, 120)
    assert factors.n_parts == 2
    for k, charge in enumerate((1, 0)):  # steps have the negative charge first
        for i, a, j in ((0, 0, 0), (11, 2, 40), (24, 1, 99), (47, 2, 119)):
            place = charge, nodes[i, a], centres[j]
            nominal = look_up(selection.nominal, selection.edges, *place)
            nominal *= look_up(trigger.nominal, trigger.edges, *place)
            assert_allclose(factors.nominal[k, i, a, j], nominal, rtol=1e-8)
            stat = look_up(trigger.stat, trigger.stat_edges, *place)
            assert_allclose(factors.stat[k, i, a, j], stat, atol=1e-9)
    assert_array_equal(
        factors.eta_bin, np.searchsorted([-1.2, 0.0, 1.2], nodes, side="right")
    )


def test_coefficients_are_those_of_the_truth_at_the_nodes(response):
    qt, absy = PANELS.qt_nodes, PANELS.absy_nodes
    assert response.coefficients.shape == (2, 8, *qt.shape, *absy.shape)
    for k, charge in enumerate((1, -1)):
        expected = coefficients(
            TRUTH, charge, np.full(absy.size, qt[9, 3]), absy.ravel()
        )
        found = response.coefficients[k, :, 9, 3].reshape(8, -1)
        assert_allclose(found, expected, rtol=1e-12)


def test_a_charge_without_bosons_needs_no_coefficients(sums):
    decays = make_decays()
    positive = fill(some_of(decays, decays.charge > 0), PANELS)
    found = build(positive, sample()).coefficients
    assert found[0].any()
    assert not found[1].any()


def measured_in(binning):
    """Coefficients as measured in the cells of a binning, without noise."""
    maps = {}
    for charge in (1, -1):
        sigma, A = bin_truth(TRUTH, charge, binning.qt, binning.absy)
        maps[charge] = MomentMap(
            absy_edges=np.array(binning.absy),
            qt_edges=np.array(binning.qt),
            sigma={"nominal": sigma},
            coefficients={"nominal": A},
            sigma_error=np.zeros_like(sigma),
            covariance=np.zeros((8, 8, *sigma.shape)),
        )
    edges = binning.absy, binning.qt
    smooth = {
        charge: fit_coefficients(
            edges,
            found.sigma["nominal"],
            found.coefficients["nominal"],
            np.full((8, *found.sigma["nominal"].shape), 0.003),
        )
        for charge, found in maps.items()
    }
    return MeasuredCoefficients(Path("moments.h5"), maps, smooth)


def test_beyond_measured_coefficients_those_of_their_edge_are_taken(sums, caplog):
    known = sample(truth=None, measured=measured_in(FULL))
    with caplog.at_level(logging.WARNING, logger="wprops"):
        found = build(sums, known).coefficients
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert (
        "moments.h5 ends at qT = 60 GeV and |Y| = 2.4: bosons of charge +1 beyond"
        in (messages[0])
    )
    expected = build(sums, sample()).coefficients
    inside = np.s_[:, :, :12, :, :24]
    assert_allclose(found[inside], expected[inside], atol=0.03)
    # Beyond 60 GeV they are constant in qT, beyond 2.4 in |Y|.
    assert_array_equal(
        found[:, :, 12:, :, :24],
        found[:, :, 12:13, :1, :24] + np.zeros((2, 8, 4, 4, 24, 3)),
    )
    assert np.ptp(found[:, :, :, :, 24:], axis=(4, 5)).max() == 0.0


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([sample(pole=None)], r"dataset 'W': the line shape .*add `boson:"),
        ([sample(truth=None)], r"'W': the angular coefficients .*gen_moments"),
        ([sample(boson=Path("b.json"))], r"dataset 'W': `boson:` changes the spectrum"),
        (
            [sample(), sample("other", pole=BosonPole(mass=80.0, width=2.085))],
            r"'W' and 'other' have different `boson:` masses and widths",
        ),
        (
            [
                sample(),
                sample(
                    "other",
                    truth=dataclasses.replace(
                        TRUTH, wplus=TRUTH.wplus._replace(a4=-1.0)
                    ),
                ),
            ],
            r"'W' and 'other' have different truths or `coefficients:`",
        ),
        (
            [
                sample(),
                sample(
                    "other",
                    efficiency=(EfficiencyCorrection(file=Path("e.json"), name="x"),),
                ),
            ],
            r"'W' and 'other' have different efficiency factors",
        ),
    ],
)
def test_samples_that_no_response_describes_are_named(sums, samples, message):
    with pytest.raises(ConfigError, match=message):
        build(sums, *samples)


def test_a_file_with_other_axes_is_refused(sums, tmp_path):
    path = tmp_path / "response.h5"
    build(sums, sample()).write(path)
    with h5py.File(path, "a") as file:
        del file["sums/mass"]
    with pytest.raises(
        TemplateError, match=r"response.h5: sums 'mass' have the shape N"
    ):
        Response.read(path)


def test_a_damaged_file_is_refused(sums, tmp_path):
    path = tmp_path / "response.h5"
    build(sums, sample()).write(path)
    with h5py.File(path, "a") as file:
        file["sums/outside"][0] = 1.0
    with pytest.raises(TemplateError, match="outside"):
        Response.read(path)


def test_another_kind_of_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["format"] = "wprops moment maps"
    with pytest.raises(TemplateError, match="expected 'wprops response'"):
        Response.read(tmp_path / "other.h5")
