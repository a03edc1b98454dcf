"""Plain models of ours are as good as those that were measured outside this project, on every cohort and endpoint.

Two means agree where they differ by no more than one standard deviation over folds, the larger of the two; the folds
are others.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fusionbench.core.registry import discover
from fusionbench.session import Session
from tests.unit.plugins.real_cohorts import real_home

ROOT = Path(__file__).parents[3]
PLACE = ["dataset", "model", "modalities"]
OUTSIDE = pd.read_csv(ROOT / "tests/golden/controls.csv", comment="#", keep_default_na=False)
APART = {("hancock[endpoint=recurrence-3y]", "random-forest", "blood")}
"""Our forest has 0.549 ± 0.056, and one outside 0.488 ± 0.029: both are next to chance."""


def apart(ours: pd.DataFrame, outside: pd.DataFrame) -> set[tuple[str, ...]]:
    """The rows of `outside` whose mean differs by more than the larger standard deviation.

    A cohort that has `clinical_stage` beside its other modalities is the same cohort.
    """
    ours, theirs = (
        of.assign(dataset=of["dataset"].str.replace("[clinical_stage=true]", "", regex=False)) for of in (ours, outside)
    )
    both = theirs.merge(ours[[*PLACE, "mean", "sd"]], on=PLACE, suffixes=("", "_ours"))
    assert len(both) == len(outside) > 0, "each row is there once"
    far = (both["mean"] - both["mean_ours"]).abs() > both[["sd", "sd_ours"]].max(axis=1)
    return set(both.loc[far, PLACE].itertuples(index=False, name=None))


@pytest.mark.parametrize("suite", sorted({*OUTSIDE["suite"]} - {""}))
def test_controls_of_published_tables(suite: str) -> None:
    table = pd.read_csv(ROOT / "results/published" / suite / "table.csv")
    table = table[(table["pattern"] == "full") & table["metric"].isin(["harrell_c_index", "auroc"])]
    outside = OUTSIDE[OUTSIDE["suite"] == suite]
    assert apart(table, outside) == APART & set(outside[PLACE].itertuples(index=False, name=None))


@pytest.mark.data
@pytest.mark.slow
def test_controls_that_no_published_table_has(tmp_path: Path) -> None:
    """Stage on TCGA, METABRIC and progression under immunotherapy."""
    real_home("tcga_cdr")
    outside, session = OUTSIDE[OUTSIDE["suite"] == ""], Session(out=tmp_path, device="cpu", registry=discover())
    tables = []
    for number, (names, of) in enumerate(outside.groupby("modalities")):
        datasets, sets = [*of["dataset"]], [str(names).split("+")]
        text = f'title = "t"\ndatasets = {datasets}\nmodels = ["cox"]\nmodalities = {sets}\n'
        (tmp_path / f"outside-{number}.toml").write_text(text)
        assert session.run(str(tmp_path / f"outside-{number}.toml"), track=False).complete
        tables.append(session.table(f"outside-{number}"))
    assert apart(pd.concat(tables), outside) == set()
