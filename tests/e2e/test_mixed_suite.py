"""A suite with follow-up and with classes, in-process: its table, report, comparison, explanations and MLflow runs."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from fusionbench.core.errors import ResultsError, SuiteError
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.session import Session
from fusionbench.tools.explain import Request

CLASSES = "synthetic[cases=40,task=binary]"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Session:
    root = tmp_path_factory.mktemp("mixed")
    (root / "mixed.toml").write_text(
        f'title = "Mixed"\ndatasets = ["synthetic[cases=40]", "{CLASSES}"]\nmodels = ["logistic", "cox", "snn"]\n'
        'modalities = [["vector"]]\nmetrics = ["harrell_c_index", "auroc"]\n[protocol]\nfolds = 2\n'
        "[train]\nepochs = 1\n"
    )
    session = Session(out=root / "results", device="cpu")
    session.run(str(root / "mixed.toml"))
    return session


def test_each_dataset_has_its_score(ran: Session) -> None:
    table = ran.table("mixed")
    assert {(row.dataset, row.metric) for row in table[table["mean"].notna()].itertuples()} == {
        ("synthetic[cases=40]", "harrell_c_index"),
        (CLASSES, "auroc"),
    }
    page = ran.report("mixed").read_text()
    assert "AUROC by cohort and model" in page
    assert "ROC, precision and net benefit" in page
    assert ran.plot("classes", "mixed", 3).axes
    assert list(ran.compare("mixed", "snn", "logistic")["metric"]) == ["auroc"]


def test_mlflow_has_the_score_and_the_classes(ran: Session) -> None:
    client = MlflowClient(f"sqlite:///{ran.out / 'mlflow.db'}")
    ids = [of.experiment_id for of in client.search_experiments()]
    runs = [run for run in client.search_runs(ids) if run.data.tags.get("dataset") == CLASSES]
    assert runs
    assert {(run.data.tags["task"], run.data.tags["classes"]) for run in runs} == {("binary", "low, high")}
    assert any("auroc.mean" in run.data.metrics for run in runs)


@pytest.mark.parametrize(("label", "best"), [(None, "high"), ("low", "low")])
def test_the_log_odds_of_a_class_are_explained(ran: Session, label: str | None, best: str) -> None:
    """The case is the one with the highest log odds of its fold, and no text says risk."""
    (explanation,) = ran.explain(_request(label)).explanations
    cell = explanation.selected.cell
    stored = pd.read_parquet(ran.out / "mixed/predictions.parquet")
    own = stored[(stored["dataset"] == CLASSES) & (stored["model"] == "snn") & (stored["fold"] == cell.fold)]
    assert own.set_index("case")[f"P({best})"].idxmax() == explanation.selected.case
    folder = ran.out / f"mixed/explain/snn/{explanation.selected.case}{'-low' if label else ''}"
    page = (folder / "explanation.html").read_text()
    assert f"log odds of &#x27;{best}&#x27;" in page
    assert "risk" not in page
    about = json.loads((folder / "explanation.json").read_text())
    assert about["class"] == best
    assert "risk" not in about
    assert about["log_odds"] == pytest.approx(explanation.value)


def _request(label: str | None) -> Request:
    return Request("mixed", "snn", top_risk=1, dataset=CLASSES, class_name=label, draws=2)


def test_an_unknown_class_and_a_class_of_survival_are_refused(ran: Session) -> None:
    with pytest.raises(SuiteError, match="unknown class 'lov'; did you mean 'low'"):
        ran.explain(_request("lov"))
    with pytest.raises(SuiteError, match="--class low: the endpoint is survival"):
        ran.explain(Request("mixed", "cox", top_risk=1, class_name="low"))


OF_SURVIVAL = re.compile(
    r"\brisks?\b|c-index|hazard|death|follow-up|surviv|time bin|concordan|\bmonths\b", re.IGNORECASE
)


def test_what_is_shown_of_classes_does_not_speak_of_survival(tmp_path: Path) -> None:
    """Neither where the AUROC is among the metrics nor where it is not."""
    session = Session(out=tmp_path / "results", device="cpu")
    for name, metrics in (("ranked", '["auroc", "auprc"]'), ("unranked", '["brier"]')):
        (tmp_path / f"{name}.toml").write_text(
            f'title = "Classes"\ndatasets = ["{CLASSES}"]\nmodels = ["logistic[inner_folds=2,penalties=2]"]\n'
            f'modalities = [["vector"], ["vector", "bag"]]\nmetrics = {metrics}\n'
            '[protocol]\nfolds = 2\ntest_patterns = ["full", "drop:bag"]\n'
        )
        session.run(str(tmp_path / f"{name}.toml"), track=False)
        page = re.sub(r"<[^>]*>", " ", session.report(name).read_text().split("How this was made")[0])
        rules = [line.rule for line in session.audit(name).lines]
        assert "at least 3 distinct probabilities in a fold" in rules
        assert "no test AUROC is above 0.999" in rules
        texts = [
            *rules,
            *unescape(page).splitlines(),
            *(tmp_path / f"results/{name}/table.md").read_text().splitlines(),
        ]
        assert "average training prediction" in " ".join(texts)
        assert [text for text in texts if OF_SURVIVAL.search(text)] == []
    with pytest.raises(
        SuiteError, match="'harrell_c_index' scores survival endpoints, and no dataset of ranked has one"
    ):
        session.score("ranked", "harrell_c_index")
    assert len(session.score("unranked", "auroc")) == 2 * (2 + 1) + 2
    record = next(
        path for path in (tmp_path / "results/ranked/cells").glob("*/cell.json") if "oracle" in path.read_text()
    )
    with pytest.raises(ResultsError, match="is the row of true probabilities, which are known of its own cohort only"):
        session.predict(f"ranked/{record.parent.name}", PluginRef.parse(CLASSES))


def test_the_audit_of_both_kinds_names_both(ran: Session) -> None:
    rules = [line.rule for line in ran.audit("mixed").lines]
    assert "time bins came from training cases only" in rules
    assert "at least 3 distinct risks or probabilities in a fold" in rules
    assert "no test c-index is above 0.97, no test AUROC is above 0.999" in rules
