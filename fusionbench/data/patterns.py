"""Missing-modality patterns as a suite writes them: which there are, and which of them a row has."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePath
from types import MappingProxyType
from typing import NamedTuple

from fusionbench.core.errors import SuiteError, did_you_mean

STARRED = ("only", "drop", "shuffle")
"""Kinds of patterns of one modality, or with `*` of each."""
MNAR, FILE, PUBLISHED = "mnar", "file", "published"
NAMED = (*STARRED, MNAR)
"""Kinds of patterns that name a modality."""
GIVEN = (FILE, PUBLISHED)
"""Kinds of patterns whose masks are read, not made."""


class Pattern(NamedTuple):
    """A pattern in its parts.

    Attributes:
        name: the modality of a kind that names one; the path of `file`; the name of `published` masks.
        share: of `rate` and `mnar`, in (0, 1).
    """

    kind: str
    name: str = ""
    share: float = 0.0


def parse_pattern(pattern: str) -> Pattern:
    """A pattern in its parts.

    Raises:
        SuiteError: unknown pattern, or a share out of (0, 1).
    """
    kind, _, argument = pattern.partition(":")
    modality, _, share = argument.rpartition(":")
    if pattern in ("full", "half"):
        return Pattern(pattern)
    if kind in (*STARRED, PUBLISHED) and argument:
        return Pattern(kind, argument)
    if kind == FILE and PurePath(argument).name:
        return Pattern(kind, argument)
    if kind == "rate" and _is_share(argument):
        return Pattern(kind, share=float(argument))
    if kind == MNAR and modality and _is_share(share):
        return Pattern(kind, modality, float(share))
    raise SuiteError(
        f"unknown missing-modality pattern {pattern!r}; choices: full, half, only:<modality>, only:*, "
        "drop:<modality>, drop:*, shuffle:<modality>, shuffle:*, rate:<p> with 0 < p < 1, mnar:<modality>:<share> with "
        "0 < share < 1, file:<path of a CSV>, published:<masks of the dataset>"
    )


def parse_single(pattern: str) -> Pattern:
    """A pattern that stands for one only.

    Raises:
        SuiteError: as `parse_pattern`, or it has a `*`.
    """
    parsed = parse_pattern(pattern)
    if parsed.kind in STARRED and parsed.name == "*":
        raise SuiteError(f"missing-modality pattern {pattern!r} stands for several; name one modality")
    return parsed


def _is_share(text: str) -> bool:
    try:
        return 0 < float(text) < 1
    except ValueError:
        return False


def shown_pattern(pattern: str) -> str:
    """A pattern as results have it: `file:masks.csv` of `file:../study/masks.csv`, since no path is part of a key."""
    kind, name, _ = parse_pattern(pattern)
    return f"{FILE}:{PurePath(name).name}" if kind == FILE else pattern


def check_pattern(pattern: str, modalities: Sequence[str], *, single: bool = False) -> None:
    """Refuse a pattern that is malformed or names none of a suite's modalities.

    Args:
        single: of training, which has one pattern and shows cases their own modalities: no `*`, and no `shuffle`.
            Otherwise of test cases, for which no masks are published.

    Raises:
        SuiteError: unknown pattern, share out of (0, 1), unknown modality.
    """
    kind, name, _ = parse_single(pattern) if single else parse_pattern(pattern)
    if single and kind == "shuffle":
        raise SuiteError(f"pattern {pattern!r} is for test cases; training takes every other kind of pattern")
    if kind == PUBLISHED and not single:
        raise SuiteError(f"pattern {pattern!r}: published masks are of training cases; name them as train_pattern")
    if kind in NAMED and not (name in modalities or (kind in STARRED and name == "*")):
        raise SuiteError(f"missing-modality pattern {pattern!r}: {did_you_mean('modality', name, modalities)}")


def expand_patterns(
    patterns: Sequence[str], modalities: Sequence[str], given: Mapping[str, Collection[str]] = MappingProxyType({})
) -> tuple[str, ...]:
    """Patterns with `*` written out for every modality of the set; only `full` where the set has one modality.

    A pattern that hides only what the set does not have is left out.

    Args:
        given: a pattern whose masks are read, to the modalities that they hide.

    Raises:
        SuiteError: unknown pattern, or a share out of (0, 1).
    """
    expanded: list[str] = []
    for pattern in patterns:
        kind, name, _ = parse_pattern(pattern)
        if kind in STARRED and name == "*":
            expanded += [f"{kind}:{modality}" for modality in modalities]
            continue
        hides = given.get(pattern, ()) if kind in GIVEN else (name,) if kind in NAMED else modalities
        if any(modality in modalities for modality in hides):
            expanded.append(pattern)
    if len(modalities) < 2:
        return ("full",)
    return tuple(dict.fromkeys(["full", *expanded]))


def hidden_from_all(pattern: str, modalities: Sequence[str]) -> frozenset[str]:
    """The modalities of a set that a pattern hides from every case."""
    kind, name, _ = parse_pattern(pattern)
    return frozenset(m for m in modalities if kind in ("only", "drop") and (m != name) == (kind == "only"))
