"""Rochester corrections, against RoccoR's definition, its values and coffea."""

import gzip
import json
from dataclasses import replace

import correctionlib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from corrections.build_rochester import build_rochester
from corrections.common import write_set
from corrections.roccor import read_roccor
from tests.corrections.roccor_file import slow_error, slow_factor, small_file
from tests.corrections.shared_data import DATA
from wprops.corrections.rochester import Rochester
from wprops.errors import ConfigError, InputError
from wprops.physics.crystal_ball import crystal_ball_quantile

FILES = ("RoccoR2018.txt.gz", "RoccoR2016aUL.txt.gz")


def columns(n, seed):
    """Random muons, some outside of the bins."""
    rng = np.random.default_rng(seed)
    pt = rng.uniform(10, 120, n)
    return {
        "charge": rng.choice([-1, 1], n),
        "pt": pt,
        "eta": rng.uniform(-2.5, 2.5, n),
        "phi": rng.uniform(-np.pi, np.pi, n),
        "gen_pt": pt * rng.normal(1, 0.02, n),
        "n_layers": rng.integers(3, 21, n),
        "u": rng.random(n),
    }


INPUTS = {
    "data": ("charge", "pt", "eta", "phi"),
    "spread": ("charge", "pt", "eta", "phi", "gen_pt"),
    "smear": ("charge", "pt", "eta", "phi", "n_layers", "u"),
}
METHODS = {"data": "scale_data", "spread": "spread_mc", "smear": "smear_mc"}


def factor(rochester, kind, muons):
    return getattr(rochester, METHODS[kind])(*(muons[name] for name in INPUTS[kind]))


def shared(*parts):
    """Path of a public file that cannot be distributed with the project."""
    path = DATA.joinpath(*parts)
    if not path.is_file():
        pytest.skip(f"there is no {path}; public inputs are read where they are")
    return path


def built(source, folder):
    """Build the correction file of a text file."""
    path = folder / "rochester.json.gz"
    write_set(path, build_rochester(read_roccor(source)), "A test", [source])
    return path


@pytest.fixture(scope="module")
def text_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("rochester") / "small.txt"
    path.write_text("\n".join(small_file()) + "\n")
    return path


@pytest.fixture(scope="module")
def correction_file(text_file):
    return built(text_file, text_file.parent)


@pytest.fixture(scope="module")
def small(correction_file):
    return Rochester.read(correction_file)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Build the correction file of a real RoccoR file, once."""
    cache = {}

    def opened(name):
        source = shared("rochester", name)
        if name not in cache:
            cache[name] = built(source, tmp_path_factory.mktemp("real"))
        return cache[name]

    return opened


# The factors and their errors


@pytest.mark.parametrize("kind", INPUTS)
def test_factors_and_errors_follow_the_definition(kind, small):
    muons = columns(40, seed=1)
    found = factor(small, kind, muons)
    each = [{name: c[i].item() for name, c in muons.items()} for i in range(40)]
    assert_allclose(found.nominal, [slow_factor(kind, muon) for muon in each], 1e-12)
    assert_allclose(found.error, [slow_error(kind, muon) for muon in each], 1e-9)
    assert (found.error > 0).all()


def test_known_scale_of_one_muon(small):
    # Bin eta > 0, phi > 0 of data: M = 1 - 0.004, A = 0.00007/GeV.
    (k,) = small.scale_data([1], [40.0], [0.5], [0.3]).nominal
    assert k == pytest.approx(1 / (1 - 0.004 + 0.00007 * 40), rel=1e-15)


def test_misalignment_moves_the_charges_apart(small):
    plus, minus = small.scale_data([1, -1], [40.0] * 2, [0.5] * 2, [0.3] * 2).nominal
    middle = 1 / (1 - 0.004)
    # A > 0 adds curvature to positive muons: they have less momentum than measured.
    assert plus < middle < minus
    assert 1 / plus - 1 / minus == pytest.approx(2 * 0.00007 * 40, rel=1e-10)


def test_spread_stretches_the_distance_to_the_generated_momentum(small):
    one = {"charge": [1] * 2, "eta": [0.5] * 2, "phi": [0.3] * 2, "pt": [40.0] * 2}
    scale = 1 / (1 + 0.001 + 0.00007 * 40)
    # At the generated momentum there is nothing to stretch.
    k = small.spread_mc(**one, gen_pt=[40 * scale, 39 * scale]).nominal
    assert k[0] == pytest.approx(scale, rel=1e-14)
    distance = 39 * scale / (40 * k[1]) - 1
    assert distance == pytest.approx((39 / 40 - 1) * 1.05 / 0.95, rel=1e-12)


def test_without_missing_resolution_nothing_is_smeared(small):
    muons = columns(20, seed=2) | {"eta": np.full(20, 1.5)}
    assert np.ptp(small.smear_mc(*(muons[n] for n in INPUTS["smear"])).nominal) > 0
    same = {name: np.full(20, muons[name][0]) for name in ("charge", "pt", "phi")}
    k = factor(small, "smear", muons | same).nominal
    assert_allclose(k, k[0], rtol=0, atol=0)


@pytest.mark.parametrize("kind", INPUTS)
def test_default_alone_has_the_same_factors_and_no_error(kind, small, correction_file):
    alone = Rochester.read(correction_file, errors=False)
    muons = columns(50, seed=3)
    found = factor(alone, kind, muons)
    assert_array_equal(found.nominal, factor(small, kind, muons).nominal)
    assert np.isnan(found.error).all()
    with pytest.raises(ConfigError, match="only the default member"):
        alone.correct_data(*(muons[name] for name in INPUTS["data"]))


def test_corrected_momenta_are_one_error_apart(small):
    muons = columns(50, seed=4)
    muons["gen_pt"][:3] = np.nan, 0.0, -999.0
    corrected = small.correct_mc(**muons)
    has = muons["gen_pt"] > 0
    for kind, chosen in (("spread", has), ("smear", ~has)):
        k = factor(small, kind, {name: c[chosen] for name, c in muons.items()})
        pt = muons["pt"][chosen]
        assert_array_equal(corrected.nominal[chosen], pt * k.nominal)
        assert_allclose(corrected.up[chosen], pt * (k.nominal + k.error), 1e-14)
        assert_allclose(corrected.down[chosen], pt * (k.nominal - k.error), 1e-14)


def test_shifted_momenta_stay_above_zero(small):
    offset = small.data_table.copy()
    offset[:, 0, 1:] = 1e-3 - 100  # members with absurdly large factors
    absurd = replace(small, data_table=offset)
    muons = columns(10, seed=5)
    corrected = absurd.correct_data(*(muons[name] for name in INPUTS["data"]))
    assert (corrected.down == 0).all()
    assert (corrected.up > corrected.nominal).all()


@pytest.mark.parametrize("kind", INPUTS)
def test_no_muons_give_no_factors(kind, small):
    empty = {name: column[:0] for name, column in columns(1, seed=6).items()}
    assert [part.shape for part in factor(small, kind, empty)] == [(0,), (0,)]
    assert small.correct_mc(**empty).up.shape == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pt": np.ones(9)}, r"pt \(9,\).*flat ones of one length"),
        (
            {"phi": np.array([0.0] * 9 + [np.nan])},
            r"phi\[9\] is nan",
        ),
        ({"charge": np.array([13] * 10)}, r"charge\[0\] is 13, expected \+1 or -1"),
        (
            {"u": np.linspace(0, 0.9, 10)},
            r"u\[0\] is 0, .* between 0 and 1",
        ),
        (
            {"gen_pt": np.arange(-1.0, 9.0)},
            r"gen_pt\[0\] is -1, .*2 of 10",
        ),
    ],
)
def test_impossible_columns_are_named(change, message, small):
    muons = columns(10, seed=7) | change
    with pytest.raises(InputError, match=message):
        factor(small, "spread" if "gen_pt" in change else "smear", muons)


# Real files


@pytest.mark.parametrize(
    ("sample", "kinds"), [("dimuon", ("data",)), ("dy", ("spread", "smear"))]
)
def test_reference_values(sample, kinds, real):
    uproot = pytest.importorskip("uproot")
    ak = pytest.importorskip("awkward")
    rochester = Rochester.read(real("RoccoR2018.txt.gz"))
    events = uproot.open(shared("nano", f"nano_{sample}.root"))["Events"]
    names = {"charge": "charge", "pt": "pt", "eta": "eta", "phi": "phi"}
    if sample == "dy":
        names |= {"n_layers": "nTrackerLayers", "partner": "genPartIdx"}
    arrays = {k: events[f"Muon_{name}"].array() for k, name in names.items()}
    muons = {name: np.asarray(ak.flatten(array)) for name, array in arrays.items()}
    stored = {
        name: np.load(shared("rochester", f"nano_{sample}_rochester{name}.npy"))
        for name in (("", "_err", "_rand") if sample == "dy" else ("", "_err"))
    }
    if sample == "dy":
        has = arrays["partner"] >= 0
        partner = ak.mask(arrays["partner"], has)
        gen_pt = ak.fill_none(events["GenPart_pt"].array()[partner], np.nan)
        muons["gen_pt"] = np.asarray(ak.flatten(gen_pt))
        muons["u"] = stored["_rand"]
        flat = np.asarray(ak.flatten(has))
        groups = [("spread", flat), ("smear", ~flat)]
    else:
        groups = [("data", np.ones(muons["pt"].size, dtype=bool))]
    assert [kind for kind, _ in groups] == list(kinds)
    assert sum(chosen.sum() for _, chosen in groups) == stored[""].size
    for kind, chosen in groups:
        assert chosen.any()
        found = factor(rochester, kind, {k: c[chosen] for k, c in muons.items()})
        assert_allclose(found.nominal, stored[""][chosen], rtol=0, atol=1e-9)
        assert_allclose(found.error, stored["_err"][chosen], rtol=0, atol=1e-9)


@pytest.mark.filterwarnings("ignore")  # coffea's own
@pytest.mark.parametrize("name", FILES)
def test_coffea_agrees_on_random_muons(name, real):
    ak = pytest.importorskip("awkward")
    rochester = Rochester.read(real(name))
    converters = pytest.importorskip("coffea.lookup_tools.txt_converters")
    lookup = pytest.importorskip("coffea.lookup_tools.rochester_lookup")
    coffea = lookup.rochester_lookup(
        converters.convert_rochester_file(str(DATA / "rochester" / name))
    )
    n = 1000
    muons = columns(n, seed=8)
    jagged = {k: ak.unflatten(c, np.ones(n, dtype=int)) for k, c in muons.items()}
    theirs = {"data": "kScaleDT", "spread": "kSpreadMC", "smear": "kSmearMC"}
    for kind, function in theirs.items():
        found = factor(rochester, kind, muons)
        args = [jagged[column] for column in INPUTS[kind]]
        for mine, suffix in zip(found, ("", "error"), strict=True):
            other = np.asarray(ak.flatten(getattr(coffea, function + suffix)(*args)))
            assert_allclose(mine, other, rtol=0, atol=1e-11, err_msg=function + suffix)


@pytest.mark.parametrize("name", FILES)
def test_correctionlib_gives_the_same_from_the_file(name, real):
    path = real(name)
    rochester = Rochester.read(path)
    muons = columns(5000, seed=9)
    where = [muons["charge"].astype(float), *(muons[k] for k in ("eta", "phi", "pt"))]
    corrections = correctionlib.CorrectionSet.from_file(str(path))
    data = corrections["kScaleDT"].evaluate(0, 0, *where)
    assert_allclose(factor(rochester, "data", muons).nominal, data, rtol=1e-14)
    spread = corrections.compound["kSpreadMC"]
    nominal = spread.evaluate(0, 0, *where, muons["gen_pt"])
    assert_allclose(factor(rochester, "spread", muons).nominal, nominal, rtol=1e-14)
    scale = corrections["kScaleMC"].evaluate(0, 0, *where)
    place = (0, 0, muons["eta"], muons["n_layers"])
    ball = crystal_ball_quantile(
        muons["u"],
        corrections["kSmear_alpha"].evaluate(*place),
        corrections["kSmear_power"].evaluate(*place),
    )
    x = corrections["kSmear_width"].evaluate(*place, scale * muons["pt"]) * ball
    smeared = scale / (1 + np.where(x > -1, x, 0))
    assert_allclose(factor(rochester, "smear", muons).nominal, smeared, rtol=1e-14)


def test_a_correction_file_without_tables_is_named(correction_file, tmp_path):
    content = json.loads(gzip.decompress(correction_file.read_bytes()))
    path = tmp_path / "other.json"
    content["corrections"][0]["data"] = 1.0
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="not as tables by set and member"):
        Rochester.read(path)
