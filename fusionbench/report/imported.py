"""Predictions that somebody else's model made on a suite's test folds, checked and kept beside its cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fusionbench.core.errors import DataError, ResultsError, did_you_mean, file_problem
from fusionbench.core.file_names import filename
from fusionbench.report.model import IMPORTED
from fusionbench.results.cell_files import is_probability, probability_column
from fusionbench.results.frames import CELL_COLUMNS, LABEL, PLACE, ROW, Frames
from fusionbench.results.made_from import IMPORTED_FOLDER
from fusionbench.suites.cell import cohorts_of

if TYPE_CHECKING:
    from fusionbench.results.store import Store

NEEDED = ["dataset", "model", "modalities", "repeat", "fold", "case"]
RISK = "risk"
OPTIONAL = {"variant": "base", "pattern": "full", "draw": 0}
COHORT = ["dataset", "variant"]
FOLD = [*COHORT, "repeat", "fold"]


def read_predictions(path: Path, frames: Frames) -> pd.DataFrame:
    """A predictions file (CSV or parquet) against a suite's folds.

    Columns: dataset, model, modalities, repeat, fold, case, risk (higher = earlier event); variant, pattern and draw
    where they are not base, full and 0; and S_<month> on the dataset's grid, or none. Where the dataset's endpoint has
    classes, the probability of each, `P(<class>)`, in the place of the risk.

    Rows whose dataset is `TRAIN -> TEST` are of an external cohort of the suite: every case of it with an outcome, for
    each fold model that the file has, which may be one.

    Raises:
        DataError: naming the file, what was seen and what to do: columns, an unknown dataset, variant or fold, unknown,
            duplicate or absent cases of a fold, risks or curves that are no such numbers, or a row the suite has.
    """
    table = _read(path)
    said = _said(table, frames)
    needed = [*NEEDED, *said]
    absent = [name for name in needed if name not in table.columns]
    if absent:
        raise DataError(f"{path}: no column {', '.join(absent)}; needed are {', '.join(needed)}")
    curves = RISK in said
    strange = [c for c in table.columns if c not in (*needed, *OPTIONAL) and not (curves and _is_month(c))]
    if strange:
        known = ", ".join([*needed, *OPTIONAL, *(["S_<month>"] if curves else [])])
        raise DataError(f"{path}: unknown column {strange[0]!r}; known are {known}")
    absent_ones = [name for name in OPTIONAL if name not in table.columns]
    table = table.assign(**{name: np.full(len(table), OPTIONAL[name], dtype=object) for name in absent_ones})
    table = _typed(path, table)
    numbers = _numbers(table) if curves else _probabilities(table, said)
    inside, outside = split_external(table, frames)
    checks = [numbers, _places(inside, frames), _cases(inside, frames)]
    if len(outside):
        view = external_view(frames)
        outside = outside[outside["case"].isin(set(view.splits["case"]))]  # without an outcome nothing is scored
        checks += [_places(outside, view), _cases(outside, view)]
    for problem in chain(*checks):
        raise DataError(f"{path}: {problem}")  # the first: each rests on those before
    return pd.concat([inside, outside], ignore_index=True)


def split_external(table: pd.DataFrame, frames: Frames) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows on the suite's test folds, and those on its external cohorts."""
    names = set() if frames.external is None else set(frames.external.cells["dataset"].astype(str))
    outside = table["dataset"].isin(names)
    return table[~outside], table[outside]


def external_view(frames: Frames) -> Frames:
    """`Frames.external` with each cohort's cases with an outcome as the test cases of every fold model."""
    outside = frames.external
    assert outside is not None
    folds = outside.cells[FOLD].drop_duplicates()
    splits = folds.merge(outside.targets[["dataset", "case"]], on="dataset").assign(part="test")
    return replace(outside, splits=splits.astype({"case": str}))


def _said(table: pd.DataFrame, frames: Frames) -> list[str]:
    """The columns of what is predicted: the risk, or the probability of each class of the file's datasets."""
    if LABEL not in frames.targets.columns or "dataset" not in table.columns:
        return [RISK]
    named = set(table["dataset"].astype(str))
    of = frames.targets[frames.targets["dataset"].isin(named | {cohorts_of(name)[0] for name in named})]
    classes = sorted(set(of[LABEL].fillna("").astype(str)) - {""})
    return [probability_column(label) for label in classes] or [RISK]


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, dtype={"case": str, "dataset": str, "model": str, "modalities": str, "variant": str})
    except (OSError, ValueError) as error:
        raise DataError(file_problem(path, error, "write it as CSV or parquet again")) from None


def _is_month(name: str) -> bool:
    return name.startswith("S_") and name.removeprefix("S_").replace(".", "", 1).isdigit()


def _typed(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    numbers = ["repeat", "fold", "draw"]
    numbers += [c for c in table.columns if c == RISK or is_probability(c) or _is_month(c)]
    for name in numbers:
        values = pd.to_numeric(table[name], errors="coerce")
        bad = values.isna() & table[name].notna()
        if bad.any():
            raise DataError(f"{path}: column {name!r} holds {table.loc[bad, name].iloc[0]!r}, which is no number")
        table = table.assign(**{name: values})
    whole = ["repeat", "fold", "draw"]
    if table[whole].isna().any().any() or (table[whole] % 1 != 0).any().any():
        raise DataError(f"{path}: repeat, fold and draw must be whole numbers from 0")
    texts = ["dataset", "model", "modalities", "variant", "pattern", "case"]
    for name in texts:
        if table[name].isna().any():
            raise DataError(f"{path}: column {name!r} is empty in {int(table[name].isna().sum())} rows; fill it in")
    return table.astype({**dict.fromkeys(whole, "int64"), **dict.fromkeys(texts, str)})


def _probabilities(table: pd.DataFrame, columns: list[str]) -> Iterator[str]:
    p = table[columns].to_numpy(np.float64)
    bad = ~(np.isfinite(p).all(axis=1) & (p >= 0).all(axis=1) & (np.abs(p.sum(axis=1) - 1) <= 1e-4))
    if bad.any():
        case, row = table["case"].to_numpy()[bad][0], p[bad][0].tolist()
        yield f"probabilities of case {case!r} are {row}; they must lie in [0, 1] and sum to 1"


def _numbers(table: pd.DataFrame) -> Iterator[str]:
    risk = table[RISK].to_numpy(np.float64)
    bad = ~np.isfinite(risk)
    if bad.any():
        yield f"risk of case {table['case'].to_numpy()[bad][0]!r} is {risk[bad][0]}; every risk must be a finite number"
    months = sorted((c for c in table.columns if _is_month(c)), key=lambda c: float(c.removeprefix("S_")))
    curves = table[months].to_numpy(np.float64)
    given = np.isfinite(curves).any(axis=1)
    if months and not np.isfinite(curves[given]).all():
        yield "a row gives S at some months only; give all of them or none"
    if (curves[given] < 0).any() or (curves[given] > 1).any() or (np.diff(curves[given], axis=1) > 1e-6).any():
        yield "S must lie in [0, 1] and not rise with time"


def _places(table: pd.DataFrame, frames: Frames) -> Iterator[str]:
    """Datasets, variants, folds and patterns that the suite does not have, and rows that it has."""
    for name in ("dataset", "variant"):
        known = set(frames.cells[name].astype(str))
        yield from (did_you_mean(name, str(value), known) for value in sorted(set(table[name]) - known))
    known_folds = set(frames.splits[FOLD].itertuples(index=False, name=None))
    for place in table[FOLD].drop_duplicates().itertuples(index=False, name=None):
        if tuple(place) not in known_folds:
            yield f"the suite has no fold {place[3]} of repeat {place[2]} of {place[0]}, variant {place[1]}"
    patterns = set(frames.predictions["pattern"].astype(str))
    yield from (did_you_mean("pattern", str(p), patterns) for p in sorted(set(table["pattern"]) - patterns))
    own = set(frames.cells.loc[frames.cells["policy"] != IMPORTED, ROW].itertuples(index=False, name=None))
    for row in table[ROW].drop_duplicates().itertuples(index=False, name=None):
        if tuple(row) in own:
            yield f"the suite has a row {' · '.join(map(str, row))} of its own; give your model another name"


def _cases(table: pd.DataFrame, frames: Frames) -> Iterator[str]:
    """Every fold that is there has each of its test cases once, under every mask."""
    test = frames.splits[frames.splits["part"] == "test"]
    wanted = {key: frozenset(of) for key, of in test.groupby(FOLD, observed=True)["case"]}
    for key, of in table.groupby([*PLACE, "pattern", "draw"], sort=False)["case"]:
        place = dict(zip([*PLACE, "pattern", "draw"], key, strict=True))
        where = f"{place['model']} on {place['dataset']}, repeat {place['repeat']} fold {place['fold']}"
        seen, needed = set(of), wanted[tuple(place[name] for name in FOLD)]
        if of.duplicated().any():
            yield f"{where}: case {of[of.duplicated()].iloc[0]!r} is there twice"
        if seen - needed:
            yield f"{where}: {min(seen - needed)!r} is not one of its {len(needed)} test cases"
        if needed - seen:
            lacking = f"{len(needed - seen)} of its {len(needed)} test cases"
            yield f"{where}: {lacking} are absent, the first is {min(needed - seen)!r}"


def store_predictions(table: pd.DataFrame, store: Store) -> Path:
    """Store a checked file, one per model; a later one of the same model replaces it."""
    (model,) = set(table["model"])
    return store.write_frame(f"{IMPORTED_FOLDER}/{filename(str(model))}.parquet", table)


def stored_predictions(store: Store) -> list[pd.DataFrame]:
    """The predictions of every imported model, a frame each."""
    return [_stored(path) for path in sorted((store.folder / IMPORTED_FOLDER).glob("[!.]*.parquet"))]


def _stored(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ResultsError(file_problem(path, error, "import the predictions again")) from error


def cell_rows(table: pd.DataFrame, frames: Frames) -> pd.DataFrame:
    """CELL_COLUMNS of an imported table: one row a fold of the suite; folds it lacks are missing.

    Args:
        frames: the suite's, or their `external_view`.
    """
    about = frames.cells.drop_duplicates(COHORT)[[*COHORT, "protocol", "train_pattern", "unit"]]
    rows = table[ROW].drop_duplicates().merge(frames.splits[FOLD].drop_duplicates(), on=COHORT).merge(about, on=COHORT)
    done = rows.merge(table[PLACE].drop_duplicates(), on=PLACE, how="left", indicator=True)["_merge"] == "both"
    status = {"status": np.where(done, "ok", "missing"), "reason": np.where(done, "", "not imported")}
    return rows.assign(**status, policy=IMPORTED, tuned="unknown", key="").reindex(columns=CELL_COLUMNS)
