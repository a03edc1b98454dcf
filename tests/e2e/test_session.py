"""The session in process: tables always follow from the cells, whatever was narrowed, limited or bumped in between."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pandas as pd
import pytest

from fusionbench.core.errors import ResultsError
from fusionbench.core.registry import discover
from fusionbench.session import Session
from fusionbench.suites.selection import Selection
from fusionbench.tools.publish import _write_compact
from tests.conftest import EXAMPLE

SUITE = "example-faulty"
"""Four folds of one model that fits in no time, on twenty cases."""


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.syspath_prepend(EXAMPLE)
    return Session(out=tmp_path / "results", device="cpu", registry=discover())


def test_three_lines_of_a_notebook(session: Session) -> None:
    report = session.run(SUITE, track=False)
    assert (report.ran, report.done, report.complete) == (4, 0, True)
    assert len(session.table(SUITE)) == 1


def test_a_limit_counts_what_is_computed_now(session: Session) -> None:
    assert [session.run(SUITE, Selection(limit=1), track=False).ran for _ in range(5)] == [1, 1, 1, 1, 0]
    assert session.run(SUITE, track=False).complete


def test_a_narrowed_run_that_completes_the_suite_renews_the_full_table(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a plugin's version was bumped, `run SUITE -m MODEL` must not leave the old table in place."""
    from fusionbench_example.models import LeastSquares

    session.run(SUITE, track=False)
    before = session.table(SUITE)["mean"]

    class Flipped(LeastSquares):
        version = "2"

        def fit(self, train, val, ctx):  # type: ignore[no-untyped-def]
            predictor = super().fit(train, val, ctx)
            predictor.weights = -predictor.weights
            return predictor

    models = {**session.registry.found["models"], "example-least-squares": (Flipped, "example")}
    monkeypatch.setitem(session.registry.__dict__, "found", {**session.registry.found, "models": models})
    session.run(SUITE, Selection(models=("example-least-squares",)), track=False)
    assert session.table(SUITE)["mean"].sub(1 - before).abs().max() < 1e-12
    session.publish(SUITE)
    published = pd.read_csv(session.out / "published" / SUITE / "table.csv")
    assert published["mean"].equals(session.table(SUITE)["mean"])


def test_a_bumped_metric_counts_as_not_run(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.run(SUITE, track=False)
    monkeypatch.setattr(session.registry.metric("harrell_c_index"), "version", "bumped")
    with pytest.raises(ResultsError, match="4 of 4 cells are missing"):
        session.publish(SUITE)
    report = session.run(SUITE, Selection(folds="0"), track=False)
    assert (report.ran, report.complete, report.there) == (1, False, 1)


def test_publishing_needs_a_complete_run(session: Session) -> None:
    with pytest.raises(ResultsError, match="nothing has been run"):
        session.publish(SUITE)
    session.run(SUITE, Selection(folds="0"), track=False)
    with pytest.raises(ResultsError, match="3 of 4 cells are missing"):
        session.publish(SUITE)


def test_failed_cells_are_not_published(session: Session) -> None:
    session.run("example-failing", track=False)
    with pytest.raises(ResultsError, match=r"cells failed, the first with: .+ --retry failed"):
        session.publish("example-failing")
    assert not (session.out / "published").exists()


def test_a_refused_publication_leaves_the_old_one(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.run(SUITE, track=False)
    target = session.publish(SUITE)
    before = {p.name: p.read_bytes() for p in target.iterdir()}
    monkeypatch.setattr("fusionbench.tools.publish.LARGEST", 10)
    with pytest.raises(ResultsError, match="5 MB are the most"):
        session.publish(SUITE)
    assert {p.name: p.read_bytes() for p in target.iterdir()} == before
    assert [p.name for p in target.parent.iterdir()] == [SUITE]


def test_survival_curves_are_left_out_where_they_would_be_too_large(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.run("example-tiny", track=False)
    target = session.publish("example-tiny")
    whole = pd.read_parquet(target / "predictions.parquet")
    assert tomllib.loads((target / "run.toml").read_text())["survival_curves"] is True
    assert any(name.startswith("S_") for name in whole.columns)
    source = session.out / "example-tiny" / "predictions.parquet"
    monkeypatch.setattr("fusionbench.tools.publish.LARGEST", (target / "predictions.parquet").stat().st_size - 1)
    _write_compact(source, target / "small.parquet")
    small = pd.read_parquet(target / "small.parquet")
    pd.testing.assert_frame_equal(small, whole[small.columns])
    assert not any(name.startswith("S_") for name in small.columns)


def test_nobodys_follow_up_is_within_a_predictors_reach(session: Session) -> None:
    from fusionbench.execution.run_cell import fold_data

    cell = session.plan(SUITE).todo()[0]
    data = fold_data(cell, session.resources.cohort(cell.dataset, "patient"), session.resources)
    assert all(case.target is None for case in data.test.cases)
    assert all(case.target is None for case in data.train.without_targets().cases)
    assert data.test.targets is None
