"""Differences in c-index or AUROC between each variant and the unchanged suite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fusionbench.core.plugin_ref import PluginRef
from fusionbench.report.analysis import Analysis
from fusionbench.report.document import Entry, Section, entries
from fusionbench.report.findings.estimates import RowMean, compare_rows, row_means
from fusionbench.suites.suite import BASE

HEADER = ("model", "modalities", "variant", "{c}", "{c} - base", "test cases", "sets")
NOTES = (
    "{c} - base: difference of the mean {score} with its 95 % bootstrap interval (test patients, models fixed); bold "
    "where that leaves zero out",
    "paired: scored on the same test cases with the same draws; unpaired: on other rows or splits, each with draws of "
    "its own",
)


def variant_effects(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[Section]:
    """Of suites with variants beside an unchanged suite: every row of a variant against its counterpart."""
    rows = row_means(analysis)
    for dataset in dict.fromkeys(row.row[0] for row in rows):
        of = [row for row in rows if row.row[0] == dataset]
        variants = {v["name"]: v for v in lock["suite"].get("variant", []) if _runs_on(v, dataset)}
        lines = tuple(line for row in of if row.variant in variants for line in _lines(row, of, variants))
        if lines:
            words = analysis.words(dataset)
            header, notes = (
                tuple(text.format(c=words.symbol, score=words.short) for text in texts) for texts in (HEADER, NOTES)
            )
            yield Section(2, f"What each variant changes on {dataset}", "", header, lines, notes)


def _runs_on(variant: Mapping[str, Any], dataset: str) -> bool:
    """Whether a variant of the lock applies to a dataset; a name may mean different variants on different datasets."""
    scope = variant.get("only", {}).get("datasets", ())
    return not scope or PluginRef.parse(dataset).name in scope


def _lines(row: RowMean, rows: Sequence[RowMean], variants: Mapping[str, Any]) -> Iterator[tuple[Entry, ...]]:
    base = counterpart(row, rows)
    if base is None:
        return
    outcome = compare_rows(row, base)
    sure = outcome.low > 0 or outcome.high < 0
    yield entries(
        *row.row[1:],
        f"{row.mean:.3f}",
        outcome.text(signed=True),
        "paired" if outcome.paired else "unpaired",
        changed(variants[row.variant]),
        strong=(4,) if sure else (),
    )


def counterpart(row: RowMean, rows: Sequence[RowMean], variant: str = BASE) -> RowMean | None:
    """The row of another variant: the same model, or the only one of that name where the variant sets options."""
    there = [r for r in rows if r.variant == variant and (r.row[0], r.row[2]) == (row.row[0], row.row[2])]
    exact = [r for r in there if r.row[1] == row.row[1]]
    named = [r for r in there if r.model == row.model]
    return exact[0] if exact else named[0] if len(named) == 1 else None


def changed(variant: Mapping[str, Any]) -> str:
    """What a variant sets, as a suite writes it."""
    parts = [
        f"{f'{part}.base' if key == 'base' else key}={_value(v)}"
        for part in ("protocol", "train")
        for key, v in variant.get(part, {}).items()
    ]
    parts += [f"{m}.{key}={_value(v)}" for m, options in variant.get("model", {}).items() for key, v in options.items()]
    return ", ".join(parts)


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
