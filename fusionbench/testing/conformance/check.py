"""Check, its result, and the failure that says what was seen, what was expected and the usual cause."""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from fusionbench.core.errors import FusionBenchError, PluginError, did_you_mean
from fusionbench.execution.device import limited

LIBRARIES = re.compile(r"[/\\](torch|numpy|pandas|sklearn|sksurv|scipy|pydantic|importlib)[/\\]")
"""Files that are not where a plugin's fault is to be looked for."""
S = TypeVar("S")
Status = Literal["pass", "skip", "expected", "FAIL"]


class Failure(AssertionError):
    """A promise that was not kept; `expected` and `cause` are the check's own where a check does not say better."""

    def __init__(self, seen: str, expected: str = "", cause: str = "") -> None:
        super().__init__(seen, expected, cause)
        self.seen, self.expected, self.cause = seen, expected, cause

    def __str__(self) -> str:
        return f"seen: {self.seen}\nexpected: {self.expected}\nusual cause: {self.cause}"


class Skipped(Exception):
    """A check that says nothing about this subject; the argument is the reason."""


class ExpectedFailure(Skipped):
    """A promise that is not kept, as the plugin declares; the argument is the declared reason."""


@dataclass(frozen=True)
class Promise(Generic[S]):
    """One line of a checklist.

    Attributes:
        name: unique in its checklist.
        promise: what holds where the check passes, as a sentence.
        cause: what usually breaks it, as a sentence.
        run: raises Failure or Skipped; whatever else it raises is the plugin's failure, too.
        needs: checks without which this one says nothing; where one of them failed, this one is skipped.
    """

    name: str
    promise: str
    cause: str
    run: Callable[[S], None]
    needs: tuple[str, ...]


@dataclass
class Checklist(Generic[S]):
    """The promises of one kind of thing, in the order in which they are tried."""

    promises: list[Promise[S]] = field(default_factory=list)

    def add(
        self, name: str, promise: str, *, cause: str, needs: Sequence[str] = ()
    ) -> Callable[[Callable[[S], None]], Callable[[S], None]]:
        """Decorator of the function that runs the check; its docstring is the promise."""

        def keep(run: Callable[[S], None]) -> Callable[[S], None]:
            run.__doc__ = run.__doc__ or promise
            self.promises.append(Promise(name, promise, cause, run, tuple(needs)))
            return run

        return keep


@dataclass(frozen=True)
class CheckOutcome:
    """How a check ended.

    Attributes:
        reason: why it was skipped, or why it was expected to fail.
        blocked: it was skipped because a check that it needs failed.
        excused: that failure was an expected one.
        seconds: including whatever it was the first to ask for.
    """

    status: Status
    reason: str = ""
    failure: Failure | None = None
    blocked: bool = False
    excused: bool = False
    seconds: float = 0.0


@dataclass
class CheckedSubject(Generic[S]):
    """One subject before one checklist; every check runs once, whoever asks for it.

    Attributes:
        expected: checks that are expected to fail, with reasons.
    """

    make: Callable[[], S]
    promises: Mapping[str, Promise[S]]
    expected: Mapping[str, str] = field(default_factory=dict)
    outcomes: dict[str, CheckOutcome] = field(default_factory=dict)

    @cached_property
    def subject(self) -> S:
        """The subject, made when the first check needs it."""
        return self.make()

    def outcome(self, name: str) -> CheckOutcome:
        """The outcome of a check, after those that it needs; each runs once."""
        if name not in self.outcomes:
            self.outcomes[name] = self._blocked(name) or self._tried(self.promises[name])
        return self.outcomes[name]

    def _blocked(self, name: str) -> CheckOutcome | None:
        for needed in self.promises[name].needs:
            before = self.outcome(needed)
            if before.failure is not None:
                excused = before.status == "expected"
                return CheckOutcome("skip", f"says nothing where {needed} fails", blocked=True, excused=excused)
            if before.blocked:
                return CheckOutcome("skip", before.reason, blocked=True, excused=before.excused)
        return None

    def _tried(self, promise: Promise[S]) -> CheckOutcome:
        started = time.perf_counter()
        failure: Failure | None = None
        reason = ""
        try:
            with limited(1):
                promise.run(self.subject)
        except Skipped as skipped:
            reason = str(skipped)
        except Failure as found:
            failure = Failure(found.seen, found.expected or promise.promise, found.cause or promise.cause)
        # A plugin is third-party code: whatever it raises is what the check saw.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            failure = Failure(raised(error), promise.promise, promise.cause)
            failure.__cause__ = error
        status: Status = "FAIL" if failure else "skip" if reason else "pass"
        if declared := self.expected.get(promise.name):
            if failure:
                status, reason = "expected", declared
            elif status == "pass":
                reason = f"expected to fail ({declared}), and passes: take it out of expected_failures"
        return CheckOutcome(status, reason, failure, seconds=time.perf_counter() - started)


def raised(error: BaseException) -> str:
    """An exception on one line; one that the harness did not raise on purpose with the place it came from."""
    said = " ".join(str(error).split()) or "no message"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not LIBRARIES.search(frame.filename)]
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {said}{'' if isinstance(error, FusionBenchError) else place}"


@dataclass(frozen=True)
class Check:
    """One promise of one thing; calling it raises Failure (an AssertionError), Skipped or ExpectedFailure.

    Attributes:
        kind: model, dataset, modality, metric, suite, executor, encoder, command or findings.
        subject: the name of the thing.
    """

    kind: str
    subject: str
    name: str
    promise: str
    checked: CheckedSubject[Any] = field(repr=False, compare=False)

    @property
    def id(self) -> str:
        """`kind:subject:check`."""
        return f"{self.kind}:{self.subject}:{self.name}"

    def outcome(self) -> CheckOutcome:
        """Run it, unless it has been run."""
        return self.checked.outcome(self.name)

    def __call__(self) -> None:
        outcome = self.outcome()
        if outcome.status == "expected":
            raise ExpectedFailure(outcome.reason) from outcome.failure
        if outcome.failure is not None:
            raise outcome.failure
        if outcome.status == "skip":
            raise Skipped(outcome.reason)


def equal_refs(before: Any, after: Any) -> bool:
    """Whether two refs are equal: arrays by type and values (NaN equals NaN), tuples, lists and tables item by item."""
    if isinstance(before, np.ndarray) or isinstance(after, np.ndarray):
        one, other = np.asarray(before), np.asarray(after)
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(before, (tuple, list)):
        same = type(before) is type(after) and len(before) == len(after)
        return same and all(map(equal_refs, before, after))
    if isinstance(before, Mapping):
        same = isinstance(after, Mapping) and before.keys() == after.keys()
        return same and all(equal_refs(value, after[key]) for key, value in before.items())
    return bool(before == after)


def with_expected(checks: Sequence[Check], thing: object) -> Sequence[Check]:
    """The checks of one thing, with those that it declares in `expected_failures`.

    Raises:
        PluginError: it names no check of its kind, or gives no reason.
    """
    declared = getattr(thing, "expected_failures", {})
    for name, reason in declared.items():
        known, subject = [check.name for check in checks], f"{checks[0].kind} {checks[0].subject}"
        if name not in known:
            raise PluginError(f"{subject}: expected_failures: {did_you_mean('check', name, known)}")
        if not isinstance(reason, str) or not reason.strip():
            raise PluginError(f"{subject}: expected_failures[{name!r}] is {reason!r}; write the reason, as a sentence")
    for check in checks:
        check.checked.expected = declared
    return checks


def checks_of(kind: str, subject: str, make: Callable[[], S], promises: Sequence[Promise[S]]) -> list[Check]:
    """The checks of one thing; `make` gives it when the first of them runs."""
    checked = CheckedSubject(make, {promise.name: promise for promise in promises})
    return [Check(kind, subject, promise.name, promise.promise, checked) for promise in promises]
