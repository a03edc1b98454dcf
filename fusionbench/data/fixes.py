"""What answers a problem or a warning about a cohort of a user's own: keys of the cohort's TOML with their values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import tomli_w

from fusionbench.core.data_warning import Fix


class Problem(str):
    """A line that says what is wrong, with the keys that would answer it."""

    fixes: tuple[Fix, ...]

    def __new__(cls, text: str, *fixes: Fix) -> Problem:
        """The line; `fixes` is empty where only the file can be corrected."""
        line = super().__new__(cls, text)
        line.fixes = fixes
        return line


def toml_lines(fixes: Iterable[Fix], present: Mapping[str, Any]) -> str:
    """TOML that holds each key of the fixes once, with what is there already.

    Args:
        present: the cohort's TOML as it is, parsed.
    """
    made: dict[str, Any] = {}
    for fix in fixes:
        table, there = made, present
        for name in fix.table:
            table, there = table.setdefault(name, {}), there.get(name, {})
        table[fix.key] = _with(table.get(fix.key, there.get(fix.key)), fix.value)
    return tomli_w.dumps(made)


def _with(before: Any, value: Any) -> Any:
    """A list or a mapping with more in it; any other value instead of the one before."""
    if isinstance(value, Mapping):
        return {**(before or {}), **value}
    if isinstance(value, (list, tuple)):
        known = [before] if isinstance(before, str) else list(before or ())
        return list(dict.fromkeys([*known, *value]))
    return value
