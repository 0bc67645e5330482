"""One channel of an input file of rabbit, as arrays over its bins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wprops.interchange.rabbit_file import Header, RabbitChannel, RabbitInput
from wprops.interchange.statement import Notes

Array = NDArray[np.float64]
Index = NDArray[np.int64]
_ASYMMETRIC = (
    "asymmetric effects join their two sides inside ±1 instead of ±1/2; equal at 0 and "
    "from ±1 on, in between by up to 13 % of the asymmetry apart"
)
_EVEN = "what is even in the parameter is left out of effects that add events"


class ChannelArrays:
    """What a file says of one channel.

    Parameters
    ----------
    content : RabbitInput
        The whole file.
    channel : RabbitChannel
        The channel.
    first : int
        Its first bin.

    Attributes
    ----------
    header : Header
        Names of processes and systematics.
    is_log : bool
        Whether effects are exponents.
    present : ndarray of int, shape (n_present,)
        Positions of the processes with any events or effects.
    nominal, variance : ndarray, shape (n_present, n_bins)
        Templates and their variance.
    effects : ndarray, shape (n_present, 1 or 2, n_syst, n_bins)
        Odd and even parts of the effects.
    data : ndarray, shape (n_bins,), or None
        Observed events; None in a masked channel.
    """

    def __init__(
        self, content: RabbitInput, channel: RabbitChannel, first: int
    ) -> None:
        self.header: Header = content.header
        self.channel = channel
        self.is_log = self.header.systematic_type == "log_normal"
        bins = slice(first, first + channel.n_bins)
        nominal, variance = content.nominal[bins], content.variance[bins]
        total = nominal.sum(axis=1)
        if variance.ndim == 1:
            # only the total is known: each process gets its share of the contents
            variance = variance[:, None] * _ratio(
                abs(nominal), abs(nominal).sum(axis=1, keepdims=True), 0.0
            )
        # rabbit takes the relative variance from a sum that may be scaled
        weights = content.sum_of_weights[bins]
        scale = _ratio(total, weights.reshape(len(total), -1).sum(axis=1), 1.0)
        effects = content.effects[bins]
        # effects that add events do not need a template
        adds = effects.any(axis=(0, 2, 3)) & (not self.is_log)
        self.present: Index = np.flatnonzero(nominal.any(axis=0) | adds)
        self.nominal: Array = nominal[:, self.present].T
        self.variance: Array = (variance * scale[:, None] ** 2)[:, self.present].T
        self.effects: Array = effects[:, self.present].transpose(1, 2, 3, 0)
        self.data: Array | None = None if channel.masked else content.data[bins]

    @property
    def name(self) -> str:
        """Name of the channel."""
        return self.channel.name

    @property
    def processes(self) -> list[str]:
        """Names of the processes that are present."""
        return [self.header.processes[p] for p in self.present]

    @property
    def is_signal(self) -> NDArray[np.bool_]:
        """Whether a process that is present has a strength."""
        return np.asarray(self.present < self.header.n_signal)

    @property
    def edges(self) -> tuple[Array, Array]:
        """Edges of two axes; further ones are joined to the second."""
        edges = self.channel.edges
        if len(edges) == 1:
            return np.array([0.0, 1.0]), edges[0]
        if len(edges) == 2:
            return edges[0], edges[1]
        n_rest = self.channel.n_bins // (len(edges[0]) - 1)
        return edges[0], np.arange(n_rest + 1.0)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of bins in two dimensions."""
        first, second = self.edges
        return len(first) - 1, len(second) - 1

    def example(self, syst: int, process: str) -> str:
        """Say where an effect acts."""
        return f"{self.header.systematics[syst]!r} on {process!r} in {self.name!r}"

    def note_even(self, notes: Notes) -> None:
        """Note the effects that are not odd in their parameter."""
        even = self.effects[:, 1:].any(axis=(1, 3))
        for process, syst in np.argwhere(even):
            example = self.example(syst, self.processes[process])
            notes.add(_ASYMMETRIC if self.is_log else _EVEN, example)


def channels_of(content: RabbitInput) -> list[ChannelArrays]:
    """Cut a file into its channels."""
    channels, first = [], 0
    for channel in content.header.channels:
        channels.append(ChannelArrays(content, channel, first))
        first += channel.n_bins
    return channels


def _ratio(numerator: Array, denominator: Array, otherwise: float) -> Array:
    """Divide; ``otherwise`` where the denominator is zero."""
    out = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), otherwise)
    return np.divide(numerator, denominator, out=out, where=denominator != 0)
