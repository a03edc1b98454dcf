"""One explanation as tables and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from fusionbench.tools.explain.explanation import Explanation, Part


def item_frame(explanation: Explanation) -> pd.DataFrame:
    """An item of a modality a line: where it lies, its attention now and at the start, and what leaving it out does."""
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
    frame["change_of_risk"] = part.occlusion.by_item
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
        "cell": {**cell.columns, "key": cell.key},
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
        "change_without": number(occlusion.without),
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
