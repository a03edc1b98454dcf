"""`[[external]]` of a suite: fitted models on other hospitals, in table, report, MLflow, audit and published form."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from sksurv.metrics import concordance_index_censored

from fusionbench.core.errors import DataError, SuiteError
from fusionbench.core.plugin_options import validate_options
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import discover
from fusionbench.core.seeds import derive
from fusionbench.data.inspection.between import compare_datasets
from fusionbench.results.store import Store
from fusionbench.session import Session
from tests.conftest import Cli
from tests.e2e.test_new_cohort import patients, write

EXTERNAL = """
[[external]]
train = "table[file=a.toml]"
test = [{tests}]
"""
SUITE = """
title = "Three hospitals"
datasets = ["table[file=a.toml]"]
models = ["cox", "snn", "late-fusion[member=cox]"]
modalities = [["clinical"], ["blood"], ["clinical", "blood"]]
metrics = ["harrell_c_index", "uno_c_index", "ibs", "d_calibration"]
[protocol]
folds = 2
repeats = 2
test_patterns = ["full", "half", "only:clinical"]
mask_draws = 2
[train]
epochs = 2
"""
SMALL = SUITE.replace('"snn", "late-fusion[member=cox]"', "").replace("repeats = 2", "")
AB, AC = "table[file=a.toml] -> table[file=b.toml]", "table[file=a.toml] -> table[file=c.toml]"


def suite(folder: Path, name: str, *tests: str, text: str = SUITE) -> None:
    listed = ", ".join(f'"table[file={test}.toml]"' for test in tests)
    (folder / f"{name}.toml").write_text(text + (EXTERNAL.format(tests=listed) if tests else ""))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hospital a, fitted on, with b and c, which has no blood values and two patients without an outcome."""
    folder = tmp_path_factory.mktemp("hospitals")
    write(folder, "a", patients(90, 0, "A"))
    write(folder, "b", patients(50, 1, "B"))
    third = patients(40, 2, "C").drop(columns=["crp", "albumin"]).astype({"months": object, "died": object})
    third.loc[:1, ["months", "died"]] = ""
    write(folder, "c", third, blood=())
    suite(folder, "three", "b", "c")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        assert not session().run("three.toml").failed
    return folder


def session() -> Session:
    return Session(Path("results"), device="cpu", registry=discover())


@pytest.fixture
def there(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(home)
    return home / "results" / "three"


def outcomes(folder: Path, name: str) -> pd.DataFrame:
    known = pd.read_csv(folder / "external_targets.csv", dtype={"case": str})
    return known[known["dataset"] == name].set_index("case")


def plain_c(predicted: pd.DataFrame, known: pd.DataFrame) -> float:
    of = known.loc[predicted["case"]]
    return float(concordance_index_censored(of["event"].astype(bool), of["time"], predicted["risk"])[0])


def test_the_table_has_means_spreads_ensembles_and_falls_of_the_stored_predictions(there: Path) -> None:
    table = pd.read_csv(there / "table.external.csv")
    stored = pd.read_parquet(there / "external_predictions.parquet")
    inside = pd.read_csv(there / "table.csv")
    for name, test in ((AB, "table[file=b.toml]"), (AC, "table[file=c.toml]")):
        known = outcomes(there, name)
        for line in table[(table["external"] == test) & (table["metric"] == "harrell_c_index")].to_dict("records"):
            same = (stored["dataset"] == name) & (stored["model"] == line["model"])
            same &= (stored["modalities"] == line["modalities"]) & (stored["pattern"] == line["pattern"])
            of = stored[same & stored["case"].isin(known.index)]
            by_model = of.groupby(["repeat", "fold"])
            values = [np.mean([plain_c(d, known) for _, d in m.groupby("draw")]) for _, m in by_model]
            assert len(values) == line["n_models"] == 4
            assert line["mean"] == pytest.approx(np.mean(values), abs=1e-12)
            assert line["sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
            together = [d.groupby("case", as_index=False)["risk"].mean() for _, d in of.groupby("draw")]
            assert line["ensemble"] == pytest.approx(np.mean([plain_c(d, known) for d in together]), abs=1e-12)
            own = inside[
                (
                    inside[["model", "modalities", "pattern", "metric"]]
                    == pd.Series(line)[["model", "modalities", "pattern", "metric"]]
                ).all(axis=1)
            ]["mean"].item()
            assert line["fall"] == pytest.approx(own - line["mean"], abs=1e-12)
            assert line["n_cases"] == len(known)


def test_the_interval_resamples_the_patients_of_the_other_hospital(there: Path) -> None:
    stored = pd.read_parquet(there / "external_predictions.parquet")
    known = outcomes(there, AB)
    line = (
        pd.read_csv(there / "table.external.csv")
        .query(
            "external == 'table[file=b.toml]' and model == 'cox' and modalities == 'clinical' and pattern == 'full'"
            " and metric == 'harrell_c_index'"
        )
        .iloc[0]
    )
    of = stored.query(f"dataset == '{AB}' and model == 'cox' and modalities == 'clinical' and pattern == 'full'")
    models = [part.set_index("case")["risk"] for _, part in of.groupby(["repeat", "fold"])]
    rng, draws = np.random.default_rng(derive(0, "plain")), []
    for _ in range(400):
        ids = rng.choice(known.index, len(known))
        target = known.loc[ids]
        draws.append(
            np.mean(
                [
                    concordance_index_censored(target["event"].astype(bool), target["time"], risk.loc[ids])[0]
                    for risk in models
                ]
            )
        )
    assert (line["ci_low"], line["ci_high"]) == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.02)


def test_every_patient_is_predicted_and_those_without_an_outcome_are_counted(there: Path) -> None:
    stored = pd.read_parquet(there / "external_predictions.parquet").query(f"dataset == '{AC}'")
    assert stored["case"].nunique() == 40
    assert len(outcomes(there, AC)) == 38
    assert "2 without an outcome are predicted and not scored" in (there / "table.md").read_text()


def test_rows_without_a_modality_of_the_other_hospital_are_not_tested_there(there: Path) -> None:
    table = pd.read_csv(there / "table.external.csv").query("external == 'table[file=c.toml]'")
    assert set(table["modalities"]) == {"clinical", "clinical+blood"}


def test_ties_are_those_of_the_paired_differences(there: Path) -> None:
    table = pd.read_csv(there / "table.external.csv").query("metric == 'harrell_c_index' and pattern == 'full'")
    for _, of in table.groupby("external"):
        best = of.loc[of["mean"].idxmax()]
        assert best["tie_group"] == "a"
        assert np.isnan(best["behind"])
        others = of.drop(best.name)
        np.testing.assert_allclose(others["behind"], best["mean"] - others["mean"], atol=1e-12)
        assert ((others["tie_group"] == "a") == (others["p_holm"] > 0.05)).all()
        assert (others["p_holm"] >= others["p"]).all()


def test_readers_find_it_in_table_report_screen_verdict_and_figure(cli: Cli, there: Path) -> None:
    text = (there / "table.md").read_text()
    assert "## External validation" in text
    assert "### table[file=a.toml], tested on table[file=b.toml]" in text
    assert "2 external cohorts together" in text
    assert "Tested on table[file=b.toml] (50 cases" in text
    assert "Best there:" in text
    shown = cli("table", "three.toml", "--all-rows").stdout
    assert "on other cohorts, mean over the fold models" in shown
    page = session().report("three.toml").read_text()
    assert "Internal and external validation" in page
    assert session().plot("external", "three.toml").axes


def test_mlflow_has_the_metrics_of_the_row(there: Path) -> None:
    with sqlite3.connect(there.parent / "mlflow.db") as store:
        keys = {key for (key,) in store.execute("select distinct key from latest_metrics")}
    assert "external.table-file-b.toml.harrell_c_index.mean" in keys
    assert "external.table-file-b.toml.harrell_c_index.half.mean" in keys


def test_it_is_audited_published_and_an_edited_score_is_found(cli: Cli, there: Path) -> None:
    assert "pass      patients of external cohorts were not trained on" in cli("audit", "three.toml").stdout
    published = session().publish("three.toml")
    assert {"external_folds.csv", "table.external.csv"} <= {path.name for path in published.iterdir()}
    audit = Session(published.parent, device="cpu", registry=discover()).audit("three")
    assert {line.verdict for line in audit.lines if "published" in line.rule} == {"pass"}
    folds = pd.read_csv(published / "external_folds.csv")
    folds.loc[0, "value"] = 0.999
    folds.to_csv(published / "external_folds.csv", index=False)
    audit = Session(published.parent, device="cpu", registry=discover()).audit("three")
    assert "BREACH" in {line.verdict for line in audit.lines if line.rule.startswith("published scores follow")}


def test_a_further_metric_scores_what_is_stored_there_too(there: Path, tmp_path: Path) -> None:
    shutil.copytree(there.parents[1], tmp_path / "copy")
    copy = tmp_path / "copy"
    text = (copy / "three.toml").read_text().replace('"d_calibration"]', '"d_calibration", "td_auc"]')
    (copy / "three.toml").write_text(text)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(copy)
        report = session().run("three.toml", track=False)
    assert (report.ran, report.failed) == (0, ())
    assert "td_auc" in set(pd.read_csv(copy / "results/three/table.external.csv")["metric"])


def test_two_models_are_compared_and_a_metric_scored_on_the_other_hospital_too(cli: Cli, there: Path) -> None:
    table = pd.read_csv(there / "table.external.csv").set_index(
        ["external", "model", "modalities", "pattern", "metric"]
    )
    pairs = session().compare("three", "cox", "snn")
    outside = pairs[pairs["dataset"] == AB]
    assert len(outside) == 5 * 3, "sets of modalities with their patterns, and metrics with a direction"
    for line in outside.to_dict("records"):
        places = [
            ("table[file=b.toml]", m, line["modalities_a"], line["pattern"], line["metric"]) for m in ("cox", "snn")
        ]
        means = [table.loc[place, "mean"] for place in places]
        assert [line["mean_a"], line["mean_b"]] == pytest.approx(means, abs=1e-12, nan_ok=True)
        assert line["difference"] == pytest.approx(means[0] - means[1], abs=1e-12, nan_ok=True)
    c = outside[outside["metric"] == "harrell_c_index"]
    assert ((c["ci_low"] < c["difference"]) & (c["difference"] < c["ci_high"]) & (c["p_holm"] >= c["p"])).all()
    shown = cli("compare", "three", "cox", "snn")
    assert AB in shown.stdout
    assert "FITTED -> TESTED: an external cohort" in shown.stdout
    folds = session().score("three", "td_auc")
    assert set(folds["dataset"]) == {"table[file=a.toml]", AB, AC}
    scored = cli("score", "three", "--metric", "harrell_c_index")
    assert "External validation" in scored.stdout
    best = table.loc[("table[file=b.toml]", "cox", "clinical", "full", "harrell_c_index"), "mean"]
    assert f"{best:.3f} ± " in scored.stdout


def test_a_pattern_that_hides_nothing_there_is_shown_once(there: Path) -> None:
    text = (there / "table.md").read_text().replace("\\", "")
    assert "tested on table[file=c.toml], pattern" not in text, "hospital c has one modality"
    assert "every row has the same score here under: half, only:clinical" in text
    assert "tested on table[file=b.toml], pattern half" in text


def test_somebody_elses_scores_of_the_other_hospital_are_rows(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One model, not one a fold; compared with ours on the same patients."""
    shutil.copytree(home, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    ours = pd.read_parquet("results/three/external_predictions.parquet")
    chosen = f"dataset == '{AB}' and model == 'cox' and modalities == 'clinical' and pattern == 'full'"
    theirs = ours.query(f"{chosen} and repeat == 0 and fold == 0")[
        ["dataset", "modalities", "repeat", "fold", "case", "risk"]
    ]
    theirs.assign(model="theirs").to_csv("theirs.csv", index=False)
    session().import_predictions("three", Path("theirs.csv"))
    table = pd.read_csv("results/three/table.external.csv").query(
        "external == 'table[file=b.toml]' and pattern == 'full' and metric == 'harrell_c_index'"
    )
    line = table[table["model"] == "theirs"].iloc[0]
    assert (
        line["mean"]
        == line["ensemble"]
        == pytest.approx(plain_c(theirs, outcomes(Path("results/three"), AB)), abs=1e-12)
    )
    assert line["n_models"] == 1
    assert not np.isnan(line["p_holm"])
    assert np.isnan(line["internal"])
    again = pd.read_csv("results/three/table.csv")
    assert "theirs" not in set(again["model"])
    half = theirs.assign(model="half").iloc[:20]
    half.to_csv("half.csv", index=False)
    with pytest.raises(DataError, match="30 of its 50 test cases are absent"):
        session().import_predictions("three", Path("half.csv"))


def test_a_run_that_stops_before_any_external_prediction_has_a_table(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing of the other hospital yet, and the same command goes on."""
    write(tmp_path, "a", patients(90, 0, "A"))
    write(tmp_path, "b", patients(50, 1, "B"))
    suite(tmp_path, "part", "b", text=SMALL)
    monkeypatch.chdir(tmp_path)
    assert cli("run", "part.toml", "--limit", "2", "--no-track").returncode == 0
    text = (tmp_path / "results/part/table.partial.md").read_text()
    assert "External validation" not in text
    assert session().report("part.toml").exists()
    assert cli("audit", "part.toml").returncode == 0
    assert not session().run("part.toml", track=False).failed
    assert "## External validation" in (tmp_path / "results/part/table.md").read_text()


def test_fitting_reads_nothing_of_the_other_hospital(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the other hospital replaced by noise, fitted states are byte-equal; without it, nothing is fitted again."""
    for name in ("a", "b"):
        for ending in ("csv", "toml"):
            shutil.copy(home / f"{name}.{ending}", tmp_path)
    suite(tmp_path, "one", "b")
    monkeypatch.chdir(tmp_path)
    session().run("one.toml", track=False)
    store = Store(tmp_path / "results", "one")
    trained = [key for key in os.listdir(store.cells) if "external" not in store.record(key)["record"]["cell"]]
    states = {
        (key, name): (store.cells / key / name).read_bytes()
        for key in trained
        for name in ("model.safetensors", "preprocess.json")
    }
    noise = patients(50, 77, "B")
    rng = np.random.default_rng(5)
    noise["months"], noise["died"] = rng.permutation(noise["months"]), rng.permutation(noise["died"])
    noise.to_csv(tmp_path / "b.csv", index=False)
    shutil.rmtree(tmp_path / "results")
    session().run("one.toml", track=False)
    for (key, name), content in states.items():
        assert (store.cells / key / name).read_bytes() == content
    suite(tmp_path, "one")
    report = session().run("one.toml", track=False)
    assert report.ran == 0
    assert not (tmp_path / "results/one/external_folds.csv").exists()
    assert not (tmp_path / "results/one/table.external.csv").exists()


def test_patients_who_were_trained_on_are_a_breach(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pd.read_csv(home / "a.csv")
    write(tmp_path, "a", first)
    same_id = patients(30, 9, "D")
    same_id.loc[3, "patient"] = "A007"
    write(tmp_path, "d", same_id)
    same_values = patients(30, 10, "E")
    for column in ("age", "sex", "stage", "crp", "albumin", "months", "died"):
        same_values.loc[5:8, column] = first.loc[11:14, column].to_numpy()
    write(tmp_path, "e", same_values)
    suite(
        tmp_path, "two", "d", "e", text=SUITE.replace('"snn", "late-fusion[member=cox]"', "").replace("repeats = 2", "")
    )
    monkeypatch.chdir(tmp_path)
    session().run("two.toml", track=False)
    lines = {line.rule: line for line in session().audit("two.toml").lines}
    found = lines["patients of external cohorts were not trained on"]
    assert found.verdict == "BREACH"
    assert "A007" in found.seen
    lock = session().as_run("two.toml")[1]
    text = (lock.folder / "table.md").read_text()
    assert "E005" in text
    assert "probably the same patients" in text


def numbered(n: int, seed: int) -> pd.DataFrame:
    """Patients whose ids count from 1."""
    return patients(n, seed, "").assign(patient=[str(i + 1) for i in range(n)])


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("none", "same-names"),
        ("one is the same", "shared-patients"),
        ("longer follow-up", "shared-patients"),
        ("other scale", "shared-patients"),
        ("nothing in common", "shared-patients"),
        ("few ids", "shared-patients"),
    ],
)
def test_two_hospitals_that_number_their_patients_alike(tmp_path: Path, change: str, kind: str) -> None:
    first, second = numbered(60, 0), numbered(40, 1)
    if change == "one is the same":
        second.loc[7] = first.loc[7]
    elif change == "longer follow-up":
        second = first.loc[:39].assign(months=first.loc[:39, "months"] + 12.5)
    elif change == "other scale":
        numbers = ["age", "crp", "albumin"]
        second = first.loc[:39].assign(**{c: first[c] * 10 + 3 for c in numbers}, stage=5)
    elif change == "nothing in common":
        second = second[["patient"]].assign(weight=np.arange(40.0))
    elif change == "few ids":
        second["patient"] = [str(i + 41) for i in range(40)]
        second.loc[20:, "patient"] = [f"B{i}" for i in range(20)]
        second.loc[:14, "patient"] = [f"C{i}" for i in range(15)]
    write(tmp_path, "a", first)
    if change == "nothing in common":
        write(tmp_path, "b", second, clinical=("weight",), blood=())
    else:
        write(tmp_path, "b", second)
    registry = discover(("datasets", "modalities"))
    refs = [PluginRef.of("table", file=str(tmp_path / f"{name}.toml")) for name in "ab"]
    cohorts = [registry.dataset("table")(validate_options(registry, "datasets", ref), tmp_path) for ref in refs]
    warnings = compare_datasets(cohorts[0], cohorts[1], registry.modalities).warnings
    found = {w.kind: w.text for w in warnings if w.kind in ("same-names", "shared-patients")}
    assert list(found) == [kind], found
    if kind == "same-names":
        assert "40 case ids are in both ('1', " in found[kind]
        assert "write other ids in one cohort" in found[kind]


def test_patients_who_are_numbered_alike_are_declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a", numbered(60, 0))
    write(tmp_path, "b", numbered(40, 1))
    suite(tmp_path, "one", "b", text=SMALL)
    monkeypatch.chdir(tmp_path)
    assert not session().run("one.toml", track=False).failed
    (found,) = (line for line in session().audit("one.toml").lines if line.rule.startswith("patients of external"))
    assert found.verdict == "DECLARED"
    assert found.seen.startswith("1 of 1 external test with 40 cases")
    assert "are in both" in (tmp_path / "results/one/table.md").read_text()


def cohort(folder: Path, name: str, table: pd.DataFrame, **columns: object) -> str:
    return write(folder, name, table, **columns)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ('"table[file=a.toml]"', "is tested on itself"),
        ('"table[file=copy.toml]"', "is the cohort that models are fitted on"),
        ('"table[file=b.toml]", "table[file=b.toml]"', "is listed twice"),
        ('"table[file=b.toml]", "table[file=./b.toml]"', "is listed twice"),
        ('"table[file=./a.toml]"', "is tested on itself"),
        ('"table[file=none.toml]"', "none.toml"),
        ('"tabel[file=b.toml]"', "table"),
        ('"table[file=other.toml]"', "none of the columns that it was fitted on"),
        ('"table[file=few.toml]"', "max_absent"),
        ('"table[file=levels.toml]"', "write the column alike in both cohorts"),
        ('"table[file=labs.toml]"', "has none of the modalities"),
        ('"wisconsin"', "endpoint"),
    ],
)
def test_bad_input_is_told_before_any_compute(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tests: str, expected: str
) -> None:
    for name in ("a", "b"):
        for ending in ("csv", "toml"):
            shutil.copy(home / f"{name}.{ending}", tmp_path)
    shutil.copy(home / "a.csv", tmp_path / "copy.csv")
    (tmp_path / "copy.toml").write_text((home / "a.toml").read_text())
    renamed = patients(20, 3, "F").rename(columns={"age": "Alter", "sex": "Geschlecht", "stage": "Stadium"})
    cohort(tmp_path, "other", renamed, clinical=("Alter", "Geschlecht", "Stadium"))
    cohort(tmp_path, "few", patients(20, 3, "F"), clinical=("age",))
    cohort(tmp_path, "levels", patients(20, 3, "F").assign(age="old"))
    cohort(tmp_path, "labs", patients(20, 3, "F"))
    (tmp_path / "labs.toml").write_text(
        (tmp_path / "labs.toml").read_text().replace("modality.clinical", "modality.labs").replace("blood", "serum")
    )
    (tmp_path / "bad.toml").write_text(SUITE + EXTERNAL.format(tests=tests))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=r".") as raised:
        session().run("bad.toml", track=False)
    assert expected in str(raised.value)
    assert not (tmp_path / "results/bad/cells").exists()


def test_unknown_training_cohort(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    (home / "typo.toml").write_text(SUITE + EXTERNAL.format(tests='"table[file=b.toml]"').replace("a.toml", "q.toml"))
    with pytest.raises(SuiteError, match="dataset of this suite"):
        session().plan("typo.toml")


def test_one_patient_and_no_outcome_at_all(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for ending in ("csv", "toml"):
        shutil.copy(home / f"a.{ending}", tmp_path)
    write(tmp_path, "one", patients(1, 4, "G"))
    write(tmp_path, "blind", patients(12, 5, "H").drop(columns=["months", "died"]))
    weeks = patients(40, 6, "I")
    weeks["months"] = (weeks["months"] * 30.4).round(1)
    write(tmp_path, "days", weeks)
    suite(tmp_path, "odd", "one", "blind", "days", text=SMALL)
    monkeypatch.chdir(tmp_path)
    assert not session().run("odd.toml", track=False).failed
    text = (tmp_path / "results/odd/table.md").read_text()
    assert "no outcome is known, so that nothing is scored" in text
    assert "look at the unit of time" in text
    table = pd.read_csv(tmp_path / "results/odd/table.external.csv")
    single = table[table["external"] == "table[file=one.toml]"]
    assert single["mean"].isna().all()
    assert single["reason"].str.len().min() > 0


def test_few_events_test_nothing(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one event in twelve cases there was a p below .05; a cohort with enough events is tested and pooled alone."""
    shutil.copytree(home / "results", tmp_path / "results")
    for name in "abc":
        for ending in ("csv", "toml"):
            shutil.copy(home / f"{name}.{ending}", tmp_path)
    few = patients(30, 4, "F")
    few["died"] = [1, 1, *[0] * 28]
    write(tmp_path, "few", few)
    suite(tmp_path, "three", "b", "few")
    monkeypatch.chdir(tmp_path)
    assert not session().run("three.toml", track=False).failed
    table = pd.read_csv(tmp_path / "results/three/table.external.csv")
    of_few = table[table["external"] == "table[file=few.toml]"]
    assert of_few["mean"].notna().any()
    tested = ["ci_low", "ensemble_low", "fall_low", "behind_low", "p", "p_holm", "tie_group"]
    assert of_few[tested].isna().all(axis=None)
    assert table.loc[table["external"] == "table[file=b.toml]", "p"].notna().any()
    text = (tmp_path / "results/three/table.md").read_text()
    assert text.count("neither intervals nor tests: 2 patients with an event, fewer than 10") == 1
    assert "Not pooled: table[file=few.toml] is not counted: 2 patients with an event, fewer than 10." in text
    assert "Fusion there, not tested (2 patients with an event, fewer than 10): " in text


CLASSES = """
title = "Response in two hospitals"
datasets = ["table[file=a.toml]"]
models = ["logistic", "snn", "late-fusion[member=logistic]"]
modalities = [["clinical"], ["blood"], ["clinical", "blood"]]
[protocol]
folds = 2
[train]
epochs = 2
"""


LEVELS = ("low", "middle", "high")


def classes(
    folder: Path, name: str, n: int, seed: int, labels: tuple[str, ...] = LEVELS, known: tuple[str, ...] = LEVELS
) -> None:
    table = patients(n, seed, name.upper())
    score = (table["age"] - 60) / 9 + table["crp"] + np.random.default_rng(seed).normal(size=n)
    table["answer"] = pd.qcut(score, len(labels), labels=list(labels)) if len(labels) > 1 else labels[0]
    write(folder, name, table.drop(columns=["died"]))
    text = (folder / f"{name}.toml").read_text()
    outcome = text[text.index("[outcome]") : text.index("[modality.clinical]")]
    listed = ", ".join(f'"{label}"' for label in known)
    written = f'[outcome]\ntask = "multiclass"\ncolumn = "answer"\nclasses = [{listed}]\n'
    (folder / f"{name}.toml").write_text(text.replace(outcome, written))


def test_classes_of_another_hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes(tmp_path, "a", 90, 0)
    classes(tmp_path, "b", 50, 1)
    classes(tmp_path, "c", 20, 2, ("low", "high"))
    classes(tmp_path, "d", 30, 3, ("low", "maybe", "high"), ("low", "maybe", "high"))
    suite(tmp_path, "two", "b", "c", text=CLASSES)
    monkeypatch.chdir(tmp_path)
    assert not session().run("two.toml", track=False).failed
    table = pd.read_csv("results/two/table.external.csv").query("metric == 'auroc'")
    stored = pd.read_parquet("results/two/external_predictions.parquet").query(f"dataset == '{AB}'")
    label = outcomes(Path("results/two"), AB)["label"]

    def plain(of: pd.DataFrame) -> float:
        return float(np.mean([roc_auc_score(label.loc[of["case"]] == k, of[f"P({k})"]) for k in LEVELS]))

    for line in table[table["external"] == "table[file=b.toml]"].to_dict("records"):
        of = stored[(stored["model"] == line["model"]) & (stored["modalities"] == line["modalities"])]
        assert line["mean"] == pytest.approx(np.mean([plain(m) for _, m in of.groupby(["repeat", "fold"])]), abs=1e-12)
        together = of.groupby("case", as_index=False)[[f"P({k})" for k in LEVELS]].mean()
        assert line["ensemble"] == pytest.approx(plain(together), abs=1e-12)
    single = table[table["external"] == "table[file=c.toml]"]
    assert single["mean"].isna().all()
    assert single["reason"].str.contains("class").all()
    assert session().audit("two.toml").lines
    suite(tmp_path, "three", "d", text=CLASSES)
    with pytest.raises(SuiteError, match="'maybe'"):
        session().plan("three.toml")


def test_a_metric_is_scored_of_the_test_folds(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a", patients(60, 0, "A"))
    write(tmp_path, "b", patients(40, 1, "B"))
    suite(tmp_path, "one", "b", text=SMALL)
    monkeypatch.chdir(tmp_path)
    assert not session().run("one.toml", track=False).failed
    scored = cli("score", "one.toml", "--metric", "td_auc")
    assert scored.returncode == 0, scored.stderr
    assert "td_auc" in scored.stdout


def test_joined_vectors_are_audited_as_their_rows_read_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A case has the joined modality where it has one of its vectors, under the protocol of the row alone."""
    write(tmp_path, "a", patients(60, 0, "A"))
    write(tmp_path, "b", patients(40, 1, "B"))
    joined = '[[variant]]\nname = "joined"\nprotocol = {vectors = "joined"}\n'
    suite(tmp_path, "one", "b", text=SMALL + joined)
    monkeypatch.chdir(tmp_path)
    assert not session().run("one.toml", track=False).failed
    audit = session().audit("one.toml")
    assert [line.rule for line in audit.lines if line.verdict == "BREACH"] == []


def test_what_a_cohort_lacks_and_why_it_has_no_score_stand_under_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a", patients(60, 0, "A"))
    write(tmp_path, "b", patients(40, 1, "B").assign(weight=70.0), clinical=("age", "sex", "weight"))
    write(tmp_path, "c", patients(40, 2, "C").drop(columns=["crp", "albumin"]), blood=())
    write(tmp_path, "d", patients(40, 3, "D").assign(died=False))
    suite(tmp_path, "one", "b", "c", "d", text=SMALL)
    monkeypatch.chdir(tmp_path)
    assert not session().run("one.toml", track=False).failed
    text = (tmp_path / "results/one/table.md").read_text()
    assert "clinical: 1 of 3 columns absent here ('stage'): imputed as in training" in text
    assert "clinical: columns here that models do not know, left out: 1 ('weight')" in text
    assert "blood: no case has it; it counts as missing" in text
    assert "40 cases, 0 events: no c-index is defined (no event among the test cases)" in text
    assert "nan" not in text
    assert {line.verdict for line in session().audit("one.toml").lines} <= {"pass", "DECLARED"}


def test_a_single_fold_model_has_no_spread(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a", patients(60, 0, "A"))
    write(tmp_path, "b", patients(40, 1, "B"))
    suite(tmp_path, "one", "b", text=SMALL)
    monkeypatch.chdir(tmp_path)
    assert cli("run", "one.toml", "--folds", "0", "--no-track").returncode == 0
    text = (tmp_path / "results/one/table.partial.md").read_text()
    assert "tested on table[file=b.toml]: further metrics" in text
    assert "nan" not in text


def test_status_without_the_file_of_one_external_cohort(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cells of training, and those of the other external cohort, are still counted."""
    write(tmp_path, "a", patients(60, 0, "A"))
    write(tmp_path, "b", patients(40, 1, "B"))
    write(tmp_path, "c", patients(40, 2, "C"))
    suite(tmp_path, "one", "b", "c", text=SMALL)
    monkeypatch.chdir(tmp_path)
    assert not session().run("one.toml", track=False).failed
    (tmp_path / "c.csv").unlink()
    seen = cli("status", "one.toml")
    assert seen.returncode == 0, seen.stderr
    assert "12 of 12 cells" in seen.stdout
    assert AC in seen.stdout
    assert "c.csv: cannot be read" in seen.stdout


def test_a_cohort_whose_file_is_gone_stops_nothing_that_is_finished(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, n in (("a", 60), ("b", 40), ("c", 40)):
        write(tmp_path, name, patients(n, n, name.upper()))
    suite(tmp_path, "one", "b", "c", text=SMALL)
    monkeypatch.chdir(tmp_path)
    assert not session().run("one.toml", track=False).failed
    results = tmp_path / "results" / "one"
    before = {name: (results / name).read_bytes() for name in ("table.csv", "table.external.csv", "suite.lock.toml")}
    (tmp_path / "c.csv").unlink()
    again = cli("run", "one", "--no-track")
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stdout
    assert re.search(r"the table is partial, since the rest of the suite cannot be read: .*c\.csv", again.stdout)
    assert {name: (results / name).read_bytes() for name in before} == before
    audited = cli("audit", "one")
    assert audited.returncode == 0, audited.stdout
    assert re.search(rf"DECLARED  every external cohort is here.*{re.escape(AC)}: .*c\.csv", audited.stdout)
    synced = cli("sync", "one")
    assert synced.returncode == 0, synced.stderr
    assert re.search(rf"{re.escape(AC)}: .*c\.csv", synced.stdout + synced.stderr)
    assert cli("report", "one").returncode == 0
    assert AC.partition(" -> ")[2] in (results / "report.html").read_text()
    published = cli("publish", "one")
    assert published.returncode == 2
    assert re.search(r"c\.csv: cannot be read", published.stderr)
    assert len(published.stderr.strip().splitlines()) == 1
    (tmp_path / "a.csv").unlink()
    gone = cli("run", "one", "--no-track")
    assert gone.returncode == 2
    assert re.search(r"a\.csv: cannot be read", gone.stderr)


def test_explain_tune_and_masks_beside_an_external_cohort(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a", patients(60, 0, "A"))
    write(tmp_path, "b", patients(40, 1, "B"))
    (tmp_path / "masks.csv").write_text("case,modality\n" + "".join(f"A{i:03d},blood\n" for i in range(60)))
    text = SMALL.replace('"half", "only:clinical"', '"file:masks.csv", "mnar:blood:0.5"')
    suite(tmp_path, "one", "b", text=text)
    monkeypatch.chdir(tmp_path)
    ran = cli("run", "one.toml", "--no-track")
    assert ran.returncode == 0, ran.stderr
    table = pd.read_csv(tmp_path / "results/one/table.external.csv")
    assert set(table["pattern"]) == {"full"}, "both patterns are about the cases of hospital a"
    assert "file:masks.csv" in (tmp_path / "results/one/table.md").read_text()
    assert cli("audit", "one").returncode == 0
    (tmp_path / "b.csv").rename(tmp_path / "gone.csv")
    shown = cli("explain", "one", "-m", "cox", "--top-risk", "1")
    assert "b.csv" not in shown.stderr, shown.stderr
    (tmp_path / "gone.csv").rename(tmp_path / "b.csv")
    tuned = cli("tune", "one", "-m", "cox", "--trials", "1", "--inner-folds", "2")
    assert tuned.returncode == 0, tuned.stderr
    written = next((tmp_path / "results/one/tuning").glob("*-tuned.toml"))
    again = cli("run", str(written), "--no-track", "--dry-run")
    assert again.returncode == 0, again.stderr
    assert "(external)" in again.stdout


REFUSING = """
import numpy as np

from fusionbench import FusionModel, Predictor, SurvivalPrediction


class Reading(Predictor):
    def predict(self, cases):
        if any(id_.startswith("B") for id_ in cases.ids):
            raise ValueError("never seen such a hospital")
        return SurvivalPrediction(cases.ids, np.array([float(case.bags["clinical"].values.sum()) for case in cases]))

    def state(self):
        return {"nothing": np.zeros(1)}


class Refusing(FusionModel):
    '''Fails on hospital b.'''

    name = "refusing"

    def fit(self, train, val, ctx):
        return Reading()

    def restore(self, state, ctx):
        return Reading()
"""


def test_a_model_that_fails_on_the_other_hospital_keeps_its_own_test_folds(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a", patients(60, 0, "A"))
    write(tmp_path, "b", patients(40, 1, "B"))
    (tmp_path / "refusing_there.py").write_text(REFUSING)
    suite(tmp_path, "one", "b", text=SMALL.replace('modalities = [["clinical"], ["blood"], ', "modalities = ["))
    monkeypatch.chdir(tmp_path)
    assert cli("run", "one.toml", "--no-track").returncode == 0
    ran = cli("run", "one.toml", "-m", "refusing_there.py:Refusing", "--no-track")
    assert ran.returncode == 1, ran.stderr
    assert "never seen such a hospital" in ran.stderr
    assert AB in ran.stderr
    inside = pd.read_csv(tmp_path / "results/one/table.csv")
    outside = pd.read_csv(tmp_path / "results/one/table.external.csv")
    refusing = inside[inside["model"] == "refusing_there.py:Refusing"]
    assert refusing["mean"].notna().any()
    assert set(outside["model"]) == {"cox"}
    text = (tmp_path / "results/one/table.md").read_text()
    assert re.search(
        r"failed: refusing_there.py:Refusing on clinical.blood, 2 cells: .*never seen such a hospital", text
    )
    audited = cli("audit", "one")
    assert audited.returncode == 0, audited.stdout
    assert re.search(r"DECLARED  every cell of the suite has a result: 2 of", audited.stdout)
    assert cli("report", "one").returncode == 0
