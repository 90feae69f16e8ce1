"""What the daemon does without, to be small."""

from __future__ import annotations

import gc
import sys

HEAP_MB = 8  # the daemon has some 12 MB of small objects once it runs, 3 of them before it takes these
_BLOCK_BYTES = 512  # the largest that Python takes from an arena
_BLOCKS_PER_MB = (1 << 20) // _BLOCK_BYTES
_anchors: list[bytes] = []


def leave_out_openssl() -> None:
    """Keep Python's OpenSSL out of this process: 5 MB of 38.

    asyncio and hashlib use it if it is there and do without it otherwise; the agent's TLS is that of awscrt. Call
    before anything imports asyncio. Changes nothing in a process that has it already.
    """
    for module in ("ssl", "_hashlib"):
        if module not in sys.modules:
            sys.modules[module] = None  # type: ignore[assignment] # the import system's own mark for "not to be had"


def keep_heap_together(megabytes: int = HEAP_MB) -> None:
    """Let Python take what its heap will need in one piece, so that much of it fits into huge pages later.

    It asks for an arena of 1 MB at a time, which otherwise come to lie between the libraries that are loaded meanwhile.
    An arena is given back when nothing is in it: one small object remains in each. Call before the imports.
    """
    blocks = [bytes(_BLOCK_BYTES - sys.getsizeof(b"")) for _ in range(megabytes * _BLOCKS_PER_MB)]
    _anchors.extend(blocks[:: _BLOCKS_PER_MB // 2])


def settle_memory() -> None:
    """What lives until the end need not be searched for garbage again and again: call once all is built."""
    gc.collect()
    gc.freeze()
