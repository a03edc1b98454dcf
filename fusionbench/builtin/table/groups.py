"""Finds the column of patients in a table of slides that names no `group`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from fusionbench.builtin.table.sheets import Sheet, text_of
from fusionbench.core.types import SurvivalTarget
from fusionbench.data.inspection.checks import like_outcome

MIN_REPEATED = 3
"""Values of a column that stand in several rows each, from which on equal follow-up in all of them means something."""
MAX_ROWS = 3.0
"""Rows a value on average up to which a column may be of patients; a hospital has more."""


def propose_groups(sheet: Sheet, targets: Sequence[SurvivalTarget | None], claimed: Collection[str]) -> Iterator[str]:
    """A line for each column that looks like the patient: rows with one value of it always have one follow-up.

    Args:
        targets: of the rows.
        claimed: columns that are something else.
    """
    for column in sheet.columns:
        if column in claimed or like_outcome(column):
            continue
        rows: dict[str, list[int]] = {}
        for row, cell in enumerate(sheet.frame[column]):
            rows.setdefault(text_of(cell), []).append(row)
        repeated = [of for of in rows.values() if len(of) > 1]
        if "" in rows or len(repeated) < MIN_REPEATED or len(targets) > MAX_ROWS * len(rows):
            continue
        if all(targets[of[0]] is not None and len({targets[i] for i in of}) == 1 for of in repeated):
            yield (
                f"{len(targets)} rows of {sheet.name} have {len(rows)} values of {column!r}, and rows with one of them "
                f'have one follow-up: if it is the patient, say group = "{column}", or a patient stands on both sides '
                "of a split"
            )
