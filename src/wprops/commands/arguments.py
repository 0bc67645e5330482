"""Kinds of arguments that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
EXISTING = click.Path(exists=True, path_type=Path)
POSITIVE = click.IntRange(min=1)
#: Exit code of what the keyboard ends: 128 and the number of SIGINT.
INTERRUPTED = 130


def deviations(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, float]:
    """Parse NAME=VALUE pairs."""
    parsed = {}
    for value in values:
        name, _, number = value.partition("=")
        try:
            parsed[name] = float(number)
        except ValueError as error:
            msg = f"{value!r} is not NAME=VALUE with a number as value"
            raise click.BadParameter(msg) from error
    return parsed


def frozen(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, float | None]:
    """Parse NAME[=VALUE]."""
    parsed: dict[str, float | None] = {}
    for value in values:
        name, separator, _ = value.partition("=")
        parsed |= deviations(_ctx, _param, (value,)) if separator else {name: None}
    return parsed


def degrees(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, tuple[int, int]]:
    """Parse NAME=QT,Y."""
    parsed = {}
    for value in values:
        name, _, numbers = value.partition("=")
        try:
            qt, absy = (int(number) for number in numbers.split(","))
        except ValueError as error:
            msg = f"{value!r} is not NAME=QT,Y with two whole numbers"
            raise click.BadParameter(msg) from error
        parsed[name] = qt, absy
    return parsed


def scans(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Parse NAME=LOW:HIGH:N, or two of them with a comma in between."""
    import numpy as np

    found: list[dict[str, Any]] = []
    for value in values:
        grids = {}
        for part in value.split(","):
            name, _, text = part.partition("=")
            try:
                low, high, number = text.split(":")
                grids[name] = np.linspace(float(low), float(high), int(number))
                if not grids[name].size:
                    raise ValueError(number)
            except ValueError as error:
                msg = (
                    f"{part!r} is not NAME=LOW:HIGH:N with two numbers and a number "
                    "of points"
                )
                raise click.BadParameter(msg) from error
        if len(grids) > 2:
            msg = f"{value!r} has {len(grids)} parameters; scan one or two"
            raise click.BadParameter(msg)
        if any(set(grids) == set(other) for other in found):
            msg = f"{value!r} is scanned twice; give one range"
            raise click.BadParameter(msg)
        found.append(grids)
    return found


def truth(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[Path | None, dict[str, float]]:
    """Tell one result file from NAME=VALUE pairs."""
    files = [value for value in values if "=" not in value]
    if len(files) > 1:
        msg = f"{' and '.join(files)} are no NAME=VALUE pairs; give one result file"
        raise click.BadParameter(msg)
    pairs = tuple(value for value in values if "=" in value)
    return (Path(files[0]) if files else None), deviations(ctx, param, pairs)


#: Options that say what is fitted, and how.
_FITTED = (
    click.option(
        "--data",
        type=click.Choice(["observed", "asimov", "toy"]),
        default="observed",
        help="The data of the set, its prediction, or pseudo-data from it.",
    ),
    click.option(
        "--seed", type=click.IntRange(min=0), default=1, help="Of pseudo-data."
    ),
    click.option(
        "--barlow-beeston/--no-barlow-beeston",
        default=True,
        help="Whether to count the statistical error of the templates.",
    ),
    click.option(
        "--channels",
        multiple=True,
        help="Only these together; repeatable.  [default: all]",
    ),
)


def what_is_fitted(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --data, --seed, --barlow-beeston and --channels."""
    for option in reversed(_FITTED):
        command = option(command)
    return command
