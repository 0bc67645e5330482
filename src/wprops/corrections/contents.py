"""What is inside of a correction: its bins and the options of its inputs.

correctionlib evaluates corrections but does not show their edges, so the file is read
once more. A node is a piece of a correction: a category, bins or numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from correctionlib.highlevel import open_auto
from numpy.typing import NDArray

from wprops.errors import ConfigError

FloatArray = NDArray[np.float64]

#: What a look-up table can represent.
BINNED_NODES = {"category", "binning", "multibinning"}


def content_of(path: Path, name: str) -> Any:
    """Return the content of a correction of a file.

    Raises
    ------
    ConfigError
        If it is a compound of others, or has other content than bins and categories.
    """
    entries = json.loads(open_auto(str(path)))["corrections"]
    data = next((e["data"] for e in entries if e["name"] == name), None)
    if data is None:
        msg = f"{path}: {name!r} combines other corrections; name each as a step"
        raise ConfigError(msg)
    # Bins in abs(eta) are written as a transform, with the formula as its rule.
    rules = [id(node["rule"]) for node in _nodes(data) if _is_absolute(node)]
    others = {
        node.get("nodetype", "category")
        for node in _nodes(data)
        if not _is_absolute(node) and id(node) not in rules
    } - BINNED_NODES
    if others:
        msg = (
            f"{path}: correction {name!r} has content of type "
            f"{', '.join(sorted(others))}, but factors are looked up in bins; give "
            "their values in bins"
        )
        raise ConfigError(msg)
    return data


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Return all nodes of a content, outer ones first; a number is none."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _nodes(child)


def _is_absolute(node: dict[str, Any]) -> bool:
    """Whether a node replaces an input by its absolute value."""
    return (
        node.get("nodetype") == "transform"
        and node["rule"].get("expression") in ("abs(x)", "fabs(x)")
        and node["rule"]["variables"] == [node["input"]]
    )


def options_of(data: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Return the values that an input of type string may have, with their content."""
    for node in _nodes(data):
        if node.get("nodetype") == "category" and node["input"] == name:
            yield from ((item["key"], item["value"]) for item in node["content"])


def binnings_of(data: Any, name: str) -> Iterator[tuple[float, ...]]:
    """Return the edges of one input, of each node that has bins in it."""
    for node in _nodes(data):
        if node.get("nodetype") == "binning" and node["input"] == name:
            edges = node["edges"]
        elif node.get("nodetype") == "multibinning" and name in node["inputs"]:
            edges = node["edges"][node["inputs"].index(name)]
        else:
            continue
        if isinstance(edges, dict):
            edges = np.linspace(edges["low"], edges["high"], edges["n"] + 1)
        yield tuple(float(edge) for edge in edges)


def common_edges(data: Any, name: str) -> FloatArray:
    """Return all edges of an input, in the range that all its binnings cover."""
    binnings = set(binnings_of(data, name)) or {(-1.0, 1.0)}  # one bin, of any range
    if any(_is_absolute(node) and node["input"] == name for node in _nodes(data)):
        # A bin in abs(eta) has its lower edge, so its mirror image has the upper one.
        binnings = {
            (*(np.nextafter(-edge, 0.0) for edge in edges[:0:-1]), *edges)
            for edges in binnings
        }
    low = max(edges[0] for edges in binnings)
    high = min(edges[-1] for edges in binnings)
    inner = {edge for edges in binnings for edge in edges if low < edge < high}
    return np.array([low, *sorted(inner), high])
