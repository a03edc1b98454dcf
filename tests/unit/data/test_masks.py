"""Missing-modality masks: what each pattern hides, and what a pattern may be called."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest

from fusionbench import SuiteError
from fusionbench.data.masks import Mask, make_masks, mask_hash, realised_rate
from fusionbench.data.patterns import check_pattern, expand_patterns, hidden_from_all, shown_pattern

NAMES = ("clinical", "omic", "image")
PRESENT = {
    "all": NAMES,
    "two": ("clinical", "image"),
    "one": ("omic",),
    "none": (),
}


def visible(mask: Mask, present: Mapping[str, tuple[str, ...]]) -> dict[str, set[str]]:
    return {case: set(has) - mask.hidden.get(case, frozenset()) for case, has in present.items()}


def many(n: int, modalities: tuple[str, ...] = NAMES) -> dict[str, tuple[str, ...]]:
    return {f"case{i:04d}": modalities for i in range(n)}


def test_stars_stand_for_every_modality_of_the_row() -> None:
    patterns = ["half", "only:*", "drop:omic", "drop:*", "half", "rate:.25", "shuffle:*"]
    assert expand_patterns(patterns, ("clinical", "omic")) == (
        "full",
        "half",
        "only:clinical",
        "only:omic",
        "drop:omic",
        "drop:clinical",
        "rate:.25",
        "shuffle:clinical",
        "shuffle:omic",
    )


def test_full_is_always_there_and_all_there_is_with_one_modality() -> None:
    assert expand_patterns([], NAMES) == ("full",)
    assert expand_patterns(["half", "only:*", "rate:0.5", "shuffle:*"], ("omic",)) == ("full",)


def test_a_pattern_of_another_rows_modality_is_left_out() -> None:
    assert expand_patterns(["only:image", "drop:image", "shuffle:image"], ("clinical", "omic")) == ("full",)


def test_masks_that_are_read_are_of_the_rows_that_have_a_modality_of_theirs() -> None:
    given = {"file:m.csv": {"omic"}, "file:none.csv": set[str]()}
    patterns = ["file:m.csv", "file:none.csv", "mnar:image:0.5"]
    assert expand_patterns(patterns, ("clinical", "omic"), given) == ("full", "file:m.csv")
    assert expand_patterns(patterns, ("clinical", "image"), given) == ("full", "mnar:image:0.5")
    assert expand_patterns(patterns, ("omic",), given) == ("full",)


def test_a_file_is_shown_without_its_folder() -> None:
    assert shown_pattern("file:../study/masks.csv") == "file:masks.csv" == shown_pattern("file:masks.csv")
    assert shown_pattern("mnar:a/b:0.5") == "mnar:a/b:0.5"


def test_masks_that_are_read_hide_what_is_there() -> None:
    given = {"two": frozenset({"clinical", "omic"}), "all": frozenset({"image"}), "none": frozenset({"omic"})}
    (mask,) = make_masks("file:m.csv", PRESENT, NAMES, 10, 0, given=given)
    assert mask.hidden == {"two": {"clinical"}, "all": {"image"}}


def test_mnar_hides_a_share_of_the_probed_cases() -> None:
    present = {**many(30), "nothing else": ("image",), "without": ("clinical",)}
    probed = {f"case{i:04d}" for i in range(0, 30, 2)} | {"nothing else", "without"}
    masks = make_masks("mnar:image:0.4", present, NAMES, 3, 0, probed=probed)
    for mask in masks:
        assert set(mask.hidden) <= probed - {"nothing else", "without"}
        assert len(mask.hidden) == 6
        assert set(mask.hidden.values()) == {frozenset({"image"})}
    assert len({mask_hash([Mask("m", 0, mask.hidden)]) for mask in masks}) == 3


BAD = [
    "",
    "none",
    "Half",
    "half:2",
    "full:x",
    "only",
    "only:",
    "drop",
    "shuffle",
    "shuffle:",
    "rate",
    "rate:0",
    "rate:1",
    "rate:nan",
    "rate:x",
    "mnar",
    "mnar:omic",
    "mnar:omic:1",
    "mnar:omic:0",
    "mnar::0.5",
    "file",
    "file:",
    "file:/",
    "published:",
]


@pytest.mark.parametrize("pattern", BAD)
def test_an_unknown_pattern_is_refused_wherever_it_turns_up(pattern: str) -> None:
    """Also with one modality, and also for training, where nothing expands it."""
    with pytest.raises(SuiteError, match=r"unknown missing-modality pattern .* choices: full, half"):
        expand_patterns([pattern], ("omic",))
    with pytest.raises(SuiteError, match="unknown missing-modality pattern"):
        make_masks(pattern, PRESENT, NAMES, 1, 0)
    with pytest.raises(SuiteError, match="unknown missing-modality pattern"):
        check_pattern(pattern, NAMES)


def test_a_pattern_of_a_modality_that_no_row_has_is_refused() -> None:
    check_pattern("only:omic", NAMES)
    check_pattern("drop:*", NAMES)
    with pytest.raises(SuiteError, match="'only:omci': unknown modality 'omci'; did you mean 'omic'"):
        check_pattern("only:omci", NAMES)
    with pytest.raises(SuiteError, match=r"'mnar:\*:0.5': unknown modality '\*'"):
        check_pattern("mnar:*:0.5", NAMES)


def test_published_masks_are_of_training_cases() -> None:
    check_pattern("published:W40_O20", NAMES, single=True)
    with pytest.raises(SuiteError, match="published masks are of training cases; name them as train_pattern"):
        check_pattern("published:W40_O20", NAMES)


def test_training_takes_one_pattern() -> None:
    with pytest.raises(SuiteError, match="stands for several"):
        check_pattern("only:*", NAMES, single=True)
    with pytest.raises(SuiteError, match="stands for several"):
        make_masks("drop:*", PRESENT, NAMES, 1, 0)


@pytest.mark.parametrize(
    ("pattern", "seen"),
    [
        ("full", PRESENT),
        ("only:omic", {"all": {"omic"}, "two": set(), "one": {"omic"}, "none": set()}),
        ("drop:omic", {"all": {"clinical", "image"}, "two": {"clinical", "image"}, "one": set(), "none": set()}),
    ],
)
def test_patterns_without_chance_have_one_mask(pattern: str, seen: dict[str, tuple[str, ...]]) -> None:
    (mask,) = make_masks(pattern, PRESENT, NAMES, 10, 0)
    assert visible(mask, PRESENT) == {case: set(has) for case, has in seen.items()}
    assert all(mask.hidden.values()), "a case from which nothing is hidden is no key"


def test_half_keeps_one_modality_of_each_case_in_groups_of_one_size() -> None:
    present = many(100)
    for mask in make_masks("half", present, NAMES, 10, 0):
        groups = Counter(m for kept in visible(mask, present).values() for m in kept)
        assert sorted(groups.values()) == [33, 33, 34]


def test_half_levels_through_other_groups() -> None:
    """b and c can only be levelled with a by handing cases on: a has room, but no case of c has a."""
    present = {**{f"x{i}": ("a", "b") for i in range(9)}, **{f"y{i}": ("b", "c") for i in range(9)}}
    for mask in make_masks("half", present, ("a", "b", "c"), 10, 0):
        groups = Counter(m for kept in visible(mask, present).values() for m in kept)
        assert groups == {"a": 6, "b": 6, "c": 6}


def test_half_is_fair() -> None:
    """Over masks, each modality is kept as often as any other: 300 draws of 1/3, within four standard errors."""
    present = many(7)
    kept = Counter(
        (case, m)
        for mask in make_masks("half", present, NAMES, 300, 0)
        for case, seen in visible(mask, present).items()
        for m in seen
    )
    shares = np.array([kept[case, m] / 300 for case in present for m in NAMES])
    assert np.abs(shares - 1 / 3).max() < 4 * np.sqrt(2 / 9 / 300)


def test_rate_hides_that_share_and_empties_no_case() -> None:
    present = many(2000)
    (mask,) = make_masks("rate:.5", present, NAMES, 1, 0)
    seen = visible(mask, present)
    assert min(map(len, seen.values())) == 1
    # (1/8) of the cases is emptied and gets one back: 1/2 - 1/24 are hidden.
    assert realised_rate(mask, present, NAMES) == pytest.approx(1 / 2 - 1 / 24, abs=0.02)
    assert Counter(len(s) for s in seen.values())[3] == pytest.approx(250, abs=60)


def test_a_lower_rate_hides_less() -> None:
    present = many(2000)
    (mask,) = make_masks("rate:.25", present, NAMES, 1, 0)
    assert realised_rate(mask, present, NAMES) == pytest.approx(1 / 4 - 1 / 192, abs=0.02)


def test_the_emptied_get_any_modality_back() -> None:
    present = many(600)
    (mask,) = make_masks("rate:.99", present, NAMES, 1, 0)
    groups = Counter(m for kept in visible(mask, present).values() for m in kept)
    assert min(groups.values()) > 150


def test_draws_differ_and_seeds_too() -> None:
    masks = make_masks("half", many(30), NAMES, 3, 0)
    assert [m.draw for m in masks] == [0, 1, 2]
    assert len({mask_hash([Mask("half", 0, m.hidden)]) for m in masks}) == 3
    assert make_masks("half", many(30), NAMES, 3, 1) != masks
    assert make_masks("half", many(30), NAMES, 2, 0) == masks[:2], "asking for more draws leaves the first ones alone"


def test_realised_rate_counts_what_was_never_there() -> None:
    (full,) = make_masks("full", PRESENT, NAMES, 1, 0)
    assert realised_rate(full, PRESENT, NAMES) == pytest.approx(1 - 6 / 12)
    (only,) = make_masks("only:omic", PRESENT, NAMES, 1, 0)
    assert realised_rate(only, PRESENT, NAMES) == pytest.approx(1 - 2 / 12)


def test_the_hash_is_of_the_content() -> None:
    one = Mask("half", 0, {"a": frozenset({"x", "y"}), "b": frozenset({"x"})})
    same = Mask("half", 0, {"b": frozenset({"x"}), "a": frozenset({"y", "x"})})
    assert mask_hash([one]) == mask_hash([same])
    assert mask_hash([one]) != mask_hash([Mask("half", 1, one.hidden)])
    assert mask_hash([one]) != mask_hash([Mask("half", 0, {"a": frozenset({"x"}), "b": frozenset({"x"})})])


def test_training_is_not_shuffled() -> None:
    check_pattern("shuffle:omic", NAMES)
    with pytest.raises(SuiteError, match="'shuffle:omic' is for test cases; training takes every other kind"):
        check_pattern("shuffle:omic", NAMES, single=True)


@pytest.mark.parametrize(
    ("pattern", "hidden"),
    [("only:omic", {"clinical", "image"}), ("drop:omic", {"omic"}), ("rate:.5", set()), ("shuffle:omic", set())],
)
def test_what_a_pattern_hides_from_everybody(pattern: str, hidden: set[str]) -> None:
    assert hidden_from_all(pattern, NAMES) == hidden


def test_a_shuffle_hides_nothing_and_gives_everybody_another_ones() -> None:
    present = many(50) | {"without": ("clinical",)}
    for mask in make_masks("shuffle:omic", present, NAMES, 10, 0):
        assert mask.hidden == {}
        ((name, permuted),) = mask.permuted.items()
        assert name == "omic"
        assert sorted(permuted) == sorted(permuted.values()) == sorted(many(50))
        assert all(case != whose for case, whose in permuted.items())
    full = make_masks("full", present, NAMES, 1, 0)[0]
    assert realised_rate(mask, present, NAMES) == realised_rate(full, present, NAMES)


def test_a_shuffle_gives_any_other_ones_equally_often() -> None:
    """Over 600 draws of one of 4 others, within four standard errors."""
    masks = make_masks("shuffle:omic", many(5), NAMES, 600, 0)
    counts = Counter((case, whose) for mask in masks for case, whose in mask.permuted["omic"].items())
    assert len(counts) == 20
    assert np.abs(np.array(list(counts.values())) / 600 - 1 / 4).max() < 4 * np.sqrt(3 / 16 / 600)


def test_one_case_with_a_modality_has_nobody_to_swap_with() -> None:
    (mask,) = make_masks("shuffle:image", {"a": NAMES, "b": ("omic",)}, NAMES, 1, 0)
    assert mask.permuted == {}


def test_a_hash_knows_whose_modality_was_shown() -> None:
    plain = Mask("shuffle:a", 0, {})
    one, other = (Mask("shuffle:a", 0, {}, {"a": of}) for of in ({"p": "q", "q": "p"}, {"p": "q", "q": "r", "r": "p"}))
    assert len({mask_hash([plain]), mask_hash([one]), mask_hash([other])}) == 3
    assert mask_hash([one]) == mask_hash([Mask("shuffle:a", 0, {}, {"a": {"q": "p", "p": "q"}})])


def test_hashes_of_masks_that_only_hide_stay_what_they_were() -> None:
    """Keys of cells that are on disk rest on it."""
    content = [["half", 0, [["a", ["x", "y"]], ["b", ["x"]]]]]
    masks = [Mask("half", 0, {"b": frozenset({"x"}), "a": frozenset({"y", "x"})})]
    assert mask_hash(masks) == hashlib.sha256(json.dumps(content).encode()).hexdigest()
