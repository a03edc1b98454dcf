"""Missing-modality masks as data: pattern x seed -> which modalities of which cases are hidden, or whose they get.

Made once per fold and modality set and given to every model, so that two rows of a table saw the same absences.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from fusionbench.core.errors import SuiteError, did_you_mean
from fusionbench.core.seeds import derive

Present = Mapping[str, tuple[str, ...]]
"""Case id to the modalities it has, in the cell's order."""


@dataclass(frozen=True)
class Mask:
    """One draw of a pattern.

    Attributes:
        hidden: case id to hidden modalities (only cases from which something is hidden).
        permuted: modality to case id to the case whose modality it gets in place of its own.
    """

    pattern: str
    draw: int
    hidden: Mapping[str, frozenset[str]]
    permuted: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


NAMED = ("only", "drop", "shuffle")
"""Patterns that name a modality."""


def expand_patterns(patterns: Sequence[str], modalities: Sequence[str]) -> tuple[str, ...]:
    """`only:*`, `drop:*` and `shuffle:*` for every modality of the set; with one modality only `full` says anything.

    Raises:
        SuiteError: unknown pattern or rate out of (0, 1).
    """
    expanded: list[str] = []
    for pattern in patterns:
        kind, what = _parts(pattern)
        if what == "*":
            expanded += [f"{kind}:{name}" for name in modalities]
        elif kind not in NAMED or what in modalities:
            expanded.append(pattern)
    if len(modalities) < 2:
        return ("full",)
    return tuple(dict.fromkeys(["full", *expanded]))


def check_pattern(pattern: str, modalities: Sequence[str], *, single: bool = False) -> None:
    """Refuse a pattern that says nothing about any of a suite's modalities.

    Args:
        single: refuse what stands for several, and `shuffle`: training has one pattern and shows cases as they are.

    Raises:
        SuiteError: unknown pattern, rate out of (0, 1), unknown modality.
    """
    kind, what = _single(pattern) if single else _parts(pattern)
    if single and kind == "shuffle":
        raise SuiteError(f"pattern {pattern!r} is for test cases; training takes full, half, only, drop or rate")
    if kind in NAMED and what not in ("*", *modalities):
        raise SuiteError(f"missing-modality pattern {pattern!r}: {did_you_mean('modality', what, modalities)}")


def _parts(pattern: str) -> tuple[str, str]:
    """`only:omic` as ("only", "omic")."""
    kind, _, what = pattern.partition(":")
    named = kind in NAMED and what
    if not (named or pattern in ("full", "half") or (kind == "rate" and _is_rate(what))):
        raise SuiteError(
            f"unknown missing-modality pattern {pattern!r}; choices: full, half, only:<modality>, only:*, "
            "drop:<modality>, drop:*, shuffle:<modality>, shuffle:*, rate:<p> with 0 < p < 1"
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
        hide = hidden_from_all(pattern, modalities)
        return [Mask(pattern, 0, {i: hide & set(has) for i, has in present.items() if hide & set(has)})]
    chances = [np.random.default_rng(derive(seed, "mask", pattern, draw, *modalities)) for draw in range(draws)]
    if kind == "shuffle":
        return [Mask(pattern, draw, {}, _shuffled(present, rng, what)) for draw, rng in enumerate(chances)]
    make = _half if kind == "half" else _rate
    everything = {i: frozenset(has) for i, has in present.items()}
    masks = []
    for draw, rng in enumerate(chances):
        keep = make(present, rng, float(what) if what else 0.0)
        hidden = {i: rest for i, has in everything.items() if (rest := has - keep[i])}
        masks.append(Mask(pattern, draw, hidden))
    return masks


def hidden_from_all(pattern: str, modalities: Sequence[str]) -> frozenset[str]:
    """The modalities of a set that a pattern shows of no case."""
    kind, what = _parts(pattern)
    return frozenset(m for m in modalities if kind in ("only", "drop") and (m != what) == (kind == "only"))


def _half(present: Present, rng: np.random.Generator, _: float) -> dict[str, set[str]]:
    """Each case keeps exactly one of its modalities; the groups' sizes are as level as what is there allows."""
    ids = sorted(present)
    kept: dict[str, str] = {}
    sizes = dict.fromkeys(chain.from_iterable(present.values()), 0)
    shuffled = [ids[i] for i in rng.permutation(len(ids)).tolist()]
    # Cases with least choice first, so that the others can level the groups.
    of_width: dict[int, list[str]] = defaultdict(list)
    for i in shuffled:
        of_width[len(present[i])].append(i)
    for n, alike in sorted(of_width.items()):
        cases = alike if n else []
        orders = rng.permuted(np.full((len(cases), n), np.arange(n)), axis=1).tolist()  # of each case's modalities
        for case, order in zip(cases, orders, strict=True):
            has = present[case]
            chosen = has[order[0]]
            for j in order[1:]:  # the first of the smallest groups; plain, since plans make thousands of masks
                if sizes[has[j]] < sizes[chosen]:
                    chosen = has[j]
            kept[case] = chosen
            sizes[chosen] += 1
    while max(sizes.values(), default=0) - min(sizes.values(), default=0) > 1:  # seldom, and looking for moves is dear
        if not (moves := _levelling(kept, present)):
            break
        kept |= moves
        sizes = dict.fromkeys(sizes, 0) | Counter(kept.values())
    return {case: {kept[case]} if case in kept else set() for case in ids}


def _levelling(kept: Mapping[str, str], present: Present) -> dict[str, str]:
    """Moves that take one case from a group to one smaller by two or more, through other groups where need be.

    Where there are none, no other choice is more level (Harvey et al. 2003, semi-matchings).
    """
    sizes = Counter(kept.values())
    everything = set[str]().union(*present.values())
    if not sizes or max(sizes.values()) - min(sizes[m] for m in everything) < 2:
        return {}
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


def _shuffled(present: Present, rng: np.random.Generator, what: str) -> dict[str, dict[str, str]]:
    """Those that have the modality, in a ring of random order: each gets the next one's, nobody keeps their own."""
    having = [case for case in sorted(present) if what in present[case]]
    ring = [having[i] for i in rng.permutation(len(having))]
    return {what: dict(sorted(zip(ring, [*ring[1:], *ring[:1]], strict=True)))} if len(ring) > 1 else {}


def realised_rate(mask: Mask, present: Present, modalities: Sequence[str]) -> float:
    """Share of (case, modality) pairs that are hidden or were never there."""
    total = len(present) * len(modalities)
    visible = sum(len(has) - len(mask.hidden.get(i, ())) for i, has in present.items())
    return 1.0 - visible / total if total else float("nan")


def mask_hash(masks: Sequence[Mask]) -> str:
    """sha256 of the masks' content."""
    return hashlib.sha256(json.dumps([_content(m) for m in masks]).encode()).hexdigest()


def _content(mask: Mask) -> list[object]:
    """As JSON values; what nobody is lent is left out, so that masks that only hide are called as ever."""
    named = {h: sorted(h) for h in set(mask.hidden.values())}  # a few different ones, of many cases
    hidden = sorted((i, named[h]) for i, h in mask.hidden.items())
    lent = sorted((name, sorted(of.items())) for name, of in mask.permuted.items())
    return [mask.pattern, mask.draw, hidden, *([lent] if lent else [])]
