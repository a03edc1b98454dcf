"""Missing-modality masks: which modalities of which cases a pattern hides, or exchanges between cases.

Masks are made once per fold and modality set and given to every model, so that all rows of a table are tested with the
same missing modalities.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType

import numpy as np

from fusionbench.core.rounding import part_of
from fusionbench.core.seeds import derive
from fusionbench.data.patterns import GIVEN, MNAR, hidden_from_all, parse_single

Present = Mapping[str, tuple[str, ...]]
"""Case id to the modalities it has, in the cell's order."""
Hidden = Mapping[str, frozenset[str]]
"""Case id to hidden modalities; only cases from which something is hidden."""

NOTHING: Hidden = MappingProxyType({})


@dataclass(frozen=True)
class Mask:
    """One draw of a pattern.

    Attributes:
        hidden: what it hides.
        permuted: modality to case id to the id of the case whose modality it gets in place of its own.
    """

    pattern: str
    draw: int
    hidden: Hidden
    permuted: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def make_masks(
    pattern: str,
    present: Present,
    modalities: Sequence[str],
    draws: int,
    seed: int,
    *,
    given: Hidden = NOTHING,
    probed: Collection[str] = (),
) -> list[Mask]:
    """All draws of one expanded pattern; one mask where the pattern is not random.

    Args:
        present: case id to the modalities it has.
        modalities: of the set, in the cell's order.
        draws: masks of a random pattern.
        seed: each draw has a generator of its own, seeded by this, the pattern, its number and the modalities.
        given: what a pattern whose masks are read hides.
        probed: ids of the cases from which `mnar` may hide.

    Raises:
        SuiteError: unknown pattern, or one with `*`.
    """
    kind, name, share = parse_single(pattern)
    if kind == "full":
        return [Mask(pattern, 0, {})]
    if kind in GIVEN:
        hides = {i: given[i].intersection(has) for i, has in present.items() if i in given}
        return [Mask(pattern, 0, {i: hidden for i, hidden in hides.items() if hidden})]
    if kind in ("only", "drop"):
        hide = hidden_from_all(pattern, modalities)
        return [Mask(pattern, 0, {i: hide & set(has) for i, has in present.items() if hide & set(has)})]
    generators = [np.random.default_rng(derive(seed, "mask", pattern, draw, *modalities)) for draw in range(draws)]
    if kind == "shuffle":
        return [Mask(pattern, draw, {}, _shuffle(present, rng, name)) for draw, rng in enumerate(generators)]
    if kind == MNAR:
        chosen = [_by_outcome(present, rng, name, share, probed) for rng in generators]
        return [Mask(pattern, draw, dict.fromkeys(ids, frozenset({name}))) for draw, ids in enumerate(chosen)]
    all_modalities = {i: frozenset(has) for i, has in present.items()}
    masks = []
    for draw, rng in enumerate(generators):
        keep = _keep_half(present, rng) if kind == "half" else _keep_at_rate(present, rng, share)
        hidden = {i: rest for i, has in all_modalities.items() if (rest := has - keep[i])}
        masks.append(Mask(pattern, draw, hidden))
    return masks


def _by_outcome(
    present: Present, rng: np.random.Generator, modality: str, share: float, probed: Collection[str]
) -> list[str]:
    """The share of the probed cases that lose the modality. A case that has nothing else keeps it."""
    cases = [i for i in sorted(present) if i in probed and modality in present[i] and len(present[i]) > 1]
    return [cases[i] for i in rng.permutation(len(cases))[: round(part_of(len(cases), share))]]


def _keep_half(present: Present, rng: np.random.Generator) -> dict[str, set[str]]:
    """Case id to the one modality it keeps: at random, but as many cases for each modality as `present` allows.

    Cases in random order keep, of their modalities, the one that the fewest cases keep so far (ties at random);
    afterwards cases are moved while that makes the numbers more equal.
    """
    ids = sorted(present)  # the order of a mapping must not change what is drawn
    kept: dict[str, str] = {}
    sizes = dict.fromkeys(chain.from_iterable(present.values()), 0)
    shuffled = [ids[i] for i in rng.permutation(len(ids)).tolist()]
    # Cases with the fewest modalities first, so that those with a choice can even out the numbers.
    by_count: dict[int, list[str]] = defaultdict(list)
    for i in shuffled:
        by_count[len(present[i])].append(i)
    for n, same_count in sorted(by_count.items()):
        cases = same_count if n else []
        # A random order of its modalities for each case, in one call for all: ties are broken by it.
        orders = rng.permuted(np.full((len(cases), n), np.arange(n)), axis=1).tolist()
        for case, order in zip(cases, orders, strict=True):
            has = present[case]
            chosen = has[order[0]]
            for j in order[1:]:  # a plain loop: plans make thousands of masks, and `min` with a key takes longer
                if sizes[has[j]] < sizes[chosen]:
                    chosen = has[j]
            kept[case] = chosen
            sizes[chosen] += 1
    # Seldom true; tested here since the search for moves is expensive.
    while max(sizes.values(), default=0) - min(sizes.values(), default=0) > 1:
        if not (moves := _balancing_moves(kept, present)):
            break
        kept |= moves
        sizes = dict.fromkeys(sizes, 0) | Counter(kept.values())
    return {case: {kept[case]} if case in kept else set() for case in ids}


def _balancing_moves(kept: Mapping[str, str], present: Present) -> dict[str, str]:
    """Case id to its new modality, so that one case less keeps a frequent modality and one more a rarer one.

    The two differ by two or more; between them, cases may move along a path of other modalities, whose numbers stay.
    Where there is no such path, no other choice is more balanced (Harvey et al. 2003, semi-matchings).
    """
    sizes = Counter(kept.values())
    modalities = set[str]().union(*present.values())
    if not sizes or max(sizes.values()) - min(sizes[m] for m in modalities) < 2:
        return {}
    for start, size in sizes.most_common():
        # Breadth-first search over modalities; a step is a case that keeps one and could keep the other.
        reached: dict[str, dict[str, str]] = {start: {}}
        for current in (queue := [start]):
            for case in (c for c, own in kept.items() if own == current):
                for other in (m for m in present[case] if m not in reached):
                    reached[other] = {**reached[current], case: other}
                    queue.append(other)
        smallest = min(reached, key=sizes.__getitem__)
        if size - sizes[smallest] > 1:
            return reached[smallest]
    return {}


def _keep_at_rate(present: Present, rng: np.random.Generator, rate: float) -> dict[str, set[str]]:
    """Case id to kept modalities: each is hidden with probability `rate`; a case that lost all gets one back at random.

    So the share of hidden modalities is below `rate`; `realised_rate` computes it.
    """
    keep: dict[str, set[str]] = {}
    for case in sorted(present):  # the order of a mapping must not change what is drawn
        has = present[case]
        kept = {m for m, u in zip(has, rng.random(len(has)), strict=True) if u >= rate}
        keep[case] = kept or ({has[rng.integers(len(has))]} if has else set())
    return keep


def _shuffle(present: Present, rng: np.random.Generator, modality: str) -> dict[str, dict[str, str]]:
    """Modality to case id to the case whose modality it gets: a random cyclic permutation of those that have it.

    Cyclic, so that no case keeps its own; empty where fewer than two cases have the modality.
    """
    cases = [case for case in sorted(present) if modality in present[case]]
    cycle = [cases[i] for i in rng.permutation(len(cases))]
    return {modality: dict(sorted(zip(cycle, [*cycle[1:], *cycle[:1]], strict=True)))} if len(cycle) > 1 else {}


def realised_rate(mask: Mask, present: Present, modalities: Sequence[str]) -> float:
    """Share of (case, modality) pairs that are hidden or were missing before, in [0, 1]; NaN without pairs."""
    total = len(present) * len(modalities)
    visible = sum(len(has) - len(mask.hidden.get(i, ())) for i, has in present.items())
    return 1.0 - visible / total if total else float("nan")


def mask_hash(masks: Sequence[Mask]) -> str:
    """Hexadecimal sha256 of the masks' content; part of a cell's key."""
    return hashlib.sha256(json.dumps([_content(m) for m in masks]).encode()).hexdigest()


def _content(mask: Mask) -> list[object]:
    """A mask as JSON values. An empty permutation is left out: the hash of masks that only hide must not change."""
    as_list = {h: sorted(h) for h in set(mask.hidden.values())}  # many cases share few different sets
    hidden = sorted((i, as_list[h]) for i, h in mask.hidden.items())
    permuted = sorted((name, sorted(source.items())) for name, source in mask.permuted.items())
    return [mask.pattern, mask.draw, hidden, *([permuted] if permuted else [])]
