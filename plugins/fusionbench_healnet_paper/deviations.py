"""How a run's protocol and recipe differ from what the published numbers rest on, switch by switch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fusionbench.report.api import AS_PUBLISHED, AS_PUBLISHED_TRAINING, BASE, Protocol, TrainRecipe, overlay


def deviations(lock: Mapping[str, Any]) -> Iterator[str]:
    """What all variants do otherwise, what else some of them do, and what the datasets were."""
    suite = lock["suite"]
    of = [(name, tuple(_switches(suite, variant))) for name, variant in _variants(suite)]
    common = [switch for switch in of[0][1] if all(switch in switches for _, switches in of)]
    if common:
        yield f"not as published: {'; '.join(common)}"
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, switches in of:
        groups.setdefault(tuple(s for s in switches if s not in common), []).append(name)
    for more, names in groups.items():
        if more or not common:
            who = f"{', '.join(names)}: " if len(groups) > 1 else ""
            yield who + (f"not as published: {'; '.join(more)}" if more else "every switch as published")
    written = [name for name in suite["datasets"] if "[" in name]
    if written:
        yield f"data of this run: {', '.join(written)}"


def _variants(suite: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    listed = suite.get("variant", [])
    if suite["base"] or not listed:
        yield BASE, {}
    for variant in listed:
        scope = variant.get("only", {}).get("datasets", ())
        yield variant["name"] + (f" ({', '.join(scope)})" if scope else ""), variant


def _switches(suite: Mapping[str, Any], variant: Mapping[str, Any]) -> Iterator[str]:
    """`key=value (published: value)` of every switch that differs."""
    protocol, recipe = of_suite(suite)
    for value, changes, published in (
        (protocol, variant.get("protocol", {}), AS_PUBLISHED),
        (recipe, variant.get("train", {}), AS_PUBLISHED_TRAINING),
    ):
        run = overlay(value, changes)
        for key, theirs in published.items():
            per_cohort = key == "l1" and run.l1 > 0  # the published strength is another one for each cohort
            if getattr(run, key) != theirs and not per_cohort:
                yield f"{key}={_written(getattr(run, key))} (published: {_written(theirs)})"


def _written(value: object) -> str:
    """A switch's value as a suite writes it."""
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def of_suite(suite: Mapping[str, Any]) -> tuple[Protocol, TrainRecipe]:
    """Protocol and recipe of a lock's suite; TOML has no null, so what is absent there is None."""

    def whole(kind: type[Protocol] | type[TrainRecipe], given: Mapping[str, Any]) -> Any:
        absent = {name: None for name, f in kind.model_fields.items() if name not in given and _may_be_none(f)}
        return kind.model_validate({**absent, **given})

    return whole(Protocol, suite["protocol"]), whole(TrainRecipe, suite["train"])


def _may_be_none(field: Any) -> bool:
    return type(None) in getattr(field.annotation, "__args__", ())
