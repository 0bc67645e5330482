"""Weight inputs of the toy's W bosons of both charges."""

import numpy as np
import pytest

from tests.corrections.efficiency_toys import make_steps, muons, write_steps
from tests.events.nano import open_sample, toy_catalog
from wprops.corrections.efficiency import muon_factors
from wprops.datasets import Corrections
from wprops.events.generator import hard_leptons
from wprops.events.samples import read_samples
from wprops.physics.collins_soper import boson_and_angles
from wprops.weights import WeightInputs


@pytest.fixture(scope="session")
def catalog(tmp_path_factory):
    return toy_catalog(
        tmp_path_factory.mktemp("toy"),
        events=30_000,
        seed=21,
        samples=["Wplus_mu", "Wminus_mu"],
        negative_fraction=0.1,
    )


@pytest.fixture(scope="session")
def steps(tmp_path_factory):
    path = tmp_path_factory.mktemp("efficiency") / "steps.json"
    return write_steps(path, make_steps())


@pytest.fixture(scope="session", params=["Wplus_mu", "Wminus_mu"])
def toy(request, catalog, steps):
    """Weight inputs of all events of one sample, and the charge of its bosons."""
    sample = read_samples(catalog)[request.param]
    events = open_sample(catalog, request.param, normalisation=0.25)
    leptons = hard_leptons(events)
    inputs = WeightInputs(
        events=events,
        pick=np.arange(len(events)),
        dataset=sample.dataset.model_copy(
            update={"corrections": Corrections(prefire="branches")}
        ),
        hessian=sample.hessian,
        boson=boson_and_angles(leptons.lepton, leptons.other),
        muons=muon_factors(steps, *muons(len(events))),
    )
    return inputs, 1 if request.param == "Wplus_mu" else -1
