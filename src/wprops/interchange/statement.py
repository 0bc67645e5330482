"""What a conversion to or from another framework keeps, and what it does not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Statement:
    """What became of the parts of a problem.

    Attributes
    ----------
    exact : tuple of str
        What is the same in both frameworks.
    approximated : tuple of str
        What differs, and how.
    """

    exact: tuple[str, ...]
    approximated: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"exact: {line}" for line in self.exact]
        lines += [f"approximated: {line}" for line in self.approximated]
        return "\n".join(lines)


@dataclass(slots=True)
class Notes:
    """Collects what differs: how often, with the first example of each."""

    count: Counter[str] = field(default_factory=Counter)
    example: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, example: str, n: int = 1) -> None:
        """Count ``n`` cases of ``what``."""
        self.count[what] += n
        self.example.setdefault(what, example)

    @property
    def lines(self) -> tuple[str, ...]:
        """One line for each difference."""
        return tuple(
            f"{what} ({n} times, first {self.example[what]})"
            for what, n in self.count.items()
        )
