"""A suite from the command line to the table: determinism, resume, narrowing, prediction on new patients."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import Cli, run_cli

TINY = ("run", "example-tiny", "--no-track")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which example-tiny has been run once."""
    folder = tmp_path_factory.mktemp("tiny")
    result = run_cli(TINY, folder)
    assert result.returncode == 0, result.stderr
    return folder


def predictions(folder: Path) -> pd.DataFrame:
    frame = pd.read_parquet(folder / "results/example-tiny/predictions.parquet")
    return frame.sort_values([c for c in frame.columns if c != "risk" and not c.startswith("S_")], ignore_index=True)


def test_files_and_table(tiny: Path) -> None:
    folder = tiny / "results/example-tiny"
    for name in ("table.md", "table.csv", "table.tex", "table.html", "folds.csv", "suite.lock.toml"):
        assert (folder / name).stat().st_size > 0
    table = pd.read_csv(folder / "table.csv")
    wanted = (
        "dataset, model, modalities, protocol, pattern, metric, mean, sd, ci_low, ci_high, n_folds, n_failed, "
        "tie_group, variant, train_pattern, policy, tuned, n_repeats, n_cases, n_skipped, unit"
    )
    assert list(table.columns) == wanted.split(", ")
    assert set(table["model"]) >= {
        "example-least-squares",
        "cox",
        "snn",
        "healnet",
        "late-fusion[member=cox]",
        "oracle",
    }
    assert set(table["pattern"]) == {"full", "half"}
    assert not list(folder.glob("cells/.tmp*"))


def test_a_second_run_does_nothing_and_says_so(tiny: Path) -> None:
    result = run_cli(TINY, tiny)
    assert result.returncode == 0
    assert "nothing to do" in result.stdout


@pytest.mark.slow
def test_same_seed_same_bits_in_another_order_and_hash_seed(tiny: Path, tmp_path: Path) -> None:
    for narrowed, hash_seed in ((("--folds", "1"), "7"), ((), "8")):
        result = run_cli((*TINY, *narrowed), tmp_path, {"PYTHONHASHSEED": hash_seed})
        assert result.returncode == 0, result.stderr
    pd.testing.assert_frame_equal(predictions(tiny), predictions(tmp_path), check_exact=True)


@pytest.mark.slow
def test_a_removed_cell_is_recomputed_alone_and_the_same(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny / "results", tmp_path / "results")
    before = predictions(tmp_path)
    cells = tmp_path / "results/example-tiny/cells"
    stamps = {p.name: (p / "cell.json").stat().st_mtime_ns for p in cells.iterdir()}
    victim = next(
        p.name
        for p in sorted(cells.iterdir())
        if json.loads((p / "cell.json").read_text())["record"]["cell"]["model"] == "healnet"
    )
    shutil.rmtree(cells / victim)
    result = run_cli(TINY, tmp_path)
    assert "1 cell computed" in result.stdout
    changed = {p.name for p in cells.iterdir() if (p / "cell.json").stat().st_mtime_ns != stamps[p.name]}
    assert changed == {victim}
    pd.testing.assert_frame_equal(before, predictions(tmp_path), check_exact=True)


def test_a_narrowed_run_writes_a_partial_table(cli: Cli, tmp_path: Path) -> None:
    result = cli(*TINY, "-m", "cox", "--folds", "0")
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "results/example-tiny"
    assert (folder / "table.partial.csv").is_file()
    assert not (folder / "table.csv").exists()
    assert "3 of 20 cells" in result.stdout


def test_dry_run_prints_cells_and_skips(cli: Cli) -> None:
    result = cli("run", "example-tiny", "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "members of others" in result.stdout
    assert "late-fusion" in result.stdout.split("skipped", 1)[1]
    cells = json.loads(cli("run", "example-tiny", "--dry-run", "--json").stdout)
    assert {c["label"].split(" · ")[1] for c in cells["cells"]} >= {"cox", "snn", "healnet"}


@pytest.mark.slow
@pytest.mark.parametrize("model", ["healnet", "cox", "late-fusion[member=cox]", "example-least-squares"])
def test_a_stored_cell_predicts_its_own_test_patients_again(tiny: Path, model: str) -> None:
    stored = predictions(tiny)
    stored = stored[(stored["model"] == model) & (stored["modalities"] == "vector+bag") & (stored["fold"] == 0)]
    stored = stored[stored["pattern"] == "full"].set_index("case")["risk"]
    listed = json.loads(run_cli((*TINY[:2], "--dry-run", "--json"), tiny).stdout)["cells"]
    key = next(c["key"] for c in listed if f" {model} · vector+bag · repeat 0 fold 0" in c["label"])
    result = run_cli(("predict", key[:12], "synthetic[cases=80,bag_min=10,bag_max=15]", "--to", "new.csv"), tiny)
    assert result.returncode == 0, result.stderr
    again = pd.read_csv(tiny / "new.csv", index_col="case")["risk"].loc[stored.index]
    assert (again - stored).abs().max() < 1e-6


def test_predicting_on_another_kind_of_cohort_is_refused(tiny: Path) -> None:
    listed = json.loads(run_cli((*TINY[:2], "--dry-run", "--json"), tiny).stdout)["cells"]
    result = run_cli(("predict", listed[0]["key"], "breast-cancer"), tiny)
    assert result.returncode == 2
    assert "has none of the modalities vector" in result.stderr


@pytest.mark.parametrize("form", ["md", "latex", "html", "csv"])
def test_table_formats(tiny: Path, form: str) -> None:
    result = run_cli(("table", "example-tiny", "-f", form), tiny)
    assert result.returncode == 0, result.stderr
    assert "healnet" in result.stdout


def test_publish_copies_a_complete_run(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny / "results", tmp_path / "results")
    result = run_cli(("publish", "example-tiny"), tmp_path)
    assert result.returncode == 0, result.stderr
    target = tmp_path / "results/published/example-tiny"
    assert {"table.md", "predictions.parquet", "audit.json", "run.toml", "report.html"} <= {
        p.name for p in target.iterdir()
    }
    rules = {r["rule"]: r["verdict"] for r in json.loads((target / "audit.json").read_text())["rules"]}
    assert rules.pop("the cells of a row were computed by one code") != "BREACH"  # uncommitted changes are declared
    assert set(rules.values()) == {"pass"}
    shown = run_cli(("table", "example-tiny", "--out", "results/published"), tmp_path)
    assert shown.stdout.strip() == (target / "table.md").read_text().strip()
