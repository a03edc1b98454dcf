"""What is published can be made again from what is published: tables from stored predictions, counts, audits."""

from __future__ import annotations

import io
import json
import re
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from fusionbench.core.registry import discover
from fusionbench.report.analysis import analyse
from fusionbench.report.model import CheckedFrames
from fusionbench.report.paired import comparison, fold_values
from fusionbench.report.ranking import bootstrap_variants
from fusionbench.results.frames import read_frames
from fusionbench.tools.audit.published_tables import tables_agree

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
SUITES = sorted(p.parent.name for p in PUBLISHED.glob("*/table.csv"))


@pytest.mark.parametrize("suite", SUITES)
def test_the_table_follows_from_the_stored_predictions(suite: str) -> None:
    folder = PUBLISHED / suite
    lock = tomllib.loads((folder / "suite.lock.toml").read_text())
    registry = discover(("metrics",))
    directions = {name: registry.metric(name).higher_is_better for name in lock["suite"]["metrics"]}
    frames = read_frames(folder)
    shown = tables_agree(frames, folder)
    assert shown.verdict == "pass", shown.seen
    made = analyse(frames, directions=directions, seed=lock["suite"]["seed"]).table.rows
    as_read = pd.read_csv(io.StringIO(made.to_csv(index=False)))
    pd.testing.assert_frame_equal(as_read, pd.read_csv(folder / "table.csv"), rtol=1e-9)


@pytest.mark.parametrize("suite", SUITES)
def test_it_is_complete_and_audited(suite: str) -> None:
    folder = PUBLISHED / suite
    cells = pd.read_csv(folder / "cells.csv")
    assert not set(cells["status"]) - {"ok", "skipped"}
    audit = json.loads((folder / "audit.json").read_text())
    assert {rule["verdict"] for rule in audit["rules"]} <= {"pass", "DECLARED"}
    origin = tomllib.loads((folder / "run.toml").read_text())
    assert origin["failed"] == 0
    assert origin["command"].startswith(f"fusionbench run {suite}")


def mean(suite: str, **wanted: str) -> float:
    table = pd.read_csv(PUBLISHED / suite / "table.csv")
    wanted = {"pattern": "full", "metric": "harrell_c_index", **wanted}
    rows = table[(table[list(wanted)] == pd.Series(wanted)).all(axis=1)]
    assert len(rows) == 1, rows
    return float(rows["mean"].iloc[0])


@pytest.mark.skipif("tcga-lite" not in SUITES, reason="not published")
def test_controls_on_published_folds_agree_with_what_plain_models_reach() -> None:
    """KIRP: a penalised Cox model reaches .806 on omics alone, with a spread of .078 over these folds."""
    kirp = {"dataset": "tcga-kirp[image=roi]", "variant": "published-folds", "modalities": "clinical+omic"}
    assert mean("tcga-lite", model="cox", **kirp) >= 0.76


@pytest.mark.skipif("hancock" not in SUITES, reason="not published")
def test_the_forest_on_all_tables_of_hancock() -> None:
    tables = "clinical+pathological+blood+icd+cell-density"
    assert mean("hancock", model="survival-forest", modalities=tables) >= 0.69


README_SETS = {
    "clinical+pathological+blood+icd+cell-density": "five tables",
    "clinical+pathological+blood+icd+cell-density+tma": "five tables + tissue tiles",
}


README_MODELS = {
    *("healnet", "porpoise", "mcat", "early-fusion", "late-fusion[member=cox]", "best-unimodal"),
    *("cox", "survival-forest", "gradient-boosting"),
}


def readme_table() -> str:
    """The part of HANCOCK's table that the README shows."""
    table = pd.read_csv(PUBLISHED / "hancock" / "table.csv", dtype={"tie_group": str})
    shown = table[(table["pattern"] == "full") & (table["metric"] == "harrell_c_index")]
    shown = shown[shown["modalities"].isin(README_SETS) & shown["model"].isin(README_MODELS) & shown["mean"].notna()]
    lines = ["| model | modalities | c-index | sd over folds | 95 % interval |", "|---|---|---|---|---|"]
    for row in shown.sort_values("mean", ascending=False).itertuples():
        interval = f"{row.ci_low:.3f} to {row.ci_high:.3f}"
        lines.append(f"| {row.model} | {README_SETS[row.modalities]} | {row.mean:.3f} | {row.sd:.3f} | {interval} |")
    return "\n".join(lines)


@pytest.mark.skipif("hancock" not in SUITES, reason="not published")
def test_the_table_of_the_readme_is_the_published_one() -> None:
    readme = (PUBLISHED.parents[1] / "README.md").read_text(encoding="utf-8")
    assert readme_table() in readme, f"the README should show:\n{readme_table()}"


ADDITIVE = "synthetic[cases=600,seed=1,strength_interaction=0]"
INTERACTION = "synthetic[cases=600,seed=1,strength_bag=0,strength_interaction=2,strength_vector=0]"


@pytest.mark.skipif("synthetic-fusion" not in SUITES, reason="not published")
@pytest.mark.parametrize("model", ["healnet", "late-fusion[member=cox]"])
def test_additive_signal_is_found(model: str) -> None:
    """At least 85 % of the way from chance to the oracle."""
    oracle = mean("synthetic-fusion", dataset=ADDITIVE, model="oracle")
    found = mean("synthetic-fusion", dataset=ADDITIVE, model=model, modalities="vector+bag")
    assert found - 0.5 >= 0.85 * (oracle - 0.5)


@pytest.mark.skipif("synthetic-fusion" not in SUITES, reason="not published")
def test_pure_interaction_is_found_by_fusion_alone() -> None:
    folder = PUBLISHED / "synthetic-fusion"
    table = pd.read_csv(folder / "table.csv")
    alone = table[
        (table["dataset"] == INTERACTION) & table["modalities"].isin(["vector", "bag"]) & table["mean"].notna()
    ]
    assert (alone["mean"] - 0.5).abs().max() <= 0.06
    best = alone.loc[alone["mean"].idxmax()]
    stored = CheckedFrames.of(read_frames(folder), {"harrell_c_index": True})
    values = fold_values(stored.folds)
    rows = (
        (INTERACTION, "healnet", "vector+bag", "base"),
        (INTERACTION, best["model"], best["modalities"], "base"),
    )
    of_rows = (values[rows[0], "full", "harrell_c_index"], values[rows[1], "full", "harrell_c_index"])
    _, draws = bootstrap_variants(stored, seed=0, draws=2000)[INTERACTION, "base"]
    difference = comparison(stored, rows, "full", "harrell_c_index", of_rows, draws)
    assert difference["n_folds"] == 15
    assert difference["ci_low"] > 0, difference


@pytest.mark.skipif("protocol-audit" not in SUITES, reason="not published")
def test_what_a_protocol_is_said_to_be_worth() -> None:
    folder = PUBLISHED / "protocol-audit"
    blca = {"dataset": "tcga-blca", "modalities": "clinical+omic"}
    c = {(m, v): mean("protocol-audit", model=m, variant=v, **blca) for m in FORMS for v in ("base", "as-published")}
    table = (folder / "table.md").read_text(encoding="utf-8")
    of_blca = table.partition("What each variant changes on tcga-blca")[2].partition("\n## ")[0]
    line = next(x for x in of_blca.splitlines() if "survival-forest" in x and " as-published " in x)
    difference = line.split("|")[5].strip(" *")
    shared = re.search(r"tcga-blca \(as-published\): ([\d.]+)% of test rows share", (folder / "audit.json").read_text())
    assert shared is not None
    page = " ".join((PUBLISHED.parents[1] / "docs" / "protocol.md").read_text(encoding="utf-8").split())
    for model, form in FORMS.items():
        assert form.format(c[model, "base"], c[model, "as-published"]) in page
    assert difference in page
    assert f"{shared[1]} % of the test rows share a patient with train" in page


FORMS = {
    "survival-forest": "a survival forest goes from {:.3f} to {:.3f}",
    "healnet": "HEALNet goes from {:.3f} to {:.3f}",
}


def suites_table() -> str:
    """What docs/suites.md says of the published runs."""
    lines = []
    for suite in SUITES:
        origin = tomllib.loads((PUBLISHED / suite / "run.toml").read_text())
        protocol = tomllib.loads((PUBLISHED / suite / "suite.lock.toml").read_text())["suite"]["protocol"]
        columns = pd.read_parquet(PUBLISHED / suite / "predictions.parquet").columns
        curves = "yes" if any(name.startswith("S_") for name in columns) else "no"
        times = f"{protocol['repeats']} x {protocol['folds']}"
        lines.append(f"| `{suite}` | {times} | {origin['cells']} | {origin['compute_minutes']:.0f} | {curves} |")
    return "\n".join(lines)


def test_the_docs_list_what_is_published() -> None:
    docs = (PUBLISHED.parents[1] / "docs" / "suites.md").read_text(encoding="utf-8")
    assert suites_table() in docs, f"docs/suites.md should show:\n{suites_table()}"
