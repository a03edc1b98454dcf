"""A lock, a table, an audit and a published run name the versions that computed the numbers, not those of today."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fusionbench import discover
from fusionbench.core import environment
from fusionbench.session import Session
from fusionbench.suites.lock import lock_text
from fusionbench.suites.provenance import COMPUTED, NOT_RECORDED, differences, provenance
from fusionbench.suites.selection import Selection

SUITE = """
title = "Mine"
datasets = ["synthetic[cases=80]"]
models = ["cox", "late-fusion[member=cox]"]
modalities = [["vector"], ["vector", "bag"]]
metrics = ["harrell_c_index"]
[protocol]
folds = 2
"""
RULE = "the cells were computed with one set of versions on one machine"
ONE_ROW = Selection(models=("cox",))


def session(root: Path) -> Session:
    return Session(out=root / "results", device="cpu", registry=discover())


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("provenance")
    (root / "mine.toml").write_text(SUITE)
    assert session(root).run(str(root / "mine.toml"), track=False).complete
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


@pytest.fixture
def upgrade(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Session]:
    """A session in which numpy, the plugin `controls` and the machine are others than a moment ago."""

    def upgraded(root: Path) -> Session:
        packages, machine = environment.packages(), environment.machine()
        monkeypatch.setattr(environment, "packages", lambda: packages | {"numpy": "9.9"})
        monkeypatch.setattr(environment, "machine", lambda: machine | {"processor": "Another"})
        registry = discover()
        plugins = tuple(replace(p, version="2.0") if p.name == "controls" else p for p in registry.plugins)
        return Session(out=root / "results", device="cpu", registry=replace(registry, plugins=plugins))

    return upgraded


def lock(root: Path, folder: str = "results/mine") -> dict[str, Any]:
    return tomllib.loads((root / folder / "suite.lock.toml").read_text())


def test_a_run_that_computes_nothing_leaves_the_lock_as_it_was(root: Path, upgrade: Callable[[Path], Session]) -> None:
    before = (root / "results/mine/suite.lock.toml").read_bytes()
    later = upgrade(root)
    report = later.run(str(root / "mine.toml"), track=False)
    assert report.ran == 0
    assert (root / "results/mine/suite.lock.toml").read_bytes() == before
    later.run(str(root / "mine.toml"), ONE_ROW, track=False)
    assert (root / "results/mine/suite.lock.toml").read_bytes() == before
    later.publish(str(root / "mine.toml"))
    assert (root / "results/mine/suite.lock.toml").read_bytes() == before
    assert (root / "results/published/mine/suite.lock.toml").read_bytes() == before
    origin = tomllib.loads((root / "results/published/mine/run.toml").read_text())
    (about,) = origin["environment"]
    assert about["packages"]["numpy"] != "9.9"
    assert about["fusionbench"] == lock(root)["fusionbench"]
    assert sum(origin["commits"].values()) == origin["cells"]


def test_cells_of_two_versions_and_machines_are_told_everywhere(root: Path, upgrade: Callable[[Path], Session]) -> None:
    numpy = environment.packages()["numpy"]
    later = upgrade(root)
    later.run(str(root / "mine.toml"), Selection(models=("cox",), folds="0"), rerun=True, track=False)
    found = lock(root)
    assert found["packages"]["numpy"] == ", ".join(sorted((numpy, "9.9")))
    controls = found["plugins"]["controls"]
    assert controls.endswith("2.0")
    assert controls.count(",") == 1
    assert found["model_plugins"]["cox"]["distribution_version"].endswith("2.0")
    assert len(found["machines"]) == 2
    table = (root / "results/mine/table.md").read_text()
    seen = {line.rule: line for line in later.audit(str(root / "mine.toml")).lines}
    assert seen[RULE].verdict == "DECLARED"
    assert seen["the lock is that of the planned cells"].verdict == "pass"
    told = {line.partition(": ")[0]: line for line in found["differences"]}
    assert told.keys() == {"plugin controls", "numpy", "machine"}
    assert told["numpy"].startswith(f"numpy: {numpy} (")
    assert "; 9.9 (3 cells); 3 of 5 rows" in told["numpy"]
    assert "fusionbench 2.0 (2 cells); 2 of 4 rows" in told["plugin controls"]
    for line in told.values():
        assert f"not computed with one version or on one machine: {line}" in table
        assert line in seen[RULE].seen


@pytest.mark.parametrize("part", ["packages", "plugins", "machines"])
def test_an_edited_version_in_a_lock_is_a_breach(root: Path, part: str) -> None:
    path = root / "results/mine/suite.lock.toml"
    text = path.read_text()
    found = lock(root)[part]
    value = found[0] if isinstance(found, list) else next(iter(found.values()))
    path.write_text(text.replace(f'"{value}"', '"forged"'))
    seen = {line.rule: line for line in session(root).audit(str(root / "mine.toml")).lines}
    assert seen["the lock is that of the planned cells"].verdict == "BREACH"
    assert f"it names {part}" in seen["the lock is that of the planned cells"].seen
    assert "forged, which no cell recorded" in seen["the lock is that of the planned cells"].seen


def test_a_lock_of_an_interrupted_run_is_no_edited_one(root: Path) -> None:
    """It was written before the last cells were computed; what computed them is told all the same."""
    path = root / "results/mine/suite.lock.toml"
    found = lock(root)
    early = found | {name: type(found[name])() for name in COMPUTED}
    path.write_text(lock_text(early))
    seen = {line.rule: line for line in session(root).audit(str(root / "mine.toml")).lines}
    assert seen["the lock is that of the planned cells"].verdict == "DECLARED"
    assert "a run was interrupted" in seen["the lock is that of the planned cells"].seen
    session(root).run(str(root / "mine.toml"), track=False)
    assert lock(root) == found


def record(model: str = "cox", fold: int = 0, **about: Any) -> dict[str, Any]:
    cell = {"dataset": "toy", "model": model, "modalities": "a", "variant": "base", "fold": fold}
    return {"cell": cell, **about}


def test_cells_of_an_older_fusionbench_say_what_they_know() -> None:
    source = {"plugin": "controls", "distribution": "fusionbench", "version": "0.1.0", "sha256": "x"}
    old = record(source=source, environment={"packages": {"numpy": "1"}})
    found = provenance([old, record(fold=1, environment={"fusionbench": "0.2.0", "packages": {"numpy": "1"}})])
    assert found["fusionbench"] == f"0.2.0, {NOT_RECORDED}"
    assert found["packages"] == {"numpy": "1"}
    assert found["model_plugins"]["cox"]["distribution_version"] == "0.1.0"


def test_plugins_of_other_models_are_no_difference() -> None:
    one, other = record(plugins={"controls": "a 1"}), record("snn", plugins={"unimodal": "a 1"})
    assert list(differences([one, other])) == []
    told = dict(differences([one, record(fold=1, plugins={"controls": "a 2"}), other]))
    assert told == {"plugin controls": "plugin controls: a 1 (1 cell); a 2 (1 cell); 1 of 1 rows have cells of several"}
