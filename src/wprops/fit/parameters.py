"""The parameters of a fit: names, starting values and constraints.

Parameters of interest come first, channel by channel and in the order of the
processes; nuisance parameters follow in the order of their declaration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wprops.axes import COMPONENTS
from wprops.channels import Channel, Process
from wprops.errors import TemplateError
from wprops.store import Weighting
from wprops.systematics.declaration import Systematic

Array = NDArray[np.float64]
#: Group of the signal strengths in tables; systematics carry their own.
POI_GROUP = "signal"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Parameters:
    """Names and constraints of all parameters.

    Attributes
    ----------
    names : tuple of str
        Parameters of interest, then nuisance parameters.
    groups, units : tuple of str
        Row of the impact table and meaning of one unit, by parameter.
    n_poi : int
        Number of parameters of interest.
    start : ndarray, shape (n_par,)
        The generated point: 1 for a strength, A_i for the strength of a template
        that does not carry it, 0 for a nuisance parameter.
    precision : ndarray, shape (n_par,)
        Inverse variance of the Gaussian constraint; 0 for a free parameter.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    units: tuple[str, ...]
    n_poi: int
    start: Array
    precision: Array

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Return the position of a parameter.

        Raises
        ------
        TemplateError
            If there is no such parameter.
        """
        if name not in self.names:
            msg = (
                f"the fit has no parameter {name!r}; it has {len(self)} parameters, "
                f"the nuisance parameters are {', '.join(self.names[self.n_poi :])}"
            )
            raise TemplateError(msg)
        return self.names.index(name)


def poi_name(channel: str, process: str) -> str:
    """Name of the strength of one signal process.

    Examples
    --------
    >>> poi_name("Wplus", "W_A4_y0_qt2")
    'Wplus/W_A4_y0_qt2'
    """
    return f"{channel}/{process}"


def nuisance_names(systematic: Systematic, channel: Channel) -> tuple[str, ...]:
    """Names of the nuisance parameters by which a systematic acts on a channel.

    One, or one per eta bin for an eta-local systematic.
    """
    name = systematic.name
    if not systematic.charge_correlated:
        name = f"{channel.name}/{name}"
    if not systematic.eta_local:
        return (name,)
    return tuple(f"{name}_eta{row:02d}" for row in range(channel.shape[0]))


def declare_parameters(
    channels: Sequence[Channel],
    systematics: Sequence[Systematic],
    weighting: Weighting,
) -> Parameters:
    """List the parameters of some channels.

    Parameters
    ----------
    channels : sequence of Channel
        Each signal process of each channel gets a strength.
    systematics : sequence of Systematic
        One nuisance parameter each; one per channel where the charges are not
        correlated, and one per eta bin where it is eta-local.
    weighting : {"sigma_A", "sigma"}
        Whether the templates of the coefficients carry the generated ones.

    Raises
    ------
    TemplateError
        If two parameters would have the same name, or a generated coefficient is
        needed and not known.
    """
    pois = [
        (poi_name(channel.name, process.name), *_start(channel, process, weighting))
        for channel in channels
        for process in channel.processes.values()
        if process.role == "signal"
    ]
    nuisances = [
        (name, systematic)
        for systematic in systematics
        for name in dict.fromkeys(  # unique names in a stable order
            name for channel in channels for name in nuisance_names(systematic, channel)
        )
    ]
    names = (*(name for name, *_ in pois), *(name for name, _ in nuisances))
    _require_unique(names)
    return Parameters(
        names=names,
        groups=(POI_GROUP,) * len(pois) + tuple(s.group for _, s in nuisances),
        units=tuple(u for *_, u in pois) + tuple(s.unit for _, s in nuisances),
        n_poi=len(pois),
        start=np.r_[[start for _, start, _ in pois], np.zeros(len(nuisances))],
        precision=np.r_[
            np.zeros(len(pois)), [float(s.constrained) for _, s in nuisances]
        ],
    )


def _start(
    channel: Channel, process: Process, weighting: Weighting
) -> tuple[float, str]:
    """Return the generated value of a strength, and what one unit of it means."""
    component, cell = process.component or "", process.cell or (-1, -1)
    if weighting == "sigma_A" or component == COMPONENTS[0]:
        return 1.0, "prediction"
    if channel.generated is None:
        msg = (
            f"channel {channel.name!r} has no record of what was generated; a set "
            "with weighting 'sigma' needs it, since its templates do not carry A_i"
        )
        raise TemplateError(msg)
    coefficients = channel.generated.coefficients[int(component[1:])]
    return float(coefficients[cell]), "sigma_UL"


def _require_unique(names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        msg = (
            f"parameter names are not unique: {', '.join(repeated)} occur more than "
            "once; rename the process or the systematic"
        )
        raise TemplateError(msg)
