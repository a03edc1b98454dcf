"""Any suite text: one clear error before any compute, or a plan."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import event, given
from hypothesis import strategies as st

from fusionbench.core.errors import FusionBenchError
from fusionbench.core.protocol import Protocol, TrainRecipe, overlay
from fusionbench.core.registry import Registry, discover
from fusionbench.execution.shared import SharedResources
from fusionbench.suites.plan import expand
from fusionbench.suites.suite_files import parse_suite
from fusionbench.suites.validation import check_names
from tests.conftest import EXAMPLE
from tests.fuzz.examples import FUZZ, SCALARS, TEXTS, VALUES, clear

pytestmark = pytest.mark.slow
DATASETS = st.sampled_from(["example-faulty", "example-faulty[fault=few-cases]", "synthetic", "table", "hancock"])
MODELS = st.sampled_from(
    ["cox", "healnet", "healnet[layers=2]", "late-fusion[member=cox]", "late-fusion", "best-unimodal[candidates=cox]"]
)
SETS = st.lists(st.lists(st.one_of(st.sampled_from(["table", "tiles", "vector"]), TEXTS), max_size=3), max_size=3)
PATTERNS = st.one_of(
    st.sampled_from(["full", "half", "only:*", "drop:tiles", "shuffle:table", "rate:0.5", "rate:2", "only:"]), TEXTS
)
KNOWN: dict[str, st.SearchStrategy[Any]] = {
    "title": TEXTS,
    "datasets": st.lists(st.one_of(DATASETS, TEXTS), max_size=3),
    "models": st.lists(st.one_of(MODELS, TEXTS), max_size=4),
    "modalities": st.one_of(SETS, st.dictionaries(DATASETS, SETS, max_size=2)),
    "metrics": st.lists(st.one_of(st.sampled_from(["harrell_c_index", "ibs"]), TEXTS), max_size=2),
    "seed": SCALARS,
    "base": st.booleans(),
    "reference": TEXTS,
    "protocol": st.dictionaries(
        st.one_of(st.sampled_from(sorted(Protocol.model_fields)), TEXTS),
        st.one_of(SCALARS, st.lists(PATTERNS, max_size=3)),
        max_size=3,
    ),
    "train": st.dictionaries(st.one_of(st.sampled_from(sorted(TrainRecipe.model_fields)), TEXTS), SCALARS, max_size=3),
    "variant": st.lists(
        st.fixed_dictionaries(
            {"name": TEXTS},
            optional={
                "protocol": st.dictionaries(TEXTS, VALUES, max_size=2),
                "train": st.dictionaries(st.sampled_from(["lr", "loss", "epochs"]), SCALARS, max_size=2),
                "model": st.dictionaries(st.sampled_from(["cox"]), st.dictionaries(TEXTS, VALUES, max_size=2)),
                "only": st.dictionaries(st.sampled_from(["models", "datasets"]), st.lists(TEXTS, max_size=2)),
            },
        ),
        max_size=2,
    ),
}
SOUND = {
    "title": "sound",
    "datasets": ["example-faulty"],
    "models": ["cox"],
    "modalities": [["table"], ["table", "tiles"]],
    "protocol": {"folds": 2},
}


@st.composite
def suite_texts(draw: st.DrawFn) -> str:
    """A sound suite of which some keys are replaced, removed or added; at times with a piece of the text changed."""
    content: dict[str, Any] = dict(SOUND)
    for key in draw(st.lists(st.sampled_from(sorted(KNOWN)), max_size=4, unique=True)):
        content[key] = draw(KNOWN[key])
    if draw(st.integers(0, 4)) == 0:
        content[draw(TEXTS)] = draw(VALUES)
    if draw(st.integers(0, 9)) == 0:
        content.pop(draw(st.sampled_from(sorted(content))))
    try:
        text = tomli_w.dumps(content)
    except (ValueError, TypeError, AttributeError):  # what TOML has no words for
        text = repr(content)
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(TEXTS) + text[at + draw(st.integers(0, 9)) :]
    return text


@pytest.fixture(scope="module", autouse=True)
def installed() -> Iterator[None]:
    sys.path.insert(0, str(EXAMPLE))
    yield
    sys.path.remove(str(EXAMPLE))


@cache
def registry() -> Registry:
    return discover()


@cache
def bench() -> SharedResources:
    return SharedResources(registry(), Path("/nowhere"))


MOST_CELLS = 200
"""A suite may well ask for more; it then takes as long as it takes."""


@FUZZ
@given(suite_texts())
def test_a_suite_is_a_plan_or_one_clear_error(text: str) -> None:
    try:
        suite = parse_suite("fuzz", text, "fuzz.toml")
        check_names(suite, registry())
        variants = [suite.protocol, *(overlay(suite.protocol, v.protocol) for v in suite.variants())]
        if max(p.folds * p.repeats * p.mask_draws for p in variants) > MOST_CELLS:
            event("too many cells")
            return
        plan = expand(suite, registry(), bench().cohort)
    except FusionBenchError as error:
        clear(error)
        return
    event("a plan")
    keys = [cell.key for cell in plan.cells]
    assert all(key and "/" not in key and "\\" not in key and not key.startswith(".") for key in keys)
    with suppress(UnicodeEncodeError):
        assert all(cell.label.encode() for cell in plan.cells)
