"""What a search writes: a suite like the one it searched for, and beside it what was found, fold by fold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from fusionbench.core.errors import SuiteError
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import Registry
from fusionbench.suites.cell import CellPosition
from fusionbench.suites.given_masks import moved_patterns
from fusionbench.suites.suite import Suite
from fusionbench.suites.suite_files import dataset_for_folder
from fusionbench.suites.tuned_options import Study, TuningRecord, parse_record

_HOW = ("suite", "objective", "inner_folds", "seed")
"""Keys of a record that have to be the same for all of its studies."""


def paths(folder: Path, suite: str) -> tuple[Path, Path]:
    """The suite's file and the record's."""
    return folder / f"{suite}-tuned.toml", folder / f"{suite}-tuned.search.toml"


def earlier(
    path: Path, wanted: TuningRecord, suite: Suite, searched: Collection[CellPosition], registry: Registry
) -> tuple[Study, ...]:
    """Studies that an earlier command wrote there, their datasets as the searched suite writes them.

    Args:
        searched: where this command searches: a study there may have had fewer trials, which are added to.

    Raises:
        SuiteError: they were searched in another way, so that a table of both would compare nothing.
    """
    if not path.is_file():
        return ()
    there = parse_record(path.read_text(encoding="utf-8"), str(path))
    studies = _renamed(there.study, {new: old for old, new in _names(suite, path.parent, registry).items()})
    differing = [key for key in _HOW if getattr(there, key) != getattr(wanted, key)]
    others = sorted({study.model for study in studies if study.position not in searched})
    if there.trials > wanted.trials or (there.trials < wanted.trials and others):
        differing.append("trials")
    for key in differing:
        also = f", name {' and '.join(others)} as well" if key == "trials" and others else ""
        raise SuiteError(
            f"{path}: holds studies with {key} = {getattr(there, key)!r}, and this asks for {getattr(wanted, key)!r}; "
            f"ask for the same{also}, or write elsewhere with --to"
        )
    return studies


def write(folder: Path, suite: Suite, record: TuningRecord, registry: Registry) -> Path:
    """Both files; the suite names the record. Returns the suite's path."""
    suite_path, record_path = paths(folder, suite.name)
    folder.mkdir(parents=True, exist_ok=True)
    written = record.model_copy(update={"study": _renamed(record.study, _names(suite, folder, registry))})
    found = written.model_dump(mode="json", exclude_none=True)
    _replace(record_path, f"# {record.command}\n{tomli_w.dumps(found)}")
    text = tomli_w.dumps(_suite(suite, record_path, registry))
    _replace(suite_path, f"# Options found by: {record.command}\n{text}")
    return suite_path


def _names(suite: Suite, folder: Path, registry: Registry) -> dict[str, str]:
    """Dataset as the suite writes it to the same as a file in `folder` has to write it."""
    return {str(d): str(dataset_for_folder(d, registry, folder)) for d in suite.datasets}


def _renamed(studies: Iterable[Study], names: Mapping[str, str]) -> tuple[Study, ...]:
    return tuple(s.model_copy(update={"dataset": names.get(s.dataset, s.dataset)}) for s in studies)


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _suite(suite: Suite, record: Path, registry: Registry) -> dict[str, Any]:
    """The suite as a file beside the record, with the seed it was searched with, published numbers left behind."""
    # Protocol and recipe in full: what equals a default may stand there against what a `base` sets.
    full = {part: getattr(suite, part).model_dump(mode="json") for part in ("protocol", "train")}
    published = {"name", "reference", "claims", "counts", "external"}
    text = suite.model_dump(mode="json", exclude_defaults=True, exclude=published) | full
    text["protocol"] = moved_patterns(suite, text["protocol"], record.parent)
    for variant in text.get("variant", ()):
        variant["protocol"] = moved_patterns(suite, variant.get("protocol", {}), record.parent)
    datasets = list(_names(suite, record.parent, registry).values())
    listed: dict[str, Any] = {"datasets": datasets, "models": [str(m) for m in suite.models]}
    if suite.external:

        def moved(ref: PluginRef) -> str:
            return str(dataset_for_folder(ref, registry, record.parent))

        listed["external"] = [{"train": moved(e.train), "test": [*map(moved, e.test)]} for e in suite.external]
    return {**_plain(text), **listed, "title": f"{suite.title}, tuned", "tuned": record.name}


def _plain(value: Any) -> Any:
    """A suite writes "none" where TOML has no null."""
    if isinstance(value, Mapping):
        return {key: _plain(of) for key, of in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(of) for of in value]
    return "none" if value is None else value
