"""The template set: what goes in comes out, and what does not fit is refused."""

import json
from dataclasses import replace

import h5py
import hist
import numpy as np
import pytest
import uhi.io.hdf5

from wprops.axes import COARSE
from wprops.errors import TemplateError
from wprops.hdf5 import write_axes, write_json
from wprops.store import (
    SCHEMA_VERSION,
    Channel,
    Generated,
    Process,
    SharedEvents,
    TemplateSet,
    Truth,
)
from wprops.systematics.declaration import Systematic

ETA, PT = np.linspace(-2.4, 2.4, 4), np.array([25.0, 30.0, 40.0])
SHAPE = (3, 2)
SIGNALS = ("W_UL_y0_qt0", "W_A4_y0_qt0")


def make_generated(rng):
    return Generated(
        qt_edges=np.array([0.0, 8.0, 20.0]),
        absy_edges=np.array([0.0, 0.8]),
        sigma=rng.uniform(1, 2, (1, 2)),
        coefficients=rng.normal(size=(8, 1, 2)),
    )


def make_channel(name, charge, rng):
    weights = rng.normal(size=(2, 50, *SHAPE))
    products = np.einsum("pnij,qnij->pqij", weights, weights)
    processes = {
        signal: Process(
            name=signal,
            role="signal",
            nominal=weights[index].sum(axis=0),
            variance=products[index, index],
            variations={"mw_up": rng.normal(size=SHAPE), "mw_down": np.ones(SHAPE)},
            component=component,
            cell=(0, 0),
            entries=np.full(SHAPE, 50.0),
        )
        for index, (signal, component) in enumerate(
            zip(SIGNALS, ("UL", "A4"), strict=True)
        )
    }
    processes["top"] = Process("top", "background", np.ones(SHAPE), np.ones(SHAPE))
    return Channel(
        name=name,
        charge=charge,
        eta_edges=ETA,
        pt_edges=PT,
        processes=processes,
        shared=(SharedEvents(SIGNALS, products),),
        generated=make_generated(rng),
        data=rng.poisson(100, SHAPE).astype(float),
    )


@pytest.fixture
def template_set():
    rng = np.random.default_rng(1)
    return TemplateSet(
        channels={
            "Wplus": make_channel("Wplus", 1, rng),
            "Wminus": make_channel("Wminus", -1, rng),
        },
        systematics=(
            Systematic(
                name="mw",
                kind="weight",
                processes=frozenset(SIGNALS),
                group="signal",
                constrained=False,
                interpolation="quadratic",
            ),
        ),
        luminosity=0.0123,
        boson_mass=80.379,
        provenance={"wprops": "0.1.0", "note": "Δm < 1 & é"},
        truth=Truth(80.4, {"Wplus": make_generated(rng)}),
        tables={"cutflow": [{"cut": "trigger", "events": 3}]},
    )


@pytest.fixture
def template_file(template_set, tmp_path):
    path = tmp_path / "templates.h5"
    template_set.write(path)
    return path


def with_channel(templates, **changes):
    channel = replace(templates.channels["Wplus"], **changes)
    return replace(templates, channels={**templates.channels, "Wplus": channel})


def with_process(templates, **changes):
    processes = dict(templates.channels["Wplus"].processes)
    processes["top"] = replace(processes["top"], **changes)
    return with_channel(templates, processes=processes)


def assert_generated_equal(one, other):
    for name in ("qt_edges", "absy_edges", "sigma", "coefficients"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_what_is_written_is_read_back_bit_for_bit(template_set, template_file):
    read = TemplateSet.read(template_file)
    assert list(read.channels) == ["Wplus", "Wminus"]
    for field in ("systematics", "luminosity", "boson_mass", "weighting"):
        assert getattr(read, field) == getattr(template_set, field)
    assert read.provenance == template_set.provenance
    assert read.tables == template_set.tables
    assert read.truth.boson_mass == 80.4
    assert_generated_equal(
        read.truth.channels["Wplus"], template_set.truth.channels["Wplus"]
    )
    for name, channel in read.channels.items():
        original = template_set.channels[name]
        assert (channel.charge, channel.region) == (original.charge, "signal")
        assert list(channel.processes) == list(original.processes)
        assert channel.shared[0].processes == SIGNALS
        np.testing.assert_array_equal(
            channel.shared[0].products, original.shared[0].products
        )
        np.testing.assert_array_equal(channel.data, original.data)
        assert_generated_equal(channel.generated, original.generated)


def test_processes_keep_all_fields(template_set, template_file):
    read = TemplateSet.read(template_file).channels["Wminus"].processes
    for name, process in template_set.channels["Wminus"].processes.items():
        for field in ("name", "role", "component", "cell"):
            assert getattr(read[name], field) == getattr(process, field)
        for field in ("nominal", "variance", "entries"):
            np.testing.assert_array_equal(
                getattr(read[name], field), getattr(process, field)
            )
        assert list(read[name].variations) == list(process.variations)
        for label, values in process.variations.items():
            np.testing.assert_array_equal(read[name].variations[label], values)


def test_real_data_need_no_truth_and_blind_channels_no_data(template_set, tmp_path):
    bare = with_channel(
        replace(template_set, truth=None), data=None, generated=None, shared=()
    )
    bare.write(tmp_path / "bare.h5")
    read = TemplateSet.read(tmp_path / "bare.h5")
    assert read.truth is None
    assert read.channels["Wplus"].data is None
    assert read.channels["Wplus"].generated is None
    assert read.channels["Wplus"].shared == ()


def test_one_process_is_read_alone(template_set, template_file, monkeypatch):
    expected = template_set.channels["Wplus"].processes["W_A4_y0_qt0"]
    read_bytes = []
    original = h5py.Dataset.read_direct
    monkeypatch.setattr(
        h5py.Dataset,
        "read_direct",
        lambda self, *args: read_bytes.append(self.nbytes) or original(self, *args),
    )
    process = TemplateSet.read_process(template_file, "Wplus", "W_A4_y0_qt0")
    np.testing.assert_array_equal(process.nominal, expected.nominal)
    # nominal, variance, entries and two variations of 6 bins, nothing else
    assert sum(read_bytes) == 5 * 6 * 8


def test_uhi_opens_a_template_in_one_line(template_set, template_file):
    with h5py.File(template_file) as file:
        group = file["channels/Wplus/processes/top"]
        histogram = hist.Hist(uhi.io.hdf5.read(group))
        data = hist.Hist(uhi.io.hdf5.read(file["channels/Wplus/data"]))
    assert histogram.axes.name == ("eta", "pt")
    assert (
        histogram.axes.label == COARSE.boson_axes()[0].label
        or "GeV" in (histogram.axes.label[1])
    )
    assert histogram.storage_type is hist.storage.Weight
    assert histogram == template_set.hist("Wplus", "top")
    np.testing.assert_array_equal(data.values(), template_set.channels["Wplus"].data)


def test_hist_has_values_variances_and_variations(template_set):
    process = template_set.channels["Wplus"].processes["W_A4_y0_qt0"]
    nominal = template_set.hist("Wplus", "W_A4_y0_qt0")
    np.testing.assert_array_equal(nominal.values(), process.nominal)
    np.testing.assert_array_equal(nominal.variances(), process.variance)
    np.testing.assert_array_equal(nominal.axes["pt"].edges, PT)
    varied = template_set.hist("Wplus", "W_A4_y0_qt0", "mw_up")
    np.testing.assert_array_equal(varied.values(), process.variations["mw_up"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("Wzero", "top"), "no channel 'Wzero'; it has Wplus, Wminus"),
        (("Wplus", "tip"), "channel 'Wplus' has no process 'tip'; it has W_UL"),
        (("Wplus", "top", "mw_up"), "'top' has no variation 'mw_up'; it has nominal"),
    ],
)
def test_unknown_names_are_listed_with_the_known(template_set, names, message):
    with pytest.raises(TemplateError, match=message):
        template_set.hist(*names)


def test_total_counts_the_covariance_of_shared_events(template_set):
    channel = template_set.channels["Wplus"]
    nominal, variance = channel.total()
    # The sum of two weights per event is one weight, with one variance.
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(2, 50, *SHAPE)).sum(axis=0)
    np.testing.assert_allclose(nominal, weights.sum(axis=0) + 1, rtol=1e-12)
    np.testing.assert_allclose(variance, (weights**2).sum(axis=0) + 1, rtol=1e-12)


def nan_at(index):
    values = np.ones(SHAPE)
    values[index] = np.nan
    return values


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nominal": nan_at((2, 1))}, r"'top', nominal has 1 bins .* \(2, 1\): nan"),
        ({"nominal": [[1.0, 2.0]]}, "nominal is of type list, expected an array"),
        ({"nominal": np.full(SHAPE, "1")}, "nominal is of type <U1, expected an array"),
        ({"nominal": np.ones(SHAPE, dtype=complex)}, "type complex128, expected"),
        ({"nominal": np.ones((2, 3))}, r"nominal has shape \(2, 3\), expected \(3, 2"),
        ({"nominal": np.zeros(SHAPE)}, "'top' is empty"),
        ({"variance": -np.ones(SHAPE)}, "variance has 6 bins .* negative"),
        ({"entries": np.ones(3)}, r"entries has shape \(3,\)"),
        ({"variations": {"mw_up": np.ones(6)}}, r"variation 'mw_up' has shape \(6,\)"),
        ({"variations": {"pdf_up": np.ones(SHAPE)}}, "no systematic .* pdf_up"),
        ({"role": "sgnal"}, "role 'sgnal'"),
        ({"role": "signal"}, "a signal with component None and cell None"),
        ({"name": "tops"}, "process 'tops' is stored as 'top'"),
    ],
)
def test_a_process_that_does_not_fit_is_refused(template_set, changes, message):
    broken = with_process(template_set, **changes)
    with pytest.raises(TemplateError, match=f"channel 'Wplus'.*{message}"):
        broken.validate()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"charge": 0}, "charge 0"),
        ({"pt_edges": PT[::-1]}, "pt_edges are .* increasing"),
        ({"pt_edges": np.array([25.0, 30.0, np.inf])}, "pt_edges are .* finite"),
        ({"data": -np.ones(SHAPE)}, "data has 6 bins .* negative"),
        ({"processes": {}}, "no processes"),
        ({"name": "a/b"}, "without '/'"),
        (
            {"shared": (SharedEvents(("top", "gone"), np.ones((2, 2, *SHAPE))),)},
            "no process 'gone'",
        ),
        (
            {"shared": (SharedEvents(("top", "top"), np.ones((2, 2, *SHAPE))),)},
            "listed twice",
        ),
        (
            {"shared": (SharedEvents(("top",), np.full((1, 1, *SHAPE), 1.1)),)},
            "diagonal differs from the variance of 'top'",
        ),
    ],
)
def test_a_channel_that_does_not_fit_is_refused(template_set, changes, message):
    with pytest.raises(TemplateError, match=message):
        with_channel(template_set, **changes).validate()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"luminosity": 0.0}, "luminosity 0.0"),
        ({"boson_mass": np.nan}, "boson_mass nan"),
        ({"weighting": "A"}, "weighting 'A'"),
        ({"channels": {}}, "no channels"),
        ({"truth": Truth(80.4, {"Wzero": None})}, "no channel 'Wzero'"),
    ],
)
def test_a_set_that_does_not_fit_is_refused(template_set, changes, message):
    with pytest.raises(TemplateError, match=message):
        replace(template_set, **changes).validate()


def test_generated_maps_have_the_shape_of_their_edges(template_set):
    generated = template_set.channels["Wplus"].generated
    broken = replace(generated, coefficients=generated.coefficients[:6])
    with pytest.raises(TemplateError, match=r"generated, coefficients has shape \(6,"):
        with_channel(template_set, generated=broken).validate()


def test_truth_and_simulation_have_the_same_cells(template_set):
    generated = template_set.channels["Wplus"].generated
    other = Truth(80.4, {"Wplus": replace(generated, absy_edges=np.array([0.0, 1.0]))})
    with pytest.raises(TemplateError, match="truth of channel 'Wplus', absy_edges are"):
        replace(template_set, truth=other).validate()


def test_a_refused_set_leaves_the_old_file(template_set, template_file):
    before = template_file.read_bytes()
    unserialisable = replace(template_set, provenance={"when": object()})
    with pytest.raises(TemplateError, match="provenance cannot be stored as JSON"):
        unserialisable.write(template_file)
    assert template_file.read_bytes() == before
    assert list(template_file.parent.iterdir()) == [template_file]


def test_a_truncated_file_is_always_refused(template_file, tmp_path):
    content = template_file.read_bytes()
    short = tmp_path / "short.h5"
    positions = {0, 1, 7, 8, 9, 47, 48, len(content) - 1}
    positions |= set(np.linspace(0, len(content) - 1, 150).astype(int).tolist())
    for position in sorted(positions):
        short.write_bytes(content[:position])
        with pytest.raises(TemplateError, match="cannot be read as a wprops template"):
            TemplateSet.read(short)


def test_a_changed_number_is_found(template_set, template_file):
    content = template_file.read_bytes()
    for channel in template_set.channels.values():
        process = channel.processes["W_A4_y0_qt0"]
        for values in (process.nominal, process.variations["mw_up"], channel.data):
            at = content.index(values.tobytes())
            changed = bytearray(content)
            changed[at + 5] ^= 1
            template_file.write_bytes(changed)
            with pytest.raises(TemplateError, match="checksum"):
                TemplateSet.read(template_file)


def test_a_changed_text_is_found(template_file):
    content = template_file.read_bytes()
    for text in (b'"mw"', b"80.379", b"Wminus", b"0.0123", b"trigger"):
        changed = bytearray(content)
        changed[content.index(text) + 2] ^= 1
        template_file.write_bytes(changed)
        with pytest.raises(TemplateError):
            TemplateSet.read(template_file)


def test_other_files_are_named_for_what_they_are(template_file, tmp_path):
    with pytest.raises(TemplateError, match=r"there is no file .*gone\.h5"):
        TemplateSet.read(tmp_path / "gone.h5")
    foreign = tmp_path / "foreign.h5"
    with h5py.File(foreign, "w") as file:
        file["x"] = 1
    with pytest.raises(TemplateError, match="has the format None, expected 'wprops"):
        TemplateSet.read(foreign)
    (tmp_path / "text.h5").write_text(json.dumps({"not": "hdf5"}))
    with pytest.raises(TemplateError, match="not an HDF5 file"):
        TemplateSet.read(tmp_path / "text.h5")
    with h5py.File(template_file, "a") as file:
        file.attrs["schema_version"] = SCHEMA_VERSION + 1
    with pytest.raises(TemplateError, match=f"version {SCHEMA_VERSION + 1}, this"):
        TemplateSet.read(template_file)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("header", "lacks the dataset 'header' in /"),
        ("channels/Wminus", "no 'Wminus' in /channels; it has Wplus"),
        ("channels/Wplus/processes/top", "no 'top' in /channels/Wplus/processes"),
        ("channels/Wplus/shared", "no 'shared/0' in /channels/Wplus"),
        ("channels/Wplus/processes/top/storage/variances", "lacks .*variances"),
        ("truth", "no 'truth' in /"),
    ],
)
def test_a_missing_part_is_named(template_file, path, message):
    with h5py.File(template_file, "a") as file:
        del file[path]
    with pytest.raises(TemplateError, match=message):
        TemplateSet.read(template_file)


def test_a_systematic_from_another_version_is_named(template_file):
    with h5py.File(template_file, "a") as file:
        records = json.loads(file["systematics"][()])
        records[0]["colour"] = "red"
        del file["systematics"]
        write_json(file, "systematics", records)
    with pytest.raises(TemplateError, match=r"'mw' has unknown fields \['colour'\]"):
        TemplateSet.read(template_file)


def test_a_path_may_be_text(template_set, tmp_path):
    path = str(tmp_path / "templates.h5")
    template_set.write(path)
    assert list(TemplateSet.read(path).channels) == ["Wplus", "Wminus"]
    assert TemplateSet.read_process(path, "Wplus", "top").role == "background"
    with pytest.raises(TemplateError, match=r"there is no file .*gone\.h5"):
        TemplateSet.read(str(tmp_path / "gone.h5"))


def norm(name, size, **options):
    return Systematic(
        name=name,
        kind="norm",
        processes=frozenset({"top"}),
        group="norm",
        size=size,
        **options,
    )


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ((norm("lumi", 1.02), norm("lumi", 1.03)), "systematics are not unique: lumi"),
        ((norm("lumi", -1.0),), "'lumi' has size -1.0, expected the positive factor"),
        ((norm("lumi", np.nan),), "'lumi' has size nan"),
    ],
)
def test_wrong_declarations_are_named(template_set, records, message):
    broken = replace(template_set, systematics=template_set.systematics + records)
    with pytest.raises(TemplateError, match=message):
        broken.validate()


def test_an_eta_local_parameter_of_two_channels_asks_for_one_eta_binning(template_set):
    (mass,) = template_set.systematics
    local = replace(mass, eta_local=True)
    other = replace(template_set.channels["Wminus"], eta_edges=ETA + 0.1)
    channels = {**template_set.channels, "Wminus": other}
    broken = replace(template_set, channels=channels, systematics=(local,))
    message = "'mw' has one parameter per eta bin, but channels 'Wplus' and 'Wminus'"
    with pytest.raises(TemplateError, match=message):
        broken.validate()
    # channels of other bins are fine where they share no such parameter
    replace(broken, systematics=(mass,)).validate()
    apart = replace(local, charge_correlated=False)
    replace(broken, systematics=(apart,)).validate()


@pytest.mark.parametrize("path", ["header", "channels/Wplus/header"])
def test_a_name_that_a_file_lists_twice_is_refused(template_file, path):
    with h5py.File(template_file, "a") as file:
        header = json.loads(file[path][()])
        key = "channels" if path == "header" else "processes"
        header[key].append(header[key][0])
        del file[path]
        group = file.require_group(path).parent
        del file[path]
        write_json(group, "header", header)
    with pytest.raises(TemplateError, match=f"lists {header[key][0]} more than once"):
        TemplateSet.read(template_file)


def store_own_axes(path, edges):
    """Give one process axes of its own, as other writers do."""
    with h5py.File(path, "a") as file:
        group = file["channels/Wplus/processes/top"]
        del group["axes"], group["ref_axes"]
        write_axes(group, [("eta", "eta", ETA), ("pt", "pt", edges)])


def test_a_process_may_store_the_axes_of_its_channel_again(template_file):
    store_own_axes(template_file, PT)
    assert TemplateSet.read(template_file).channels["Wplus"].processes["top"]


def test_other_edges_of_a_process_are_named(template_file):
    store_own_axes(template_file, PT + 1)
    with pytest.raises(TemplateError, match=r"processes/top has the edges \[26"):
        TemplateSet.read(template_file)
