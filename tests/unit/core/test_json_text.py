"""`json_text` writes strict JSON, whatever the value."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fusionbench.core.json_text import json_text


@dataclass(frozen=True)
class Row:
    place: Path
    values: tuple[float, ...]


def strict(text: str) -> Any:
    """Read JSON as a strict parser does: Python's own also takes NaN and Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_every_value_is_strict_json() -> None:
    value = {
        "row": Row(Path("a/b"), (1.5, float("nan"))),
        3: [np.int64(7), np.float64("inf"), np.array([1.0, np.nan]), np.bool_(True)],
        "set": frozenset({"x"}),
        "none": (None, True, -float("inf")),
    }
    assert strict(json_text(value)) == {
        "row": {"place": "a/b", "values": [1.5, None]},
        "3": [7, None, [1.0, None], True],
        "set": ["x"],
        "none": [None, True, None],
    }
