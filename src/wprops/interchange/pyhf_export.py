"""Write a model as a workspace of pyhf (HistFactory in JSON).

HistFactory has normsys for norms, histosys for shapes and normfactor for strengths: all
factors multiply the sum of a template and its shifts. That is how linear effects and
norms work here too, so they are exact. A linear effect without a constraint becomes a
sample of its own, its slope times a normfactor. Everything else is approximated, as the
statement that is returned says.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wprops.errors import TemplateError
from wprops.fit.block import Block
from wprops.fit.model import Model, build_model, observed
from wprops.interchange.effects import Effect, effects
from wprops.interchange.statement import Notes, Statement
from wprops.store import TemplateSet

Array = NDArray[np.float64]
#: Interpolations for ``workspace.model(modifier_settings=…)`` that make norms and
#: linear effects exact.
MODIFIER_SETTINGS = {
    "normsys": {"interpcode": "code1"},
    "histosys": {"interpcode": "code4p"},
}
#: Bounds of strengths and of parameters without a constraint.
_BOUNDS = [-10.0, 10.0]
_LOG = (
    "log-normal effects on shapes are histosys: equal at -1, 0 and 1, straight lines "
    "beyond, and several add instead of multiplying"
)
_QUADRATIC = (
    "quadratic effects are histosys: equal at -1, 0 and 1, other between and beyond"
)
_FREE = "effects without a constraint are linear, equal to first order"
_SIGN = (
    "samples with bins below zero, which pyhf takes as they are and other "
    "implementations of HistFactory clip"
)


def export_pyhf(
    templates: TemplateSet,
    path: Path,
    *,
    channels: Sequence[str] | None = None,
    barlow_beeston: bool = True,
) -> Statement:
    """Write templates and data as a workspace of pyhf.

    Parameters
    ----------
    templates : TemplateSet
        With data in all channels.
    path : Path
        The JSON file to write.
    channels : sequence of str, optional
        Channels to write; all when omitted.
    barlow_beeston : bool
        Whether to write the statistical error of the templates.

    Returns
    -------
    Statement
        What is the same, and what is not.

    Raises
    ------
    TemplateError
        If no model can be made, data are missing, or see `workspace`.
    """
    model = build_model(templates, channels=channels)
    content, statement = workspace(
        model, observed(templates, model), barlow_beeston=barlow_beeston
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, allow_nan=False))
    return statement


def workspace(
    model: Model, counts: Array, *, barlow_beeston: bool = True
) -> tuple[dict[str, Any], Statement]:
    """Write a model and counts as a workspace of pyhf.

    Strengths and nuisance parameters keep their names. Use the interpolations of
    `MODIFIER_SETTINGS`.

    Parameters
    ----------
    model : Model
        What to write.
    counts : ndarray, shape (n_bins,)
        Observed events.
    barlow_beeston : bool
        Whether to write the statistical error of the templates.

    Returns
    -------
    workspace : dict
        Content of the JSON file.
    statement : Statement
        What is the same, and what is not.

    Raises
    ------
    TemplateError
        If the model has masked channels or external constraints, or no strength, for
        none of which a workspace has a place.
    """
    parameters = model.parameters
    _require_expressible(model)
    notes = Notes()
    channels = [
        _Channel(model, block, notes).content(
            model.split(model.variance(parameters.start))[block.name],
            barlow_beeston=barlow_beeston,
        )
        for block in model.blocks
    ]
    used = {m["name"] for c in channels for s in c["samples"] for m in s["modifiers"]}
    free = [
        {"name": name, "inits": [float(start)], "bounds": [_BOUNDS]}
        for name, start, precision in zip(
            parameters.names, parameters.start, parameters.precision, strict=True
        )
        if precision == 0 and name in used
    ]
    data = model.split(counts)
    content = {
        "channels": channels,
        "observations": [
            {"name": block.name, "data": data[block.name].ravel().tolist()}
            for block in model.blocks
        ],
        "measurements": [
            {
                "name": "wprops",
                "config": {"poi": parameters.names[0], "parameters": free},
            }
        ],
        "version": "1.0.0",
    }
    return content, _statement(notes, barlow_beeston=barlow_beeston)


def _require_expressible(model: Model) -> None:
    parameters = model.parameters
    remedy = {
        "masked channels": bool(model.masked),
        "external constraints": bool(len(model.external.values)),
        "no strength, and pyhf needs a parameter of interest": not parameters.n_poi,
    }
    found = [what for what, is_so in remedy.items() if is_so]
    if found:
        msg = (
            f"a workspace of pyhf cannot express this model: it has "
            f"{'; '.join(found)}; build the model without"
        )
        raise TemplateError(msg)


def _statement(notes: Notes, *, barlow_beeston: bool) -> Statement:
    noise = "the statistical error of the templates is not written"
    if barlow_beeston:
        noise = (
            "the statistical error of the templates is a staterror with a Gaussian "
            "constraint instead of a Poisson one, and with the variance at the start: "
            "its total has the covariance of shared events, which does not follow the "
            "strengths"
        )
    return Statement(
        exact=(
            "templates, data, strengths, linear effects and constraints",
            "norms as normsys (lumi too): exact with the interpolation code1 "
            "(MODIFIER_SETTINGS), a polynomial inside ±1 with the default code4",
        ),
        approximated=(*notes.lines, noise),
    )


class _Channel:
    """Samples and modifiers of one channel."""

    def __init__(self, model: Model, block: Block, notes: Notes) -> None:
        self.parameters = model.parameters
        self.block = block
        self.notes = notes
        self.modifiers: list[list[dict[str, Any]]] = [[] for _ in block.processes]
        # (process, parameter) and slope of what has no constraint
        self.slopes: list[tuple[int, str, Array]] = []
        self._add_factors()
        for effect in effects(block):
            for member in range(len(effect.members)):
                self._add_effect(effect, member)

    def content(self, variance: Array, *, barlow_beeston: bool) -> dict[str, Any]:
        """Write the channel, with the variance of its total of shape (n_eta, n_pt)."""
        block = self.block
        factors = [
            [m for m in own if m["type"] != "histosys"] for own in self.modifiers
        ]
        samples = []
        share = np.sqrt(variance.ravel() / (block.nominal != 0).sum(axis=0).clip(1))
        for name, nominal, own in zip(
            block.processes, block.nominal, self.modifiers, strict=True
        ):
            if (nominal < 0).any():
                self.notes.add(_SIGN, f"{name!r} in {block.name!r}")
            # squares of equal shares add up to the total variance
            error = np.where(nominal != 0, share, 0.0).tolist()
            noise = _modifier(f"staterror_{block.name}", "staterror", error)
            extra = [noise] if barlow_beeston else []
            samples.append(_sample(name, nominal, [*own, *extra]))
        for process, parameter, slope in self.slopes:
            free = _modifier(parameter, "normfactor", None)
            name = f"{block.processes[process]}_{parameter}"
            samples.append(_sample(name, slope, [*factors[process], free]))
        return {"name": block.name, "samples": samples}

    def _add_factors(self) -> None:
        block, names = self.block, self.parameters.names
        for process, poi in zip(block.signal, block.poi, strict=True):
            self.modifiers[process].append(_modifier(names[poi], "normfactor", None))
        for process, column in np.argwhere(block.norms.log_size):
            log_size = block.norms.log_size[process, column]
            size = {"hi": float(np.exp(log_size)), "lo": float(np.exp(-log_size))}
            name = names[block.norms.parameters[column]]
            self.modifiers[process].append(_modifier(name, "normsys", size))

    def _add_effect(self, effect: Effect, member: int) -> None:
        """Add one effect, for each of its parameters where it acts."""
        process = int(effect.members[member])
        nominal = self.block.nominal[process].reshape(self.block.shape)
        slope = effect.slope[member]
        bend = np.zeros_like(slope) if effect.bend is None else effect.bend[member]
        if effect.is_log:
            up, down = nominal * np.exp(slope + bend), nominal * np.exp(bend - slope)
            slope = nominal * slope
        else:
            up, down = nominal + slope + bend, nominal - slope + bend
        for parameter in np.unique(effect.parameters):
            rows = effect.parameters[:, None] == parameter
            name = self.parameters.names[parameter]
            where = f"{name!r} on {self.block.processes[process]!r}"
            constrained = self.parameters.precision[parameter] > 0
            if not constrained:
                if effect.is_log or bend.any():
                    self.notes.add(_FREE, where)
                self.slopes.append((process, name, np.where(rows, slope, 0.0)))
                continue
            if effect.is_log or bend.any():
                self.notes.add(_LOG if effect.is_log else _QUADRATIC, where)
            varied = {
                "hi_data": np.where(rows, up, nominal).ravel().tolist(),
                "lo_data": np.where(rows, down, nominal).ravel().tolist(),
            }
            self.modifiers[process].append(_modifier(name, "histosys", varied))


def _modifier(name: str, kind: str, data: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "data": data}


def _sample(name: str, values: Array, modifiers: list[Any]) -> dict[str, Any]:
    return {"name": name, "data": values.ravel().tolist(), "modifiers": modifiers}
