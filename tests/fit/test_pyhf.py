"""Workspaces of pyhf, evaluated and fitted by pyhf itself."""

import json
from dataclasses import replace

import numpy as np
import pyhf
import pytest
from click.testing import CliRunner
from numpy.testing import assert_allclose

from tests.fit.conftest import build_set
from wprops.cli import main
from wprops.errors import TemplateError
from wprops.fit.arrays import template_set as from_arrays
from wprops.fit.likelihood import Likelihood
from wprops.fit.model import build_model, observed
from wprops.fit.run import fit_model
from wprops.interchange.pyhf_export import (
    MODIFIER_SETTINGS,
    export_pyhf,
    workspace,
)

# pyhf 0.7.6 validates with what newer versions of jsonschema will drop
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver is deprecated")

FLAT = np.array([50.0, 45.0, 40.0, 35.0])
PEAK = np.array([3.0, 20.0, 9.0, 1.0])


@pytest.fixture(scope="module")
def compatible():
    """Linear effects, one of them free, and norms: what HistFactory knows."""
    tilt = FLAT * np.array([0.1, 0.03, -0.03, -0.1])
    wide = PEAK * np.array([0.2, -0.1, -0.05, 0.3])
    templates = from_arrays(
        {"peak": PEAK},
        {"flat": FLAT, "rest": 0.2 * FLAT[::-1]},
        data=[58, 71, 55, 45],
        shapes={
            "tilt": {"flat": (FLAT + tilt, FLAT - tilt)},
            "width": {"peak": (PEAK + wide, PEAK - wide)},
            "free": {"rest": (0.2 * FLAT[::-1] + 1.5, 0.2 * FLAT[::-1] - 1.5)},
        },
        norms={"lumi": (1.025, ["peak", "flat", "rest"]), "xsec": (1.1, ["rest"])},
        interpolation="linear",
    )
    systematics = tuple(
        replace(s, constrained=s.name != "free") for s in templates.systematics
    )
    return replace(templates, systematics=systematics)


class Peer:
    """A workspace in pyhf, with the parameters in the order of a model."""

    def __init__(self, content, names):
        space = pyhf.Workspace(content)
        self.model = space.model(modifier_settings=MODIFIER_SETTINGS)
        self.data = space.data(self.model)
        self.channels = [channel["name"] for channel in content["channels"]]
        order = self.model.config.par_map
        self.where = [order[name]["slice"].start for name in names]

    def point(self, values):
        point = np.array(self.model.config.suggested_init())
        point[self.where] = values
        return point

    def expected(self, values):
        events = self.model.expected_actualdata(self.point(values))
        # pyhf sorts the channels
        slices = self.model.config.channel_slices
        return np.concatenate([events[slices[name]] for name in self.channels])

    def nll(self, values):
        return -self.model.logpdf(self.point(values), self.data)[0]


def points(parameters):
    rng = np.random.default_rng(4)
    spread = np.where(np.arange(len(parameters)) < parameters.n_poi, 0.2, 1.0)
    start = parameters.start
    return [start, *(start + spread * rng.normal(size=len(start)) for _ in range(6))]


def test_the_likelihood_of_a_histfactory_model_is_that_of_pyhf(compatible):
    model = build_model(compatible)
    counts = observed(compatible, model)
    content, statement = workspace(model, counts, barlow_beeston=False)
    assert len(statement.approximated) == 1
    peer = Peer(content, model.parameters.names)
    assert len(peer.model.config.par_names) == len(model.parameters)
    start = model.parameters.start
    likelihood = Likelihood(model, counts, np.zeros(4), start)
    places = points(model.parameters)
    for place in places:
        assert_allclose(peer.expected(place), model.expected(place), rtol=1e-12)
    got = np.array([likelihood.at(place).value for place in places])
    there = np.array([peer.nll(place) for place in places])
    assert abs(got[1:] - got[0]).min() > 0.1
    assert_allclose(got[1:] - got[0], there[1:] - there[0], atol=1e-10)


def test_the_best_fit_of_a_histfactory_model_is_that_of_pyhf(compatible):
    model = build_model(compatible)
    counts = observed(compatible, model)
    content, _ = workspace(model, counts, barlow_beeston=False)
    peer = Peer(content, model.parameters.names)
    minimum = fit_model(model, counts, barlow_beeston=False)
    optimizer = pyhf.optimize.minuit_optimizer(tolerance=1e-6, strategy=2)
    pyhf.set_backend("numpy", optimizer)
    fitted, twice = pyhf.infer.mle.fit(peer.data, peer.model, return_fitted_val=True)
    best, covariance = minimum.values, minimum.covariance(model.parameters.names)
    assert peer.nll(best) <= twice / 2 + 1e-9
    assert_allclose(twice / 2, peer.nll(best), atol=1e-6)
    # minuit stops at an estimated distance of 2e-9, the square of an error of 1e-4
    errors = np.sqrt(np.diag(covariance))
    assert (abs(np.array(fitted)[peer.where] - best) < 1e-3 * errors).all()
    gradient, hessian = by_differences(peer.nll, best, 1e-2 * errors)
    assert 0.5 * gradient @ covariance @ gradient < 1e-8
    # steps of 1e-2 of an error: 1e-4 of fourth derivatives
    assert_allclose(np.sqrt(np.diag(np.linalg.inv(hessian))), errors, rtol=1e-4)


def by_differences(function, x, step):
    """Gradient and Hessian from central differences."""
    steps = np.diag(step)
    ahead = np.array([function(x + s) for s in steps])
    behind = np.array([function(x - s) for s in steps])
    gradient = (ahead - behind) / (2 * step)
    hessian = [
        [
            function(x + s + t)
            - function(x + s - t)
            - function(x - s + t)
            + function(x - s - t)
            for t in steps
        ]
        for s in steps
    ]
    return gradient, np.array(hessian) / (4 * np.outer(step, step))


def test_effects_meet_their_templates():
    """At -1, 0 and 1, whatever the interpolation."""
    templates = from_arrays(
        {"peak": PEAK},
        {"flat": FLAT},
        data=FLAT,
        shapes={
            "one": {"peak": (1.2 * PEAK, 0.9 * PEAK), "flat": (0.9 * FLAT, 1.2 * FLAT)},
        },
    )
    for kind in ("lognormal", "quadratic"):
        systematics = tuple(
            replace(s, interpolation=kind) for s in templates.systematics
        )
        model = build_model(replace(templates, systematics=systematics))
        content, statement = workspace(model, FLAT)
        assert "histosys" in statement.approximated[0]
        peer = Peer(content, model.parameters.names)
        for theta in (-1.0, 0.0, 1.0):
            place = np.array([1.3, theta])
            assert_allclose(peer.expected(place), model.expected(place), rtol=1e-12)


def test_the_statistical_error_is_that_of_all_samples_together(template_set):
    """With the covariance of templates that share events, and of any sign."""
    model = build_model(template_set)
    content, statement = workspace(model, observed(template_set, model))
    peer = Peer(content, model.parameters.names)
    start = model.parameters.start
    assert_allclose(peer.expected(start), model.expected(start), rtol=1e-12)
    relative = np.sqrt(model.variance(start)) / model.expected(start)
    sigma = [
        peer.model.config.param_set(f"staterror_{block.name}").sigmas
        for block in model.blocks
    ]
    assert_allclose(np.concatenate(sigma), relative, rtol=1e-12)
    text = str(statement)
    for part in (
        "log-normal effects on shapes are histosys",
        "effects without a constraint are linear",
        "samples with bins below zero",
        "the statistical error of the templates is a staterror",
    ):
        assert f"approximated: {part}" in text


def test_free_effects_follow_to_first_order():
    """m_W is quadratic: its sample is the slope."""
    templates = build_set(n_cells=1)
    model = build_model(templates)
    content, _ = workspace(model, observed(templates, model), barlow_beeston=False)
    peer = Peer(content, model.parameters.names)
    error = []
    for size in (0.02, 0.01):
        place = model.parameters.start.copy()
        place[model.parameters.index("mw")] = size
        error.append(abs(peer.expected(place) - model.expected(place)).max())
    assert error[1] > 1e-6
    assert error[1] == pytest.approx(error[0] / 4, rel=0.01)


def test_what_has_no_place_is_refused(compatible, template_set):
    model = build_model(compatible)
    background = from_arrays({}, {"flat": FLAT}, data=FLAT)
    with pytest.raises(TemplateError, match="no strength, and pyhf needs"):
        workspace(build_model(background), FLAT)
    masked = replace(model, masked=frozenset({"channel"}))
    with pytest.raises(TemplateError, match="it has masked channels"):
        workspace(masked, FLAT)
    with pytest.raises(TemplateError, match="has no data"):
        export_pyhf(from_arrays({"a": PEAK}, {}), "unused.json")


def test_the_command_line_writes_a_workspace(compatible, tmp_path):
    templates, path = tmp_path / "templates.h5", tmp_path / "space.json"
    compatible.write(templates)
    arguments = ["export", templates, path, "--format", "pyhf", "--no-barlow-beeston"]
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    assert "approximated: the statistical error" in result.output
    content = json.loads(path.read_text())
    pyhf.schema.validate(content, "workspace.json")
    assert content["measurements"][0]["config"]["poi"] == "channel/peak"
