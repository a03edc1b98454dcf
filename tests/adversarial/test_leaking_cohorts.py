"""Cohorts that leak: `data check` finds each, and the run, the table, the report and the audit say so."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from fusionbench import Case, Dataset, DatasetInfo, ModalityUse, Options, SurvivalTarget, discover
from fusionbench.builtin.table.dataset import TableOptions
from fusionbench.cli import app
from fusionbench.core.data_warning import DataWarning
from fusionbench.core.errors import DataError
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.data.downloads import data_home
from fusionbench.data.inspection import examine
from fusionbench.data.inspection.checks import check_censorship
from fusionbench.data.inspection.duplicates import twins
from fusionbench.data.inspection.leakage import filled_by_event, predicts_event, predicts_time, pure_level
from fusionbench.execution.shared import SharedResources
from fusionbench.results.audit_verdict import Line
from fusionbench.session import Session
from fusionbench.suites.lock import read_lock
from fusionbench.tools.reporter import SilentReporter

N, GENES = 120, 12
TOML = """\
title = "Ours"
table = "patients.csv"
id = "id"
{group}
[outcome]
time = "months"
unit = "month"
event = "event"

[modality.clinical]
columns = {columns}

[modality.rna]
table = "rna.csv"
"""
LEAKAGE = "no cohort shows signs of leakage"
PLAUSIBLE = "no test c-index is above 0.97"
COMPUTED = "every row was computed by this suite's cells"


class Tables:
    """The tables of a sound cohort, to be spoilt: patients (id, outcome, age, marker) and expressions."""

    def __init__(self, seed: int = 0) -> None:
        rng = self.rng = np.random.default_rng(seed)
        self.score = rng.normal(size=N)
        death, end = rng.exponential(30 * np.exp(-self.score / 2)), rng.uniform(3, 60, N)
        self.event = death <= end
        ids = [f"P{i:03d}" for i in range(N)]
        self.patients = pd.DataFrame(
            {
                "id": ids,
                "months": np.minimum(death, end) + 0.01,
                "event": self.event.astype(int),
                "age": rng.integers(40, 85, N),
                "marker": rng.normal(size=N),
            }
        )
        self.rna = pd.DataFrame(rng.normal(size=(N, GENES)), columns=[f"G{i}" for i in range(GENES)])
        self.rna.insert(0, "id", ids)
        self.group = ""

    def write(self, folder: Path) -> Path:
        outcome = ("id", "months", "event", "patient")
        columns = [c for c in self.patients.columns if c not in outcome]
        self.patients.to_csv(folder / "patients.csv", index=False)
        self.rna.to_csv(folder / "rna.csv", index=False)
        text = TOML.format(group=self.group, columns=json.dumps(columns))
        (folder / "cohort.toml").write_text(text)
        return folder / "cohort.toml"


def again(tables: Tables, name: Callable[[str], str], noise: float = 0.0) -> None:
    """Every patient once more under another id."""
    patients, rna = tables.patients.copy(), tables.rna.copy()
    for frame in (patients, rna):
        frame["id"] = frame["id"].map(name)
    rna.iloc[:, 1:] += noise * tables.rng.normal(size=(N, GENES))
    tables.patients, tables.rna = pd.concat([tables.patients, patients]), pd.concat([tables.rna, rna])


def slides(tables: Tables) -> None:
    """A row a slide: a third of the patients have two."""
    tables.patients["id"] = [f"TC-{i % 7}-A{i:03d}-01Z" for i in range(N)]
    tables.rna["id"] = tables.patients["id"]
    second, rna = tables.patients[::3].copy(), tables.rna[::3].copy()
    for frame in (second, rna):
        frame["id"] = frame["id"].str.replace("01Z", "02Z")
    rna.iloc[:, 1:] = tables.rng.normal(size=(len(rna), GENES))
    second["marker"] = tables.rng.normal(size=len(second))
    tables.patients, tables.rna = pd.concat([tables.patients, second]), pd.concat([tables.rna, rna])


def flipped(tables: Tables) -> None:
    tables.patients["event"] = 1 - tables.patients["event"]


def with_column(values: Callable[[Tables], object], name: str = "x") -> Callable[[Tables], None]:
    def spoil(tables: Tables) -> None:
        tables.patients[name] = values(tables)

    return spoil


def levels_of_event(tables: Tables) -> list[str]:
    """One level of 20 cases, all of which died; the others have three levels at random."""
    levels = tables.rng.choice(["a", "b", "c"], N)
    levels[np.flatnonzero(tables.event)[:20]] = "d"
    return list(levels)


LEAKS: dict[str, tuple[str, Callable[[Tables], None]]] = {
    "the event": ("predicts-event", with_column(lambda t: t.event * 1)),
    "the event, noisy": ("predicts-event", with_column(lambda t: t.event + 0.5 * t.rng.normal(size=N))),
    "the event's inverse": ("predicts-event", with_column(lambda t: 1 - t.event)),
    "the event with signs": ("predicts-event", with_column(lambda t: (t.event + 0.1) * t.rng.choice([-1, 1], N))),
    "the time": ("predicts-time", with_column(lambda t: t.patients["months"] * 30)),
    "the time with signs": ("predicts-time", with_column(lambda t: t.patients["months"] * t.rng.choice([-1, 1], N))),
    "the time's rank": ("predicts-time", with_column(lambda t: t.patients["months"].rank())),
    "the time, noisy": (
        "predicts-time",
        with_column(lambda t: np.log(t.patients["months"]) + 0.3 * t.rng.normal(size=N)),
    ),
    "a date of death": ("filled-by-event", with_column(lambda t: np.where(t.event, t.rng.normal(size=N), np.nan))),
    "filled for a few deaths": (
        "filled-by-event",
        with_column(lambda t: np.where(t.event & (t.rng.random(N) < 0.4), t.rng.normal(size=N), np.nan)),
    ),
    "a level of deaths": ("level-of-event", with_column(levels_of_event)),
    "zero for deaths": (
        "level-of-event",
        with_column(lambda t: np.where(t.event & (t.rng.random(N) < 0.4), 0, t.rng.normal(size=N))),
    ),
    "named like an outcome": ("named-like-outcome", with_column(lambda t: t.rng.normal(size=N), "OS_status")),
    "everybody twice": ("equal-cases", lambda t: again(t, lambda i: f"Q{i[1:]}")),
    "everybody twice with noise": ("equal-cases", lambda t: again(t, lambda i: f"Q{i[1:]}", 0.002)),
    "slides without group": ("shared-prefix", slides),
    "flags exchanged": ("censorship-reversed", flipped),
}


@pytest.fixture
def tables() -> Tables:
    return Tables()


def warnings(path: Path) -> list[DataWarning]:
    known = discover(("datasets", "modalities"))
    found = examine(known.dataset("table")(TableOptions(file=str(path)), path.parent), known.modalities)
    assert found.problems == ()
    return list(found.warnings)


def test_a_sound_cohort_has_no_warning(tables: Tables, tmp_path: Path) -> None:
    assert warnings(tables.write(tmp_path)) == []


@pytest.mark.parametrize("seed", range(1, 6))
def test_further_sound_cohorts_have_no_warning(seed: int, tmp_path: Path) -> None:
    assert warnings(Tables(seed).write(tmp_path)) == []


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_is_found(leak: str, tables: Tables, tmp_path: Path) -> None:
    kind, spoil = LEAKS[leak]
    spoil(tables)
    found = warnings(tables.write(tmp_path))
    assert kind in [w.kind for w in found]
    assert {w.kind for w in found} - {kind} <= {"named-like-outcome"}


class Bags(Dataset):
    """Patients with a bag each."""

    name = "bags"

    def __init__(self, bags: Sequence[NDArray[np.float64]]) -> None:
        super().__init__(Options(), Path())
        self.bags = bags

    def info(self) -> DatasetInfo:
        return DatasetInfo("bags", {"image": ModalityUse("bag", dim=16)})

    def cases(self, unit: str = "patient") -> list[Case]:
        follow_up = [SurvivalTarget(1.0 + i * 29 % 101 / 2, i % 3 > 0) for i in range(len(self.bags))]
        named = zip(self.bags, follow_up, strict=True)
        return [Case(f"P{i:03d}", f"P{i:03d}", target, {"image": bag}) for i, (bag, target) in enumerate(named)]


COPIES: dict[str, Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]]] = {
    "in another order": lambda bag, rng: rng.permutation(bag),
    "with noise": lambda bag, rng: bag + 0.002 * rng.normal(size=bag.shape),
    "in another order, with noise": lambda bag, rng: rng.permutation(bag) + 0.002 * rng.normal(size=bag.shape),
    "without one patch": lambda bag, rng: rng.permutation(bag)[1:],
}


@pytest.mark.parametrize("copies", COPIES)
def test_copies_of_bags_under_other_ids_are_found(copies: str) -> None:
    rng = np.random.default_rng(0)
    bags = [rng.normal(rng.normal(size=16), 1.0, size=(rng.integers(300, 400), 16)) for _ in range(60)]
    known = discover(("modalities",)).modalities
    assert not examine(Bags(bags), known).warnings
    spoilt = [*bags, *(COPIES[copies](bag, rng) for bag in bags[:20])]
    (warning,) = examine(Bags(spoilt), known).warnings
    assert warning.kind == "equal-cases"
    assert set(warning.names) <= {f"P{i:03d}" for i in (*range(20), *range(60, 80))}
    assert len(warning.names) >= 36


def test_slides_with_their_patient_are_sound(tables: Tables, tmp_path: Path) -> None:
    slides(tables)
    tables.patients["patient"] = tables.patients["id"].str[:-4]
    tables.group = 'group = "patient"\n'
    assert warnings(tables.write(tmp_path)) == []


def test_json_lists_every_column(tables: Tables, tmp_path: Path) -> None:
    for i in range(9):
        tables.patients[f"x{i}"] = tables.event + 0.3 * tables.rng.normal(size=N)
    result = CliRunner().invoke(app, ["data", "check", str(tables.write(tmp_path)), "--json"])
    assert result.exit_code == 0, result.output
    (warning,) = json.loads(result.stdout)["warnings"]
    assert warning["names"] == [f"x{i}" for i in range(9)]


class Notes(SilentReporter):
    """Keeps what a user is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


SUITE = """
title = "Mine"
datasets = ["table[file={path}]"]
models = {models}
modalities = {sets}
metrics = ["harrell_c_index"]
[protocol]
folds = 2
"""


def run(
    folder: Path, path: Path, models: str = '["cox"]', sets: str = '[["clinical"]]'
) -> tuple[Session, str, list[str]]:
    (folder / "mine.toml").write_text(SUITE.format(path=path, models=models, sets=sets))
    session, notes, suite = Session(out=folder / "results", device="cpu"), Notes(), str(folder / "mine.toml")
    session.run(suite, track=False, reporter=notes)
    return session, suite, notes.lines


def audited(session: Session, suite: str) -> dict[str, Line]:
    return {line.rule: line for line in session.audit(suite).lines}


def test_a_leak_is_told_wherever_numbers_are(tables: Tables, tmp_path: Path) -> None:
    tables.patients["x"] = -tables.patients["months"]
    session, suite, told = run(tmp_path, tables.write(tmp_path))
    folder = tmp_path / "results/mine"
    (stored,) = read_lock(folder)["datasets"].values()
    (warning,) = stored["warnings"]
    assert warning["kind"] == "predicts-time"
    assert any(line.endswith(warning["text"]) and line.startswith("warning: ") for line in told)
    table = (folder / "table.md").read_text()
    assert "clinical: 1 column ('x') reveals the outcome" in table
    assert "implausible: cox" in table
    summary = session.report(suite).read_text().partition("<table")[0]
    assert "Signs of leakage" in summary
    assert "reveals the outcome" in summary
    lines = audited(session, suite)
    assert lines[LEAKAGE].verdict == lines[PLAUSIBLE].verdict == "DECLARED"
    assert "the cohort shows signs of leakage: clinical: 1 column ('x')" in lines[LEAKAGE].seen


def test_a_leak_is_told_where_it_is_said_whether_fusion_helped(tables: Tables, tmp_path: Path) -> None:
    tables.patients["x"] = -tables.patients["months"]
    models, sets = '["cox", "late-fusion"]', '[["clinical"], ["rna"], ["clinical", "rna"]]'
    run(tmp_path, tables.write(tmp_path), models, sets)
    helped = (tmp_path / "results/mine/table.md").read_text().partition("Did fusion help?")[2]
    assert "shows signs of leakage, which a difference may come from: clinical: 1 column ('x') reveals" in helped


def test_a_sound_cohort_is_told_sound_and_imports_are_declared(tables: Tables, tmp_path: Path) -> None:
    session, suite, told = run(tmp_path, tables.write(tmp_path))
    assert not [line for line in told if "warning" in line]
    lines = audited(session, suite)
    assert {lines[rule].verdict for rule in (LEAKAGE, PLAUSIBLE, COMPUTED)} == {"pass"}
    predictions = pd.read_parquet(tmp_path / "results/mine/predictions.parquet")
    kept = ["dataset", "modalities", "variant", "repeat", "fold", "pattern", "draw", "case", "risk"]
    predictions[kept].assign(model="theirs").to_csv(tmp_path / "theirs.csv", index=False)
    session.import_predictions(suite, tmp_path / "theirs.csv")
    line = audited(session, suite)[COMPUTED]
    assert line.verdict == "DECLARED"
    assert "theirs" in line.seen
    assert "imported: the predictions of theirs" in (tmp_path / "results/mine/table.md").read_text()


def test_more_warnings_than_a_run_shows_are_counted(tables: Tables, tmp_path: Path) -> None:
    flipped(tables)
    tables.patients["x"] = -tables.patients["months"]
    tables.patients["event_date"] = tables.event * 1
    tables.patients["same"] = 1
    _, _, told = run(tmp_path, tables.write(tmp_path))
    shown = [line for line in told if line.startswith("warning: ")]
    assert len(shown) == 3
    assert [line for line in told if "more: fusionbench data check" in line]


def test_warnings_taken_out_of_the_lock_are_told_all_the_same(tables: Tables, tmp_path: Path) -> None:
    tables.patients["x"] = -tables.patients["months"]
    session, suite, _ = run(tmp_path, tables.write(tmp_path))
    lock = tmp_path / "results/mine/suite.lock.toml"
    lock.write_text(lock.read_text().replace("predicts-time", "constant"))
    lines = audited(session, suite)
    assert lines["the lock is that of the planned cells"].verdict == "BREACH"
    assert lines[LEAKAGE].verdict == "DECLARED"


REAL = ("tcga-blca", "tcga-brca", "tcga-kirp", "tcga-ucec", "tcga-hnsc", "hancock")


@pytest.mark.parametrize("name", REAL)
def test_exchanged_flags_of_a_real_cohort_are_found_and_its_own_are_not(name: str) -> None:
    resources = SharedResources(discover(("datasets", "modalities")), data_home())
    try:
        cohort = resources.cohort(PluginRef.of(name), "patient")
    except DataError as error:
        pytest.skip(f"the cohort is not here: {error}")
    targets = cohort.targets.values()
    time, event = np.array([t.time for t in targets]), np.array([t.event for t in targets])
    assert not list(check_censorship(time, event))
    assert [w.kind for w in check_censorship(time, ~event)] == ["censorship-reversed"]


@pytest.mark.slow
def test_twenty_thousand_columns_take_two_seconds() -> None:
    """Of processor time, so that other work on the machine does not count."""
    rng = np.random.default_rng(0)
    table, time, event = rng.normal(size=(500, 20_000)), rng.exponential(30, 500), rng.random(500) < 0.4
    table[rng.random(table.shape) < 0.02] = np.nan
    table[:, 5_000:10_000] = rng.random((500, 5_000)) < 0.05
    begin = process_time()
    found = [predicts_event(table, event), predicts_time(table, time, event), pure_level(table, event)]
    found += [filled_by_event(table, event)]
    equal = twins(table, [str(i) for i in range(500)])
    took = process_time() - begin
    assert not np.any(found)
    assert not equal
    assert took < 2


def test_bags_of_empty_tiles_are_not_one_patient() -> None:
    """Their means lie lowest in every column, next to each other by rank, and a tenth of a deviation apart."""
    rng = np.random.default_rng(0)
    table = 0.02 * np.abs(rng.normal(size=(330, 1)) + 0.3 * rng.normal(size=(330, 200)))
    groups = [str(i) for i in range(330)]
    table[:2] = np.sort(table, axis=0)[:2] - 0.002 * np.arange(2)[:, None]
    assert twins(table, groups) == []
    copy = table.copy()
    copy[7] = table[9] + 1e-5 * rng.normal(size=200)
    assert twins(copy, groups) == [(7, 9)], "a copy is found all the same"
