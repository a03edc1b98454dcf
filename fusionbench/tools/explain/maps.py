"""Maps of attention on one case: each class and query on its own, raw scores, and transport mass."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, FormatStrFormatter

from fusionbench.core.attention_map import AXES, AttentionMap
from fusionbench.report.document import entries
from fusionbench.report.figures.figure import ReportFigure, numbered
from fusionbench.report.figures.panels import lay_out, panels
from fusionbench.report.figures.style import shortened, wrapped
from fusionbench.report.html.page import heading, paragraph, table
from fusionbench.tools.explain.loaded_case import LoadedCase

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FIRST = 15
"""Items of each query, and queries of each map, that table, page and figure name."""
NAME_WIDTH = 1.6
"""Inches of a name beside or below a figure, at most."""
COLUMNS = ("map", "kind", "modality", "layer", "head", "class", "query", "rank", "item", "value", "score")
ABOUT = (
    "What each class or query of the model gives to items, averaged over layers and heads. Weights sum to 1 over the "
    "items of a query, or with the maps of the same softmax; mass is of a transport plan. maps.csv has the first "
    f"{FIRST} items of each query, layer and head, maps.npz all numbers."
)


@dataclass(frozen=True, eq=False)
class CaseMap:
    """A map on what the case has.

    Attributes:
        values: (layer, head, class, query, item); an axis that the map lacks has length 1.
        scores: before the softmax, of the same shape; None where the model gives none.
        queries, items: their names; queries are empty where the map has none.
    """

    name: str
    modality: str
    kind: str
    axes: tuple[str, ...]
    values: Floats
    scores: Floats | None
    queries: tuple[str, ...]
    items: tuple[str, ...]

    @cached_property
    def mean(self) -> Floats:
        """(row, item) averaged over layers and heads; a row is a class and query."""
        averaged = self.values.mean(axis=(0, 1))
        return np.asarray(averaged.reshape(-1, averaged.shape[-1]))

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of the rows of `mean`."""
        classes, queries = self.values.shape[2:4]
        asked = self.queries or tuple(f"query {i}" if "query" in self.axes else "" for i in range(queries))
        of_class = [f"class {i}" if "class" in self.axes else "" for i in range(classes)]
        return tuple(" ".join(filter(None, (c, q))) or "all" for c in of_class for q in asked)

    def first(self, row: int) -> NDArray[np.intp]:
        """Indices of the first items of a row of `mean`, by falling value."""
        return np.argsort(-self.mean[row], kind="stable")[:FIRST]


def case_maps(loaded: LoadedCase) -> tuple[CaseMap, ...]:
    """The maps on the case, cut to its own items and queries; those of what it lacks are left out."""
    found = []
    for name, one in loaded.predictor.attention_maps(loaded.case_set).items():
        items, queries = _names(loaded, one.modality, one.item_names), _names(loaded, one.queries, one.query_names)
        if one.modality not in loaded.visible or (one.queries and one.queries not in loaded.visible):
            continue
        cut = _cut(one, one.values, len(queries), len(items))
        scores = None if one.scores is None else _cut(one, one.scores, len(queries), len(items))
        found.append(CaseMap(name, one.modality, one.kind, one.axes, cut, scores, queries, items))
    return tuple(found)


def _names(loaded: LoadedCase, modality: str, named: Sequence[str]) -> tuple[str, ...]:
    if named or modality not in loaded.visible:
        return tuple(named)
    word = "token" if modality in loaded.predictor.preprocessor.tokenised else "instance"
    return tuple(f"{word} {i}" for i in range(len(loaded.case_set[0].bags[modality].values)))


def _cut(one: AttentionMap, values: Any, queries: int, items: int) -> Floats:
    """(layer, head, class, query, item) of the case's own; learned queries are all its own."""
    whole = one.arranged(values)[0].double().numpy()
    return np.asarray(whole[:, :, :, : queries or None, :items])


def map_frame(maps: Sequence[CaseMap]) -> pd.DataFrame:
    """One row an item of the first of each query, by falling value; empty cells for axes that a map lacks."""
    return pd.DataFrame([row for one in maps for row in _frame_rows(one)], columns=COLUMNS)


def _frame_rows(one: CaseMap) -> Iterator[tuple[Any, ...]]:
    for place in np.ndindex(*one.values.shape[:-1]):
        layer, head, of_class, query = place
        names: tuple[Any, ...] = (layer + 1, head + 1, of_class, one.queries[query] if one.queries else query)
        labels = ["" if axis not in one.axes else name for axis, name in zip(AXES, names, strict=True)]
        for rank, item in enumerate(np.argsort(-one.values[place], kind="stable")[:FIRST], 1):
            score = np.nan if one.scores is None else one.scores[place][item]
            value = one.values[place][item]
            yield (one.name, one.kind, one.modality, *labels, rank, one.items[item], value, score)


def map_arrays(maps: Sequence[CaseMap]) -> bytes:
    """An .npz: `values/NAME` and `scores/NAME` (layer, head, class, query, item), `queries/NAME` and `items/NAME`."""
    arrays: dict[str, Any] = {}
    for one in maps:
        arrays |= {f"values/{one.name}": one.values, f"items/{one.name}": np.array(one.items)}
        arrays |= {f"queries/{one.name}": np.array(one.queries)} if one.queries else {}
        arrays |= {} if one.scores is None else {f"scores/{one.name}": one.scores}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def map_figures(maps: Sequence[CaseMap]) -> Iterator[ReportFigure]:
    """A map as colours: the first queries by the first items."""
    for i, one in enumerate(maps):
        rows, items = _shown(one)
        caption = (
            f"Rows: {len(rows)} of {len(one.rows)} classes or queries, those with the largest single value; columns: "
            f"{len(items)} of {len(one.items)} items of {one.modality}, those with the most in all rows. Means over "
            "layers and heads."
        )
        alt = f"Colours of {one.kind} for {len(rows)} rows by {len(items)} items: {one.name}."
        yield ReportFigure(
            numbered("map", i, len(maps)), f"Map of attention: {one.name}", caption, alt, _drawn(one, rows, items)
        )


def _shown(one: CaseMap) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of the rows and items of `mean` that are drawn."""
    mean = one.mean
    rows = np.sort(np.argsort(-mean.max(axis=1), kind="stable")[:FIRST])
    return rows, np.sort(np.argsort(-mean.sum(axis=0), kind="stable")[:FIRST])


def _drawn(one: CaseMap, rows: NDArray[np.intp], items: NDArray[np.intp]) -> Figure:
    size = (0.22 * len(items) + 0.3, 0.18 * len(rows) + 0.1)
    figure, (ax,) = panels([one.name], size, most=1)
    values = one.mean[np.ix_(rows, items)]
    drawn = ax.imshow(values, cmap="viridis", aspect="auto", vmin=0, vmax=float(values.max()) or 1.0)
    ax.set_yticks(range(len(rows)), [shortened(one.rows[row], NAME_WIDTH) for row in rows])
    ax.set_xticks(range(len(items)), [shortened(one.items[item], NAME_WIDTH) for item in items], rotation=90)
    ax.grid(visible=False)
    ax.tick_params(length=0)
    bar = figure.colorbar(drawn, cax=ax.inset_axes((1.04, 0, 0.06, 1)))
    bar.ax.yaxis.set_major_locator(FixedLocator([0, float(values.max()) or 1.0]))
    bar.ax.yaxis.set_major_formatter(FormatStrFormatter("%.2g"))
    bar.set_label(wrapped(one.kind, size[1]))
    lay_out(figure, size)
    return figure


def map_section(maps: Sequence[CaseMap]) -> Iterator[str]:
    """The page's part on maps; nothing without any."""
    if not maps:
        return
    yield heading(2, "Maps of attention")
    yield paragraph(ABOUT)
    for one in maps:
        lines = []
        for row in _shown(one)[0]:
            given = [f"{one.items[item]} ({one.mean[row][item]:.3g})" for item in one.first(row)[:3]]
            lines.append(entries(one.rows[row], f"{one.mean[row].sum():.3g}", ", ".join(given)))
        caption = f"{one.name}: {one.kind} on {one.modality}, first {len(lines)} of {len(one.rows)}"
        yield table(caption, ("class or query", "sum", f"first items of {len(one.items)}"), lines)
