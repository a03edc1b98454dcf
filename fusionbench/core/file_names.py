"""File names for names that users choose (models, suites, cases): never a path, valid on every file system."""

from __future__ import annotations

import hashlib
import re

LONGEST = 80
"""Letters; with an ending and a temporary prefix still far from what any file system takes."""
_PLAIN = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{LONGEST - 1}}}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices, whatever ending follows."""


def is_plain(name: str) -> bool:
    """Whether a name is a file's name everywhere as it stands: letters, digits, `_`, `-`, `.`, none of them leading."""
    return _PLAIN.fullmatch(name) is not None and not name.endswith(".") and _RESERVED.fullmatch(name) is None


def filename(text: str) -> str:
    """A plain name for any text: the text itself where it is one, else its plain letters and a hash of all of it.

    Different texts have different names.
    """
    if is_plain(text) and not re.search(r"-[0-9a-f]{12}\Z", text):
        return text
    kept = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_")[: LONGEST - 20] or "name"
    return f"{kept}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
