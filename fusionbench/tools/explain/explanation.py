"""The explanation of one test case: attention and contributions in each of its modalities, and notes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fusionbench.tools.explain.attention import ItemAttention, attention_maps
from fusionbench.tools.explain.loaded_case import LoadedCase
from fusionbench.tools.explain.maps import CaseMap, case_maps
from fusionbench.tools.explain.occlusion import Occlusion, occlude
from fusionbench.tools.explain.score import RISK, ExplainedScore
from fusionbench.tools.explain.select import SelectedCase
from fusionbench.tools.explain.tiles import SlideTiles, slide_tiles
from fusionbench.tools.explain.verdict import Evidence, Verdict, verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOP_ITEMS = 15
"""Items of a modality that tables and figures name."""


@dataclass(frozen=True, eq=False)
class ModalityExplanation:
    """Attention and contributions in one modality of the case.

    Attributes:
        kind: vector, bag or grid.
        instances: of the case, as read.
        attention: None where the model has none on the modality, or a single item to weight.
        tiles: positions of the instances, slide by slide; empty where they have none in two dimensions.
        notes: what could not be shown, and why.
        score: what is explained: the risk, or the log odds of a class.
    """

    name: str
    kind: str
    instances: int
    attention: ItemAttention | None
    occlusion: Occlusion
    tiles: tuple[SlideTiles, ...]
    notes: tuple[str, ...]
    score: ExplainedScore = RISK

    @property
    def item_names(self) -> tuple[str, ...]:
        """Names of all items, in the order of their indices."""
        return self.occlusion.items.names or tuple(f"instance {i}" for i in range(self.occlusion.items.count))

    @property
    def ranked(self) -> NDArray[np.intp]:
        """(item,) indices by falling attention; without attention by falling magnitude of the contribution."""
        if self.attention is not None:
            return np.argsort(-self.attention.mean, kind="stable")
        contributions = self.occlusion.by_item
        # Items that were not masked come last, behind contributions of 0.
        return np.argsort(-np.where(np.isnan(contributions), -1.0, np.abs(contributions)), kind="stable")

    @property
    def verdict(self) -> Verdict:
        """Whether the attention may be interpreted."""
        attention, curve = self.attention, self.occlusion.curve
        if attention is None or curve is None:
            return verdict(self.name, None, self.score)
        moved, between = attention.distance_from_initial.mean(), attention.distance_between_seeds.mean()
        random = tuple(map(float, curve.random.mean(axis=1)))
        return verdict(self.name, Evidence(float(moved), float(between), float(curve.top.mean()), random), self.score)

    @property
    def top(self) -> NDArray[np.intp]:
        """Indices of the first items of `ranked`."""
        return self.ranked[:TOP_ITEMS]


@dataclass(frozen=True, eq=False)
class Explanation:
    """The explanation of one test case by the model that predicted it.

    Attributes:
        value: the score of the case, as stored.
        fold_sd: standard deviation of the scores of the case's test fold; NaN for a fold of one case.
        missing: modalities of the row that the case lacks.
        notes: sentences for the reader, on the cell and on what could not be shown.
        maps: of attention, with more axes than layer and head.
    """

    selected: SelectedCase
    value: float
    fold_sd: float
    modalities: tuple[ModalityExplanation, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    maps: tuple[CaseMap, ...] = ()

    @property
    def has_attention(self) -> bool:
        """Whether the model has attention on any modality of the case."""
        return any(modality.attention is not None for modality in self.modalities)


def explain_case(loaded: LoadedCase, selected: SelectedCase, slides: Path | None, draws: int) -> Explanation:
    """The explanation of a loaded case.

    Args:
        slides: folder of slide images; None draws heatmaps on the grid of tiles.
        draws: random orders of items that the order of attention is compared with.

    Raises:
        DataError: a slide image cannot be read.
    """
    attention = attention_maps(loaded)
    modalities = tuple(_explain_modality(loaded, name, attention.get(name), slides, draws) for name in loaded.visible)
    missing = tuple(name for name in loaded.cell.modalities if name not in loaded.visible)
    notes = (
        f"Model of repeat {loaded.cell.repeat}, fold {loaded.cell.fold}: the case is in its test fold",
        *_missing_notes(loaded, missing),
        *_attention_notes(loaded, modalities),
        *(note for modality in modalities for note in modality.notes),
    )
    sd = float(np.std(loaded.fold_scores, ddof=1)) if len(loaded.fold_scores) > 1 else float("nan")
    return Explanation(selected, loaded.stored_score, sd, modalities, missing, notes, case_maps(loaded))


def _explain_modality(
    loaded: LoadedCase, name: str, attention: ItemAttention | None, slides: Path | None, draws: int
) -> ModalityExplanation:
    kind = loaded.predictor.preprocessor.specs[name].kind
    tiles, notes = slide_tiles(loaded, name, slides)
    occlusion = occlude(loaded, name, attention, draws)
    notes += [f"{name}: {occlusion.items.note}"] if occlusion.items.note else []
    return ModalityExplanation(
        name, kind, len(loaded.raw[name].values), attention, occlusion, tuple(tiles), tuple(notes), loaded.score
    )


def _missing_notes(loaded: LoadedCase, missing: Sequence[str]) -> Iterator[str]:
    imputed = "; the model gets the training mean instead" if loaded.cell.policy == "impute" else ""
    yield from (f"The case has no {name}{imputed}: no attention and no contribution to show" for name in missing)


def _attention_notes(loaded: LoadedCase, modalities: Sequence[ModalityExplanation]) -> Iterator[str]:
    """Sentences on modalities without attention or without contributions of single items."""
    has_attention = loaded.predictor.attention(loaded.case_set) is not None
    if not has_attention:
        yield f"{loaded.cell.model} has no attention weights; only contributions to its {loaded.score.name} are shown"
    for modality in modalities:
        if modality.attention is None and has_attention:
            tokens = loaded.predictor.preprocessor.tokenised.get(modality.name)
            if tokens is not None:
                why = f"it is on tokens that {tokens.preparation.name} makes of all instances together"
            elif modality.instances == 1:
                why = "it is a single token of weight 1"
            else:
                why = "the model has no weights for it"
            yield f"No attention on {modality.name}: {why}; contributions are shown"
        if not modality.occlusion.blocks:
            yield f"The {modality.name} has a single instance, so nothing inside it can be removed"
