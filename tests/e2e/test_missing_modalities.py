"""Modalities missing at test and in training, from the command line to the sections below the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.conftest import Cli

SUITE = "example-missing"
FUSED = "vector+bag"


@pytest.fixture
def results(cli: Cli, tmp_path: Path) -> Path:
    result = cli("run", SUITE, "--no-track")
    assert result.returncode == 0, result.stderr
    return tmp_path / "results" / SUITE


def test_missing_modalities(cli: Cli, results: Path) -> None:
    _sections_stand_below_the_table(cli, results)
    _frames_know_who_has_what_and_what_was_hidden(results)
    _a_shuffle_leaves_nobody_without_and_says_something_else(results)
    _members_are_fitted_on_what_their_fusion_sees(results)
    audit = cli("audit", SUITE)
    assert audit.returncode == 0, audit.stdout


def _sections_stand_below_the_table(cli: Cli, results: Path) -> None:
    for fmt, file in (("md", "table.md"), ("latex", "table.tex"), ("html", "table.html")):
        shown = cli("table", SUITE, "-f", fmt)
        assert shown.returncode == 0, shown.stderr
        text = (results / file).read_text()
        for title in (
            "Did fusion help?",
            "one modality shuffled",
            "pairs ranked right",
            "Missing modalities",
            "modalities hidden at random",
            "what is left",
            "one modality a patient",
        ):
            assert title in text, (title, file)


def _frames_know_who_has_what_and_what_was_hidden(results: Path) -> None:
    having = pd.read_csv(results / "targets.csv", keep_default_na=False).set_index("case")["modalities"]
    assert set(having) == {"vector", "bag", FUSED}
    n = having.str.count(r"\+") + 1
    folds = pd.read_csv(results / "folds.csv")
    folds = folds[(folds["modalities"] == FUSED) & (folds["model"] == "cox")]
    # folds differ in size by one case at most
    assert folds.loc[folds["pattern"] == "full", "realised"].mean() == pytest.approx(1 - n.sum() / 200, abs=0.01)
    by_pattern = folds.groupby("pattern")["realised"].mean()
    assert by_pattern["shuffle:bag"] == by_pattern["full"] < by_pattern["rate:0.25"] < by_pattern["rate:0.5"]
    lacking = int((~having.str.contains("bag")).sum())
    alone = folds[(folds["pattern"] == "only:bag") & (folds["variant"] == "base")]
    assert alone["n_prior"].sum() == lacking
    text = (results / "table.md").read_text()
    assert f"| cox | base | only:bag | {100 - lacking} |".replace(" ", "") in text.replace(" ", "")


def _a_shuffle_leaves_nobody_without_and_says_something_else(results: Path) -> None:
    frame = pd.read_parquet(results / "predictions.parquet")
    of = frame[(frame["model"] == "cox") & (frame["modalities"] == FUSED) & (frame["variant"] == "base")]
    risk = of.pivot(index="case", columns=["pattern", "draw"], values="risk")
    having = pd.read_csv(results / "targets.csv", keep_default_na=False).set_index("case")["modalities"]
    lacking = ~having.loc[risk.index].str.contains("bag").to_numpy()
    full = risk["full", 0].to_numpy()
    for draw in (0, 1):
        shuffled = risk["shuffle:bag", draw].to_numpy()
        assert np.array_equal(shuffled[lacking], full[lacking]), "who has no bag is seen as ever"
        assert (shuffled[~lacking] != full[~lacking]).mean() > 0.9
    assert not np.array_equal(risk["shuffle:bag", 0], risk["shuffle:bag", 1])


def _members_are_fitted_on_what_their_fusion_sees(results: Path) -> None:
    """A member's ledger is that of its modality in the cells that fuse; a row of one modality sees everybody."""
    records = {p.parent.name: json.loads(p.read_text())["record"] for p in results.glob("cells/*/cell.json")}

    def ledgers(key: str) -> dict[str, list[str]]:
        state = json.loads((results / "cells" / key / "preprocess.json").read_text())
        return {name: part["ledger"] for name, part in state.items()}

    def of(model: str, variant: str, modalities: str) -> dict[str, Any]:
        wanted = {"model": model, "variant": variant, "modalities": modalities, "fold": 0}
        cells = ((key, r) for key, r in records.items() if wanted.items() <= r["cell"].items())
        # a member and a listed row of the same model differ in what they were masked over
        return next({**r, "key": key} for key, r in cells if "masked_over" not in r["ingredients"])

    hidden = ledgers(of("cox", "trained-with-missing", FUSED)["key"])
    members = of("late-fusion[member=cox]", "trained-with-missing", FUSED)["members"]
    assert len(members) == 2
    for member in members:
        (name,) = member["modalities"]
        assert records[member["key"]]["ingredients"]["masked_over"] == ["vector", "bag"]
        assert ledgers(member["key"])[name] == hidden[name]
        everybody = ledgers(of("cox", "trained-with-missing", name)["key"])[name]
        assert set(hidden[name]) < set(everybody)
        assert everybody == ledgers(of("cox", "base", name)["key"])[name]
