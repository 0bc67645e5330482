"""Profile likelihoods against iminuit, direct fits and closed forms."""

import numpy as np
import pytest
from iminuit import Minuit
from numpy.testing import assert_allclose

from tests.fit.conftest import build_set
from wprops.errors import ConfigError, TemplateError
from wprops.fit.arrays import template_set as set_of_arrays
from wprops.fit.derived import quantities
from wprops.fit.intervals import interval
from wprops.fit.minimise import minimise
from wprops.fit.model import build_model, observed
from wprops.fit.run import fit_model, likelihood_at
from wprops.fit.scans import Axis, Profile, find_axis, scan, scan_points
from wprops.systematics.catalog import MASS_STEP


def profile_of(templates, *, frozen=(), barlow_beeston=True, **options):
    model = build_model(templates, **options)
    counts = observed(templates, model)
    fixed = dict.fromkeys(frozen, 0.0)
    best = fit_model(model, counts, fixed=fixed, barlow_beeston=barlow_beeston)
    likelihood = likelihood_at(
        model, counts, best.values, barlow_beeston=barlow_beeston
    )
    return Profile(likelihood, best.values, frozen)


@pytest.fixture(scope="module")
def templates():
    # few events: no parabola
    return build_set(n_cells=1, events=300.0, weight=0.1)


@pytest.fixture(scope="module")
def profile(templates):
    return profile_of(templates, channels=["Wplus"])


def axis_of(profile, name):
    return find_axis(name, profile.parameters, {})


@pytest.fixture(scope="module")
def minuit(profile):
    def nll(values):
        point = profile.likelihood.at(values)
        return np.inf if point is None else point.value

    names = profile.parameters.names
    m = Minuit(nll, profile.best.values, name=[f"x{i}" for i in range(len(names))])
    m.errordef = Minuit.LIKELIHOOD
    m.tol = 1e-4
    m.strategy = 2
    m.migrad()
    assert m.valid
    return m


@pytest.mark.parametrize("name", ["mw", "Wplus/W_A4_y0_qt0", "Wplus/muon_scale"])
def test_intervals_are_those_of_minos(profile, minuit, name):
    axis = axis_of(profile, name)
    found = interval(profile, axis)
    assert found.reasons == ()
    errors = []
    for sigmas in (1, 2):
        minuit.minos(f"x{axis.parameter}", cl=sigmas)
        merror = minuit.merrors[f"x{axis.parameter}"]
        assert merror.is_valid
        errors.append((merror.lower, merror.upper))
    for column, (lower, upper) in enumerate(errors):
        # MINOS stops within a few per mille of an error
        close = {"abs": 5e-3 * found.error}
        assert found.low[column] - found.best == pytest.approx(lower, **close)
        assert found.high[column] - found.best == pytest.approx(upper, **close)


def test_the_likelihood_has_risen_by_the_height_at_the_ends(profile):
    axis = axis_of(profile, "mw")
    found = interval(profile, axis, deltas=(0.5, 2.0, 4.5))
    for ends in (found.low, found.high):
        for delta, end in zip(found.deltas, ends, strict=True):
            start = profile.best.values.copy()
            start[axis.parameter] = end
            fitted = minimise(profile.likelihood, start, fixed=["mw"])
            assert fitted.nll - profile.best.nll == pytest.approx(delta, rel=1e-3)
    # and it is no parabola here
    assert abs((found.high + found.low)[2] / 2 - found.best) > 0.01 * found.error


def test_a_poisson_count_has_the_interval_of_its_closed_form():
    templates = set_of_arrays({"peak": [10.0]}, {}, data=[10.0])
    profile = profile_of(templates)
    found = interval(profile, axis_of(profile, "channel/peak"))
    # ν − n − n ln(ν/n) = ½ at n = 10: the textbook 10 −2.84 +3.50
    assert found.low[0] == pytest.approx(0.716, abs=1e-3)
    assert found.high[0] == pytest.approx(1.350, abs=1e-3)
    rise = [10 * (mu - 1 - np.log(mu)) for mu in (found.low[0], found.high[0])]
    assert_allclose(rise, 0.5, rtol=1e-3)


def test_a_scan_has_the_fits_with_a_fixed_parameter(profile):
    axis = axis_of(profile, "mw")
    error = np.sqrt(profile.covariance[axis.parameter, axis.parameter])
    points = profile.best.values[axis.parameter] + error * np.linspace(-3, 3, 7)
    found = scan(profile, [axis], points)
    assert found.names == ("mw",)
    assert found.reasons == ("",) * 7
    for value, nll in zip(points, found.nll, strict=True):
        start = profile.likelihood.centre.copy()
        start[axis.parameter] = value
        direct = minimise(profile.likelihood, start, fixed=["mw"])
        assert nll == pytest.approx(direct.nll - profile.best.nll, abs=1e-7)
    assert found.nll[3] == pytest.approx(0, abs=1e-8)
    assert_allclose(found.parabola, 0.5 * np.linspace(-3, 3, 7) ** 2, rtol=1e-9)
    # close to the minimum the parabola is right, away from it it is not
    near = scan(profile, [axis], points[3] + np.array([-0.05, 0.05]) * error)
    assert_allclose(near.nll, 0.5 * 0.05**2, rtol=0.05)
    assert abs(found.nll[0] - 4.5) > 0.05


def test_points_come_outwards_from_the_minimum_as_they_are_done(profile):
    axis = axis_of(profile, "lumi")
    error = np.sqrt(profile.covariance[axis.parameter, axis.parameter])
    best = profile.best.values[axis.parameter]
    grid = best + error * np.array([[-2.0], [-1.1], [0.1], [1.0], [2.1]])
    stream = scan_points(profile, [axis], grid)
    assert next(stream).number == 2
    assert [point.number for point in stream] == [3, 1, 0, 4]


def test_the_lowest_row_of_a_plane_is_the_scan_of_one_parameter(profile):
    axes = [axis_of(profile, name) for name in ("mw", "Wplus/muon_scale")]
    where = [axis.parameter for axis in axes]
    best = profile.best.values[where]
    error = np.sqrt(np.diag(profile.covariance)[where])
    first = best[0] + error[0] * np.array([-1.0, 0.0, 1.0])
    second = best[1] + error[1] * np.linspace(-2, 2, 21)
    plane = scan(
        profile, axes, np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1)
    )
    assert plane.points.shape == (63, 2)
    assert plane.reasons == ("",) * 63
    line = scan(profile, axes[:1], first)
    lowest = plane.nll.reshape(3, 21).min(axis=1)
    # minima between points of a fifth of an error: ½ 0.1² above at most
    assert_allclose(lowest, line.nll, atol=0.5 * 0.1**2 + 1e-3)
    assert (lowest >= line.nll - 1e-7).all()
    centre = np.argmin(plane.nll)
    assert divmod(int(centre), 21) == (1, 10)


def test_the_mass_is_scanned_in_its_own_unit(templates):
    profile = profile_of(templates, channels=["Wplus"])
    derived = quantities(templates, profile.parameters)
    mass = find_axis("m_W", profile.parameters, derived)
    assert mass == Axis(
        "m_W", profile.parameters.index("mw"), MASS_STEP, templates.boson_mass
    )
    shifts = np.array([-1.0, 0.5])
    first = scan(profile, [mass], templates.boson_mass + MASS_STEP * shifts)
    second = scan(profile, [axis_of(profile, "mw")], shifts)
    assert_allclose(first.nll, second.nll, atol=1e-7)
    assert_allclose(first.parabola, second.parabola, rtol=1e-9)
    assert first.best == pytest.approx(
        templates.boson_mass + MASS_STEP * second.best, rel=1e-12
    )
    gev, plain = (interval(profile, a) for a in (mass, axis_of(profile, "mw")))
    assert_allclose(gev.low, templates.boson_mass + MASS_STEP * plain.low, rtol=1e-9)
    assert gev.error == pytest.approx(MASS_STEP * plain.error)


def test_a_point_without_a_minimum_says_why_and_does_not_end_the_scan():
    # below −1 the only bin of the signal expects a negative number
    templates = set_of_arrays(
        {"peak": [0.0, 100.0]}, {"flat": [50.0, 100.0]}, data=[50.0, 210.0]
    )
    profile = profile_of(templates)
    found = scan(profile, [axis_of(profile, "channel/peak")], [-2.0, -0.5, 1.0, 1.5])
    assert np.isnan(found.nll).tolist() == [True, False, False, False]
    assert "expect no events or a negative number: channel (0, 1)" in found.reasons[0]
    assert found.reasons[1:] == ("", "", "")


def test_an_end_that_does_not_exist_is_named():
    # no events where the signal is: the likelihood falls until nothing is expected
    templates = set_of_arrays(
        {"peak": [1.0, 100.0]}, {"flat": [1.3, 0.02]}, data=[2.0, 3.0]
    )
    profile = profile_of(templates)
    found = interval(profile, axis_of(profile, "channel/peak"), deltas=(0.5, 20.0))
    assert np.isfinite(found.low[0])
    assert np.isnan(found.low[1])
    assert np.isfinite(found.high).all()
    (reason,) = found.reasons
    assert reason.startswith("lower end: ")


def test_a_frozen_parameter_cannot_be_scanned(templates):
    profile = profile_of(templates, channels=["Wplus"], frozen=["lumi"])
    axis = axis_of(profile, "lumi")
    with pytest.raises(ConfigError, match="'lumi' is frozen in this fit"):
        interval(profile, axis)
    with pytest.raises(ConfigError, match="'lumi' is frozen in this fit"):
        scan(profile, [axis], [0.0, 1.0])
    # it stays frozen while others are scanned
    error = np.sqrt(profile.covariance[3, 3])
    start = profile.best.values
    moved = profile.fit(np.array([3]), start[[3]] + error, start)
    assert moved.values[axis.parameter] == 0.0


def test_points_have_to_be_finite_and_parameters_to_exist(profile):
    with pytest.raises(ConfigError, match="scan of mw has points that are not finite"):
        scan(profile, [axis_of(profile, "mw")], [0.0, np.nan])
    with pytest.raises(TemplateError, match="no parameter 'm_Z'"):
        axis_of(profile, "m_Z")
