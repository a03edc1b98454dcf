"""Finds the column of patients in a table of slides that names no `group`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from fusionbench.builtin.table.cells import text_of
from fusionbench.builtin.table.sheets import Sheet
from fusionbench.core.data_warning import DataWarning, Fix
from fusionbench.core.types import ClassTarget, Target
from fusionbench.data.inspection.checks import like_outcome

MIN_REPEATED = 3
"""Values of a column that stand in several rows each, from which on equal outcomes in all of them means something."""
BY_CHANCE = 0.01
"""Probability below which equal outcomes of all rows with one value are no coincidence."""
MAX_ROWS = 3.0
"""Rows a value on average up to which a column may be of patients; a hospital has more."""


def propose_groups(
    sheet: Sheet, ids: Sequence[str], targets: Sequence[Target | None], claimed: Collection[str]
) -> Iterator[DataWarning]:
    """A warning with the column that looks like the patient: rows with one value of it always have one follow-up.

    Args:
        ids, targets: of the rows.
        claimed: columns that are something else.
    """
    patients = {c: _patients(sheet, c, targets) for c in sheet.columns if c not in claimed and not like_outcome(c)}
    column = min((c for c, n in patients.items() if n), key=lambda c: patients[c], default=None)
    if column is not None:
        outcome = "class" if any(isinstance(target, ClassTarget) for target in targets) else "follow-up"
        shared = sheet.frame[column].map(text_of).duplicated(keep=False)
        yield DataWarning(
            "group-unnamed",
            "cases",
            f"{len(targets)} rows of {sheet.name} have {patients[column]} values of {column!r}, and rows with one of "
            f'them have one {outcome}: if it is the patient, say group = "{column}", or a patient stands on both sides '
            "of a split",
            tuple(id_ for id_, several in zip(ids, shared, strict=True) if several and id_),
            (Fix((), "group", column),),
        )


def _patients(sheet: Sheet, column: str, targets: Sequence[Target | None]) -> int:
    """Number of values of a column that may be of patients; 0 where it is not one."""
    rows: dict[str, list[int]] = {}
    for row, cell in enumerate(sheet.frame[column]):
        text = text_of(cell)
        if not text or (isinstance(cell, float) and "." in text):  # a measurement is no id
            return 0
        rows.setdefault(text, []).append(row)
    repeated = [of for of in rows.values() if len(of) > 1]
    if len(repeated) < MIN_REPEATED or len(targets) > MAX_ROWS * len(rows):
        return 0
    alike = all(targets[of[0]] is not None and len({targets[i] for i in of}) == 1 for of in repeated)
    return len(rows) if alike and _by_chance(targets, repeated) < BY_CHANCE else 0


def _by_chance(targets: Sequence[Target | None], repeated: Sequence[Sequence[int]]) -> float:
    """Probability that rows drawn at random have one outcome in each of these sets; few classes agree easily."""
    shares = [n / len(targets) for n in Counter(targets).values()]
    return math.prod(sum(share ** len(of) for share in shares) for of in repeated)
