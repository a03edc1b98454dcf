"""Occlusion of a model whose risk is a sum, and figures whose texts are complete and never overlap."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from fusionbench.core.types import ModalitySpec, PreparedBag, RawBag
from fusionbench.data.slides import Thumbnail
from fusionbench.report.figures.figure import Omitted, ReportFigure
from fusionbench.tools.explain import occlusion
from fusionbench.tools.explain.attention import ItemAttention
from fusionbench.tools.explain.explanation import Explanation, ModalityExplanation
from fusionbench.tools.explain.figures import figures
from fusionbench.tools.explain.loaded_case import LoadedCase
from fusionbench.tools.explain.masked_readers import MaskedBag
from fusionbench.tools.explain.occlusion import Items, Occlusion, occlude
from fusionbench.tools.explain.output import as_json, curve_frame, item_frame, layer_frame
from fusionbench.tools.explain.score import RISK
from fusionbench.tools.explain.tiles import SlideTiles, smallest_step
from tests.unit.drawn_results import NASTY, overlapping

INSTANCES = 40
WEIGHTS = np.random.default_rng(0).exponential(size=INSTANCES)


class Additive:
    """Stub of a LoadedCase whose risk is the sum of the instances of a bag, or of the columns of a vector."""

    def __init__(self, values: np.ndarray, spec: ModalitySpec) -> None:
        self.values, self.prepared_bytes, self.batch_size = values, values.nbytes, 3
        self.raw, self.prepared = {"x": RawBag(values)}, {"x": PreparedBag(torch.from_numpy(values))}
        part = SimpleNamespace(fitted=SimpleNamespace(spec=spec, mean=lambda: torch.zeros(spec.dim)))
        self.predictor = SimpleNamespace(preprocessor=SimpleNamespace(specs={"x": spec}, parts={"x": part}))
        self.cell, self.predictions, self.score = SimpleNamespace(seed=0), 0, RISK

    def contributions(self, modality: str, masked: Sequence[MaskedBag]) -> np.ndarray:
        self.predictions += len(masked)
        kept = [bag.values.copy() for bag in masked]
        for values, bag in zip(kept, masked, strict=True):
            values[:, list(bag.mean_columns)] = 0
        return self.values.sum() - np.array([values.sum() for values in kept])

    def modality_contribution(self, modality: str) -> float:
        return float("nan")


def a_bag() -> Additive:
    return Additive(WEIGHTS[:, None], ModalitySpec("x", "bag", 1))


def an_attention_map(weights: np.ndarray, layers: int = 1, **columns: tuple[int, ...]) -> ItemAttention:
    rows = np.stack([weights / weights.sum()] * layers)
    even = np.full_like(rows, 1 / rows.shape[1])
    return ItemAttention(rows, even, np.stack([even, even]), columns)


def occluded(loaded: Additive, attention: ItemAttention | None, draws: int = 5) -> Occlusion:
    return occlude(cast(LoadedCase, loaded), "x", attention, draws)


def test_single_instances_contribute_to_the_risk_what_they_are() -> None:
    result = occluded(a_bag(), an_attention_map(WEIGHTS))
    np.testing.assert_allclose(result.by_item, WEIGHTS)
    assert result.agreement == pytest.approx(1)
    curve = result.curve
    assert curve is not None
    np.testing.assert_allclose(curve.top, np.sort(WEIGHTS)[::-1].cumsum()[curve.k - 1])
    np.testing.assert_allclose(curve.bottom, np.sort(WEIGHTS).cumsum()[curve.k - 1])
    assert (curve.random <= curve.top + 1e-9).all()
    assert (curve.random >= curve.bottom - 1e-9).all()
    assert (curve.k[0], curve.k[-1]) == (1, INSTANCES - 1)


def test_attention_that_points_the_other_way_disagrees() -> None:
    result = occluded(a_bag(), an_attention_map(1 / WEIGHTS))
    assert result.agreement == pytest.approx(-1)


def test_a_large_bag_is_masked_in_blocks_of_like_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occlusion, "MIN_BLOCKS", 7)
    monkeypatch.setattr(occlusion, "OCCLUSION_BYTES", 0)
    loaded = a_bag()
    result = occluded(loaded, an_attention_map(WEIGHTS), draws=2)
    assert len(result.blocks) == 7
    assert sorted(np.concatenate(result.blocks)) == list(range(INSTANCES))
    lows, highs = ([edge(WEIGHTS[block]) for block in result.blocks] for edge in (np.min, np.max))
    assert all(low >= high for low, high in zip(lows[:-1], highs[1:], strict=True))
    assert loaded.predictions <= 7 + occlusion.CURVE_POINTS * (2 + 2), "bounded, whatever the size of a bag"


def test_of_a_wide_vector_without_attention_the_columns_furthest_from_the_mean_are_masked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(occlusion, "MIN_BLOCKS", 5)
    monkeypatch.setattr(occlusion, "OCCLUSION_BYTES", 0)
    values = np.random.default_rng(1).normal(size=(1, 30))
    result = occluded(Additive(values, ModalitySpec("x", "vector", 30)), None)
    masked = np.flatnonzero(~np.isnan(result.by_item))
    assert set(masked) == set(np.argsort(-np.abs(values[0]))[:5])
    np.testing.assert_allclose(result.by_item[masked], values[0, masked])
    assert result.items.note == "only the 5 columns furthest from the training mean, of 30"
    assert result.agreement_undefined == "the model has no attention"


def test_groups_are_masked_with_all_their_columns() -> None:
    values = np.array([[1.0, 2.0, 4.0, 8.0]])
    attention = an_attention_map(np.array([0.2, 0.8]), one=(0, 1), other=(1, 3))
    result = occluded(Additive(values, ModalitySpec("x", "vector", 4)), attention)
    assert result.items.names == ("one", "other")
    np.testing.assert_allclose(result.by_item, [3, 10])
    assert np.isnan(result.agreement)
    assert "2 items" in result.agreement_undefined


def test_even_attention_has_no_agreement_and_a_reason() -> None:
    assert occluded(a_bag(), an_attention_map(np.ones(INSTANCES))).agreement_undefined == "attention is even"
    still = Additive(np.zeros((INSTANCES, 1)), ModalitySpec("x", "bag", 1))
    assert occluded(still, an_attention_map(WEIGHTS)).agreement_undefined == "the risk does not change"


def test_the_smallest_step_is_the_side_of_a_tile() -> None:
    assert smallest_step(np.array([[0.0, 0], [512, 256], [1024, 512]])) == 256
    assert smallest_step(np.array([[3.0, 4]])) == 1


def modality_of(
    name: str, attention: ItemAttention | None, items: Items, tiles: Sequence[SlideTiles] = ()
) -> ModalityExplanation:
    rng = np.random.default_rng(2)
    blocks = tuple(np.array([i]) for i in range(items.count))
    curve = None
    if attention is not None:
        k = np.array([1, 2, 5, 9])
        curve = occlusion.Curve(k, rng.random(4), rng.random(4), rng.random((5, 4)))
    result = Occlusion(items, blocks, rng.normal(size=items.count), 0.1, curve, 0.5, "")
    return ModalityExplanation(name, "bag", items.count, attention, result, tuple(tiles), ())


def explanation_of(*modalities: ModalityExplanation) -> Explanation:
    cell = SimpleNamespace(key="k", columns={"dataset": "d"}, model="m", repeat=0, fold=0)
    selected = SimpleNamespace(case=NASTY, cell=cell, rank=1, fold_size=10, score=RISK)
    return Explanation(cast(Any, selected), 0.3, 1.0, modalities, (), ())


def everything() -> Explanation:
    """A bag on a slide and on a bare grid, a vector of features with long and odd names, a bag without places."""
    rng = np.random.default_rng(3)
    corners = np.stack([np.arange(40) % 8, np.arange(40) // 8], axis=1) * 256.0
    slide = Thumbnail(rng.integers(0, 255, (100, 200, 3), dtype=np.uint8), 12.8)
    drawn = (
        SlideTiles(NASTY, np.arange(20), corners[:20], 256.0, None, slide),
        SlideTiles("", np.arange(20, 40), corners[20:], 256.0),
    )
    names = tuple(f"{NASTY} {i} {'long ' * (i % 9)}" for i in range(30))
    columns = tuple((i,) for i in range(30))
    features = an_attention_map(rng.exponential(size=30), 3, **dict(zip(names, columns, strict=True)))
    return explanation_of(
        modality_of("slides", an_attention_map(WEIGHTS, 3), Items(40), tiles=drawn),
        modality_of(NASTY, features, Items(30, names, columns)),
        modality_of("plain", None, Items(3, ("a", "b", "c"), ((0,), (1,), (2,)))),
    )


def test_every_drawing_is_there_and_no_two_texts_meet() -> None:
    pictures = list(figures(everything()))
    names = [picture.name for picture in pictures if isinstance(picture, ReportFigure)]
    assert names == ["heatmap-1", "heatmap-2", "items-1", "items-2", "layers", "agreement"]
    for picture in pictures:
        assert isinstance(picture, ReportFigure)
        assert not overlapping(picture.figure), picture.name


def test_instances_that_raise_the_risk_are_red() -> None:
    explanation = everything()
    contributions = explanation.modalities[0].occlusion.by_item[:20]
    picture = next(picture for picture in figures(explanation) if isinstance(picture, ReportFigure))
    (squares,) = picture.figure.axes[1].collections
    picture.figure.draw_without_rendering()
    red, _, blue, _ = np.asarray(squares.get_facecolor()).T
    assert (red > blue)[contributions > 0.5].all()
    assert (red < blue)[contributions < -0.5].all()
    assert (np.abs(contributions) > 0.5).sum() > 5


def test_features_that_raise_the_risk_are_red() -> None:
    explanation = explanation_of(modality_of("plain", None, Items(3, ("a", "b", "c"), ((0,), (1,), (2,)))))
    picture = next(of for of in figures(explanation) if isinstance(of, ReportFigure) and of.name == "items")
    (axes,) = picture.figure.axes
    lengths = np.array([bar.get_width() for bar in axes.patches])
    red, _, blue, _ = np.array([bar.get_facecolor() for bar in axes.patches]).T
    assert ((red > blue) == (lengths > 0)).all()
    assert len(set(lengths > 0)) == 2


def test_what_cannot_be_drawn_says_why() -> None:
    pictures = list(figures(explanation_of(modality_of("x", None, Items(4)))))
    reasons = {picture.title: picture.reason for picture in pictures if isinstance(picture, Omitted)}
    assert len(reasons) == len(pictures) == 3
    assert reasons["Attention by layer"] == "there is no attention"


def test_tables_hold_every_item_layer_and_curve() -> None:
    explanation = everything()
    items = item_frame(explanation)
    assert len(items) == 40 + 30 + 3
    assert items.groupby("modality", sort=False)["attention"].sum().tolist() == pytest.approx([1, 1, 0])
    assert items.loc[:39, ["x", "y"]].notna().all(axis=None)
    assert len(layer_frame(explanation)) == 3 + 3
    assert len(curve_frame(explanation)) == 2 * 4 * 7
    assert as_json(explanation)["modalities"]["plain"]["attention"] is None
