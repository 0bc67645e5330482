"""The NanoAOD columns in use: the schema, and a look-up that explains failures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import awkward as ak
from coffea.nanoevents import NanoAODSchema

from wprops.errors import InputError


class NanoSchema(NanoAODSchema):
    """NanoAOD without warnings about what this project does not read.

    A class attribute reaches workers with the class; set from outside, it stays in
    the parent process.
    """

    # Index branches whose target is absent.
    warn_missing_crossrefs = False
    # Masses and charges of photons, which some files have already.
    full_like_items: ClassVar[dict[str, Any]] = {}


def has_branch(events: ak.Array, branch: str) -> bool:
    """Whether a chunk has a branch, by its NanoAOD name such as ``Muon_pt``."""
    collection, _, field = branch.partition("_")
    if branch in events.fields:
        return True
    return bool(field) and (
        collection in events.fields and field in events[collection].fields
    )


def get_branch(events: ak.Array, branch: str, *, remedy: str) -> ak.Array:
    """Return a branch by its NanoAOD name.

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
    collection, _, field = branch.partition("_")
    return events[branch] if branch in events.fields else events[collection][field]


def file_name(events: ak.Array) -> str:
    """Name of the file a chunk comes from, for messages."""
    metadata = events.metadata or {}
    return Path(str(metadata.get("filename", "the events in memory"))).name
