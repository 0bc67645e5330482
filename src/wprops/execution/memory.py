"""Keep freed memory in the process, instead of asking the kernel for it again.

The arrays of a chunk are so large that glibc maps each of them anew, and the kernel
clears every page at first use: up to a third of the time of a chunk. Memory that stays
with the process is used by the next chunk as it is.
"""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache

#: Parameters of mallopt(3), from malloc.h: freed memory at the top of the heap is not
#: given back, arrays of any size come from it, and all threads share one heap.
_OPTIONS = {
    "M_TRIM_THRESHOLD": (-1, 2**31 - 1),
    "M_TOP_PAD": (-2, 256 * 2**20),
    "M_MMAP_THRESHOLD": (-3, 2**31 - 1),
    "M_ARENA_MAX": (-8, 1),
}


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Let the C library keep what is freed; false where it is not that of GNU."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(*option) == 1 for option in _OPTIONS.values())
