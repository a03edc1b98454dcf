"""What can be made of a suite's stored frames and lock alone: tables, comparisons, further scores, imported models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from fusionbench.core.commands import command
from fusionbench.core.errors import ResultsError
from fusionbench.report import imported as imports
from fusionbench.report.analysis import analyse
from fusionbench.report.findings import findings
from fusionbench.report.paired import compare
from fusionbench.report.render import render
from fusionbench.report.rescore import rescore
from fusionbench.results.frames import Frames, read_frames, write_frames
from fusionbench.suites import lock as locks

if TYPE_CHECKING:
    from fusionbench.core.registry import Registry
    from fusionbench.results.audit_verdict import Audit
    from fusionbench.results.store import Store
    from fusionbench.suites.suite import Suite

SUFFIXES: Mapping[str, Literal["md", "csv", "latex", "html"]] = {
    "md": "md",
    "csv": "csv",
    "tex": "latex",
    "html": "html",
}
"""File endings of a written table and the format each holds."""


def write_tables(
    frames: Frames, store: Store, lock: Mapping[str, Any], registry: Registry, kind: Literal["table", "table.partial"]
) -> Path | None:
    """The table in every format, imported models among its rows, and of a whole suite its frames.

    Returns:
        the Markdown file; None where nothing has a score.
    """
    names = lock["suite"]["metrics"]
    frames = with_imported(frames, store, lock, registry)
    if frames.folds.empty:
        return None
    directions = {name: registry.metric(name).higher_is_better for name in names}
    analysis = analyse(frames, directions=directions, seed=lock["suite"]["seed"])
    below = findings(analysis, lock)
    notes = {name: of.get("notes", []) for name, of in lock["datasets"].items()}
    for suffix, fmt in SUFFIXES.items():
        shown = render(analysis.table, fmt, title=lock["suite"]["title"], notes=notes, findings=below)
        store.write_text(f"{kind}.{suffix}", shown)
    if kind == "table":
        write_frames(frames, store)
    return store.folder / f"{kind}.md"


def every_row(store: Store) -> pd.DataFrame:
    """table.csv, and below it those rows of table.partial.csv that it lacks: further ones that a run was asked for.

    One of the two is there.
    """
    kinds = [kind for kind in ("table", "table.partial") if store.has_file(f"{kind}.csv")]
    first, *more = (pd.read_csv(store.folder / f"{kind}.csv") for kind in kinds)
    place = ["dataset", "model", "modalities", "variant"]
    known = set(first[place].itertuples(index=False, name=None))
    new = [of[[row not in known for row in of[place].itertuples(index=False, name=None)]] for of in more]
    return pd.concat([first, *(of for of in new if len(of))], ignore_index=True)


def write_report(
    frames: Frames, store: Store, lock: Mapping[str, Any], registry: Registry, audit: Audit | str, suite: Suite
) -> Path:
    """report.html and figures/ in the suite's folder.

    Args:
        frames: with their imported models, as `write_tables` stored them.
        audit: or why there is none.
        suite: as its file has it.

    Raises:
        ResultsError: nothing has a score.
    """
    from fusionbench.report.figures import make_figures
    from fusionbench.report.figures.export import write_figures
    from fusionbench.report.html.suite_report import Origin, report

    if frames.folds.empty:
        go_on = command(store.root, "run", store.suite)
        raise ResultsError(f"{store.folder} holds no finished cell with a score; go on with: {go_on}")
    directions = {name: registry.metric(name).higher_is_better for name in lock["suite"]["metrics"]}
    analysis = analyse(frames, directions=directions, seed=lock["suite"]["seed"])
    images = list(write_figures(make_figures(analysis, lock), store))
    origin = Origin.read(store.folder, locks.command(lock, suite))
    return store.write_text("report.html", report(analysis, lock, images, audit, origin))


def with_imported(frames: Frames, store: Store, lock: Mapping[str, Any], registry: Registry) -> Frames:
    """The frames with every imported model as rows of their own."""
    metrics = {name: registry.metric(name)() for name in lock["suite"]["metrics"]}
    for table in imports.kept(store):
        scores = rescore(replace(frames, predictions=table), lock, metrics)
        frames = replace(
            frames,
            cells=pd.concat([frames.cells, imports.cell_rows(table, frames)], ignore_index=True),
            folds=pd.concat([frames.folds, scores], ignore_index=True),
            predictions=pd.concat([frames.predictions, table], ignore_index=True),
        )
    return frames


def without_imported(frames: Frames) -> Frames:
    """What the suite's own cells gave."""
    own = set(frames.cells.loc[frames.cells["policy"] != imports.POLICY, "model"])
    parts = {
        name: of[of["model"].isin(own)] for name in ("cells", "folds", "predictions") for of in [getattr(frames, name)]
    }
    return replace(frames, **parts)


def import_predictions(store: Store, path: Path, registry: Registry) -> tuple[Path | None, tuple[str, ...]]:
    """Check a predictions file, keep it, and write the table with its rows; the models' names, too.

    Raises:
        DataError: what is wrong with the file. ResultsError: the suite has not been run completely.
    """
    frames, lock = without_imported(read_frames(store.folder)), locks.read_lock(store.folder)
    table = imports.read_predictions(path, frames)
    for _, of_model in table.groupby("model", sort=False):
        imports.keep(of_model, store)
    names = tuple(dict.fromkeys(table["model"].astype(str)))
    return write_tables(frames, store, lock, registry, "table"), names


def score(store: Store, name: str, registry: Registry) -> pd.DataFrame:
    """A metric from the stored predictions: FOLD_COLUMNS, also written as scores/<metric>.csv.

    Raises:
        SuiteError: unknown metric. ResultsError: no complete results.
    """
    metric = registry.metric(name)()
    folds = rescore(read_frames(store.folder), locks.read_lock(store.folder), {name: metric})
    (store.folder / "scores").mkdir(exist_ok=True)
    store.write_text(f"scores/{name}.csv", folds.to_csv(index=False))
    return folds


def scored_table(store: Store, name: str, folds: pd.DataFrame, registry: Registry) -> str:
    """`folds` of one metric as a Markdown table with means, spreads and tie groups."""
    frames, lock = replace(read_frames(store.folder), folds=folds), locks.read_lock(store.folder)
    directions = {name: registry.metric(name).higher_is_better}
    table = analyse(frames, directions=directions, seed=lock["suite"]["seed"]).table
    return render(table, "md", title=lock["suite"]["title"])


def compare_models(
    store: Store, model_a: str, model_b: str, registry: Registry, other: Store | None = None
) -> pd.DataFrame:
    """PAIR_COLUMNS and n_cases of two models of a suite; the second may be of another run of the same suite.

    Raises:
        ResultsError: a model is not there, or the two runs differ in what makes rows comparable; says in what.
    """
    frames, lock = read_frames(store.folder), locks.read_lock(store.folder)
    if other is not None:
        apart = differences(lock, locks.read_lock(other.folder))
        if apart:
            raise ResultsError(
                f"{store.folder} and {other.folder} cannot be compared, they differ in {'; '.join(apart)}"
            )
        frames = _side_by_side(frames, read_frames(other.folder), model_b)
        model_b = _theirs(model_b)
    directions = {name: registry.metric(name).higher_is_better for name in lock["suite"]["metrics"]}
    return compare(frames, model_a, model_b, directions=directions, seed=lock["suite"]["seed"])


def _theirs(model: str) -> str:
    return f"{model} (other run)"


def _side_by_side(frames: Frames, others: Frames, model: str) -> Frames:
    """One model's rows of another run among ours, under a name of their own."""
    parts = {}
    for name in ("cells", "folds", "predictions"):
        of = getattr(others, name)
        theirs = of[of["model"] == model].assign(model=_theirs(model))
        parts[name] = pd.concat([getattr(frames, name), theirs], ignore_index=True)
    return replace(frames, **parts)


_OF_DATASET = ("fingerprint", "checksums", "tau_months", "splits", "masks")


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What of two locks makes their rows no pair: results version, data, splits, masks, horizons, seed, metrics."""
    return list(_differences(one, other))


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    if one["results_version"] != other["results_version"]:
        yield f"results_version ({one['results_version']} and {other['results_version']})"
    for key in ("seed", "metrics"):
        if one["suite"][key] != other["suite"][key]:
            yield f"suite.{key} ({_short(one['suite'][key])} and {_short(other['suite'][key])})"
    for part in ("protocol", "train"):
        mine, theirs = one["suite"][part], other["suite"][part]
        yield from (
            f"{part}.{key} ({_short(mine.get(key, 'none'))} and {_short(theirs.get(key, 'none'))})"
            for key in sorted({*mine, *theirs})
            if mine.get(key) != theirs.get(key)
        )
    for name in dict.fromkeys([*one["datasets"], *other["datasets"]]):
        if (name in one["datasets"]) != (name in other["datasets"]):
            yield f"dataset {name}, which only one of them has"
            continue
        mine, theirs = one["datasets"][name], other["datasets"][name]
        yield from (f"{key} of {name}" for key in _OF_DATASET if mine.get(key) != theirs.get(key))


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
    return text if len(text) < 40 else text[:37] + "..."
