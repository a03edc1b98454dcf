"""A plugin that changes settings when it is imported or while a suite is planned: it is named, its change is undone."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fusionbench.builtin import metrics
from fusionbench.core.registry import discover
from fusionbench.session import Session
from tests.conftest import Cli, run_cli

PLUGIN = Path(__file__).parents[1] / "third_party" / "early"
SUITE = """
title = "Mine"
datasets = ["early-cohort"]
models = ["early[width=2]"]
modalities = [["a"]]
metrics = ["harrell_c_index", "early-metric"]
[protocol]
folds = 2
"""
PLANNING = ("options", "init", "skip", "members", "info", "cases", "folds", "load")
PATCH = "from fusionbench.builtin.metrics import HarrellC; HarrellC.__call__ = lambda *_: 0.99"
WHAT = {
    "dtype": ("import torch; torch.set_default_dtype(torch.float64)", "torch's default dtype"),
    "folder": ("import os; os.chdir('/')", "the working directory"),
    "environment": ("import os; os.environ['OMP_NUM_THREADS'] = '7'", "environment variables"),
    "filters": ("import warnings; warnings.simplefilter('ignore')", "the warnings filters"),
    "seed": ("import random; random.seed(1)", "Python's random numbers"),
    "numpy seed": ("import numpy; numpy.random.seed(1)", "numpy's random numbers"),
    "torch seed": ("import torch; torch.manual_seed(1)", "torch's random numbers"),
    "standard error": ("import sys; sys.stderr = sys.stdout", "standard error"),
    "metric": (PATCH, "HarrellC.__call__ of fusionbench"),
    "print": ("print('not JSON')", "printed to standard output"),
}


Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Has the plugin run a piece of code at one place."""
    (tmp_path / "mine.toml").write_text(SUITE)
    monkeypatch.syspath_prepend(PLUGIN)
    monkeypatch.chdir(tmp_path)

    def choose(place: str, code: str) -> None:
        monkeypatch.setenv("EARLY_PLACE", place)
        monkeypatch.setenv("EARLY_CODE", code)

    yield choose
    sys.modules.pop("early_plugin", None)


def process() -> dict[str, Any]:
    """What must be as before."""
    return {
        "dtype": torch.get_default_dtype(),
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "filters": list(warnings.filters),
        "seed": random.getstate(),
        "numpy seed": str(np.random.get_state()),  # noqa: NPY002
        "torch seed": torch.get_rng_state().tolist(),
        "standard error": sys.stderr,
        "metric": metrics.HarrellC.__call__,
    }


def planned(folder: Path) -> list[str]:
    """The lines about changed settings, after the plugins were imported and the suite was planned."""
    session = Session(out=folder / "results", home=folder, device="cpu", registry=discover())
    session.plan("mine.toml")
    return session.registry.changed_settings


EVERYWHERE = [(place, what) for place in ("hook", *PLANNING) for what in ("folder", "print")]


@pytest.mark.parametrize(
    ("place", "what"),
    [("import", what) for what in WHAT]
    + [("skip", what) for what in WHAT]
    + [pair for pair in EVERYWHERE if pair[0] != "skip"],
)
def test_it_is_named_and_undone(
    install: Install, tmp_path: Path, capfd: pytest.CaptureFixture[str], place: str, what: str
) -> None:
    code, name = WHAT[what]
    install(place, code)
    before = process()
    lines = planned(tmp_path)
    assert process() == before
    assert lines, place
    assert all("early" in line and name in line for line in lines), lines
    assert capfd.readouterr().out == ""


def test_a_plugin_that_changes_nothing_is_not_named(install: Install, tmp_path: Path) -> None:
    install("nowhere", "pass")
    assert planned(tmp_path) == []


def test_what_a_library_changes_when_it_is_imported_is_not_the_plugins(install: Install, tmp_path: Path) -> None:
    install("import", "import careless_library, warnings; warnings.simplefilter('ignore')")
    (tmp_path / "careless_library.py").write_text("import os, random\nos.environ['LIBRARY'] = '1'\nrandom.seed(3)\n")
    sys.path.insert(0, str(tmp_path))
    before = process()
    assert planned(tmp_path) == ["importing plugin early changed the warnings filters; put back"]
    assert process() == before
    assert type(sys.modules.pop("careless_library").__loader__).__name__ == "SourceFileLoader"
    sys.path.remove(str(tmp_path))


def test_a_plugin_that_fails_while_it_is_imported_is_undone_too(install: Install, tmp_path: Path) -> None:
    install("import", "import os; os.chdir('/'); raise ValueError('on purpose')")
    before = process()
    registry = discover()
    assert process() == before
    record = next(p for p in registry.plugins if p.name == "early")
    assert (record.status, record.reason) == ("broken", "ValueError: on purpose")
    assert registry.changed_settings == ["importing plugin early changed the working directory; put back"]


def test_metrics_patched_when_a_plugin_is_imported_score_as_before(install: Install, tmp_path: Path, cli: Cli) -> None:
    """Formerly such a plugin could hide by giving its function the module of ours."""
    install("import", f"{PATCH}; HarrellC.__call__.__module__ = 'fusionbench.builtin.metrics'")
    result = cli("run", "mine.toml", "--no-track")
    assert result.returncode == 0, result.stderr
    assert "0.99" not in result.stdout
    assert "importing plugin early changed HarrellC.__call__ of fusionbench; put back" in result.stderr
    rows = {row["rule"]: row for row in json.loads(cli("audit", "mine.toml", "--json").stdout)}
    assert rows["no plugin changed what other cells are computed with"]["verdict"] == "DECLARED"


def test_the_first_plugin_that_imports_torch_and_our_metrics_is_named(tmp_path: Path) -> None:
    code = """
import json
from importlib.metadata import EntryPoint
from fusionbench.core.registry import discover
registry = discover(("models",), [EntryPoint("early", "early_plugin", "fusionbench")])
import torch
from fusionbench.builtin.metrics import HarrellC
kept = torch.get_default_dtype() == torch.float32 and HarrellC.__call__.__module__ == HarrellC.__module__
print(json.dumps([kept, registry.changed_settings]))
"""
    meddling = f"import torch; torch.set_default_dtype(torch.float64); {PATCH}"
    env = {**os.environ, "PYTHONPATH": str(PLUGIN), "EARLY_PLACE": "import", "EARLY_CODE": meddling}
    made = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    kept, lines = json.loads(made.stdout)
    assert kept
    assert lines == ["importing plugin early changed torch's default dtype, HarrellC.__call__ of fusionbench; put back"]


PRINTED = "print('not JSON'); os.write(1, b'not JSON'); __import__('subprocess').run(['echo', 'not JSON'])"
COMMANDS = {
    "import": ("plugins", "--json"),
    "hook": ("table", "{suite}", "-f", "csv"),
    "skip": ("run", "{suite}", "--dry-run", "--json"),
    "cases": ("data", "check", "early-cohort", "--json"),
    "sources": ("data", "ls", "--json"),
    "load": ("status", "{suite}", "--json"),
    "metric": ("audit", "{suite}", "--json"),
    "state": ("run", "{suite}", "--rerun", "--no-track", "--json"),
    "findings": ("run", "{suite}", "--no-track", "--json"),
    "predict": ("predict", "{key}", "early-cohort"),
}


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished suite of the plugin."""
    folder = tmp_path_factory.mktemp("computed")
    (folder / "mine.toml").write_text(SUITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PLUGIN)
        assert (
            Session(out=folder / "results", home=folder, device="cpu")
            .run(str(folder / "mine.toml"), track=False)
            .complete
        )
    sys.modules.pop("early_plugin", None)
    return folder


@pytest.mark.parametrize("place", COMMANDS)
def test_output_for_programs_stays_parseable(computed: Path, place: str) -> None:
    key = next((computed / "results/mine/cells").glob("*/cell.json")).parent.name
    words = [word.format(suite="mine.toml", key=key) for word in COMMANDS[place]]
    env = {"PYTHONPATH": str(PLUGIN), "EARLY_PLACE": place, "EARLY_CODE": PRINTED, "FUSIONBENCH_DATA": str(computed)}
    result = run_cli(words, computed, env)
    assert result.stderr.count("not JSON") >= 3, result.stderr
    assert "not JSON" not in result.stdout
    if "--json" in words:
        json.loads(result.stdout)
    else:
        assert len({len(row) for row in csv.reader(io.StringIO(result.stdout))}) == 1
