"""The comparison table as Markdown, LaTeX, HTML or CSV."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
) -> str:
    """The table as text; ends with a newline.

    Args:
        fmt: "csv" is TABLE_COLUMNS, full precision; the others are for people.
        title: of the suite.
        notes: dataset to lines printed under its grids.
        findings: sections that stand below the table.
    """
    if fmt == "csv":
        return table.rows.to_csv(index=False, lineterminator="\n")
    style = _STYLES[fmt]
    parts = (style.section(section, style) for section in document(table, title, notes or {}, findings))
    return "\n\n".join(part for part in parts if part) + "\n"


def _flat(text: str) -> str:
    """On one line: a name or a reason may hold anything."""
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
    """

    tabulate: str
    escape: Callable[[str], str]
    strong: str
    mark: str
    section: Callable[[Section, _Style], str]

    def entry(self, entry: Entry) -> str:
        text = self.escape(entry.text)
        text = self.strong.format(text) if entry.strong else text
        return text + (self.mark.format(self.escape(entry.mark)) if entry.mark else "")

    def grid(self, section: Section) -> str:
        header = [self.escape(name) for name in section.header]
        lines = [[self.entry(entry) for entry in line] for line in section.lines]
        return tabulate(lines, header, tablefmt=self.tabulate, disable_numparse=True)


def _md(section: Section, style: _Style) -> str:
    parts = [f"{'#' * section.level} {style.escape(section.title)}"] if section.title else []
    parts += [style.escape(section.text)] if section.text else []
    parts += [style.grid(section)] if section.lines else []
    parts += ["\n".join(f"- {style.escape(note)}" for note in section.notes)] if section.notes else []
    return "\n\n".join(parts)


def _latex(section: Section, style: _Style) -> str:
    command = ("section", "subsection", "subsubsection")[section.level - 1]
    parts = [f"\\{command}*{{{style.escape(section.title)}}}"] if section.title else []
    parts += [style.escape(section.text)] if section.text else []
    parts += [style.grid(section)] if section.lines else []
    items = "\n".join(f"\\item {style.escape(note)}" for note in section.notes)
    parts += [f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}"] if items else []
    return "\n\n".join(parts)


def _html(section: Section, style: _Style) -> str:
    level = section.level
    parts = [f"<h{level}>{style.escape(section.title)}</h{level}>"] if section.title else []
    parts += [f"<p>{style.escape(section.text)}</p>"] if section.text else []
    parts += [style.grid(section)] if section.lines else []
    items = "\n".join(f"<li>{style.escape(note)}</li>" for note in section.notes)
    parts += [f"<ul>\n{items}\n</ul>"] if items else []
    return "\n".join(parts)


_STYLES = {
    "md": _Style("github", _md_escape, "**{}**", " {}", _md),
    "latex": _Style("latex_raw", _latex_escape, r"\textbf{{{}}}", r"\textsuperscript{{{}}}", _latex),
    "html": _Style("unsafehtml", _html_escape, "<strong>{}</strong>", "<sup>{}</sup>", _html),
}
