"""Which files of a folder are slides."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fusionbench import DataError, SuiteError
from fusionbench.data.slides import opened

SLIDES = {".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".dcm", ".svslide", ".vms", ".vmu", ".czi"}
"""Suffixes that promise a slide: one that OpenSlide does not know is a fault."""
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}
"""Suffixes that are named as no slides; other files of a folder are passed over without a word."""


@dataclass(frozen=True)
class Found:
    """A file that is a slide or should be one.

    Attributes:
        name: the file's name without its suffix, by which everything that is made of it is called.
        error: why it is not worked on; empty for a slide.
        fault: False where the file promised nothing, as a picture beside the slides.
    """

    path: Path
    name: str
    error: str = ""
    fault: bool = True


def find_slides(place: Path) -> list[Found]:
    """The slides in a folder and below, sorted by path; or the one that `place` is.

    Files of one DICOM series are one slide, called by the first of them.

    Raises:
        SuiteError: there is no such place, or no file in it that could be a slide.
    """
    if not place.exists():
        raise SuiteError(f"{place}: no such folder of slides")
    paths = [place] if place.is_file() else list(_files(place))
    found = list(_named_once(_looked_at(paths)))
    if not found:
        raise SuiteError(f"{place}: no slide in it; known are {', '.join(sorted(SLIDES))}")
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Files that are not hidden; not those of a MIRAX slide, which lie in a folder of its name.

    A folder is looked at once, however many links lead there.
    """
    seen = set[str]()
    for at, folders, names in os.walk(folder, followlinks=True):
        here, real = Path(at), os.path.realpath(at)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if f[0] != "." and not (here / f"{f}.mrxs").is_file())
        yield from (here / name for name in sorted(names) if name[0] != ".")


def _looked_at(paths: list[Path]) -> Iterator[Found]:
    import openslide

    series: set[tuple[Path, str]] = set()
    for path in paths:
        vendor = openslide.OpenSlide.detect_format(str(path))
        suffix = path.suffix.lower()
        if vendor is None:
            if suffix in SLIDES | PICTURES or len(paths) == 1:
                yield Found(path, path.stem, _no_slide(suffix), suffix not in PICTURES)
        elif vendor == "dicom":
            identity = path.parent, _series(path)
            if identity not in series:
                series.add(identity)
                yield Found(path, path.stem)
        else:
            yield Found(path, path.stem)


def _no_slide(suffix: str) -> str:
    said = "not a slide (OpenSlide knows no such format)"
    return f"{said}; if it should be one, it broke off: copy it again from its source" if suffix in SLIDES else said


def _series(path: Path) -> str:
    """What the files of a DICOM slide have in common; the file's own name where it does not say."""
    try:
        with opened(path) as slide:
            return str(slide.properties.get("dicom.SeriesInstanceUID", path.name))
    except DataError:
        return path.name  # a slide of its own, whose fault is told when it is worked on


def _named_once(found: Iterator[Found]) -> Iterator[Found]:
    """A second slide of a name would overwrite the features of the first."""
    names: dict[str, Path] = {}
    for item in found:
        if not item.error and item.name in names:
            yield Found(item.path, item.name, f"is called like {names[item.name]}; rename one of them")
            continue
        if not item.error:
            names[item.name] = item.path
        yield item
