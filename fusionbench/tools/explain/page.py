"""explanation.html: one case before one model, for people who would rather look than read."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image as Picture

from fusionbench.report.document import entries
from fusionbench.report.figures.export import EmbeddedImage
from fusionbench.report.figures.figure import Omitted
from fusionbench.report.html.page import CONTENTS, escaped, figure, heading, items, page, paragraph, table
from fusionbench.tools.explain.explanation import Explanation, Part

READING = (
    "attention: weights by which the model chooses, averaged over layers and heads and made to sum to 1 over the real "
    "instances of the case; it says where the model looks, not which way that moves the risk",
    "change of the risk: the risk without something minus the risk with it, by the same trained model; below 0 what is "
    "left out raises the risk. An instance is taken out of its bag; a feature gets its training mean",
    "distance from the start: total variation (half the sum of absolute differences, 0 to 1) between the attention of "
    "the trained network and of the same network as its seed made it; two starts: the same between starts of other "
    "seeds. Attention that has hardly moved shows the initialisation rather than the data",
    "agreement: Spearman's rank correlation between attention and the absolute change of the risk, over single items "
    "or blocks of them; near 0, or below, the attention does not tell what matters to the risk",
)


@dataclass(frozen=True)
class Tile:
    """A square of a slide.

    Attributes:
        name: of its file.
        png: the file's content.
    """

    name: str
    caption: str
    png: bytes


def explanation_page(
    explanation: Explanation, images: Sequence[EmbeddedImage | Omitted], tiles: Sequence[Tile], command: str
) -> str:
    """The whole page."""
    chosen = explanation.chosen
    cell, where = chosen.cell, f"rank {chosen.rank} of {chosen.of} in its test fold (1 = highest)"
    title = f"{chosen.case}: what {cell.model} looks at"
    parts = [
        f"<h1>{escaped(title)}</h1>",
        paragraph(
            f"{cell.dataset}, {'+'.join(cell.modalities)}, variant {cell.variant}. Predicted risk "
            f"{explanation.risk:.4g}, {where}; standard deviation of the risks there {_shown(explanation.fold_sd, 3)}."
        ),
        CONTENTS,
        heading(2, "In short"),
        _summary(explanation),
        items(explanation.notes),
        heading(2, "Figures"),
        *map(figure, images),
        *_gallery(tiles),
        heading(2, "Items"),
        *(_named(part) for part in explanation.parts if part.occlusion.blocks),
        *_by_layer(explanation),
        heading(2, "How to read this"),
        items(READING),
        heading(2, "How this was made"),
        f"<pre><code>{escaped(command)}</code></pre>",
        paragraph(f"From the stored cell {cell.key}; nothing was trained."),
    ]
    return page(title, parts)


def _summary(explanation: Explanation) -> str:
    header = (
        "modality",
        "items",
        "change of the risk without it",
        "distance from the start",
        "two starts",
        "agreement",
    )
    return table("modalities of the case", header, [entries(*_line(part)) for part in explanation.parts])


def _line(part: Part) -> tuple[str, ...]:
    look, occlusion = part.look, part.occlusion
    moved = ("-", "-") if look is None else (f"{look.moved.mean():.3f}", f"{look.starts_apart.mean():.3f}")
    agreement = "-" if look is None else occlusion.why_none or f"{occlusion.agreement:+.2f}"
    without = "it is the only one" if math.isnan(occlusion.without) else f"{occlusion.without:+.4g}"
    return part.name, str(occlusion.items.count), without, *moved, agreement


def _named(part: Part) -> str:
    changes = part.occlusion.by_item
    header = ("item", "attention (1 = even)", "change of the risk")
    lines = []
    for item in part.top:
        look = part.look
        share = "-" if look is None else f"{look.mean[item] * len(look.mean):.3g}"
        lines.append(entries(part.item_names[item], share, _shown(float(changes[item]), 3)))
    return table(f"{part.name}: first {len(lines)} of {part.occlusion.items.count}", header, lines)


def _by_layer(explanation: Explanation) -> Iterator[str]:
    header = (
        "modality",
        "layer",
        "looks at as many as",
        "of",
        "distance from the start",
        "Jensen-Shannon",
        "two starts",
    )
    lines = []
    for part in explanation.parts:
        look = part.look
        for i in range(0 if look is None else len(look.trained)):
            assert look is not None
            numbers = (look.moved[i], look.moved_js[i], look.starts_apart[i])
            counts = (f"{look.seen[i]:.1f}", str(part.occlusion.items.count))
            lines.append(entries(part.name, str(i + 1), *counts, *(f"{x:.3f}" for x in numbers)))
    if lines:
        yield heading(2, "Layer by layer")
        yield table("attention by layer", header, lines)


def _gallery(tiles: Sequence[Tile]) -> Iterator[str]:
    if not tiles:
        return
    yield heading(2, "Tiles that are looked at most")
    place = "display:inline-block;vertical-align:top;width:170px;margin:0 .6rem .6rem 0"
    shown = (
        f'<figure style="{place}"><img src="{_uri(tile.png)}" alt="{escaped(tile.caption)}" width="160">'
        f"<figcaption>{escaped(tile.caption)}</figcaption></figure>"
        for tile in tiles
    )
    yield f"<div>{''.join(shown)}</div>"


def _uri(png: bytes) -> str:
    """Small, for the page; the files have every pixel."""
    small, buffer = Picture.open(io.BytesIO(png)).convert("RGB"), io.BytesIO()
    small.thumbnail((160, 160))
    small.save(buffer, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _shown(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}g}"
