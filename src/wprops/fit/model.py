"""From a template set to expected events as a function of the parameters.

The model is immutable. Strengths of signal processes are parameters of
interest; backgrounds have strength 1 and move with their nuisance parameters
only. Bins of all channels are joined into one axis, channel after channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wprops.channels import Channel, Process
from wprops.errors import TemplateError
from wprops.fit.block import Block, BlockPoint, Effects, Noise
from wprops.fit.checks import acts_on, check_sensitivity, check_variations
from wprops.fit.interpolation import (
    bounded_square,
    coefficients,
    has_logarithm,
    mirrored,
    smooth_abs,
)
from wprops.fit.parameters import (
    Parameters,
    declare_parameters,
    nuisance_names,
    poi_name,
)
from wprops.store import TemplateSet
from wprops.systematics.declaration import Interpolation, Systematic

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """Expected events of some channels.

    Attributes
    ----------
    parameters : Parameters
        Names, starting values and constraints.
    blocks : tuple of Block
        One per channel.
    linearised : tuple of (channel, process, systematic)
        Templates that are linear in a parameter although it is declared
        log-normal, because they change sign.
    inactive : tuple of str
        Systematics that act on no process of these channels and are left out.
    """

    parameters: Parameters
    blocks: tuple[Block, ...]
    linearised: tuple[tuple[str, str, str], ...]
    inactive: tuple[str, ...]

    @property
    def n_bins(self) -> int:
        """Number of bins of all channels together."""
        return sum(block.n_bins for block in self.blocks)

    def at(self, values: Array) -> ModelPoint:
        """Evaluate at parameter values of shape (n_par,)."""
        return ModelPoint(tuple(block.at(values) for block in self.blocks))

    def expected(self, values: Array) -> Array:
        """Return the expected events, shape (n_bins,)."""
        return self.at(values).expected

    def variance(self, values: Array) -> Array:
        """Variance of the expected events from finite simulation, shape (n_bins,).

        The strengths count, with all covariances of templates that share
        events; the nuisance parameters do not: they change the templates by
        percents, and so their noise.
        """
        return np.concatenate(
            [block.noise.total(block.strengths(values)) for block in self.blocks]
        )

    def split(self, bins: Array) -> dict[str, Array]:
        """Cut an array over all bins into channels of shape (n_eta, n_pt)."""
        ends = np.cumsum([block.n_bins for block in self.blocks])
        parts = np.split(bins, ends[:-1])
        return {
            block.name: part.reshape(block.shape)
            for block, part in zip(self.blocks, parts, strict=True)
        }


@dataclass(frozen=True, slots=True, eq=False)
class ModelPoint:
    """The model at one point; see `BlockPoint`."""

    blocks: tuple[BlockPoint, ...]

    @property
    def expected(self) -> Array:
        """Expected events, shape (n_bins,)."""
        return np.concatenate([point.yields.sum(axis=0) for point in self.blocks])

    def jacobian(self) -> Array:
        """Return derivatives of the expected events, shape (n_par, n_bins)."""
        return np.hstack([point.jacobian() for point in self.blocks])

    def second(self, weight: Array) -> Array:
        """Contract second derivatives with (n_bins,), shape (n_par, n_par)."""
        ends = np.cumsum([point.block.n_bins for point in self.blocks])
        parts = np.split(weight, ends[:-1])
        matrices = [
            point.second(part) for point, part in zip(self.blocks, parts, strict=True)
        ]
        return np.sum(matrices, axis=0)

    def yields(self) -> dict[str, Array]:
        """Events by process, arrays of shape (n_processes, n_eta, n_pt)."""
        return {
            point.block.name: point.yields.reshape(-1, *point.block.shape)
            for point in self.blocks
        }


def build_model(
    templates: TemplateSet, *, channels: Sequence[str] | None = None
) -> Model:
    """Build the model of a template set.

    Parameters
    ----------
    templates : TemplateSet
        Templates and the systematics that act on them.
    channels : sequence of str, optional
        Channels to fit together; all when omitted.

    Returns
    -------
    Model

    Raises
    ------
    TemplateError
        If the set does not fit together, a declared variation is missing, two
        parameters have one name, or nothing depends on a free parameter.
    """
    templates.validate()
    names = tuple(templates.channels) if channels is None else tuple(channels)
    chosen = [templates.channel(name) for name in names]
    if not chosen:
        msg = f"no channel to fit; the template set has {', '.join(templates.channels)}"
        raise TemplateError(msg)
    active, inactive = _split_active(templates.systematics, chosen)
    for channel in chosen:
        check_variations(channel, active)
    parameters = declare_parameters(chosen, active)
    builders = [_Builder(channel, parameters, active) for channel in chosen]
    model = Model(
        parameters=parameters,
        blocks=tuple(builder.block() for builder in builders),
        linearised=tuple(row for builder in builders for row in builder.linearised),
        inactive=inactive,
    )
    _require_sensitivity(model)
    return model


def observed(templates: TemplateSet, model: Model) -> Array:
    """Join the data of the model's channels.

    Returns
    -------
    ndarray, shape (n_bins,)
        Observed events.

    Raises
    ------
    TemplateError
        If a channel has no data.
    """
    parts = []
    for block in model.blocks:
        data = templates.channel(block.name).data
        if data is None:
            msg = (
                f"channel {block.name!r} has no data; process the data set, or fit "
                "with data='asimov' for expected uncertainties"
            )
            raise TemplateError(msg)
        parts.append(data.ravel())
    return np.concatenate(parts)


def _split_active(
    systematics: Sequence[Systematic], channels: Sequence[Channel]
) -> tuple[tuple[Systematic, ...], tuple[str, ...]]:
    processes = [p for channel in channels for p in channel.processes.values()]
    active = tuple(s for s in systematics if any(acts_on(s, p) for p in processes))
    return active, tuple(s.name for s in systematics if s not in active)


def _require_sensitivity(model: Model) -> None:
    parameters = model.parameters
    point = model.at(parameters.start)
    free = [
        (index, name)
        for index, name in enumerate(parameters.names)
        if parameters.precision[index] == 0
    ]
    check_sensitivity(point.jacobian(), point.expected, free)


class _Builder:
    """Collects the arrays of one channel."""

    def __init__(
        self,
        channel: Channel,
        parameters: Parameters,
        systematics: Sequence[Systematic],
    ) -> None:
        self.channel = channel
        self.parameters = parameters
        self.processes = tuple(channel.processes.values())
        self.linearised: list[tuple[str, str, str]] = []
        self._rows: dict[str, dict[int, tuple[Array, Array]]] = {
            "factors": {},
            "shifts": {},
        }
        for systematic in systematics:
            for position, process in enumerate(self.processes):
                if acts_on(systematic, process):
                    self._add(systematic, position, process)

    def block(self) -> Block:
        signal = [i for i, p in enumerate(self.processes) if p.role == "signal"]
        poi = [
            self.parameters.index(poi_name(self.channel.name, self.processes[i].name))
            for i in signal
        ]
        return Block(
            name=self.channel.name,
            shape=self.channel.shape,
            processes=tuple(process.name for process in self.processes),
            nominal=np.stack([process.nominal.ravel() for process in self.processes]),
            signal=np.array(signal, dtype=np.int64),
            poi=np.array(poi, dtype=np.int64),
            factors=self._effects("factors"),
            shifts=self._effects("shifts"),
            noise=self._noise(),
        )

    def _add(self, systematic: Systematic, position: int, process: Process) -> None:
        kind, slope, bend = self._coefficients(systematic, process)
        rows = self._rows["factors" if kind == "lognormal" else "shifts"]
        shape = (len(self.processes), process.nominal.size)
        names = nuisance_names(systematic, self.channel)
        # An eta-local parameter moves the bins of one eta, which are neighbours.
        n_bins = process.nominal.size // len(names)
        for local, name in enumerate(names):
            row = rows.setdefault(
                self.parameters.index(name), (np.zeros(shape), np.zeros(shape))
            )
            bins = slice(local * n_bins, (local + 1) * n_bins)
            row[0][position, bins], row[1][position, bins] = slope[bins], bend[bins]

    def _coefficients(
        self, systematic: Systematic, process: Process
    ) -> tuple[Interpolation, Array, Array]:
        nominal = process.nominal.ravel()
        if systematic.size is not None:
            slope = np.full_like(nominal, np.log(systematic.size))
            return "lognormal", slope, np.zeros_like(nominal)
        kind = systematic.interpolation
        varied = [process.variations[label].ravel() for label in systematic.labels]
        if kind == "lognormal" and not has_logarithm(nominal, *varied):
            kind = "linear"
            self.linearised.append((self.channel.name, process.name, systematic.name))
        up = varied[0]
        down = varied[1] if len(varied) == 2 else mirrored(kind, nominal, up)
        return kind, *coefficients(kind, nominal, up, down)

    def _effects(self, which: str) -> Effects:
        rows = self._rows[which]
        shape = (len(rows), len(self.processes), self.processes[0].nominal.size)
        slope, bend = np.zeros(shape), np.zeros(shape)
        for k, row in enumerate(rows.values()):
            slope[k], bend[k] = row
        return Effects(
            parameters=np.array(list(rows), dtype=np.int64),
            slope=slope,
            bend=bend,
            curve=smooth_abs if which == "factors" else bounded_square,
        )

    def _noise(self) -> Noise:
        names = [process.name for process in self.processes]
        variance = np.stack([process.variance.ravel() for process in self.processes])
        shared = []
        for group in self.channel.shared:
            members = np.array([names.index(name) for name in group.processes])
            variance[members] = 0.0
            n = len(members)
            shared.append((members, group.products.reshape(n, n, -1)))
        return Noise(variance=variance, shared=tuple(shared))
