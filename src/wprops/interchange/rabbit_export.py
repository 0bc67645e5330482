r"""Write a model as an input file of rabbit.

All effects of a file of rabbit are of one kind, in the notation of `wprops.fit.block`

.. math:: μ \, n \, \exp[Σ_k (a_k θ_k + b_k t(θ_k))] \quad\text{or}\quad
   μ \, n + Σ_k (a_k θ_k + b_k t(θ_k)), \qquad t(θ) = ½ s(2θ),

where s is the smooth absolute value of `wprops.fit.interpolation`: rabbit joins the two
sides inside ±½. Log-normal effects without a bend and norms fit the first, linear
effects on processes without a strength the second. All else is refused, or converted:
shifts to exponents by :math:`a = \mathrm{artanh}(s/n)`, exponents to shifts by their
derivative at the start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wprops.errors import TemplateError
from wprops.fit.block import Block
from wprops.fit.model import Model, build_model, observed
from wprops.interchange.effects import Effect, effects
from wprops.interchange.rabbit_file import (
    Header,
    RabbitChannel,
    SystematicType,
    write_file,
)
from wprops.interchange.statement import Notes, Statement
from wprops.store import TemplateSet

Array = NDArray[np.float64]
Index = NDArray[np.int64]
#: Largest |s/n| of a shift that becomes an exponent; near a zero of a template that
#: changes sign the logarithm does not exist.
LARGEST_SHIFT = 0.9
#: Numbers of a slab of effects, as many as go to the file together.
_SLAB = 4_000_000
_EVEN_LOG = (
    "asymmetric log-normal effects join their two sides inside ±1/2 instead of ±1; "
    "equal at 0 and from ±1 on, in between by up to 13 % of the asymmetry apart"
)
_EVEN_SHIFT = "quadratic effects lose what is even in the parameter"
_SHIFT_TO_LOG = "linear effects are log-normal, equal to first order"
_LIMITED = (
    f"bins whose linear effect is above {LARGEST_SHIFT:.0%} of the template are limited"
)
_LOG_TO_SHIFT = "log-normal effects and norms are linear, equal to first order"
_NO_STRENGTH = "linear effects on signals are not multiplied by the strength"


def export_rabbit(
    templates: TemplateSet,
    path: Path,
    *,
    channels: Sequence[str] | None = None,
    masked: Sequence[str] = (),
    systematic_type: SystematicType = "log_normal",
    approximate: bool = False,
) -> Statement:
    """Write templates and data as an input file of rabbit.

    Parameters
    ----------
    templates : TemplateSet
        With data in all channels that are fitted.
    path : Path
        The file to write.
    channels, masked : sequence of str
        See `wprops.fit.model.build_model`.
    systematic_type, approximate
        See `write_rabbit`.

    Returns
    -------
    Statement
        What is the same, and what is not.

    Raises
    ------
    TemplateError
        If no model can be made, data are missing, or see `write_rabbit`.
    """
    model = build_model(templates, channels=channels, masked=masked)
    edges = {
        name: (channel.eta_edges, channel.pt_edges)
        for name, channel in templates.channels.items()
    }
    return write_rabbit(
        model,
        observed(templates, model),
        path,
        edges=edges,
        systematic_type=systematic_type,
        approximate=approximate,
    )


def write_rabbit(
    model: Model,
    counts: Array,
    path: Path,
    *,
    edges: Mapping[str, tuple[Array, Array]] | None = None,
    systematic_type: SystematicType = "log_normal",
    approximate: bool = False,
) -> Statement:
    """Write a model and counts as an input file of rabbit.

    Strengths and nuisance parameters keep their names. Parameters without a constraint
    are what rabbit calls NOI; it blinds them in fits to data.

    Parameters
    ----------
    model : Model
        What to write.
    counts : ndarray, shape (n_bins,)
        Observed events; those of masked channels are not written.
    path : Path
        The file to write.
    edges : mapping of str to (ndarray, ndarray), optional
        Edges of the bins by channel; their numbers when omitted.
    systematic_type : {"log_normal", "normal"}
        Kind of all effects in the file.
    approximate : bool
        Whether to convert what the file cannot express.

    Returns
    -------
    Statement
        What is the same, and what is not.

    Raises
    ------
    TemplateError
        If something cannot be expressed and ``approximate`` is false, or if the model
        has external constraints, which rabbit has no place for.
    """
    if len(model.external.values):
        msg = "rabbit has no external constraints; build the model without them"
        raise TemplateError(msg)
    conversion = _Conversion(model, systematic_type)
    different = conversion.notes.lines
    if different and not approximate:
        msg = (
            f"a file of rabbit with systematics of the type {systematic_type!r} cannot "
            f"express this model: {'; '.join(different)}; ask for approximations, or "
            "change the interpolation"
        )
        raise TemplateError(msg)
    start = model.parameters.start
    expected, variance = model.expected(start), model.variance(start)
    write_file(
        path,
        conversion.header(edges or {}),
        conversion.joined(counts, conversion.fitted),
        conversion.nominal(),
        (conversion.joined(expected), conversion.joined(variance)),
        conversion.slabs(),
    )
    return _statement(model, different)


def _statement(model: Model, different: tuple[str, ...]) -> Statement:
    start = model.parameters.start
    approximated = different
    if (start[: model.parameters.n_poi] != 1).any():
        approximated += ("rabbit begins at strengths of 1, not at the generated ones",)
    return Statement(
        exact=(
            "templates, data, strengths, constraints, groups, masked channels, and the "
            "variance of the prediction with the covariance of shared events",
            *(() if different else ("all effects of nuisance parameters",)),
        ),
        approximated=(
            *approximated,
            "rabbit keeps the effective counts of Barlow-Beeston at the start; wprops "
            "refreshes them at the minimum",
        ),
    )


class _Conversion:
    """Effects of a model in the terms of rabbit."""

    def __init__(self, model: Model, systematic_type: SystematicType) -> None:
        self.model = model
        self.systematic_type = systematic_type
        parameters = model.parameters
        self.n_poi = parameters.n_poi
        precision = parameters.precision[self.n_poi :]
        # parameters without a constraint come first
        self.order = np.argsort(precision != 0, kind="stable")
        self.position = np.argsort(self.order)
        hidden = model.masked
        self.blocks = sorted(model.blocks, key=lambda block: block.name in hidden)
        signals = parameters.names[: self.n_poi]
        others = [
            name
            for block in self.blocks
            for i, name in enumerate(block.processes)
            if i not in block.signal
        ]
        self.processes = (*signals, *dict.fromkeys(others))
        self.notes = Notes()
        self.symmetric = True
        for block in self.blocks:
            self._note_norms(block)
            for effect in effects(block):
                self._note(block, effect)

    @property
    def fitted(self) -> list[Block]:
        """Channels that are not masked."""
        return [b for b in self.blocks if b.name not in self.model.masked]

    def joined(self, bins: Array, blocks: Sequence[Block] | None = None) -> Array:
        """Reorder an array over the bins of the model; all channels by default."""
        parts = self.model.split(bins)
        blocks = self.blocks if blocks is None else blocks
        return np.concatenate([parts[block.name].ravel() for block in blocks])

    def header(self, edges: Mapping[str, tuple[Array, Array]]) -> Header:
        """All but the numbers."""
        parameters = self.model.parameters
        groups: dict[str, list[int]] = {}
        names = [parameters.names[self.n_poi + i] for i in self.order]
        for position, i in enumerate(self.order):
            groups.setdefault(parameters.groups[self.n_poi + i], []).append(position)
        return Header(
            channels=tuple(
                RabbitChannel(
                    block.name,
                    edges.get(block.name, _numbered(block.shape)),
                    block.name in self.model.masked,
                )
                for block in self.blocks
            ),
            processes=self.processes,
            n_signal=self.n_poi,
            systematics=tuple(names),
            weights=parameters.precision[self.n_poi :][self.order],
            groups=groups,
            systematic_type=self.systematic_type,
            symmetric=self.symmetric,
        )

    def nominal(self) -> Array:
        """Templates, shape (n_bins, n_processes)."""
        parts = []
        for block in self.blocks:
            part = np.zeros((block.n_bins, len(self.processes)))
            part[:, self._columns(block)] = block.nominal.T
            parts.append(part)
        return np.concatenate(parts)

    def slabs(self) -> Iterator[Array]:
        """Effects of some eta rows after the other, as `write_file` takes them."""
        n_syst = len(self.order)
        for block in self.blocks:
            columns = self._columns(block)
            n_eta, n_pt = block.shape
            converted = [(e, *self._convert(block, e)) for e in effects(block)]
            per_row = n_pt * len(self.processes) * 2 * max(n_syst, 1)
            step = max(_SLAB // per_row, 1)
            for first in range(0, n_eta, step):
                rows = range(first, min(first + step, n_eta))
                slab = np.zeros((len(rows), n_pt, len(self.processes), 2, n_syst))
                self._add_norms(block, columns, slab, rows)
                for effect, odd, even in converted:
                    where = columns[effect.members]
                    for i, row in enumerate(rows):
                        syst = self.position[effect.parameters[row] - self.n_poi]
                        slab[i, :, where, 0, syst] += odd[:, row]
                        if even is not None:
                            slab[i, :, where, 1, syst] += even[:, row]
                yield slab.reshape(-1, *slab.shape[2:])

    def _columns(self, block: Block) -> Index:
        """Position of each process of a channel in the file."""
        names = list(block.processes)
        for i, poi in zip(block.signal, block.poi, strict=True):
            names[i] = self.model.parameters.names[poi]
        return np.array([self.processes.index(name) for name in names])

    def _add_norms(
        self, block: Block, columns: Index, slab: Array, rows: range
    ) -> None:
        norms = block.norms
        nominal = block.nominal.reshape(-1, *block.shape)[:, rows]
        nominal = nominal * self._strengths(block)[:, None, None]
        for parameter, log_size in zip(norms.parameters, norms.log_size.T, strict=True):
            syst = self.position[parameter - self.n_poi]
            for p in np.flatnonzero(log_size):
                unit = 1.0 if self.systematic_type == "log_normal" else nominal[p]
                slab[:, :, columns[p], 0, syst] += unit * log_size[p]

    def _strengths(self, block: Block) -> Array:
        return block.strengths(self.model.parameters.start)

    def _nominal_of(self, block: Block, effect: Effect) -> Array:
        return block.nominal.reshape(-1, *block.shape)[effect.members]

    def _convert(self, block: Block, effect: Effect) -> tuple[Array, Array | None]:
        """Odd and even part of an effect, each (n_members, n_eta, n_pt)."""
        nominal = self._nominal_of(block, effect)
        if self.systematic_type == "log_normal":
            if effect.is_log:
                return effect.slope, effect.bend
            ratio = np.divide(
                effect.slope, nominal, out=np.zeros_like(nominal), where=nominal != 0
            )
            return np.arctanh(ratio.clip(-LARGEST_SHIFT, LARGEST_SHIFT)), None
        strengths = self._strengths(block)[effect.members, None, None]
        return strengths * effect.slope * (nominal if effect.is_log else 1.0), None

    def _note(self, block: Block, effect: Effect) -> None:
        """Note what is not the same after `_convert`."""
        first = block.processes[effect.members[0]]
        name = self.model.parameters.names[effect.parameters[0]]
        example = f"{name!r} on {first!r} in {block.name!r}"
        n = len(effect.members)
        if self.systematic_type == "log_normal":
            if effect.bend is not None:
                self.notes.add(_EVEN_LOG if effect.is_log else _EVEN_SHIFT, example, n)
                self.symmetric &= not effect.is_log
            if not effect.is_log:
                self.notes.add(_SHIFT_TO_LOG, example, n)
                nominal = self._nominal_of(block, effect)
                limited = int((abs(effect.slope) > LARGEST_SHIFT * abs(nominal)).sum())
                if limited:
                    self.notes.add(_LIMITED, example, limited)
            return
        if effect.is_log:
            self.notes.add(_LOG_TO_SHIFT, example, n)
        elif effect.bend is not None:
            self.notes.add(_EVEN_SHIFT, example, n)
        signals = np.intersect1d(effect.members, block.signal)
        if len(signals) and effect.slope.any():
            self.notes.add(_NO_STRENGTH, example, len(signals))

    def _note_norms(self, block: Block) -> None:
        norms = block.norms
        if self.systematic_type == "log_normal" or not norms.log_size.any():
            return
        p, m = np.argwhere(norms.log_size)[0]
        name = self.model.parameters.names[norms.parameters[m]]
        example = f"{name!r} on {block.processes[p]!r} in {block.name!r}"
        self.notes.add(_LOG_TO_SHIFT, example, int((norms.log_size != 0).sum()))


def _numbered(shape: tuple[int, int]) -> tuple[Array, Array]:
    """Edges that are the numbers of the bins."""
    return np.arange(shape[0] + 1.0), np.arange(shape[1] + 1.0)
