from bisect import bisect_right
from dataclasses import replace
from math import hypot

import hist
import numpy as np
import pytest
import uproot
from click.testing import CliRunner
from numpy.testing import assert_allclose, assert_array_equal

from corrections.build_prefire import build_map, main
from corrections.common import Histogram, read_histogram, write_set
from tests.corrections.shared_data import DATA, needs_data
from wprops.corrections.prefire import (
    BRANCHES,
    VARIATIONS,
    EMObjects,
    Jets,
    branch_weights,
    find_branches,
    open_maps,
    prefire_weights,
)
from wprops.errors import ConfigError, InputError

needs_files = needs_data("prefire")

ETA = np.array([-3.5, -3.0, -2.5, -2.0, 0.0, 2.0, 2.5, 3.0, 3.5])
PT = {"jet": np.array([10.0, 20, 40, 100, 500]), "photon": np.array([20.0, 50, 500])}


def make_maps(seed=1):
    """Maps with large probabilities, some of which are 0 or 1 after a shift."""
    rng = np.random.default_rng(seed)
    maps = {}
    for name, pt in PT.items():
        shape = len(ETA) - 1, len(pt) - 1
        values = np.clip(rng.uniform(-0.1, 0.95, shape), 0.0, 1.0)
        errors = rng.uniform(0.0, 0.2, shape)
        maps[name] = Histogram.from_arrays(values, ETA, pt, errors=errors)
    return maps


def write_maps(path, maps):
    write_set(path, [build_map(name, h) for name, h in maps.items()], "A test", [])
    return open_maps(path)


@pytest.fixture
def maps(tmp_path):
    return write_maps(tmp_path / "prefire.json", make_maps())


def make_events(rng, n_events):
    """Events with all that can happen, as lists of dictionaries."""
    events = []
    for _ in range(n_events):
        n_jets, n_photons, n_electrons = rng.integers(0, 4, 3)

        def thing(**links):
            return {
                "pt": float(rng.choice([rng.uniform(10, 60), rng.uniform(50, 900)])),
                "eta": float(rng.choice([rng.uniform(-3.4, 3.4), 2.0, 3.0, -2.0])),
                **links,
            }

        jets = [thing() for _ in range(n_jets)]
        photons = [thing(jet=int(rng.integers(-1, n_jets))) for _ in range(n_photons)]
        # The electron and the photon of one deposit are in the same jet.
        partners = rng.permutation([*range(n_photons), *[-1] * n_electrons])
        electrons = [
            thing(
                photon=int(p),
                jet=int(rng.integers(-1, n_jets)) if p < 0 else photons[p]["jet"],
            )
            for p in partners[:n_electrons]
        ]
        events.append({"jets": jets, "photons": photons, "electrons": electrons})
    return events


def flatten(events, kind):
    """Flat columns of one kind of object."""
    rows = [(i, thing) for i, e in enumerate(events) for thing in e[kind]]
    columns = {
        "pt": np.array([thing["pt"] for _, thing in rows]),
        "eta": np.array([thing["eta"] for _, thing in rows]),
        "event": np.array([i for i, _ in rows], dtype=int),
    }
    if kind == "jets":
        return Jets(**columns)
    columns["jet_index"] = np.array([thing["jet"] for _, thing in rows], dtype=int)
    if kind == "electrons":
        partners = np.array([thing["photon"] for _, thing in rows], dtype=int)
        columns["photon_index"] = partners
    return EMObjects(**columns)


def flat(events):
    return [flatten(events, kind) for kind in ("jets", "photons", "electrons")]


def survival(histogram, thing, variation):
    """1 − p of one object, from the definition."""
    if thing["pt"] < 20 or not 2.0 <= abs(thing["eta"]) <= 3.0:
        return 1.0
    i = bisect_right(list(histogram.edges[0]), thing["eta"]) - 1
    j = bisect_right(list(histogram.edges[1]), min(thing["pt"], 499.99)) - 1
    p, stat = histogram.values[i, j], histogram.errors[i, j]
    shift = {"nominal": 0.0, "up": 1.0, "down": -1.0}[variation]
    return 1.0 - min(1.0, max(0.0, p + shift * hypot(stat, 0.2 * p)))


def loop(maps, event, variation):
    """Weight of one event, from the definition."""
    deposits = []  # (jet, 1 - p) of photons, electrons, or both in one
    paired = {e["photon"] for e in event["electrons"] if e["photon"] >= 0}
    for i, photon in enumerate(event["photons"]):
        value = survival(maps["photon"], photon, variation)
        if i in paired:
            (e,) = (e for e in event["electrons"] if e["photon"] == i)
            value = min(value, survival(maps["photon"], e, variation))
        deposits.append((photon["jet"], value))
    deposits += [
        (e["jet"], survival(maps["photon"], e, variation))
        for e in event["electrons"]
        if e["photon"] < 0
    ]
    weight = 1.0
    for i, jet in enumerate(event["jets"]):
        inside = np.prod([value for j, value in deposits if j == i])
        weight *= min(survival(maps["jet"], jet, variation), inside)
    return weight * np.prod([value for j, value in deposits if j < 0])


def test_evaluator_agrees_with_a_loop(maps):
    events = make_events(np.random.default_rng(3), 2000)
    found = prefire_weights(maps, len(events), *flat(events))
    histograms = make_maps()
    for variation in VARIATIONS:
        expected = [loop(histograms, event, variation) for event in events]
        assert_allclose(found[variation], expected, rtol=1e-7, atol=1e-9)
    assert np.mean(found["nominal"] < 1) > 0.5  # the test has something to see


def test_larger_probability_means_smaller_weight(maps):
    events = make_events(np.random.default_rng(4), 500)
    found = prefire_weights(maps, len(events), *flat(events))
    assert np.all(found["up"] <= found["nominal"])
    assert np.all(found["nominal"] <= found["down"])
    assert all(np.all((w >= 0) & (w <= 1)) for w in found.values())


def test_events_do_not_depend_on_their_neighbours(maps):
    events = make_events(np.random.default_rng(5), 40)
    together = prefire_weights(maps, len(events), *flat(events))
    alone = [prefire_weights(maps, 1, *flat([event])) for event in events]
    for variation in VARIATIONS:
        assert_array_equal(together[variation], [a[variation][0] for a in alone])


@pytest.mark.parametrize(
    ("pt", "eta", "can"),
    [
        (19.99, 2.2, False),
        (20.0, 2.2, True),
        (30.0, 1.99, False),
        (30.0, -2.0, True),
        (30.0, 3.0, True),
        (30.0, 3.01, False),
        (5000.0, -2.2, True),
    ],
)
def test_only_objects_in_the_window_can_prefire(tmp_path, pt, eta, can):
    constant = {
        name: Histogram.from_arrays(
            np.full((len(ETA) - 1, len(edges) - 1), 0.25), ETA, edges
        )
        for name, edges in PT.items()
    }
    maps = write_maps(tmp_path / "constant.json", constant)
    nothing = EMObjects(pt=[], eta=[], event=[], jet_index=[])
    one = {"pt": [pt], "eta": [eta], "event": [1]}
    as_jet = prefire_weights(maps, 2, Jets(**one), nothing)
    photon = EMObjects(**one, jet_index=[-1])
    as_photon = prefire_weights(maps, 2, Jets(pt=[], eta=[], event=[]), photon)
    for found in (as_jet, as_photon):
        assert_allclose(found["nominal"], [1.0, 0.75 if can else 1.0])
        assert_allclose(found["up"], [1.0, 0.70 if can else 1.0])
        assert_allclose(found["down"], [1.0, 0.80 if can else 1.0])


def test_jet_and_its_photons_count_once(maps):
    histograms = make_maps()
    jet, photon = {"pt": 60.0, "eta": 2.7}, {"pt": 55.0, "eta": 2.7, "jet": 0}
    event = {"jets": [jet], "photons": [photon], "electrons": []}
    p_jet, p_photon = (
        1 - survival(histograms[name], thing, "nominal")
        for name, thing in (("jet", jet), ("photon", photon))
    )
    found = prefire_weights(maps, 1, *flat([event]))["nominal"]
    assert_allclose(found, 1 - max(p_jet, p_photon), rtol=1e-8)


def test_electron_and_photon_of_one_deposit_count_once(maps):
    one = {"pt": [60.0], "eta": [2.7], "event": [0], "jet_index": [-1]}
    photon, electron = EMObjects(**one), EMObjects(**one, photon_index=[0])
    jets = Jets(pt=[], eta=[], event=[])
    alone = prefire_weights(maps, 1, jets, photon)
    for variation, weight in prefire_weights(maps, 1, jets, photon, electron).items():
        assert_allclose(weight, alone[variation])
    two = prefire_weights(maps, 1, jets, photon, replace(electron, photon_index=[-1]))
    assert_allclose(two["nominal"], alone["nominal"] ** 2)


def test_empty_events_have_weight_one(maps):
    nothing = EMObjects(pt=[], eta=[], event=[], jet_index=[])
    jets = Jets(pt=[], eta=[], event=[])
    for n_events in (0, 3):
        found = prefire_weights(maps, n_events, jets, nothing, nothing)
        for variation in VARIATIONS:
            assert_array_equal(found[variation], np.ones(n_events))


JETS = Jets(pt=[30.0, 40.0], eta=[2.2, 2.3], event=[0, 1])
PHOTONS = EMObjects(pt=[30.0], eta=[2.2], event=[1], jet_index=[0])


@pytest.mark.parametrize(
    ("jets", "photons", "message"),
    [
        (replace(JETS, pt=[30.0, np.nan]), PHOTONS, r"jet_pt\[1\] is nan"),
        (replace(JETS, eta=[2.2]), PHOTONS, r"jet_pt \(2,\), jet_eta \(1,\)"),
        (replace(JETS, event=[1, 0]), PHOTONS, "jet_event decreases"),
        (replace(JETS, event=[0, 2]), PHOTONS, r"jet_event goes from 0 to 2"),
        (replace(JETS, event=[0.0, 1.0]), PHOTONS, "jet_event .*expected 2 integers"),
        (JETS, replace(PHOTONS, event=[-1]), "photon_event goes from -1"),
        (JETS, replace(PHOTONS, jet_index=[1]), r"photon_jet_index\[0\] is 1.* has 1"),
        (JETS, replace(PHOTONS, jet_index=[0, 0]), "photon_jet_index has shape"),
    ],
)
def test_columns_that_do_not_fit_are_named(maps, jets, photons, message):
    with pytest.raises(InputError, match=message):
        prefire_weights(maps, 2, jets, photons)


def test_index_of_a_missing_photon_is_named(maps):
    electron = replace(PHOTONS, event=[0], jet_index=[-1], photon_index=[0])
    with pytest.raises(InputError, match=r"electron_photon_index\[0\] is 0"):
        prefire_weights(maps, 2, JETS, PHOTONS, electron)


@pytest.mark.parametrize(
    "names",
    [
        ("L1PreFiringWeight_Nom", "L1PreFiringWeight_Up", "L1PreFiringWeight_Dn"),
        ("PrefireWeight", "PrefireWeight_Up", "PrefireWeight_Down"),
    ],
)
def test_branches_of_both_flavours_are_recognised(names):
    weights = np.float32([[0.5, 1.0], [0.25, 1.0], [0.75, 1.0]])
    columns = dict(zip(names, weights, strict=True))
    found = branch_weights({"Muon_pt": [np.nan], **columns})
    assert_array_equal(found["nominal"], [0.5, 1.0])
    assert_array_equal(found["up"], [0.25, 1.0])
    assert_array_equal(found["down"], [0.75, 1.0])
    assert found["up"].dtype == np.float64


def test_file_without_branches_has_no_weights():
    assert branch_weights({"genWeight": [1.0]}) is None


def test_incomplete_ambiguous_and_impossible_branches_are_named():
    with pytest.raises(InputError, match="PrefireWeight without PrefireWeight_Up, "):
        find_branches(["PrefireWeight"])
    both = ["L1PreFiringWeight_Nom", "PrefireWeight"]
    with pytest.raises(InputError, match="choose one with flavour='v9' or 'v6'"):
        find_branches(both)
    with pytest.raises(InputError, match="without PrefireWeight_Up"):
        find_branches(both, flavour="v6")
    weights = [[1.0], [1.0], [-1.0]]
    columns = dict(zip(BRANCHES["v6"], weights, strict=True))
    with pytest.raises(InputError, match=r"PrefireWeight_Down\[0\] is -1"):
        branch_weights(columns)


def histogram(values, eta=ETA, pt=PT["photon"]):
    return Histogram.from_arrays(values * np.ones((len(eta) - 1, len(pt) - 1)), eta, pt)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (histogram(1.5), "goes from 1.5 to 1.5.*expected probabilities"),
        (histogram(0.1, eta=np.array([0.0, 2, 3])), "covers eta from 0 to 3"),
        (histogram(0.1, pt=np.array([30.0, 500])), "covers pT from 30 to 500"),
        (Histogram.from_arrays([0.1], [0, 1]), "1 dimension"),
    ],
)
def test_histograms_that_are_no_maps_are_refused(found, message):
    with pytest.raises(ConfigError, match=message):
        build_map("jet", found)


def test_script_keeps_contents_and_errors(tmp_path):
    path = tmp_path / "maps.root"
    with uproot.recreate(path) as file:
        for name, found in make_maps().items():
            h = hist.Hist(*map(hist.axis.Variable, found.edges), storage="weight")
            h.values()[...], h.variances()[...] = found.values, found.errors**2
            file[name] = h
    output = tmp_path / "script.json"
    arguments = [f"{path}:jet", f"{path}:photon", "-o", str(output)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    maps = open_maps(output)
    for name, found in make_maps().items():
        for i, eta in enumerate(ETA[:-1] + 0.1):
            for j, pt in enumerate(PT[name][:-1] + 1.0):
                evaluate = getattr(maps, name).evaluate
                assert_allclose(evaluate(eta, pt, "probability"), found.values[i, j])
                assert_allclose(evaluate(eta, pt, "error"), found.errors[i, j])


@needs_files
def test_maps_of_2016_agree_with_a_loop_and_their_known_sums(tmp_path):
    where = f"{DATA}/prefire/L1PrefiringMaps.root:L1prefiring_{{}}ptvseta_2016BtoH"
    histograms = {n: read_histogram(where.format(n)) for n in ("jet", "photon")}
    # Sums from ../shared/data/README.md.
    assert_allclose(histograms["jet"].values.sum(), 6.6275, atol=5e-5)
    assert_allclose(histograms["photon"].values.sum(), 9.7563, atol=5e-5)
    maps = write_maps(tmp_path / "prefire.json", histograms)
    events = make_events(np.random.default_rng(6), 500)
    found = prefire_weights(maps, len(events), *flat(events))
    for variation in VARIATIONS:
        expected = [loop(histograms, event, variation) for event in events]
        assert_allclose(found[variation], expected, rtol=1e-7, atol=1e-9)


@needs_files
def test_single_map_files_have_the_values_of_the_collection():
    for name in ("jet", "photon"):
        key = f"L1prefiring_{name}pt_2016BtoH"
        single = f"{DATA}/prefire/{key}.root:{key}"
        key = f"L1prefiring_{name}ptvseta_2016BtoH"
        collection = f"{DATA}/prefire/L1PrefiringMaps.root:{key}"
        first, second = read_histogram(single), read_histogram(collection)
        assert_array_equal(first.values, second.values)
        assert_array_equal(first.errors, second.errors)
