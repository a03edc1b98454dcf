"""Two models of a suite, paired fold by fold, perhaps of two runs of the same suite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from fusionbench.core.errors import ResultsError
from fusionbench.report.external_pairs import external_pairs
from fusionbench.report.paired import compare, pair_frame
from fusionbench.results.frames import Frames, read_frames
from fusionbench.suites.lock import identities_of, read_lock
from fusionbench.survival.stats import DRAWS

if TYPE_CHECKING:
    from fusionbench.core.registry import Registry
    from fusionbench.results.store import Store


def compare_models(
    store: Store, model_a: str, model_b: str, registry: Registry, other: Store | None = None
) -> pd.DataFrame:
    """PAIR_COLUMNS and n_cases of two models of a suite, on test folds and on external cohorts.

    The second model may be of another run of the same suite. Datasets of external lines are `TRAIN -> TEST`.

    Raises:
        ResultsError: a model is not there, or the two runs differ in what makes rows comparable; says in what.
    """
    frames, lock = read_frames(store.folder), read_lock(store.folder)
    if other is not None:
        apart = run_differences(lock, read_lock(other.folder))
        if apart:
            raise ResultsError(
                f"{store.folder} and {other.folder} cannot be compared, they differ in {'; '.join(apart)}"
            )
        frames = _side_by_side(frames, read_frames(other.folder), model_b)
        model_b = _theirs(model_b)
    directions = {name: registry.metric(name).higher_is_better for name in lock["suite"]["metrics"]}
    how = {"directions": directions, "seed": lock["suite"]["seed"], "draws": DRAWS, "identities": identities_of(lock)}
    outside = external_pairs(frames, model_a, model_b, **how)
    if outside and not {model_a, model_b} <= set(frames.cells["model"].astype(str)):  # imported for that cohort alone
        return pair_frame(outside, "n_cases")
    pairs = compare(frames, model_a, model_b, **how)
    return pd.concat([pairs, pair_frame(outside, "n_cases")], ignore_index=True) if outside else pairs


def _theirs(model: str) -> str:
    return f"{model} (other run)"


def _side_by_side(frames: Frames, others: Frames, model: str) -> Frames:
    """One model's rows of another run among ours, under a name of their own."""
    parts: dict[str, Any] = {}
    for name in ("cells", "folds", "predictions"):
        of = getattr(others, name)
        theirs = of[of["model"] == model].assign(model=_theirs(model))
        parts[name] = pd.concat([getattr(frames, name), theirs], ignore_index=True)
    together = None
    if frames.external is not None and others.external is not None:
        together = _side_by_side(frames.external, others.external, model)
    return replace(frames, **parts, external=together)


_OF_DATASET = ("fingerprint", "checksums", "tau_months", "splits", "masks")


def run_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
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
    mine, theirs = one.get("external", {}), other.get("external", {})
    for name in mine.keys() & theirs.keys():
        if mine[name]["fingerprint"] != theirs[name]["fingerprint"]:
            yield f"fingerprint of {name}"


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
    return text if len(text) < 40 else text[:37] + "..."
