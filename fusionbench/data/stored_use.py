"""How a cohort declares a modality, as JSON values beside what was fitted on the cohort's cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fusionbench.core.types import ModalityUse


def use_as_json(use: ModalityUse) -> dict[str, Any]:
    """A declaration as JSON values; `use_from_json` is the inverse."""
    said = {"encoder": use.encoder} if use.encoder else {}
    return {
        **said,
        "modality": use.modality,
        "dim": use.dim,
        "options": dict(use.options),
        "features": list(use.features),
        "categorical": sorted(use.categorical),
        "groups": {group: list(columns) for group, columns in use.groups.items()},
        "levels": {column: [[code, text] for code, text in texts.items()] for column, texts in use.levels.items()},
    }


def use_from_json(values: Mapping[str, Any]) -> ModalityUse:
    """The declaration whose JSON values these are."""
    return ModalityUse(
        modality=values["modality"],
        dim=values["dim"],
        options=values["options"],
        features=tuple(values["features"]),
        categorical=frozenset(values["categorical"]),
        groups={group: tuple(columns) for group, columns in values["groups"].items()},
        levels={column: {float(code): text for code, text in pairs} for column, pairs in values["levels"].items()},
        encoder=values.get("encoder", ""),
    )
