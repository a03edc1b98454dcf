"""What is published proves again what its frames can show: planted breaches are found without cells or data."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fusionbench.core.errors import ResultsError
from fusionbench.core.registry import discover
from fusionbench.results.audit_verdict import Line
from fusionbench.results.frames import read_frames
from fusionbench.results.manifest import renew_entry, write_manifest
from fusionbench.tools.audit.published import is_published, published_audit
from fusionbench.tools.audit.published_tables import tables_agree

REGISTRY = discover()
PUBLISHED = Path(__file__).parents[3] / "results" / "published" / "quickstart"
GROUPS, TESTED = (
    "groups stand on one side of a split, from splits and targets",
    "exactly the test cases were predicted, from splits and predictions",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PUBLISHED, tmp_path / "quickstart"))


def lines(folder: Path) -> dict[str, Line]:
    return {line.rule: line for line in published_audit(folder, REGISTRY).lines}


def change(path: Path, how: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    how(pd.read_parquet(path)).to_parquet(path, index=False)


def first_fold(frame: pd.DataFrame) -> pd.Series:
    keys = ["dataset", "variant", "repeat", "fold"]
    return (frame[keys] == frame[keys].iloc[0]).all(axis=1)


def astride(splits: pd.DataFrame) -> pd.DataFrame:
    """The first fold's first test case also stands in its training part."""
    of = splits[first_fold(splits) & (splits["part"] == "test")].head(1)
    return pd.concat([splits, of.assign(part="train")], ignore_index=True)


def test_what_is_published_passes(folder: Path) -> None:
    assert is_published(folder)
    assert {lines(folder)[rule].verdict for rule in (GROUPS, TESTED)} == {"pass"}


def test_a_case_on_both_sides_is_a_breach(folder: Path) -> None:
    change(folder / "splits.parquet", astride)
    line = lines(folder)[GROUPS]
    assert line.verdict == "BREACH"
    assert line.seen.startswith("1 of ")
    assert "% of test rows share a patient with train or validation" in line.seen


def test_where_the_audit_declared_it_the_share_is_told_once_a_dataset_and_variant(folder: Path) -> None:
    change(folder / "splits.parquet", astride)
    audit = folder / "audit.json"
    rule = '"groups stand on one side of a split",\n   "verdict": '
    audit.write_text(audit.read_text().replace(f'{rule}"pass"', f'{rule}"DECLARED"'))
    line = lines(folder)[GROUPS]
    assert line.verdict == "DECLARED"
    assert line.seen.count("share a patient") == 1


@pytest.mark.parametrize("what", ["one less", "one twice", "another one"])
def test_other_cases_than_the_test_cases_are_a_breach(folder: Path, what: str) -> None:
    def planted(frame: pd.DataFrame) -> pd.DataFrame:
        first = frame.index[frame["pattern"] == "full"][0]
        if what == "one less":
            return frame.drop(index=first)
        if what == "one twice":
            return pd.concat([frame, frame.loc[[first]]], ignore_index=True)
        return frame.assign(case=frame["case"].where(frame.index != first, "nobody"))

    change(folder / "predictions.parquet", planted)
    found = lines(folder)
    assert (found[TESTED].verdict, found[GROUPS].verdict) == ("BREACH", "pass")
    assert "other cases than the fold's test cases" in found[TESTED].seen


def test_without_a_readable_audit_there_is_nothing_to_go_by(folder: Path) -> None:
    (folder / "audit.json").write_text("{")
    with pytest.raises(ResultsError, match=r"audit\.json: cannot be read"):
        published_audit(folder, REGISTRY)


SCORES, FILES = (
    "published scores follow from the published predictions",
    "the published files are those of the manifest",
)


def test_a_target_that_is_there_twice_is_a_breach(folder: Path) -> None:
    targets = pd.read_csv(folder / "targets.csv", dtype=str)
    pd.concat([targets, targets[:1]]).to_csv(folder / "targets.csv", index=False)
    line = lines(folder)[SCORES]
    assert line.verdict == "BREACH"
    assert f"target of case {targets['case'][0]!r} is stored twice" in line.seen


def test_an_edited_score_is_a_breach(folder: Path) -> None:
    """Bold rows are made of folds.csv; the predictions beside it say otherwise."""
    assert lines(folder)[SCORES].verdict == "pass"
    folds = pd.read_csv(folder / "folds.csv")
    row = folds.index[(folds["metric"] == "harrell_c_index") & (folds["model"] == "snn")][0]
    folds.loc[row, "value"] = 0.99
    folds.to_csv(folder / "folds.csv", index=False)
    line = lines(folder)[SCORES]
    assert line.verdict == "BREACH"
    assert "snn" in line.seen
    assert "is 0.9900, the predictions give 0." in line.seen


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "table.md").write_text("| snn | 0.99 |"), "table.md was changed"),
        (lambda folder: (folder / "table.tex").unlink(), "table.tex is missing"),
        (lambda folder: (folder / "notes.md").write_text("best"), "notes.md is not in the manifest"),
    ],
)
def test_the_manifest_names_what_was_changed(folder: Path, spoil: Callable[[Path], object], said: str) -> None:
    (folder / "manifest.json").unlink()
    assert lines(folder)[FILES].verdict == "DECLARED", "as of what was published before there were manifests"
    write_manifest(folder)
    assert lines(folder)[FILES].verdict == "pass"
    spoil(folder)
    line = lines(folder)[FILES]
    assert (line.verdict, said in line.seen) == ("BREACH", True)


def test_a_report_that_is_made_anew_renews_its_entry_alone(folder: Path) -> None:
    write_manifest(folder)
    (folder / "report.html").write_text("made anew")
    (folder / "table.md").write_text("edited")
    renew_entry(folder, "report.html")
    assert lines(folder)[FILES].seen == "1 of 16 files; first: table.md was changed"


def edited(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda folder: edited(folder, "table.md", "0.605 ± 0.045", "0.905 ± 0.045"),
            "is 0.9050, the scores give 0.60",
        ),
        (
            lambda folder: edited(folder, "table.md", "| healnet         | vector ", "| other           | vector "),
            "has no",
        ),
        (lambda folder: (folder / "table.md").unlink(), "table.md has no"),
        (lambda folder: edited(folder, "table.csv", "0.6", "0.9"), "table.csv"),
        (lambda folder: edited(folder, "folds.csv", "0.6", "0.9"), "the scores give"),
    ],
    ids=["a mean", "a name", "no table", "table.csv", "folds.csv"],
)
def test_a_table_shows_the_means_of_the_scores(folder: Path, spoil: Callable[[Path], object], said: str) -> None:
    """Also where there is no manifest, or one that was written again."""
    assert tables_agree(read_frames(folder), folder).verdict == "pass"
    spoil(folder)
    line = tables_agree(read_frames(folder), folder)
    assert line.verdict == "BREACH"
    assert said in line.seen
