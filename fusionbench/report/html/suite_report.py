"""report.html: tables, figures, findings, audit and origin of a suite's results on one page."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from fusionbench.core.errors import ResultsError
from fusionbench.report.analysis import Analysis
from fusionbench.report.document import Section, document, entries
from fusionbench.report.figures.export import EmbeddedImage
from fusionbench.report.figures.figure import Omitted
from fusionbench.report.html.page import CONTENTS, escaped, figure, heading, items, page, paragraph, sections, table
from fusionbench.suites.lock import leaks_of, notes_of

if TYPE_CHECKING:
    from fusionbench.results.audit_verdict import Audit

ORIGIN = "run.toml"


@dataclass(frozen=True)
class Origin:
    """Command and circumstances of a run.

    Attributes:
        command: the command that computes the results again.
        about: further entries of a published run: cells, minutes, machines and package versions.
    """

    command: str
    about: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, command: str) -> Origin:
        """The origin stored in `run.toml` of a published run; else the command alone.

        Raises:
            ResultsError: the file is damaged.
        """
        path = folder / ORIGIN
        if not path.is_file():
            return cls(command)
        try:
            about = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ResultsError(f"{path}: cannot be read ({error}); publish the run again") from None
        return cls(about.pop("command", command), about)


def report(
    analysis: Analysis,
    lock: Mapping[str, Any],
    images: Sequence[EmbeddedImage | Omitted],
    audit: Audit | str,
    origin: Origin,
    findings: Sequence[Section] = (),
) -> str:
    """The whole page.

    Args:
        images: in the order in which they are shown.
        audit: or why there is none.
        findings: sections below the figures.
    """
    title = str(lock["suite"]["title"] or lock["suite"]["name"])
    shown = document(analysis.table, "", notes_of(lock))
    *tables, how = shown
    parts = [
        *_lead(analysis, lock, title, audit),
        CONTENTS,
        sections(tables, "comparison"),
        heading(2, "Figures"),
        *map(figure, images),
        sections([*findings, how], "findings"),
        *_audit(audit),
        *_made(lock, origin),
    ]
    return page(title, parts)


def _lead(analysis: Analysis, lock: Mapping[str, Any], title: str, audit: Audit | str) -> Iterator[str]:
    cells, targets = analysis.stored.cells, analysis.stored.targets
    status = Counter(cells["status"].astype(str))
    counts = ", ".join(f"{status[name]} {word}" for name, word in _STATUS.items() if status[name])
    yield f"<h1>{escaped(title)}</h1>"
    yield paragraph(
        f"Suite {lock['suite']['name']}: {_counted(cells['dataset'].nunique(), 'cohort')}, "
        f"{_counted(len(targets), 'case')} ({int(targets['event'].sum())} with an event), "
        f"{_counted(cells['model'].nunique(), 'model')}; "
        f"of {len(cells)} cells {counts}. {_audited(audit)}"
    )
    yield paragraph(
        "A click on a column's name sorts its table. Bold: best mean of a dataset and pattern; shaded, marked a: not "
        "significantly different from the best row (corrected t-test)."
    )
    leaks = leaks_of(lock)
    if leaks:
        yield paragraph("Signs of leakage, which the numbers below may come from:")
        yield items([f"{name}: {text}" for name, texts in leaks.items() for text in texts])


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


_STATUS = {
    "ok": "ran",
    "failed": "failed",
    "skipped": "do not apply (reasons below the tables)",
    "missing": "have not run yet",
}


def _audited(audit: Audit | str) -> str:
    if isinstance(audit, str):
        return "Not audited here."
    counts = Counter(line.verdict for line in audit.lines)
    if set(counts) == {"pass"}:
        return f"Audit: all {len(audit.lines)} checks passed."
    return "Audit: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items()) + "."


def _audit(audit: Audit | str) -> Iterator[str]:
    yield heading(2, "Audit")
    if isinstance(audit, str):
        yield paragraph(f"Not audited here: {audit}.")
        return
    yield paragraph(
        "What the written results prove of the protocol. DECLARED: a rule that the protocol switches off, with how "
        "much that concerns; BREACH: one that was broken."
    )
    yield table("rules", ("rule", "verdict", "seen"), [entries(x.rule, x.verdict, x.seen) for x in audit.lines])


def _made(lock: Mapping[str, Any], origin: Origin) -> Iterator[str]:
    yield heading(2, "How this was made")
    yield f"<pre><code>{escaped(origin.command)}</code></pre>"
    about = {key: value for key, value in origin.about.items() if not isinstance(value, (list, dict))}
    yield items([f"{key.replace('_', ' ')}: {value}" for key, value in about.items()])
    yield table("versions", ("what", "version"), [entries(*pair) for pair in _versions(lock)])
    header = ("dataset", "what", "value")
    yield table("data", header, [entries(*line) for line in _data(lock)])
    yield _folded("protocol, recipe and options of models", _settings(lock))
    if origin.about.get("environment"):
        yield _folded("machines", {"environment": origin.about["environment"]})
    yield _folded("the whole lock, with the hashes of splits and masks", lock)


def _versions(lock: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "fusionbench", lock["fusionbench"]
    yield "results version", lock["results_version"]
    for kind in ("plugins", "models", "packages"):
        yield from ((f"{kind.removesuffix('s')} {name}", version) for name, version in lock.get(kind, {}).items())


def _data(lock: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for name, of in lock["datasets"].items():
        yield name, "version", f"{of['version']} ({of.get('distribution', '')} {of.get('distribution_version', '')})"
        for kind in ("cases", "tau_months", "fingerprint", "checksums"):
            word = {"tau_months": "horizon, months", "checksums": "sha256"}.get(kind, kind)
            known = of.get(kind, {})
            by_key = known if isinstance(known, dict) else {"": known}  # locks of results version 1 have one value
            yield from ((name, f"{word} {key}".strip(), value) for key, value in by_key.items())


def _settings(lock: Mapping[str, Any]) -> dict[str, Any]:
    suite = lock["suite"]
    return {"seed": suite["seed"], "protocol": suite["protocol"], "train": suite["train"], "options": lock["options"]}


def _folded(title: str, content: Mapping[str, Any]) -> str:
    """A folded block of TOML."""
    from html import escape

    return f"<details><summary>{escaped(title)}</summary><pre>{escape(tomli_w.dumps(content))}</pre></details>"
