"""The closed forms against explicit boosts with `vector`."""

import numpy as np
import vector
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from wprops.physics.collins_soper import boson_and_angles, leptons_from_angles

BEAM_ENERGY = 6500.0


def random_decays(n=2000, seed=1):
    rng = np.random.default_rng(seed)
    return {
        "qt": rng.exponential(15.0, n),
        "y": rng.uniform(-4.0, 4.0, n),
        "mass": rng.uniform(50.0, 120.0, n),
        "costheta": rng.uniform(-1.0, 1.0, n),
        "phistar": rng.uniform(-np.pi, np.pi, n),
        "phi": rng.uniform(-np.pi, np.pi, n),
    }


def massless(pt, eta, phi):
    return vector.array({"pt": pt, "eta": eta, "phi": phi, "mass": np.zeros_like(pt)})


def axes_of(boson):
    """Collins-Soper axes from the beams, boosted into the rest frame of the boson."""
    n = len(boson)
    beams = [
        vector.array(
            {
                "px": np.zeros(n),
                "py": np.zeros(n),
                "pz": np.full(n, sign * BEAM_ENERGY),
                "E": np.full(n, BEAM_ENERGY),
            }
        ).boostCM_of_p4(boson)
        for sign in (1.0, -1.0)
    ]
    p1, p2 = (beam.to_Vector3D() for beam in beams)
    z = (p1.unit() - p2.unit()).unit()
    z = z.scale(np.where(boson.pz >= 0, 1.0, -1.0))
    # The sum of the beams in this frame points against the boson's qT.
    x = (p1.unit() + p2.unit()).scale(-1.0)
    x = (x - z.scale(x.dot(z))).unit()
    return x, z.cross(x), z


def boosted_angles(lepton, other):
    boson = lepton + other
    x, y, z = axes_of(boson)
    direction = lepton.boostCM_of_p4(boson).to_Vector3D().unit()
    return direction.dot(z), np.arctan2(direction.dot(y), direction.dot(x))


def test_angles_agree_with_explicit_boosts():
    decays = random_decays()
    first, second = leptons_from_angles(**decays)
    costheta, phi = boosted_angles(massless(*first), massless(*second))
    # Boosts lose digits: light-cone components span e^8 at |Y| = 4.
    assert_allclose(costheta, decays["costheta"], atol=1e-9)
    assert_allclose(np.exp(1j * phi), np.exp(1j * decays["phistar"]), atol=1e-7)


def test_closed_form_returns_what_the_leptons_were_made_of():
    decays = random_decays()
    found = boson_and_angles(*leptons_from_angles(**decays))._asdict()
    for name in ("qt", "y", "mass", "costheta"):
        assert_allclose(found[name], decays[name], rtol=1e-9, atol=1e-10)
    for name in ("phi", "phistar"):
        assert_allclose(np.exp(1j * found[name]), np.exp(1j * decays[name]), atol=1e-8)


def test_leptons_agree_with_a_boost_from_the_rest_frame():
    decays = random_decays()
    c, s = decays["costheta"], np.sqrt(1 - decays["costheta"] ** 2)
    m, qt, y, phi = (decays[name] for name in ("mass", "qt", "y", "phi"))
    energy = np.hypot(m, qt) * np.cosh(y)
    boson = vector.array(
        {
            "px": qt * np.cos(phi),
            "py": qt * np.sin(phi),
            "pz": np.hypot(m, qt) * np.sinh(y),
            "E": energy,
        }
    )
    x, y_axis, z = axes_of(boson)
    direction = (
        x.scale(s * np.cos(decays["phistar"]))
        + y_axis.scale(s * np.sin(decays["phistar"]))
        + z.scale(c)
    )
    momentum = direction.scale(m / 2)
    lepton = vector.array(
        {"px": momentum.x, "py": momentum.y, "pz": momentum.z, "E": m / 2}
    ).boost_p4(boson)
    (pt, eta, azimuth), _ = leptons_from_angles(**decays)
    assert_allclose(pt, lepton.pt, rtol=1e-7, atol=1e-7)
    assert_allclose(eta, lepton.eta, rtol=1e-6, atol=1e-6)
    assert_allclose(np.exp(1j * azimuth), np.exp(1j * lepton.phi), atol=1e-6)


def test_swapping_the_leptons_turns_the_direction_around():
    decays = random_decays()
    leptons = leptons_from_angles(**decays)
    swapped = boson_and_angles(*leptons[::-1])
    assert_allclose(swapped.costheta, -decays["costheta"], atol=1e-9)
    opposite = np.exp(1j * (decays["phistar"] + np.pi))
    assert_allclose(np.exp(1j * swapped.phistar), opposite, atol=1e-7)


def test_a_forward_lepton_follows_the_boson():
    """cosθ > 0 means along the boson: larger |eta| on its side, for both signs of Y."""
    for y in (2.0, -2.0):
        decay = {"qt": 5.0, "y": y, "mass": 80.0, "phistar": 0.3, "phi": 1.0}
        columns = {name: np.array([value]) for name, value in decay.items()}
        (_, ahead, _), (_, behind, _) = leptons_from_angles(
            **columns, costheta=np.array([0.8])
        )
        assert np.sign(y) * ahead[0] > np.sign(y) * behind[0]


def test_phi_zero_means_along_qt():
    decay = {"qt": 30.0, "y": 1.0, "mass": 80.0, "costheta": 0.0, "phistar": 0.0}
    columns = {name: np.array([value]) for name, value in decay.items()}
    (pt, _, azimuth), (other_pt, _, _) = leptons_from_angles(
        **columns, phi=np.array([2.0])
    )
    assert pt[0] > other_pt[0]
    assert_allclose(azimuth, 2.0)


@given(
    qt=st.floats(1e-3, 200.0),
    y=st.floats(-4.5, 4.5),
    mass=st.floats(10.0, 500.0),
    costheta=st.floats(-0.999999, 0.999999),
    phistar=st.floats(-3.1, 3.1),
)
def test_published_expressions_of_the_lab_momentum(qt, y, mass, costheta, phistar):
    """pT and eta as functions of the angles, written out."""
    columns = [np.array([v]) for v in (qt, y, mass, costheta, phistar, 0.7)]
    (pt, eta, _), _ = leptons_from_angles(*columns)
    s, transverse = np.sqrt(1 - costheta**2), np.hypot(mass, qt)
    expected = 0.5 * np.hypot(
        transverse * s * np.cos(phistar) + qt, mass * s * np.sin(phistar)
    )
    assert_allclose(pt, expected, rtol=1e-9, atol=1e-9)
    light_cone = (
        0.5
        * mass
        * np.exp(abs(y))
        * (transverse / mass + qt / mass * s * np.cos(phistar) + costheta)
    )
    if expected > 1e-3 and light_cone > 1e-3:
        sign = 1.0 if y >= 0 else -1.0
        assert_allclose(eta, -sign * np.log(expected / light_cone), atol=1e-5)


def test_a_boson_without_transverse_momentum_keeps_its_polar_angle():
    columns = {"qt": 0.0, "y": 1.0, "mass": 80.0, "costheta": 0.4, "phistar": 0.0}
    leptons = leptons_from_angles(
        **{name: np.array([value]) for name, value in columns.items()},
        phi=np.array([0.0]),
    )
    found = boson_and_angles(*leptons)
    assert_allclose(found.costheta, 0.4, atol=1e-12)
    assert np.isfinite(found.phistar).all()


def test_parallel_leptons_have_no_angles():
    one = ([10.0], [0.5], [0.1])
    assert np.isnan(boson_and_angles(one, one).costheta[0])
