"""Missing-modality masks as data: pattern x seed -> which modalities of which cases are hidden.

Made once per fold and modality set and given to every model, so that two rows of a table saw the same absences.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fusionbench.errors import SuiteError, did_you_mean
from fusionbench.seeds import derive

Present = Mapping[str, tuple[str, ...]]
"""Case id to the modalities it has, in the cell's order."""


@dataclass(frozen=True)
class Mask:
    """One draw of a pattern: case id to hidden modalities (only cases from which something is hidden)."""

    pattern: str
    draw: int
    hidden: Mapping[str, frozenset[str]]


def expand_patterns(patterns: Sequence[str], modalities: Sequence[str]) -> tuple[str, ...]:
    """`only:*` and `drop:*` for every modality of the set; with one modality only `full` says anything.

    Raises:
        SuiteError: unknown pattern or rate out of (0, 1).
    """
    expanded: list[str] = []
    for pattern in patterns:
        kind, what = _parts(pattern)
        if what == "*":
            expanded += [f"{kind}:{name}" for name in modalities]
        elif kind not in ("only", "drop") or what in modalities:
            expanded.append(pattern)
    if len(modalities) < 2:
        return ("full",)
    return tuple(dict.fromkeys(["full", *expanded]))


def check_pattern(pattern: str, modalities: Sequence[str], *, single: bool = False) -> None:
    """Refuse a pattern that says nothing about any of a suite's modalities.

    Args:
        single: refuse `only:*` and `drop:*`, too (training has one pattern).

    Raises:
        SuiteError: unknown pattern, rate out of (0, 1), unknown modality.
    """
    kind, what = _single(pattern) if single else _parts(pattern)
    if kind in ("only", "drop") and what not in ("*", *modalities):
        raise SuiteError(f"missing-modality pattern {pattern!r}: {did_you_mean('modality', what, modalities)}")


def _parts(pattern: str) -> tuple[str, str]:
    """`only:omic` as ("only", "omic")."""
    kind, _, what = pattern.partition(":")
    named = kind in ("only", "drop") and what
    if not (named or pattern in ("full", "half") or (kind == "rate" and _is_rate(what))):
        raise SuiteError(
            f"unknown missing-modality pattern {pattern!r}; choices: full, half, only:<modality>, only:*, "
            "drop:<modality>, drop:*, rate:<p> with 0 < p < 1"
        )
    return kind, what


def _single(pattern: str) -> tuple[str, str]:
    kind, what = _parts(pattern)
    if what == "*":
        raise SuiteError(f"missing-modality pattern {pattern!r} stands for several; name one modality")
    return kind, what


def _is_rate(text: str) -> bool:
    try:
        return 0 < float(text) < 1
    except ValueError:
        return False


def make_masks(pattern: str, present: Present, modalities: Sequence[str], draws: int, seed: int) -> list[Mask]:
    """All draws of one expanded pattern (one where nothing is random).

    Raises:
        SuiteError: unknown pattern, or one that stands for several.
    """
    kind, what = _single(pattern)
    if kind == "full":
        return [Mask(pattern, 0, {})]
    if kind in ("only", "drop"):
        hide = frozenset(m for m in modalities if (m != what) == (kind == "only"))
        return [Mask(pattern, 0, {i: hide & set(has) for i, has in present.items() if hide & set(has)})]
    make = _half if kind == "half" else _rate
    masks = []
    for draw in range(draws):
        rng = np.random.default_rng(derive(seed, "mask", pattern, draw, *modalities))
        keep = make(present, rng, float(what) if what else 0.0)
        hidden = {i: frozenset(has) - keep[i] for i, has in present.items() if frozenset(has) - keep[i]}
        masks.append(Mask(pattern, draw, hidden))
    return masks


def _half(present: Present, rng: np.random.Generator, _: float) -> dict[str, set[str]]:
    """Each case keeps exactly one of its modalities; the groups' sizes are as level as what is there allows."""
    ids = sorted(present)
    kept: dict[str, str] = {}
    sizes: Counter[str] = Counter()
    shuffled = [ids[i] for i in rng.permutation(len(ids))]
    # Cases with least choice first, so that the others can level the groups.
    for case in sorted(shuffled, key=lambda i: len(present[i])):
        has = [present[case][j] for j in rng.permutation(len(present[case]))]
        if has:
            kept[case] = min(has, key=sizes.__getitem__)
            sizes[kept[case]] += 1
    while moves := _levelling(kept, present):
        kept |= moves
    return {case: {kept[case]} if case in kept else set() for case in ids}


def _levelling(kept: Mapping[str, str], present: Present) -> dict[str, str]:
    """Moves that take one case from a group to one smaller by two or more, through other groups where need be.

    Where there are none, no other choice is more level (Harvey et al. 2003, semi-matchings).
    """
    sizes = Counter(kept.values())
    for start, size in sizes.most_common():
        reached: dict[str, dict[str, str]] = {start: {}}
        for here in (queue := [start]):
            for case in (c for c, own in kept.items() if own == here):
                for there in (m for m in present[case] if m not in reached):
                    reached[there] = {**reached[here], case: there}
                    queue.append(there)
        smallest = min(reached, key=sizes.__getitem__)
        if size - sizes[smallest] > 1:
            return reached[smallest]
    return {}


def _rate(present: Present, rng: np.random.Generator, rate: float) -> dict[str, set[str]]:
    """Each modality is hidden with probability `rate`; an emptied case gets one back at random."""
    keep: dict[str, set[str]] = {}
    for case in sorted(present):
        has = present[case]
        kept = {m for m, u in zip(has, rng.random(len(has)), strict=True) if u >= rate}
        keep[case] = kept or ({has[rng.integers(len(has))]} if has else set())
    return keep


def realised_rate(mask: Mask, present: Present, modalities: Sequence[str]) -> float:
    """Share of (case, modality) pairs that are hidden or were never there."""
    total = len(present) * len(modalities)
    visible = sum(len(has) - len(mask.hidden.get(i, ())) for i, has in present.items())
    return 1.0 - visible / total if total else float("nan")


def mask_hash(masks: Sequence[Mask]) -> str:
    """sha256 of the masks' content."""
    content = [[m.pattern, m.draw, sorted((i, sorted(h)) for i, h in m.hidden.items())] for m in masks]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
