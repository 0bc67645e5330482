"""What a model asks of a template set beyond `TemplateSet.validate`.

Every function raises `TemplateError`, naming channel and process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wprops.channels import Channel, Process
from wprops.errors import TemplateError
from wprops.store import TemplateSet
from wprops.systematics.catalog import MULTIJET, SIGNAL
from wprops.systematics.declaration import Interpolation, Systematic

if TYPE_CHECKING:
    from wprops.fit.model import Model

Array = NDArray[np.float64]
#: A strength known to worse than 1e4 times the prediction is no measurement.
SMALLEST_INFORMATION = 1e-8


def acts_on(systematic: Systematic, process: Process) -> bool:
    """Whether a systematic is declared for a process.

    All signal processes answer to the one name `wprops.systematics.catalog.SIGNAL`.
    """
    is_signal = process.role == "signal" and SIGNAL in systematic.processes
    return is_signal or process.name in systematic.processes


def interpolation_for(systematic: Systematic, process: Process) -> Interpolation:
    """Interpolation that a systematic declares for a process.

    What it says of the process by name counts, then of all signal processes together.
    """
    general = systematic.interpolation
    if process.role == "signal":
        general = systematic.interpolation_of.get(SIGNAL, general)
    return systematic.interpolation_of.get(process.name, general)


def check_interpolations(templates: TemplateSet) -> None:
    """Check that interpolations are declared for processes that exist.

    Raises
    ------
    TemplateError
        Naming the systematic and the process it does not act on.
    """
    processes = [
        process
        for channel in templates.channels.values()
        for process in channel.processes.values()
    ]
    for systematic in templates.systematics:
        if not systematic.interpolation_of:
            continue
        known = {p.name for p in processes if acts_on(systematic, p)}
        unknown = set(systematic.interpolation_of) - known - systematic.processes
        if unknown:
            msg = (
                f"systematic {systematic.name!r} has an interpolation for "
                f"{', '.join(sorted(unknown))}, on which it does not act; it acts on "
                f"{', '.join(sorted(systematic.processes))}"
            )
            raise TemplateError(msg)


def check_variations(channel: Channel, systematics: Sequence[Systematic]) -> None:
    """Check that each process has the variations that are declared for it.

    Raises
    ------
    TemplateError
        Naming channel, process and the first systematic that is not filled.
    """
    for name, process in channel.processes.items():
        for systematic in systematics:
            missing = [
                label for label in systematic.labels if label not in process.variations
            ]
            if missing and acts_on(systematic, process):
                msg = (
                    f"channel {channel.name!r}, process {name!r} lacks "
                    f"{', '.join(missing)}, declared by systematic "
                    f"{systematic.name!r}; fill the variation or take the process "
                    "out of the declaration"
                )
                raise TemplateError(msg)


def check_sensitivity(
    jacobian: Array, expected: Array, free: Sequence[tuple[int, str]]
) -> None:
    """Check that the data know something about each free parameter.

    Parameters
    ----------
    jacobian : ndarray, shape (n_par, n_bins)
        Derivatives of the expected events.
    expected : ndarray, shape (n_bins,)
        Expected events; bins below one count as one.
    free : sequence of (int, str)
        Positions and names of the parameters without a constraint.

    Raises
    ------
    TemplateError
        If a parameter would be unknown even with all others known.
    """
    weight = 1 / np.maximum(expected, 1.0)
    for index, name in free:
        information = float((jacobian[index] ** 2) @ weight)
        if information < SMALLEST_INFORMATION:
            msg = (
                f"no sensitivity to {name!r}: its information is {information:.1e}, "
                f"less than {SMALLEST_INFORMATION:g}; drop the template or fix the "
                "parameter"
            )
            raise TemplateError(msg)


def check_counts(model: Model, counts: Array) -> None:
    """Check that counts fit to a model.

    Parameters
    ----------
    model : Model
        What is to be fitted.
    counts : ndarray, shape (n_bins,)
        Observed events; those of masked channels do not matter.

    Raises
    ------
    TemplateError
        Naming the lengths, or the first bin that is negative or not finite.
    """
    if counts.shape != (model.n_bins,):
        msg = (
            f"the model needs {model.n_bins} counts, all channels joined in one axis, "
            f"found an array of shape {counts.shape}"
        )
        raise TemplateError(msg)
    good = np.isfinite(counts) & (counts >= 0)
    bad = np.where(model.counted & ~good, 1.0, 0.0)
    for name, wrong in model.split(bad).items():
        if wrong.any():
            eta, pt = np.argwhere(wrong)[0]
            found = model.split(counts)[name][eta, pt]
            msg = (
                f"{int(wrong.sum())} counts are negative or not finite, the first of "
                f"them, {name} ({eta}, {pt}) is {found}; correct the data, or mask the "
                "channel"
            )
            raise TemplateError(msg)


def check_multijet(templates: TemplateSet, channels: Sequence[str]) -> None:
    """Check that multijet is not still to be estimated from the sidebands of a set.

    Raises
    ------
    TemplateError
        Naming the channel and the command that estimates it.
    """
    if templates.sidebands is None:
        return
    for name in channels:
        channel = templates.channel(name)
        if channel.region == "signal" and MULTIJET not in channel.processes:
            msg = (
                f"channel {name!r} has no process {MULTIJET!r}, which is to come from "
                "the sidebands of the set; run `wprops backgrounds` first and fit what "
                "it writes"
            )
            raise TemplateError(msg)
