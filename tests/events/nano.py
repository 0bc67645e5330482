"""Small NanoAOD files, made by hand or by the toy, opened as processors see them."""

import awkward as ak
import numpy as np
import uproot
from coffea.nanoevents import NanoEventsFactory

from wprops.catalog import Catalog
from wprops.datasets import Dataset
from wprops.events.schema import NanoSchema
from wprops.events.toy.events import SAMPLES
from wprops.events.toy.generate import generate
from wprops.events.toy.nano import Identity, detector_branches
from wprops.events.toy.nano_gen import draw_weights, generator_branches
from wprops.events.toy.samples import write_toy
from wprops.events.toy.writer import NanoWriter


def write_nano(path, branches, runs=None):
    """Write trees ``Events`` and, if given, ``Runs``; events are numbered."""
    n = len(next(iter(branches.values())))
    identity = {
        "run": np.ones(n, np.uint32),
        "luminosityBlock": np.ones(n, np.uint32),
        "event": np.arange(1, n + 1, dtype=np.uint64),
    }
    columns = {
        name: values if isinstance(values, ak.Array) else np.asarray(values)
        for name, values in (identity | branches).items()
    }
    types = {
        name: values.type if isinstance(values, ak.Array) else values.dtype
        for name, values in columns.items()
    }
    with uproot.recreate(path) as file:
        tree = file.mktree(
            "Events", types, counter_name=lambda name: "n" + name.partition("_")[0]
        )
        tree.extend(columns)
        if runs is not None:
            file.mktree("Runs", {name: np.asarray(v) for name, v in runs.items()})
    return path


def jagged(lists, dtype):
    """Variable-length lists of one type, also where all of them are empty."""
    counts = [len(values) for values in lists]
    flat = np.array([value for values in lists for value in values], dtype=dtype)
    return ak.unflatten(flat, counts)


def open_nano(path, **metadata):
    """Open all events of a file as the runner does, with what it knows of them."""
    return NanoEventsFactory.from_root(
        {str(path): "Events"},
        schemaclass=NanoSchema,
        mode="virtual",
        metadata={"filename": str(path), **metadata},
    ).events()


def dataset(**changes):
    """A record of simulation that asks for nothing but what is given."""
    values = {
        "name": "sample",
        "process": "top",
        "kind": "mc",
        "era": "2016",
        "nano": "v9",
        "xsec": 1.0,
        "files": ("events.root",),
    }
    if changes.get("kind") == "data":
        values["process"] = "data"
    return Dataset(**(values | changes))


def toy_catalog(folder, **options):
    """Write a toy with one process and read its catalogue."""
    path = write_toy(folder, **({"workers": 1, "progress": False} | options))
    return Catalog.read(path)


def open_sample(catalog, name, normalisation=1.0):
    """Open the first file of a dataset as one chunk."""
    record = catalog.dataset(name)
    return open_nano(
        record.files[0],
        dataset=name,
        record=record,
        normalisation=normalisation,
        chunk=0,
    )


def write_mixed(path, numbers, truth, *, seed, fsr=True, negative_fraction=0.1):
    """Write one file with events of several samples of the toy, of any truth."""
    rng = np.random.default_rng(seed)
    with NanoWriter(path, nano="v9", truth=truth.to_dict()) as writer:
        for name, n in numbers.items():
            events = generate(SAMPLES[name], n, rng, truth, fsr=fsr)
            identity = Identity(
                run=np.ones(n, np.uint32),
                luminosity_block=np.ones(n, np.uint32),
                event=np.arange(1, n + 1, dtype=np.uint64),
            )
            weights = draw_weights(n, negative_fraction, rng)
            writer.extend(
                detector_branches(
                    events.reconstructed, identity, "v9", truth.detector, rng
                )
                | generator_branches(events, weights, "v9", truth)
            )
    return path
