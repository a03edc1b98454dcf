"""results/<suite>/explain/<model>/<case>/: the page, its figures, the numbers, and the tiles."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from PIL import Image as Picture

from fusionbench.core.file_names import filename
from fusionbench.report.figures.export import write_figures
from fusionbench.results.store import Store
from fusionbench.tools.explain import frames
from fusionbench.tools.explain.explanation import Explanation, Part
from fusionbench.tools.explain.figures import figures
from fusionbench.tools.explain.page import Tile, explanation_page
from fusionbench.tools.explain.request import Request
from fusionbench.tools.explain.tiles import squares

PICTURES = 8
"""Tiles of a slide that are written out."""
PIXELS = 512
"""Of the side of a tile's picture, at most."""
TILES = "tiles"


def write(explanation: Explanation, store: Store, request: Request) -> Path:
    """Everything about one case; returns the page. What an earlier explanation left there is replaced.

    Raises:
        ResultsError: it cannot be written. DataError: a slide image cannot be read.
    """
    place = folder(explanation)
    (store.folder / place / TILES).mkdir(parents=True, exist_ok=True)
    for old in (store.folder / place / TILES).glob("*.png"):
        old.unlink()
    tiles = [tile for part in explanation.parts for tile in _tiles(part)]
    for tile in tiles:
        store.write_bytes(f"{place}/{TILES}/{tile.name}", tile.png)
    if not tiles:
        (store.folder / place / TILES).rmdir()
    images = list(write_figures(figures(explanation), store, f"{place}/figures"))
    store.write_text(f"{place}/items.csv", frames.item_frame(explanation).to_csv(index=False))
    store.write_text(f"{place}/layers.csv", frames.layer_frame(explanation).to_csv(index=False))
    store.write_text(f"{place}/curves.csv", frames.curve_frame(explanation).to_csv(index=False))
    store.write_text(f"{place}/explanation.json", json.dumps(frames.as_json(explanation), indent=1))
    html = explanation_page(explanation, images, tiles, command(explanation, store, request))
    return store.write_text(f"{place}/explanation.html", html)


def folder(explanation: Explanation) -> str:
    """Below the suite's results; a row that is not the usual one of its model has its cell's key behind the case."""
    chosen = explanation.chosen
    name = filename(chosen.case) if chosen.usual else f"{filename(chosen.case)}-{chosen.cell.key[:8]}"
    return f"explain/{filename(str(chosen.cell.model))}/{name}"


def command(explanation: Explanation, store: Store, request: Request) -> str:
    """What makes it again."""
    cell = explanation.chosen.cell
    words = ["fusionbench", "explain", request.suite, "--model", str(cell.model), "--case", explanation.chosen.case]
    words += ["--dataset", str(cell.dataset), "--modalities", "+".join(cell.modalities), "--variant", cell.variant]
    words += ["--repeat", str(cell.repeat), "--out", str(store.root)]
    return shlex.join(words + (["--slides", str(request.slides)] if request.slides else []))


def _tiles(part: Part) -> Iterator[Tile]:
    """The tiles with most attention, or without it those with the largest contribution, of each slide at hand."""
    contributions, order = part.occlusion.by_item, part.ranked
    for number, layer in enumerate(part.layers):
        mine = {int(item) for item in layer.items}
        top = [int(item) for item in order if int(item) in mine][:PICTURES]
        for rank, (item, rgb) in enumerate(zip(top, squares(layer, top, PIXELS), strict=False)):
            buffer = io.BytesIO()
            Picture.fromarray(rgb).save(buffer, format="PNG")
            share = None if part.look is None else part.look.mean[item] * len(part.look.mean)
            score = "" if share is None else f"attention {share:.3g} (1 = even), "
            caption = f"{layer.name}, instance {item}: {score}contribution to the risk {contributions[item]:+.2g}"
            stem = f"{filename(part.name)}-{number + 1}-{filename(layer.name)}-{rank + 1:02d}"
            yield Tile(f"{stem}.png", caption, buffer.getvalue())


SUMMARY = ["dataset", "case", "risk", "rank_in_fold", "fold_size", "modality", "items", "contribution"]
SUMMARY += ["total_variation", "jensen_shannon", "starts_apart", "agreement", "page"]


def write_summary(made: Sequence[tuple[Explanation, Path]], store: Store) -> Path:
    """A line a case and modality of several explanations of one model: SUMMARY."""
    rows = []
    for explanation, page in made:
        about = frames.as_json(explanation)
        for name, of in about["modalities"].items():
            head = [about["cell"]["dataset"], *(about[key] for key in ("case", "risk", "rank_in_fold", "fold_size"))]
            moved = [(of["attention"] or {}).get(key) for key in SUMMARY[8:11]]
            relative = page.relative_to(store.folder).as_posix()
            rows.append([*head, name, of["items"], of["contribution"], *moved, of["agreement"], relative])
    place = f"explain/{filename(str(made[0][0].chosen.cell.model))}"
    return store.write_text(f"{place}/summary.csv", pd.DataFrame(rows, columns=SUMMARY).to_csv(index=False))
