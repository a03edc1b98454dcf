"""A cohort's published folds: a column of fold numbers or of train, val and test, or files of splits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fusionbench.builtin.table.column_selection import Problems
from fusionbench.builtin.table.sheets import count, examples, nearest
from fusionbench.builtin.table.slides import bare
from fusionbench.core.types import Case, Fold
from fusionbench.data.split_files import PAIRS, PARTS, Part, Split, numbered, part_of

SHOWN = 6


def folds_of_column(
    column: str, file: str, ids: Sequence[str], cells: Sequence[str], problems: Problems
) -> tuple[Fold, ...]:
    """One fold a number, which tests the cases that have it and trains on all others; or the one split of its words.

    Args:
        file: that has the column; for messages.
        ids: of the cases; `cells`: of the column, one a case.
        problems: gets a line where the column holds anything else.
    """
    where, labels = f"column {column!r} of {file}", [cell.removesuffix(".0") for cell in cells]
    values = sorted(set(labels), key=numbered)
    seen = ", ".join(map(repr, values[:SHOWN])) + (", ..." if len(values) > SHOWN else "")
    parts = {value: part_of(value) for value in values}
    if len(values) < 2:
        problems.append(f"folds: {where} holds one value; it needs two")
    elif any(parts.values()):
        if not all(parts.values()) or not {"train", "test"} <= set(parts.values()):
            problems.append(f"folds: {where} holds {seen}; a split has train, test and perhaps val: correct the cells")
            return ()
        of_part = {
            part: tuple(sorted(i for i, v in zip(ids, labels, strict=True) if parts[v] == part)) for part in PARTS
        }
        return (Fold(of_part["train"], of_part["val"], of_part["test"]),)
    elif part_of(column) or not all(re.fullmatch(r"\D*\d+", value) for value in values):
        problems.append(
            f"folds: {where} holds {seen}; write the number of the fold that tests a case, or train, val and test"
        )
    else:
        return tuple(
            Fold(
                train=tuple(sorted(i for i, v in zip(ids, labels, strict=True) if v != value)),
                val=(),
                test=tuple(sorted(i for i, v in zip(ids, labels, strict=True) if v == value)),
            )
            for value in values
        )
    return ()


def names(cases: Sequence[Case], owners: Mapping[str, str]) -> dict[str, list[str]]:
    """Name to the cases that it stands for: of a case, a group or a slide, also without folders and endings.

    Args:
        owners: slide to its case.
    """
    known: dict[str, list[str]] = {}
    for name, case in (*((c.group, c.id) for c in cases), *owners.items()):
        known.setdefault(name, []).append(case)
    known |= {case.id: [case.id] for case in cases}
    short: dict[str, list[str]] = {}
    for name in known:
        short.setdefault(bare(name), []).append(name)
    # 2019/034 and 2020/034 are two patients: what is shortened must mean one name.
    return known | {name: known[full[0]] for name, full in short.items() if name not in known and len(full) == 1}


@dataclass
class SplitReader:
    """Turns the ids of split files into cases, and counts what does not fit.

    Attributes:
        cases: of the cohort, in its order.
        known: name to the cases it stands for; see `names`.
        notes: one line each on ids that are unknown, cases that a split leaves out or that several test, and on files
            without a test part.
        problems: gets a line for each split of which a part stays empty, or that puts one case in two parts.
    """

    cases: Sequence[str]
    known: Mapping[str, Sequence[str]]
    problems: Problems
    notes: list[str] = field(default_factory=list)

    def folds(self, splits: Sequence[Split]) -> tuple[Fold, ...]:
        """One fold a split."""
        named = dict.fromkeys(id_ for split in splits for ids in split.ids.values() for id_ in ids)
        unknown = [id_ for id_ in named if not self._meant(id_)]
        if splits and len(unknown) == len(named):
            self.problems.append(
                f"splits: no id of {splits[0].name} is a case, a group or a slide of this cohort "
                f"{examples(named, self.cases)}; write them alike"
            )
            return ()
        if unknown:
            near = nearest(bare(unknown[0]), list(self.known))
            self.notes.append(
                f"splits: {len(unknown)} of {count(len(named), 'id')} are no case, group or slide of this cohort, the "
                f"first is {unknown[0]!r}{near}: left out"
            )
        folds = tuple(self._fold(split) for split in splits)
        self._count(splits, folds)
        return folds

    def _meant(self, id_: str) -> Sequence[str]:
        """The cases that an id stands for; a whole number in a column with empty cells may be written as 12.0."""
        names_ = (id_, bare(id_), id_.removesuffix(".0"))
        return next((self.known[name] for name in names_ if name in self.known), ())

    def _fold(self, split: Split) -> Fold:
        of_part: dict[Part, set[str]] = {
            part: {case for id_ in ids for case in self._meant(id_)} for part, ids in split.ids.items()
        }
        for part, members in of_part.items():
            if not members and part != "val":
                self.problems.append(f"splits: {split.name} has no case of this cohort in {part}")
        for first, second in PAIRS:
            both = of_part[first] & of_part[second]
            if both:
                self.problems.append(
                    f"splits: {split.name} has slides of {count(len(both), 'case')} in both {first} and {second}, the "
                    f"first is {min(both)!r}; a case stands on one side: split the cases"
                )
        return Fold(*(tuple(sorted(of_part[part])) for part in PARTS))

    def _count(self, splits: Sequence[Split], folds: Sequence[Fold]) -> None:
        left: dict[str, str] = {}
        for split, fold in zip(splits, folds, strict=True):
            for case in sorted(set(self.cases) - {*fold.train, *fold.val, *fold.test}):
                left.setdefault(case, split.name)
        if left:
            case, file = next(iter(left.items()))
            self.notes.append(
                f"splits: {count(len(left), 'case')} in no part of a split, the first is {case!r} in {file}: left out "
                "of that fold"
            )
        often = [case for case, n in Counter(case for fold in folds for case in fold.test).items() if n > 1]
        if often:
            self.notes.append(
                f"splits: {count(len(often), 'case')} tested by several splits, the first is {often[0]!r}"
            )
        if any(split.tests_val for split in splits):
            self.notes.append("splits: no part is called test, so that val is what is tested, as PORPOISE publishes it")
