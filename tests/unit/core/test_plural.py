"""Numbers with their noun, in the pages that most readers see."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fusionbench
from fusionbench.core.plural import plural

SOURCE = Path(fusionbench.__file__).parent
WRITTEN = re.compile(
    r"\{(?!plural)[^{}:]*\} (cells|cases|rows|means|scores|external tests|trained networks)\b(?! (are|were))"
)


@pytest.mark.parametrize(
    ("n", "words", "said"),
    [
        (0, ("cell",), "0 cells"),
        (1, ("cell",), "1 cell"),
        (2, ("cell",), "2 cells"),
        (1, ("modality", "modalities"), "1 modality"),
        (3, ("modality", "modalities"), "3 modalities"),
    ],
)
def test_one_is_in_the_singular(n: int, words: tuple[str, ...], said: str) -> None:
    assert plural(n, *words) == said


@pytest.mark.parametrize("place", ["tools/audit", "cli/run.py", "report/document.py", "report/findings/external.py"])
def test_counts_of_audit_run_and_table_use_it(place: str) -> None:
    files = [SOURCE / place] if place.endswith(".py") else sorted((SOURCE / place).glob("*.py"))
    lines = [line for file in files for line in file.read_text().splitlines() if 'f"' in line]
    assert [line.strip() for line in lines if WRITTEN.search(line)] == []
