"""Masks that a suite's patterns read: from files beside it, and those that its datasets publish."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionbench.core.errors import SuiteError, did_you_mean
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.protocol import Protocol, overlay
from fusionbench.core.types import Fold, MaskRow
from fusionbench.data.mask_files import MaskTable, parse_masks
from fusionbench.data.masks import Hidden
from fusionbench.data.patterns import FILE, GIVEN, MNAR, PUBLISHED, parse_pattern, shown_pattern
from fusionbench.data.protocol_view import protocol_modalities
from fusionbench.suites.suite import Suite
from fusionbench.suites.suite_problems import problem_text
from fusionbench.tasks import task_kind

if TYPE_CHECKING:
    from fusionbench.data.cohort import Cohort

Cohorts = Callable[[PluginRef, str], "Cohort"]
Sets = Sequence[tuple[str, ...]]
TEST, TRAIN = "test_patterns", "train_pattern"
SHOWN = 3
"""Examples of unknown cases in a message."""


def mask_texts(suite: Suite) -> dict[str, tuple[str, str]]:
    """Path of each file of masks, as the suite writes it, to the path that messages show and its text.

    Raises:
        SuiteError: a file cannot be read as UTF-8 text, or two files have one name.
    """
    named: dict[str, str] = {}
    found: dict[str, tuple[str, str]] = {}
    for key, pattern in dict.fromkeys((key, p) for _, protocol in _protocols(suite) for key, p in _patterns(protocol)):
        kind, _, name = pattern.partition(":")  # what is no pattern at all is told with the modalities
        if kind != FILE:
            continue
        path = os.path.normpath(name)
        if named.setdefault(shown_pattern(pattern), path) != path:
            other = named[shown_pattern(pattern)]
            raise SuiteError(
                f"{key}: {path} and {other} are two files of one name, and results name a file without its folder; "
                "rename one"
            )
        found[name] = suite.read_beside(key, name)
    return found


def read_masks(suite: Suite) -> dict[str, MaskTable]:
    """Pattern of each file of masks, as results have it, to the file's masks.

    Raises:
        SuiteError: as `mask_texts`, or a file's content is wrong; names the file and the line.
    """
    return {
        shown_pattern(f"{FILE}:{name}"): parse_masks(text, where) for name, (where, text) in mask_texts(suite).items()
    }


def _protocols(suite: Suite) -> Iterator[tuple[tuple[PluginRef, ...], Protocol]]:
    """The protocol of every variant, and the datasets that it runs on."""
    for variant in suite.variants():
        datasets = tuple(d for d in suite.datasets if not variant.only.datasets or d.name in variant.only.datasets)
        yield datasets, overlay(suite.protocol, variant.protocol)


def _patterns(protocol: Protocol) -> Iterator[tuple[str, str]]:
    """(key, pattern) of every pattern of a protocol."""
    yield from ((TEST, pattern) for pattern in protocol.test_patterns)
    yield TRAIN, protocol.train_pattern


def check_masks(suite: Suite, cohorts: Cohorts) -> None:
    """Patterns whose masks are read or depend on the outcome, against the cohorts.

    Raises:
        SuiteError: a file names cases or modalities that no dataset has; a dataset does not publish the masks, or its
            published folds are not used; the outcome is one of several classes. With all problems at once.
    """
    tables = read_masks(suite)
    problems: list[str] = []
    for datasets, protocol in _protocols(suite):
        known = {ref: cohorts(ref, protocol.unit) for ref in datasets}
        for key, pattern in _patterns(protocol):
            kind = parse_pattern(pattern).kind
            if kind == FILE:
                problems += _file_problems(tables[shown_pattern(pattern)], suite, known, protocol)
            elif kind == PUBLISHED:
                problems += [f"{key} {pattern!r}: {p}" for p in _published_problems(pattern, suite, known, protocol)]
            elif kind == MNAR:
                problems += [
                    f"{key} {pattern!r}: {ref} has {len(cohort.info.classes)} classes; mnar needs two, or survival"
                    for ref, cohort in known.items()
                    if not task_kind(cohort.info.task).positive(cohort.info.classes)
                ]
    if problems:
        raise SuiteError(problem_text(f"suite {suite.name!r}", list(dict.fromkeys(problems))))


def _file_problems(
    table: MaskTable, suite: Suite, known: Mapping[PluginRef, Cohort], protocol: Protocol
) -> Iterator[str]:
    of_case: dict[str, set[str]] = {}
    several: set[str] = set()
    for ref, cohort in known.items():
        shared = _of_several(suite, ref, cohort, protocol)
        several |= shared
        names = {*cohort.info.modalities, *shared}
        for case in cohort.cases:
            of_case.setdefault(case.id, set()).update(names)
    unknown: dict[str, MaskRow] = {}
    for row in table.rows:
        if row.case not in of_case:
            unknown.setdefault(row.case, row)
    # Those of a dataset that the command line left out are not known to be wrong.
    if unknown and not suite.narrowed:
        shown = "; ".join(_example(row, of_case) for row in list(unknown.values())[:SHOWN])
        yield (
            f"{table.where}: {len(unknown)} of {len(table.hides)} cases are in no dataset of the suite ({shown}); "
            f"write ids as the dataset has them, a {protocol.unit} each"
        )
    odd = [row for row in table.rows if row.case in of_case and row.modality not in of_case[row.case]]
    if odd:
        more = f" (and {len(odd) - 1} more lines)" if len(odd) > 1 else ""
        yield f"{table.place(odd[0])}{more}: {did_you_mean('modality', odd[0].modality, of_case[odd[0].case])}"
    if not odd and not suite.narrowed:
        yield from _idle(table.where, table.rows, several)


def _of_several(suite: Suite, ref: PluginRef, cohort: Cohort, protocol: Protocol) -> set[str]:
    """The modalities of a dataset's rows of several; from rows of one modality nothing is hidden."""
    sets = [protocol_modalities(cohort, protocol, names) for names in suite.sets_of(ref.name)]
    return {name for of_set in sets for name in of_set if len(of_set) > 1}


def _idle(where: str, rows: Iterable[MaskRow], several: Collection[str]) -> Iterator[str]:
    hides = {row.modality for row in rows}
    if hides.isdisjoint(several):
        yield (
            f"{where}: it hides {', '.join(sorted(hides)) or 'nothing'}, and the rows of several modalities have "
            f"{', '.join(sorted(several)) or 'none'}; leave the pattern out"
        )


def _example(row: MaskRow, cases: Iterable[str]) -> str:
    near = get_close_matches(row.case, cases, n=1)
    return f"line {row.line}: {row.case!r}" + (f", did you mean {near[0]!r}?" if near else "")


def _published_problems(
    pattern: str, suite: Suite, known: Mapping[PluginRef, Cohort], protocol: Protocol
) -> Iterator[str]:
    name = parse_pattern(pattern).name
    for ref, cohort in known.items():
        if name in cohort.masks:
            yield from _idle(str(ref), cohort.masks[name], _of_several(suite, ref, cohort, protocol))
        else:
            yield f"{ref}: {did_you_mean('published masks', name, cohort.masks)}"
    if protocol.fold_source != "published":
        yield f'the masks are of published folds, and fold_source is {protocol.fold_source!r}; set it to "published"'
    if protocol.unit != "patient":
        yield f"the masks are of patients, and unit is {protocol.unit!r}"


@dataclass(frozen=True)
class GivenMasks:
    """What the masks that a protocol's patterns read hide of one cohort.

    Attributes:
        tables: pattern, as results have it, to the rows on the cohort's cases.
    """

    tables: Mapping[str, MaskTable]

    @cached_property
    def hides(self) -> dict[str, frozenset[str]]:
        """Pattern to the modalities that it hides of some case."""
        return {pattern: frozenset(row.modality for row in table.rows) for pattern, table in self.tables.items()}

    def hidden(self, repeat: int, fold: int) -> dict[str, Hidden]:
        """Pattern to what it hides in a fold."""
        return {pattern: table.hidden(repeat, fold) for pattern, table in self.tables.items()}


def moved_patterns(suite: Suite, protocol: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Keys of a protocol as a file in another folder has to write them, so that it reads the same masks."""
    beside = getattr(suite.file, "parent", None)
    if beside is None:
        return dict(protocol)

    def moved(pattern: str) -> str:
        kind, _, name = pattern.partition(":")
        if kind != FILE or os.path.isabs(name):
            return pattern
        path = os.path.relpath(os.path.join(beside, os.path.expanduser(name)), folder)
        return f"{FILE}:{Path(path).as_posix()}"

    changed = {TEST: lambda of: [moved(p) for p in of], TRAIN: moved}
    return {key: changed[key](value) if key in changed else value for key, value in protocol.items()}


def given_masks(suite: Suite, protocol: Protocol, dataset: PluginRef, cohort: Cohort) -> GivenMasks:
    """The masks that a protocol's patterns read, of one cohort.

    Raises:
        SuiteError: as `read_masks`.
    """
    asked = [p for _, p in _patterns(protocol) if parse_pattern(p).kind in GIVEN]
    if not asked:
        return GivenMasks({})
    tables = read_masks(suite)
    tables |= {
        f"{PUBLISHED}:{name}": MaskTable(f"{dataset}, published masks {name!r}", rows)
        for name, rows in cohort.masks.items()
    }
    ids = {case.id for case in cohort.cases}
    shown = {shown_pattern(pattern): tables[shown_pattern(pattern)] for pattern in asked}
    own = {p: replace(table, rows=tuple(row for row in table.rows if row.case in ids)) for p, table in shown.items()}
    return GivenMasks(own)


def with_shown_patterns(protocol: Protocol) -> Protocol:
    """The protocol with its patterns as results have them."""
    shown = {TEST: tuple(map(shown_pattern, protocol.test_patterns)), TRAIN: shown_pattern(protocol.train_pattern)}
    return protocol.model_copy(update=shown)


def check_folds(
    given: GivenMasks,
    protocol: Protocol,
    dataset: PluginRef,
    cohort: Cohort,
    folds: Sequence[Sequence[Fold]],
    sets: Sets,
) -> None:
    """Masks against the folds of a cohort.

    Args:
        protocol: with patterns as results have them.
        folds: of each repeat.
        sets: modality sets of the rows.

    Raises:
        SuiteError: a fold that there is not; masks that leave a case nothing, hide a modality from every training case,
            or hide nothing. Published masks may leave a case nothing: it is left out of training.
    """
    present = {case.id: frozenset(case.refs) for case in cohort.cases}
    for key, pattern in _patterns(protocol):
        table, hides = given.tables.get(pattern), given.hides.get(pattern, frozenset())
        concerned = [names for names in sets if len(names) > 1 and not hides.isdisjoint(names)]
        if table is not None and concerned:
            _check_range(table, dataset, len(folds[0]))
            _check_hidden(_Use(key, pattern, table, dataset, present), folds, concerned)


def _check_range(table: MaskTable, dataset: PluginRef, n: int) -> None:
    beyond = [row for row in table.rows if row.fold is not None and row.fold >= n]
    if beyond:
        more = f" (and {len(beyond) - 1} more lines)" if len(beyond) > 1 else ""
        raise SuiteError(
            f"{table.place(beyond[0])}{more}: fold is {beyond[0].fold}, but {dataset} has the folds 0 to {n - 1}; "
            "they are numbered as in folds.csv"
        )


@dataclass(frozen=True)
class _Use:
    """A pattern under one key, and the modalities of the cohort's cases."""

    key: str
    pattern: str
    table: MaskTable
    dataset: PluginRef
    present: Mapping[str, frozenset[str]]

    def ids(self, fold: Fold) -> tuple[str, ...]:
        """The cases of a fold that the key is about."""
        return fold.test if self.key == TEST else (*fold.train, *fold.val)


def _check_hidden(use: _Use, folds: Sequence[Sequence[Fold]], sets: Sets) -> None:
    acts = False
    for repeat, of_repeat in enumerate(folds):
        for number, fold in enumerate(of_repeat):
            hidden = use.table.hidden(repeat, number)
            for names in sets:
                acts |= any((hidden[i] & use.present[i]).intersection(names) for i in use.ids(fold) if i in hidden)
                if problem := _set_problem(use, fold, hidden, names):
                    where = f"{use.table.where}, {use.dataset}, fold {number}, modalities {'+'.join(names)}"
                    raise SuiteError(f"{where}: as {use.key} it {problem}")
    if not acts:
        who = "a test case" if use.key == TEST else "in training or validation"
        raise SuiteError(
            f"{use.table.where}: as {use.key} it hides nothing of {use.dataset}: in the folds that it names none of "
            f"its cases is {who} and has the modality; leave the pattern out"
        )


def _set_problem(use: _Use, fold: Fold, hidden: Hidden, names: tuple[str, ...]) -> str:
    own = {i: use.present[i].intersection(names) for i in use.ids(fold) if i in hidden}
    emptied = [i for i, has in own.items() if has and has <= hidden[i]]
    if emptied and parse_pattern(use.pattern).kind == FILE:
        kept = ", ".join(name for name in names if name in own[emptied[0]])
        return (
            f"leaves {len(emptied)} cases nothing, first {emptied[0]!r}, which has {kept}; keep a modality of each "
            "case, or leave this modality set out"
        )
    for name in names if use.key == TRAIN else ():
        having = [i for i in fold.train if name in use.present[i]]
        if having and all(name in hidden.get(i, ()) for i in having):
            return f"hides {name!r} from all {len(having)} training cases that have it; keep some, or leave the set out"
    return ""


def mask_notes(suite: Suite, dataset: PluginRef, cohort: Cohort) -> list[str]:
    """Lines below a dataset's tables: how many rows of masks are of it, and which patterns depend on the outcome."""
    protocols = [protocol for datasets, protocol in _protocols(suite) if dataset in datasets]
    asked = dict.fromkeys(pattern for protocol in protocols for _, pattern in _patterns(protocol))
    return [note for pattern in asked if (note := _note(suite, pattern, cohort))]


def _note(suite: Suite, pattern: str, cohort: Cohort) -> str:
    kind, name, share = parse_pattern(pattern)
    if kind == MNAR:
        who = task_kind(cohort.info.task).positive(cohort.info.classes)
        return (
            f"pattern {pattern}: the outcome decides from whom {name} is hidden, {share:.0%} of the cases {who} in "
            "training, of the others at test: a probe of what a model reads from absence, not of how well it predicts"
        )
    if kind not in GIVEN:
        return ""
    rows = read_masks(suite)[shown_pattern(pattern)].rows if kind == FILE else cohort.masks[name]
    refs = {case.id: case.refs for case in cohort.cases}
    own = [row for row in rows if row.case in refs]
    absent = sum(row.modality not in refs[row.case] for row in own)
    idle = f"; {absent} of them name a modality that the case does not have" if absent else ""
    return f"pattern {shown_pattern(pattern)}: {len(own)} of {len(rows)} rows of masks are of this cohort{idle}"
