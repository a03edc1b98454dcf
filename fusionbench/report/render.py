"""The comparison table as Markdown, LaTeX, HTML or CSV."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from tabulate import tabulate

from fusionbench.report.document import Entry, Section, document
from fusionbench.report.model import ComparisonTable

Format = Literal["md", "latex", "html", "csv"]

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{char: f"\\{char}" for char in "&%$#_{}"},
}


def render(
    table: ComparisonTable,
    fmt: Format,
    *,
    title: str = "",
    notes: Mapping[str, Sequence[str]] | None = None,
    findings: Sequence[Section] = (),
    verdicts: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> str:
    """The table as text; ends with a newline.

    Args:
        fmt: "csv" is TABLE_COLUMNS, full precision; the others are for people.
        title: of the suite.
        notes: dataset to lines printed under its grids.
        findings: sections below the table.
        verdicts: dataset to the verdicts on it.
    """
    if fmt == "csv":
        return table.rows.to_csv(index=False, lineterminator="\n")
    style = _STYLES[fmt]
    parts = (style.section(section) for section in document(table, title, notes or {}, findings, verdicts))
    return "\n\n".join(part for part in parts if part) + "\n"


def _flat(text: str) -> str:
    """The text on one line; a name or a reason may hold line breaks."""
    return " ".join(text.split())


def _md_escape(text: str) -> str:
    text = re.sub(r"([\\`*<|])", r"\\\1", _flat(text))
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)
    return text.replace("](", "]\\(")


def _latex_escape(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in _flat(text))


def _html_escape(text: str) -> str:
    return html.escape(_flat(text))


@dataclass(frozen=True)
class _Style:
    """How a format writes the parts of a section.

    Attributes:
        tabulate: tabulate's name of the format; one that leaves our own markup alone.
        headings: of level 1, 2 and 3.
        notes: before, each of, and after the notes of a section.
        gap: between the parts of a section.
    """

    tabulate: str
    escape: Callable[[str], str]
    strong: str
    mark: str
    headings: tuple[str, str, str]
    paragraph: str
    notes: tuple[str, str, str]
    gap: str

    def section(self, section: Section) -> str:
        """A section as text; empty where it has no part."""
        before, item, after = self.notes
        parts = [self.headings[section.level - 1].format(self.escape(section.title))] if section.title else []
        parts += [self.paragraph.format(self.escape(section.text))] if section.text else []
        parts += [self.grid(section)] if section.lines else []
        notes = "\n".join(item.format(self.escape(note)) for note in section.notes)
        parts += [before + notes + after] if notes else []
        return self.gap.join(parts)

    def grid(self, section: Section) -> str:
        """The lines of a section below its header."""
        header = [self.escape(name) for name in section.header]
        lines = [[self.entry(entry) for entry in line] for line in section.lines]
        return tabulate(lines, header, tablefmt=self.tabulate, disable_numparse=True)

    def entry(self, entry: Entry) -> str:
        """A cell of a grid."""
        text = self.escape(entry.text)
        text = self.strong.format(text) if entry.strong else text
        return text + (self.mark.format(self.escape(entry.mark)) if entry.mark else "")


_STYLES = {
    "md": _Style(
        *("github", _md_escape, "**{}**", " {}"),
        headings=("# {}", "## {}", "### {}"),
        paragraph="{}",
        notes=("", "- {}", ""),
        gap="\n\n",
    ),
    "latex": _Style(
        *("latex_raw", _latex_escape, r"\textbf{{{}}}", r"\textsuperscript{{{}}}"),
        headings=(r"\section*{{{}}}", r"\subsection*{{{}}}", r"\subsubsection*{{{}}}"),
        paragraph="{}",
        notes=("\\begin{itemize}\n", r"\item {}", "\n\\end{itemize}"),
        gap="\n\n",
    ),
    "html": _Style(
        *("unsafehtml", _html_escape, "<strong>{}</strong>", "<sup>{}</sup>"),
        headings=("<h1>{}</h1>", "<h2>{}</h2>", "<h3>{}</h3>"),
        paragraph="<p>{}</p>",
        notes=("<ul>\n", "<li>{}</li>", "\n</ul>"),
        gap="\n",
    ),
}
