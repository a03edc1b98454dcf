"""Self-contained HTML pages: escaped text, sortable tables, embedded figures; for light, dark, phone and paper."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from itertools import count

from fusionbench.report.document import Entry, Section
from fusionbench.report.figures.export import EmbeddedImage
from fusionbench.report.figures.figure import Omitted
from fusionbench.report.figures.rows import NAME
from fusionbench.report.figures.style import shortened


def escaped(text: str) -> str:
    """On one line, for text and for attributes."""
    return html.escape(" ".join(text.split()))


def heading(level: int, title: str) -> str:
    """An HTML heading."""
    return f"<h{level}>{escaped(title)}</h{level}>"


def paragraph(text: str) -> str:
    """An HTML paragraph; empty for an empty text."""
    return f"<p>{escaped(text)}</p>" if text else ""


def items(notes: Sequence[str]) -> str:
    """An HTML list; empty where there are no notes."""
    return "<ul>" + "".join(f"<li>{escaped(note)}</li>" for note in notes) + "</ul>" if notes else ""


def table(caption: str, header: Sequence[str], lines: Iterable[Sequence[Entry]]) -> str:
    """An HTML table that the page's script sorts by a click on a column's name, and filters where it is long.

    The first column is the row header. Names of models are as short as in the figures, unless two would be alike; a
    pointer over one shows all of it.
    """
    lines = list(lines)
    short = short_names(line[0].text for line in lines) if header[0] == "model" else {}
    head = "".join(f'<th scope="col">{escaped(name)}</th>' for name in header)
    body = "".join(f"<tr>{''.join(_cell(entry, i, short) for i, entry in enumerate(line))}</tr>\n" for line in lines)
    kind = "sortable broad" if len(header) > BROAD else "sortable"
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escaped(caption)}"><table class="{kind}">'
        f"<caption>{escaped(caption)}</caption><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
    )


BROAD = 14
"""Columns beyond which a table's heads are broken anywhere on paper."""

LONG = 32
"""Letters from which the text of a cell may be broken."""


_NO_BREAK = re.compile(r"\[(\S+), (\S+)\]")  # an interval


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Each name that is too long for a figure, with its short form; names whose short forms are alike have none."""
    short = {name: shortened(name, NAME) for name in dict.fromkeys(names) if len(name) > LONG}
    times = Counter(short.values())
    return {name: form for name, form in short.items() if form != name and times[form] == 1}


def _cell(entry: Entry, i: int, short: Mapping[str, str]) -> str:
    text = escaped(short.get(entry.text, entry.text) if i == 0 else entry.text)
    text = text.replace("+", "+<wbr>") if len(entry.text) > LONG else text  # modality sets hold no spaces
    text = text.replace("[", "<wbr>[") if i == 0 else _NO_BREAK.sub(r"[\1,&nbsp;\2]", text).replace(" %", "&nbsp;%")
    text = f"<strong>{text}</strong>" if entry.strong else text
    mark = f'<sup title="tie group {escaped(entry.mark)}">{escaped(entry.mark)}</sup>' if entry.mark else ""
    kinds = [name for name, true in (("tied", entry.mark), ("long", len(entry.text) > LONG)) if true]
    kind = f' class="{" ".join(kinds)}"' if kinds else ""
    if i == 0:
        whole = f' title="{escaped(entry.text)}"' if len(entry.text) > LONG else ""
        return f'<th scope="row"{kind}{whole}>{text}{mark}</th>'
    return f"<td{kind}>{text}{mark}</td>"


def sections(parts: Iterable[Section], caption: str) -> str:
    """HTML of sections; the caption of a grid is its section's title, else the last title above it.

    Args:
        caption: where there is none above.
    """
    made: list[str] = []
    above: list[tuple[int, str]] = []
    for part in parts:
        if part.title:
            above = [*(known for known in above if known[0] < part.level), (part.level, part.title)]
        made += [heading(part.level, part.title)] if part.title else []
        made += [paragraph(part.text)]
        titles = [title for _, title in above] or [caption]
        made += [table(" · ".join(titles), part.header, part.lines)] if part.lines else []
        made += [items(part.notes)]
    return "\n".join(text for text in made if text)


def figure(shown: EmbeddedImage) -> str:
    """An HTML figure with title and caption; a pointer over a mark shows its values."""
    image = f'<img src="{shown.uri}" alt="{escaped(shown.alt)}">'
    kind, style = "drawing", f"--wide: {shown.width}px"
    if shown.narrow:
        kind, style = "drawing stacked", f"{style}; --narrow: {shown.narrow_width}px"
        image = f'<picture><source media="(max-width: 40rem)" srcset="{shown.narrow}">{image}</picture>'
    return (
        f'<figure id="{escaped(shown.name)}"><h3>{escaped(shown.title)}</h3><div class="wide" tabindex="0" '
        f'role="region" aria-label="{escaped(shown.title)}"><div class="{kind}" style="{style}">'
        f"{image}{_hover(shown)}</div></div><figcaption>{escaped(shown.caption)}</figcaption></figure>"
    )


def _hover(shown: EmbeddedImage) -> str:
    """A transparent drawing over the image, with a title at each mark."""
    if not shown.marks:
        return ""
    marks = "".join(
        f'<circle cx="{mark.x:.0f}" cy="{mark.y:.0f}" r="7"><title>{escaped(mark.text)}</title></circle>'
        for mark in shown.marks
    )
    return f'<svg class="hover" viewBox="0 0 {shown.width} {shown.height}" aria-hidden="true">{marks}</svg>'


def figures(shown: Sequence[EmbeddedImage | Omitted]) -> str:
    """HTML figures in order, and below them one paragraph on those that the results cannot fill."""
    drawn = [figure(image) for image in shown if isinstance(image, EmbeddedImage)]
    without = [of for of in shown if isinstance(of, Omitted)]
    reasons = " ".join(f"<b>{escaped(of.title)}</b>: {escaped(of.reason)}." for of in without)
    return "\n".join([*drawn, *([f'<p class="omitted">Not drawn. {reasons}</p>'] if reasons else [])])


def page(title: str, parts: Sequence[str]) -> str:
    """The whole document: its parts, led by links to their headings."""
    number = count(1)  # two names may differ only in what an anchor cannot hold
    body = re.sub("<h2>", lambda _: f'<h2 id="part-{next(number)}">', "\n".join(part for part in parts if part))
    found = re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', body)
    links = "".join(f'<li><a href="#{anchor}">{text}</a></li>' for anchor, text in found)
    nav = f'<nav aria-label="Contents"><ul>{links}</ul></nav>' if len(found) > 1 else ""
    lead, _, rest = body.partition("<!-- contents -->")
    return _TEMPLATE.format(
        title=escaped(title), style=_asset("page.css"), script=_asset("tables.js"), body=f"{lead}{nav}{rest}"
    )


CONTENTS = "<!-- contents -->"
"""Placeholder of the links to the headings."""

_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
<script>
{script}</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return files("fusionbench.report").joinpath("assets", name).read_text(encoding="utf-8")
