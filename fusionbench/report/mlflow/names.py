"""Names and values as MLflow servers take them."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

PARAM_LENGTH, TAG_LENGTH, NAME_LENGTH = 500, 5000, 250
"""What MLflow servers of the last major versions take, the smallest of them."""

DATASET_DIGEST = 12
"""Characters of a cohort's fingerprint: MLflow takes 36, its page shows them after the name."""

PATTERN = "external:"
"""Before the external cohort's name, in place of a missing-modality pattern of the test folds."""


def legal(name: str) -> str:
    """`name` as MLflow takes it on every system: `only:omic` becomes `only-omic`.

    Any further change adds a hash at the end, so that different names stay different.
    """
    dashed = name.replace(":", "-")
    clean = "/".join(
        p for p in re.sub(r"[^\w.\- /]", "_", dashed, flags=re.ASCII).split("/") if p not in ("", ".", "..")
    )
    if clean and clean == dashed and len(clean) <= NAME_LENGTH:
        return clean
    return f"{clean[: NAME_LENGTH - 9]}-{sha256(name)[:8]}"


def clipped(text: str, length: int) -> str:
    """`text`, or its beginning and a hash of the whole where it is longer than `length`."""
    if len(text) <= length:
        return text
    end = f"… sha256:{sha256(text)[:12]}"
    return text[: length - len(end)] + end


def score_name(metric: str, pattern: str) -> str:
    """The name of a metric on a missing-modality pattern, or on an external cohort, as MLflow takes it."""
    if pattern.startswith(PATTERN):
        return legal(external_score(metric, pattern))
    return legal(metric if pattern == "full" else f"{metric}.{pattern}")


def external_score(metric: str, pattern: str) -> str:
    """`external.<dataset>.<metric>` for the pattern of such a line, with a missing-modality pattern at its end."""
    name, bracket, rest = pattern.removeprefix(PATTERN).partition("]")
    if bracket:  # options of a dataset may hold colons
        return _joined(f"{name}]", metric, rest.removeprefix(":"))
    name, _, rest = name.partition(":")
    return _joined(name, metric, rest)


def _joined(dataset: str, metric: str, pattern: str) -> str:
    readable = re.sub(r"[^\w.\-]+", "-", dataset).strip("-")  # of a[site=x] a-site-x; names of metrics hold no brackets
    return f"external.{readable}.{metric}" + (f".{pattern}" if pattern else "")


def text(value: Any) -> str:
    """A parameter's or tag's value as text."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def sha256(text: str) -> str:
    """Hexadecimal sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
