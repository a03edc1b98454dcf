"""TransNEO's external cohorts and the published scores: the real files (marker data), made ones, and bad ones."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fusionbench_transneo import external, files, published, published_scores, tables
from fusionbench_transneo.dataset import TransNeo
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import roc_auc_score

from fusionbench import DataError, SuiteError
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import discover
from fusionbench.session import Session
from fusionbench.tools.predict_rows import RowRequest
from tests.unit.plugins.real_cohorts import assert_cases_are_read_and_travel, real_home

PUBLISHED = files.sources()
ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "suites.md").read_text(encoding="utf-8")
AUCS = {
    ("sammut-2022", "clinical"): 0.698,
    ("sammut-2022", "clinical+dna"): 0.804,
    ("sammut-2022", "clinical+rna"): 0.856,
    ("sammut-2022", "clinical+dna+rna"): 0.859,
    ("sammut-2022", "clinical+dna+rna+image"): 0.848,
    ("sammut-2022-with-treatment", "clinical+dna+rna+image"): 0.866,
}
"""Of the publication."""

ANCHORS = {
    "clinical": (0.043, {"external": 0.725, "pbcp": 0.622}, {"external": 0.722, "pbcp": 0.613}),
    "clinical+dna+rna": (0.064, {"external": 0.869, "pbcp": 0.795}, {"external": 0.874, "pbcp": 0.810}),
}
"""Ridge logistic regression: standard deviation over folds and AUC by cohort, measured elsewhere; and our AUC."""


@pytest.fixture(scope="session")
def home() -> Path:
    return real_home("transneo")


@cache
def cohort(home: Path, name: str) -> TransNeo:
    """Shared: a dataset reads its files once and changes nothing."""
    return TransNeo(TransNeo.Options(cohort=name), home)


@cache
def trained(home: Path) -> TransNeo:
    """Every patient of the training cohort."""
    return TransNeo(TransNeo.Options(cases="all"), home)


@pytest.mark.data
@pytest.mark.parametrize(("name", "counts"), [("artemis", (35, 3)), ("pbcp", (21, 16)), ("external", (56, 19))])
def test_patients_and_responses(home: Path, name: str, counts: tuple[int, int]) -> None:
    cases = cohort(home, name).cases()
    found = Counter(case.target.label for case in cases)
    assert (found["residual disease"], found["pCR"]) == counts
    assert all(set(case.refs) == {"clinical", "dna", "rna", "image"} for case in cases)
    assert not any(np.isnan(row).any() for case in cases for row in case.refs.values())
    assert_cases_are_read_and_travel(cohort(home, name))


@pytest.mark.data
def test_columns_are_those_of_the_training_cohort_and_no_patient_is_shared(home: Path) -> None:
    train = trained(home)
    for name in external.COHORTS:
        here = cohort(home, name).info().modalities
        assert {of: use.features for of, use in here.items()} == {
            of: train.info().modalities[of].features for of in ("clinical", "dna", "rna", "image")
        }
    ids = {name: {case.id for case in cohort(home, name).cases()} for name in external.COHORTS}
    assert ids["external"] == ids["artemis"] | ids["pbcp"]
    assert ids["external"].isdisjoint(case.id for case in train.cases())


@pytest.mark.data
def test_vectors_are_those_of_the_predictor(home: Path) -> None:
    """NAT-ML's tables for its external test hold the same values, under the names of its training table."""
    parts = [pd.read_csv(home / "transneo" / f"testing_{part}_df.csv") for part in ("her2neg", "her2pos")]
    table = pd.concat(parts).set_index("Trial.ID")
    of = {"clinical": tables.CLINICAL, "dna": tables.DNA, "rna": tables.RNA, "image": tables.IMAGE}
    cases = cohort(home, "external").cases()
    assert len(cases) == len(table)
    for case in cases:
        for name, columns in of.items():
            np.testing.assert_allclose(case.refs[name], table.loc[case.id, list(columns)].astype(float), rtol=1e-8)
        assert (case.target.label == "pCR") == bool(table.loc[case.id, "resp.pCR"])


@pytest.mark.data
def test_mutational_burdens_that_a_note_tells(home: Path) -> None:
    of = {"train": trained(home), "artemis": cohort(home, "artemis"), "pbcp": cohort(home, "pbcp")}
    burdens = {n: [case.refs["dna"][0] for case in d.cases() if "dna" in case.refs] for n, d in of.items()}
    assert {name: np.median(found) for name, found in burdens.items()} == {"train": 73, "artemis": 66.5, "pbcp": 158}
    notes = cohort(home, "external").info().notes
    assert any("median 158, of ARTemis 66, of the training cohort 73" in note for note in notes)
    assert any("8 % of ARTemis and 43 % of PBCP have pCR" in note for note in notes)


def scores_and_labels(home: Path) -> tuple[pd.DataFrame, dict[str, bool]]:
    labels = {case.id: case.target.label == "pCR" for case in cohort(home, "external").cases()}
    return published_scores(home), labels


@pytest.mark.data
def test_published_scores_have_the_published_aucs(home: Path) -> None:
    scores, labels = scores_and_labels(home)
    found = {
        row: round(roc_auc_score(of["case"].map(labels), of["P(pCR)"]), 3)
        for row, of in scores.groupby(["model", "modalities"])
    }
    assert found == AUCS
    assert (scores["P(pCR)"] + scores["P(residual disease)"]).to_numpy() == pytest.approx(1)


@pytest.mark.data
@pytest.mark.usefixtures("home")
def test_the_lines_of_the_documentation_bring_the_published_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their AUCs to three decimals, beside our row, with a test on the same patients."""
    monkeypatch.chdir(tmp_path)
    (lines,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    exec(lines, {})
    whole = (ROOT / "benchmarks" / "external-pcr.toml").read_text(encoding="utf-8")
    small = re.sub(r"models = \[.*?\n\]", 'models = ["logistic"]', whole, flags=re.DOTALL)
    (tmp_path / "small.toml").write_text(small.replace("folds = 5\nrepeats = 2", "folds = 2"))
    session = Session(out=tmp_path, device="cpu", registry=discover())
    assert session.run("small.toml", track=False).complete
    session.import_predictions("small", tmp_path / "published-scores.csv")
    table = pd.read_csv(tmp_path / "small/table.external.csv").query("metric == 'auroc'")
    both = table[table["external"] == "transneo[cohort=external]"].set_index(["model", "modalities"])
    assert {row: round(both.loc[row, "mean"], 3) for row in AUCS} == AUCS
    assert both.loc[("logistic", "clinical"), "p_holm"] <= 1
    assert set(table["external"]) == {f"transneo[cohort={name}]" for name in ("external", "artemis", "pbcp")}
    text = (tmp_path / "small/table.md").read_text()
    assert "Not pooled: transneo[cohort=external] holds patients of transneo[cohort=pbcp]: counted once" in text
    assert "transneo[cohort=artemis] is not counted: 3 patients of class pCR, fewer than 10" in text


@pytest.mark.data
def test_published_scores_stand_in_the_order_of_the_patients(home: Path) -> None:
    """The clinical features tell the clinical scores, in this order and not in another."""
    scores, _ = scores_and_labels(home)
    clinical = {case.id: case.refs["clinical"] for case in cohort(home, "external").cases()}
    of = scores[(scores["modalities"] == "clinical")]
    x, y = np.stack([clinical[case] for case in of["case"]]), of["P(pCR)"].to_numpy()

    def told(target: np.ndarray) -> float:
        forest = RandomForestRegressor(100, min_samples_leaf=2, oob_score=True, random_state=0).fit(x, target)
        return float(pd.Series(forest.oob_prediction_).corr(pd.Series(target), method="spearman"))

    pbcp = np.arange(38, 75)
    shifted = np.concatenate([y[:38], np.roll(y[pbcp], 1)])
    assert told(y) > 0.9
    assert told(shifted) < 0.7


@pytest.mark.data
@pytest.mark.slow
def test_logistic_regression_on_the_external_cohorts(home: Path, tmp_path: Path) -> None:
    """As measured elsewhere, within one standard deviation, and as the documentation says."""
    (suite,) = re.findall(r"`outside.toml`\n\n```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    (tmp_path / "outside.toml").write_text(suite)
    session = Session(out=tmp_path, device="cpu", registry=discover())
    assert session.run(str(tmp_path / "outside.toml"), track=False).complete
    for name in ("external", "pbcp"):
        rows = session.predict(RowRequest("outside"), PluginRef.of("transneo", cohort=name))
        assert [row.row[2] for row in rows] == list(ANCHORS)
        for row in rows:
            sd, anchors, shown = ANCHORS[row.row[2]]
            assert row.scores[0].value == pytest.approx(anchors[name], abs=sd), (name, row.row)
            assert row.scores[0].value == pytest.approx(shown[name], abs=0.002), (name, row.row)
            assert f"{shown[name]:.3f}" in DOCUMENT
            assert row.notes == ()  # no column is absent or left out


def made_table(**columns: object) -> dict[str, object]:
    """Two patients of ARTemis and one of PBCP."""
    table = {
        "Donor.ID": ["A002", "A004", "T177"],
        "Cohort": ["ARTEMIS", "ARTEMIS", "PBCP"],
        "Age": [57, 45, 27],
        "Tumour.size": [70, 44, 51],
        "LN.status.at.diagnosis": ["POS", "NEG", "POS"],
        "Histology": ["IDC", "OTHER", "IDC+APOCRINE"],
        "ER.status": ["POS", "NEG", "POS"],
        "HER2.status": ["NEG", "NEG", "POS"],
        "Grade.pre.NAT": [3, 2, 3],
        "RCB.category": ["RCB-II", "pCR", None],
        "pCR.RD": ["RD", "pCR", "RD"],
        "RCB.score": [2.0, 0.0, None],
        "Chemo.Cycles": [6, 4, 5],
    }
    names = (
        "TMB",
        *tables.DNA[1:6],
        "LOH.HLA",
        "HRD.sum",
        "STAT1.ssgsea",
        "GGI.ssgsea",
        "ESC.ssgsea",
        *tables.RNA[3:7],
    )
    names += ("Taxane.Score", *tables.RNA[8:], "Digital.pathology.LymphDensity")
    return table | {name: [float(i), -1.0, 0.5] for i, name in enumerate(names)} | columns


def made_scores(**columns: object) -> dict[str, object]:
    """The made patients' scores, beside one of the training cohort."""
    scores = {"Trial.ID": ["T001", "A002", "A004", "PBCP_0041"], "Class": ["Training", *["Validation"] * 3]}
    return scores | {name: [0.5, 0.1, 0.2, 0.3] for name in published.ROWS} | columns


Made = Callable[..., TransNeo]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """External cohorts of made files whose checksums are taken for the published ones."""

    def write(
        table: Mapping[str, object], scores: Mapping[str, object] | None = None, name: str = "external"
    ) -> TransNeo:
        folder = tmp_path / files.FOLDER
        folder.mkdir(exist_ok=True)
        pd.DataFrame(table).to_excel(folder / files.BOOK, sheet_name=external.SHEET, index=False)
        pd.DataFrame(scores or made_scores()).to_csv(folder / files.SCORES, sep="\t", index=False)
        sums = {
            place: replace(source, sha256=hashlib.sha256((tmp_path / place).read_bytes()).hexdigest())
            for place, source in PUBLISHED.items()
            if (tmp_path / place).is_file()
        }
        monkeypatch.setattr(files, "sources", lambda: sums)
        return TransNeo(TransNeo.Options(cohort=name), tmp_path)

    return write


def test_made_cohorts(made: Made) -> None:
    first, second, third = made(made_table()).cases()
    assert first.refs["clinical"].tolist() == [57, 1, 1, -1, 1, 3, 70]
    assert second.refs["clinical"][1] == 0
    assert third.refs["clinical"][1] == 1
    assert first.refs["dna"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert first.refs["rna"].tolist() == list(range(8, 19))
    assert first.refs["image"].tolist() == [19]
    assert [case.target.label for case in (first, second, third)] == ["residual disease", "pCR", "residual disease"]
    assert [case.id for case in made(made_table(), name="artemis").cases()] == ["A002", "A004"]
    assert [case.id for case in made(made_table(), name="pbcp").cases()] == ["T177"]
    scores = made(made_table()).published_scores()
    assert scores["case"].tolist() == ["A002", "A004", "T177"] * 6
    assert scores["P(pCR)"].tolist() == [0.1, 0.2, 0.3] * 6


def test_what_was_known_after_baseline_changes_no_input(made: Made) -> None:
    before, after = (
        made(made_table(**other)).cases()
        for other in ({}, {"RCB.score": [9.0, 9.0, 9.0], "Chemo.Cycles": [1, 1, 1], "resp.pCR": [1, 0, 1]})
    )
    for one, other in zip(before, after, strict=True):
        assert all(np.array_equal(one.refs[name], other.refs[name]) for name in one.refs)


BAD = [
    ({"Cohort": ["ARTEMIS", "ARTEMIS", "PBCB"]}, "Cohort holds 'PBCB'; ARTEMIS, PBCP are known"),
    ({"Donor.ID": ["A002", "A002", "T177"]}, "patient A002 stands twice"),
    ({"Histology": ["IDC", "LOBULAR", "ILC"]}, "Histology holds 'LOBULAR'; IDC, "),
    ({"TMB": ["many", 1, 2]}, "every column must be numeric"),
    ({"pCR.RD": ["pCR", "pCR", "RD"]}, "patient A002: RCB.category says 'RCB-II', pCR.RD says 'pCR'"),
]


@pytest.mark.parametrize(("columns", "message"), BAD, ids=[next(iter(bad[0])) for bad in BAD])
def test_bad_cells(made: Made, columns: dict[str, list[object]], message: str) -> None:
    with pytest.raises(DataError, match=rf"{re.escape(files.BOOK)}, {external.SHEET}: .*{re.escape(message)}"):
        made(made_table(**columns)).cases()


@pytest.mark.parametrize("column", ["Cohort", "Tumour.size", "Taxane.Score"])
def test_a_column_that_is_not_there(made: Made, column: str) -> None:
    table = made_table()
    del table[column]
    with pytest.raises(DataError, match=f"{external.SHEET}: no column {column}$"):
        made(table).cases()


BAD_SCORES = [
    ({"Class": ["Training", "Training", "Validation", "Validation"]}, "2 external patients; "),
    ({"Trial.ID": ["T001", "A004", "A002", "PBCP_0041"]}, "external row 1 is A004, and A002 in "),
    ({"Clinical": [0.1, 0.1, 1.5, 0.1]}, "a score is outside of 0 to 1"),
    ({"Clinical": [0.1, 0.1, None, 0.1]}, "a score is outside of 0 to 1"),
]


@pytest.mark.parametrize(("columns", "message"), BAD_SCORES)
def test_bad_scores(made: Made, columns: dict[str, list[object]], message: str) -> None:
    with pytest.raises(DataError, match=rf"{re.escape(files.SCORES)}: {re.escape(message)}"):
        made(made_table(), made_scores(**columns)).published_scores()


def test_scores_that_are_not_there(made: Made, tmp_path: Path) -> None:
    dataset = made(made_table())
    (tmp_path / files.FOLDER / files.SCORES).unlink()
    dataset.cases()
    with pytest.raises(
        DataError, match=r"MLscores.* is missing; run: fusionbench data fetch 'transneo\[cohort=external\]'$"
    ):
        dataset.published_scores()


def test_cases_belongs_to_the_training_cohort() -> None:
    with pytest.raises(SuiteError, match=r"^transneo: option cases belongs to cohort=transneo, not pbcp$"):
        TransNeo(TransNeo.Options(cohort="pbcp", cases="all"), Path("nowhere"))
    places = [source.path for source in TransNeo(TransNeo.Options(cohort="pbcp"), Path("nowhere")).sources()]
    assert places == ["transneo/Supplementary_Tables.xlsx", "transneo/transneo-diagnosis-MLscores.tsv.gz"]
