"""Fake and prompt rates: the probabilities that a muon is isolated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wprops.backgrounds.counts import Array, Regions
from wprops.backgrounds.curves import ERF, LINEAR
from wprops.backgrounds.quasi_likelihood import Split
from wprops.backgrounds.rate_fit import RateFit, fit_rate
from wprops.physics.rate_curves import Curve

#: The isolated and the anti-isolated region at low and at high mT.
LOW_MT = ("sideband", "sideband_antiiso")
HIGH_MT = ("signal", "signal_antiiso")


@dataclass(frozen=True, slots=True, eq=False)
class Rates:
    """The two rates by charge, eta and pT.

    Attributes
    ----------
    fake : RateFit, of shape (..., 2, n_eta)
        Of multijet muons, measured in data at low mT.
    prompt : RateFit, of shape (..., 2, n_eta)
        Of prompt muons, from simulation at high mT.
    """

    fake: RateFit
    prompt: RateFit


def subtracted(regions: Regions, region: str) -> Array:
    """Multijet muons of a region, data minus prompt, shape (..., 2, n_eta, n_pt)."""
    return regions.of("data", region) - regions.of("prompt", region)


def fake_split(regions: Regions) -> Split:
    """Multijet muons at low mT."""
    data, prompt, variance = (
        [regions.of(name, region) for region in LOW_MT]
        for name in ("data", "prompt", "prompt_variance")
    )
    return subtraction_split(data, prompt, variance)


def subtraction_split(
    data: Sequence[Array], prompt: Sequence[Array], prompt_variance: Sequence[Array]
) -> Split:
    """Multijet muons as data minus prompt, each of them (isolated, anti-isolated).

    The variance of a difference is that of the data, whose expectation is the multijet
    and the prompt muons, plus that of the simulation. It is smoothed: see
    `factorised`.
    """
    one = np.ones(())
    extra = [
        factorised(np.maximum(events, 0.0) + squares)
        for events, squares in zip(prompt, prompt_variance, strict=True)
    ]
    return Split(
        passing=data[0] - prompt[0],
        failing=data[1] - prompt[1],
        passing_scale=one,
        failing_scale=one,
        passing_extra=extra[0],
        failing_extra=extra[1],
    )


def factorised(values: Array) -> Array:
    """Replace bins by the product of their (charge, eta) and their pT.

    A variance that is small where the simulation fluctuated down, so that more is left
    of the data, would give those bins more weight and bias the rate upwards: with a
    weight of 8 and some 20 simulated muons in a bin by 2 % of the yield. The spectrum
    of all (charge, eta) together has too many muons for that.

    Parameters
    ----------
    values : ndarray, shape (..., 2, n_eta, n_pt)
        Non-negative numbers.

    Examples
    --------
    >>> factorised(np.array([[[3.0, 1.0]], [[0.0, 4.0]]])).tolist()
    [[[1.5, 2.5]], [[1.5, 2.5]]]
    """
    rows = values.sum(axis=-1, keepdims=True)
    spectrum = values.sum(axis=(-3, -2), keepdims=True)
    total = spectrum.sum(axis=-1, keepdims=True)
    share = np.divide(spectrum, total, out=np.zeros_like(spectrum), where=total > 0)
    return np.asarray(rows * share)


def prompt_split(regions: Regions, where: tuple[str, str] = HIGH_MT) -> Split:
    """Prompt muons of an isolated and an anti-isolated region.

    The variance of n muons of weight w is w² n. Isolated muons are plenty, so w is
    Σw²/Σw of their bin. Of the anti-isolated ones there may be none in a bin; their w
    is that of the isolated ones, times the ratio of both in all of the (charge, eta).
    """
    events = [regions.of("prompt", region) for region in where]
    squares = [regions.of("prompt_variance", region) for region in where]
    rows = [
        _ratio(s.sum(axis=-1, keepdims=True), e.sum(axis=-1, keepdims=True), 0.0)
        for s, e in zip(squares, events, strict=True)
    ]
    weight = _ratio(squares[0], events[0], rows[0])
    zero = np.zeros(())
    return Split(
        passing=events[0],
        failing=events[1],
        passing_scale=weight,
        failing_scale=weight * _ratio(rows[1], rows[0], 1.0),
        passing_extra=zero,
        failing_extra=zero,
    )


def _ratio(upper: Array, lower: Array, other: Array | float) -> Array:
    """Ratio where both are positive, else ``other``."""
    upper, lower, other = np.broadcast_arrays(upper, lower, other)
    valid = (upper > 0) & (lower > 0)
    return np.divide(upper, lower, out=other.astype(float), where=valid)


def measure_rates(
    regions: Regions,
    *,
    fake_curve: Curve = LINEAR,
    prompt_curve: Curve = ERF,
    start: Rates | None = None,
) -> Rates:
    """Fit both rates in each (charge, eta).

    Parameters
    ----------
    regions : Regions
        The counts.
    fake_curve, prompt_curve : Curve
        Shapes in pT.
    start : Rates
        Result to start from, with the same curves.

    Returns
    -------
    Rates
        See `wprops.backgrounds.diagnoses` for what may be wrong with it.
    """
    fake, prompt = (
        (None, None)
        if start is None
        else (start.fake.parameters, start.prompt.parameters)
    )
    return Rates(
        fake=fit_rate(fake_curve, regions.pt, fake_split(regions), fake),
        prompt=fit_rate(prompt_curve, regions.pt, prompt_split(regions), prompt),
    )
