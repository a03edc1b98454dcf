"""Named sub-seeds: a random choice depends on the factors named here and on nothing else.

So adding a model to a suite, running cells in another order or in another process leaves every other number alone.
"""

from __future__ import annotations

import hashlib


def derive(seed: int, purpose: str, *factors: str | int) -> int:
    """A seed in [0, 2**63) for `purpose`, depending on the root seed, the purpose and the factors only."""
    text = "\x1f".join([str(seed), purpose, *map(str, factors)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
