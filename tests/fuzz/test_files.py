"""Any cohort of a user's own and any file of predictions: one clear error, or a result."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import event, given
from hypothesis import strategies as st

from fusionbench.core.errors import FusionBenchError
from fusionbench.core.plugin_options import validate_options
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import Registry, discover
from fusionbench.data.cohort import load_cohort
from fusionbench.report import imported
from fusionbench.results.frames import Frames, read_frames
from fusionbench.results.store import Store
from fusionbench.session import Session
from tests.conftest import EXAMPLE
from tests.fuzz.examples import FUZZ, SCALARS, TEXTS, VALUES, clear

pytestmark = pytest.mark.slow
COLUMNS = ["patient", "hospital", "age", "sex", "days", "status"]
ROWS = [
    [f"p{i}", f"H{i % 2}", str(50 + i), "fm"[i % 2], str(30 * i + 1), ["dead", "alive"][i % 3 > 1]] for i in range(8)
]
COHORT: dict[str, Any] = {
    "title": "Ours",
    "table": "patients.csv",
    "id": "patient",
    "outcome": {"time": "days", "unit": "day", "event": "status", "observed": "dead", "censored": "alive"},
    "modality": {"clinical": {"columns": ["age", "sex"]}},
}
CELLS = st.one_of(TEXTS, SCALARS.map(str), st.sampled_from(["dead", "alive", "0", "1", "-1", "1e5", "p1", "p2"]))


@st.composite
def changed_tables(draw: st.DrawFn, columns: list[str], rows: list[list[str]]) -> str:
    """CSV text: cells replaced, rows or columns dropped, doubled or renamed; at times any text at all."""
    names, table = list(columns), [list(row) for row in rows]
    for _ in range(draw(st.integers(0, 3))):
        what = draw(st.sampled_from(["cell", "cell", "cell", "row", "twice", "column", "rename", "all"]))
        column = draw(st.integers(0, len(names) - 1))
        row = draw(st.integers(0, len(table) - 1)) if table else 0
        if what == "cell" and table:
            table[row][column] = draw(CELLS)
        elif what == "row" and table:
            del table[row]
        elif what == "twice" and table:
            table.append(list(table[row]))
        elif what == "column" and len(names) > 1:
            del names[column]
            table = [[v for i, v in enumerate(r) if i != column] for r in table]
        elif what == "rename":
            names[column] = draw(CELLS)
        elif what == "all":
            value = draw(CELLS)
            for r in table:
                r[column] = value
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([names, *table])
    text = written.getvalue()
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(TEXTS) + text[at + draw(st.integers(0, 9)) :]
    return draw(st.one_of(TEXTS, st.just(""))) if draw(st.integers(0, 49)) == 0 else text


@st.composite
def cohort_texts(draw: st.DrawFn) -> str:
    content = deepcopy(COHORT)
    for _ in range(draw(st.integers(0, 2))):
        part = draw(st.sampled_from([content, content["outcome"], content["modality"]]))
        if not isinstance(part, dict):
            continue
        names = [*part, "group", "categorical", "folder", "map", "case", "groups", "censorship"]
        part[draw(st.one_of(st.sampled_from(names), TEXTS))] = draw(st.one_of(st.sampled_from(COLUMNS), VALUES))
    try:
        return tomli_w.dumps(content)
    except (ValueError, TypeError, AttributeError):  # what TOML has no words for
        return repr(content)


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    sys.path.insert(0, str(EXAMPLE))
    yield discover()
    sys.path.remove(str(EXAMPLE))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cohort")


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass")


def test_a_cohort_is_read_or_one_clear_error(registry: Registry, home: Path) -> None:
    read: list[int] = []

    @FUZZ
    @given(cohort_texts(), changed_tables(COLUMNS, ROWS))
    def check(toml: str, table: str) -> None:
        (home / "cohort.toml").write_bytes(as_bytes(toml))
        (home / "patients.csv").write_bytes(as_bytes(table))
        ref = PluginRef.of("table", file=str(home / "cohort.toml"))
        try:
            dataset = registry.dataset("table")(validate_options(registry, "datasets", ref), home)
            cohort = load_cohort(dataset, registry.modalities)
        except FusionBenchError as error:
            clear(error)
            return
        event("a cohort")
        read.append(len(cohort.cases))
        assert all(case.target is not None for case in cohort.cases)

    check()
    assert read, "no example was a cohort"


SPLIT = [["0", "p0", "p1", "p2"], ["1", "p3", "p4.svs", "p5"], ["2", "/x/p6", "", "p7"]]
GENES = [["TP53", "age", "sex"], ["KRAS", "y", ""]]
REGIONS = [["p0", "1", "0.5"], ["p0", "2", "0.25"], ["p1", "3", "0"]]
FILES = """
splits = ["splits.csv"]

[modality.regions]
table = "regions.csv"
bag = true

[modality.genes]
table = "genes.csv"
groups = "signatures.csv"
"""


def test_splits_groups_and_bags_are_read_or_one_clear_error(registry: Registry, home: Path) -> None:
    """Files beside a sound case table: of a split, of gene groups, and with several rows a case."""
    folds: list[int] = []
    top, _, rest = FILES.strip().partition("\n")
    (home / "beside.toml").write_text(f"{top}\n{tomli_w.dumps(COHORT)}{rest}")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *ROWS])

    @FUZZ
    @given(
        changed_tables(["", "train", "val", "test"], SPLIT),
        changed_tables(["A", "B", "C"], GENES),
        changed_tables(["patient", "x", "y"], REGIONS),
    )
    def check(split: str, genes: str, regions: str) -> None:
        (home / "patients.csv").write_text(text.getvalue())
        (home / "genes.csv").write_text("patient,TP53_mut,KRAS,y\np0,1,2,3\np1,4,5,6\n")
        for name, content in (("splits", split), ("signatures", genes), ("regions", regions)):
            (home / f"{name}.csv").write_bytes(as_bytes(content))
        ref = PluginRef.of("table", file=str(home / "beside.toml"))
        try:
            dataset = registry.dataset("table")(validate_options(registry, "datasets", ref), home)
            cohort = load_cohort(dataset, registry.modalities)
        except FusionBenchError as error:
            clear(error)
            return
        event("a cohort")
        folds.append(len(cohort.folds or ()))
        ids = {case.id for case in cohort.cases}
        for fold in cohort.folds or ():
            assert fold.train
            assert fold.test
            assert ids >= {*fold.train, *fold.val, *fold.test}
            assert not set(fold.train) & set(fold.test)

    check()
    assert folds, "no example was a cohort"


@pytest.fixture(scope="module")
def finished(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Frames]:
    out = tmp_path_factory.mktemp("import") / "results"
    session = Session(out=out, device="cpu", registry=registry)
    assert session.run("example-faulty", track=False).complete
    store = Store(out, "example-faulty")
    return store, read_frames(store.folder)


def test_predictions_are_kept_or_one_clear_error(finished: tuple[Store, Frames], home: Path) -> None:
    store, frames = finished
    wanted = frames.predictions.assign(model="theirs")[imported.NEEDED]
    rows = [list(map(str, row)) for row in wanted.itertuples(index=False, name=None)]
    kept: list[int] = []
    everything = {p for p in store.root.parent.rglob("*") if p.parent.name != imported.FOLDER}

    @FUZZ
    @given(changed_tables(list(wanted.columns), rows))
    def check(table: str) -> None:
        path = home / "predictions.csv"
        path.write_bytes(as_bytes(table))
        try:
            read = imported.read_predictions(path, frames)
            for _, of_model in read.groupby("model", sort=False):
                kept_at = imported.store_predictions(of_model, store)
                assert kept_at.parent == store.folder / imported.FOLDER
                kept_at.unlink()
        except FusionBenchError as error:
            clear(error)
            return
        event("kept")
        kept.append(len(read))

    check()
    assert kept, "no example was kept"
    assert {p for p in store.root.parent.rglob("*") if p.parent.name != imported.FOLDER} - everything <= {
        store.folder / imported.FOLDER
    }
