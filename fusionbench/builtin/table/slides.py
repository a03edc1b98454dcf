"""Feature files of slides, joined to cases: all slides of a case form one bag."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionbench.builtin.feature_files import FORMATS, read_arrays
from fusionbench.builtin.instances import as_float32, check_instances
from fusionbench.builtin.table.column_selection import Problems
from fusionbench.builtin.table.schema import ModalitySchema
from fusionbench.builtin.table.sheets import Sheet, count, nearest
from fusionbench.core.errors import DataError

EDGE = 1 << 20
"""Bytes hashed at each end of a feature file; not all, since the files of a cohort can be 100 GB."""

READ_WHOLE = 1 << 29
"""Bytes of a folder up to which loading the cohort checks every value; of larger folders, `data check` does."""

SLIDE_ENDINGS = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".dcm", ".vms", ".svslide", ".czi")


@dataclass(frozen=True)
class Folder:
    """A modality's feature files.

    Attributes:
        of_case: case to its files, in the order of their slides' names.
        width: of an instance.
        sha256: over names, sizes, and the first and last MiB of each file.
        notes: one line each for files that were ignored and for slides without a file.
    """

    of_case: Mapping[str, tuple[Path, ...]]
    width: int
    sha256: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Owner:
    """The case of a slide; `place` is the row of the map that says so, as the beginning of a message."""

    case: str
    place: str = ""


def read_folder(
    name: str, schema: ModalitySchema, place: Path, map_: Sheet | None, cases: Collection[str], problems: Problems
) -> Folder:
    """Join files to cases and check them.

    Args:
        place: the folder; files of other formats are ignored.
        map_: table of slides and their cases; None = a file's name is the case's id.
        problems: gets a line for each fault of a file, and one each for unknown cases and unknown slides.
    """
    where, notes = f"modality.{name}", Problems()
    files = _files(where, str(schema.folder), place, problems)
    owner = {slide: Owner(slide) for slide in files} if map_ is None else _owners(where, schema, map_, problems)
    aside = notes if schema.unknown == "ignore" else problems
    aside += [f"{where}: {line}" for line in (*_unmapped(schema, files, owner), *_unknown(schema, files, owner, cases))]
    absent = [slide for slide, of in owner.items() if slide not in files and of.case in cases]
    if absent:
        notes.append(
            f"{where}: {len(absent)} of {len(owner)} slides of {schema.map} have no file in {schema.folder}, the first "
            f"is {absent[0]!r}"
        )
    of_case: dict[str, tuple[Path, ...]] = {}
    for slide, path in files.items():
        if slide in owner and owner[slide].case in cases:
            of_case[owner[slide].case] = (*of_case.get(owner[slide].case, ()), path)
    used = [path for paths in of_case.values() for path in paths]
    return Folder(of_case, _check_files(used, problems), fingerprint(used) if used else "", tuple(notes))


def _files(where: str, name: str, place: Path, problems: Problems) -> dict[str, Path]:
    """Name of a slide to its file, in the order of names."""
    known = "/".join(FORMATS)
    if not place.is_dir():
        problems.append(f"{where}.folder: {name!r} is no folder; looked for {place.absolute()}")
        return {}
    files: dict[str, Path] = {}
    for path in sorted(p.absolute() for p in place.iterdir() if p.suffix in FORMATS and p.name[0] != "."):
        if path.stem in files:
            problems.append(f"{where}: {files[path.stem].name} and {path.name} are of one slide; keep one of them")
        files[path.stem] = path
    if not files:
        problems.append(f"{where}.folder: {name!r} holds no {known} file; put one of each slide there")
    return files


def _owners(where: str, schema: ModalitySchema, sheet: Sheet, problems: Problems) -> dict[str, Owner]:
    """Name of a slide to its case, from the map."""
    keys = {"slide": schema.slide, "case": schema.case}
    lacking = [sheet.unknown_column(f"{where}.{key}", c) for key, c in keys.items() if c not in sheet.columns]
    problems += lacking
    if lacking:
        return {}
    owner: dict[str, Owner] = {}
    for row, slide, case in zip(sheet.frame.index, sheet.frame[schema.slide], sheet.frame[schema.case], strict=True):
        if not slide or not case:
            problems.append(f"{sheet.name}, row {row}: {schema.slide!r} or {schema.case!r} is empty; fill both")
            continue
        first = owner.setdefault(bare(slide), Owner(case, f"{sheet.name}, row {row}: "))
        if first.case != case:
            problems.append(
                f"{sheet.name}, row {row}: slide {slide!r} is of {case!r} here and of {first.case!r} above; a slide "
                "has one case"
            )
    return owner


def bare(slide: str) -> str:
    """A slide's name without the ending of its image or feature file."""
    for ending in (*SLIDE_ENDINGS, *FORMATS):
        if slide.lower().endswith(ending):
            return slide[: -len(ending)]
    return slide


def _unmapped(schema: ModalitySchema, files: Mapping[str, Path], owner: Mapping[str, Owner]) -> Iterator[str]:
    """A line for files of slides that the map does not have."""
    odd = [slide for slide in files if slide not in owner]
    if odd and owner:
        yield (
            f"{count(len(odd), 'file')} of {schema.folder} of slides that {schema.map} does not have, the first is "
            f"{files[odd[0]].name}{_remedy(schema, odd[0], owner)}"
        )


def _unknown(
    schema: ModalitySchema, files: Mapping[str, Path], owner: Mapping[str, Owner], cases: Collection[str]
) -> Iterator[str]:
    """A line for slides of cases that the case table does not have."""
    odd = [slide for slide, of in owner.items() if of.case not in cases]
    if odd:
        first = owner[odd[0]]
        whose = f"slide {odd[0]!r} is of {first.case!r}" if first.place else f"file {files[odd[0]].name}"
        yield (
            f"{first.place}{whose}, a case that the case table does not have ({count(len(odd), 'slide')} so)"
            f"{_remedy(schema, first.case, cases)}"
        )


def _remedy(schema: ModalitySchema, id_: str, known: Collection[str]) -> str:
    if schema.unknown == "ignore":
        return ": ignored"
    return f'{nearest(id_, sorted(known))}; add it there, or say unknown = "ignore"'


def _check_files(paths: Sequence[Path], problems: Problems) -> int:
    """Check the shapes of all files, and all values of a folder that is not large; the width that most files have."""
    whole = sum(path.stat().st_size for path in paths) <= READ_WHOLE
    shapes: dict[Path, tuple[int, ...]] = {}
    faults: dict[Path, str] = {}
    for path in paths:
        try:
            features = read_arrays(path, header_only=not whole)["features"]
            check_instances(f"{path}: ", features, features.shape[-1] if features.ndim else 0)
            if whole:
                as_float32(f"{path}: ", features)
            shapes[path] = features.shape
        except DataError as error:
            faults[path] = str(error)
    width = Counter(shape[1] for shape in shapes.values()).most_common(1)[0][0] if shapes else 1
    for path, shape in shapes.items():
        if shape[1] != width:
            others = sum(s[1] == width for s in shapes.values())
            faults[path] = (
                f"{path}: {shape[1]} features where {others} other files have {width}; extract all with one encoder"
            )
    problems += faults.values()
    return width


def fingerprint(paths: Sequence[Path]) -> str:
    """sha256 over names, sizes, and the first and last MiB of each file, in the order of names."""
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda p: p.name):
        size = path.stat().st_size
        digest.update(f"{path.name}\x1f{size}\x1f".encode())
        with path.open("rb") as file:
            digest.update(file.read(EDGE))
            file.seek(max(EDGE, size - EDGE))
            digest.update(file.read())
    return digest.hexdigest()
