"""What differs between the inputs of two results, one line an input: old -> new."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_LONGEST = 40
_DIGITS = 12
_INPUT_NAMES = {
    "results_version": "RESULTS_VERSION of fusionbench",
    "dataset.version": "version of the dataset's plugin",
    "dataset.fingerprint": "data checksum",
    "dataset.identity": "name and options of the cohort",
    "dataset.written": "dataset as written",
    "model.version": "version of the model's plugin",
    "patterns": "test patterns",
    "tau": "horizon in months",
    "split": "split (hash)",
    "masks": "masks of the test fold (hash)",
    "train_masks": "masks of training, as read (hash)",
    "masked_over": "modalities over which the training mask is drawn",
}
_SECTIONS = {"recipe": "train", "model.options": "option", "protocol": "protocol"}
_ABSENT = object()


@dataclass(frozen=True)
class Change:
    """One input that differs; `old` and `new` as they are shown."""

    what: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.what}: {self.old} -> {self.new}"


def diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Change, ...]:
    """The inputs that differ between two cells' ingredients, in the order of the new ones."""
    return tuple(_changes(old, new, ""))


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], inside: str) -> Iterator[Change]:
    for key in dict.fromkeys([*new, *old]):
        before, after = old.get(key, _ABSENT), new.get(key, _ABSENT)
        path = f"{inside}.{key}" if inside else key
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _changes(before, after, path)
        elif _plain(before) != _plain(after):
            yield Change(_named(path), shown(before), shown(after))


def _named(path: str) -> str:
    if path in _INPUT_NAMES:
        return _INPUT_NAMES[path]
    section, _, key = path.rpartition(".")
    if section in _SECTIONS:
        return f"option {key}" if section == "model.options" else f"{_SECTIONS[section]}.{key}"
    parts = path.split(".")
    if parts[0] == "modalities" and len(parts) > 2:
        last = parts[-1]
        what = {"version": "version of the reader", "kind": "reader"}.get(last, f"option {last} of the reader")
        return f"{what} of modality {parts[1]}"
    return path


def _plain(value: Any) -> Any:
    """As JSON gives it back: tuples are lists."""
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def shown(value: Any) -> str:
    """A value in a few letters; of a hash its first digits."""
    if value is _ABSENT:
        return "nothing"
    if isinstance(value, str) and len(value) in (20, 64) and all(c in "0123456789abcdef" for c in value):
        return value[:_DIGITS]
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    text = ", ".join(map(shown, value)) if listed else str(value)
    text = text or "nothing"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
