"""The session in process: tables always follow from the cells, whatever was narrowed, limited or bumped in between."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from fusionbench.core.errors import ResultsError, SuiteError
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


def test_three_lines_of_a_notebook(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    report = session.run(SUITE, track=False)
    assert (report.ran, report.done, report.complete) == (4, 0, True)
    assert len(session.table()) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert [line[:5] for line in told.err.splitlines() if line.startswith("[")] == ["[1/4,", "[2/4,", "[3/4,", "[4/4,"]
    assert repr(session) == (
        f"Session(out='{session.out}', home='{session.home}', device='cpu'; {len(session.registry.plugins)} plugins)"
    )


def test_the_table_is_tidy_and_a_figure_is_drawn(session: Session) -> None:
    """Results of two models, asked for by a session that has run nothing."""
    models = ("example-least-squares[ridge=1000.0]", "example-flat", "example-least-squares")
    (session.out.parent / "mine.toml").write_text(
        f'title = "Mine"\ndatasets = ["{SUITE}"]\nmodels = {list(models)}\nmodalities = [["table", "tiles"]]\n'
        "[protocol]\nfolds = 2\n"
    )
    session.run(str(session.out.parent / "mine.toml"), track=False)
    fresh = Session(out=session.out, device="cpu", registry=session.registry)
    table = fresh.table()
    assert table["mean"].is_monotonic_decreasing
    assert set(table["model"]) == set(models)
    kinds = {name: str(kind) for name, kind in table.dtypes.items()}
    assert {name for name, kind in kinds.items() if kind == "float64"} == {"mean", "sd", "ci_low", "ci_high"}
    counts = {"n_folds", "n_failed", "n_repeats", "n_cases", "n_skipped"}
    assert {name for name, kind in kinds.items() if kind == "Int64"} == counts
    texts = table.drop(columns=[name for name, kind in kinds.items() if kind != "object"])
    assert texts.map(lambda cell: isinstance(cell, str)).to_numpy().all()
    assert Session.table.__doc__ is not None
    assert all(name in Session.table.__doc__ for name in table.columns)
    figure = fresh.plot("forest")
    assert isinstance(figure, Figure)
    with pytest.raises(SuiteError, match="unknown figure 'forrest'; did you mean 'forest'"):
        fresh.plot("forrest")
    with pytest.raises(ResultsError, match="no figure forest 2 of 1"):
        fresh.plot("forest", number=2)
    with pytest.raises(ResultsError, match="no figure pooled 1 of 0; "):
        fresh.plot("pooled", "mine")


def test_a_session_that_has_run_nothing_asks_which_suite(session: Session) -> None:
    with pytest.raises(ResultsError, match=r"no results under .*; start with: fusionbench run quickstart --out "):
        session.table()
    for suite in (SUITE, "example-tiny"):
        (session.out / suite).mkdir(parents=True)
        (session.out / suite / "suite.lock.toml").touch()
    with pytest.raises(ResultsError, match="several suites: name one of example-faulty, example-tiny"):
        session.plot("forest")


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


def test_a_bumped_metric_scores_what_is_stored_and_trains_nothing(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.run(SUITE, track=False)
    monkeypatch.setattr(session.registry.metric("harrell_c_index"), "version", "bumped")
    with pytest.raises(ResultsError, match="4 of 4 cells are missing"):
        session.publish(SUITE)
    report = session.run(SUITE, Selection(folds="0"), track=False)
    assert (report.ran, report.complete, report.there) == (0, False, 1)
    assert session.run(SUITE, track=False).complete
    session.publish(SUITE)


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
