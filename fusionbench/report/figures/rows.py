"""Which rows stand in a figure and in which order: by modality set and variant, then as the suite lists its models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fusionbench.report.model import Configuration, RowKey, configuration_of
from fusionbench.suites.suite import BASE


def group_of(kind: Configuration) -> str:
    """The modality set, with the variant unless it is the unchanged suite."""
    return kind[1] + ("" if kind[2] == BASE else f" ({kind[2]})")


def row_label(row: RowKey) -> str:
    """A row in one line, without its dataset."""
    return f"{row[1]} on {group_of(configuration_of(row))}"


def groups(kinds: Iterable[Configuration]) -> dict[str, list[Configuration]]:
    """Kinds by modality set and variant, both in order of appearance."""
    made: dict[str, list[Configuration]] = {}
    for kind in dict.fromkeys(kinds):
        made.setdefault(group_of(kind), []).append(kind)
    return made


def alike(rows: Iterable[RowKey]) -> list[list[str]]:
    """Datasets that share most of their modality sets stand in one figure, side by side.

    Others would leave most lines of one another's panels empty.
    """
    sets: dict[str, set[str]] = {}
    for row in rows:
        sets.setdefault(row[0], set()).add(row[2])
    together: list[list[str]] = []
    for dataset, mine in sets.items():
        home = next((of for of in together if _overlap(mine, sets[of[0]]) >= 0.5), None)
        if home is None:
            together.append([dataset])
        else:
            home.append(dataset)
    return together


def _overlap(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


def widest(rows: Sequence[RowKey], inputs: Mapping[RowKey, int]) -> list[RowKey]:
    """One row of each model and variant: the one on most modalities, of equals the first."""
    best: dict[tuple[str, str], RowKey] = {}
    for row in rows:
        key = (row[1], row[3])
        if key not in best or inputs[row] > inputs[best[key]]:
            best[key] = row
    return list(best.values())
