"""METABRIC: the counts of the real files."""

from __future__ import annotations

import csv
import re
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fusionbench_metabric import clinical, files, selected
from fusionbench_metabric.dataset import Metabric
from fusionbench_tcga import shared
from fusionbench_tcga.cohorts import Brca
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import concordance_index_censored
from sksurv.util import Surv

from fusionbench import Dataset
from tests.unit.plugins.planted import found
from tests.unit.plugins.real_cohorts import assert_cases_are_read_and_travel, real_home

LEAK = re.compile(r"surviv|vital|event|time|OS_|chemo|hormone|radio|cohort|^0$|^1$|living|died", re.IGNORECASE)


@pytest.fixture(scope="session")
def home() -> Path:
    return real_home("metabric")


@cache
def metabric(home: Path, **options: object) -> Metabric:
    """Shared: a dataset reads its files once and changes nothing."""
    return Metabric(Metabric.Options.model_validate(options), home)


def column(dataset: Metabric, modality: str, name: str) -> np.ndarray:
    place = dataset.info().modalities[modality].features.index(name)
    return np.array([c.refs[modality][place] for c in dataset.cases() if modality in c.refs])


@pytest.mark.data
@pytest.mark.parametrize(
    ("endpoint", "events", "note"),
    [
        ("os", 1142, ""),
        ("dss", 646, "496 of 1979 patients died of another cause (competing); censored at their death"),
    ],
)
def test_follow_up(home: Path, endpoint: str, events: int, note: str) -> None:
    dataset = metabric(home, endpoint=endpoint)
    cases = dataset.cases()
    assert (len(cases), sum(c.target.event for c in cases)) == (1979, events)
    assert [line for line in dataset.info().notes if "competing" in line] == ([note] if note else [])
    first = next(c for c in cases if c.id == "MB-0005")
    assert first.target.time == pytest.approx(4981 / 30.44)
    assert "left out: without clinical values MB-6206, without follow-up MB-5130" in dataset.info().notes
    assert any(line.startswith("follow-up: of 10 patients") for line in dataset.info().notes)


@pytest.mark.data
@pytest.mark.parametrize(
    ("endpoint", "yes", "note"),
    [
        ("os-5y", 427, "left out: 64 of 1979 patients, living when last seen before five years: "),
        (
            "dss-5y",
            337,
            "left out: 64 of 1979 patients, living when last seen before five years and 90 who died of another cause "
            "before: ",
        ),
    ],
)
def test_deaths_within_five_years(home: Path, endpoint: str, yes: int, note: str) -> None:
    """The published label is another one: it counts the 64 living, whose follow-up ended before, as deaths."""
    dataset = metabric(home, endpoint=endpoint)
    targets = {c.id: c.target and c.target.label for c in dataset.cases()}
    assert Counter(targets.values()) == {"no": 1488, "yes": yes, None: 427 + 64 - yes}
    assert note + "who is left was selected by follow-up" in dataset.info().notes
    rows = metabric(home, label_selected=True).coded_rows
    published = np.loadtxt(home / "metabric/METABRIC_label_5year_positive491.txt")
    counted = Counter(targets[p] for p, died in zip(rows, published, strict=True) if died and p in targets)
    assert counted == {"yes": yes, None: 427 + 64 - yes}


@pytest.mark.data
def test_modalities(home: Path) -> None:
    has = {
        name: (use.dim, sum(name in c.refs for c in metabric(home).cases()))
        for name, use in metabric(home).info().modalities.items()
    }
    assert has == {"clinical": (19, 1979), "mutations": (119, 1865)}
    missing = {name: int(np.isnan(column(metabric(home), "clinical", name)).sum()) for name in clinical.COLUMNS}
    assert {k: missing[k] for k in ("age", "stage", "grade", "size_mm", "positive_nodes", "npi", "lobular")} == {
        "age": 0,
        "stage": 514,
        "grade": 88,
        "size_mm": 20,
        "positive_nodes": 76,
        "npi": 0,
        "lobular": 0,
    }
    notes = metabric(home).info().notes
    assert any(line.startswith("clinical: 514 patients have no stage and 88 patients have no grade") for line in notes)
    assert "mutations: 114 of 1979 patients have no row; missing, not free of mutations" in notes
    assert_cases_are_read_and_travel(metabric(home, label_selected=True))


@pytest.mark.data
def test_bags_of_mutations(home: Path) -> None:
    dataset = metabric(home, mutations="bag")
    sizes = [len(c.refs["mutations"]) for c in dataset.cases() if "mutations" in c.refs]
    assert (len(sizes), sum(sizes), min(sizes), max(sizes)) == (1858, 10624, 1, 81)
    assert "mutations: 7 patients have silent mutations only, and no bag" in dataset.info().notes
    features = dataset.info().modalities["mutations"].features
    assert sum(name.startswith("Hugo_Symbol=") for name in features) == 173
    assert not any("Silent" in name for name in features)
    assert_cases_are_read_and_travel(dataset)


@pytest.mark.data
def test_rows_without_ids_are_joined_without_the_outcome(home: Path) -> None:
    """As in a list that was made apart, which lacks one patient: the one without follow-up."""
    found = dict(enumerate(metabric(home, label_selected=True).coded_rows))
    with (home / "joins/mb_join.csv").open() as listed:
        expected = {int(row["row"]): row["patientId"] for row in csv.DictReader(listed)}
    assert len(expected) == 1979
    assert {row: p for row, p in found.items() if expected.get(row) != p} == {896: "MB-5130"}
    assert not set(selected.KEY) & {"OS_MONTHS", "OS_STATUS", "VITAL_STATUS"}


@pytest.mark.data
def test_values_are_those_of_the_coded_table_where_it_was_not_filled(home: Path) -> None:
    dataset = metabric(home, label_selected=True)
    coded = dict(zip(dataset.coded_rows, np.loadtxt(home / "metabric" / files.CODED), strict=True))
    places = {"age": 4, "stage": 13, "grade": 11, "positive_nodes": 9, "size_mm": 12}
    for name, place in places.items():
        other = np.array([coded[c.id][place] for c in dataset.cases()])
        own = column(dataset, "clinical", name)
        assert (own[~np.isnan(own)] == other[~np.isnan(own)]).all()
        if name in ("stage", "grade"):
            assert set(other[np.isnan(own)]) == {2}  # a missing value was filled with 2 there


@pytest.mark.data
def test_no_outcome_and_no_therapy_is_an_input(home: Path) -> None:
    """The pattern is complete: it takes every such column of the published tables."""
    heads = [(home / "metabric" / f).read_text().replace("\r", "\n") for f in (files.PATIENTS, files.NODES)]
    names = {name for text in heads for line in text.splitlines() if line[:1] in "Pp" for name in line.split("\t")}
    assert {name for name in names if LEAK.search(name)} == {
        *("OS_MONTHS", "OS_STATUS", "VITAL_STATUS", "CHEMOTHERAPY", "HORMONE_THERAPY", "RADIO_THERAPY", "COHORT")
    }
    inputs = [of.source for of in clinical.COLUMNS.values()]
    assert not [name for name in inputs if LEAK.search(name)]


@pytest.mark.data
@pytest.mark.parametrize(("endpoint", "expected"), [("dss", {"column_0", "column_1"}), ("os-5y", {"column_0"})])
def test_what_data_check_finds_of_the_planted_leaks(home: Path, endpoint: str, expected: set[str]) -> None:
    """It finds an outcome under another name. It cannot find all: dead of the disease at any time says less of death
    within five years; and no single column of a block that was selected on the labels is strange."""
    dataset = Metabric(Metabric.Options.model_validate({"endpoint": endpoint, "label_selected": True}), home)
    coded = selected.read_numbers((home / "metabric" / files.CODED).read_bytes(), files.CODED)
    outcome = pd.DataFrame(coded[:, list(selected.OUTCOME)], dataset.coded_rows, ["column_0", "column_1"])
    assert found(dataset, "clinical", outcome) == expected
    assert found(dataset, "expression", outcome[[]]) == set()


@pytest.mark.data
def test_shared_columns_are_those_of_tcga_brca(home: Path) -> None:
    ours = metabric(home, shared=True)
    theirs = Brca(Brca.Options.model_validate({"shared": True}), home)
    uses = [dataset.info().modalities for dataset in (ours, theirs)]
    assert {name: use.features for name, use in uses[0].items()} == {
        name: use.features for name, use in uses[1].items()
    }
    assert [(name, use.dim) for name, use in uses[0].items()] == [("clinical", 3), ("mutations", 12)]
    tables = [np.array([c.refs["clinical"] for c in dataset.cases()]) for dataset in (ours, theirs)]
    assert [len(table) for table in tables] == [1979, 956]
    assert [int(np.isnan(table[:, 1]).sum()) for table in tables] == [514, 22]
    assert [set(np.unique(table[:, 2])) for table in tables] == [{0, 1}, {0, 1}]
    assert tables[1][:, 2].sum() == 158
    for table in tables:
        assert 50 < table[:, 0].mean() < 70
        assert set(np.unique(table[~np.isnan(table[:, 1]), 1])) <= {0, 1, 2, 3, 4}
    genes = [np.array([c.refs["mutations"] for c in d.cases() if "mutations" in c.refs]) for d in (ours, theirs)]
    assert [set(np.unique(values)) for values in genes] == [{0, 1}, {0, 1}]
    assert np.corrcoef(genes[0].mean(axis=0), genes[1].mean(axis=0))[0, 1] > 0.9
    assert shared.COLUMNS == clinical.SHARED


@pytest.mark.data
def test_trained_on_metabric_tested_on_tcga_brca(home: Path) -> None:
    """Measured outside by a ridge Cox: concordance .757 [.71, .80] by age, stage and lobular type, .637 by age."""

    def arrays(dataset: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        cases = dataset.cases()
        table = np.array([c.refs["clinical"] for c in cases])
        return table, np.array([c.target.event for c in cases]), np.array([c.target.time for c in cases])

    table, event, time = arrays(metabric(home, shared=True))
    new, new_event, new_time = arrays(Brca(Brca.Options.model_validate({"shared": True}), home))
    empty, mean, sd = np.nanmedian(table, axis=0), np.nanmean(table, axis=0), np.nanstd(table, axis=0)
    x, x_new = ((np.where(np.isnan(t), empty, t) - mean) / sd for t in (table, new))
    for columns, expected, tolerance in ((3, 0.757, 0.02), (1, 0.637, 0.001)):
        model = CoxPHSurvivalAnalysis(alpha=1.0).fit(x[:, :columns], Surv.from_arrays(event, time))
        found = concordance_index_censored(new_event, new_time, model.predict(x_new[:, :columns]))[0]
        assert found == pytest.approx(expected, abs=tolerance), columns
