"""Levels of categorical columns, as people wrote them: how many cases each has, and what looks wrong about them."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fusionbench.core.data_warning import DataWarning, Fix
from fusionbench.data.cohort import listed

if TYPE_CHECKING:
    from fusionbench.data.inspection.contents import Content

Levels = Mapping[str, Mapping[str, int]]
"""Column to its levels, each with the number of its cases, the commonest first."""

UNKNOWN = frozenset(
    {
        *("?", "??", "???", "-", "--", "---", ".", "..", "/", "*", "#", "unknown", "unk", "unkn", "unclear"),
        *("n/a", "na", "n.a.", "n.a", "nan", "null", "nil", "#n/a", "#value!", "#ref!", "#div/0!", "#name?", "<na>"),
        *("missing", "not available", "not known", "not reported", "not recorded", "not specified", "not stated"),
        *("not determined", "not done", "not evaluated", "nd", "n.d.", "n.d", "nk", "n.k.", "no data", "undefined"),
        *("unspecified", "undetermined", "indeterminate", "unbekannt", "keine angabe", "k.a.", "inconnu", "onbekend"),
        *("desconocido", "sconosciuto", "tbd", "pending"),
    }
)
"""Levels that mean "not known", without case and without the brackets of TCGA's `[Not Available]`."""
_SIGNS = frozenset("+-.*#/")
"""Of these a level means something where others stand beside it: - beside +."""
_MONTHS = "jan|feb|mar|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez"
_DATE = re.compile(
    rf"(\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}([T ].*)?|\d{{1,2}}[-/.]\d{{1,2}}[-/.](\d{{4}}|\d{{2}})([T ].*)?"
    rf"|\d{{1,2}}[-. /]*({_MONTHS})[a-z]*([-. /]*\d{{2,4}})?|({_MONTHS})[a-z]*[-. /]+\d{{1,4}}(,? *\d{{4}})?)",
    re.IGNORECASE,
)
DATES = 0.9
"""Share of the cells of a column that have to be dates."""
MANY_SINGLE = 0.5
"""Share of the levels with one case from which on the column is like an id, which is another warning."""


def levels_of(content: Content) -> Levels:
    """The levels of a vector's categorical columns; none for a bag."""
    if content.table is None:
        return {}
    use, found = content.modality.use, {}
    for i, name in enumerate(content.columns):
        if name in use.categorical:
            column = content.table[:, i]
            codes, sizes = np.unique(column[~np.isnan(column)], return_counts=True)
            texts = [(use.level(name, float(code)), int(n)) for code, n in zip(codes, sizes, strict=True)]
            found[name] = dict(sorted(texts, key=lambda level: (-level[1], level[0])))
    return found


def check_levels(contents: Mapping[str, Content], told: Sequence[DataWarning]) -> Iterator[DataWarning]:
    """Warnings about levels that are texts: dates, spellings, "not known" as a level, a level of one case.

    Args:
        contents: modality to what was read of it.
        told: warnings about columns whose texts are numbers, so that nothing is said of their levels.
    """
    numbers = {(warning.where, column) for warning in told for column in warning.names}
    for name, content in contents.items():
        for column, levels in levels_of(content).items():
            if column not in content.modality.use.levels or not levels or (name, column) in numbers:
                continue
            if _are_dates(levels):
                first = next(iter(levels))
                yield DataWarning(
                    "dates",
                    name,
                    f"{name}: column {column!r} holds dates ({first!r}), each a level of its own; exclude it, or write "
                    "a number, such as an age in years",
                    (column,),
                    (Fix(("modality", name), "exclude", [column]),),
                )
                continue
            yield from _check_texts(name, column, levels)


def _check_texts(name: str, column: str, levels: Mapping[str, int]) -> Iterator[DataWarning]:
    where = f"{name}: column {column!r}"
    unknown = unknown_levels(levels)
    if unknown:
        yield DataWarning(
            "unknown-level",
            name,
            f"{where} has {counted(levels, unknown)}, which looks like 'not known' and is a level of its own; say "
            f'missing = {_quoted(unknown)} under [column."{column}"]',
            (column,),
            (Fix(("column", column), "missing", unknown),),
        )
    same = {text: spelt for text, spelt in spellings(levels).items() if text not in unknown}
    if same:
        pairs = ", ".join(f"{text!r} ({levels[text]}) and {spelt!r} ({levels[spelt]})" for text, spelt in same.items())
        yield DataWarning(
            "spelling",
            name,
            f"{where} has levels that differ by case or spaces only: {pairs}; write them alike, or say replace under "
            f'[column."{column}"]',
            (column,),
            (Fix(("column", column), "replace", same),),
        )
    sizes = {
        text: n + sum(levels[t] for t in same if same[t] == text) for text, n in levels.items() if text not in same
    }
    single = [text for text, n in sizes.items() if n == 1 and text not in unknown]
    if single and len(single) < MANY_SINGLE * len(levels):
        yield DataWarning(
            "single-case",
            name,
            f"{where} has {len(single)} of {len(levels)} levels with a single case ({listed(single)}), of which "
            "nothing can be learnt; join them with others, or have them read as not known with replace under "
            f'[column."{column}"]',
            (column,),
            (Fix(("column", column), "replace", dict.fromkeys(single, "")),),
        )


def _are_dates(levels: Mapping[str, int]) -> bool:
    dates = sum(n for text, n in levels.items() if _DATE.fullmatch(text))
    return dates >= DATES * sum(levels.values())


def unknown_levels(levels: Mapping[str, int]) -> list[str]:
    """The levels that mean "not known"."""
    signs = {text for text in levels if text in _SIGNS}
    found = [text for text in levels if _plain(text.strip("[]()")) in UNKNOWN]
    return [text for text in found if text not in signs or len(signs) == 1]


def spellings(levels: Mapping[str, int]) -> dict[str, str]:
    """Level to the commonest one that differs from it by case or spaces only."""
    alike: dict[str, list[str]] = defaultdict(list)
    for text in levels:
        alike["".join(_plain(text).split())].append(text)
    return {text: texts[0] for texts in alike.values() for text in texts[1:]}


def _plain(text: str) -> str:
    """Without case, with single spaces, and one code for each accented letter."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def counted(levels: Mapping[str, int], chosen: list[str]) -> str:
    """`'?' (3 cases)`."""
    return ", ".join(f"{text!r} ({levels[text]} case{'' if levels[text] == 1 else 's'})" for text in chosen)


def _quoted(texts: list[str]) -> str:
    return "[" + ", ".join(f'"{text}"' for text in texts) + "]"
