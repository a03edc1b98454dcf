"""report.html: tables, figures, findings, audit and origin of a suite's results on one page."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from fusionbench.core.errors import ResultsError, file_problem
from fusionbench.report.analysis import Analysis
from fusionbench.report.document import Section, document, entries
from fusionbench.report.figures.export import EmbeddedImage
from fusionbench.report.figures.figure import Omitted
from fusionbench.report.findings.summary import summaries
from fusionbench.report.html.first_screen import first_screen
from fusionbench.report.html.page import (
    CONTENTS,
    escaped,
    figures,
    heading,
    items,
    page,
    paragraph,
    sections,
    table,
)
from fusionbench.suites.lock import notes_of

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
            raise ResultsError(file_problem(path, error, "publish the run again")) from None
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
    *tables, how = document(analysis.table, "", notes_of(lock))
    parts = [
        *first_screen(analysis, list(summaries(analysis, lock)), lock, title, audit),
        CONTENTS,
        sections(findings, "findings"),
        heading(2, "Figures"),
        figures(images),
        heading(2, "All rows, metrics and patterns"),
        sections([replace(part, level=min(part.level + 1, 4)) for part in tables], "comparison"),
        sections([how], "reading"),
        *_audit(audit),
        *_made(lock, origin),
    ]
    return page(title, parts)


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
            # Classes have no horizon, which a lock writes as 0.
            told = {key: value for key, value in by_key.items() if kind != "tau_months" or value}
            yield from ((name, f"{word} {key}".strip(), value) for key, value in told.items())


def _settings(lock: Mapping[str, Any]) -> dict[str, Any]:
    suite = lock["suite"]
    return {"seed": suite["seed"], "protocol": suite["protocol"], "train": suite["train"], "options": lock["options"]}


def _folded(title: str, content: Mapping[str, Any]) -> str:
    """A folded block of TOML."""
    from html import escape

    return f"<details><summary>{escaped(title)}</summary><pre>{escape(tomli_w.dumps(content))}</pre></details>"
