"""The column of classes of a case table: which cells mean which class; every fault is told once, with its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from fusionbench.builtin.table.cells import plain
from fusionbench.builtin.table.column_selection import Problems
from fusionbench.builtin.table.outcome_schema import ClassOutcomeSchema, cell_text
from fusionbench.builtin.table.sheets import Sheet, nearest
from fusionbench.builtin.table.values import as_texts, row_text, spelt, without
from fusionbench.core.data_warning import Fix
from fusionbench.core.types import ClassTarget
from fusionbench.data.fixes import Problem
from fusionbench.data.inspection.levels import counted, spellings, unknown_levels
from fusionbench.data.split_files import numbered

MEASUREMENT = 10
"""Different numbers in a column above which they are a measurement rather than names of classes."""
SHOWN = 6
"""Values that are listed in a message."""


@dataclass(frozen=True)
class ClassColumn:
    """What a column of classes says.

    Attributes:
        targets: of each row; None where the cell is empty or means no class.
        faulty: ids of the cases whose cell means no class.
        classes: names in their order; empty where nothing says what they are.
    """

    targets: list[ClassTarget | None]
    faulty: frozenset[str]
    classes: tuple[str, ...]


def read_classes(sheet: Sheet, schema: ClassOutcomeSchema, ids: Sequence[str], problems: Problems) -> ClassColumn:
    """The class of each row.

    Args:
        ids: of the rows.
        problems: gets one line per kind of fault: spellings, cells of no class, values that are no classes.
    """
    return _Reader(sheet, schema, ids, problems).read()


class _Reader:
    """Reads one column; faults are added to the problems, and the rest is read as if they were corrected."""

    def __init__(self, sheet: Sheet, schema: ClassOutcomeSchema, ids: Sequence[str], problems: Problems) -> None:
        self.sheet, self.schema, self.ids, self.problems = sheet, schema, ids, problems
        self.column = schema.column
        self.texts = as_texts(sheet.frame[self.column], sheet.form(self.column))
        self.cells = {name: [cell_text(value) for value in of] for name, of in schema.cells.items()}
        self.meaning = {plain(value): name for name, of in self.cells.items() for value in of}

    def read(self) -> ClassColumn:
        """The targets; no fault is told of a column without a filled cell, as new patients have it."""
        if any(self.texts):
            self._spell_alike()
            self._leave_out_unknown()
            self._name_classes()
        names = tuple(dict.fromkeys(self.meaning.values()))
        if len(names) < 2:
            names, self.meaning = (), {}
        labels = [None if text is None else self.meaning.get(plain(text)) for text in self.texts]
        faulty = (i for i, text in enumerate(self.texts) if text is not None and labels[i] is None)
        targets = [None if label is None else ClassTarget(label) for label in labels]
        return ClassColumn(targets, frozenset(self.ids[i] for i in faulty), names)

    @property
    def _levels(self) -> dict[str, int]:
        """Filled cells, each with its number of rows, the commonest first."""
        sizes = Counter(text for text in self.texts if text is not None)
        return dict(sorted(sizes.items(), key=lambda level: (-level[1], level[0])))

    @property
    def _rest(self) -> dict[str, int]:
        """Those of them that are not said to mean a class."""
        return {text: n for text, n in self._levels.items() if plain(text) not in self.meaning}

    @cached_property
    def _where(self) -> str:
        return f"{self.sheet.name}, column {self.column!r}"

    def _tell(self, text: str, *fixes: Fix) -> None:
        self.problems.append(Problem(text, *fixes))

    def _spell_alike(self) -> None:
        """Write cells alike that differ by case or spaces only."""
        rest, said = self._rest, [value for of in self.cells.values() for value in of]
        same = {text: alike for text in rest if (alike := spelt(text, said)) is not None}
        same |= spellings({text: n for text, n in rest.items() if text not in same})
        if not same:
            return
        levels = self._levels
        pairs = ", ".join(f"{text!r} ({n}) and {same[text]!r}" for text, n in levels.items() if text in same)
        self._tell(
            f"{self._where}: classes differ by case or spaces only: {pairs}; write them alike, or say replace under "
            f'[column."{self.column}"]',
            Fix(("column", self.column), "replace", same),
        )
        self.texts = [None if text is None else same.get(text, text) for text in self.texts]

    def _leave_out_unknown(self) -> None:
        """Empty the cells that look like "not known" and are not said to mean a class."""
        rest, levels = self._rest, self._levels
        unknown = [text for text in unknown_levels(levels) if text in rest]
        if not unknown:
            return
        self._tell(
            f"{self._where}: {counted(levels, unknown)} looks like 'not known'; say missing = "
            f'[{_quoted(unknown)}] under [column."{self.column}"], or name it as a class',
            Fix(("column", self.column), "missing", unknown),
        )
        self.texts = [None if text in unknown else text for text in self.texts]

    def _name_classes(self) -> None:
        """Find what the cells mean that the TOML does not name."""
        rest = self._rest
        if len(rest) > MEASUREMENT and self._are_numbers(rest):
            form = self.sheet.form(self.column)
            values = sorted(form.number(text) or 0.0 for text in rest)
            self._tell(
                f"{self._where}: {len(rest)} different numbers, from {values[0]:g} to {values[-1]:g}, are a "
                "measurement and no classes; add a column with a class for each case, such as low and high, and name "
                "it under [outcome]"
            )
        elif len(self.cells) > 1:
            self._check_all_named(rest)
        elif len(self._levels) == 1:
            self._tell(f"{self._where}: all filled cells are {next(iter(self._levels))!r}; two classes are needed")
        elif self.cells:
            self._find_negative(rest)
        elif rest:
            self._propose(rest)

    def _are_numbers(self, texts: Mapping[str, int]) -> bool:
        form = self.sheet.form(self.column)
        return all(form.number(text) is not None for text in texts)

    def _check_all_named(self, rest: Mapping[str, int]) -> None:
        rows = [i for i, text in enumerate(self.texts) if text in rest]
        if rows:
            text = str(self.texts[rows[0]])
            near = nearest(text, [value for of in self.cells.values() for value in of])
            said = ", ".join(n if of == [n] else f"{n} ({_quoted(of)})" for n, of in self.cells.items())
            self._tell(
                f"{self._where}, {row_text(self.sheet, rows)}: {text!r} is in no class{near}; the classes are {said}: "
                "add the cell to one under [outcome], correct it, or leave the case out",
                *([without(rows, self.ids)] if len(rows) < len(self.texts) / 2 else []),
            )

    def _find_negative(self, rest: Mapping[str, int]) -> None:
        """The class that is not the positive one."""
        ((name, of),) = self.cells.items()
        if len(rest) == len(self._levels):
            near = nearest(of[0], list(rest))
            self._tell(
                f"outcome.positive: no row of {self.sheet.name} has {_quoted(of)} in column {self.column!r}{near}, "
                f"which has {_shown(rest)}: correct it"
            )
        elif len(rest) == 1:
            (other,) = rest
            self.meaning = {plain(other): other, **self.meaning}
        else:
            self._tell(
                f"{self._where}: besides the positive {name!r} it has {len(rest)} values ({_shown(rest)}), and "
                'task = "binary" has one other class: name its cells, negative = [...], or say task = "multiclass" '
                "and classes = [...]"
            )

    def _propose(self, rest: Mapping[str, int]) -> None:
        """Read the values as classes, in the order of their numbers, where the TOML names none."""
        names = sorted(rest, key=numbered)
        self.meaning = {plain(text): text for text in names}
        if self.schema.task == "binary" or len(rest) == 2:
            self._tell(
                f"outcome: {self._where} has {len(rest)} values ({_shown(rest)}): say which cells mean the positive "
                'class, task = "binary" and positive = [...]'
                + ("" if len(rest) == 2 else ', or task = "multiclass" and classes = [...]')
            )
        else:
            self._tell(
                f"outcome: {self._where} has {len(rest)} values ({_shown(rest)}): say the classes in their order, "
                f"classes = [{_quoted(names)}]",
                Fix(("outcome",), "classes", names),
            )


def _quoted(texts: Sequence[str]) -> str:
    return ", ".join(f'"{text}"' for text in texts)


def _shown(levels: Mapping[str, int]) -> str:
    """`'no' 20, 'yes' 12, ...`."""
    return ", ".join(f"{text!r} {n}" for text, n in list(levels.items())[:SHOWN]) + (
        ", ..." if len(levels) > SHOWN else ""
    )
