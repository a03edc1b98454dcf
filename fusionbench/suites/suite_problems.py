"""What is wrong with a suite, a line each: faults of its keys, and what does not go together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from fusionbench.core.errors import did_you_mean
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.protocol import ParameterGroup, Protocol, TrainRecipe, overlay
from fusionbench.core.stages import Stage
from fusionbench.suites.suite import External, Scope, Suite, Variant


def problem_text(where: str, problems: Sequence[str]) -> str:
    """One message for every problem of a suite; `where` names its file."""
    if len(problems) == 1:
        return f"{where}: {problems[0]}"
    return f"{where}: {len(problems)} problems\n" + "\n".join(f"  - {p}" for p in problems)


def fault_lines(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """One line a fault of what was to become a `root`."""
    errors = error.errors()
    at_fault = {e["loc"][:n] for e in errors for n in range(len(e["loc"]))}
    misspelt = {e["loc"] for e in errors if e["type"] == "extra_forbidden"}
    return [
        _line(e, root)
        for e in errors
        # A list whose only items are faulty is also called too short, and a misspelt key is also missing.
        if (e["type"] != "too_short" or e["loc"] not in at_fault)
        and not (e["type"] == "missing" and _meant(e, misspelt))
    ]


def _meant(missing: Any, misspelt: Collection[tuple[int | str, ...]]) -> bool:
    """Whether a key that is not there stands beside its place misspelt."""
    *place, key = missing["loc"]
    beside = [str(loc[-1]) for loc in misspelt if list(loc[:-1]) == place]
    return bool(get_close_matches(str(key), beside))


_PLAIN: Mapping[str, str] = {
    "missing": "the key is missing",
    "too_short": "it is empty; list at least one",
    "tuple_type": 'write a list, ["NAME", ...]',
}
"""Kind of a fault to what is said of it; of others, what pydantic says."""


def _line(error: Any, root: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        place = root
        for part in error["loc"][:-1]:  # positions in lists stay where they are
            place = _PLACES.get(str(part), place)
        return f"{key}: {did_you_mean('key', str(error['loc'][-1]), place.model_fields)}"
    seen = "" if error["type"] == "missing" else f" (got {error['input']!r})"
    said = _PLAIN.get(error["type"], error["msg"].removeprefix("Value error, "))
    if error["type"] == "tuple_type" and error["loc"][-1] in ("stage", "group"):
        said = f"write it as tables, [[{key}]]"
    return f"{key}: {said}{seen}"


_PLACES: Mapping[str, type[BaseModel]] = {
    "protocol": Protocol,
    "train": TrainRecipe,
    "stage": Stage,
    "group": ParameterGroup,
    "variant": Variant,
    "only": Scope,
    "external": External,
}


def list_problems(suite: Suite) -> list[str]:
    """What is listed twice, and modality sets of datasets that are not listed."""
    lists: dict[str, Sequence[Any]] = {"datasets": suite.datasets, "models": suite.models, "metrics": suite.metrics}
    problems = []
    if isinstance(suite.modalities, Mapping):
        known = {d.name for d in suite.datasets}
        lists |= {f"modalities.{name}": sets for name, sets in suite.modalities.items()}
        problems += [f"modalities: {did_you_mean('dataset', d, known)}" for d in suite.modalities if d not in known]
    else:
        lists["modalities"] = suite.modalities
    for part, items in lists.items():
        shown = [str(i) if isinstance(i, PluginRef) else i for i in items]
        problems += [f"{part}: {i!r} is listed twice" for i in dict.fromkeys(shown) if shown.count(i) > 1]
    return problems


def external_problems(suite: Suite) -> Iterator[str]:
    """What is wrong with `[[external]]` by itself; cohorts are compared once they have been read."""
    trained = [str(e.train) for e in suite.external]
    known = [str(d) for d in suite.datasets]
    for name in trained:
        if name not in known:
            yield f"external: {did_you_mean('dataset of this suite', name, known)}"
        if trained.count(name) > 1:
            yield f"external: train = {name!r} stands there twice; list all its test cohorts in one"
    for one in suite.external:
        tests = [str(test) for test in one.test]
        if str(one.train) in tests:
            yield f"external: {str(one.train)!r} is tested on itself; its test folds are that already"
        yield from (f"external: {name!r} is listed twice" for name in dict.fromkeys(tests) if tests.count(name) > 1)


def _named_twice(suite: Suite) -> Iterator[str]:
    """Variants of one name that run on one dataset."""
    everywhere = tuple(d.name for d in suite.datasets)
    places = [(v.name, d) for v in suite.variants() for d in dict.fromkeys(v.only.datasets or everywhere)]
    yield from (name for (name, _), n in Counter(places).items() if n > 1)


def variant_problems(suite: Suite) -> list[str]:
    """Variants of one name, changes that are refused, and models and datasets that the suite does not have."""
    problems = [f"variant {name!r} is named twice" for name in sorted(set(_named_twice(suite)))]
    for variant in suite.variant:
        for part, value in (("protocol", suite.protocol), ("train", suite.train)):
            try:
                overlay(value, getattr(variant, part))
            except ValidationError as error:
                problems += [f"variant {variant.name!r}: {part}.{line}" for line in fault_lines(error, type(value))]
        known_models = {m.name for m in suite.models}
        known_datasets = {d.name for d in suite.datasets}
        scopes = [
            *(("model", m, known_models) for m in (*variant.model, *variant.only.models)),
            *(("dataset", d, known_datasets) for d in variant.only.datasets),
        ]
        for kind, name, known in scopes:
            if name not in known:
                problems.append(f"variant {variant.name!r}: {did_you_mean(kind + ' of this suite', name, known)}")
    covered = {d for v in suite.variants() for d in (v.only.datasets or [r.name for r in suite.datasets])}
    left_out = [d.name for d in suite.datasets if d.name not in covered]
    problems += [f"dataset {name!r} is in no variant, and base = false" for name in left_out]
    return problems
