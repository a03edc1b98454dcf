"""Reads every value of a cohort once: vectors as one matrix, of bags only their sizes are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fusionbench.core.endpoints import ClassTarget, SurvivalTarget
from fusionbench.core.errors import DataError
from fusionbench.data.inspection.duplicates import bag_summary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusionbench.core.interfaces import Modality
    from fusionbench.core.types import Case
    from fusionbench.data.cohort import Cohort

LARGE = 512 * 2**20
"""Bytes of a modality's files above which a run does not read them only to look for leakage; `data check` does."""


@dataclass(frozen=True, eq=False)
class Content:
    """The values of one modality, of the cases that have it.

    Attributes:
        cases: the cases that have it, in the cohort's order.
        instances: (case,) number of instances; 1 for a vector.
        table: (case, column) float64 of a vector, NaN where a cell is missing; None for a bag.
        summaries: (case, column) float64 of a bag, means and deviations over its instances; None for a vector.
    """

    modality: Modality
    cases: tuple[Case, ...]
    instances: NDArray[np.int64]
    table: NDArray[np.float64] | None
    summaries: NDArray[np.float64] | None = None

    @property
    def cells(self) -> NDArray[np.float64]:
        """(case, column) the table of a vector."""
        assert self.table is not None, "a bag has no table"
        return self.table

    @property
    def followed(self) -> list[int]:
        """Positions of the cases with a target, those of `time` and `events`."""
        return [i for i, case in enumerate(self.cases) if case.target is not None]

    @property
    def time(self) -> NDArray[np.float64] | None:
        """(case with a target,) months; None where the targets are classes."""
        known = [case.target for case in self.cases if isinstance(case.target, SurvivalTarget)]
        return np.array([target.time for target in known]) if known else None

    @property
    def events(self) -> list[NDArray[np.bool_]]:
        """(case with a target,) what a column must not reveal: who had the event, or who is of each of the classes."""
        known = [case.target for case in self.cases if case.target is not None]
        events = [target.event for target in known if isinstance(target, SurvivalTarget)]
        if events:
            return [np.array(events, dtype=np.bool_)]
        labels = [target.label for target in known if isinstance(target, ClassTarget)]
        classes = sorted({*labels})
        wanted = classes[1:] if len(classes) == 2 else classes  # of two classes one knows the other
        return [np.array([label == one for label in labels], dtype=np.bool_) for one in wanted]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the raw columns, or their numbers."""
        use = self.modality.use
        return use.features or tuple(map(str, range(use.dim)))


def read_all(cohort: Cohort, problems: list[str]) -> Mapping[str, Content]:
    """Modality to what was read of it.

    Args:
        problems: gets a line for each case whose values cannot be used; the case is left out.
    """
    contents = {name: _read(modality, cohort, problems) for name, modality in cohort.modalities.items()}
    return {name: content for name, content in contents.items() if content.cases}


def read_small(cohort: Cohort) -> Mapping[str, Content]:
    """Modality to what was read of it, but for those whose files are large or have values that cannot be used."""
    contents: dict[str, Content] = {}
    for name, modality in cohort.modalities.items():
        problems: list[str] = []
        if _size(name, cohort) <= LARGE:
            content = _read(modality, cohort, problems)
            contents |= {} if problems else {name: content}
    return contents


def _size(name: str, cohort: Cohort) -> int:
    """Bytes of the files that hold a modality; 0 where it has none of its own."""
    refs = {case.refs[name] for case in cohort.cases if isinstance(case.refs.get(name), Path)}
    return sum(path.stat().st_size for path in refs if path.is_file())


def _read(modality: Modality, cohort: Cohort, problems: list[str]) -> Content:
    have, sizes, rows = [], [], []
    vector = modality.kind == "vector"
    for case in (case for case in cohort.cases if modality.label in case.refs):
        try:
            values = modality.load(case.refs[modality.label]).values
        except DataError as error:
            problems.append(f"case {case.id!r}, modality {modality.label!r}: {error}")
            continue
        have.append(case)
        sizes.append(len(values))
        rows.append(values[0] if vector else bag_summary(values))
    table = np.array(rows, dtype=np.float64)
    of_kind = (table, None) if vector else (None, table)
    return Content(modality, tuple(have), np.array(sizes, dtype=np.int64), *of_kind)
