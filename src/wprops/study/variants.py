"""Template sets that differ in one respect: backgrounds, or noise of a simulation."""

from __future__ import annotations

from dataclasses import replace

from wprops.channels import Channel
from wprops.errors import TemplateError
from wprops.store import TemplateSet
from wprops.systematics.catalog import LOW_ACCEPTANCE


def has_backgrounds(templates: TemplateSet) -> bool:
    """Whether a set has more than W → μν."""
    return any(
        not _is_w(channel, name)
        for channel in templates.channels.values()
        for name in channel.processes
    )


def without_backgrounds(templates: TemplateSet) -> TemplateSet:
    """Keep W → μν alone, low acceptance included."""
    channels = {}
    for name, channel in templates.channels.items():
        kept = {n: p for n, p in channel.processes.items() if _is_w(channel, n)}
        channels[name] = replace(
            channel,
            processes=kept,
            shared=tuple(g for g in channel.shared if set(g.processes) <= set(kept)),
        )
    return replace(templates, channels=channels, sidebands=None)


def _is_w(channel: Channel, name: str) -> bool:
    return name == LOW_ACCEPTANCE or channel.process(name).role == "signal"


def with_noise_of(exact: TemplateSet, simulated: TemplateSet) -> TemplateSet:
    """Give templates without noise the covariance of event-weighted ones.

    The templates stay as they are: expectations, with the covariance that a simulation
    of them has. Processes that only ``exact`` has keep their own.

    Parameters
    ----------
    exact : TemplateSet
        Templates without noise of their own.
    simulated : TemplateSet
        Event-weighted templates of the same processes at the same luminosity.

    Raises
    ------
    TemplateError
        If luminosities or bins differ, or a signal process is missing.
    """
    if exact.luminosity != simulated.luminosity:
        msg = (
            f"templates are for {exact.luminosity:g} fb^-1, the simulation for "
            f"{simulated.luminosity:g} fb^-1; use those of one catalogue"
        )
        raise TemplateError(msg)
    return replace(
        exact,
        channels={
            name: _noisy(channel, simulated.channel(name))
            for name, channel in exact.channels.items()
        },
    )


def _noisy(channel: Channel, simulated: Channel) -> Channel:
    if channel.shape != simulated.shape:
        msg = (
            f"channel {channel.name!r} has {channel.shape} bins, the simulation "
            f"{simulated.shape}; use one binning"
        )
        raise TemplateError(msg)
    processes = {}
    for name, process in channel.processes.items():
        if _is_w(channel, name):
            variance = simulated.process(name).variance
            processes[name] = replace(process, variance=variance)
        else:
            processes[name] = process
    w = {name for name in processes if _is_w(channel, name)}
    return replace(
        channel,
        processes=processes,
        shared=(
            *(g for g in channel.shared if not w & set(g.processes)),
            # folds would have to add up to the templates, which are others
            *(
                replace(g, folds=None)
                for g in simulated.shared
                if set(g.processes) <= w
            ),
        ),
    )


def simulated_luminosity(templates: TemplateSet) -> float:
    """Luminosity of the simulation behind event-weighted templates of W → μν [fb^-1].

    That of as many events of weight 1 as give the same relative error of the sum of all
    bins and channels.

    Raises
    ------
    TemplateError
        If the templates have no variance.
    """
    only_w = without_backgrounds(templates)
    totals = [channel.total() for channel in only_w.channels.values()]
    events = sum(float(nominal.sum()) for nominal, _ in totals)
    variance = sum(float(variance.sum()) for _, variance in totals)
    if not variance > 0:
        msg = (
            "the templates of W → μν have no variance, so nothing is known of a "
            "simulation; give event-weighted templates of it"
        )
        raise TemplateError(msg)
    return templates.luminosity * events / variance
