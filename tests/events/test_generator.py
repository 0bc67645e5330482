"""Leptons of the hard process, against a loop that reads like the definition."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.events.nano import jagged, open_nano, open_sample, toy_catalog, write_nano
from wprops.errors import InputError
from wprops.events.generator import hard_leptons

HARD, LAST, BEFORE_FSR = 1 << 8, 1 << 13, 1 << 14
SAMPLES = ("Wplus_mu", "Wminus_mu", "Wplus_tau", "Wminus_tau", "Z_mumu", "top")
NONE = {"flavour": 0, "charge": 0, "lepton": None, "other": None}


@pytest.fixture(scope="module", params=["v9", "v15"])
def toy(request, tmp_path_factory):
    return toy_catalog(
        tmp_path_factory.mktemp("toy"),
        events=1500,
        seed=11,
        nano=request.param,
        samples=SAMPLES,
        fsr=True,
    )


def slow_hard_leptons(particles):
    """One event; particles are dicts of pdgId, flags, mother and momentum."""
    chosen = [
        particle
        for particle in particles
        if particle["flags"] & HARD
        and particle["flags"] & LAST
        and abs(particle["pdgId"]) in (11, 12, 13, 14, 15, 16)
    ]
    if len(chosen) != 2:
        return NONE
    charged = [p for p in chosen if p["pdgId"] % 2 == 1]
    neutrinos = [p for p in chosen if p["pdgId"] % 2 == 0]
    if sorted(p["pdgId"] > 0 for p in chosen) != [False, True]:
        return NONE  # not a particle and an antiparticle
    if len(charged) == 1:
        lepton, other = charged[0], neutrinos[0]
        if abs(other["pdgId"]) - abs(lepton["pdgId"]) != 1:
            return NONE
        charge = -1 if lepton["pdgId"] > 0 else 1
    else:
        lepton, other = charged if charged else neutrinos
        if abs(lepton["pdgId"]) != abs(other["pdgId"]):
            return NONE
        if charged and lepton["pdgId"] < 0:
            lepton, other = other, lepton
        charge = 0
    return {
        "flavour": abs(lepton["pdgId"]),
        "charge": charge,
        "lepton": before_radiation(lepton, particles)["momentum"],
        "other": before_radiation(other, particles)["momentum"],
    }


def before_radiation(particle, particles):
    if particle["flags"] & BEFORE_FSR or particle["mother"] < 0:
        return particle
    mother = particles[particle["mother"]]
    if mother["pdgId"] != particle["pdgId"]:
        return particle
    return before_radiation(mother, particles)


def events_as_dicts(events):
    names = ("pdgId", "statusFlags", "genPartIdxMother", "pt", "eta", "phi")
    columns = [events.GenPart[name].to_list() for name in names]
    for event in zip(*columns, strict=True):
        yield [
            {"pdgId": i, "flags": flags, "mother": m, "momentum": momentum}
            for i, flags, m, *momentum in zip(*event, strict=True)
        ]


def assert_agree(found, expected):
    assert_array_equal(found.flavour, [e["flavour"] for e in expected])
    assert_array_equal(found.charge, [e["charge"] for e in expected])
    for name in ("lepton", "other"):
        momenta = [[np.nan] * 3 if e[name] is None else e[name] for e in expected]
        assert_array_equal(getattr(found, name), np.array(momenta).reshape(-1, 3).T)


@pytest.mark.parametrize("sample", SAMPLES)
def test_leptons_of_a_toy_are_those_of_the_loop(toy, sample):
    events = open_sample(toy, sample)
    expected = [slow_hard_leptons(particles) for particles in events_as_dicts(events)]
    assert_agree(hard_leptons(events), expected)


@pytest.mark.parametrize(
    ("sample", "flavour", "charge"),
    [
        ("Wplus_mu", 13, 1),
        ("Wminus_mu", 13, -1),
        ("Wplus_tau", 15, 1),
        ("Wminus_tau", 15, -1),
        ("Z_mumu", 13, 0),
        ("top", 0, 0),
    ],
)
def test_samples_have_the_flavour_and_charge_of_their_boson(
    toy, sample, flavour, charge
):
    found = hard_leptons(open_sample(toy, sample))
    assert set(found.flavour) == {flavour}
    assert set(found.charge) == {charge}
    assert np.isnan(found.lepton).all() == np.isnan(found.other).all() == (not flavour)


@pytest.mark.parametrize("sample", ["Wplus_mu", "Wminus_mu", "Z_mumu"])
def test_leptons_are_taken_before_they_radiate(toy, sample):
    events = open_sample(toy, sample)
    found = hard_leptons(events)
    # The toy's dressed lepton is the one before radiation; the first is the μ− of a Z.
    dressed = events.GenDressedLepton[:, 0]
    assert_array_equal(found.lepton[0], dressed.pt.to_numpy())
    muons = events.GenPart[(events.GenPart.status == 1) & (events.GenPart.pdgId != 22)]
    bare = muons[abs(muons.pdgId) == 13][:, 0].pt.to_numpy()
    radiates = bare < found.lepton[0]
    # One muon in ten radiates.
    assert abs(radiates.mean() - 0.1) < 4 * 0.3 / np.sqrt(len(radiates))
    assert (bare[~radiates] == found.lepton[0][~radiates]).all()


def hand_made(folder, *events):
    """Write events of (pdgId, bits, mother) and number the particles by their pT."""
    columns = {
        "pdgId": (np.int32, [[p[0] for p in event] for event in events]),
        "statusFlags": (np.int32, [[p[1] for p in event] for event in events]),
        "genPartIdxMother": (np.int32, [[p[2] for p in event] for event in events]),
        "pt": (np.float32, [list(range(len(event))) for event in events]),
    }
    columns |= {
        name: (np.float32, [[0.0] * len(event) for event in events])
        for name in ("eta", "phi", "mass")
    }
    path = folder / "generated.root"
    branches = {f"GenPart_{k}": jagged(v, dtype) for k, (dtype, v) in columns.items()}
    return open_nano(write_nano(path, branches))


def places(found):
    """Positions of the two leptons in the list, by event."""
    return np.stack([found.lepton[0], found.other[0]], axis=1).tolist()


NEUTRINO = (-14, HARD | LAST | BEFORE_FSR, 0)
#: Events of W− → μ−ν̄ with the place where its muon is found.
CHAINS = {
    "only copy": ([(-24, 0, -1), NEUTRINO, (13, HARD | LAST | BEFORE_FSR, 0)], 2),
    "marked in the middle": (
        [
            (-24, 0, -1),
            NEUTRINO,
            (13, HARD, 0),
            (13, HARD, 2),
            (13, HARD | BEFORE_FSR, 3),
            (13, HARD, 4),
            (13, HARD | LAST, 5),
        ],
        4,
    ),
    "marked nowhere": (
        [(-24, 0, -1), NEUTRINO, (13, HARD, 0), (13, HARD, 2), (13, HARD | LAST, 3)],
        2,
    ),
    "no boson in the list": ([(*NEUTRINO[:2], -1), (13, HARD | LAST, -1)], 1),
    "copies in reverse": (
        [(13, HARD | LAST, 1), (13, HARD | BEFORE_FSR, 2), (-24, 0, -1), NEUTRINO],
        1,
    ),
    "mark beyond another particle": (
        [(13, BEFORE_FSR, -1), (-24, 0, 0), (*NEUTRINO[:2], 1), (13, HARD | LAST, 1)],
        3,
    ),
}


@pytest.mark.parametrize("case", CHAINS)
def test_copies_are_followed_to_the_one_before_radiation(tmp_path, case):
    particles, place = CHAINS[case]
    found = hard_leptons(hand_made(tmp_path, particles))
    neutrino = [p[0] for p in particles].index(-14)
    assert places(found) == [[place, neutrino]]
    assert found.flavour.tolist() == [13]
    assert found.charge.tolist() == [-1]


def test_mothers_count_within_their_event(tmp_path):
    particles = CHAINS["marked in the middle"][0]
    other = CHAINS["copies in reverse"][0]
    found = hard_leptons(hand_made(tmp_path, other, particles, [], particles, other))
    assert places(found)[:2] == places(found)[:-3:-1] == [[1, 3], [4, 1]]
    assert found.flavour.tolist() == [13, 13, 0, 13, 13]


ONLY = HARD | LAST | BEFORE_FSR


@pytest.mark.parametrize("swap", [False, True], ids=["lepton first", "lepton last"])
@pytest.mark.parametrize(
    ("ids", "flavour", "charge"),
    [
        ((13, -14), 13, -1),
        ((-13, 14), 13, 1),
        ((11, -12), 11, -1),
        ((-15, 16), 15, 1),
        ((13, -13), 13, 0),
        ((15, -15), 15, 0),
    ],
)
def test_the_order_in_the_list_is_of_no_importance(
    tmp_path, ids, flavour, charge, swap
):
    ordered = ids[::-1] if swap else ids
    found = hard_leptons(hand_made(tmp_path, [(i, ONLY, -1) for i in ordered]))
    assert (found.flavour[0], found.charge[0]) == (flavour, charge)
    # The charged lepton first, of two the negative one.
    assert places(found) == [[1, 0] if swap else [0, 1]]


def test_invisible_z_bosons_have_the_flavour_of_their_neutrinos(tmp_path):
    pair = [(14, ONLY, -1), (-14, ONLY, -1)]
    found = hard_leptons(hand_made(tmp_path, pair, pair[::-1]))
    assert found.flavour.tolist() == [14, 14]
    assert found.charge.tolist() == [0, 0]


@pytest.mark.parametrize(
    "particles",
    [
        # dileptonic top pair
        [(-13, ONLY, -1), (14, ONLY, -1), (11, ONLY, -1), (-12, ONLY, -1)],
        [(-13, ONLY, -1), (14, ONLY, -1), (13, ONLY, -1)],
        [(13, ONLY, -1)],
        [],
        # two of a family that no boson makes
        [(13, ONLY, -1), (14, ONLY, -1)],
        [(13, ONLY, -1), (-12, ONLY, -1)],
        [(13, ONLY, -1), (-11, ONLY, -1)],
        [(13, ONLY, -1), (13, ONLY, -1)],
        [(14, ONLY, -1), (-16, ONLY, -1)],
        # quarks and photons are no leptons
        [(1, ONLY, -1), (-2, ONLY, -1)],
        # not from the hard process, or not the last copy
        [(13, LAST | BEFORE_FSR, -1), (-14, ONLY, -1)],
        [(13, HARD | BEFORE_FSR, -1), (-14, ONLY, -1)],
    ],
)
def test_anything_but_one_boson_has_flavour_zero(tmp_path, particles):
    found = hard_leptons(hand_made(tmp_path, particles))
    assert (found.flavour[0], found.charge[0]) == (0, 0)
    assert np.isnan(found.lepton).all()
    assert np.isnan(found.other).all()


def test_a_semileptonic_top_pair_looks_like_a_w(tmp_path):
    """Who uses the leptons has to ask for the process first, as `HardLeptons` says."""
    particles = [
        (6, 0, -1),
        (-6, 0, -1),
        (24, 0, 0),
        (-24, 0, 1),
        (-13, ONLY, 2),
        (14, ONLY, 2),
        (3, ONLY, 3),
        (-4, ONLY, 3),
    ]
    found = hard_leptons(hand_made(tmp_path, particles))
    assert (found.flavour[0], found.charge[0]) == (13, 1)
    assert places(found) == [[4, 5]]


def test_products_of_the_tau_do_not_replace_it(tmp_path):
    particles = [
        (24, 0, -1),
        (-15, HARD | BEFORE_FSR, 0),
        (-15, HARD | LAST, 1),
        (16, ONLY, 0),
        (-13, LAST | BEFORE_FSR, 2),
        (-16, LAST | BEFORE_FSR, 2),
        (14, LAST | BEFORE_FSR, 2),
    ]
    found = hard_leptons(hand_made(tmp_path, particles))
    assert (found.flavour[0], found.charge[0]) == (15, 1)
    assert places(found) == [[1, 3]]


def test_random_lists_agree_with_the_loop(tmp_path):
    rng = np.random.default_rng(5)
    ids = [11, -12, 13, -13, 14, -14, 13, -14, 22, 24]
    events = []
    for _ in range(1500):
        n = rng.integers(0, 7)
        # Particles follow their mothers, so that chains end.
        event = [
            (
                int(rng.choice(ids)),
                int(rng.choice([0, HARD, HARD | LAST, ONLY, LAST])),
                int(rng.integers(-1, k)),
            )
            for k in range(n)
        ]
        events.append(event)
    chunk = hand_made(tmp_path, *events)
    expected = [slow_hard_leptons(particles) for particles in events_as_dicts(chunk)]
    # All kinds of events occur.
    assert {(e["flavour"], e["charge"]) for e in expected} >= {
        (0, 0),
        (13, 0),
        (13, -1),
        (11, -1),
        (14, 0),
    }
    assert_agree(hard_leptons(chunk), expected)


def test_a_file_without_particles_is_named(tmp_path):
    path = write_nano(tmp_path / "data.root", {"MET_T1_pt": np.ones(2)})
    with pytest.raises(
        InputError, match=r"data\.root has no branch 'GenPart_pt'; use a file with gen"
    ):
        hard_leptons(open_nano(path))


def test_no_events_have_no_leptons(toy):
    found = hard_leptons(open_sample(toy, "Wplus_mu")[:0])
    assert found.flavour.shape == (0,)
    assert_allclose(found.lepton, np.empty((3, 0)))
