"""A dataset or model by name with its options, as text and as a value."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fusionbench.core.class_files import FILE_NAME, written
from fusionbench.core.errors import SuiteError

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_REF = re.compile(rf"\s*(?P<name>(?:{_NAME}:)?{_NAME}|{FILE_NAME})\s*(?:\[(?P<options>.*)\])?\s*", re.DOTALL)
_KEY = re.compile(r"[\w.-]+")
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\'[^\']*\'|[\[\]{}(),"\']', re.DOTALL)


@dataclass(frozen=True, order=True)
class PluginRef:
    """A dataset or model by name with its options, written `name[key=value,...]`.

    Attributes:
        name: with its distribution, `distribution:name`, where two distributions bring the same name; of a class that
            is in no package `path.py:Class`.
        folder: where relative paths among the options begin; empty = the working directory. No part of the text.
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()
    folder: str = ""

    @classmethod
    def parse(cls, text: str) -> PluginRef:
        """Read `mcat[fusion=bilinear,groups=1]`; a value is TOML, or a plain string.

        Raises:
            SuiteError: if the brackets or an option are malformed, or an option is given twice.
        """
        match = _REF.fullmatch(text)
        if match is None:
            raise SuiteError(f"cannot read {text!r}: write name or name[option=value,...]")
        options: dict[str, Any] = {}
        for part in _split_options(match["options"] or ""):
            key, sep, value = part.partition("=")
            key = key.strip()
            if not sep or not _KEY.fullmatch(key) or not value.strip():
                raise SuiteError(f"cannot read option {part.strip()!r} of {text!r}: write option=value")
            if key in options:
                raise SuiteError(f"option {key!r} is given twice in {text!r}")
            options[key] = _toml_value(value.strip())
        return cls(written(match["name"]), _frozen(options))

    @classmethod
    def of(cls, name: str, **options: Any) -> PluginRef:
        """The reference `name[key=value,...]` from Python values."""
        return cls(name, _frozen(options))

    def with_options(self, options: Mapping[str, Any]) -> PluginRef:
        """The same plugin with `options` laid over its own."""
        return PluginRef(self.name, _frozen({**dict(self.options), **options}), self.folder)

    def __str__(self) -> str:
        return self._written

    @cached_property
    def _written(self) -> str:
        if not self.options:
            return self.name
        return f"{self.name}[{','.join(f'{k}={_option_text(v)}' for k, v in self.options)}]"


def _split_options(text: str) -> list[str]:
    """Split at commas that stand outside quotes and brackets."""
    parts, depth, start = [], 0, 0
    for token in _TOKEN.finditer(text):
        depth += (token[0] in "[{(") - (token[0] in "]})")
        if token[0] in "\"'" or depth < 0:
            raise SuiteError(f"quotes or brackets do not match in {text!r}; quote a text that holds one")
        if token[0] == "," and depth == 0:
            parts.append(text[start : token.start()])
            start = token.end()
    if depth:
        raise SuiteError(f"quotes or brackets do not match in {text!r}; quote a text that holds one")
    parts.append(text[start:])
    return [p for p in parts if p.strip()]


def _toml_value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        if text[0] in "\"'[{":
            raise SuiteError(f"cannot read the value {text!r}: it is neither TOML nor a plain text") from None
        return text
    if set(parsed) != {"value"}:
        raise SuiteError(f"cannot read the value {text!r}: separate options by commas")
    return _hashable(parsed["value"])


def _frozen(options: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((key, _hashable(value)) for key, value in sorted(options.items()))


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        raise SuiteError(f"an option's value cannot be a table (got {dict(value)!r})")
    return tuple(_hashable(v) for v in value) if isinstance(value, (list, tuple)) else value


def _option_text(value: Any) -> str:
    """The shortest text that `parse` reads back as `value`: quotes only where a plain text would say something else."""
    return value if isinstance(value, str) and _is_plain(value) else _toml_text(value)


def _is_plain(text: str) -> bool:
    try:
        alone = _split_options(text) == [text] and text == text.strip() and text.isprintable()
        return alone and bool(_toml_value(text) == text)
    except SuiteError:
        return False


def _toml_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ",".join(_toml_text(v) for v in value) + "]"
    if isinstance(value, str):  # JSON's escapes are TOML's, but for DEL
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)
