"""fusionbench ls, fusionbench plugins, fusionbench check: what is installed, and whether a plugin keeps its contract"""

from __future__ import annotations

import inspect
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusionbench.cli.options import Json, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusionbench.core.registry import PluginRecord
    from fusionbench.testing.conformance import CheckResult, Report


class Kind(StrEnum):
    """What `fusionbench ls` can list."""

    suites = "suites"
    datasets = "datasets"
    models = "models"
    metrics = "metrics"
    modalities = "modalities"
    encoders = "encoders"
    executors = "executors"
    commands = "commands"
    findings = "findings"


def ls(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    name: Annotated[str | None, typer.Argument(help="Show this one with its options.")] = None,
    as_json: Json = False,
) -> None:
    """List what is installed, by name; with a name, what it is and its options."""
    from fusionbench.core.errors import SuiteError, did_you_mean
    from fusionbench.core.registry import discover

    registry = discover((kind.value,))
    found = registry.found[kind.value]
    if name is not None and name not in found:
        raise SuiteError(did_you_mean(_singular(kind.value), name, found))
    chosen = sorted(found.items()) if name is None else [(name, found[name])]
    rows = [{"name": n, **_about(kind, thing), "plugin": plugin} for n, (thing, plugin) in chosen]
    if as_json:
        print_json(rows)
    elif name is not None:
        _show_one(kind, rows[0], found[name][0])
    else:
        shown = [{key: value for key, value in row.items() if key != "options"} for row in rows]
        print_table(list(shown[0]) if shown else ["name"], [list(row.values()) for row in shown])
        if any("options" in row for row in rows):
            typer.echo(f"options of one: fusionbench ls {kind.value} NAME")
    for plugin in registry.plugins:
        if plugin.status == "broken":
            typer.echo(f"plugin {plugin.name!r} is broken: {plugin.reason}", err=True)


def _show_one(kind: Kind, row: dict[str, str], thing: Any) -> None:
    """Everything about one entry, each option on a line of its own."""
    typer.echo(f"{row['name']} (plugin {row['plugin']})")
    doc = row.get("title") or _doc(kind, thing)
    typer.echo(f"\n{doc}" if doc else "")
    options = getattr(thing, "Options", None)
    if options is None:
        return
    typer.echo("\noptions:" if options.model_fields else "\nno options")
    for key, info in options.model_fields.items():
        typer.echo(f"  {key} = {_short(info)}{f'  ({info.description})' if info.description else ''}")


def _about(kind: Kind, thing: Any) -> dict[str, str]:
    if kind is Kind.suites:
        return {"title": _title(thing)}
    options = getattr(thing, "Options", None)
    about = {"about": _doc(kind, thing).split("\n")[0]}
    if options is not None:
        about["options"] = ", ".join(f"{k}={_short(f)}" for k, f in options.model_fields.items())
    return about


def _doc(kind: Kind, thing: Any) -> str:
    """What a plugin says of a thing: its docstring, or the help of a command."""
    if kind is not Kind.commands:
        return inspect.cleandoc(thing.__doc__ or "")
    try:
        return inspect.cleandoc(typer.main.get_command(thing).help or "")
    # A plugin is third-party code and may fail in any way; the other commands are listed.
    except Exception as error:  # noqa: BLE001
        return f"broken: {error}"


def _title(path: Any) -> str:
    import tomllib

    try:
        return str(tomllib.loads(path.read_text(encoding="utf-8")).get("title", ""))
    except (OSError, tomllib.TOMLDecodeError) as error:
        return f"cannot be read: {error}"


def _short(info: Any) -> str:
    default = info.get_default(call_default_factory=True)
    return str(default) if default is not None else "none"


def plugins(as_json: Json = False) -> None:
    """Show every plugin: distribution, version, licence, what it provides, and why a broken one is broken."""
    from fusionbench.core.registry import discover

    records = discover().plugins
    if as_json:
        print_json(records)
        return
    rows = [(p.name, p.status, p.version, p.licence, _provided(p), p.distribution) for p in records]
    print_table(["name", "status", "version", "licence", "provides", "distribution"], rows)
    for p in records:
        for line in filter(None, (p.reason, *p.changed_settings)):
            typer.echo(f"{p.name}: {line}")


def _provided(plugin: PluginRecord) -> str:
    """`2 models, 1 suite`; the names of one kind alone: `healnet, healnet-lite`."""
    if len(plugin.provides) == 1:
        return ", ".join(*plugin.provides.values())
    counts = {kind: len(names) for kind, names in plugin.provides.items()}
    return ", ".join(f"{n} {kind if n > 1 else _singular(kind)}" for kind, n in counts.items()) or "-"


def _singular(kind: str) -> str:
    return kind.removesuffix("ies") + "y" if kind.endswith("ies") else kind.removesuffix("s")


def _plugins(incomplete: str) -> list[str]:
    from fusionbench.core.registry import discover

    return [plugin.name for plugin in discover().plugins if plugin.name.startswith(incomplete)]


def check(
    plugin: Annotated[
        str,
        typer.Argument(
            help="A plugin, as `fusionbench plugins` shows it, a Python file with classes, or one model: "
            "NAME[option=value], FILE.py:CLASS[option=value].",
            autocompletion=_plugins,
        ),
    ],
    matching: Annotated[
        str, typer.Option("-k", metavar="TEXT", help="Only the checks whose kind:subject:check holds this text.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Try everything that a plugin provides against what the harness expects of it.

    Exit status: 0 none failed, but as the plugin expects (`expected_failures`), 1 some failed, 2 a wrong request.
    """
    from fusionbench.core.registry import discover
    from fusionbench.testing.conformance import Report, checks_for, plugin_record, run_check

    rows: list[CheckResult] = []
    registry = discover()
    for each in checks_for(plugin, registry, matching):
        row = run_check(each)
        if not as_json:
            _print_row(row, rows)
        rows.append(row)
    report = Report(plugin, tuple(rows))
    print_json(rows) if as_json else _print_summary(report)
    record = plugin_record(plugin, registry)
    for line in record.changed_settings if record else ():
        typer.echo(line, err=True)
    if not report.ok:
        raise typer.Exit(1)


def _print_row(row: CheckResult, before: Sequence[CheckResult]) -> None:
    """One check; a reason that was given for the same subject before is not repeated."""
    of_subject = [other for other in before if (other.kind, other.subject) == (row.kind, row.subject)]
    if not of_subject:
        typer.echo(f"{row.kind} {row.subject}")
    again = row.reason in {other.reason for other in of_subject}
    reason = f"  ({'as above' if again else row.reason})" if row.reason else ""
    typer.echo(f"  {row.status}  {row.check}{reason}")
    if row.seen:
        for what, sentence in (("seen", row.seen), ("expected", row.expected), ("usual cause", row.cause)):
            typer.echo(f"        {what}: {sentence}")


def _print_summary(report: Report) -> None:
    counts = f"{report.count('pass')} passed, {report.count('skip')} skipped, {report.count('FAIL')} failed"
    if expected := report.count("expected"):
        counts += f", {expected} failed as expected"
    typer.echo(f"{report.plugin}: {counts} in {report.seconds:.1f} s")
