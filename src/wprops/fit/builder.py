"""Collects the arrays of one channel of a model from its templates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from wprops.channels import Channel, Process
from wprops.errors import TemplateError
from wprops.fit.block import Block
from wprops.fit.checks import acts_on, interpolation_for
from wprops.fit.effects import Group, Noise, Norms, Row
from wprops.fit.interpolation import coefficients, has_logarithm, mirrored
from wprops.fit.parameters import Parameters, nuisance_names, poi_name
from wprops.systematics.declaration import Interpolation, Systematic

Array = NDArray[np.float64]
Index = NDArray[np.int64]


class Effect(NamedTuple):
    """One systematic on one process."""

    column: int
    systematic: Systematic
    kind: Interpolation

    @property
    def rows(self) -> tuple[Row, ...]:
        """Lines of coefficients; a mirrored or linear variation has no bend."""
        is_log = self.kind == "lognormal"
        slope = Row(self.column, is_log, is_bend=False)
        if self.kind == "linear" or len(self.systematic.variations) == 1:
            return (slope,)
        return slope, Row(self.column, is_log, is_bend=True)


def build_block(
    channel: Channel,
    parameters: Parameters,
    systematics: Sequence[Systematic],
    storage: DTypeLike,
) -> tuple[Block, tuple[tuple[str, str, str], ...]]:
    """Build one channel of a model.

    Parameters
    ----------
    channel : Channel
        Templates with all declared variations.
    parameters : Parameters
        All parameters of the model.
    systematics : sequence of Systematic
        Those that act on the model; some may not act on this channel.
    storage : dtype
        Type of the stored coefficients.

    Returns
    -------
    block : Block
    linearised : tuple of (channel, process, systematic)
        Log-normal declarations that are linear, since the template changes sign.

    Raises
    ------
    TemplateError
        If log-normal interpolation is asked for by name where no logarithm exists.
    """
    processes = tuple(channel.processes.values())
    here = [s for s in systematics if any(acts_on(s, p) for p in processes)]
    shapes = [s for s in here if s.size is None]
    signal = [i for i, p in enumerate(processes) if p.role == "signal"]
    poi = [parameters.index(poi_name(channel.name, processes[i].name)) for i in signal]
    effects = [_effects(channel, process, shapes) for process in processes]
    block = Block(
        name=channel.name,
        shape=channel.shape,
        processes=tuple(process.name for process in processes),
        nominal=np.stack([process.nominal.ravel() for process in processes]),
        signal=np.array(signal, dtype=np.int64),
        poi=np.array(poi, dtype=np.int64),
        columns=_columns(channel, parameters, shapes),
        groups=_groups(processes, effects, storage),
        norms=_norms(channel, parameters, here),
        noise=_noise(channel),
    )
    linearised = tuple(
        (channel.name, process.name, effect.systematic.name)
        for process, own in zip(processes, effects, strict=True)
        for effect in own
        if effect.kind == "linear"
        and interpolation_for(effect.systematic, process) == "lognormal"
    )
    return block, linearised


def _columns(
    channel: Channel, parameters: Parameters, shapes: Sequence[Systematic]
) -> Index:
    columns = np.empty((len(shapes), channel.shape[0]), dtype=np.int64)
    for column, systematic in zip(columns, shapes, strict=True):
        column[:] = [parameters.index(n) for n in nuisance_names(systematic, channel)]
    return columns


def _effects(
    channel: Channel, process: Process, shapes: Sequence[Systematic]
) -> list[Effect]:
    one_sign = has_logarithm(process.nominal)
    effects = []
    for column, systematic in enumerate(shapes):
        if not acts_on(systematic, process):
            continue
        kind = interpolation_for(systematic, process)
        if kind == "lognormal":
            varied = [process.variations[label] for label in systematic.labels]
            if not (one_sign and has_logarithm(process.nominal, *varied)):
                _refuse_if_named(channel, process, systematic)
                kind = "linear"
        effects.append(Effect(column, systematic, kind))
    return effects


def _refuse_if_named(
    channel: Channel, process: Process, systematic: Systematic
) -> None:
    if process.name in systematic.interpolation_of:
        msg = (
            f"channel {channel.name!r}, process {process.name!r}: systematic "
            f"{systematic.name!r} asks for log-normal interpolation, but the template "
            "or its variation changes sign or vanishes; declare it linear or quadratic"
        )
        raise TemplateError(msg)


def _groups(
    processes: Sequence[Process],
    effects: Sequence[Sequence[Effect]],
    storage: DTypeLike,
) -> tuple[Group, ...]:
    members: dict[tuple[Row, ...], list[int]] = {}
    for position, own in enumerate(effects):
        rows = [row for effect in own for row in effect.rows]
        # slopes of logarithms, slopes of shifts, bends: see Group.rows
        rows.sort(key=lambda row: (row.is_bend, not row.is_log, row.column))
        members.setdefault(tuple(rows), []).append(position)
    groups = []
    for key, positions in members.items():
        n_eta, n_pt = processes[0].nominal.shape
        tiles = np.empty((len(positions), n_eta, len(key), n_pt), dtype=storage)
        where = {(row.column, row.is_bend): i for i, row in enumerate(key)}
        for tile, position in zip(tiles, positions, strict=True):
            for effect in effects[position]:
                slope_bend = _coefficients(effect, processes[position])
                for row, values in zip(effect.rows, slope_bend, strict=False):
                    tile[:, where[row.column, row.is_bend]] = values
        groups.append(Group(np.array(positions, dtype=np.int64), key, tiles))
    return tuple(groups)


def _coefficients(effect: Effect, process: Process) -> tuple[Array, Array]:
    nominal = process.nominal
    varied = [process.variations[label] for label in effect.systematic.labels]
    up = varied[0]
    down = varied[1] if len(varied) == 2 else mirrored(effect.kind, nominal, up)
    return coefficients(effect.kind, nominal, up, down)


def _norms(
    channel: Channel, parameters: Parameters, systematics: Sequence[Systematic]
) -> Norms:
    processes = channel.processes.values()
    norms = [(s, s.size) for s in systematics if s.size is not None]
    log_size = np.zeros((len(processes), len(norms)))
    for column, (systematic, size) in enumerate(norms):
        acting = [acts_on(systematic, process) for process in processes]
        log_size[acting, column] = np.log(size)
    names = [name for norm, _ in norms for name in nuisance_names(norm, channel)]
    indices = [parameters.index(name) for name in names]
    return Norms(np.array(indices, dtype=np.int64), log_size)


def _noise(channel: Channel) -> Noise:
    names = list(channel.processes)
    processes = channel.processes.values()
    variance = np.stack([process.variance.ravel() for process in processes])
    shared = []
    for group in channel.shared:
        members = np.array([names.index(name) for name in group.processes])
        variance[members] = 0.0
        n = len(members)
        shared.append((members, group.products.reshape(n, n, -1)))
    return Noise(variance=variance, shared=tuple(shared))
