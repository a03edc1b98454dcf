"""What `fusionbench data ls|fetch|check` do, for datasets that are handed in."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionbench.core.errors import DataError
from fusionbench.core.interfaces import Dataset
from fusionbench.core.types import Source
from fusionbench.data import downloads as download
from fusionbench.data.cohort import dataset_label

Progress = Callable[[str], None]

_GENERATED = "no files: made by a program or bundled with a package"
_OWN = "files of your own, named by an option"


@dataclass(frozen=True)
class DataRow:
    """One dataset with its options in `data ls`.

    Attributes:
        files: how many it needs; size: their bytes together, as far as known.
        state: the worst of its files ("missing" before "damaged" before "unverified" before "present"); where it has
            none to fetch, "bundled" or "yours".
        absent: paths under the data home that are missing or damaged.
        terms: each distinct licence or condition once.
        needs_accept: fetching asks for `--accept`.
    """

    dataset: str
    files: int
    size: int
    state: str
    absent: tuple[str, ...]
    terms: tuple[str, ...]
    needs_accept: bool


@dataclass(frozen=True)
class FileRow:
    """One file in `data check`: its path under the data home, its state, and the sha256 that is published."""

    path: str
    state: download.State
    sha256: str
    terms: str


def rows(datasets: Iterable[Dataset]) -> list[DataRow]:
    """The table of `data ls`. Compares sizes only, so it stays quick; `check` compares checksums."""
    return [_row(dataset) for dataset in datasets]


def _row(dataset: Dataset) -> DataRow:
    sources = tuple(dataset.sources())
    states = {s.path: download.state(dataset.home, s, full=False) for s in sources}
    worst = [s for s in ("missing", "damaged", "unverified", "present") if s in states.values()]
    none = ("yours", _OWN) if dataset.own_files else ("bundled", _GENERATED)
    return DataRow(
        dataset=dataset_label(dataset),
        files=len(sources),
        size=sum(s.size for s in sources),
        state=worst[0] if worst else none[0],
        absent=tuple(path for path, state in states.items() if state in ("missing", "damaged")),
        terms=tuple(dict.fromkeys(s.terms for s in sources)) or (none[1],),
        needs_accept=any(s.needs_accept for s in sources),
    )


def fetch(
    dataset: Dataset,
    *,
    accept: bool = False,
    progress: Progress = lambda line: None,
    retries: int = 3,
    allow_loopback_http: bool = False,
) -> list[Path]:
    """Download what is missing or damaged, then convert it to the files the cohort is read from.

    Args:
        accept: the user has agreed to the terms of sources that need it.
        progress: gets one line per file.
        retries, allow_loopback_http: see `download.fetch`.

    Returns:
        The files that were downloaded; empty where all were there.

    Raises:
        DataError: terms not accepted (the message holds them), a failed download, or a file only the user can bring.
    """
    sources = tuple(dataset.sources())
    wanted = [s for s in sources if download.state(dataset.home, s) in ("missing", "damaged")]
    public = [s for s in wanted if s.url]
    _check_terms(dataset, public, accept)
    done = []
    for number, source in enumerate(public, 1):
        progress(f"[{number}/{len(public)}] {source.path} ({_megabytes(source.size)})")
        done.append(download.fetch(dataset.home, source, retries=retries, allow_loopback_http=allow_loopback_http))
    for source in wanted:
        if not source.url:
            raise DataError(
                f"{dataset.home / source.path} is missing; {download.remedy(source, dataset_label(dataset))}"
            )
    if sources:
        dataset.convert(dataset.home, dataset.home)
    return done


def _check_terms(dataset: Dataset, sources: Sequence[Source], accept: bool) -> None:
    terms = dict.fromkeys(s.terms for s in sources if s.needs_accept)
    if terms and not accept:
        raise DataError(
            f"{dataset_label(dataset)} comes under terms of its own: {'; '.join(terms)}. "
            f"If you agree, run: fusionbench data fetch {shlex.quote(dataset_label(dataset))} --accept"
        )


def check(dataset: Dataset) -> list[FileRow]:
    """The state of each of the dataset's files, by checksum; then, if all are there, its cases are read once.

    Raises:
        DataError: the files are there but do not make a cohort (a derived file is missing or altered, a bad row).
    """
    found = [FileRow(s.path, download.state(dataset.home, s), s.sha256, s.terms) for s in dataset.sources()]
    if all(row.state in ("present", "unverified") for row in found):
        dataset.info()
        dataset.cases()
    return found


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size else "size unknown"
