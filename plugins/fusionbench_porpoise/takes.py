"""Which modalities a model of one bag and some vectors takes, and why it takes no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fusionbench import ModalitySpec

_NEEDS = "needs one bag or grid (slide features, an image) and at least one vector (a table)"
SLIDES_AND_TABLES = "needs slide features (a feature folder) or an image, and at least one table"
"""What models of slides say in place of that."""


def sides(specs: Mapping[str, ModalitySpec]) -> tuple[ModalitySpec, tuple[ModalitySpec, ...]]:
    """The bag (or grid) and the vectors, in the suite's order."""
    (bag,) = (spec for spec in specs.values() if spec.kind != "vector")
    return bag, tuple(spec for spec in specs.values() if spec.kind == "vector")


def not_bag_and_vectors(specs: Mapping[str, ModalitySpec], needs: str = _NEEDS) -> str | None:
    """A reason, which begins with `needs`, unless there are one bag or grid and at least one vector."""
    vectors = [spec.name for spec in specs.values() if spec.kind == "vector"]
    bags = [spec.name for spec in specs.values() if spec.kind != "vector"]
    if len(bags) > 1:
        return f"{needs}; there are {len(bags)} bags or grids: {_listed(bags)}"
    if not bags:
        return f"{needs}; there are only vectors: {_listed(vectors)}"
    return None if vectors else f"{needs}; there is no vector: {_listed(bags)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
