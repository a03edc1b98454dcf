"""Results of an earlier RESULTS_VERSION: read, reported and audited as they are stored, and computed again once."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from fusionbench.suites.cell import RESULTS_VERSION, canonical, cell_key
from tests.conftest import Cli
from tests.e2e.test_bad_input import one_error

SUITE = """
title = "Then and now"
datasets = ["synthetic[cases=60]"]
models = ["cox", "late-fusion[member=cox]"]
modalities = [["vector", "bag"]]
[protocol]
folds = 2
"""


def as_version_2(folder: Path) -> None:
    """What version 2 would have stored: other keys, and in the ingredients the dataset as it was written."""
    records = {path: json.loads(path.read_text()) for path in folder.glob("cells/*/cell.json")}
    keys: dict[str, str] = {}
    for path, record in sorted(records.items(), key=lambda item: len(item[1]["record"]["members"])):
        about = record["record"]
        about["ingredients"] = _older(about["ingredients"], keys)
        for member in about["members"]:
            member["key"] = keys[member["key"]]
        old, record["key"] = record["key"], cell_key(canonical(about["ingredients"]))
        keys[old] = record["key"]
        path.write_text(json.dumps(record))
        path.parent.rename(path.parents[1] / record["key"])
    lock = (folder / "suite.lock.toml").read_text()
    lock = lock.replace(f"results_version = {RESULTS_VERSION}", "results_version = 2")
    lock = re.sub(r"(?m)^identity = .*\n", "", lock)
    of_keys = hashlib.sha256(canonical(sorted(keys.values())).encode()).hexdigest()
    lock = re.sub(r'keys_sha256 = ".*"', f'keys_sha256 = "{of_keys}"', lock)
    (folder / "suite.lock.toml").write_text(lock)


def _older(ingredients: dict[str, Any], keys: dict[str, str]) -> dict[str, Any]:
    dataset = ingredients["dataset"]
    dataset["written"] = dataset.pop("identity")
    dataset["fingerprint"] = "0" * 64
    return {**ingredients, "results_version": 2, "members": [keys[key] for key in ingredients["members"]]}


@pytest.fixture
def older(cli: Cli, tmp_path: Path) -> Path:
    (tmp_path / "then.toml").write_text(SUITE)
    assert cli("run", "then.toml", "--no-track").returncode == 0
    as_version_2(tmp_path / "results/then")
    return tmp_path / "results/then"


def test_they_are_read_as_they_are_stored_and_computed_again_once(cli: Cli, older: Path) -> None:
    before = {path.name for path in (older / "cells").iterdir()}
    table = (older / "table.csv").read_bytes()
    audit = cli("audit", "then.toml")
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert "every cell of the suite has a result: 10 cells" in audit.stdout
    assert "the record of each cell belongs to its key: 10 cells" in audit.stdout
    assert "DECLARED  the lock is that of the planned cells: 1 of 5 parts of it; written under RESULTS_VERSION 2" in (
        audit.stdout
    )
    for verb in (("table", "then.toml"), ("report", "then.toml")):
        assert cli(*verb).returncode == 0
    one_error(cli("publish", "then.toml"), "results of RESULTS_VERSION 2; compute them once more with: fusionbench run")
    told = json.loads(cli("doctor", "--json", "then.toml").stdout)
    assert [line["what"] for line in told if line["verdict"] == "problem"] == ["RESULTS_VERSION"]
    assert f"RESULTS_VERSION of fusionbench: 2 -> {RESULTS_VERSION}" in cli("status", "then.toml").stdout

    again = cli("run", "then.toml", "--no-track")
    assert "10 cells computed, 0 were there already" in again.stdout
    told_once = f"results of RESULTS_VERSION 2, this is {RESULTS_VERSION}: they are kept, and computed once more"
    assert again.stderr.count(told_once) == 1
    assert before < {path.name for path in (older / "cells").iterdir()}
    assert (older / "table.csv").read_bytes() == table
    last = cli("run", "then.toml", "--no-track")
    assert "nothing to do" in last.stdout
    assert "RESULTS_VERSION" not in last.stderr


def test_an_edited_record_is_found_in_older_results_too(cli: Cli, older: Path) -> None:
    path = min((older / "cells").glob("*/cell.json"))
    path.write_text(path.read_text().replace('"fold": 0', '"fold": 1', 1).replace('"fold":0', '"fold":1', 1))
    result = cli("audit", "then.toml")
    assert result.returncode == 1
    assert "BREACH" in result.stdout
