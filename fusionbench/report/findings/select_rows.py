"""Which rows of a table a section is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fusionbench.core.plugin_ref import PluginRef
from fusionbench.report.analysis import Analysis
from fusionbench.report.findings.estimates import RowMean, fold_c
from fusionbench.report.model import FULL, RANKINGS, RowKey, is_oracle
from fusionbench.suites.suite import BASE

BEST_UNIMODAL = "best-unimodal"
XOR = "xor-unimodal"


def scored_rows(analysis: Analysis, dataset: str) -> list[RowKey]:
    """The dataset's rows that have a c under the pattern `full`, without the oracle baseline."""
    scored = dict.fromkeys(row for (row, pattern, metric), of in analysis.values.items() if of and metric in RANKINGS)
    return [row for row in scored if row[0] == dataset and not is_oracle(row[1]) and fold_c(analysis, (row, FULL))]


def fused_rows(analysis: Analysis, dataset: str) -> list[RowKey]:
    """The rows on more than one modality; vectors joined by the protocol are one."""
    return [row for row in scored_rows(analysis, dataset) if analysis.inputs[row] > 1]


def unimodal_rows(analysis: Analysis, fused: RowKey) -> list[RowKey]:
    """The rows on one modality of another row's, under the same variant."""
    names = frozenset(modality_names(fused))
    rows = (row for row in scored_rows(analysis, fused[0]) if row[3] == fused[3] and analysis.inputs[row] == 1)
    return [row for row in rows if names.issuperset(modality_names(row))]


def complete_rows(analysis: Analysis, rows: Iterable[RowKey]) -> list[RowKey]:
    """Those of the rows that have a c on every planned fold: no other row is a reference, or decides what is best."""
    return [row for row in rows if analysis.lacking(row) is None]


def without_folds(analysis: Analysis, rows: Iterable[RowKey]) -> list[str]:
    """The other rows, in words: `cox on omic (3 of 5 folds)`."""
    counts = {row: analysis.lacking(row) for row in rows}
    return [f"{row[1]} on {set_label(row, several=row[3] != BASE)} ({n})" for row, n in counts.items() if n]


def modality_names(row: RowKey) -> tuple[str, ...]:
    """The names of the modalities that a row is on."""
    return tuple(row[2].split("+"))


def is_model(row: RowKey, *names: str) -> bool:
    """Whether the row's model, with any options, is one of `names`."""
    return row[1].partition("[")[0] in names


def row_of_model(rows: Sequence[RowKey], row: RowKey, name: str) -> RowKey | None:
    """The row of model `name` on the same modalities under the same variant; of several the shortest written."""
    same = [other for other in rows if is_model(other, name) and other[2:] == row[2:]]
    return min(same, key=lambda other: len(other[1]), default=None)


def patterns_of(analysis: Analysis, rows: Sequence[RowKey], kind: str) -> list[str]:
    """The patterns of a kind (`rate`, `only`) that some of the rows were tested under, in the order of the suite."""
    wanted = set(rows)
    found = (p for row, p, metric in analysis.values if row in wanted and metric in RANKINGS)
    return list(dict.fromkeys(p for p in found if p.partition(":")[0] == kind))


def matching_rows(rows: Iterable[RowMean], dataset: str, model: str, modalities: str) -> list[RowMean]:
    """The rows that a published name refers to: any options of the dataset; the model as written, or with any options
    where none is written so."""
    ref = PluginRef.parse(dataset)
    there = [r for r in rows if ref in (PluginRef.parse(r.row[0]), PluginRef(r.dataset)) and r.row[2] == modalities]
    exact = [r for r in there if r.row[1] == model]
    return exact or [r for r in there if r.model == model]


def set_label(row: RowKey, *, several: bool) -> str:
    """The modality set, with its variant where there are several."""
    return f"{row[2]} ({row[3]})" if several else row[2]
