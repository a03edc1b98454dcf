"""explanation.html: the explanation of one case as a page that needs no other file."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from fusionbench.report.document import entries
from fusionbench.report.figures.export import EmbeddedImage
from fusionbench.report.figures.figure import Omitted
from fusionbench.report.html.page import CONTENTS, escaped, figures, heading, items, page, paragraph, table
from fusionbench.tools.explain.explanation import Explanation, ModalityExplanation
from fusionbench.tools.explain.maps import map_section
from fusionbench.tools.explain.score import ExplainedScore

_READING = (
    "Item: an instance of a bag or grid, such as a tile of a slide; in a vector a feature or a group of features.",
    "Contribution: the {score} with an item minus the {score} without it, both predicted by the same trained model. "
    "Above 0 (red) the item raises the predicted {score}, below 0 (blue) it lowers {it}. Without it means: an instance "
    "is removed from its bag; a feature is set to its training mean. {Scores} have no unit: compare contributions with "
    "the standard deviation of the {scores} in the test fold. A contribution says what the model uses, not what causes "
    "the outcome.",
    "Attention: the weights that the model gives to items, averaged over layers and heads; they sum to 1 over the "
    "items of the case, and 1 in the tables is an even share. Attention does not say whether an item raises or lowers "
    "the {score}.",
    "Agreement: Spearman's rank correlation between attention and the magnitude of the contribution, over items or "
    "blocks of items. Near 0 or below, attention does not show what matters to the {score}.",
    "Distance from initial: total variation (half the sum of absolute differences, 0 to 1) between the attention of "
    "the trained model and that of the same network before training. Distance between seeds: the same between "
    "untrained networks with different seeds. Attention that moved no further than that shows the initialisation "
    "rather than the data.",
    "Effective number of items: how many items with equal weights would have the same entropy.",
)
"""How to read the page, one entry a quantity."""


def reading(score: ExplainedScore) -> list[str]:
    """How to read the page, one entry a quantity."""
    it, scores = score.pronoun, score.plural
    words = {"score": score.name, "scores": scores, "Scores": scores[0].upper() + scores[1:], "it": it}
    return [text.format(**words) for text in _READING]


DISTANCE_HEADERS = ("distance from initial", "Jensen-Shannon distance", "distance between seeds")
"""Column names of `ItemAttention.distances`."""
THUMBNAIL = 160
"""Pixels of the longer side of a tile on the page."""


@dataclass(frozen=True)
class TileImage:
    """The image of one tile of a slide.

    Attributes:
        name: of its file.
        png: content of the file.
    """

    name: str
    caption: str
    png: bytes


def explanation_page(
    explanation: Explanation, images: Sequence[EmbeddedImage | Omitted], tiles: Sequence[TileImage], command: str
) -> str:
    """The HTML of the whole page.

    Args:
        command: command line that writes the page again.
    """
    selected, score = explanation.selected, explanation.selected.score
    cell, rank = selected.cell, f"rank {selected.rank} of {selected.fold_size} in its test fold (1 = highest)"
    title = f"{selected.case}: explanation of the {selected.score.name} predicted by {cell.model}"
    parts = [
        f"<h1>{escaped(title)}</h1>",
        paragraph(
            f"{cell.dataset}, {'+'.join(cell.modalities)}, variant {cell.variant}. Predicted {score.name} "
            f"{explanation.value:.4g} ({score.direction}): {rank}. Standard deviation of the {score.plural} in this "
            f"fold: {_number(explanation.fold_sd)}."
        ),
        *(f'<p class="verdict">{escaped(modality.verdict.text)}</p>' for modality in explanation.modalities),
        CONTENTS,
        heading(2, "Summary"),
        _summary(explanation),
        items(explanation.notes),
        heading(2, "Figures"),
        figures(images),
        *_gallery(tiles, has_attention=explanation.has_attention),
        heading(2, "Items"),
        *(_top_items(modality) for modality in explanation.modalities if modality.occlusion.blocks),
        *_layers(explanation),
        *map_section(explanation.maps),
        heading(2, "How to read this page"),
        items(reading(score)),
        heading(2, "How this page was made"),
        f"<pre><code>{escaped(command)}</code></pre>",
        paragraph(f"From the stored cell {cell.key}; nothing was trained."),
    ]
    return page(title, parts)


def _summary(explanation: Explanation) -> str:
    """One line for each modality."""
    header = ("modality", "items", "contribution of the modality", "agreement", *DISTANCE_HEADERS[::2])
    lines = [entries(*_summary_line(modality)) for modality in explanation.modalities]
    return table("modalities of the case", header, lines)


def _summary_line(modality: ModalityExplanation) -> tuple[str, ...]:
    attention, occlusion = modality.attention, modality.occlusion
    distances, agreement = ("-", "-"), "-"
    if attention is not None:
        distances = (f"{attention.distance_from_initial.mean():.3f}", f"{attention.distance_between_seeds.mean():.3f}")
        agreement = occlusion.agreement_undefined or f"{occlusion.agreement:+.2f}"
    whole = occlusion.modality_contribution
    contribution = "- (only modality)" if math.isnan(whole) else f"{whole:+.4g}"
    return modality.name, str(occlusion.items.count), contribution, agreement, *distances


def _top_items(modality: ModalityExplanation) -> str:
    """The first items by attention, or without it by contribution."""
    contributions, attention = modality.occlusion.by_item, modality.attention
    lines = []
    for item in modality.top:
        share = "-" if attention is None else f"{attention.relative[item]:.3g}"
        lines.append(entries(modality.item_names[item], share, _number(contributions[item], signed=True)))
    caption = f"{modality.name}: first {len(lines)} of {modality.occlusion.items.count}"
    return table(caption, ("item", "attention (1 = even share)", "contribution"), lines)


def _layers(explanation: Explanation) -> Iterator[str]:
    """The table of attention by layer; nothing without attention."""
    header = ("modality", "layer", "effective number of items", "items", *DISTANCE_HEADERS)
    lines = []
    for modality in explanation.modalities:
        attention, count = modality.attention, str(modality.occlusion.items.count)
        if attention is not None:
            layers = zip(attention.effective_items, *attention.distances.values(), strict=True)
            for i, (effective, *distances) in enumerate(layers):
                numbers = (f"{effective:.1f}", count, *(f"{distance:.3f}" for distance in distances))
                lines.append(entries(modality.name, str(i + 1), *numbers))
    if lines:
        yield heading(2, "Attention by layer")
        yield table("attention by layer", header, lines)


def _gallery(tiles: Sequence[TileImage], *, has_attention: bool) -> Iterator[str]:
    if not tiles:
        return
    yield heading(2, "Tiles with the most attention" if has_attention else "Tiles with the largest contributions")
    style = "display:inline-block;vertical-align:top;width:170px;margin:0 .6rem .6rem 0"
    shown = (
        f'<figure style="{style}"><img src="{_uri(tile.png)}" alt="{escaped(tile.caption)}" width="{THUMBNAIL}">'
        f"<figcaption>{escaped(tile.caption)}</figcaption></figure>"
        for tile in tiles
    )
    yield f"<div>{''.join(shown)}</div>"


def _uri(png: bytes) -> str:
    """The image as a small JPEG in a data: address; the files beside the page have all pixels."""
    small, buffer = Image.open(io.BytesIO(png)).convert("RGB"), io.BytesIO()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    small.save(buffer, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _number(value: float, *, signed: bool = False) -> str:
    """Three significant digits; a dash for NaN."""
    return "-" if math.isnan(value) else f"{value:{'+' if signed else ''}.3g}"
