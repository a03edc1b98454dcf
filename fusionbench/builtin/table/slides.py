"""Feature files of slides, joined to cases: all slides of a case form one bag."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from fusionbench.builtin.instances import NO_INSTANCE, as_float32, check_instances
from fusionbench.builtin.table.column_selection import Problems
from fusionbench.builtin.table.schema import ModalitySchema
from fusionbench.builtin.table.sheets import Sheet, count, examples, nearest
from fusionbench.core.data_warning import Fix
from fusionbench.core.errors import DataError
from fusionbench.data.feature_files import FORMATS, encoder_of, feature_files, fingerprint, read_arrays
from fusionbench.data.fixes import Problem

READ_WHOLE = 1 << 29
"""Bytes of a folder up to which loading the cohort checks every value; of larger folders, `data check` does."""

SLIDE_ENDINGS = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".dcm", ".vms", ".svslide", ".czi")


@dataclass(frozen=True)
class Folder:
    """A modality's feature files.

    Attributes:
        of_case: case to its files, in the order of their slides' names.
        owners: slide to its case, for all slides of the cohort's cases, with a file or without.
        width: of an instance.
        encoder: of the features, where files say it.
        sha256: over names, sizes, and the first and last MiB of each file.
        notes: one line each for files that were ignored and for slides without a file.
    """

    of_case: Mapping[str, tuple[Path, ...]]
    owners: Mapping[str, str]
    width: int
    encoder: str
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
    owner = _of_names(files, cases) if map_ is None else _owners(where, schema, map_, problems)
    strangers = list(_no_match(schema, files, owner, cases))
    if strangers:
        problems += [f"{where}: {line}" for line in strangers]
    else:
        aside = notes if schema.unknown == "ignore" else problems
        left = (*_unmapped(schema, files, owner), *_unknown(schema, files, owner, cases))
        aside += [Problem(f"{where}: {line}", Fix(("modality", name), "unknown", "ignore")) for line in left]
        notes += [f"{where}: {line}" for line in _absent(schema, files, owner, cases)]
    of_case: dict[str, tuple[Path, ...]] = {}
    for slide, path in files.items():
        if slide in owner and owner[slide].case in cases:
            of_case[owner[slide].case] = (*of_case.get(owner[slide].case, ()), path)
    used = [path for paths in of_case.values() for path in paths]
    of_case, width, empty, faulty = _check_files(of_case, schema.dataset, problems)
    if empty:
        files_ = count(len(empty), "file")
        notes.append(f"{where}: {files_} of {schema.folder} without an instance left out, the first is {empty[0].name}")
    owners = {slide: of.case for slide, of in owner.items() if of.case in cases}
    sound, encoder = [path for path in used if path not in faulty], ""
    try:
        encoder = encoder_of(sound, dataset=schema.dataset)
    except DataError as error:
        problems.append(str(error))
    return Folder(of_case, owners, width, encoder, fingerprint(sound) if sound else "", tuple(notes))


def _files(where: str, name: str, place: Path, problems: Problems) -> dict[str, Path]:
    """Name of a slide to its file, in the order of names."""
    if not place.is_dir():
        problems.append(f"{where}.folder: {name!r} is no folder; looked for {place.absolute()}")
        return {}
    files: dict[str, Path] = {}
    try:
        paths = feature_files(place.absolute())
    except DataError as error:
        problems.append(f"{where}.folder: {error}")
        return {}
    twice: list[str] = []
    for path in paths:
        slide = bare(path.name)
        if slide in files:
            twice.append(f"{files[slide].name} and {path.name}")
        files[slide] = path
    if twice:
        more = f" ({len(twice)} slides so)" if len(twice) > 1 else ""
        problems.append(f"{where}: {twice[0]} are of one slide{more}; keep one of them")
    return files


def _of_names(files: Collection[str], cases: Collection[str]) -> dict[str, Owner]:
    """Each file is of the case of its name, where cases are slides perhaps with folders and endings in their ids."""
    full: dict[str, list[str]] = {}
    for case in cases:
        full.setdefault(bare(case), []).append(case)
    alone = {name: of[0] for name, of in full.items() if len(of) == 1}
    return {slide: Owner(slide if slide in cases else alone.get(slide, slide)) for slide in files}


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
    """A slide's name without folders and without the endings of its feature file and its image."""
    # Divides at \\ and at /. An accent may be a letter of its own, as macOS writes names.
    name = PureWindowsPath(unicodedata.normalize("NFC", slide)).name
    for endings in (tuple(FORMATS), SLIDE_ENDINGS):
        name = next((name[: -len(e)] for e in endings if name.lower().endswith(e) and len(name) > len(e)), name)
    return name


def _no_match(
    schema: ModalitySchema, files: Mapping[str, Path], owner: Mapping[str, Owner], cases: Collection[str]
) -> Iterator[str]:
    """Lines for two sides that have no name in common: how each looks."""
    of_cases, names = {of.case for of in owner.values()}, [path.name for path in files.values()]
    if schema.map is None:
        if files and not of_cases & set(cases):
            yield (
                f"no file of {schema.folder} is named by a case of the case table {examples(names, cases)}; name a "
                'table of slides and cases, map = "slides.csv"'
            )
        return
    if owner and not of_cases & set(cases):
        yield f"no case of {schema.map} is in the case table {examples(of_cases, cases)}; write them alike"
    if owner and files and not owner.keys() & files.keys():
        yield (
            f"no slide of {schema.map} has a file in {schema.folder} {examples(owner, names)}; write them alike but "
            "for folders and endings"
        )


def _absent(
    schema: ModalitySchema, files: Mapping[str, Path], owner: Mapping[str, Owner], cases: Collection[str]
) -> Iterator[str]:
    """A line for slides of the map without a file."""
    absent = [slide for slide, of in owner.items() if slide not in files and of.case in cases]
    if absent:
        near = nearest(absent[0], [slide for slide in files if slide not in owner])
        yield (
            f"{len(absent)} of {len(owner)} slides of {schema.map} have no file in {schema.folder}, the first is "
            f"{absent[0]!r}{near}"
        )


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
    remedy = ": ignored" if schema.unknown == "ignore" else '; add it there, or say unknown = "ignore"'
    return f"{nearest(id_, sorted(known))}{remedy}"


def _check_files(
    of_case: Mapping[str, tuple[Path, ...]], dataset: str, problems: Problems
) -> tuple[dict[str, tuple[Path, ...]], int, list[Path], Collection[Path]]:
    """Check the shapes of all files, and all values of a folder that is not large.

    Returns:
        case to its files, without those that hold no instance where another one does; the width that most files have;
        the files left out; and the faulty ones.
    """
    paths = [path for of in of_case.values() for path in of]
    whole = sum(path.stat().st_size for path in paths if path.is_file()) <= READ_WHOLE  # others are links to nothing
    widths: dict[Path, int] = {}
    empty: set[Path] = set()
    faults: dict[Path, str] = {}
    for path in paths:
        try:
            features = read_arrays(path, dataset=dataset, header_only=not whole)["features"]
            if features.ndim == 2 and not len(features):
                empty.add(path)
                continue
            check_instances(f"{path}: ", features, features.shape[-1] if features.ndim else 0)
            if whole:
                as_float32(f"{path}: ", features)
            widths[path] = features.shape[1]
        except DataError as error:
            faults[path] = str(error)
    aside = [path for of in of_case.values() if not empty.issuperset(of) for path in of if path in empty]
    faults |= {path: f"{path}: {NO_INSTANCE}" for path in empty.difference(aside)}
    width = Counter(widths.values()).most_common(1)[0][0] if widths else 1
    for path, n in widths.items():
        if n != width:
            others = sum(w == width for w in widths.values())
            faults[path] = f"{path}: {n} features where {others} other files have {width}; extract all with one encoder"
    problems += [faults[path] for path in paths if path in faults]
    return {case: tuple(path for path in of if path not in aside) for case, of in of_case.items()}, width, aside, faults
