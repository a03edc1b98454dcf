"""Command lines as messages advise them, ready to be pasted."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

RESULTS = Path("results")
"""The results root where none is named."""
RESULTS_VARIABLE = "FUSIONBENCH_RESULTS"
"""Names another results root."""


def command(root: Path, *words: str) -> str:
    """`fusionbench WORDS`, with `--out` where the results root is not the one that is used where none is named."""
    usual = Path(os.environ.get(RESULTS_VARIABLE) or RESULTS)
    return shlex.join(["fusionbench", *words, *(["--out", str(root)] if root != usual else [])])
