"""Whatever is there: masks hide what is there, leave every case something, and do not depend on the order of cases."""

from __future__ import annotations

from collections import Counter
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from fusionbench import Case, CaseSet, ModalitySpec, PreparedCase
from fusionbench.data.masks import Mask, make_masks, mask_hash, realised_rate

NAMES = ("a", "b", "c", "d")
Present = dict[str, tuple[str, ...]]

subsets = st.sets(st.sampled_from(NAMES)).map(lambda chosen: tuple(n for n in NAMES if n in chosen))


def cohorts(largest: int) -> st.SearchStrategy[Present]:
    return st.dictionaries(st.text("pqrs", min_size=1, max_size=4), subsets, max_size=largest)


random_patterns = st.sampled_from(["half", "rate:.25", "rate:.5", "rate:.75", "rate:.99"])
patterns = random_patterns | st.sampled_from(["full", "only:a", "drop:b", "shuffle:a"])
seeds = st.integers(0, 2**63 - 1)


def visible(mask: Mask, present: Present) -> dict[str, set[str]]:
    return {case: set(has) - mask.hidden.get(case, frozenset()) for case, has in present.items()}


@given(patterns, cohorts(20), seeds)
def test_only_what_is_there_is_hidden(pattern: str, present: Present, seed: int) -> None:
    for mask in make_masks(pattern, present, NAMES, 2, seed):
        assert all(hidden and hidden <= set(present[case]) for case, hidden in mask.hidden.items())
        if present:
            seen = sum(map(len, visible(mask, present).values()))
            assert abs(realised_rate(mask, present, NAMES) - (1 - seen / (len(present) * len(NAMES)))) < 1e-12


@given(random_patterns, cohorts(20), seeds)
def test_no_random_pattern_empties_a_case(pattern: str, present: Present, seed: int) -> None:
    for mask in make_masks(pattern, present, NAMES, 3, seed):
        assert all(seen or not present[case] for case, seen in visible(mask, present).items())


@given(cohorts(20), seeds)
def test_half_keeps_exactly_one(present: Present, seed: int) -> None:
    for mask in make_masks("half", present, NAMES, 3, seed):
        assert all(len(seen) == min(1, len(present[case])) for case, seen in visible(mask, present).items())


@given(st.integers(1, 60), st.integers(1, 4), seeds)
def test_half_is_balanced_to_one_where_all_is_there(n: int, width: int, seed: int) -> None:
    present = {f"case{i}": NAMES[:width] for i in range(n)}
    for mask in make_masks("half", present, NAMES[:width], 3, seed):
        sizes = Counter(dict.fromkeys(NAMES[:width], 0))
        sizes.update(m for seen in visible(mask, present).values() for m in seen)
        assert max(sizes.values()) - min(sizes.values()) <= 1


@given(cohorts(6), seeds)
def test_no_choice_is_more_level_than_half(present: Present, seed: int) -> None:
    """Against all choices there are, by the sum of squared group sizes."""

    def unevenness(kept: tuple[str, ...]) -> int:
        return sum(n * n for n in Counter(kept).values())

    least = min(map(unevenness, product(*[has for has in present.values() if has])))
    (mask,) = make_masks("half", present, NAMES, 1, seed)
    assert unevenness(tuple(m for seen in visible(mask, present).values() for m in seen)) == least


@given(patterns, cohorts(20), seeds, st.randoms(use_true_random=False))
def test_the_order_of_cases_does_not_matter(pattern: str, present: Present, seed: int, random: object) -> None:
    order = list(present)
    random.shuffle(order)  # type: ignore[attr-defined]
    masks = make_masks(pattern, present, NAMES, 2, seed)
    again = make_masks(pattern, {case: present[case] for case in order}, NAMES, 2, seed)
    assert again == masks
    assert mask_hash(again) == mask_hash(masks)


@given(cohorts(20), seeds, st.sampled_from(NAMES))
def test_a_shuffle_is_a_permutation_among_those_that_have_it(present: Present, seed: int, name: str) -> None:
    having = {case for case, has in present.items() if name in has}
    for mask in make_masks(f"shuffle:{name}", present, NAMES, 3, seed):
        permuted = mask.permuted.get(name, {})
        assert mask.permuted.keys() <= {name}
        assert set(permuted) == set(permuted.values()) == (having if len(having) > 1 else set())
        assert all(case != whose for case, whose in permuted.items())


@given(cohorts(12), seeds)
def test_a_shuffle_leaves_the_other_modalities_and_ids_alone(present: Present, seed: int) -> None:
    cases = tuple(Case(i, i, None, {m: f"{m} of {i}" for m in has}) for i, has in present.items())
    specs = {m: ModalitySpec(m, "vector", 1) for m in NAMES}
    own = CaseSet(cases, specs, None, lambda case, visible: PreparedCase(case.id, {}))
    for mask in make_masks("shuffle:b", present, NAMES, 2, seed):
        shown = own.permuted(mask.permuted)
        assert shown.ids == own.ids
        assert sorted(map(str, (c.refs.get("b") for c in shown.cases))) == sorted(
            map(str, (c.refs.get("b") for c in own.cases))
        )
        for before, after in zip(own.cases, shown.cases, strict=True):
            assert {m: r for m, r in after.refs.items() if m != "b"} == {
                m: r for m, r in before.refs.items() if m != "b"
            }
            assert list(after.refs) == list(before.refs)
