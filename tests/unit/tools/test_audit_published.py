"""What is published proves again what its frames can show: planted breaches are found without cells or data."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fusionbench.core.errors import ResultsError
from fusionbench.results.audit_verdict import Line
from fusionbench.tools.audit.published import is_published, published_audit

PUBLISHED = Path(__file__).parents[3] / "results" / "published" / "quickstart"
GROUPS, TESTED = (
    "groups stand on one side of a split, from splits and targets",
    "exactly the test cases were predicted, from splits and predictions",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PUBLISHED, tmp_path / "quickstart"))


def lines(folder: Path) -> dict[str, Line]:
    return {line.rule: line for line in published_audit(folder).lines}


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


@pytest.mark.parametrize("what", ["one less", "one twice", "a stranger"])
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
    with pytest.raises(ResultsError, match=r"audit\.json: no readable audit"):
        published_audit(folder)
