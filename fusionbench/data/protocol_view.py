"""A cohort under a protocol: the protocol's preprocessing options, and vectors joined to one modality."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fusionbench.core.interfaces import Modality
from fusionbench.core.protocol import Protocol
from fusionbench.core.types import Case, ModalityUse
from fusionbench.data.cohort import Cohort, raw_spec

JOIN = "+"
"""Between the names of joined vectors. The same as between the modalities of a row, so that its name stays the same."""

_DEFAULT = Protocol()


def apply_protocol(cohort: Cohort, protocol: Protocol, sets: Iterable[Sequence[str]]) -> Cohort:
    """The cohort under a protocol; the same object where the protocol changes nothing.

    Args:
        sets: modality sets that cells will use, as a suite names them.
    """
    options = _options(protocol)
    if options:
        cohort = _reread(cohort, dict.fromkeys(cohort.modalities, options))
    if protocol.vectors == "joined":
        # One joined modality for each different set of vectors, whichever suite sets contain it.
        for names in dict.fromkeys(tuple(_vectors(cohort, s)) for s in sets):
            if len(names) > 1:
                cohort = _joined(cohort, names)
    return cohort


def protocol_modalities(cohort: Cohort, protocol: Protocol, modalities: Sequence[str]) -> tuple[str, ...]:
    """The modalities that models get for a set: `clinical, omic, image` is `clinical+omic, image` where joined."""
    vectors = _vectors(cohort, modalities) if protocol.vectors == "joined" else []
    if len(vectors) < 2:
        return tuple(modalities)
    merged = [JOIN.join(vectors) if name == vectors[0] else name for name in modalities if name not in vectors[1:]]
    return tuple(merged)


def _options(protocol: Protocol) -> dict[str, Any]:
    """Preprocessing options that differ from the default protocol; otherwise the dataset's own options hold."""
    names = ("impute", "clip", "scale")
    return {n: getattr(protocol, n) for n in names if getattr(protocol, n) != getattr(_DEFAULT, n)}


def _reread(cohort: Cohort, changes: Mapping[str, Mapping[str, Any]]) -> Cohort:
    """The cohort with changed options of its readers; a reader ignores options that it does not have."""
    modalities = {name: _with_options(m, changes.get(name, {})) for name, m in cohort.modalities.items()}
    uses = {name: m.use for name, m in modalities.items()}
    return replace(cohort, modalities=modalities, info=replace(cohort.info, modalities=uses))


def _with_options(modality: Modality, changes: Mapping[str, Any]) -> Modality:
    known = type(modality).Options.model_fields
    mine = {name: value for name, value in changes.items() if name in known}
    if modality.kind != "vector" and mine.get("scale") is False:
        mine["scale"] = "none"  # bags and grids name how they are scaled
    options = type(modality).Options.model_validate({**modality.options.model_dump(), **mine})
    return type(modality)(modality.label, replace(modality.use, options=options.model_dump()), options)


def _vectors(cohort: Cohort, modalities: Sequence[str]) -> list[str]:
    return [name for name in modalities if name in cohort.modalities and cohort.modalities[name].kind == "vector"]


def _joined(cohort: Cohort, names: Sequence[str]) -> Cohort:
    """The cohort with one more modality: the vectors `names` joined. A vector that a case lacks is missing cells."""
    parts = [cohort.modalities[name] for name in names]
    name, use = JOIN.join(names), _joined_use(parts)
    options = type(parts[0]).Options.model_validate(dict(use.options))
    modality = type(parts[0])(name, use, options)
    cases = tuple(_with_joined(case, name, parts) for case in cohort.cases)
    modalities = {**cohort.modalities, name: modality}
    info = replace(cohort.info, modalities={**cohort.info.modalities, name: use})
    specs = {**cohort.specs_raw, name: raw_spec(modality, cases)}
    return replace(cohort, cases=cases, modalities=modalities, info=info, specs_raw=specs)


def _joined_use(parts: Sequence[Modality]) -> ModalityUse:
    """The joined columns; with the modality's name in front where column names occur twice."""
    columns = [column for part in parts for column in part.use.features]
    distinct = len(set(columns)) == len(columns) == sum(part.use.dim for part in parts)

    def named(part: Modality, column: str) -> str:
        return column if distinct else f"{part.label}.{column}"

    features = [
        named(part, column)
        for part in parts
        for column in (part.use.features or tuple(str(i) for i in range(part.use.dim)))
    ]
    return replace(
        parts[0].use,
        dim=len(features),
        features=tuple(features),
        categorical=frozenset(named(part, c) for part in parts for c in part.use.categorical),
        groups={g: tuple(named(part, c) for c in cs) for part in parts for g, cs in part.use.groups.items()},
        levels={named(part, c): texts for part in parts for c, texts in part.use.levels.items()},
        checksum="+".join(part.use.checksum for part in parts if part.use.checksum),
    )


def _with_joined(case: Case, name: str, parts: Sequence[Modality]) -> Case:
    if not any(part.label in case.refs for part in parts):
        return case
    # NaN is a missing cell, which the reader imputes from the training cases of the fold.
    rows = [
        np.asarray(case.refs[p.label], dtype=np.float64) if p.label in case.refs else np.full(p.use.dim, np.nan)
        for p in parts
    ]
    return replace(case, refs={**case.refs, name: np.concatenate(rows)})
