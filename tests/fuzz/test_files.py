"""Any cohort of a user's own and any file of predictions: one clear error, or a result."""

from __future__ import annotations

import csv
import io
import json
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tomli_w
from hypothesis import event, given
from hypothesis import strategies as st

from fusionbench.builtin.table.schema import CohortSchema
from fusionbench.builtin.table.sheets import read_sheet
from fusionbench.core.errors import FusionBenchError
from fusionbench.core.plugin_options import validate_options
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import Registry, discover
from fusionbench.data.cohort import load_cohort
from fusionbench.data.fixes import Problem, toml_lines
from fusionbench.data.inspection import examine
from fusionbench.report import imported
from fusionbench.results.frames import Frames, read_frames
from fusionbench.results.made_from import IMPORTED_FOLDER
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
WRITTEN = st.sampled_from(
    [
        *(
            "1,5",
            "1.234,5",
            "1,234",
            "12 %",
            "70 kg",
            "70 KG",
            "1\u00a0234",
            "1'234",
            "<50",
            "~5",
            "1_0",
            "0x1F",
            "007",
            "1E5",
        ),
        *(
            "?",
            "-",
            "unknown",
            "N/A",
            "#N/A",
            "[Not Available]",
            "f",
            "F",
            "f ",
            "f\u0301",
            "2011-03-01",
            "1.2.2011",
            "2-Mar",
        ),
        *("１２", "١٢", "−3", "½", "Infinity", "1e400", "True", "männlich", "€ 5", "dead ", "DEAD", "p1.svs"),
    ]
)
"""Cells as people write them."""
CELLS = st.one_of(
    TEXTS, WRITTEN, SCALARS.map(str), st.sampled_from(["dead", "alive", "0", "1", "-1", "1e5", "p1", "p2"])
)
FORMS: dict[str, st.SearchStrategy[Any]] = {
    "decimal": st.sampled_from([",", ".", "", ",,"]),
    "thousands": st.sampled_from([",", ".", " ", "'", ""]),
    "units": st.lists(st.sampled_from(["%", "kg", "€", "", "1", "."]), max_size=2),
    "missing": st.lists(CELLS, max_size=2),
    "replace": st.dictionaries(CELLS, CELLS, max_size=2),
    "separator": st.sampled_from([",", ";", "\t", '"', "\n", "p", " "]),
    "encoding": st.sampled_from(
        ["utf-8", "cp1252", "utf-16", "utf-16-le", "utf-7", "idna", "rot13", "hex", "zip", "?"]
    ),
    "sheet": TEXTS,
    "transposed": st.booleans(),
    "exclude": st.lists(st.sampled_from(["p1", "p2", "p9", ""]), max_size=2),
    "absent": st.just("ignore"),
    "unknown": st.just("ignore"),
    "categorical": st.lists(st.sampled_from(COLUMNS), max_size=2),
}
"""Keys that say how tables are written."""
ENCODINGS = ["utf-8", "utf-8", "utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-32", "latin-1"]


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
    for _ in range(draw(st.integers(0, 2))):
        key = draw(st.sampled_from(sorted(FORMS)))
        place = draw(st.sampled_from(["top", "file", "column", "modality"]))
        if place == "top":
            content[key] = draw(FORMS[key])
            continue
        name = {"file": "patients.csv", "column": draw(st.sampled_from(COLUMNS)), "modality": "clinical"}[place]
        tables = content.setdefault(place, {})
        if isinstance(tables, dict) and isinstance(tables.setdefault(name, {}), dict):
            tables[name][key] = draw(FORMS[key])
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


def as_bytes(text: str, encoding: str = "utf-8") -> bytes:
    return text.encode(encoding, errors="surrogatepass" if encoding.startswith("utf") else "replace")


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


def test_data_check_tells_everything_and_its_answers_can_be_pasted(registry: Registry, home: Path) -> None:
    """No table stops `data check`; what `--fix` prints is a TOML that is read, whatever the problems were."""
    pasted: list[int] = []

    @FUZZ
    @given(cohort_texts(), changed_tables(COLUMNS, ROWS), st.sampled_from(ENCODINGS))
    def check(toml: str, table: str, encoding: str) -> None:
        (home / "cohort.toml").write_bytes(as_bytes(toml))
        (home / "patients.csv").write_bytes(as_bytes(table, encoding))
        ref = PluginRef.of("table", file=str(home / "cohort.toml"))
        dataset = registry.dataset("table")(validate_options(registry, "datasets", ref), home)
        try:
            found = examine(dataset, registry.modalities)
        except FusionBenchError as error:
            clear(error)
            return
        event("problems" if found.problems else "warnings" if found.warnings else "a cohort")
        json.dumps([asdict(warning) for warning in found.warnings])
        assert all(line.strip() for line in found.problems)
        fixes = [fix for line in found.problems if isinstance(line, Problem) for fix in line.fixes]
        fixes += [fix for warning in found.warnings for fix in warning.fixes]
        if fixes:
            content = tomllib.loads(toml)
            paste(tomllib.loads(toml_lines(fixes, content)), content)
            CohortSchema.model_validate(content)
            pasted.append(len(fixes))

    check()
    assert pasted, "nothing was answered"


def paste(new: dict[str, Any], content: dict[str, Any]) -> None:
    """Put keys into a TOML's content, in place of those of the same names."""
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(content.setdefault(key, {}), dict):
            paste(value, content[key])
        else:
            content[key] = value


def test_a_damaged_table_is_one_clear_error(home: Path) -> None:
    frame = pd.DataFrame(ROWS, columns=COLUMNS)
    frame.to_excel(home / "sound.xlsx", index=False)
    frame.to_parquet(home / "sound.parquet", index=False)
    with zipfile.ZipFile(home / "sound.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sound.csv", frame.to_csv(index=False))
    sound = {kind: (home / f"sound.{kind}").read_bytes() for kind in ("xlsx", "parquet", "zip")}
    schemas = {kind: CohortSchema.model_validate({**COHORT, "table": f"patients.{kind}"}) for kind in sound}

    @FUZZ
    @given(
        st.sampled_from(sorted(sound)),
        st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4)), max_size=3),
        st.integers(0, 9),
    )
    def check(kind: str, changes: list[tuple[float, bytes]], cut: int) -> None:
        data = sound[kind]
        places = [int(at * len(data)) for at, _ in changes]
        data = data if cut else data[: places[0]] if places else b""
        for at, (_, new) in zip(places, changes, strict=True):
            data = data[:at] + new + data[at + len(new) :]
        (home / f"patients.{kind}").write_bytes(data)
        try:
            sheet = read_sheet(home, f"patients.{kind}", ["patient"], [], schemas[kind], [])
        except FusionBenchError as error:
            clear(error)
            return
        event("a table")
        assert len(sheet.frame)

    check()


@pytest.fixture(scope="module")
def finished(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Frames]:
    out = tmp_path_factory.mktemp("import") / "results"
    session = Session(out=out, device="cpu", registry=registry)
    assert session.run("example-faulty", track=False).complete
    store = Store(out, "example-faulty")
    return store, read_frames(store.folder)


def test_predictions_are_kept_or_one_clear_error(finished: tuple[Store, Frames], home: Path) -> None:
    store, frames = finished
    wanted = frames.predictions.assign(model="theirs")[[*imported.NEEDED, imported.RISK]]
    rows = [list(map(str, row)) for row in wanted.itertuples(index=False, name=None)]
    kept: list[int] = []
    everything = {p for p in store.root.parent.rglob("*") if p.parent.name != IMPORTED_FOLDER}

    @FUZZ
    @given(changed_tables(list(wanted.columns), rows))
    def check(table: str) -> None:
        path = home / "predictions.csv"
        path.write_bytes(as_bytes(table))
        try:
            read = imported.read_predictions(path, frames)
            for _, of_model in read.groupby("model", sort=False):
                kept_at = imported.store_predictions(of_model, store)
                assert kept_at.parent == store.folder / IMPORTED_FOLDER
                kept_at.unlink()
        except FusionBenchError as error:
            clear(error)
            return
        event("kept")
        kept.append(len(read))

    check()
    assert kept, "no example was kept"
    assert {p for p in store.root.parent.rglob("*") if p.parent.name != IMPORTED_FOLDER} - everything <= {
        store.folder / IMPORTED_FOLDER
    }
