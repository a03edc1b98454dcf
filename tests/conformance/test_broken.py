"""Each defect is found by the check that is meant for it, and by no other."""

from __future__ import annotations

import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import typer

from fusionbench.core.registry import BASES, PluginRecord, Registry, base_of, discover
from fusionbench.report.api import Entry, Section
from fusionbench.testing import Check, checks_for
from fusionbench.testing.conformance import PROMISES
from tests.conformance import (
    broken,
    broken_attention,
    broken_bags,
    broken_data,
    broken_outputs,
    broken_preparations,
    sound_readers,
)
from tests.conformance.broken_isolation import NOT_CAUGHT

SOUND = [
    broken.SoundOfClasses,
    broken.Sound,
    broken.Wrapped,
    broken.Ordered,
    broken.Cancelling,
    broken.Attentive,
    broken_attention.WithMaps,
    broken_outputs.Stepping,
    broken_outputs.Published,
    broken_preparations.Prepared,
    broken_preparations.PreparedAndImputed,
    broken_bags.InParts,
    broken_bags.Neighbourly,
    broken_data.SoundCohort,
    broken_data.SoundBag,
    broken_data.AroundBag,
    broken_data.SoundC,
    broken_data.SoundExecutor,
    broken_data.SoundEncoder,
    sound_readers.GraphReader,
    sound_readers.GraphCohort,
    sound_readers.TextReader,
    sound_readers.TextCohort,
]
REAL = ("cox", "mean-pool", "mcat-omic")
"""Models of the repository; all of them are tried by `test_plugins`."""


KINDS = {
    "model": "models",
    "dataset": "datasets",
    "modality": "modalities",
    "metric": "metrics",
    "suite": "suites",
    "executor": "executors",
    "encoder": "encoders",
    "command": "commands",
    "findings function": "findings",
}


_installed = cache(discover)


def kind_of(cls: type[Any]) -> str:
    return next(kind for kind in BASES if issubclass(cls, base_of(kind)))


def registry_of(kind: str, name: str, thing: Any) -> Registry:
    """What is installed, and a plugin `mine` that brings one thing."""
    installed = _installed()
    record = PluginRecord("mine", "mine", "1", "not stated", {kind: (name,)})
    found = {**installed.found, kind: {**installed.found[kind], name: (thing, "mine")}}
    if kind == "datasets":
        readers = {cls.name: (cls, "mine") for cls in (sound_readers.GraphReader, sound_readers.TextReader)}
        found["modalities"] = {**found["modalities"], **readers}
    return Registry((*installed.plugins, record), found)


@pytest.fixture(autouse=True)
def _data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the sound cohort finds its file, and where wrong models leave theirs."""
    for name in ("home", "work", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / broken_data.FILE).parent.mkdir()
    (tmp_path / broken_data.FILE).write_text("\n".join(map(str, np.arange(1.0, 21.0))))
    monkeypatch.setenv("FUSIONBENCH_DATA", str(tmp_path))


def checks_on(cls: type[Any]) -> list[Check]:
    return checks_for("mine", registry_of(kind_of(cls), cls.name, cls))


@pytest.mark.parametrize("cls", SOUND, ids=lambda cls: cls.__name__)
def test_what_is_sound_passes(cls: type[Any]) -> None:
    failures = {check.name: str(check.outcome().failure) for check in checks_on(cls) if check.outcome().failure}
    assert not failures


@pytest.mark.parametrize("name", REAL)
def test_real_models_pass(name: str) -> None:
    test_what_is_sound_passes(_installed().model(name))


@pytest.mark.parametrize("cls", NOT_CAUGHT, ids=lambda cls: cls.__name__)
def test_what_no_check_can_tell_passes(cls: type[Any]) -> None:
    """The reasons stand beside the classes; docs/plugins.md repeats them."""
    test_what_is_sound_passes(cls)


def test_a_model_that_writes_beside_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a module of its own: other tests look at the folder of this one."""
    (tmp_path / "beside.py").write_text(
        "from pathlib import Path\n"
        "from tests.conformance.broken import Sound\n\n\n"
        "class Beside(Sound):\n"
        "    name = 'beside'\n\n"
        "    def fit(self, train, val, ctx):\n"
        "        Path(__file__).with_name('cache.txt').write_text('x' * len(train) + str(ctx.task))\n"
        "        return super().fit(train, val, ctx)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    outcomes = {check.name: check.outcome() for check in checks_on(import_module("beside").Beside)}
    assert [name for name, outcome in outcomes.items() if outcome.status == "FAIL"] == ["writes-nothing"]
    assert "cache.txt" in str(outcomes["writes-nothing"].failure)


def test_most_wrong_plugins_are_caught() -> None:
    assert len(broken.DEFECTS) >= 100
    assert all(reason.strip() for reason in NOT_CAUGHT.values())


@pytest.mark.parametrize(("cls", "meant"), broken.DEFECTS.items(), ids=lambda x: getattr(x, "__name__", x))
def test_a_defect_fails_the_check_that_is_meant_for_it_and_no_other(cls: type[Any], meant: str) -> None:
    outcomes = {check.name: check.outcome() for check in checks_on(cls)}
    failures = {name: str(outcome.failure) for name, outcome in outcomes.items() if outcome.status == "FAIL"}
    assert list(failures) == [meant], failures
    found = outcomes[meant].failure
    assert found is not None
    assert found.seen
    assert found.expected
    assert found.cause


def test_every_check_has_a_defect_that_it_finds() -> None:
    """The two that all kinds share are tried on models."""
    shared = {"documented", "options-round-trip"}
    for kind, promises in PROMISES.items():
        found = {check for cls, check in broken.DEFECTS.items() if kind_of(cls) == KINDS[kind]}
        names = {promise.name for promise in promises} - (set() if kind == "model" else shared)
        # the defects of these are no classes; tests of their own, above, try each
        assert kind in ("suite", "command", "findings function") or names <= found


class WithoutExample(broken_data.SoundCohort):
    """Reads the user's files, and has none to show."""

    own_files = True


def test_a_dataset_of_the_users_files_needs_an_example() -> None:
    """Without one its every check says what is lacking."""
    found = {check.name: str(check.outcome().failure) for check in checks_on(WithoutExample) if check.outcome().failure}
    assert "readable" in found
    assert all("no classmethod `example(folder) -> options`" in said for said in found.values())


SUITE = """
title = "Quick"
datasets = ["synthetic"]
models = ["cox"]
modalities = [["vector"]]
"""
SUITES = {
    "parses": SUITE.replace("models", "modells"),
    "has-a-title": SUITE.replace("Quick", " "),
    "names-resolve": SUITE.replace("cox", "coxx"),
}


@pytest.mark.parametrize(("meant", "text"), [("", SUITE), *SUITES.items()], ids=["sound", *SUITES])
def test_a_defect_of_a_suite_fails_the_check_that_is_meant_for_it(meant: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "quick.toml"
    path.write_text(text)
    checks = checks_for("mine", registry_of("suites", "quick", path))
    failed = [check.name for check in checks if check.outcome().status == "FAIL"]
    assert failed == ([meant] if meant else [])
    assert set(SUITES) == {promise.name for promise in PROMISES["suite"]}


def command(words: str) -> typer.Typer:
    app = typer.Typer(name="count")

    @app.command(help=words)
    def count(folder: Annotated[str, typer.Argument(help="A folder.")]) -> None:
        raise NotImplementedError

    return app


COMMANDS = {"": command("Counts tiles."), "documented": command(" "), "answers-help": typer.Typer(name="count")}
"""The last has no function, which typer cannot make a command of."""


@pytest.mark.parametrize(("meant", "app"), COMMANDS.items(), ids=["sound", "documented", "answers-help"])
def test_a_defect_of_a_command_fails_the_check_that_is_meant_for_it(meant: str, app: typer.Typer) -> None:
    failed = [c.name for c in checks_for("mine", registry_of("commands", "count", app)) if c.outcome().status == "FAIL"]
    assert meant in failed if meant else not failed
    assert set(COMMANDS) - {""} == {promise.name for promise in PROMISES["command"]}


def sections(analysis: Any, lock: Any) -> Any:
    """One section."""
    yield Section(2, lock["suite"]["title"], header=("rows",), lines=((Entry(str(len(analysis.table.rows))),),))


def undescribed(analysis: Any, lock: Any) -> Any:
    return []


def text(analysis: Any, lock: Any) -> Any:
    """No section."""
    return "text"


def ragged(analysis: Any, lock: Any) -> Any:
    """A line without an entry for its column."""
    yield Section(2, "Ragged", header=("rows",), lines=((),))


@pytest.mark.parametrize(
    ("function", "meant"),
    [(sections, []), (undescribed, ["documented"]), (text, ["writes-sections"]), (ragged, ["writes-sections"])],
)
def test_a_defect_of_a_findings_function_fails_the_check_that_is_meant_for_it(function: Any, meant: list[str]) -> None:
    checks = checks_for("mine", registry_of("findings", "sections", function))
    assert [check.name for check in checks if check.outcome().status == "FAIL"] == meant
    assert {check.name for check in checks} == {promise.name for promise in PROMISES["findings function"]}


def test_a_check_that_says_nothing_where_another_fails_says_so() -> None:
    outcomes = {check.name: check.outcome() for check in checks_on(broken.CannotBuild)}
    assert outcomes["fits"].status == "FAIL"
    for name in ("predictions", "risk-direction"):
        assert (outcomes[name].status, outcomes[name].reason) == ("skip", "says nothing where fits fails")


def test_a_model_that_reads_the_order_of_instances_says_so() -> None:
    outcomes = {check.name: check.outcome() for check in checks_on(broken.Ordered)}
    assert "ordered_instances = True" in outcomes["instance-order-invariant"].reason


def test_an_exception_is_a_failure_that_says_what_and_where() -> None:
    check = next(check for check in checks_on(broken.CannotBuild) if check.name == "fits")
    with pytest.raises(AssertionError) as caught:
        check()
    seen, expected, cause = str(caught.value).splitlines()
    assert seen.startswith("seen: on omic+image, KeyError: 'clinical' at ")
    assert "broken.py:" in seen
    assert expected.startswith("expected: `fit` returns a Predictor")
    assert cause.startswith("usual cause: ")


def test_each_check_runs_once_and_is_timed() -> None:
    checks = checks_on(broken_data.SoundC)
    first, again = [check.outcome() for check in checks], [check.outcome() for check in checks]
    assert all(a is b for a, b in zip(first, again, strict=True))
    assert all(outcome.seconds >= 0 for outcome in first)
    assert len({check.id for check in checks}) == len(checks)
