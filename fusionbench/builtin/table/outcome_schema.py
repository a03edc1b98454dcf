"""Table `[outcome]` of a cohort's TOML: follow-up, or a column of classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Tag, model_validator

from fusionbench.builtin.table.cells import plain

Value = bool | int | float | str


def _values(said: Any) -> Any:
    """A list or a single value as a tuple of texts, numbers, true and false."""
    values = tuple(said) if isinstance(said, (list, tuple)) else (said,)
    if not all(isinstance(value, Value) for value in values):
        raise ValueError("write a text or a number, or a list of them")
    return values


Values = Annotated[tuple[Value, ...], BeforeValidator(_values)]
NamedValues = Annotated[
    Annotated[Values, Tag("list")] | Annotated[Mapping[str, Values], Tag("table")],
    Discriminator(lambda value: "table" if isinstance(value, Mapping) else "list"),
]
"""Cells that are called what they are, or name to its cells."""


def cell_text(value: Value) -> str:
    """A value of the TOML as a cell has it."""
    return str(value).lower() if isinstance(value, bool) else str(value).strip()


class Strict(BaseModel):
    """A table of the TOML; a key that it does not have is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_OF_FOLLOW_UP = ("time", "unit", "event", "censorship", "observed", "censored")
_OF_CLASSES = ("column", "positive", "negative", "classes")


def _foreign(said: Any, keys: tuple[str, ...]) -> str:
    return ", ".join(key for key in keys if isinstance(said, Mapping) and key in said)


class OutcomeSchema(Strict):
    """Table `[outcome]`: follow-up times, and whether they ended with the event.

    Attributes:
        task: "survival"; for classes see below.
        time: column of the follow-up.
        unit: of that column; the harness has months (a day is 1/30.4375 of one).
        event: column in which 1 = the event was observed; this key or `censorship`, not both.
        censorship: column in which 1 = the follow-up ended without the event.
        observed: cells that mean that the event was observed, where they are not 1 and 0.
        censored: cells that mean that the follow-up ended without the event; both keys or neither.
        endpoint: for titles.
    """

    task: Literal["survival"] = "survival"
    time: str
    unit: Literal["day", "week", "month", "year"]
    event: str | None = None
    censorship: str | None = None
    observed: Values = ()
    censored: Values = ()
    endpoint: str = "overall survival"

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, said: Any) -> Any:
        foreign = _foreign(said, _OF_CLASSES)
        if foreign:
            raise ValueError(
                f'{foreign} belongs to an outcome of classes: say task = "binary" or task = "multiclass", or leave it '
                "out where the outcome is survival"
            )
        return said

    @model_validator(mode="after")
    def _check_event_columns(self) -> OutcomeSchema:
        if (self.event is None) == (self.censorship is None):
            raise ValueError("name one column: event (1 = observed) or censorship (1 = censored)")
        if bool(self.observed) != bool(self.censored):
            raise ValueError("give both observed and censored, the cells that mean each, or neither")
        both = sorted(set(map(str, self.observed)) & set(map(str, self.censored)))
        if both:
            raise ValueError(f"{both[0]!r} stands under observed and under censored; a cell means one of them")
        return self

    @property
    def title(self) -> str:
        """What is predicted."""
        return self.endpoint

    @property
    def flag(self) -> str:
        """The column that says how the follow-up ended."""
        return str(self.event if self.censorship is None else self.censorship)

    @property
    def columns(self) -> dict[str, str]:
        """Column of the case table to what it is."""
        return {self.time: "the time", self.flag: "the outcome"}

    @property
    def named(self) -> dict[str, str]:
        """Key to the column of the case table that it names."""
        return {"time": self.time, "event" if self.event else "censorship": self.flag}


class ClassOutcomeSchema(Strict):
    """Table `[outcome]` where `task` says that a class is predicted.

    A case with an empty cell has no class: it can be predicted on, and is left out of anything else.

    Attributes:
        task: "binary" (two classes) or "multiclass" (three or more).
        column: of the case table; it says which class a case is of.
        positive: binary: the cells that mean the positive class, which is called like the first of them.
        negative: binary: the cells that mean the other class; not needed where the column has one other value.
        classes: instead of both: the names of the classes in their order, of two the second is the positive one; or a
            table of a name and the cells that mean it.
        endpoint: for titles; by default the column's name.
    """

    task: Literal["binary", "multiclass"]
    column: str
    positive: Values = ()
    negative: Values = ()
    classes: NamedValues = ()
    endpoint: str = ""

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, said: Any) -> Any:
        foreign = _foreign(said, _OF_FOLLOW_UP)
        if foreign:
            raise ValueError(
                f"{foreign} belongs to survival, and task = {said['task']!r} has `column`: leave one of them out, or "
                "describe each outcome in a TOML of its own"
            )
        return said

    @model_validator(mode="after")
    def _check_classes(self) -> ClassOutcomeSchema:
        if self.task == "multiclass" and (self.positive or self.negative):
            raise ValueError("positive and negative are of two classes; name those of task = 'multiclass' by classes")
        if self.classes and (self.positive or self.negative):
            raise ValueError("classes says what positive and negative say; give one of them")
        if self.negative and not self.positive:
            raise ValueError("negative needs positive, the cells that mean the positive class")
        cells = self.cells
        if self.classes and (len(cells) == 2) != (self.task == "binary"):
            wanted, other = ("two", "multiclass") if self.task == "binary" else ("three or more", "binary")
            raise ValueError(
                f"task = {self.task!r} has {wanted} classes, and `classes` names {len(cells)}: correct them"
                + (f", or say task = {other!r}" if len(cells) > 1 else "")
            )
        empty = [name for name, of in cells.items() if not of or not name.strip()]
        if empty:
            raise ValueError(f"class {empty[0]!r} has no name or no cell; name the cells that mean it")
        twice = [text for text, n in Counter(plain(cell_text(v)) for of in cells.values() for v in of).items() if n > 1]
        if twice:
            raise ValueError(f"{twice[0]!r} stands there twice; a cell means one class")
        return self

    @property
    def title(self) -> str:
        """What is predicted."""
        return self.endpoint or self.column

    @property
    def cells(self) -> dict[str, tuple[Value, ...]]:
        """Name of each class that is said to its cells, in the order of the classes; of one, it is the positive one."""
        if isinstance(self.classes, Mapping):
            return {name: tuple(of) for name, of in self.classes.items()}
        if self.classes:
            return {cell_text(value): (value,) for value in self.classes}
        return {cell_text(of[0]): of for of in (self.negative, self.positive) if of}

    @property
    def columns(self) -> dict[str, str]:
        """Column of the case table to what it is."""
        return {self.column: "the outcome"}

    @property
    def named(self) -> dict[str, str]:
        """Key to the column of the case table that it names."""
        return {"column": self.column}


OUTCOMES: Mapping[str, type[OutcomeSchema] | type[ClassOutcomeSchema]] = {
    "survival": OutcomeSchema,
    "classes": ClassOutcomeSchema,
}


def _kind(said: Any) -> str:
    task = str(said.get("task", "survival")) if isinstance(said, Mapping) else getattr(said, "task", "survival")
    return "classes" if task in ("binary", "multiclass") else task


Outcome = Annotated[
    Annotated[OutcomeSchema, Tag("survival")] | Annotated[ClassOutcomeSchema, Tag("classes")], Discriminator(_kind)
]
"""Either of them, as `task` says."""
