"""Sums of chunk results that do not depend on the order in which they arrive.

Floating-point addition is not associative, so an executor that merges chunks as
they finish gives other last digits in every run. Here only neighbours in a fixed
binary tree over the chunks are ever added: chunks 2k and 2k+1, then those pairs,
and so on. Whatever the executor, the additions are the same, and so is every bit
of the result; a run in order holds at most log2(chunks) partial sums.
"""

from __future__ import annotations

from typing import Any, Generic, Self, TypeVar

from coffea.processor.accumulator import add

T = TypeVar("T")
#: Level in the tree (0 for a chunk) and position within the level.
Node = tuple[int, int]


class OrderedSum(Generic[T]):
    """Partial sums of numbered chunks; addable in any order.

    Parameters
    ----------
    value : accumulatable
        Result of one chunk: anything coffea can accumulate.
    chunk : int
        Number of the chunk within its dataset, from zero.
    """

    def __init__(self, value: T, chunk: int) -> None:
        self.nodes: dict[Node, T] = {(0, chunk): value}

    def __add__(self, other: OrderedSum[T]) -> Self:
        """Merge two sets of chunks; raises ValueError for a chunk in both."""
        merged = object.__new__(type(self))
        merged.nodes = dict(self.nodes)
        for node, value in other.nodes.items():
            merged._insert(node, value)
        return merged

    def _insert(self, node: Node, value: T) -> None:
        level, index = node
        if (level, index) in self.nodes:
            msg = (
                f"chunk {index << level} was added twice; its events would count double"
            )
            raise ValueError(msg)
        sibling = (level, index ^ 1)
        if sibling not in self.nodes:
            self.nodes[node] = value
            return
        pair = (value, self.nodes.pop(sibling))
        left, right = pair if index % 2 == 0 else pair[::-1]
        self._insert((level + 1, index // 2), _add(left, right))

    @property
    def n_chunks(self) -> int:
        """Number of chunks summed so far."""
        return sum(1 << level for level, _ in self.nodes)

    def total(self) -> T:
        """Sum of all chunks, in their order."""
        ordered = sorted(self.nodes, key=lambda node: node[1] << node[0])
        values = [self.nodes[node] for node in ordered]
        result = values[0]
        for value in values[1:]:
            result = _add(result, value)
        return result


def _add(left: Any, right: Any) -> Any:
    return add(left, right)
