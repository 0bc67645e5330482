"""Templates of a toy against slow fills of the same files, read without the package."""

import re
from pathlib import Path

import hist
import numpy as np
import pytest
import uproot
import yaml
from coffea.lumi_tools import LumiMask
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad

from corrections.build_toy import BLOCK, build_toy
from processors.templates import TemplateProcessor
from tests.events.nano import open_sample, toy_catalog
from tests.selection.exotic import slow_events, slow_region
from wprops.axes import EVEN_COMPONENTS, Binning
from wprops.catalog import Catalog
from wprops.errors import ConfigError, InputError, TemplateError, WpropsError
from wprops.events.toy.deviations import deviate
from wprops.events.toy.truth import ToyTruth, coefficients
from wprops.execution.processors import load_processor
from wprops.execution.run import run
from wprops.nominal import efficiency, nominal_weight
from wprops.selection.candidates import select
from wprops.selection.regions import REGIONS, SIGNAL
from wprops.store import TemplateSet

#: Few enough bins for ten events in most of them.
BINNING = Binning(
    eta=(-2.4, -1.2, -0.4, 0.4, 1.2, 2.4),
    pt=(25.0, 31.0, 36.0, 40.0, 55.0),
    qt=(0.0, 8.0, 20.0, 60.0),
    absy=(0.0, 0.8, 1.6, 2.4),
)
CHARGES = {"Wplus": 1, "Wminus": -1}
#: Scales of the muon's momentum.
SCALES = {"muon_scale_up": 1.0005, "muon_scale_down": 0.9995}
#: Change of the missing momentum with the unclustered energy up.
DELTA = ("MET_MetUnclustEnUpDeltaX", "MET_MetUnclustEnUpDeltaY")
#: All kinematic variations.
SHIFTS = {
    *(f"{name}_{side}" for name in ("jes", "unclustered") for side in ("up", "down")),
    *SCALES,
}
DEVIATIONS = {"mw_shift": 0.05}
SMALL = ["Wplus_mu", "Wminus_mu", "top", "data"]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return toy_catalog(
        tmp_path_factory.mktemp("toy"),
        events=25_000,
        seed=41,
        events_per_file=8000,
        fsr=True,
        negative_fraction=0.1,
        data_fraction=0.5,
        deviations=DEVIATIONS,
    )


def produce(catalog, folder, **options):
    """Run, save and read again."""
    chosen = load_processor("templates").from_catalog(catalog, BINNING)
    result = run(catalog, chosen, progress=False, **options)
    path = folder / "templates.h5"
    chosen.save(result, path)
    return TemplateSet.read(path)


@pytest.fixture(scope="module")
def templates(catalog, tmp_path_factory):
    return produce(catalog, tmp_path_factory.mktemp("templates"))


@pytest.fixture(scope="module")
def read(catalog):
    """Selected events of a dataset as a variation shifts them, read once."""
    files, known = {}, {}

    def read_dataset(name, shift="nominal"):
        if (name, shift) not in known:
            record = catalog.dataset(name)
            if name not in files:
                files[name] = [read_file(file) for file in record.files]
            chunks = [slow_selection(*file, shift) for file in files[name]]
            columns = {k: np.concatenate([c[k] for c in chunks]) for k in chunks[0]}
            if record.kind == "mc":
                total = sum(
                    float(columns["genWeight"].sum()) for _, columns in files[name]
                )
                norm = record.xsec * 1000 * catalog.luminosity / total
                columns["weight"] = norm * columns["genWeight"].astype(float)
            known[name, shift] = columns
        return known[name, shift]

    return read_dataset


def read_file(path):
    """Events that pass all but kinematics, and columns of all events."""
    with uproot.open(path) as file:
        tree = file["Events"]
        names = set(tree.keys())
        branches = {
            name: tree[name].array()
            for name in names
            if name.startswith(("Muon_", "Electron_", "HLT_", "Flag_"))
        }
        for name in ("pt", "phi"):
            branches[f"MET_{name}"] = tree[f"MET_T1_{name}"].array(library="np")
        columns = {
            name: tree[name].array(library="np")
            for name in ("genWeight", "run", "luminosityBlock")
            if name in names
        }
        if "LHEPdfWeight" in names:
            columns["members"] = tree["LHEPdfWeight"].array().to_numpy()
            columns["scales"] = tree["LHEScaleWeight"].array().to_numpy()
            columns |= generated(tree)
        if "genWeight" in names:
            columns |= shifted_met(tree)
    return slow_events(branches), columns


def shifted_met(tree):
    """Missing momentum, shape (n, 2), as two of its variations shift it."""
    names = ("MET_T1_pt", "MET_T1_phi", *DELTA)
    met, phi, dx, dy = (tree[name].array(library="np").astype(float) for name in names)
    x, y = met * np.cos(phi) - dx, met * np.sin(phi) - dy
    jes = [
        tree[f"MET_T1_{name}_jesTotalUp"].array(library="np") for name in ("pt", "phi")
    ]
    return {
        "jes_up": np.stack(jes, axis=1).astype(float),
        "unclustered_down": np.stack([np.hypot(x, y), np.arctan2(y, x)], axis=1),
    }


def slow_selection(candidates, columns, shift):
    """Events of the signal region, one after the other."""
    chosen, muons = [], []
    scale = SCALES.get(shift, 1.0)
    for i, *event in candidates:
        if shift in columns:
            event[2:] = columns[shift][i]
        if slow_region(*event, scale) == "signal":
            chosen.append(i)
            muons.append(event[1])
    return {name: values[chosen] for name, values in columns.items()} | {
        "eta": np.array([float(muon.eta) for muon in muons]),
        "pt": np.array([scale * float(muon.pt) for muon in muons]),
        "charge": np.array([int(muon.charge) for muon in muons]),
    }


def generated(tree):
    """Momenta of the two leptons, which follow the boson in the toy's list."""
    columns = {}
    for name in ("pt", "eta", "phi"):
        values = tree[f"GenPart_{name}"].array()
        columns |= {
            f"{particle}_{name}": values[:, place].to_numpy().astype(float)
            for place, particle in ((1, "lepton"), (2, "other"))
        }
    return columns


def four_vector(events, particle):
    pt, eta, phi = (events[f"{particle}_{name}"] for name in ("pt", "eta", "phi"))
    return np.array(
        [pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)]
    )


def boost(vector, boson):
    """Spatial part of vectors (4, n) in the rest frame of another."""
    mass = np.sqrt(boson[0] ** 2 - (boson[1:] ** 2).sum(axis=0))
    along = (boson[1:] * vector[1:]).sum(axis=0)
    return vector[1:] + boson[1:] / mass * (along / (boson[0] + mass) - vector[0])


def unit(vector):
    return vector / np.sqrt((vector**2).sum(axis=0))


def decays(events):
    """Boson and Collins-Soper angles by a boost to the rest frame."""
    lepton, other = (four_vector(events, p) for p in ("lepton", "other"))
    boson = lepton + other
    mass = np.sqrt(boson[0] ** 2 - (boson[1:] ** 2).sum(axis=0))
    y = 0.5 * np.log((boson[0] + boson[3]) / (boson[0] - boson[3]))
    n = len(y)
    beams = [
        unit(boost(np.outer([1.0, 0.0, 0.0, sign], np.ones(n)), boson))
        for sign in (1, -1)
    ]
    z = np.sign(y) * unit(beams[0] - beams[1])
    # The beams point away from the boson's transverse momentum.
    x = -unit(beams[0] + beams[1])
    direction = unit(boost(lepton, boson))
    along_y = (direction * np.cross(z, x, axis=0)).sum(axis=0)
    return {
        "qt": np.hypot(boson[1], boson[2]),
        "y": y,
        "mass": mass,
        "c": (direction * z).sum(axis=0),
        "phi": np.arctan2(along_y, (direction * x).sum(axis=0)),
    }


def component_weights(charge, decay):
    """UL, A0 … A4 of each event, from the formula of the decay density."""
    c, phi = decay["c"], decay["phi"]
    s = np.sqrt(1 - c**2)
    A = coefficients(ToyTruth(), charge, decay["qt"], decay["y"])
    terms = np.array(
        [
            1 + c**2,
            A[0] * (1 - 3 * c**2) / 2,
            A[1] * 2 * s * c * np.cos(phi),
            A[2] * s**2 * np.cos(2 * phi) / 2,
            A[3] * s * np.cos(phi),
            A[4] * c,
        ]
    )
    return terms / terms.sum(axis=0)


def breit_wigner(mass, pole, width=2.085):
    return mass / ((mass**2 - pole**2) ** 2 + (pole * width) ** 2)


def variation(catalog, events, label):
    """Weights of one variation relative to nominal."""
    if label == "nominal":
        return np.ones(len(events["weight"]))
    if label == "alphas_down":
        return events["members"][:, 100]
    if label.startswith("scale"):
        parts = label.split("_")
        scales = events["scales"].astype(float)
        ratio = scales[:, int(parts[1])] / scales[:, 4]
        if len(parts) == 3:
            return ratio
        low, high = {"low": (0, 5), "mid": (5, 15), "high": (15, 1e9)}[parts[2]]
        qt = decays(events)["qt"]
        return np.where((qt >= low) & (qt < high), ratio, 1.0)
    if label == "mw_up":
        low, high = 80.379, 80.429
        norms = [
            quad(breit_wigner, 50, 120, (m,), points=[m], limit=200)[0]
            for m in (low, high)
        ]
        mass = decays(events)["mass"]
        ratio = breit_wigner(mass, high) / breit_wigner(mass, low)
        return ratio * norms[0] / norms[1]
    assert label == "pdf_03_up"
    path = catalog.datasets[0].weights.pdf.hessian
    matrix = np.loadtxt(path, delimiter=",")
    return 1 + (events["members"][:, :100] - 1) @ matrix[:, 2]


def slow_fill(events, charge, weight, chosen=True):
    template = hist.Hist(*BINNING.muon_axes(), storage=hist.storage.Weight())
    keep = (events["charge"] == charge) & chosen
    template.fill(eta=events["eta"][keep], pt=events["pt"][keep], weight=weight[keep])
    return template


def assert_same(process, label, expected, rtol=1e-7):
    """Compare values and, for nominal ones, variances with a slow fill.

    The decay of the reference comes from differences of energies, which costs it
    half of its digits for bosons along the beam.
    """
    scale = np.abs(expected.values()).max()
    found = process.varied(label)
    assert_allclose(found, expected.values(), rtol=rtol, atol=rtol * scale)
    if label == "nominal":
        assert_allclose(process.variance, expected.variances(), rtol=1e-6)


def in_cell(decay, iy, iqt):
    absy = np.abs(decay["y"])
    return (
        (absy >= BINNING.absy[iy])
        & (absy < BINNING.absy[iy + 1])
        & (decay["qt"] >= BINNING.qt[iqt])
        & (decay["qt"] < BINNING.qt[iqt + 1])
    )


@pytest.mark.parametrize("label", ["nominal", "mw_up", "pdf_03_up", "alphas_down"])
@pytest.mark.parametrize("cell", [(0, 0), (2, 1)])
@pytest.mark.parametrize(
    ("channel", "name"), [("Wplus", "Wplus_mu"), ("Wminus", "Wminus_mu")]
)
def test_signal_is_the_slow_fill(catalog, templates, read, channel, name, cell, label):
    charge, events = CHARGES[channel], read(name)
    decay = decays(events)
    components = component_weights(charge, decay)
    chosen = in_cell(decay, *cell)
    assert chosen.sum() > 200
    for component, share in zip(EVEN_COMPONENTS, components, strict=True):
        process = templates.channel(channel).process(
            f"W_{component}_y{cell[0]}_qt{cell[1]}"
        )
        weight = events["weight"] * share * variation(catalog, events, label)
        assert_same(process, label, slow_fill(events, charge, weight, chosen))


@pytest.mark.parametrize("label", [*SCALES, "jes_up", "unclustered_down"])
def test_signal_of_shifted_events_is_the_slow_fill(templates, read, label):
    events = read("Wplus_mu", label)
    decay = decays(events)
    components = component_weights(1, decay)
    chosen = in_cell(decay, 1, 0)
    moved = 0
    for k, component in enumerate(EVEN_COMPONENTS):
        process = templates.channel("Wplus").process(f"W_{component}_y1_qt0")
        expected = slow_fill(events, 1, events["weight"] * components[k], chosen)
        assert_same(process, label, expected)
        moved += np.abs(process.varied(label) - process.nominal).sum()
    assert moved > 0


@pytest.mark.parametrize(
    "label", ["nominal", *SCALES, "jes_up", "unclustered_down", "scale_7_up"]
)
@pytest.mark.parametrize("channel", CHARGES)
@pytest.mark.parametrize("name", ["top", "Z"])
def test_backgrounds_are_the_slow_fill(catalog, templates, read, name, channel, label):
    events = read({"Z": "Z_mumu"}.get(name, name), label)
    if label == "scale_7_up":
        if name == "top":
            assert label not in templates.channel(channel).process(name).variations
            return
        events = events | {
            "weight": events["weight"] * variation(catalog, events, label)
        }
    expected = slow_fill(events, CHARGES[channel], events["weight"])
    assert expected.sum().value > 0
    # The same weights, added in the same order.
    process = templates.channel(channel).process(name)
    assert_same(process, label, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "label", ["nominal", "pdf_03_up", "alphas_down", "scale_0_mid_up"]
)
@pytest.mark.parametrize("channel", CHARGES)
def test_taus_are_the_slow_fill(catalog, templates, read, channel, label):
    events = read(f"{channel}_tau")
    weight = events["weight"] * variation(catalog, events, label)
    expected = slow_fill(events, CHARGES[channel], weight)
    process = templates.channel(channel).process("W_tau")
    assert_same(process, label, expected)
    assert "mw_up" not in process.variations


@pytest.mark.parametrize("label", ["nominal", "mw_up", "scale_8_high_up"])
@pytest.mark.parametrize("channel", CHARGES)
def test_low_acceptance_is_the_slow_fill(catalog, templates, read, channel, label):
    events = read(f"{channel}_mu")
    decay = decays(events)
    inside = (np.abs(decay["y"]) < 2.4) & (decay["qt"] < 60)
    assert (~inside).sum() > 100
    weight = events["weight"] * variation(catalog, events, label)
    expected = slow_fill(events, CHARGES[channel], weight, ~inside)
    assert_same(templates.channel(channel).process("W_lowacc"), label, expected)


@pytest.mark.parametrize("label", ["nominal", "muon_scale_up", "unclustered_down"])
@pytest.mark.parametrize("channel", CHARGES)
def test_all_templates_add_up_to_all_events(catalog, templates, read, channel, label):
    simulated = [d.name for d in catalog.datasets if d.kind == "mc"]
    columns = [read(name, label) for name in simulated]
    events = {
        key: np.concatenate([c[key] for c in columns])
        for key in ("eta", "pt", "charge", "weight")
    }
    expected = slow_fill(events, CHARGES[channel], events["weight"]).values()
    processes = templates.channel(channel).processes.values()
    total = sum(process.varied(label) for process in processes)
    # Sums of thousands of weights in double precision.
    assert_allclose(total, expected, rtol=1e-12, atol=1e-12 * expected.max())


def test_the_variance_of_the_total_counts_shared_events(templates, read, catalog):
    simulated = [d.name for d in catalog.datasets if d.kind == "mc"]
    for channel, charge in CHARGES.items():
        expected = sum(
            slow_fill(read(name), charge, read(name)["weight"]).variances()
            for name in simulated
        )
        _, variance = templates.channel(channel).total()
        assert_allclose(variance, expected, rtol=1e-10)


def test_odd_components_vanish(templates):
    rows = templates.tables["odd_components"]
    assert [row["component"] for row in rows] == ["A5", "A6", "A7"]
    for row in rows:
        assert row["bins"] > 150
        assert row["p"] > 1e-4


def test_data_are_the_certified_events_of_the_signal_region(catalog, templates, read):
    events = read("data")
    certified = np.zeros(len(events["eta"]), bool)
    # The toy's runs have 101 sections, and number 51 is not certified.
    certified |= events["luminosityBlock"] != 51
    assert 0 < (~certified).sum() < 0.03 * len(certified)
    mask = LumiMask(str(catalog.golden_json))
    assert_array_equal(mask(events["run"], events["luminosityBlock"]), certified)
    for channel, charge in CHARGES.items():
        expected = slow_fill(events, charge, np.ones(len(certified)), certified)
        assert_array_equal(templates.channel(channel).data, expected.values())


def test_without_a_golden_json_all_sections_count(catalog, tmp_path, read):
    everything = catalog.only(SMALL).model_copy(update={"golden_json": None})
    templates = produce(everything, tmp_path)
    events = read("data")
    for channel, charge in CHARGES.items():
        expected = slow_fill(events, charge, np.ones(len(events["eta"])))
        assert_array_equal(templates.channel(channel).data, expected.values())


def test_cut_flows_end_with_the_selected_events(catalog, templates, read):
    rows = templates.tables["cut_flow"]
    for record in catalog.datasets:
        own = [
            row
            for row in rows
            if (row["dataset"], row["region"]) == (record.name, "signal")
        ]
        n = sum(uproot.open(f)["Events"].num_entries for f in record.files)
        assert own[0]["events"] == n
        events = read(record.name)
        if record.kind == "mc":
            assert own[-1]["events"] == len(events["eta"])
            assert_allclose(own[-1]["weighted"], events["weight"].sum(), rtol=1e-10)
            expected = record.xsec * 1000 * catalog.luminosity
            assert_allclose(own[0]["weighted"], expected, rtol=1e-10)
        else:
            assert own[1]["events"] == n - count_uncertified(record)
    assert len({row["region"] for row in rows}) == len(REGIONS)


def count_uncertified(record):
    return sum(
        (uproot.open(f)["Events/luminosityBlock"].array(library="np") == 51).sum()
        for f in record.files
    )


def test_the_set_says_what_it_was_made_of(catalog, templates):
    assert templates.luminosity == catalog.luminosity
    assert templates.boson_mass == 80.379
    assert_allclose(templates.truth.boson_mass, 80.429)
    assert templates.provenance["catalog_digest"] == catalog.digest
    assert templates.provenance["processor"] == "TemplateProcessor"
    n = sum(
        uproot.open(file)["Events"].num_entries
        for record in catalog.datasets
        for file in record.files
    )
    assert templates.tables["performance"]["events"] == n
    entries = {}
    for item in templates.provenance["inputs"]:
        start, stop = item["entries"]
        entries[item["dataset"]] = entries.get(item["dataset"], 0) + stop - start
    assert sum(entries.values()) == n


@pytest.mark.parametrize("channel", CHARGES)
def test_the_truth_of_pseudo_data_is_theirs(templates, channel):
    shifted = deviate(ToyTruth(), DEVIATIONS)
    found = templates.truth.channels[channel]
    # The mass shifts no cross section and no coefficient.
    assert_array_equal(found.sigma, templates.channel(channel).generated.sigma)
    assert templates.truth.boson_mass == shifted.wplus.mass


def content(templates):
    """All arrays of a set by what they are."""
    arrays = {}
    for name, channel in templates.channels.items():
        arrays[name, "data"] = channel.data
        for shared in channel.shared:
            arrays[name, *shared.processes] = shared.products
            arrays[name, *shared.processes, "folds"] = shared.folds
            if shared.derivative is not None:
                arrays[name, *shared.processes, "mw"] = shared.derivative_products
        for process in channel.processes.values():
            for label in ("nominal", *process.variations):
                arrays[name, process.name, label] = process.varied(label)
            arrays[name, process.name, "variance"] = process.variance
            arrays[name, process.name, "entries"] = process.entries
    return arrays


@pytest.fixture(scope="module")
def in_chunks(catalog, tmp_path_factory):
    """A part of the samples, in chunks that do not divide the files evenly."""
    folder = tmp_path_factory.mktemp("chunks")
    return produce(catalog.only(SMALL), folder, chunksize=7000)


@pytest.mark.parametrize(
    "executor", ["futures", pytest.param("dask", marks=pytest.mark.dask)]
)
def test_all_executors_give_the_same_bits(catalog, in_chunks, tmp_path, executor):
    other = produce(
        catalog.only(SMALL), tmp_path, chunksize=7000, executor=executor, workers=2
    )
    first, second = content(in_chunks), content(other)
    assert list(first) == list(second)
    for key, values in first.items():
        assert_array_equal(values, second[key], err_msg=str(key))
    for table in ("cut_flow", "odd_components"):
        assert other.tables[table] == in_chunks.tables[table]
    assert other.tables["performance"]["chunks"] > 5
    assert other.tables["performance"]["executor"] == executor
    assert other.provenance["inputs"] == in_chunks.provenance["inputs"]


@pytest.mark.parametrize("chunksize", [2900, 200_000])
def test_chunks_of_any_size_give_the_same_templates(
    catalog, in_chunks, tmp_path, chunksize
):
    other = produce(catalog.only(SMALL), tmp_path, chunksize=chunksize)
    first, second = content(in_chunks), content(other)
    for key, values in first.items():
        # Sums in another order, up to the rounding of their largest terms.
        assert_allclose(
            second[key], values, rtol=1e-11, atol=1e-12 * np.abs(values).max()
        )
        if key[-1] in ("entries", "data"):
            assert_array_equal(second[key], values)


def test_a_run_twice_gives_the_same_bits(catalog, in_chunks, tmp_path):
    again = content(produce(catalog.only(SMALL), tmp_path, chunksize=7000))
    for key, values in content(in_chunks).items():
        assert_array_equal(again[key], values)


def edited(catalog, folder, changes):
    """The catalogue with changes by dataset, read from a file."""
    content = yaml.safe_load((catalog.base / "catalogue.yaml").read_text())
    for entry in content["datasets"]:
        entry |= changes.get(entry["name"], {})
        for key in [key for key, value in entry.items() if value is None]:
            del entry[key]
    path = folder / "catalogue.yaml"
    path.write_text(yaml.safe_dump(content | {"base": str(catalog.base)}))
    return Catalog.read(path)


def test_a_sample_under_the_wrong_process_is_named_by_file(catalog, tmp_path):
    wrong = edited(catalog, tmp_path, {"top": {"process": "W_mu"}})
    wrong = wrong.only(["Wplus_mu", "top"])
    with pytest.raises(
        InputError,
        match=r"top_000\.root: (\d+) of \1 selected events have no W → lν in GenPart"
        r".*`process: W_mu` right",
    ):
        produce(wrong, tmp_path)


def test_a_w_sample_under_the_process_of_a_background_is_one(catalog, tmp_path, read):
    taus = ("Wplus_tau", "Wminus_tau")
    moved = edited(catalog, tmp_path, {name: {"process": "diboson"} for name in taus})
    templates = produce(moved.only(["Wplus_mu", "Wminus_mu", *taus]), tmp_path)
    events = read("Wminus_tau")
    expected = slow_fill(events, -1, events["weight"]).values()
    process = templates.channel("Wminus").process("diboson")
    assert_allclose(process.nominal, expected, rtol=1e-12)
    assert "pdf_01_up" not in process.variations


@pytest.fixture
def without_truth(catalog, tmp_path):
    """Samples of signal and top, as real ones are."""
    names = ["Wplus_mu", "top"]
    return edited(catalog, tmp_path, {name: {"truth": None} for name in names}).only(
        names
    )


NEEDED = r"'Wplus_mu': the angular coefficients.*measure them with `wprops run --proc"


def test_signal_without_truth_says_what_is_missing(without_truth, tmp_path):
    chosen = TemplateProcessor.from_catalog(without_truth, BINNING)
    with pytest.raises(ConfigError, match=NEEDED):
        chosen.process(open_sample(without_truth, "Wplus_mu"))
    with pytest.raises(WpropsError, match=NEEDED):
        produce(without_truth, tmp_path)


def test_an_error_of_the_catalogue_is_one_in_a_run_too(without_truth, tmp_path):
    with pytest.raises(ConfigError, match=NEEDED):
        produce(without_truth, tmp_path)


def test_backgrounds_alone_need_no_truth_but_make_no_set(without_truth, tmp_path):
    with pytest.raises(TemplateError, match=r"no W → μν.*filled templates: top"):
        produce(without_truth.only(["top"]), tmp_path)


def cut_in_half(path, whole):
    content = Path(whole).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def without_sections(path, whole):
    """Write events without luminosity sections, which coffea asks of every file."""
    with uproot.recreate(path) as file:
        file.mktree("Events", {"run": np.ones(3, np.uint32), "MET_pt": np.ones(3)})


@pytest.mark.parametrize("damage", [cut_in_half, without_sections])
def test_a_file_that_breaks_in_the_middle_of_a_run_is_named(catalog, tmp_path, damage):
    damage(tmp_path / "broken.root", catalog.dataset("data").files[0])
    broken = edited(
        catalog, tmp_path, {"data": {"files": [str(tmp_path / "broken.root")]}}
    )
    with pytest.raises(InputError, match=r"broken\.root"):
        produce(broken.only(["data"]), tmp_path)


def test_all_files_that_fail_are_named(catalog, tmp_path):
    changes = {"top": {"process": "W_mu"}, "qcd": {"triggers": ["HLT_Nothing"]}}
    wrong = edited(catalog, tmp_path, changes).only(["Wplus_mu", "top", "qcd"])
    with pytest.raises(InputError) as caught:
        produce(wrong, tmp_path)
    lines = sorted(str(caught.value).splitlines())
    names = sorted(
        Path(file).name for name in changes for file in wrong.dataset(name).files
    )
    assert [line.split()[0].strip(":") for line in lines] == names
    assert all(
        ("HLT_Nothing" in line) == line.startswith("qcd")
        and ("have no W" in line) == line.startswith("top")
        for line in lines
    )


def process_one(catalog):
    """Process one file of positive bosons as a chunk."""
    chosen = TemplateProcessor.from_catalog(catalog.only(["Wplus_mu"]), BINNING)
    events = open_sample(catalog, "Wplus_mu", normalisation=0.5)
    (name, result), *rest = chosen.process(events).items()
    assert (name, rest) == ("Wplus_mu", [])
    return result


def test_one_chunk_can_be_processed_without_a_run(catalog):
    total = process_one(catalog)
    assert set(total["blocks"]) == {"W", "W_odd", "W_lowacc"}
    assert set(total["blocks"]["W"].labels) >= {"nominal", *SHIFTS}
    assert total["flows"].shape == (4, len(REGIONS[0].cuts) + 1, 2)


@pytest.mark.parametrize(
    ("nano", "missing"), [("v6", set()), ("v15", {"jes_up", "jes_down"})]
)
def test_each_version_of_nanoaod_has_the_shifts_of_its_files(tmp_path, nano, missing):
    toy = toy_catalog(tmp_path, events=3000, seed=3, nano=nano, samples=["Wplus_mu"])
    block = process_one(toy)["blocks"]["W"]
    assert SHIFTS & set(block.labels) == SHIFTS - missing
    total = block.sums[:, :, 0].sum()
    for label in SHIFTS - missing:
        # A few events of some hundred move in or out.
        shifted = block.sums[:, :, block.labels.index(label)].sum()
        assert_allclose(shifted, total, rtol=0.05)


def test_a_shift_that_no_file_has_names_the_setting(tmp_path):
    toy = toy_catalog(tmp_path, events=300, seed=3, nano="v15", samples=["Wplus_mu"])
    with pytest.raises(InputError, match=r"no variation 'jes' of .*PFMET.*`without:`"):
        process_one(toy.model_copy(update={"without": ()}))


def summed(blocks, label):
    """Templates (eta, pT) of positive muons, all components and bosons together.

    A wide eta bin has several parameters of the efficiency, one for each of its bins:
    here all of them are moved together.
    """
    total = 0.0
    for name in ("W", "W_lowacc"):
        block = blocks[name]
        sums = block.section(0, block.n_cells).sums.sum(axis=0)
        pattern = re.compile(label.replace("_down", r"(_\d+)?_down"))
        found = [i for i, name in enumerate(block.labels) if pattern.fullmatch(name)]
        nominal = sums[0]
        dense = nominal + sum(sums[i] - nominal for i in found)
        total = total + dense.reshape(2, -1, *BINNING.shape[:2])[0].sum(axis=0)
    return total


def test_templates_are_filled_with_corrected_events(tmp_path):
    """Scale factors, prefiring and calibrated momenta, nominal and varied."""
    deviations = {"mu_scale": 0.01, "eff_charge": 0.1, "pileup": -3.0, "qt_tilt": 0.2}
    toy_catalog(
        tmp_path, events=8000, seed=6, samples=["Wplus_mu"], deviations=deviations
    )
    build_toy(tmp_path / "truth.json", tmp_path / "corrections")
    path = tmp_path / "catalogue.yaml"
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(content | {"corrections": BLOCK}))
    corrected = Catalog.read(path)
    blocks = process_one(corrected)["blocks"]

    record = corrected.dataset("Wplus_mu")
    events = open_sample(corrected, "Wplus_mu", normalisation=0.5)
    found = select(events, record, np.ones(len(events), bool))
    muons = [np.where(found.charge == 0, 1, found.charge), found.eta, found.pt]
    muons = [np.where(np.isfinite(column), column, 30.0) for column in muons]
    factors = efficiency(record, *muons)
    weight = nominal_weight(events) * factors.nominal
    prefire = events.L1PreFiringWeight
    expected = {
        "nominal": (found, 1.0),
        "sf_stat_1_down": (found, 1 - factors.stat[:, 1]),
        "sf_syst_up": (found, 1 + factors.systematic),
        "prefire_up": (found, prefire.Up.to_numpy() / prefire.Nom.to_numpy()),
        "muon_scale_down": (found.with_muon_pt(found.pt_down), 1.0),
    }
    for label, (moved, ratio) in expected.items():
        keep = SIGNAL.passes(moved)
        events_and_pt = {"eta": found.eta, "pt": moved.pt, "charge": found.charge}
        slow = slow_fill(events_and_pt, 1, weight * ratio, keep).values()
        # Ratios of single-precision weights.
        assert_allclose(summed(blocks, label), slow, rtol=1e-6, atol=1e-9)
    # Half of the difference between the charges; the others vary by event.
    assert_allclose(factors.nominal[found.charge > 0], 1.05, rtol=1e-6)
    assert nominal_weight(events).std() > 0.05
    assert_allclose(found.pt[SIGNAL.passes(found)].min(), 25.0, atol=0.2)
