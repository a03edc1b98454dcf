"""The files of an explanation below results/<suite>/explain/: its page, figures, tables, JSON and tiles."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from fusionbench.core.commands import command
from fusionbench.core.file_names import filename
from fusionbench.core.json_text import json_text
from fusionbench.report.figures.export import write_figures
from fusionbench.results.store import Store
from fusionbench.tools.explain.attention import DISTANCES
from fusionbench.tools.explain.explanation import Explanation, ModalityExplanation
from fusionbench.tools.explain.figures import figures
from fusionbench.tools.explain.maps import CaseMap, map_arrays, map_frame
from fusionbench.tools.explain.page import TileImage, explanation_page
from fusionbench.tools.explain.request import Request
from fusionbench.tools.explain.tiles import tile_images

TILES = 8
"""Tiles of each slide that are written as images."""
TILE_PIXELS = 512
"""Pixels of a side of a tile's image, at most."""
LAYER_COLUMNS = ("modality", "layer", "items", "effective_items")
CURVE_COLUMNS = ("modality", "order", "draw", "k", "absolute_change")
SUMMARY_COLUMNS = ("rank_in_fold", "fold_size", "modality", "items", "contribution")


def write_explanation(explanation: Explanation, store: Store, request: Request) -> Path:
    """Write all files of one case; returns the page. They replace those of an earlier explanation of the case.

    Raises:
        ResultsError: a file cannot be written. DataError: a slide image cannot be read.
    """
    folder = case_folder(explanation)
    tiles = [tile for modality in explanation.modalities for tile in _tile_images(modality)]
    _write_tiles(tiles, store, f"{folder}/tiles")
    images = list(write_figures(figures(explanation), store, f"{folder}/figures"))
    store.write_text(f"{folder}/items.csv", item_frame(explanation).to_csv(index=False))
    store.write_text(f"{folder}/layers.csv", layer_frame(explanation).to_csv(index=False))
    store.write_text(f"{folder}/curves.csv", curve_frame(explanation).to_csv(index=False))
    if explanation.maps:
        store.write_text(f"{folder}/maps.csv", map_frame(explanation.maps).to_csv(index=False))
        store.write_bytes(f"{folder}/maps.npz", map_arrays(explanation.maps))
    store.write_text(f"{folder}/explanation.json", json_text(as_json(explanation), indent=1))
    html = explanation_page(explanation, images, tiles, command_line(explanation, store, request))
    return store.write_text(f"{folder}/explanation.html", html)


def write_summary(written: Sequence[tuple[Explanation, Path]], store: Store) -> Path:
    """Write summary.csv of several explanations of one model: a row for each case and modality.

    Args:
        written: explanations with their pages.
    """
    rows = []
    for explanation, page in written:
        record = as_json(explanation)
        case = {"dataset": record["cell"]["dataset"], **record, "page": page.relative_to(store.folder).as_posix()}
        for name, modality in record["modalities"].items():
            outcome = modality["verdict"]["outcome"]
            rows.append({**case, **(modality["attention"] or {}), **modality, "modality": name, "verdict": outcome})
    score = written[0][0].selected.score
    columns = ["dataset", "case", *(["class"] if score.label else []), score.key, *SUMMARY_COLUMNS]
    frame = pd.DataFrame(rows, columns=[*columns, *DISTANCES, "agreement", "verdict", "page"])
    return store.write_text(f"{_model_folder(written[0][0])}/summary.csv", frame.to_csv(index=False))


def case_folder(explanation: Explanation) -> str:
    """Folder of a case below the suite's results.

    The cell's key follows the case's name where the row is not the one that the model's name alone selects, and
    the class where it is not the last one.
    """
    selected = explanation.selected
    name = filename(selected.case) if selected.is_default_row else f"{filename(selected.case)}-{selected.cell.key[:8]}"
    name += "" if selected.score.is_default else f"-{filename(selected.score.label)}"
    return f"{_model_folder(explanation)}/{name}"


def _model_folder(explanation: Explanation) -> str:
    return f"explain/{filename(str(explanation.selected.cell.model))}"


def command_line(explanation: Explanation, store: Store, request: Request) -> str:
    """The command line that writes the explanation again."""
    case, cell = explanation.selected.case, explanation.selected.cell
    words = ["explain", store.suite, "--model", str(cell.model), "--case", case]
    words += ["--dataset", str(cell.dataset), "--modalities", "+".join(cell.modalities), "--variant", cell.variant]
    words += ["--repeat", str(cell.repeat), *(["--slides", str(request.slides)] if request.slides else [])]
    words += ["--class", explanation.selected.score.label] if explanation.selected.score.label else []
    return command(store.root, *words)


def _tile_images(modality: ModalityExplanation) -> Iterator[TileImage]:
    """The first tiles of each slide that has an image, in the order of `modality.ranked`."""
    contributions = modality.occlusion.by_item
    for number, tiles in enumerate(modality.tiles):
        here = set(tiles.items.tolist())
        top = [item for item in modality.ranked.tolist() if item in here][:TILES]
        for rank, (item, rgb) in enumerate(zip(top, tile_images(tiles, top, TILE_PIXELS), strict=False)):
            buffer = io.BytesIO()
            Image.fromarray(rgb).save(buffer, format="PNG")
            share = (
                "" if modality.attention is None else f"attention {modality.attention.relative[item]:.3g} (1 = even), "
            )
            x, y = tiles.corners[item - tiles.items[0]]
            caption = (
                f"{tiles.slide}, instance {item} at ({x:.0f}, {y:.0f}): {share}contribution {contributions[item]:+.2g}"
            )
            stem = f"{filename(modality.name)}-{number + 1}-{filename(tiles.slide)}-{rank + 1:02d}"
            yield TileImage(f"{stem}.png", caption, buffer.getvalue())


def _write_tiles(tiles: Sequence[TileImage], store: Store, folder: str) -> None:
    """Write the images; those of an earlier explanation, which may have had other tiles, are deleted."""
    for old in store.make_folder(folder).glob("*.png"):
        store.remove(f"{folder}/{old.name}")
    for tile in tiles:
        store.write_bytes(f"{folder}/{tile.name}", tile.png)
    if not tiles:
        (store.folder / folder).rmdir()


def item_frame(explanation: Explanation) -> pd.DataFrame:
    """One row an item: its position, attention before and after training, and contribution to the score."""
    return pd.concat([_item_frame(modality) for modality in explanation.modalities], ignore_index=True)


def _item_frame(modality: ModalityExplanation) -> pd.DataFrame:
    n, attention = modality.occlusion.items.count, modality.attention
    columns: dict[str, Any] = {"modality": [modality.name] * n, "item": np.arange(n), "name": modality.item_names}
    frame = pd.DataFrame(columns | {"slide": [""] * n, "x": np.full(n, np.nan), "y": np.full(n, np.nan)})
    for tiles in modality.tiles if not modality.occlusion.items.names else ():
        frame.loc[tiles.items, "slide"] = tiles.slide
        frame.loc[tiles.items, ["x", "y"]] = tiles.corners
    frame["attention"] = np.nan if attention is None else attention.mean
    frame["initial_attention"] = np.nan if attention is None else attention.initial.mean(axis=0)
    for i, row in enumerate(() if attention is None else attention.trained):
        frame[f"attention_layer_{i + 1}"] = row
    frame["contribution"] = modality.occlusion.by_item
    frame["block"] = -1
    for i, items in enumerate(modality.occlusion.blocks):
        frame.loc[items, "block"] = i
    return frame


def layer_frame(explanation: Explanation) -> pd.DataFrame:
    """One row a modality and layer: effective number of items, and distances of attention (`DISTANCES`)."""
    rows = []
    for modality in explanation.modalities:
        attention, count = modality.attention, modality.occlusion.items.count
        if attention is not None:
            layers = zip(attention.effective_items, *attention.distances.values(), strict=True)
            rows += [(modality.name, i + 1, count, *numbers) for i, numbers in enumerate(layers)]
    return pd.DataFrame(rows, columns=[*LAYER_COLUMNS, *DISTANCES])


def curve_frame(explanation: Explanation) -> pd.DataFrame:
    """One row a modality, order (top, bottom, random), draw and k: the absolute change of the score without k items."""
    rows = [row for modality in explanation.modalities for row in _curve_rows(modality)]
    return pd.DataFrame(rows, columns=CURVE_COLUMNS)


def _curve_rows(modality: ModalityExplanation) -> Iterator[tuple[str, str, int, int, float]]:
    curve = modality.occlusion.curve
    if curve is None:
        return
    for order, draws in (("top", curve.top[None]), ("bottom", curve.bottom[None]), ("random", curve.random)):
        for draw, changes in enumerate(draws):
            yield from ((modality.name, order, draw, int(k), float(x)) for k, x in zip(curve.k, changes, strict=True))


def as_json(explanation: Explanation) -> dict[str, Any]:
    """The explanation as JSON values, without what the tables of items, layers and curves hold."""
    selected, cell = explanation.selected, explanation.selected.cell
    return {
        "case": selected.case,
        "cell": {**cell.columns, "key": cell.key},
        **({"class": selected.score.label} if selected.score.label else {}),
        selected.score.key: explanation.value,
        "rank_in_fold": selected.rank,
        "fold_size": selected.fold_size,
        "fold_sd": explanation.fold_sd,
        "missing": list(explanation.missing),
        "modalities": {modality.name: _modality_json(modality) for modality in explanation.modalities},
        **({"maps": [_map_json(one) for one in explanation.maps]} if explanation.maps else {}),
        "notes": list(explanation.notes),
    }


def _modality_json(modality: ModalityExplanation) -> Mapping[str, Any]:
    occlusion = modality.occlusion
    return {
        "kind": modality.kind,
        "instances": modality.instances,
        "items": occlusion.items.count,
        "attention": _attention_json(modality),
        "contribution": occlusion.modality_contribution,
        "agreement": occlusion.agreement,
        "agreement_undefined": occlusion.agreement_undefined,
        "verdict": asdict(modality.verdict),
    }


def _map_json(one: CaseMap) -> Mapping[str, Any]:
    """What a map is; maps.csv and maps.npz have its numbers."""
    about = {"name": one.name, "kind": one.kind, "modality": one.modality, "axes": list(one.axes)}
    return {**about, "shape": list(one.values.shape), "scores": one.scores is not None}


def _attention_json(modality: ModalityExplanation) -> Mapping[str, Any] | None:
    """Number of layers and means over them; null without attention."""
    attention = modality.attention
    if attention is None:
        return None
    means = {name: float(values.mean()) for name, values in attention.distances.items()}
    return {"layers": len(attention.trained), **means}
