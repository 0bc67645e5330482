"""From a template set to expected events as a function of the parameters.

The model is immutable. Strengths of signal processes are parameters of
interest; backgrounds have strength 1 and move with their nuisance parameters
only. Bins of all channels are joined into one axis, channel after channel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from wprops.channels import Channel
from wprops.errors import TemplateError
from wprops.fit.block import Block, BlockPoint
from wprops.fit.builder import build_block
from wprops.fit.checks import (
    acts_on,
    check_interpolations,
    check_multijet,
    check_sensitivity,
    check_variations,
)
from wprops.fit.external import Constraint, External, join
from wprops.fit.parameters import Parameters, declare_parameters
from wprops.store import TemplateSet
from wprops.systematics.declaration import Systematic

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


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
    external : External
        Measurements of combinations of parameters that constrain the fit.
    masked : frozenset of str
        Channels that are predicted but not fitted.
    """

    parameters: Parameters
    blocks: tuple[Block, ...]
    linearised: tuple[tuple[str, str, str], ...]
    inactive: tuple[str, ...]
    external: External
    masked: frozenset[str]

    @property
    def n_bins(self) -> int:
        """Number of bins of all channels together."""
        return sum(block.n_bins for block in self.blocks)

    @property
    def counted(self) -> Mask:
        """Whether a bin counts in the likelihood, shape (n_bins,)."""
        return np.concatenate(
            [
                np.full(block.n_bins, block.name not in self.masked)
                for block in self.blocks
            ]
        )

    @property
    def prior(self) -> Array:
        """Information of all constraints, shape (n_par, n_par)."""
        return np.diag(self.parameters.precision) + self.external.information

    def at(self, values: Array) -> ModelPoint:
        """Evaluate at parameter values of shape (n_par,)."""
        return ModelPoint(len(values), tuple(block.at(values) for block in self.blocks))

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

    n_par: int
    blocks: tuple[BlockPoint, ...]

    @property
    def expected(self) -> Array:
        """Expected events, shape (n_bins,)."""
        return np.concatenate([point.expected for point in self.blocks])

    def jacobian(self) -> Array:
        """Return derivatives of the expected events, shape (n_par, n_bins)."""
        parts = []
        for point in self.blocks:
            part = np.zeros((self.n_par, point.block.n_bins))
            part[point.active] = point.jacobian
            parts.append(part)
        return np.hstack(parts)

    def gradient(self, weight: Array) -> Array:
        """Contract first derivatives with (n_bins,), shape (n_par,)."""
        total = np.zeros(self.n_par)
        for point, part in self._parts(weight):
            total[point.active] += point.jacobian @ part
        return total

    def information(self, weight: Array) -> Array:
        """Sum over bins of weighted products of derivatives, (n_par, n_par)."""
        return self._sum(BlockPoint.information, weight)

    def second(self, weight: Array) -> Array:
        """Contract second derivatives with (n_bins,), shape (n_par, n_par)."""
        return self._sum(BlockPoint.second, weight)

    def yields(self) -> dict[str, Array]:
        """Events by process, arrays of shape (n_processes, n_eta, n_pt)."""
        return {
            point.block.name: point.yields.reshape(-1, *point.block.shape)
            for point in self.blocks
        }

    def _parts(self, weight: Array) -> list[tuple[BlockPoint, Array]]:
        ends = np.cumsum([point.block.n_bins for point in self.blocks])
        parts = np.split(weight, ends[:-1])
        # a masked channel has no weight
        return [
            (point, part)
            for point, part in zip(self.blocks, parts, strict=True)
            if part.any()
        ]

    def _sum(
        self, function: Callable[[BlockPoint, Array], Array], weight: Array
    ) -> Array:
        total = np.zeros((self.n_par, self.n_par))
        for point, part in self._parts(weight):
            total[np.ix_(point.active, point.active)] += function(point, part)
        return total


def build_model(
    templates: TemplateSet,
    *,
    channels: Sequence[str] | None = None,
    masked: Sequence[str] = (),
    constraints: Sequence[Constraint] = (),
    storage: DTypeLike = np.float64,
) -> Model:
    """Build the model of a template set.

    Parameters
    ----------
    templates : TemplateSet
        Templates and the systematics that act on them.
    channels : sequence of str, optional
        Channels to fit together; all when omitted.
    masked : sequence of str
        Channels among them that are predicted but not fitted; they need no data.
    constraints : sequence of Constraint
        External measurements of combinations of parameters.
    storage : dtype
        Type in which the effects of nuisance parameters are stored. Single precision
        halves their memory and moves results by up to 1e-5 of an error, most where
        strengths are nearly degenerate; all arithmetic is double.

    Returns
    -------
    Model

    Raises
    ------
    TemplateError
        If the set does not fit together, a declared variation is missing, two
        parameters have one name, nothing depends on a free parameter, or a
        constraint or a masked channel is not part of the model.
    """
    templates.validate()
    names = tuple(templates.channels) if channels is None else tuple(channels)
    chosen = [templates.channel(name) for name in names]
    if not set(names) - set(masked):
        msg = (
            f"no channel to fit; the template set has {', '.join(templates.channels)}, "
            f"masked are {', '.join(masked) or 'none'}"
        )
        raise TemplateError(msg)
    _require_members(masked, names)
    check_interpolations(templates)
    check_multijet(templates, names)
    active, inactive = _split_active(templates.systematics, chosen)
    for channel in chosen:
        check_variations(channel, active)
    parameters = declare_parameters(chosen, active, templates.weighting)
    built = [build_block(channel, parameters, active, storage) for channel in chosen]
    model = Model(
        parameters=parameters,
        blocks=tuple(block for block, _ in built),
        linearised=tuple(row for _, linearised in built for row in linearised),
        inactive=inactive,
        external=join(constraints, parameters),
        masked=frozenset(masked),
    )
    _require_sensitivity(model)
    return model


def observed(templates: TemplateSet, model: Model) -> Array:
    """Join the data of the model's channels.

    Returns
    -------
    ndarray, shape (n_bins,)
        Observed events; NaN in a masked channel without data.

    Raises
    ------
    TemplateError
        If a channel that is fitted has no data.
    """
    parts = []
    for block in model.blocks:
        data = templates.channel(block.name).data
        if data is None and block.name not in model.masked:
            msg = (
                f"channel {block.name!r} has no data; process the data set, or fit "
                "with data='asimov' for expected uncertainties"
            )
            raise TemplateError(msg)
        parts.append(np.full(block.n_bins, np.nan) if data is None else data.ravel())
    return np.concatenate(parts)


def _require_members(masked: Sequence[str], names: Sequence[str]) -> None:
    unknown = sorted(set(masked) - set(names))
    if unknown:
        msg = (
            f"masked channels {', '.join(unknown)} are not in the model, which has "
            f"{', '.join(names)}"
        )
        raise TemplateError(msg)


def _split_active(
    systematics: Sequence[Systematic], channels: Sequence[Channel]
) -> tuple[tuple[Systematic, ...], tuple[str, ...]]:
    processes = [p for channel in channels for p in channel.processes.values()]
    active = tuple(s for s in systematics if any(acts_on(s, p) for p in processes))
    return active, tuple(s.name for s in systematics if s not in active)


def _require_sensitivity(model: Model) -> None:
    parameters = model.parameters
    point = model.at(parameters.start)
    prior = np.diag(model.prior)
    free = [(i, name) for i, name in enumerate(parameters.names) if prior[i] == 0]
    counted = model.counted
    check_sensitivity(point.jacobian()[:, counted], point.expected[counted], free)
