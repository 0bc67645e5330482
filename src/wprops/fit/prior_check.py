"""What a declared prior on the strengths does to the numbers, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wprops.fit.derived import MASS_NAME
from wprops.fit.gate import STABLE, Gate


def doubling_lines(gate: Gate) -> Iterator[str]:
    """Say which numbers move when a declared prior gets twice as wide.

    Parameters
    ----------
    gate : Gate
        Verdicts; without a prior there is nothing to say.
    """
    if gate.prior is None or not gate.names:
        return
    twice = f"declared prior {gate.prior:g}, and {2 * gate.prior:g} to check it"
    value, error = (np.abs(change) for change in gate.changes)
    if np.isinf(value).any() or np.isnan(gate.errors[-1]).all():
        yield f"{twice}: no corrected fit of both; every number is undetermined"
        return
    moves = (value > STABLE[0]) | (error > STABLE[1])
    yield (
        f"{twice}: {int(moves.sum())} of {len(moves)} numbers depend on it (values "
        f"move by more than {STABLE[0]:g} errors, or errors by more than "
        f"{STABLE[1]:.0%})"
    )
    # the largest move relative to what is allowed, and the mass
    size = np.maximum(value / STABLE[0], error / STABLE[1])
    shown = [int(size.argmax())]
    if MASS_NAME in gate.names:
        shown.append(gate.index(MASS_NAME))
    for index in dict.fromkeys(shown):
        yield (
            f"  {gate.names[index]}: value {gate.changes[0, index]:+.3f} errors, error "
            f"{gate.changes[1, index]:+.1%}: {gate.verdicts[index]}"
        )
