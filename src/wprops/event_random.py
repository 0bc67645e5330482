"""Random numbers and folds that follow from the identity of an event alone.

Run, luminosity block and event number are hashed, so that neither the chunk nor the
order in which events are read matters. `event_uniform` gives numbers for smearing;
``event_hash(run, luminosity_block, event) % 20`` assigns events to twenty folds. A
fold says nothing about the numbers of its events: the remainder depends on the lowest
bits of the hash, which the uniform number leaves out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.errors import InputError

# Makes the numbers independent of other hashes of the event number.
_SALT = np.uint64(0x526F6363_6F52_0001)


def event_hash(
    run: ArrayLike,
    luminosity_block: ArrayLike,
    event: ArrayLike,
    stream: ArrayLike = 0,
) -> NDArray[np.uint64]:
    """Hash the identity of each event to 64 bits, all of them equally random.

    The four numbers go through the finaliser of splitmix64 one after the other.

    Parameters
    ----------
    run, luminosity_block, event : array_like of int, shape (n,)
        Identity of the event. Scalars count for all.
    stream : array_like of int, shape (n,)
        Which one of the numbers of an event, such as the index of a muon before any
        selection.

    Returns
    -------
    ndarray of uint64, shape (n,)

    Raises
    ------
    InputError
        If the numbers are no integers: event numbers do not fit into floats.

    Examples
    --------
    >>> (event_hash(1, 7, [100, 101, 102, 103]) % 20).tolist()
    [13, 5, 6, 17]
    """
    keys = {"run": run, "luminosity_block": luminosity_block}
    keys |= {"event": event, "stream": stream}
    state = np.array([_SALT])
    for name, key in keys.items():
        words = np.asarray(key)
        if words.dtype.kind not in "iu":
            msg = (
                f"{name} has the type {words.dtype}; give integers as NanoAOD has "
                "them, flat and of one length"
            )
            raise InputError(msg)
        state = _mix(state + words.astype(np.uint64))
    return state


def event_uniform(
    run: ArrayLike,
    luminosity_block: ArrayLike,
    event: ArrayLike,
    stream: ArrayLike = 0,
) -> NDArray[np.float64]:
    """Return a uniform random number for each event, or for each muon in it.

    Parameters
    ----------
    run, luminosity_block, event, stream : array_like of int, shape (n,)
        As in `event_hash`.

    Returns
    -------
    ndarray, shape (n,)
        Uniform in the open interval (0, 1), in steps of 2^-52.

    Raises
    ------
    InputError
        If the numbers are no integers: event numbers do not fit into floats.

    Examples
    --------
    >>> event_uniform(1, 7, [100, 101, 100], [0, 0, 1]).round(3)
    array([0.116, 0.612, 0.356])
    """
    words = event_hash(run, luminosity_block, event, stream)
    return ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread each word over all 64 bits (one step of splitmix64)."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
