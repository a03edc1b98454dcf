"""How cells are written: decimal sign, thousands, units, texts that mean "not known"; and what looks like numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from fusionbench.builtin.table.units import MINUS, SPACES, different, factors, unit_of, units_of

NEARLY = 0.9
"""Share of the texts of a column that a form has to read as numbers, for the column to look like numbers."""

_FORMS = ((".", ""), (",", ""), (".", ","), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'"))
"""Decimal sign and thousands separator, those without the latter first."""


@dataclass(frozen=True)
class CellForm:
    """How the cells of a column are written.

    Attributes:
        decimal: sign before the fraction. thousands: sign between groups of three digits; empty = none.
        units: texts that may stand before or behind a number, such as `%` and `kg`; the number is read as it stands.
        missing: cells that mean "not known".
        replace: cell to the cell that it stands for; an empty one means "not known".
    """

    decimal: str = "."
    thousands: str = ""
    units: tuple[str, ...] = ()
    missing: frozenset[str] = frozenset()
    replace: Mapping[str, str] = field(default_factory=dict)

    def text(self, cell: Any) -> str | None:
        """The cell as text without spaces around it; None where nothing is known."""
        text = text_of(cell)
        if isinstance(cell, float):  # a spreadsheet's number, among texts that are written otherwise
            text = text.replace(".", self.decimal)
        text = self.replace.get(text, text)
        return None if not text or text in self.missing else text

    def number(self, text: str) -> float | None:
        """The number that a text is; None where it is none.

        Digits are 0 to 9. `1_2`, `0x1F`, `nan` and `inf` are texts; true and false are 1 and 0.
        """
        if text.lower() in ("true", "false"):
            return float(text.lower() == "true")
        grammar = _grammar(self.decimal, self.thousands)
        whole = text.translate(MINUS)
        for body in (whole, *(whole.removesuffix(unit).removeprefix(unit).strip() for unit in self.units)):
            body = body.translate(SPACES) if self.thousands == " " else body
            if grammar.fullmatch(body):
                bare = body.replace(self.thousands, "") if self.thousands else body
                return float(bare.replace(self.decimal, "."))
        return None


@lru_cache
def _grammar(decimal: str, thousands: str) -> re.Pattern[str]:
    point = re.escape(decimal)
    whole = "[0-9]+"
    if thousands:
        whole = rf"(?:[1-9][0-9]{{0,2}}(?:{re.escape(thousands)}[0-9]{{3}})+|[0-9]+)"
    return re.compile(rf"[+-]?(?:{whole}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?")


def text_of(cell: Any) -> str:
    """A cell as a spreadsheet shows it, without spaces around it; a whole number that is stored as 12.0 is 12."""
    import pandas as pd

    if pd.isna(cell):
        return ""
    return repr(float(cell)).removesuffix(".0") if isinstance(cell, float) else str(cell).strip()


def plain(text: str) -> str:
    """The cell of an outcome's column, so that 1, 1.0 and True are one value."""
    value = CellForm().number(text)
    return text if value is None else f"{value:g}"


@dataclass(frozen=True)
class Reading:
    """A form that reads the texts of a column as numbers.

    Attributes:
        form: the form. keys: what it says that the column's own did not, as keys of a TOML; empty where no form does.
        example: a text that it reads. odd: texts that it does not read.
        otherwise: another form that reads them, too, as keys; empty where there is none.
        units: where the texts have several units, each with the number of its texts.
    """

    form: CellForm
    keys: Mapping[str, Any]
    example: str
    odd: tuple[str, ...]
    otherwise: Mapping[str, Any] = field(default_factory=dict)
    units: Mapping[str, int] = field(default_factory=dict)


def suggest(texts: Sequence[str], form: CellForm, unit: str = "") -> Reading | None:
    """The form under which nearly all texts are numbers; None where there is none, or where all are numbers already.

    Args:
        texts: of one column, those that mean "not known" left out. form: how they are read now.
        unit: that numbers without one have, and into which others are converted; empty = the commonest one.
    """
    strange = [text for text in texts if form.number(text) is None]
    counts = {name: n for name, n in units_of(strange).most_common() if name}
    scale = factors([*counts, unit] if unit else counts) if different(counts) or unit else dict.fromkeys(counts, 1.0)
    if not strange or (scale is None and not all("/" in name for name in counts)):
        return None  # numbers with letters behind that are no units, such as stages
    signs = dict.fromkeys(((form.decimal, form.thousands), *_FORMS))
    forms = [replace(form, decimal=d, thousands=t, units=(*form.units, *sorted(counts))) for d, t in signs]
    known = [sum(one.number(text) is not None for text in texts) for one in forms]
    best = [one for one, n in zip(forms, known, strict=True) if n == max(known)]
    # Groups of three digits in every text are thousands rather than fractions of three digits each.
    chosen = next((one for one in best if all(_grouped(text, one) for text in strange)), best[0])
    odd = list(dict.fromkeys(text for text in texts if chosen.number(text) is None))
    # A column written in several ways: what the form does not read and another does is written as the form has it.
    again = {text: _written(value, chosen) for text in odd if (value := _any_number(text, forms)) is not None}
    if sum(text not in odd or text in again for text in texts) < NEARLY * len(texts):
        return None
    example = next((text for text in strange if text in again or text not in odd), "")
    rest = tuple(text for text in odd if text not in again)
    if scale is None or len(set(scale.values())) > 1:
        bare = not unit and len(strange) < len(texts)
        one = None if bare or scale is None else _converted(texts, chosen, unit or next(iter(counts)), scale, again)
        keys = {} if one is None else _keys(one, form) | {"replace": one.replace}
        return Reading(form if one is None else one, keys, example, rest, units=counts) if example else None
    others = [one for one in best if [one.number(t) for t in texts] != [chosen.number(t) for t in texts]]
    keys = _keys(chosen, form) | ({"replace": again} if again else {})
    if not keys:
        return None
    chosen = replace(chosen, replace={**form.replace, **again})
    return Reading(chosen, keys, example, rest, _keys(others[0], form) if others else {})


def _converted(
    texts: Sequence[str], form: CellForm, unit: str, scale: Mapping[str, float], again: Mapping[str, str]
) -> CellForm:
    """The form that reads numbers in one unit and replaces those in others by what they are in it.

    Args:
        form: that reads all of the units. scale: unit to its factor.
        again: texts that are replaced already.
    """
    made = dict(again)
    for text in dict.fromkeys(texts):
        name, value = unit_of(text), form.number(text)
        if value is not None and name and scale[name] != scale[unit]:
            made[text] = f"{_written(round(value * scale[name] / scale[unit], 6), form)} {unit}"
    same = [name for name in scale if scale[name] == scale[unit]]
    return replace(form, units=tuple(dict.fromkeys((*same, *(u for u in form.units if u not in scale)))), replace=made)


def _written(value: float, form: CellForm) -> str:
    return f"{value!r}".replace(".", form.decimal)


def _any_number(text: str, forms: Sequence[CellForm]) -> float | None:
    return next((value for one in forms if (value := one.number(text)) is not None), None)


def _grouped(text: str, form: CellForm) -> bool:
    groups = rf"[+-]?[1-9][0-9]{{0,2}}({re.escape(form.thousands)}[0-9]{{3}})+"
    return bool(form.thousands) and re.match(groups, text.translate(SPACES)) is not None


def _keys(form: CellForm, before: CellForm) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    if form.decimal != before.decimal:
        keys["decimal"] = form.decimal
    if form.thousands != before.thousands:
        keys["thousands"] = form.thousands
    if form.units != before.units:
        keys["units"] = [unit for unit in form.units if unit not in before.units]
    return keys
