"""A plugin that changes settings of the process: other models are computed as before, and the plugin is named."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fusionbench import PluginError
from fusionbench.core.guard import guarded, refuse_replaced_functions
from tests.conftest import Cli

PLUGIN = Path(__file__).parents[1] / "third_party" / "meddling"
SUITE = """
title = "Mine"
datasets = ["synthetic[cases=60]"]
models = {models}
modalities = [["vector"]]
metrics = ["harrell_c_index"]
[protocol]
folds = 2
[train]
epochs = 1
"""
NAMED = {
    "dtype": "torch's default dtype",
    "folder": "the working directory",
    "environment": "environment variables",
    "warnings": "the warnings filters",
    "threads": "torch's number of threads",
    "deterministic": "torch's deterministic algorithms",
    "precision": "torch's precision of matrix products",
    "gradients": "torch's gradient mode",
    "errors": "numpy's handling of floating-point errors",
    "metric": "HarrellC.__call__ of fusionbench",
    "statistics": "fusionbench.survival.stats.harrell_c of fusionbench",
}


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLUGIN)


def scores(folder: Path, model: str) -> dict[int, float]:
    """Fold to the stored score of a model."""
    found = {}
    for path in folder.glob("cells/*/cell.json"):
        stored = json.loads(path.read_text())
        if stored["record"]["cell"]["model"] == model:
            found[stored["record"]["cell"]["fold"]] = stored["scores"][0]["value"]
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """The scores of `snn` in a suite of its own."""
    from fusionbench.session import Session

    folder = tmp_path_factory.mktemp("alone")
    (folder / "mine.toml").write_text(SUITE.format(models='["snn"]'))
    assert Session(out=folder, device="cpu").run(str(folder / "mine.toml"), track=False).complete
    return scores(folder / "mine", "snn")


@pytest.mark.parametrize("what", [*NAMED, "seed", "nothing"])
def test_others_are_computed_as_without_it(cli: Cli, tmp_path: Path, alone: dict[int, float], what: str) -> None:
    (tmp_path / "mine.toml").write_text(SUITE.format(models=f'["meddler[what={what}]", "snn"]'))
    result = cli("run", "mine.toml", "--no-track")
    assert result.returncode == 0, result.stderr
    assert scores(tmp_path / "results/mine", "snn") == alone
    assert set(scores(tmp_path / "results/mine", f"meddler[what={what}]").values()) != {0.99}
    line = f"model meddler[what={what}] changed {NAMED.get(what)}; put back"
    assert (line in result.stderr) is (what in NAMED), result.stderr
    audit = {row["rule"]: row for row in json.loads(cli("audit", "mine.toml", "--json").stdout)}
    verdict = audit["no plugin changed what other cells are computed with"]["verdict"]
    assert verdict == ("DECLARED" if what in NAMED else "pass")


def test_what_it_prints_is_no_output_of_ours(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(SUITE.format(models='["meddler[what=stdout]"]'))
    result = cli("run", "mine.toml", "--no-track")
    assert "not JSON" not in result.stdout
    assert "not JSON" in result.stderr
    assert "neither" in result.stderr


def test_random_numbers_of_a_fit_are_put_back_without_a_word() -> None:
    said: list[str] = []
    before = random.getstate(), str(np.random.get_state()), torch.get_rng_state()  # noqa: NPY002
    with guarded("it", said.append, fitting=True):
        random.random()
        np.random.rand()  # noqa: NPY002
        torch.rand(1)
    assert random.getstate() == before[0]
    assert str(np.random.get_state()) == before[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
    assert said == []


def test_a_raising_plugin_is_put_back_too(tmp_path: Path) -> None:
    said: list[str] = []
    here = os.getcwd()

    def raising() -> None:
        with guarded("it", said.append):
            os.chdir(tmp_path)
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        raising()
    assert os.getcwd() == here
    assert said == ["it changed the working directory; put back"]


@pytest.fixture
def replaced_at_import() -> Iterator[None]:
    from fusionbench.builtin import metrics

    original = metrics.HarrellC.__call__

    def cheating(self: Any, prediction: Any, test: Any, train: Any) -> float:
        return 0.99

    cheating.__module__ = "fusionbench_meddling"
    metrics.HarrellC.__call__ = cheating  # type: ignore[method-assign]
    yield
    metrics.HarrellC.__call__ = original  # type: ignore[method-assign]


def test_metrics_replaced_at_import_are_refused_before_any_compute(replaced_at_import: None) -> None:
    with pytest.raises(PluginError, match=r"replaced HarrellC.__call__ of fusionbench by fusionbench_meddling"):
        refuse_replaced_functions()


def test_our_own_functions_are_not_refused() -> None:
    import fusionbench.builtin.metrics
    import fusionbench.survival.stats

    assert fusionbench.builtin.metrics.HarrellC
    assert fusionbench.survival.stats.harrell_c
    refuse_replaced_functions()
