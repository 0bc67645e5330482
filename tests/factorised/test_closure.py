"""The fit of event-weighted templates by factorised ones."""

from __future__ import annotations

import numpy as np
import pytest

from wprops.channels import Channel, Process, SharedEvents
from wprops.errors import TemplateError
from wprops.factorised.closure import fit_simulation

SHAPE = (6, 10)
X = np.linspace(-1.0, 1.0, 60)
#: Two cells with two components each, which add up to the events of the cell.
EXACT = np.stack([400 + 100 * X, 80 * X**2, 300 - 50 * X, 60 * np.sin(3 * X)])
NAMES = ("a_UL", "a_A0", "b_UL", "b_A0")


def channel(templates, *, products=None, names=NAMES):
    processes = {
        name: Process(
            name=name,
            role="signal",
            nominal=values.reshape(SHAPE),
            variance=np.full(SHAPE, 1.0),
            component="UL",
            cell=(0, 0),
        )
        for name, values in zip(names, templates, strict=True)
    }
    shared = ()
    if products is not None:
        shared = tuple(
            SharedEvents(names[2 * cell : 2 * cell + 2], products[cell])
            for cell in range(2)
        )
    return Channel(
        name="Wplus",
        charge=1,
        eta_edges=np.arange(SHAPE[0] + 1.0),
        pt_edges=np.arange(SHAPE[1] + 1.0),
        processes=processes,
        shared=shared,
    )


def simulated(rng, strengths=(1.0, 1.0, 1.0, 1.0)):
    """Simulate each cell: a Poisson number of events of unit weight per bin.

    Each event splits into the two components, so the variance of the sum is the
    number of events, while that of the components alone is something else.
    """
    mean = np.array(strengths)[:, None] * EXACT
    templates, products = [], []
    for first, second in (mean[:2], mean[2:]):
        share = first / (first + second)
        n = rng.poisson(first + second)
        split = np.stack([share, 1.0 - share])
        templates.extend(split * n)
        products.append((split[:, None] * split[None, :] * n).reshape(2, 2, *SHAPE))
    return channel(templates, products=products)


def test_pulls_are_standard_normal_and_chi2_is_right():
    rng = np.random.default_rng(5)
    fits = [fit_simulation(simulated(rng), channel(EXACT)) for _ in range(400)]
    pulls = np.array([fit.pulls for fit in fits])
    # 1600 correlated pulls: 5 % is more than three errors of their RMS
    assert abs(np.sqrt(np.mean(pulls**2)) - 1) < 0.05
    assert abs(pulls.mean()) < 0.1
    chi2 = np.array([fit.chi2 for fit in fits])
    assert abs(chi2.mean() - 60) < 4 * chi2.std() / 20
    assert 0.4 < np.mean([fit.p_value for fit in fits]) < 0.6


def test_wrong_templates_are_found():
    rng = np.random.default_rng(6)
    plain = simulated(rng, strengths=(1.0, 2.0, 1.0, 1.0))
    fit = fit_simulation(plain, channel(EXACT))
    assert abs(fit.pulls[1]) > 4
    assert fit.p_value < 1e-4
    assert fit.strengths[1] == pytest.approx(2.0, abs=5 * fit.errors[1])


def test_few_events_give_no_bias():
    """Weights from observed counts would shift all strengths by one event per bin."""
    few = EXACT / 40
    rng = np.random.default_rng(7)
    fits = []
    for _ in range(400):
        n = [rng.poisson(few[i] + few[i + 1]) for i in (0, 2)]
        split = [few[i] / (few[i & ~1] + few[i | 1]) for i in range(4)]
        parts = [split[i] * n[i // 2] for i in range(4)]
        products = [
            np.stack(
                [
                    [split[i] * split[j] * n[c] for j in (2 * c, 2 * c + 1)]
                    for i in (2 * c, 2 * c + 1)
                ]
            ).reshape(2, 2, *SHAPE)
            for c in range(2)
        ]
        plain = channel(parts, products=products)
        fits.append(fit_simulation(plain, channel(few)))
    strengths = np.array([fit.strengths for fit in fits])
    error = strengths.std(axis=0) / 20
    assert (np.abs(strengths.mean(axis=0) - 1) < 4 * error).all()


def test_dependent_templates_are_refused_by_name():
    plain = simulated(np.random.default_rng(8))
    twice = channel([EXACT[0], EXACT[0], EXACT[2], EXACT[3]])
    with pytest.raises(TemplateError, match=r"'Wplus'.*linearly dependent"):
        fit_simulation(plain, twice)


def test_other_signals_are_refused_by_name():
    plain = simulated(np.random.default_rng(9))
    other = channel(EXACT, names=("a_UL", "a_A0", "b_UL", "c_A0"))
    with pytest.raises(TemplateError, match=r"2 signal processes.*b_A0, c_A0"):
        fit_simulation(plain, other)
