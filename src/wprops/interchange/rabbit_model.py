r"""From an input file of rabbit to a model that says the same.

It has log-normal effects bin by bin, also where a template changes sign, one strength
for a process of several channels, and shifts that no strength multiplies, which belong
to a process of their own. Only asymmetric effects differ, see
`wprops.interchange.rabbit_export`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wprops.errors import TemplateError
from wprops.fit.block import Block
from wprops.fit.effects import Group, Noise, Norms, Row
from wprops.fit.external import join
from wprops.fit.model import Model
from wprops.fit.parameters import POI_GROUP, Parameters
from wprops.interchange.rabbit_channel import ChannelArrays, channels_of
from wprops.interchange.rabbit_file import Header, RabbitInput
from wprops.interchange.statement import Notes

Array = NDArray[np.float64]
Index = NDArray[np.int64]
#: Process that carries the shifts of signals, which their strengths do not multiply.
SHIFTS = "shifts of the signals"


def read_rabbit(path: Path, *, approximate: bool = False) -> tuple[Model, Array]:
    """Read a file of rabbit as a model.

    Parameters
    ----------
    path : Path
        The file.
    approximate : bool
        Whether asymmetric effects may be read, although they differ inside ±1.

    Returns
    -------
    model : Model
        With the parameters of rabbit in their order.
    counts : ndarray, shape (n_bins,)
        Observed events; NaN in masked channels.

    Raises
    ------
    TemplateError
        If the file cannot be read, or has asymmetric effects and ``approximate`` is
        false.
    """
    content = RabbitInput.read(path)
    channels, notes = channels_of(content), Notes()
    for channel in channels:
        channel.note_even(notes)
    if notes.count and not approximate:
        msg = (
            f"{path} cannot be read exactly: {'; '.join(notes.lines)}; ask for "
            "approximations"
        )
        raise TemplateError(msg)
    header = content.header
    parameters = parameters_of(header)
    model = Model(
        parameters=parameters,
        blocks=tuple(_block(channel) for channel in channels),
        linearised=(),
        inactive=(),
        external=join((), parameters),
        masked=frozenset(c.name for c in header.channels if c.masked),
    )
    missing = np.full(model.n_bins - len(content.data), np.nan)
    return model, np.concatenate([content.data, missing])


def parameters_of(header: Header) -> Parameters:
    """List the parameters of a file."""
    n_poi, n_syst = header.n_signal, len(header.systematics)
    groups = list(header.systematics)
    # a systematic may be in several groups; the first counts
    for group, members in reversed(list(header.groups.items())):
        for i in members:
            groups[i] = group
    return Parameters(
        names=(*header.processes[:n_poi], *header.systematics),
        groups=(POI_GROUP,) * n_poi + tuple(groups),
        units=("prediction",) * n_poi + ("1 sigma",) * n_syst,
        n_poi=n_poi,
        start=np.r_[np.ones(n_poi), np.zeros(n_syst)],
        precision=np.r_[np.zeros(n_poi), header.weights],
    )


def _block(channel: ChannelArrays) -> Block:
    header, shape = channel.header, channel.shape
    names, nominal, effects = channel.processes, channel.nominal, channel.effects
    noise, signal = channel.variance, channel.is_signal
    if not channel.is_log and effects[signal].any():
        moved = effects[signal].sum(axis=0)
        effects = np.concatenate([effects, moved[None]])
        effects[:-1][signal] = 0.0
        names = [*names, SHIFTS]
        empty = np.zeros((1, nominal.shape[1]))
        nominal, noise = np.vstack([nominal, empty]), np.vstack([noise, empty])
    column, systematics = _columns(effects, shape)
    return Block(
        name=channel.name,
        shape=shape,
        processes=tuple(names),
        nominal=np.ascontiguousarray(nominal),
        signal=np.flatnonzero(signal),
        poi=channel.present[signal],
        columns=header.n_signal + systematics,
        groups=_groups(effects, shape, column, is_log=channel.is_log),
        norms=Norms(np.empty(0, dtype=np.int64), np.zeros((len(names), 0))),
        noise=Noise(variance=noise, shared=()),
    )


def _columns(effects: Array, shape: tuple[int, int]) -> tuple[Index, Index]:
    """Put systematics that act in one eta row each into common columns.

    Returns
    -------
    column : ndarray of int, shape (n_syst,)
        Column of each systematic; −1 where it does nothing.
    systematics : ndarray of int, shape (n_columns, n_eta)
        Systematic of each column in each row.
    """
    n_eta = shape[0]
    acts = np.asarray(effects.any(axis=(0, 1)).reshape(-1, *shape).any(axis=2))
    n_rows = acts.sum(axis=1)
    column = np.full(len(acts), -1)
    common = np.flatnonzero(n_rows > (1 if n_eta > 1 else 0))
    column[common] = np.arange(len(common))
    systematics = [np.full(n_eta, syst) for syst in common]
    filled = np.zeros(n_eta, dtype=np.int64)
    for syst in np.flatnonzero((n_rows > 0) & (column < 0)):
        row = int(acts[syst].argmax())
        column[syst] = len(common) + filled[row]
        if column[syst] == len(systematics):
            # rows without a systematic of their own have one that does nothing there
            systematics.append(np.full(n_eta, syst))
        systematics[column[syst]][row] = syst
        filled[row] += 1
    return column, np.reshape(np.array(systematics, dtype=np.int64), (-1, n_eta))


def _groups(
    effects: Array, shape: tuple[int, int], column: Index, *, is_log: bool
) -> tuple[Group, ...]:
    """Join processes on which the same columns act."""
    sides = effects.shape[1] if is_log else 1
    members: dict[tuple[Row, ...], list[int]] = {}
    for process, own in enumerate(effects):
        # slopes of all effects, then bends
        acting = [own.any(axis=(0, 2)), *own[1:sides].any(axis=2)]
        rows = [
            Row(int(c), is_log, is_bend=bool(side))
            for side, systs in enumerate(acting)
            for c in np.unique(column[systs])
        ]
        members.setdefault(tuple(rows), []).append(process)
    groups = []
    for key, positions in members.items():
        tiles = np.zeros((len(positions), shape[0], len(key), shape[1]))
        for tile, position in zip(tiles, positions, strict=True):
            for i, row in enumerate(key):
                for syst in np.flatnonzero(column == row.column):
                    values = effects[position, int(row.is_bend), syst]
                    tile[:, i] += values.reshape(shape)
        groups.append(Group(np.array(positions, dtype=np.int64), key, tiles))
    return tuple(groups)
