"""A folder of slides: each is cut, embedded and drawn; one that fails is a row with its reason."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from fusionbench import DataError, PluginError, SuiteError
from fusionbench_slides.disk import DiskFull
from fusionbench_slides.embedding import Embedder, embed
from fusionbench_slides.feature_file import attributes
from fusionbench_slides.finding import Found
from fusionbench_slides.outcome import Outcome, SlideLog, write_summary
from fusionbench_slides.pictures import Cell, contact_sheets, slide_picture, write_picture
from fusionbench_slides.readers import Readers
from fusionbench_slides.tiling import Tiling, Wanted, tiling_of

FOR_ALL = (SuiteError, PluginError, DiskFull)
"""What the next slide would end by, too."""


class Report(Protocol):
    """Who is told how far the work is."""

    def start(self, slides: int) -> None: ...
    def slide(self, name: str) -> None: ...
    def tiles(self, total: int) -> None: ...
    def embedded(self, tiles: int) -> None: ...
    def finished(self, outcome: Outcome) -> None: ...


@dataclass(frozen=True, eq=False)
class Work:
    """What is done with every slide.

    Attributes:
        out: gets NAME.h5 a slide, qc/NAME.png, logs/NAME.log, summary.csv and contact_sheet.png.
        limit: slides worked on at most, those left out that are there already; None = all.
        overwrite: also slides that are there already.
    """

    wanted: Wanted
    embedder: Embedder
    readers: Readers
    out: Path
    limit: int | None = None
    overwrite: bool = False

    def features(self, name: str) -> Path:
        return self.out / f"{name}.h5"

    def picture(self, name: str) -> Path:
        return self.out / "qc" / f"{name}.png"


def embed_folder(found: Sequence[Found], work: Work, report: Report) -> list[Outcome]:
    """Work on the slides in order; summary.csv is written anew after each. `out` has its folders qc and logs.

    The summary and the contact sheet end with slides of earlier runs whose features lie beside.

    Raises:
        SuiteError, PluginError: the encoder takes no tile as asked for. DiskFull: what is finished stays.
    """
    report.start(len(found))
    before = list(_of_earlier_runs(found, work.out))
    outcomes: list[Outcome] = []
    tried = 0
    for item in found:
        there = _known(item, work)
        if there is None and work.limit is not None and tried >= work.limit:
            continue
        tried += there is None
        report.slide(item.name)
        outcomes.append(there or _worked_on(item, work, report))
        write_summary(work.out / "summary.csv", [*outcomes, *before])
        report.finished(outcomes[-1])
    contact_sheets([Cell(work.picture(outcome.slide), outcome) for outcome in [*outcomes, *before]], work.out)
    return outcomes


def _of_earlier_runs(found: Sequence[Found], out: Path) -> Iterator[Outcome]:
    """A row of each feature file that no slide of this run is called like."""
    names = {item.name for item in found}
    for path in sorted(out.glob("[!.]*.h5")):
        if path.stem not in names:
            try:
                yield _row_of(path.stem, attributes(path))
            except DataError as error:
                yield Outcome(path.stem, error=str(error))


def _known(item: Found, work: Work) -> Outcome | None:
    """The row of a file that is no slide, or of a slide that is there already; None where there is work to do."""
    if item.error:
        return Outcome(item.path.name, error=f"{item.path}: {item.error}", fault=item.fault)
    path = work.features(item.name)
    if work.overwrite or not path.is_file():
        return None
    try:
        about = attributes(path)
        _check_alike(path, about, work.embedder.made_by(work.wanted))
        return _row_of(item.name, about)
    except DataError as error:
        return Outcome(item.name, error=str(error))


def _row_of(name: str, about: Mapping[str, Any]) -> Outcome:
    """The row of a finished file; other programs' files say less."""
    share, seconds = about.get("tissue_share"), float(about.get("seconds", 0))
    return Outcome(name, about["tiles"], None if share is None else float(share), seconds, there=True)


def _check_alike(path: Path, about: Mapping[str, Any], wanted: dict[str, Any]) -> None:
    """Features of two kinds in one folder would make one bag."""
    for key, value in wanted.items():
        if about.get(key) != value:
            raise DataError(
                f"{path}: was made with {key.replace('_', ' ')} {about.get(key)!r} where {value!r} is asked for now; "
                "pass --overwrite, or another --out"
            )


def _worked_on(item: Found, work: Work, report: Report) -> Outcome:
    log = SlideLog(work.out / "logs" / f"{item.name}.log")
    began = time.perf_counter()
    try:
        outcome = _embedded(item, work, report, log)
    except FOR_ALL as error:
        log(f"error: {error}")
        raise
    except DataError as error:
        log(f"error: {error}")
        outcome = Outcome(item.name, error=str(error))
    # One bad slide never stops the rest, whatever it makes a library raise; the log keeps where it came from.
    except Exception as error:  # noqa: BLE001
        log(traceback.format_exc())
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        outcome = Outcome(item.name, error=f"{item.path}: {reason}; see {log.path}")
    return replace(outcome, seconds=time.perf_counter() - began)


def _embedded(item: Found, work: Work, report: Report, log: SlideLog) -> Outcome:
    tiling = tiling_of(item.path, work.wanted, log)
    write_picture(work.picture(item.name), slide_picture(tiling))
    count = len(tiling.coords)
    report.tiles(count)
    if count:
        about = work.embedder.made_by(work.wanted)
        embed(tiling, work.embedder, work.readers, work.features(item.name), about, report.embedded)
        log(f"features: {count} tiles by {work.embedder.loaded.ref} in {work.features(item.name).name}")
    return Outcome(item.name, count, tiling.tissue.share, warning=_warned(tiling, log))


def _warned(tiling: Tiling, log: SlideLog) -> str:
    if tiling.doubt:
        log(f"warning: {tiling.doubt}")
    return tiling.doubt
