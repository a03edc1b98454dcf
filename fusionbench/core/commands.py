"""The names of fusionbench's own commands, and command lines as messages advise them, ready to be pasted."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

OWN_COMMANDS = frozenset(
    [
        *("run", "status", "why", "ls", "plugins", "validate", "table", "report", "audit", "compare", "score"),
        *("import", "predict", "publish", "explain", "profile", "tune", "sync", "ui", "doctor", "new-plugin"),
        *("check", "data"),
    ]
)
"""A plugin's command of one of these names cannot be called."""
RESULTS = Path("results")
"""The results root where none is named."""
RESULTS_VARIABLE = "FUSIONBENCH_RESULTS"
"""Names another results root."""


def command(root: Path, *words: str) -> str:
    """`fusionbench WORDS`, with `--out` where the results root is not the one that is used where none is named."""
    usual = Path(os.environ.get(RESULTS_VARIABLE) or RESULTS)
    return shlex.join(["fusionbench", *words, *(["--out", str(root)] if root != usual else [])])
