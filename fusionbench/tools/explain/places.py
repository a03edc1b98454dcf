"""Names from files as names of folders, so that nothing is written outside the results."""

from __future__ import annotations

import hashlib
import re

LONGEST = 60


def safe(text: str) -> str:
    """A name for a folder or a file, made of letters, digits, `.`, `_` and `-`.

    A name that is not changed stays as it is; another one carries a digest of itself, so that two stay two.
    """
    kept = re.sub(r"[^A-Za-z0-9._-]", "_", text).strip(".")[:LONGEST]
    if kept == text and kept:
        return kept
    return f"{kept or 'name'}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
