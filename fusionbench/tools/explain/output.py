"""Files of an explanation below results/<suite>/explain/: the page, its figures, tables, JSON and tiles."""

from __future__ import annotations

import io
import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image as Picture

from fusionbench.core.file_names import filename
from fusionbench.report.figures.export import write_figures
from fusionbench.results.store import Store
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
    store.write_text(f"{place}/items.csv", item_frame(explanation).to_csv(index=False))
    store.write_text(f"{place}/layers.csv", layer_frame(explanation).to_csv(index=False))
    store.write_text(f"{place}/curves.csv", curve_frame(explanation).to_csv(index=False))
    store.write_text(f"{place}/explanation.json", json.dumps(as_json(explanation), indent=1))
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
        about = as_json(explanation)
        for name, of in about["modalities"].items():
            head = [about["cell"]["dataset"], *(about[key] for key in ("case", "risk", "rank_in_fold", "fold_size"))]
            moved = [(of["attention"] or {}).get(key) for key in SUMMARY[8:11]]
            relative = page.relative_to(store.folder).as_posix()
            rows.append([*head, name, of["items"], of["contribution"], *moved, of["agreement"], relative])
    place = f"explain/{filename(str(made[0][0].chosen.cell.model))}"
    return store.write_text(f"{place}/summary.csv", pd.DataFrame(rows, columns=SUMMARY).to_csv(index=False))


def item_frame(explanation: Explanation) -> pd.DataFrame:
    """One row an item: its position, attention before and after training, and contribution to the risk."""
    return pd.concat([_items(part) for part in explanation.parts], ignore_index=True)


def _items(part: Part) -> pd.DataFrame:
    n = part.occlusion.items.count
    columns: dict[str, Any] = {"modality": [part.name] * n, "item": np.arange(n), "name": part.item_names}
    columns |= {"slide": [""] * n, "x": np.full(n, np.nan), "y": np.full(n, np.nan)}
    frame = pd.DataFrame(columns)
    for layer in part.layers if not part.occlusion.items.names else ():
        frame.loc[layer.items, "slide"] = layer.name
        frame.loc[layer.items, ["x", "y"]] = layer.corners
    look = part.look
    frame["attention"] = np.nan if look is None else look.mean
    frame["attention_at_start"] = np.nan if look is None else look.start.mean(axis=0)
    for i, row in enumerate(() if look is None else look.trained):
        frame[f"attention_layer_{i + 1}"] = row
    frame["contribution"] = part.occlusion.by_item
    block = np.full(n, -1)
    for i, items in enumerate(part.occlusion.blocks):
        block[items] = i
    frame["block"] = block
    return frame


LAYER_COLUMNS = ["modality", "layer", "items", "as_many_as", "total_variation", "jensen_shannon", "starts_apart"]


def layer_frame(explanation: Explanation) -> pd.DataFrame:
    """A layer of a modality a line: LAYER_COLUMNS."""
    rows = [
        (part.name, i + 1, part.occlusion.items.count, look.seen[i], look.moved[i], look.moved_js[i], apart)
        for part in explanation.parts
        if (look := part.look) is not None
        for i, apart in enumerate(look.starts_apart)
    ]
    return pd.DataFrame(rows, columns=LAYER_COLUMNS)


def curve_frame(explanation: Explanation) -> pd.DataFrame:
    """modality, order (top, bottom, random), draw, k, change: the absolute change of the risk without k items."""
    rows = [row for part in explanation.parts for row in _curve(part)]
    return pd.DataFrame(rows, columns=["modality", "order", "draw", "k", "change"])


def _curve(part: Part) -> Iterator[tuple[str, str, int, int, float]]:
    curve = part.occlusion.curve
    if curve is None:
        return
    orders = [("top", curve.top[None]), ("bottom", curve.bottom[None]), ("random", curve.random)]
    for order, values in orders:
        for draw, row in enumerate(values):
            yield from ((part.name, order, draw, int(k), float(x)) for k, x in zip(curve.k, row, strict=True))


def as_json(explanation: Explanation) -> dict[str, Any]:
    """Everything but the items and curves, which are tables."""
    chosen, cell = explanation.chosen, explanation.chosen.cell
    return {
        "case": chosen.case,
        "cell": {**cell.place, "key": cell.key},
        "risk": explanation.risk,
        "rank_in_fold": chosen.rank,
        "fold_size": chosen.of,
        "fold_sd": number(explanation.fold_sd),
        "missing": list(explanation.missing),
        "modalities": {part.name: _summary(part) for part in explanation.parts},
        "notes": list(explanation.notes),
    }


def _summary(part: Part) -> Mapping[str, Any]:
    occlusion, look = part.occlusion, part.look
    return {
        "kind": part.kind,
        "instances": part.instances,
        "items": occlusion.items.count,
        "attention": None if look is None else {"layers": len(look.trained), **_distances(part)},
        "contribution": number(occlusion.of_modality),
        "agreement": number(occlusion.agreement),
        "agreement_undefined": occlusion.why_none,
    }


def _distances(part: Part) -> Mapping[str, float]:
    look = part.look
    assert look is not None
    return {
        "total_variation": float(look.moved.mean()),
        "jensen_shannon": float(look.moved_js.mean()),
        "starts_apart": float(look.starts_apart.mean()),
    }


def number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else float(value)
