"""What of a suite is asked for: the command line's flags as a value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fusionbench.core.class_files import file_of, in_file
from fusionbench.core.errors import SuiteError, did_you_mean
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.protocol import overlay
from fusionbench.suites.cell import Plan
from fusionbench.suites.suite import Suite


@dataclass(frozen=True)
class Selection:
    """How the command line narrows a suite; empty is the whole suite.

    Attributes:
        datasets, models: names of the suite's, or `name[option=value]` as a further row.
        folds: fold numbers, e.g. "0-2" or "0,3".
        limit: compute at most so many cells that are not there yet.
    """

    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    folds: str | None = None
    repeats: int | None = None
    seed: int | None = None
    limit: int | None = None

    @property
    def whole(self) -> Selection:
        """The whole suite with the same repeats and seed."""
        return Selection(repeats=self.repeats, seed=self.seed)

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags that say which cells, as the command line takes them; without `--limit`."""
        numbers = (("--folds", self.folds), ("--repeats", self.repeats), ("--seed", self.seed))
        return (*self.rows, *(word for name, value in numbers if value is not None for word in (name, str(value))))

    @property
    def rows(self) -> tuple[str, ...]:
        """The flags that say which rows, as the command line takes them."""
        asked = [("-d", name) for name in self.datasets] + [("-m", name) for name in self.models]
        return tuple(word for flag in asked for word in flag)

    def narrow(self, suite: Suite) -> Suite:
        """The suite with fewer datasets or models, other repeats or another seed.

        Raises:
            SuiteError: a name that the suite does not have.
        """
        return narrow_suite(suite, datasets=self.datasets, models=self.models, repeats=self.repeats, seed=self.seed)

    def further_models(self, suite: Suite) -> dict[str, str]:
        """Models that are asked for beside those of the suite, to the file of their class or nothing."""
        known = {str(model) for model in suite.models}
        refs = [ref for ref in map(PluginRef.parse, filter(_adds, self.models)) if str(ref) not in known]
        return {str(ref): str(file_of(ref.name)) if in_file(ref.name) else "" for ref in refs}

    def pick(self, plan: Plan) -> Plan:
        """The plan with fewer cells.

        Raises:
            SuiteError: a fold that the suite does not have.
        """
        wanted = _fold_numbers(self.folds, {c.fold for c in plan.listed})
        cells = [c for c in plan.listed if wanted is None or c.fold in wanted]
        return plan if len(cells) == len(plan.listed) else plan.select(cells)


WHOLE = Selection()
"""A suite as it is written."""


_FOLD_DIGITS = 9


def _fold_numbers(text: str | None, known: set[int]) -> set[int] | None:
    """`0-2,4` as numbers.

    Raises:
        SuiteError: unreadable, or a fold the suite does not have.
    """
    if text is None:
        return None
    wanted: set[int] = set()
    outside = SuiteError(f"--folds {text}: this suite has folds {min(known, default=0)} to {max(known, default=0)}")
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        if match is None:
            raise SuiteError(f"--folds {text}: cannot read {part!r}; write numbers and ranges, such as 0-2,4")
        first, last = match[1], match[2] or match[1]
        if max(len(first), len(last)) > _FOLD_DIGITS or not {int(first), int(last)} <= known:
            raise outside  # before a range of any size is made
        wanted |= set(range(int(first), int(last) + 1))
    if not wanted <= known:
        raise outside
    return wanted


def narrow_suite(
    suite: Suite,
    *,
    datasets: Sequence[str] = (),
    models: Sequence[str] = (),
    repeats: int | None = None,
    seed: int | None = None,
) -> Suite:
    """A suite narrowed by the command line; a reference with brackets, also empty ones, is a further row.

    Raises:
        SuiteError: a name is neither in the suite nor written with options; repeats or seed out of range.
    """
    changes: dict[str, Any] = {}
    for name, value, least in (("repeats", repeats, 1), ("seed", seed, 0)):
        if value is not None and value < least:
            raise SuiteError(f"{name} is {value}; it must be at least {least}")
    if datasets:
        changes["datasets"] = _narrowed("dataset", datasets, suite.datasets)
        kept = {str(d) for d in changes["datasets"]}
        changes["external"] = tuple(e for e in suite.external if str(e.train) in kept)
    if models:
        changes["models"] = _narrowed("model", models, suite.models)
    if repeats is not None:
        changes["protocol"] = overlay(suite.protocol, {"repeats": repeats})
    if seed is not None:
        changes["seed"] = seed
    made = suite.model_copy(update=changes)
    made._narrowed = suite.narrowed or bool(datasets)
    return made


def _adds(text: str) -> bool:
    """Whether a name asks for a row beside the suite's: it has brackets, also empty ones, or is a class of a file."""
    return "[" in text or in_file(PluginRef.parse(text).name)


def _narrowed(kind: str, wanted: Sequence[str], have: Sequence[PluginRef]) -> tuple[PluginRef, ...]:
    chosen: list[PluginRef] = []
    for text in wanted:
        ref, adds = PluginRef.parse(text), _adds(text)
        same = [r for r in have if str(r) == str(ref) or (not adds and r.name == ref.name)]
        if not same and not adds:
            unknown = did_you_mean(f"{kind} of this suite", ref.name, {r.name for r in have})
            raise SuiteError(f'{unknown}; brackets add an installed {kind} to the suite: "{ref.name}[]"')
        chosen += same or [ref]
    return tuple(dict.fromkeys(chosen))
