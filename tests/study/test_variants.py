"""Variants of a set differ in what they say, and in nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.study.sets import exact_set, noisy_set
from wprops.channels import Process
from wprops.errors import TemplateError
from wprops.store import TemplateSet
from wprops.study.variants import (
    has_backgrounds,
    simulated_luminosity,
    with_noise_of,
    without_backgrounds,
)


def with_processes(templates: TemplateSet, *names):
    channel = templates.channels["Wplus"]
    flat = np.full(channel.shape, 10.0)
    more = {
        name: Process(name=name, role="background", nominal=flat, variance=flat)
        for name in names
    }
    channel = replace(channel, processes={**channel.processes, **more})
    return replace(templates, channels={"Wplus": channel})


def test_low_acceptance_is_no_background():
    templates = with_processes(exact_set(), "W_lowacc", "top")
    assert has_backgrounds(templates)
    bare = without_backgrounds(templates)
    assert not has_backgrounds(bare)
    names = set(templates.channels["Wplus"].processes) - {"top"}
    assert set(bare.channels["Wplus"].processes) == names


def test_noise_is_taken_over_and_templates_are_not():
    exact = with_processes(exact_set(), "top")
    noisy = noisy_set(derivative="mw")
    channel = noisy.channels["Wplus"]
    moved = {
        n: replace(p, nominal=1.01 * p.nominal) for n, p in channel.processes.items()
    }
    noisy = replace(noisy, channels={"Wplus": replace(channel, processes=moved)})
    made = with_noise_of(exact, noisy)
    made.validate()
    new, old = made.channels["Wplus"], exact.channels["Wplus"]
    for name, process in new.processes.items():
        assert_array_equal(process.nominal, old.process(name).nominal)
    assert_array_equal(new.process("top").variance, old.process("top").variance)
    _, variance = new.total()
    _, wanted = noisy.channels["Wplus"].total()
    assert_allclose(variance, wanted + 10.0)


def test_noise_of_another_luminosity_is_refused():
    with pytest.raises(TemplateError, match="one catalogue"):
        with_noise_of(exact_set(), replace(noisy_set(), luminosity=2.0))


def test_noise_in_other_bins_is_refused():
    noisy = noisy_set()
    channel = noisy.channels["Wplus"]
    other = replace(channel, eta_edges=channel.eta_edges[:-1])
    with pytest.raises(TemplateError, match="one binning"):
        with_noise_of(exact_set(), replace(noisy, channels={"Wplus": other}))


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_events_of_a_weight_are_a_luminosity(weight):
    """Events of weight w are simulated 1/w times."""
    templates = replace(noisy_set(weight=weight), luminosity=3.0)
    (channel,) = templates.channels.values()
    # of the sum of all components every event has its whole weight
    products = [
        replace(
            group,
            products=np.array(
                [
                    [weight * _shared(channel, p, q) for q in group.processes]
                    for p in group.processes
                ]
            ),
        )
        for group in channel.shared
    ]
    channel = replace(channel, shared=tuple(products))
    templates = replace(templates, channels={"Wplus": channel})
    assert_allclose(simulated_luminosity(templates), 3.0 / weight)


def _shared(channel, p, q):
    cell = channel.process(p).cell
    total = sum(x.nominal for x in channel.processes.values() if x.cell == cell)
    return channel.process(p).nominal * channel.process(q).nominal / total


def test_templates_without_variance_tell_no_simulation():
    templates = exact_set()
    (channel,) = templates.channels.values()
    processes = {
        n: replace(p, variance=np.zeros(channel.shape))
        for n, p in channel.processes.items()
    }
    silent = replace(
        templates, channels={"Wplus": replace(channel, processes=processes)}
    )
    with pytest.raises(TemplateError, match="no variance"):
        simulated_luminosity(silent)
