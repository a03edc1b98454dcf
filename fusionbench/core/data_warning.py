"""What looks wrong about a cohort, and which keys of a cohort's TOML answer it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fix:
    """A key of a cohort's TOML that answers a problem or a warning.

    Attributes:
        table: the TOML table it stands in, `("modality", "clinical")`; empty for the top of the file.
        key: its name.
        value: a list or a mapping is added to what the TOML has there; any other value replaces it.
    """

    table: tuple[str, ...]
    key: str
    value: Any


@dataclass(frozen=True)
class DataWarning:
    """Something about a cohort that may be right and mostly is not.

    Attributes:
        kind: a name that programs can rely on; docs/own-data.md says when each is given.
        where: the modality, or `follow-up`, `cases`, `folds`.
        text: what was seen, with numbers, and what to do; one line, which names the first few of `names`.
        names: every column, case or group that it is about.
        fixes: keys of the cohort's TOML that answer it; none where only a person can tell.
    """

    kind: str
    where: str
    text: str
    names: tuple[str, ...] = ()
    fixes: tuple[Fix, ...] = ()
