"""Looking and leaving out on a model whose risk is a sum, and drawings whose texts are whole and never overlap."""

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
from fusionbench.tools.explain.attention import Look
from fusionbench.tools.explain.explanation import Explanation, Part
from fusionbench.tools.explain.figures import figures
from fusionbench.tools.explain.frames import as_json, curve_frame, item_frame, layer_frame
from fusionbench.tools.explain.loaded_case import Subject
from fusionbench.tools.explain.masked_readers import Partly
from fusionbench.tools.explain.occlusion import Items, Occlusion, occlude
from fusionbench.tools.explain.tiles import Layer, smallest_step
from tests.unit.drawn_results import NASTY, overlapping

INSTANCES = 40
WEIGHTS = np.random.default_rng(0).exponential(size=INSTANCES)


class Additive:
    """Stands for a Subject: the risk of a bag is the sum of its instances, that of a vector of its columns."""

    def __init__(self, values: np.ndarray, spec: ModalitySpec) -> None:
        self.values, self.bytes, self.at_once = values, values.nbytes, 3
        self.raw, self.bags = {"x": RawBag(values)}, {"x": PreparedBag(torch.from_numpy(values))}
        part = SimpleNamespace(fitted=SimpleNamespace(mean=lambda: torch.zeros(spec.dim)))
        self.predictor = SimpleNamespace(preprocessor=SimpleNamespace(specs={"x": spec}, parts={"x": part}))
        self.cell, self.asked = SimpleNamespace(seed=0), 0

    def changes(self, name: str, parts: Sequence[Partly]) -> np.ndarray:
        self.asked += len(parts)
        kept = [part.values.copy() for part in parts]
        for values, part in zip(kept, parts, strict=True):
            values[:, list(part.averaged)] = 0
        return np.array([values.sum() for values in kept]) - self.values.sum()

    def change_without(self, name: str) -> float:
        return float("nan")


def a_bag() -> Additive:
    return Additive(WEIGHTS[:, None], ModalitySpec("x", "bag", 1))


def a_look(weights: np.ndarray, layers: int = 1, **parts: tuple[int, ...]) -> Look:
    rows = np.stack([weights / weights.sum()] * layers)
    even = np.full_like(rows, 1 / rows.shape[1])
    return Look(rows, even, np.stack([even, even]), parts)


def occluded(subject: Additive, look: Look | None, draws: int = 5) -> Occlusion:
    return occlude(cast(Subject, subject), "x", look, draws)


def test_single_instances_change_the_risk_by_what_they_are() -> None:
    found = occluded(a_bag(), a_look(WEIGHTS))
    np.testing.assert_allclose(found.by_item, -WEIGHTS)
    assert found.agreement == pytest.approx(1)
    curve = found.curve
    assert curve is not None
    np.testing.assert_allclose(curve.top, np.sort(WEIGHTS)[::-1].cumsum()[curve.k - 1])
    np.testing.assert_allclose(curve.bottom, np.sort(WEIGHTS).cumsum()[curve.k - 1])
    assert (curve.random <= curve.top + 1e-9).all()
    assert (curve.random >= curve.bottom - 1e-9).all()
    assert (curve.k[0], curve.k[-1]) == (1, INSTANCES - 1)


def test_attention_that_points_the_other_way_disagrees() -> None:
    found = occluded(a_bag(), a_look(1 / WEIGHTS))
    assert found.agreement == pytest.approx(-1)


def test_a_large_bag_is_left_out_in_blocks_of_like_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occlusion, "FEWEST", 7)
    monkeypatch.setattr(occlusion, "WORK", 0)
    subject = a_bag()
    found = occluded(subject, a_look(WEIGHTS), draws=2)
    assert len(found.blocks) == 7
    assert sorted(np.concatenate(found.blocks)) == list(range(INSTANCES))
    lows, highs = ([edge(WEIGHTS[block]) for block in found.blocks] for edge in (np.min, np.max))
    assert all(low >= high for low, high in zip(lows[:-1], highs[1:], strict=True))
    assert subject.asked <= 7 + occlusion.STEPS * (2 + 2), "bounded, whatever the size of a bag"


def test_of_a_wide_vector_without_attention_the_columns_furthest_from_the_mean_are_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(occlusion, "FEWEST", 5)
    monkeypatch.setattr(occlusion, "WORK", 0)
    values = np.random.default_rng(1).normal(size=(1, 30))
    found = occluded(Additive(values, ModalitySpec("x", "vector", 30)), None)
    asked = np.flatnonzero(~np.isnan(found.by_item))
    assert set(asked) == set(np.argsort(-np.abs(values[0]))[:5])
    np.testing.assert_allclose(found.by_item[asked], -values[0, asked])
    assert found.items.note == "only the 5 columns furthest from the training mean, of 30"
    assert found.why_none == "there is no attention to agree with"


def test_groups_are_left_out_with_all_their_columns() -> None:
    values = np.array([[1.0, 2.0, 4.0, 8.0]])
    look = a_look(np.array([0.2, 0.8]), one=(0, 1), other=(1, 3))
    found = occluded(Additive(values, ModalitySpec("x", "vector", 4)), look)
    assert found.items.names == ("one", "other")
    np.testing.assert_allclose(found.by_item, [-3, -10])
    assert np.isnan(found.agreement)
    assert "2 items" in found.why_none


def test_even_attention_has_no_agreement_and_a_reason() -> None:
    assert occluded(a_bag(), a_look(np.ones(INSTANCES))).why_none == "attention is even"
    still = Additive(np.zeros((INSTANCES, 1)), ModalitySpec("x", "bag", 1))
    assert occluded(still, a_look(WEIGHTS)).why_none == "the risk does not change"


def test_the_smallest_step_is_the_side_of_a_tile() -> None:
    assert smallest_step(np.array([[0.0, 0], [512, 256], [1024, 512]])) == 256
    assert smallest_step(np.array([[3.0, 4]])) == 1


def part_of(name: str, look: Look | None, items: Items, **more: Any) -> Part:
    rng = np.random.default_rng(2)
    blocks = tuple(np.array([i]) for i in range(items.count))
    curve = None
    if look is not None:
        k = np.array([1, 2, 5, 9])
        curve = occlusion.Curve(k, rng.random(4), rng.random(4), rng.random((5, 4)))
    found = Occlusion(items, blocks, rng.normal(size=items.count), 0.1, curve, 0.5, "")
    return Part(name, "bag", items.count, look, found, more.get("layers", ()), ())


def explanation_of(*parts: Part) -> Explanation:
    cell = SimpleNamespace(key="k", columns={"dataset": "d"}, model="m", repeat=0, fold=0)
    chosen = SimpleNamespace(case=NASTY, cell=cell, rank=1, of=10)
    return Explanation(cast(Any, chosen), 0.3, 1.0, parts, (), ())


def everything() -> Explanation:
    """A bag on a slide and on a bare grid, a vector of features with long and odd names, a bag without places."""
    rng = np.random.default_rng(3)
    corners = np.stack([np.arange(40) % 8, np.arange(40) // 8], axis=1) * 256.0
    slide = Thumbnail(rng.integers(0, 255, (100, 200, 3), dtype=np.uint8), 12.8)
    drawn = (
        Layer(NASTY, np.arange(20), corners[:20], 256.0, None, slide),
        Layer("", np.arange(20, 40), corners[20:], 256.0),
    )
    names = tuple(f"{NASTY} {i} {'long ' * (i % 9)}" for i in range(30))
    columns = tuple((i,) for i in range(30))
    features = a_look(rng.exponential(size=30), 3, **dict(zip(names, columns, strict=True)))
    return explanation_of(
        part_of("slides", a_look(WEIGHTS, 3), Items(40), layers=drawn),
        part_of(NASTY, features, Items(30, names, columns)),
        part_of("plain", None, Items(3, ("a", "b", "c"), ((0,), (1,), (2,)))),
    )


def test_every_drawing_is_there_and_no_two_texts_meet() -> None:
    pictures = list(figures(everything()))
    names = [picture.name for picture in pictures if isinstance(picture, ReportFigure)]
    assert names == ["heatmap-1", "heatmap-2", "items-1", "items-2", "layers", "agreement"]
    for picture in pictures:
        assert isinstance(picture, ReportFigure)
        assert not overlapping(picture.figure), picture.name


def test_what_cannot_be_drawn_says_why() -> None:
    pictures = list(figures(explanation_of(part_of("x", None, Items(4)))))
    reasons = {picture.title: picture.reason for picture in pictures if isinstance(picture, Omitted)}
    assert len(reasons) == len(pictures) == 3
    assert reasons["Layer by layer"] == "there is no attention"


def test_tables_hold_every_item_layer_and_curve() -> None:
    explanation = everything()
    items = item_frame(explanation)
    assert len(items) == 40 + 30 + 3
    assert items.groupby("modality", sort=False)["attention"].sum().tolist() == pytest.approx([1, 1, 0])
    assert items.loc[:39, ["x", "y"]].notna().all(axis=None)
    assert len(layer_frame(explanation)) == 3 + 3
    assert len(curve_frame(explanation)) == 2 * 4 * 7
    assert as_json(explanation)["modalities"]["plain"]["attention"] is None
