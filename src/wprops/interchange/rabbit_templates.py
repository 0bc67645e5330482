"""From an input file of rabbit to a template set, which can be fitted like any other.

A template set can express less than a file of rabbit: templates that change sign are
linear, effects on signals are multiplied by their strength, and each channel has
strengths of its own. `wprops.interchange.rabbit_model` reads such files without loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wprops.channels import Channel, Process
from wprops.errors import TemplateError
from wprops.fit.interpolation import has_logarithm
from wprops.fit.parameters import poi_name
from wprops.interchange.rabbit_channel import ChannelArrays, channels_of
from wprops.interchange.rabbit_file import Header, RabbitInput
from wprops.interchange.rabbit_model import parameters_of
from wprops.interchange.statement import Notes, Statement
from wprops.store import TemplateSet
from wprops.systematics.declaration import Systematic, variation_label

Array = NDArray[np.float64]
_SIGN = "log-normal effects on a template that changes sign are linear"
_STRENGTH = "effects on signals are multiplied by the strength"
_DEFAULTS = (
    "a file of rabbit does not know the charge of a channel (1 is taken), the "
    "luminosity and the mass of the boson (1), and components and cells of signals "
    "(UL, one row in the order of the file)",
    "parameters of single eta rows come back as shapes, and so do norms that are not "
    "the same for all of their processes",
)
_MODEL = "wprops.interchange.rabbit_model.read_rabbit"


def import_rabbit(
    path: Path, *, approximate: bool = False
) -> tuple[TemplateSet, Statement]:
    """Read a file of rabbit as a template set.

    Parameters
    ----------
    path : Path
        The file.
    approximate : bool
        Whether to convert what a template set cannot express.

    Returns
    -------
    templates : TemplateSet
    statement : Statement
        What is the same, what is not, and what was not in the file.

    Raises
    ------
    TemplateError
        If the file cannot be read, if something cannot be expressed and ``approximate``
        is false, or, always, for a process with a strength in several channels and for
        constraints that are neither unit Gaussians nor absent.
    """
    content = RabbitInput.read(path)
    header, channels, notes = content.header, channels_of(content), Notes()
    _require_own_strengths(path, channels)
    acting = _acting(path, header, channels)
    norms = _norms(channels, acting)
    for channel in channels:
        _note(channel, norms, notes)
    if notes.count and not approximate:
        msg = (
            f"{path} cannot be a template set exactly: {'; '.join(notes.lines)}; ask "
            f"for approximations, or read it as a model with {_MODEL}"
        )
        raise TemplateError(msg)
    templates = TemplateSet(
        channels={c.name: _channel(c, acting, norms) for c in channels},
        systematics=_systematics(header, acting, norms),
        luminosity=1.0,
        boson_mass=1.0,
        provenance={"imported": {"format": "rabbit", "file": path.name}},
    )
    templates.validate()
    ignored = [f"{what} in the file are not read" for what in content.ignored]
    return templates, Statement(
        exact=("templates, data, strengths, constraints and the total variance",),
        approximated=(*notes.lines, *_DEFAULTS, *ignored),
    )


def _require_own_strengths(path: Path, channels: Sequence[ChannelArrays]) -> None:
    where: dict[str, list[str]] = {}
    for channel in channels:
        for name, signal in zip(channel.processes, channel.is_signal, strict=True):
            if signal:
                where.setdefault(name, []).append(channel.name)
    for name, several in where.items():
        if len(several) > 1:
            msg = (
                f"{path}: one strength of {name!r} acts on the channels "
                f"{', '.join(several)}; a template set has one for each channel, so "
                f"read the file with {_MODEL}"
            )
            raise TemplateError(msg)


def _own_name(channel: ChannelArrays, process: str) -> str:
    """Name of a process; that of a strength begins with the channel's."""
    return process.removeprefix(poi_name(channel.name, ""))


def _acting(
    path: Path, header: Header, channels: Sequence[ChannelArrays]
) -> dict[str, set[str]]:
    """Find the processes on which each systematic acts in any channel."""
    acting: dict[str, set[str]] = {name: set() for name in header.systematics}
    for channel in channels:
        acts = np.asarray(channel.effects.any(axis=(1, 3)))
        for process, systs in zip(channel.processes, acts, strict=True):
            for syst in np.flatnonzero(systs):
                name = header.systematics[syst]
                acting[name].add(_own_name(channel, process))
    for name, weight in zip(header.systematics, header.weights, strict=True):
        if weight not in (0, 1):
            msg = (
                f"{path}: the constraint of {name!r} has the weight {weight:g}, "
                f"expected 0 or 1; scale its effects, or read the file with {_MODEL}"
            )
            raise TemplateError(msg)
    return acting


def _norms(
    channels: Sequence[ChannelArrays], acting: Mapping[str, set[str]]
) -> dict[str, float]:
    """Find effects that are one factor for all bins and processes, with its size."""
    norms = {}
    for syst, name in enumerate(channels[0].header.systematics):
        exponents = np.concatenate(
            [
                channel.effects[i, 0, syst][channel.nominal[i] != 0]
                for channel in channels
                for i, process in enumerate(channel.processes)
                if _own_name(channel, process) in acting[name]
            ]
            or [np.empty(0)]
        )
        odd = not any(channel.effects[:, 1:, syst].any() for channel in channels)
        log = channels[0].is_log and odd
        # a factor of each bin alone would differ in more than rounding
        if log and len(exponents) and np.ptp(exponents) < 1e-14:
            norms[name] = float(np.exp(exponents[0]))
    return norms


def _note(channel: ChannelArrays, norms: Mapping[str, float], notes: Notes) -> None:
    """Note what a template set cannot express."""
    channel.note_even(notes)
    for process, template, effects, signal in zip(
        channel.processes,
        channel.nominal,
        channel.effects,
        channel.is_signal,
        strict=True,
    ):
        for syst in np.flatnonzero(effects.any(axis=(0, 2))):
            if channel.header.systematics[syst] in norms:
                continue
            example = channel.example(int(syst), process)
            if channel.is_log and not has_logarithm(template):
                notes.add(_SIGN, example)
            if not channel.is_log and signal:
                notes.add(_STRENGTH, example)


def _systematics(
    header: Header, acting: Mapping[str, set[str]], norms: Mapping[str, float]
) -> tuple[Systematic, ...]:
    groups = parameters_of(header).groups[header.n_signal :]
    log = header.systematic_type == "log_normal"
    return tuple(
        Systematic(
            name=name,
            kind="norm" if name in norms else "weight",
            processes=frozenset(acting[name]),
            group=group,
            variations=("up",) if header.symmetric else ("up", "down"),
            size=norms.get(name),
            constrained=bool(weight),
            interpolation="lognormal" if log else "linear",
        )
        for name, group, weight in zip(
            header.systematics, groups, header.weights, strict=True
        )
        if acting[name]
    )


def _channel(
    channel: ChannelArrays,
    acting: Mapping[str, set[str]],
    norms: Mapping[str, float],
) -> Channel:
    shapes = {name: acts for name, acts in acting.items() if name not in norms}
    processes = {}
    for i, (process, signal) in enumerate(
        zip(channel.processes, channel.is_signal, strict=True)
    ):
        name = _own_name(channel, process)
        processes[name] = Process(
            name=name,
            role="signal" if signal else "background",
            nominal=channel.nominal[i].reshape(channel.shape),
            variance=channel.variance[i].reshape(channel.shape),
            variations=_variations(channel, i, shapes),
            component="UL" if signal else None,
            cell=(0, i) if signal else None,
        )
    first, second = channel.edges
    return Channel(
        name=channel.name,
        charge=1,
        eta_edges=first,
        pt_edges=second,
        processes=processes,
        data=None if channel.data is None else channel.data.reshape(channel.shape),
    )


def _variations(
    channel: ChannelArrays, process: int, acting: Mapping[str, set[str]]
) -> dict[str, Array]:
    """Varied templates of a process by label."""
    name = _own_name(channel, channel.processes[process])
    sides = {"up": 1.0} if channel.header.symmetric else {"up": 1.0, "down": -1.0}
    variations = {}
    for syst, systematic in enumerate(channel.header.systematics):
        if name not in acting.get(systematic, ()):
            continue
        odd = channel.effects[process, 0, syst]
        even = channel.effects[process, 1:, syst].sum(axis=0)
        nominal = channel.nominal[process]
        for side, sign in sides.items():
            varied = nominal + sign * odd
            if channel.is_log:
                varied = nominal * np.exp(sign * odd + even)
            label = variation_label(systematic, side)
            variations[label] = varied.reshape(channel.shape)
    return variations
