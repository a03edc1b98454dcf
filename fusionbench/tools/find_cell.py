"""Which cell a key names: its first digits, or SUITE/KEY where cells of several suites begin with them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fusionbench.core.commands import command
from fusionbench.core.errors import ResultsError
from fusionbench.core.file_names import is_plain
from fusionbench.results.store import Store, suites_under

_KEY = re.compile(r"(?:(?P<suite>[^/]+)/)?(?P<start>[0-9a-f]{1,20})")
_SHOWN = 5


@dataclass(frozen=True)
class CellKey:
    """A key as the command line takes it.

    Attributes:
        suite: empty = any.
        start: the first digits.
    """

    suite: str
    start: str

    @classmethod
    def parse(cls, text: str) -> CellKey:
        """Read KEY or SUITE/KEY.

        Raises:
            ResultsError: it is neither.
        """
        match = _KEY.fullmatch(text)
        if match is None or not is_plain(match["suite"] or "any"):
            raise ResultsError(f"{text!r} is no cell key: write its first digits, 0-9 and a-f, or SUITE/KEY")
        return cls(match["suite"] or "", match["start"])

    def stored(self, out: Path) -> list[tuple[str, str]]:
        """Suite and whole key of each stored cell that it names."""
        suites = [self.suite] if self.suite else suites_under(out, "cells")
        keys = ((suite, key) for suite in suites for key in Store(out, suite).keys())  # noqa: SIM118
        return [(suite, key) for suite, key in keys if key.startswith(self.start)]

    def only(self, found: list[tuple[str, str]], out: Path) -> tuple[str, str]:
        """The single cell that was found.

        Raises:
            ResultsError: there is none, or there are several; names them as the command line takes them.
        """
        if not found:
            where = f"of suite {self.suite}" if self.suite else "of any suite"
            keys = command(out, "status", self.suite or "SUITE", "--json")
            raise ResultsError(f"no cell {where} under {out} has a key that begins with {self.start}; keys: {keys}")
        if len(found) > 1:
            names = ", ".join("/".join(one) for one in found[:_SHOWN])
            raise ResultsError(f"{self.start!r} names {len(found)} cells: {names}; write one of these")
        return found[0]


def find_cell(out: Path, text: str) -> tuple[Store, str]:
    """The store and the whole key of the stored cell that `text` names.

    Raises:
        ResultsError: no such cell, or several.
    """
    key = CellKey.parse(text)
    suite, whole = key.only(key.stored(out), out)
    return Store(out, suite), whole
