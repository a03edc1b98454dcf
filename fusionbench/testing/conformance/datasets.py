"""Checks of a dataset."""

from __future__ import annotations

import itertools
import pickle
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from fusionbench.core.errors import DataError
from fusionbench.core.interfaces import Dataset
from fusionbench.core.options import Options
from fusionbench.core.registry import Registry
from fusionbench.core.types import Case, DatasetInfo, Fold
from fusionbench.data.cohort import dataset_label, load_cohort
from fusionbench.data.downloads import data_home
from fusionbench.testing.conformance.check import Check, Checklist, Failure, Promise, Skipped, checks_of, equal_refs
from fusionbench.testing.conformance.declarations import declarations
from fusionbench.testing.conformance.written import Watched

COMMAND = "fusionbench data fetch"


class DatasetSubject:
    """A registered dataset over the user's data home: with its default options, or those of its own example."""

    def __init__(self, name: str, registry: Registry) -> None:
        self.cls: type[Dataset] = registry.dataset(name)
        self.registry = registry

    def made(self, home: Path | None = None) -> Dataset:
        """The dataset over a data home, default the user's."""
        return self.cls(self.options, home or data_home())

    @cached_property
    def options(self) -> Options:
        """Its default options, or those of its own example."""
        return self.example() if self.cls.own_files else self.cls.Options()

    def example(self) -> Options:
        """Options that read an example written into a folder of its own, which is there for as long as this object."""
        example = getattr(self.cls, "example", None)
        if example is None:
            raise Failure(f"{self.cls.__name__} has own_files = True, and no classmethod `example(folder) -> options`")
        folder = tempfile.mkdtemp()
        weakref.finalize(self, shutil.rmtree, folder)
        made: Options = example(Path(folder))
        return made

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset over the user's data home."""
        return self.made()

    @cached_property
    def absent(self) -> str:
        """What is said where the files of the cohort are not on this machine; empty where they are."""
        try:
            self.dataset.info()
            self.dataset.cases()
        except DataError as error:
            return str(error) if self.says_what_to_do(str(error)) else ""
        return ""

    def says_what_to_do(self, message: str) -> bool:
        """It names the command, or a file that only the user can bring."""
        own = [source.path for source in self.dataset.sources() if not source.url]
        return COMMAND in message or any(path in message for path in own)

    @cached_property
    def info(self) -> DatasetInfo:
        """What the dataset says of itself."""
        return self.dataset.info()

    @cached_property
    def cases(self) -> Sequence[Case]:
        """All of its cases."""
        return self.dataset.cases()


CHECKS: Checklist[DatasetSubject] = Checklist()
READS = ("readable",)


@CHECKS.add(
    "says-how-to-fetch",
    "With an empty data home, `info` or `cases` raises DataError that names `fusionbench data fetch`.",
    cause="a FileNotFoundError that is let through, files that are looked for elsewhere, or downloads on the way.",
)
def says_how_to_fetch(subject: DatasetSubject) -> None:
    if not subject.dataset.sources():
        raise Skipped("it has no files to fetch")
    with tempfile.TemporaryDirectory() as home:
        empty = subject.made(Path(home))
        try:
            empty.info()
            empty.cases()
        except DataError as error:
            if not subject.says_what_to_do(str(error)):
                raise Failure(f"DataError: {error}") from error
        else:
            raise Failure("cases, and no error")


@CHECKS.add(
    "readable",
    "`info()` and `cases()` give what the harness accepts: ids are unique, targets, refs, widths and values in order.",
    cause="one row a slide where one a patient is asked for, a negative time, or data of another width than declared.",
)
def readable(subject: DatasetSubject) -> None:
    if subject.absent:
        raise Skipped(subject.absent)
    load_cohort(subject.dataset, subject.registry.modalities)


def _needs_files(subject: DatasetSubject) -> None:
    if subject.absent:
        raise Skipped(subject.absent)


@CHECKS.add(
    "names-are-words",
    "Title and endpoint are there; case ids and groups are text.",
    cause="ids or groups that are numbers: pandas reads `0012` as 12.",
    needs=READS,
)
def names_are_words(subject: DatasetSubject) -> None:
    _needs_files(subject)
    for what, text in (("title", subject.info.title), ("endpoint", subject.info.endpoint)):
        if not text.strip():
            raise Failure(f"an empty {what}")
    for case in subject.cases:
        for what, text in (("id", case.id), ("group", case.group)):
            if not isinstance(text, str) or not text:
                raise Failure(f"case {case.id!r} has {what} {text!r}", "text")


@CHECKS.add(
    "same-again",
    "A second call, and a second object, give equal cases in the same order.",
    cause="the order of a set or of a folder, or random numbers without a seed.",
    needs=READS,
)
def same_again(subject: DatasetSubject) -> None:
    _needs_files(subject)
    for other, what in ((subject.dataset, "a second call"), (subject.made(), "a second object")):
        again = other.cases()
        if len(again) != len(subject.cases):
            raise Failure(f"{len(subject.cases)} cases, and {len(again)} from {what}")
        for before, after in zip(subject.cases, again, strict=True):
            _compare(before, after, what)


def _compare(before: Case, after: Case, what: str) -> None:
    if (before.id, before.group, before.target) != (after.id, after.group, after.target):
        raise Failure(f"case {before.id!r} with {before.target}, and {after.id!r} with {after.target} from {what}")
    unlike = [
        name
        for name in {*before.refs, *after.refs}
        if name not in before.refs or name not in after.refs or not equal_refs(before.refs[name], after.refs[name])
    ]
    if unlike:
        raise Failure(f"other data of {unlike[0]!r} for case {before.id!r} from {what}")


@CHECKS.add(
    "pickles",
    "Dataset and cases go through pickle, so that other processes can have them.",
    cause="an open file, a lambda or a generator as an attribute or a ref.",
    needs=READS,
)
def pickles(subject: DatasetSubject) -> None:
    _needs_files(subject)
    few = tuple(subject.cases[:20])
    for before, after in zip(few, pickle.loads(pickle.dumps(few)), strict=True):
        _compare(before, after, "pickle")
    pickle.loads(pickle.dumps(subject.made()))


@CHECKS.add(
    "published-folds",
    "Published folds hold known cases or groups, and the parts of each do not overlap.",
    cause="folds of another release of the cohort, or ids that were shortened in one of the two.",
    needs=READS,
)
def published_folds(subject: DatasetSubject) -> None:
    _needs_files(subject)
    folds = subject.dataset.folds()
    if folds is None:
        raise Skipped("it publishes no folds")
    for problem in _fold_problems(folds, subject.cases):
        raise Failure(problem)


def _fold_problems(folds: Sequence[Fold], cases: Sequence[Case]) -> Iterator[str]:
    group_of = {case.group: case.group for case in cases} | {case.id: case.group for case in cases}
    for number, fold in enumerate(folds):
        parts = {"train": fold.train, "val": fold.val, "test": fold.test}
        unknown = [name for part in parts.values() for name in part if name not in group_of]
        if unknown:
            yield f"fold {number} names {len(unknown)} unknown cases, the first {unknown[0]!r}"
            return
        groups = {part: {group_of[name] for name in names} for part, names in parts.items()}
        for a, b in itertools.combinations(parts, 2):
            if groups[a] & groups[b]:
                yield f"fold {number}: group {min(groups[a] & groups[b])!r} stands in both {a} and {b}"


@CHECKS.add(
    "checksums",
    "A cohort that is read from files says their sha256 in `info().checksums`.",
    cause="files read without their checksums compared, so that an altered file goes unnoticed.",
    needs=READS,
)
def checksums(subject: DatasetSubject) -> None:
    _needs_files(subject)
    if not subject.dataset.sources() and not subject.cls.own_files:
        raise Skipped("it has no files")
    sums = subject.info.checksums
    bad = [name for name, value in sums.items() if len(value) != 64]
    if not sums or bad:
        raise Failure(f"{dataset_label(subject.dataset)}: {bad[:1] or 'no checksums'}")


@CHECKS.add(
    "same-anywhere",
    "The user's files are the same cohort in every folder.",
    cause="a path among the options that is not marked with `BESIDE_SUITE`, or within a checksum.",
    needs=READS,
)
def same_anywhere(subject: DatasetSubject) -> None:
    if not subject.cls.own_files:
        raise Skipped("its files are not the user's own")
    datasets = (subject.dataset, subject.cls(subject.example(), data_home()))
    here, other = (load_cohort(dataset, subject.registry.modalities) for dataset in datasets)
    for what in ("identity", "fingerprint"):
        one, two = getattr(here, what), getattr(other, what)
        if one != two:
            raise Failure(f"in two folders its {what} is {one} and {two}")


@CHECKS.add(
    "writes-nothing",
    "`info`, `cases`, `folds`, `masks` and `convert` write into the folders that they are given, and nowhere else.",
    cause="a cache or a converted table with a relative path, in the home or beside the plugin's code.",
    needs=READS,
)
def writes_nothing(subject: DatasetSubject) -> None:
    _needs_files(subject)
    home = data_home().absolute()
    dataset = subject.made(home)
    with tempfile.TemporaryDirectory() as out, Watched(subject.cls) as watched:
        dataset.info()
        dataset.cases()
        dataset.folds()
        dataset.masks()
        # Where raw files were not kept, there is nothing to convert.
        with suppress(DataError):
            dataset.convert(home, Path(out))
    if watched.written:
        raise Failure(f"it wrote {', '.join(watched.written[:3])}")


PROMISES: tuple[Promise[DatasetSubject], ...] = (
    *declarations(lambda subject: subject.cls),
    *CHECKS.promises,
)


def checks(name: str, registry: Registry) -> list[Check]:
    """The checks of one dataset."""
    return checks_of("dataset", name, lambda: DatasetSubject(name, registry), PROMISES)
