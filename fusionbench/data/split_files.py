"""Published splits: the words for their parts, and files with a column a part (CLAM, PORPOISE, MCAT, SurvPath).

- CLAM: `splits_0.csv` with the columns train, val and test of slides, `splits_0_bool.csv` with the slides in rows and
  True or False in the columns, and `splits_0_descriptor.csv` with counts. One file a fold.
- PORPOISE, MCAT and SurvPath: `splits_0.csv` with the columns train and val of patients; their val is what is tested.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fusionbench.core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
PAIRS: tuple[tuple[Part, Part], ...] = (("train", "val"), ("train", "test"), ("val", "test"))
WORDS: Mapping[str, Part] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development", "tune", "tuning"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "holdout", "heldout"), "test"),
}
"""Word in small letters, without spaces, hyphens and underscores, to the part it means."""


@dataclass(frozen=True)
class Split:
    """One split as a file names it.

    Attributes:
        name: of the file.
        ids: part to the ids in it, of slides or patients, as written.
        tests_val: whether the file has no test part, so that its val is the test part here.
    """

    name: str
    ids: Mapping[Part, tuple[str, ...]]
    tests_val: bool


def part_of(word: str) -> Part | None:
    """The part that a word means; None where it means none."""
    return WORDS.get(re.sub(r"[\s_-]", "", word.lower()))


def split_files(place: Path) -> list[Path]:
    """The files of the splits: a file itself, or those of a folder in the order of their numbers.

    Counts (`_descriptor.csv`) are none, nor is a `_bool.csv` that says what the file beside it says.

    Raises:
        DataError: no such file or folder, or there is no split in it.
    """
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise DataError(f"no such file or folder; looked for {place.absolute()}")
    found = {path.name: path for path in place.glob("*.csv") if not path.name.startswith(".")}
    kept = [
        path
        for name, path in found.items()
        if not name.endswith("_descriptor.csv") and (plain(name) == name or plain(name) not in found)
    ]
    if not kept:
        raise DataError(f"holds no .csv file of a split; looked in {place.absolute()}")
    return sorted(kept, key=lambda path: numbered(path.name))


def plain(name: str) -> str:
    """`splits_0.csv` of `splits_0_bool.csv`."""
    return re.sub(r"_bool\.csv$", ".csv", name)


def numbered(name: str) -> list[tuple[int, str]]:
    """A key for sorting by the numbers in a name: 10 comes after 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def read_split(data: bytes, name: str) -> Split:
    """One file of a split.

    Raises:
        DataError: not a table, no column of training ids, none of ids to test, or an id in two parts.
    """
    frame = _frame(data, name)
    columns: dict[Part, str] = {}
    for column in frame.columns:
        part = part_of(column)
        if part in columns:
            raise DataError(f"{name}: columns {columns[part]!r} and {column!r} are both the {part} part; keep one")
        if part is not None:
            columns[part] = column
    if "train" not in columns or len(columns) < 2:
        seen = ", ".join(map(repr, frame.columns[:8]))
        raise DataError(f"{name}: no columns train and test (or val) of ids; it has {seen}")
    ids = {part: _unique(_ids(frame, columns, part)) for part in columns}
    tests_val = "test" not in ids
    if tests_val:
        ids = {"train": ids["train"], "test": ids["val"]}
    for first, second in PAIRS:
        both = set(ids.get(first, ())) & set(ids.get(second, ()))
        if both:
            raise DataError(
                f"{name}: {len(both)} ids stand in both {first} and {second}, the first is {min(both)!r}; keep one"
            )
    return Split(name, {part: ids.get(part, ()) for part in PARTS}, tests_val)


def _frame(data: bytes, name: str) -> pd.DataFrame:
    import pandas as pd

    try:
        frame: pd.DataFrame = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except ValueError as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{name}: cannot be read as a table ({reason})") from error
    frame.columns = [str(column).strip() for column in frame.columns]
    return frame


def _ids(frame: pd.DataFrame, columns: Mapping[Part, str], part: Part) -> Iterable[str]:
    """The ids of one part: the cells of its column, or the ids of the rows where that says True."""
    cells = [str(cell).strip() for cell in frame[columns[part]]]
    words = {cell.lower() for column in columns.values() for cell in map(str, frame[column])}
    if not words <= {"true", "false"}:
        return cells
    others = [column for column in frame.columns if column not in columns.values()]
    rows = frame[others[0]] if others else frame.index
    return [str(row).strip() for row, cell in zip(rows, cells, strict=True) if cell.lower() == "true"]


def _unique(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(id_ for id_ in ids if id_))
