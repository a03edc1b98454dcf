"""fusionbench ls suites|datasets|models|metrics|modalities|encoders"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from fusionbench.cli.options import Json, print_json, print_table


class Kind(StrEnum):
    """What `fusionbench ls` can list."""

    suites = "suites"
    datasets = "datasets"
    models = "models"
    metrics = "metrics"
    modalities = "modalities"
    encoders = "encoders"


def register(app: typer.Typer) -> None:
    """Add the module's verbs to the command line."""
    app.command("ls")(ls)


def ls(kind: Annotated[Kind, typer.Argument(help="What to list.")], as_json: Json = False) -> None:
    """List what is installed, by name."""
    from fusionbench.core.registry import discover

    registry = discover((kind.value,))
    rows = [
        {"name": name, **_about(kind, thing), "plugin": plugin}
        for name, (thing, plugin) in sorted(registry.found[kind.value].items())
    ]
    if as_json:
        print_json(rows)
        return
    print_table(list(rows[0]) if rows else ["name"], [list(r.values()) for r in rows])
    for plugin in registry.plugins:
        if plugin.status == "broken":
            typer.echo(f"plugin {plugin.name!r} could not be loaded: {plugin.reason}", err=True)


def _about(kind: Kind, thing: Any) -> dict[str, str]:
    if kind is Kind.suites:
        return {"title": _title(thing)}
    options = getattr(thing, "Options", None)
    about = {"about": (thing.__doc__ or "").strip().split("\n")[0]}
    if options is not None:
        about["options"] = ", ".join(f"{k}={_short(f)}" for k, f in options.model_fields.items())
    return about


def _title(path: Any) -> str:
    import tomllib

    try:
        return str(tomllib.loads(path.read_text(encoding="utf-8")).get("title", ""))
    except (OSError, tomllib.TOMLDecodeError) as error:
        return f"cannot be read: {error}"


def _short(info: Any) -> str:
    default = info.get_default(call_default_factory=True)
    return str(default) if default is not None else "none"
