"""Command lines as messages advise them, ready to be pasted."""

from __future__ import annotations

import shlex
from pathlib import Path

RESULTS = Path("results")
"""The results root where none is named."""


def command(root: Path, *words: str) -> str:
    """`fusionbench WORDS`, with `--out` where the results root is not the usual one."""
    return shlex.join(["fusionbench", *words, *(["--out", str(root)] if root != RESULTS else [])])
