"""Impacts in matrix form against refits and an explicit β per bin."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.fit.conftest import build_set
from wprops.errors import TemplateError
from wprops.fit.derived import quantities
from wprops.fit.external import Constraint
from wprops.fit.impacts import PARTS, compute_impacts
from wprops.fit.minimise import minimise
from wprops.fit.model import build_model, observed
from wprops.fit.run import fit_model, likelihood_at
from wprops.systematics.catalog import MASS_STEP

#: Two measurements that are independent of each other.
CONSTRAINTS = (
    Constraint([{"Wplus/W_A0_y0_qt0": 1.0, "mw": 0.2}], [1.1], [[0.01]]),
    Constraint([{"lumi": 1.0, "top_xsec": -1.0}], [0.3], [[0.5]]),
)
#: As far as rounding of the NLL allows.
TIGHT = 1e-12


class Fitted:
    """A fit with everything that impacts are compared with."""

    def __init__(self, *, asimov=False, frozen=(), barlow_beeston=True):
        templates = build_set(n_cells=1)
        self.model = build_model(templates, constraints=CONSTRAINTS)
        self.parameters = self.model.parameters
        start = self.parameters.start
        if asimov:
            counts = self.model.expected(start)
            self.external = self.model.external.combinations @ start
        else:
            counts = observed(templates, self.model)
            self.external = self.model.external.values
        fixed = dict.fromkeys(frozen, 0.3)
        first = fit_model(
            self.model,
            counts,
            external=self.external,
            fixed=fixed,
            barlow_beeston=barlow_beeston,
        )
        self.frozen = frozen
        self.likelihood = likelihood_at(
            self.model,
            counts,
            first.values,
            external=self.external,
            barlow_beeston=barlow_beeston,
        )
        self.minimum = self.refit(self.likelihood, first.values)
        self.covariance = self.minimum.covariance(self.parameters.names)
        self.derived = quantities(templates, self.parameters)
        self.impacts = compute_impacts(
            self.model, self.minimum.point, self.covariance, self.derived
        )

    def refit(self, likelihood, values=None, fixed=()):
        start = self.minimum.values if values is None else values
        return minimise(
            likelihood, start, tolerance=TIGHT, fixed={*self.frozen, *fixed}
        )

    def measured(self, values):
        """All quantities in the order of the impacts."""
        derived = [quantity.function(values) for quantity in self.derived.values()]
        return np.concatenate([values, *derived])

    def response(self, change, step):
        """Central difference of all quantities when something measured moves."""
        high, low = (
            self.measured(self.refit(replace(self.likelihood, **change(d))).values)
            for d in (step, -step)
        )
        return (high - low) / (2 * step)


@pytest.fixture(scope="module")
def fitted():
    return Fitted()


@pytest.fixture(scope="module")
def asimov():
    return Fitted(asimov=True)


def test_global_impacts_are_responses_to_shifted_auxiliary_measurements(fitted):
    impacts, parameters = fitted.impacts, fitted.parameters
    for column, name in enumerate(impacts.sources):
        index = parameters.index(name)
        if parameters.precision[index] == 0:
            assert not impacts.global_[:, column].any()
            continue

        def shifted(step, index=index):
            centre = fitted.likelihood.centre.copy()
            centre[index] += step / np.sqrt(parameters.precision[index])
            return {"centre": centre}

        # a step of 2e-2 leaves third derivatives of relative size 4e-4
        difference = fitted.response(shifted, 2e-2) - impacts.global_[:, column]
        assert_allclose(difference / np.sqrt(impacts.total), 0, atol=2e-4)
        assert abs(impacts.global_[:, column]).max() > 0


def test_traditional_impacts_are_shifts_with_a_nuisance_moved_by_its_error(fitted):
    impacts = fitted.impacts
    best = fitted.minimum.values
    for column, name in enumerate(impacts.sources):
        index = fitted.parameters.index(name)
        error = np.sqrt(fitted.covariance[index, index])
        results = []
        for step in (2e-2, -2e-2):
            start = best.copy()
            start[index] += step * error
            moved = fitted.refit(fitted.likelihood, start, fixed=[name])
            results.append(fitted.measured(moved.values))
        shift = (results[0] - results[1]) / 4e-2
        difference = (shift - impacts.traditional[:, column]) / np.sqrt(impacts.total)
        assert_allclose(difference, 0, atol=3e-4)
        # of a parameter on itself: its error
        assert impacts.traditional[index, column] == pytest.approx(error, rel=1e-12)


def test_a_group_takes_away_what_its_fixing_takes_from_the_variance(fitted):
    impacts, parameters = fitted.impacts, fitted.parameters
    for column, group in enumerate(impacts.groups):
        members = [
            name
            for name, own in zip(parameters.names, parameters.groups, strict=True)
            if own == group
        ]
        fixed = fitted.refit(fitted.likelihood, fixed=members)
        covariance = fixed.covariance(parameters.names)
        rest = [np.diag(covariance)]
        for quantity in fitted.derived.values():
            J = quantity.jacobian(fitted.minimum.values)
            rest.append(np.diag(J @ covariance @ J.T))
        decrease = impacts.total - np.concatenate(rest)
        got = impacts.traditional_groups[:, column] ** 2
        assert_allclose(got / impacts.total, decrease / impacts.total, atol=1e-9)
    where = [impacts.sources.index(f"{c}/muon_scale") for c in ("Wplus", "Wminus")]
    expected = np.hypot(*impacts.global_[:, where].T)
    got = impacts.global_groups[:, impacts.groups.index("muons")]
    assert_allclose(got, expected, rtol=1e-12)


def test_squares_of_all_parts_are_the_variance(fitted):
    impacts = fitted.impacts
    assert_allclose(impacts.parts.sum(axis=1), impacts.total, rtol=1e-10)
    systematics = impacts.parts[:, PARTS.index("systematics")]
    assert_allclose((impacts.global_**2).sum(axis=1), systematics, rtol=1e-10)
    assert_allclose((impacts.global_groups**2).sum(axis=1), systematics, rtol=1e-10)
    n = len(fitted.parameters)
    assert_allclose(impacts.total[:n], np.diag(fitted.covariance), rtol=1e-12)
    for name, quantity in fitted.derived.items():
        errors = quantity.measure(fitted.minimum.values, fitted.covariance).errors
        rows = [impacts.index(row) for row in quantity.names(name)]
        assert_allclose(np.sqrt(impacts.total[rows]), errors, rtol=1e-10)


def test_the_part_of_the_data_is_the_response_to_each_count(asimov):
    """Σ (∂q/∂n)² n from two refits per bin; nothing else is known of it here."""
    counts = asimov.likelihood.observed
    squares = np.zeros(len(asimov.impacts.total))
    for bin_, n in enumerate(counts):

        def shifted(step, bin_=bin_, n=n):
            moved = counts.copy()
            moved[bin_] += step * np.sqrt(n)
            return {"observed": moved}

        squares += asimov.response(shifted, 0.1) ** 2
    data = asimov.impacts.parts[:, PARTS.index("data")]
    assert_allclose(
        squares / asimov.impacts.total, data / asimov.impacts.total, atol=1e-4
    )


def test_the_part_of_external_measurements_is_the_response_to_them(fitted):
    squares = 0.0
    for index, variance in enumerate(np.diag(fitted.model.external.covariance)):

        def shifted(step, index=index, variance=variance):
            measured = fitted.external.copy()
            measured[index] += step * np.sqrt(variance)
            return {"external": measured}

        squares = squares + fitted.response(shifted, 2e-2) ** 2
    part = fitted.impacts.parts[:, PARTS.index("external")]
    assert_allclose(
        squares / fitted.impacts.total, part / fitted.impacts.total, atol=5e-4
    )
    assert part.max() > 0


def test_the_part_of_the_simulation_is_the_response_of_an_explicit_factor(asimov):
    """β of each bin as a parameter with its Poisson count k, at β = 1 and n = ν."""
    J = asimov.minimum.point.jacobian
    nu, q = asimov.minimum.point.point.expected, asimov.likelihood.relative_variance
    k = 1 / q
    joint = np.block(
        [
            [J @ (J / nu).T + asimov.model.prior, J],
            [J.T, np.diag(nu + k)],
        ]
    )
    inverse = np.linalg.inv(joint)
    n = len(J)
    assert_allclose(inverse[:n, :n], asimov.covariance, rtol=1e-6, atol=1e-12)
    # the score of (θ, β) moves by −J/ν and −1 per count, by 0 and −1 per k
    counts = inverse[:n, :n] @ (J / nu) + inverse[:n, n:]
    simulation = (inverse[:n, n:] ** 2) @ k
    parts = asimov.impacts.parts[:n] / asimov.impacts.total[:n, None]
    scale = asimov.impacts.total[:n]
    assert_allclose(parts[:, PARTS.index("simulation")], simulation / scale, atol=1e-8)
    data = (counts**2) @ nu
    assert_allclose(parts[:, PARTS.index("data")], data / scale, atol=1e-8)


def test_without_barlow_beeston_the_simulation_has_no_part():
    impacts = Fitted(barlow_beeston=False).impacts
    simulation = impacts.parts[:, PARTS.index("simulation")]
    assert_allclose(simulation / impacts.total, 0, atol=1e-12)
    assert_allclose(impacts.parts.sum(axis=1), impacts.total, rtol=1e-10)


def test_fluctuated_data_have_nearly_the_part_of_their_expectation(fitted, asimov):
    column = PARTS.index("data")
    ratio = fitted.impacts.parts[:, column] / asimov.impacts.parts[:, column]
    # 2000 events per bin, of which strengths measure shapes to a few per cent
    assert_allclose(ratio[: fitted.parameters.n_poi], 1, atol=0.15)


def test_impacts_on_the_mass_are_those_on_its_parameter(fitted):
    impacts = fitted.impacts
    row, parameter = impacts.index("m_W"), impacts.index("mw")
    assert impacts.units[row] == "GeV"
    for field in ("traditional", "global_", "traditional_groups", "global_groups"):
        table = getattr(impacts, field)
        assert_allclose(table[row], MASS_STEP * table[parameter], rtol=1e-12)


def test_a_frozen_parameter_has_no_impact_and_the_rest_adds_up():
    impacts = Fitted(frozen=("lumi",)).impacts
    column = impacts.sources.index("lumi")
    assert not impacts.traditional[:, column].any()
    assert not impacts.global_[:, column].any()
    assert not impacts.global_groups[:, impacts.groups.index("lumi")].any()
    fitted = impacts.total > 0
    assert (~fitted).sum() == 1
    assert_allclose(impacts.parts.sum(axis=1), impacts.total, rtol=1e-10)


def test_an_unknown_quantity_is_named(fitted):
    with pytest.raises(TemplateError, match="no impacts on 'm_Z'; there are those on"):
        fitted.impacts.index("m_Z")
