"""The same seed gives the same bits, whatever the order of cells and whichever of them are run."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from fusionbench.core.cell_result import CellResult
from fusionbench.core.registry import discover
from fusionbench.execution.device import WORKSPACE, deterministic
from fusionbench.execution.run_cell import run_cell
from fusionbench.results.store import Store
from fusionbench.session import Session
from fusionbench.suites.selection import Selection
from tests.conftest import EXAMPLE, Cli

SUITE = "example-tiny"


def same(one: CellResult, other: CellResult) -> None:
    assert one.status == other.status == "ok"
    assert repr(one.scores) == repr(other.scores)
    for a, b in zip(one.predictions, other.predictions, strict=True):
        assert (a.pattern, a.draw, a.prediction.ids) == (b.pattern, b.draw, b.prediction.ids)
        assert a.prediction.risk.tobytes() == b.prediction.risk.tobytes()
    assert one.state.keys() == other.state.keys()
    assert all(np.asarray(one.state[k]).tobytes() == np.asarray(other.state[k]).tobytes() for k in one.state)


@pytest.mark.slow
def test_order_and_subset_leave_every_bit_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)
    whole = Session(out=tmp_path / "whole", device="cpu", threads=1, registry=discover())
    assert whole.run(SUITE, track=False).complete
    store = Store(whole.out, SUITE)

    cells = list(whole.plan(SUITE).todo())
    random.Random(7).shuffle(cells)
    cells.sort(key=lambda cell: len(cell.members))  # members first
    for cell in cells:  # each with caches, random state and data of its own
        torch.manual_seed(random.Random(cell.key).getrandbits(32))
        alone = Session(device="cpu", threads=1, registry=whole.registry)
        same(run_cell(cell, alone.resources, store.load), store.load(cell.key))

    part = Session(out=tmp_path / "part", device="cpu", threads=1, registry=whole.registry)
    part.run(SUITE, Selection(models=("snn", "healnet"), folds="1"), track=False)
    keys = Store(part.out, SUITE).keys()
    assert 0 < len(keys) < len(cells)
    for key in keys:
        same(Store(part.out, SUITE).load(key), store.load(key))


def test_deterministic_is_recorded_and_not_keyed(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WORKSPACE, raising=False)
    suite = ("run", "example-tiny", "--folds", "0", "-m", "snn", "--no-track")
    assert cli(*suite, "--out", "a").returncode == 0
    assert cli(*suite, "--out", "b", "--deterministic").returncode == 0
    assert not torch.are_deterministic_algorithms_enabled()
    one, other = (sorted((tmp_path / out / "example-tiny/cells").iterdir()) for out in "ab")
    assert [p.name for p in one] == [p.name for p in other]

    def recorded(folder: Path) -> bool:
        found: bool = json.loads((folder / "cell.json").read_text())["record"]["environment"]["deterministic"]
        return found

    networks = [(a, b) for a, b in zip(one, other, strict=True) if (a / "model.safetensors").is_file()]
    assert networks
    assert {(recorded(a), recorded(b)) for a, b in networks} == {(False, True)}


def test_inside_only_deterministic_algorithms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WORKSPACE, raising=False)
    with deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ[WORKSPACE] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_bits_twice_on_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)
    found = discover()
    keys = set()
    for name in ("one", "two"):
        session = Session(out=tmp_path / name, device="cuda", deterministic=True, registry=found)
        assert not session.run(SUITE, Selection(models=("snn", "healnet")), track=False).failed
        keys.add(Store(session.out, SUITE).keys())
    (known,) = keys
    for key in known:
        same(Store(tmp_path / "one", SUITE).load(key), Store(tmp_path / "two", SUITE).load(key))
