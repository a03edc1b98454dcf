"""How many examples a fuzz test draws, and the nasty values that all of them mix in."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st

from fusionbench.core.errors import FusionBenchError

ASKED = os.environ.get("FUSIONBENCH_FUZZ", "")
FUZZ = settings(
    max_examples={"": 500, "long": 20_000}.get(ASKED) or int(ASKED),
    derandomize=not ASKED,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
"""500 examples, the same in every run; FUSIONBENCH_FUZZ=long makes it 20,000, a number as many, others in every run."""


def clear(error: FusionBenchError) -> None:
    """An error that says something; hypothesis counts its kind."""
    event(type(error).__name__)
    if not str(error).strip():
        raise AssertionError(f"{type(error).__name__} without a message")


NASTY = st.sampled_from(
    [
        *("", " ", ".", "..", "../x", "/etc/passwd", "a\x00b", "x" * 300, "CON", "nul.txt", "a:b", "\\\\host\\x", "~"),
        *(
            "<script>alert(1)</script>",
            "{{7*7}}",
            "%s%n",
            "$(id)",
            "`id`",
            "' or 1=1",
            '"',
            "'",
            "[",
            "]",
            "=",
            ",",
            "#",
        ),
        *("é", "ａ", "\u202e", "\ud7ff", "\U0001f4a9", "\n", "\r\n", "\t", "nan", "inf", "-inf", "1e400", "-0", "None"),
    ]
)
TEXTS = st.one_of(NASTY, st.text(max_size=12))
NUMBERS = st.one_of(
    st.integers(-2, 12), st.sampled_from([10**30, -(10**30), 2**63, 0]), st.floats(width=32), st.floats(-1, 2)
)
SCALARS: st.SearchStrategy[Any] = st.one_of(TEXTS, NUMBERS, st.booleans())
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
