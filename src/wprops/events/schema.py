"""The NanoAOD columns in use: the schema, and a look-up that explains failures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import awkward as ak
from coffea.nanoevents import NanoAODSchema

from wprops.errors import InputError
from wprops.stages import stage


class NanoSchema(NanoAODSchema):
    """NanoAOD without warnings about what this project does not read.

    A class attribute reaches workers with the class; set from outside, it stays in
    the parent process.
    """

    # Index branches whose target is absent.
    warn_missing_crossrefs = False
    # Masses and charges of photons, which some files have already.
    full_like_items: ClassVar[dict[str, Any]] = {}

    def _build_collections(
        self, field_names: list[str], input_contents: list[Any]
    ) -> tuple[list[str], list[Any]]:
        """Keep branches whose first word is a branch itself, as PrefireWeight_Up."""
        names, contents = super()._build_collections(field_names, input_contents)
        present = set(field_names)
        for field, content in zip(field_names, input_contents, strict=True):
            first, _, rest = field.partition("_")
            if rest and first in present and f"n{first}" not in present:
                names.append(field)
                contents.append(content)
        return names, contents


def has_branch(events: ak.Array, branch: str) -> bool:
    """Whether a chunk has a branch, by its NanoAOD name such as ``Muon_pt``."""
    if branch in events.fields:
        return True
    collection, _, field = branch.partition("_")
    return collection in events.fields and field in _plain(events, collection).fields


def get_branch(events: ak.Array, branch: str, *, remedy: str) -> ak.Array:
    """Read a branch by its NanoAOD name.

    Parameters
    ----------
    events : awkward.Array
        A chunk of NanoEvents.
    branch : str
        Name such as ``Muon_pt``, ``HLT_IsoMu24`` or ``genWeight``.
    remedy : str
        What the user can do where it is absent; ends the error message.

    Raises
    ------
    InputError
        If the file has no such branch; the message names both.
    """
    if not has_branch(events, branch):
        msg = f"{file_name(events)} has no branch {branch!r}; {remedy}"
        raise InputError(msg)
    with stage("reading"):
        if branch in events.fields:
            return ak.materialize(events[branch])
        collection, _, field = branch.partition("_")
        return ak.materialize(_plain(events, collection)[field])


def _plain(events: ak.Array, collection: str) -> ak.Array:
    """Return a collection without its methods, which ask for columns of their own."""
    return ak.Array(events.layout, behavior={})[collection]


def file_name(events: ak.Array) -> str:
    """Name of the file a chunk comes from, for messages."""
    metadata = events.metadata or {}
    return Path(str(metadata.get("filename", "the events in memory"))).name
