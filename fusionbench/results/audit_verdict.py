"""The verdict of each audit rule, made of the rule's findings over many cells."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Verdict = Literal["pass", "DECLARED", "BREACH"]


@dataclass(frozen=True)
class Line:
    """One rule.

    Attributes:
        seen: what was counted; of a breach the first offender, of a declared deviation how large it is.
    """

    rule: str
    verdict: Verdict
    seen: str


@dataclass(frozen=True)
class Audit:
    """The verdicts of every rule on one suite's results."""

    suite: str
    lines: tuple[Line, ...]

    @property
    def passed(self) -> bool:
        """No rule was breached; declared deviations are no breach."""
        return all(line.verdict != "BREACH" for line in self.lines)

    def to_json(self) -> str:
        """The text of audit.json."""
        return json.dumps({"suite": self.suite, "rules": [asdict(line) for line in self.lines]}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Audit:
        """The audit that `to_json` wrote."""
        stored = json.loads(text)
        return cls(stored["suite"], tuple(Line(**line) for line in stored["rules"]))


@dataclass(frozen=True)
class Finding:
    """A cell that does not keep a rule.

    Attributes:
        what: who and what was seen.
        declared: where the protocol switches the rule off: the condition (dataset and variant) for which it is counted;
            empty for a breach.
        unit: which of the things that were looked at it is about, where several findings may be about one.
    """

    what: str
    declared: str = ""
    unit: str = ""


def verdict(rule: str, findings: Iterable[Finding], counted: str, shares: Mapping[str, str] | None = None) -> Line:
    """One line: a breach if any finding is one, declared if all are, pass if there is none.

    Args:
        counted: what was looked at; things with several findings are counted once.
        shares: condition to how large its declared deviation is; by default the number of findings.
    """
    found = list(findings)
    breaches = [f for f in found if not f.declared]
    if breaches:
        return Line(rule, "BREACH", f"{_units(breaches)} of {counted}; first: {breaches[0].what}")
    if not found:
        return Line(rule, "pass", counted)
    conditions = Counter(f.declared for f in found)
    counts = "; ".join(f"{c}: {_size(found, c, n, shares or {})}" for c, n in conditions.items())
    return Line(rule, "DECLARED", f"{_units(found)} of {counted}; {counts}")


def _units(findings: Sequence[Finding]) -> int:
    """How many of the things that were looked at have a finding."""
    return len({finding.unit or (i, finding.what) for i, finding in enumerate(findings)})


def _size(found: Sequence[Finding], condition: str, n: int, shares: Mapping[str, str]) -> str:
    first = next(f.what for f in found if f.declared == condition)
    return shares.get(condition, f"{n} times, first {first}")
