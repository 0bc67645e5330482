"""Where a result comes from: versions, commit, command, time and digests."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from wprops.errors import ConfigError

logger = logging.getLogger(__name__)

#: Packages whose versions can change a result; optional ones may be missing.
PACKAGES = (
    "wprops",
    "awkward",
    "boost-histogram",
    "coffea",
    "correctionlib",
    "dask",
    "h5py",
    "hist",
    "numba",
    "numpy",
    "scipy",
    "uproot",
)
#: A file server that takes longer than this for ``git status`` is not waited for.
_GIT_TIMEOUT = 20.0  # seconds


def collect(**extra: Any) -> dict[str, Any]:
    """Return the provenance of what is being made now, as plain data.

    Parameters
    ----------
    **extra
        Further entries, such as the digest of a catalogue; JSON only.

    Returns
    -------
    dict
        ``created`` (UTC), ``command``, ``python``, ``platform``, ``packages``
        with the versions of those installed, ``git`` with ``commit`` and
        ``dirty`` when wprops runs from a git working tree, and ``extra``.

    Raises
    ------
    ConfigError
        If an extra entry would replace one of these.
    """
    record: dict[str, Any] = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(sys.argv),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": package_versions(),
    }
    git = git_state(Path(__file__))
    if git is not None:
        record["git"] = git
    taken = sorted(set(record) & set(extra))
    if taken:
        msg = f"provenance has its own {', '.join(taken)}; choose other names"
        raise ConfigError(msg)
    return record | extra


def package_versions() -> dict[str, str]:
    """Versions of the `PACKAGES` that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # optional: its absence is the information
            continue
    return found


def git_state(file: Path) -> dict[str, Any] | None:
    """Return commit and dirty flag of the working tree that tracks ``file``.

    Returns
    -------
    dict or None
        None without git, outside of a repository, and for a file that the
        repository around it does not track (an installed package, say).
    """
    if shutil.which("git") is None:
        return None
    try:
        if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
            return None
        commit = _git(file.parent, "rev-parse", "HEAD")
        changes = _git(file.parent, "status", "--porcelain", "--untracked-files=no")
    except subprocess.TimeoutExpired:
        logger.warning("git takes too long; the provenance has no commit")
        return None
    if commit is None:  # a repository without commits
        return None
    return {"commit": commit, "dirty": bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    """Run git without locks, hooks or prompts; None if it fails."""
    finished = subprocess.run(
        ["git", "-C", str(folder), "-c", "core.fsmonitor=false", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=_GIT_TIMEOUT,
        env=os.environ | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
    )
    return finished.stdout.strip() if finished.returncode == 0 else None


def digest(content: Any) -> str:
    """Return the SHA-256 of plain data, whatever the order of its keys.

    Parameters
    ----------
    content : plain data
        What JSON can hold, without NaN and infinities.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    TypeError, ValueError
        If the content is not plain data.

    Examples
    --------
    >>> digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    True
    >>> digest([1, 2]) == digest([2, 1])
    False
    """
    canonical = json.dumps(
        content, sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
