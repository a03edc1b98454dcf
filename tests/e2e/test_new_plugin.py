"""A stranger's first ten minutes: `fusionbench new-plugin`, install, check, run; and what it refuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sksurv.metrics import concordance_index_censored

from fusionbench import DataError, ModalityUse, SurvivalPrediction, SurvivalTargets, UndefinedMetric
from fusionbench.cli.new_plugin import Kind, scaffold
from fusionbench.data.feature_files import read_arrays
from tests.conftest import EXAMPLE, Cli, Outcome, run_cli
from tests.forking import server
from tests.unit.slide_files import write_pyramid

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "fusionbench" / "cli" / "new_plugin" / "templates"
KINDS = sorted(scaffold.BRINGS)
NAMES = {
    "model": "my-fusion",
    "dataset": "cohort2",
    "modality": "lab-visits",
    "metric": "landmark_c",
    "encoder": "shades",
    "own-loop": "own-steps",
    "auxiliary-loss": "second-task",
    "executor": "my-pool",
    "command": "best-rows",
}
CONFORMANCE = """\
from fusionbench.testing import parametrize


@parametrize("{name}")
def test_conforms(check):
    check()
"""


def python(*args: str | Path, cwd: Path, path: str = "") -> Outcome:
    """`python ARGS` in a process of its own, with `path` on the import path."""
    env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *map(str, args)]
    ended = subprocess.run(command, cwd=cwd, env=env, text=True, capture_output=True, timeout=600, check=False)
    return Outcome(ended.returncode, ended.stdout, ended.stderr)


def write(folder: Path, kind: str, name: str) -> Path:
    """The package as `new-plugin` writes it, without asking what is installed."""
    for path, text in scaffold.render(name, kind).items():
        (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / name / path).write_text(text, encoding="utf-8")
    return folder / name


def test_the_command_line_and_the_templates_have_the_same_kinds() -> None:
    assert sorted(Kind) == KINDS == sorted(p.parent.name for p in TEMPLATES.glob("*/src"))


@pytest.mark.parametrize("kind", KINDS)
def test_new_plugin_says_what_it_wrote_and_what_comes_next(cli: Cli, kind: str, tmp_path: Path) -> None:
    name = NAMES[kind]
    result = cli("new-plugin", name, "--kind", kind, "--into", "deep/down")
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "deep" / "down" / name
    lines = result.stdout.splitlines()
    written = sorted(path.relative_to(tmp_path) for path in folder.rglob("*") if path.is_file())
    assert sorted(line.removeprefix("wrote ") for line in lines if line.startswith("wrote ")) == list(map(str, written))
    run = dict.fromkeys(("model", "own-loop", "auxiliary-loss"), f"run quickstart -m '{name}[]'")
    run |= {"encoder": f"slides SLIDES --out FEATURES --encoder {name}"}
    run |= {"executor": f"run quickstart --executor {name}", "command": f"{name} quickstart"}
    assert [line.strip() for line in lines[-3:]] == [
        f"python -m pip install -e ./deep/down/{name}",
        f"fusionbench check {name}",
        f"fusionbench {run.get(kind, f'run {name}')}",
    ]
    assert (folder / "tests/test_conformance.py").read_text() == CONFORMANCE.format(name=name)
    for file in folder.rglob("*"):
        assert not file.is_file() or scaffold.NAME not in file.read_text(), f"{file} has the name of the template"


def test_an_empty_folder_is_filled(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "my-fusion").mkdir()
    assert cli("new-plugin", "my-fusion").returncode == 0, "a model by default"
    assert (tmp_path / "my-fusion" / "pyproject.toml").is_file()


@pytest.mark.parametrize(
    "name", ["My-Fusion", "1st", "my--fusion", "fusion-", "my fusion", "my.fusion", "", "é", "a" * 41]
)
def test_a_bad_name_is_refused(cli: Cli, name: str, tmp_path: Path) -> None:
    refused(cli("new-plugin", name, "--kind", "model"), "cannot be a plugin's name")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "name", "why"),
    [
        ("model", "healnet", "'healnet' has it among its models"),
        ("model", "example-failing", "plugin 'example'"),
        ("dataset", "synthetic", "among its datasets"),
        ("dataset", "quickstart", "among its suites"),
        ("modality", "bag", "among its modalities"),
        ("metric", "harrell_c_index", "among its metrics"),
        ("encoder", "mean-colour", "among its encoders"),
        ("metric", "example", "fusionbench-example"),
        ("command", "audit", "fusionbench's own command"),
        ("command", "slides", "among its commands"),
        ("executor", "serial", "among its executors"),
        ("model", "early_fusion", "a package fusionbench_early_fusion is installed"),
    ],
)
def test_a_taken_name_is_refused(cli: Cli, kind: str, name: str, why: str, tmp_path: Path) -> None:
    refused(cli("new-plugin", name, "--kind", kind), why)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_left_alone(cli: Cli, tmp_path: Path) -> None:
    kept = tmp_path / "my-fusion" / "notes.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    refused(cli("new-plugin", "my-fusion", "--kind", "model"), "my-fusion: has something in it")
    assert [kept] == list(kept.parent.iterdir())


@pytest.mark.parametrize("into", ["file", "file/below", "/proc/nowhere"])
def test_a_place_that_cannot_be_written_is_refused(cli: Cli, into: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refused(cli("new-plugin", "my-fusion", "--kind", "model", "--into", into), "cannot be written")


def test_a_folder_without_leave_to_write_is_refused(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an ordinary user sees it; the tests may run as one who may do anything."""

    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    refused(cli("new-plugin", "my-fusion", "--kind", "model"), "Permission denied")


@pytest.mark.parametrize("args", [("my-fusion", "--kind", "modal"), ("--kind", "model")])
def test_a_bad_request_is_refused(cli: Cli, args: tuple[str, ...]) -> None:
    assert cli("new-plugin", *args).returncode == 2


def refused(result: Outcome, why: str) -> None:
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert why in result.stderr


@pytest.mark.parametrize("name", ["x", "my-fusion", "z" * scaffold.LONGEST])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_linted_and_formatted(kind: str, name: str, tmp_path: Path) -> None:
    folder = write(tmp_path, kind, name)
    for args in (("check",), ("format", "--check")):
        result = python("-m", "ruff", *args, "--no-cache", ".", cwd=folder)
        assert result.returncode == 0, result.stdout + result.stderr


def test_compiled_files_do_not_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installers leave `__pycache__` in the templates."""
    templates = tmp_path / "templates"
    cache = templates / "metric" / "src" / "__pycache__"
    cache.mkdir(parents=True)
    (cache / "landmark.pyc").write_bytes(b"\xff\xfe")
    for path in scaffold.SHARED:
        (templates / path).parent.mkdir(parents=True, exist_ok=True)
        (templates / path).write_text("")
    monkeypatch.setattr(scaffold, "files", lambda package: tmp_path)
    assert set(scaffold.render("x", "metric")) == set(scaffold.SHARED)


Load = Callable[[str], ModuleType]


@pytest.fixture
def load(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """A module of a freshly written package, `kind.module`, under a name that no other test uses."""
    name = "t" + "".join(c for c in request.node.name.lower() if c.isalnum())[-30:]

    def module(place: str) -> ModuleType:
        kind, _, module = place.partition(".")
        monkeypatch.syspath_prepend(write(tmp_path, kind, name) / "src")
        return import_module(f"{scaffold.package_of(name)}.{module}")

    return module


def targets(time: object, event: object) -> SurvivalTargets[np.ndarray]:
    time = np.asarray(time, dtype=np.float64)
    return SurvivalTargets(time, np.asarray(event, dtype=bool), np.zeros(len(time), dtype=np.int64))


def test_the_metric_is_harrells_c_beyond_the_landmark(load: Load) -> None:
    metric, compared = load("metric.landmark").LandmarkConcordance(), 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        test = targets(rng.integers(1, 30, 40), rng.random(40) < 0.5)
        risk = rng.integers(0, 8, 40).astype(np.float64)
        later = test.time > metric.landmark
        known = concordance_index_censored(test.event[later], test.time[later], risk[later])[0]
        ids = tuple(map(str, range(40)))
        assert metric(SurvivalPrediction(ids, risk), test, test) == pytest.approx(known)
        compared += 1
    assert compared == 50


@pytest.mark.parametrize(
    ("time", "event", "why"),
    [
        ([3, 12, 11], [True, True, False], "followed beyond 12 months"),
        ([20, 30, 40], [False, False, False], "no comparable pair"),
        ([20, 20], [True, True], "no comparable pair"),
        ([40, 30], [True, False], "no comparable pair"),
    ],
)
def test_the_metric_has_no_value_where_there_is_none(load: Load, time: list[int], event: list[bool], why: str) -> None:
    metric, test = load("metric.landmark").LandmarkConcordance(), targets(time, event)
    with pytest.raises(UndefinedMetric, match=why):
        metric(SurvivalPrediction(tuple(map(str, time)), np.arange(len(time), dtype=np.float64)), test, test)


def test_the_cohort_has_gaps_and_censored_cases(load: Load) -> None:
    cohort = load("dataset.cohort").CsvCohort
    cases = cohort(cohort.Options(), Path()).cases()
    have = {name: sum(name in case.refs for case in cases) for name in ("clinical", "lesions")}
    assert len(cases) == len({case.id for case in cases}) == 80
    assert 0.2 < np.mean([not case.target.event for case in cases]) < 0.5
    assert have["clinical"] < 80
    assert have["lesions"] < 70
    assert all(case.refs for case in cases)
    assert max(case.target.time for case in cases) < 120


@pytest.mark.parametrize(
    ("file", "old", "new", "why"),
    [
        ("patients.csv", "p03,10,1", "p03,ten,1", r"patients.csv, line 4: days is 'ten'"),
        ("patients.csv", "p03,10,1", "p03,10,yes", r"patients.csv, line 4: died is 'yes'"),
        ("patients.csv", "days", "weeks", r"line 2: nothing under 'days'; the columns are patient, weeks"),
        ("lesions.csv", "p04", "p99", r"lesions.csv, line 4: patient 'p99' is not in patients.csv"),
        ("lesions.csv", "p03,1.3,7.4,0.74", "p03,1.3", r"line 2: nothing under 'uptake'"),
    ],
)
def test_the_cohort_says_where_a_cell_is_wrong(
    load: Load, tmp_path: Path, file: str, old: str, new: str, why: str
) -> None:
    module = load("dataset.cohort")
    for name in ("patients.csv", "lesions.csv"):
        text = (Path(str(module.__file__)).parent / name).read_text()
        (tmp_path / name).write_text(text.replace(old, new, 1) if name == file else text)
    dataset = module.CsvCohort(module.CohortOptions(folder=str(tmp_path)), Path())
    with pytest.raises(DataError, match=why):
        dataset.cases()


def test_the_cohort_says_that_a_file_is_absent(load: Load, tmp_path: Path) -> None:
    module = load("dataset.cohort")
    with pytest.raises(DataError, match=r"patients.csv: cannot be read .*option `folder`"):
        module.CsvCohort(module.CohortOptions(folder=str(tmp_path)), Path()).cases()


LINES = ['{"month": 6, "values": [3, 1]}', "", '{"month": 0.5, "values": [1, 1]}', '{"month": 2, "values": [2, 1]}']


def test_the_modality_reads_lines_and_files_alike(load: Load, tmp_path: Path) -> None:
    module, use = load("modality.visits"), ModalityUse("visits", 2)
    file = tmp_path / "case.jsonl"
    file.write_text("\n".join(LINES))
    modality = module.Visits("visits", use, module.VisitsOptions())
    for ref in (LINES, file, str(file)):
        raw = modality.load(ref)
        assert raw.values.tolist() == [[1, 1], [2, 1], [3, 1]]
        assert raw.coords.tolist() == [[0.5], [2], [6]]
    recent = module.Visits("visits", use, module.VisitsOptions(last=2)).load(file)
    assert recent.coords.tolist() == [[2], [6]]
    fitted = modality.fit(iter([modality.load(file)]))
    assert fitted(raw).numpy() == pytest.approx(np.array([[-1.2247449, 0], [0, 0], [1.2247449, 0]]))
    unscaled = module.Visits("visits", use, module.VisitsOptions(scale=False)).fit([raw])
    assert unscaled(raw).tolist() == raw.values.tolist()
    assert unscaled.mean().tolist() == [2, 1]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "no visit"),
        (["", "month"], r"line 2: cannot be read .*write \{\"month\": 0"),
        (['{"month": 1}'], "line 1: cannot be read"),
        (['{"month": 1, "values": [1, null]}'], "line 1: cannot be read"),
        (['{"month": 1, "values": [1]}'], "line 1: 1 values where 2 are declared"),
        (['{"month": 1, "values": [1, NaN]}'], "line 1: a value is NaN"),
    ],
)
def test_the_modality_says_where_a_line_is_wrong(load: Load, tmp_path: Path, lines: list[str], why: str) -> None:
    module = load("modality.visits")
    modality = module.Visits("visits", ModalityUse("visits", 2), module.VisitsOptions())
    file = tmp_path / "case.jsonl"
    file.write_text("\n".join(lines))
    for ref in (lines, file):
        with pytest.raises(DataError, match=why):
            modality.load(ref)
    with pytest.raises(DataError, match=r"gone.jsonl: cannot be read"):
        modality.load(tmp_path / "gone.jsonl")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package of each kind and, under `site`, what pip made of them without a network."""
    home = tmp_path_factory.mktemp("plugins")
    folders = [scaffold.new_plugin(NAMES[kind], kind, home).folder for kind in KINDS]
    flags = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--no-compile")
    result = python("-m", "pip", "install", *flags, "--target", home / "site", *folders, cwd=home)
    assert result.returncode == 0, result.stderr
    return home


@pytest.mark.slow
def test_it_is_listed(installed: Path) -> None:
    listed = run_cli(["plugins", "--json"], installed, {"PYTHONPATH": str(installed / "site")})
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    for kind, name in NAMES.items():
        assert rows[name]["status"] == "ok", rows[name]
        assert rows[name]["distribution"] == f"fusionbench-{name}"
        assert rows[name]["provides"] == {what: [name] for what in sorted(scaffold.BRINGS[kind])}


CHECKED = ("model", "dataset", "modality", "metric", "encoder")
"""Kinds whose check is also run by the command; the tests that each package brings run the same checks."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHECKED)
def test_it_passes_its_check(installed: Path, kind: str) -> None:
    result = run_cli(["check", NAMES[kind]], installed, {"PYTHONPATH": str(installed / "site")})
    assert result.returncode == 0, result.stdout + result.stderr


OWN_TESTS = ("-q", "-W", "error", "-p", "no:cacheprovider")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_passes_its_own_tests(installed: Path, kind: str, tmp_path: Path) -> None:
    """`pytest` in the package's folder: once as a user starts it, for the other kinds with everything imported."""
    folder, site = installed / NAMES[kind], installed / "site"
    if kind == "metric":
        result = python("-m", "pytest", *OWN_TESTS, cwd=folder, path=str(site))
    else:
        out = tmp_path / "out"
        process = server().Process(target=run_own_tests, args=(folder, site, out))
        process.start()
        process.join(600)
        result = Outcome(process.exitcode, out.read_text(), "")
    assert result.returncode == 0, result.stdout
    assert " passed" in result.stdout
    assert "failed" not in result.stdout


def run_own_tests(folder: Path, site: Path, out: Path) -> None:
    """In a process of its own: `pytest` in that folder; what it prints goes to `out`."""
    os.chdir(folder)
    sys.path.insert(0, str(site))
    sys.dont_write_bytecode = True
    with out.open("w") as file:
        os.dup2(file.fileno(), 1)
    sys.stdout = os.fdopen(1, "w")
    status = pytest.main(list(OWN_TESTS))
    sys.stdout.flush()
    sys.exit(status)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "row"),
    [
        (("example-tiny", "-m", "my-fusion[width=8]"), r"\| my-fusion\[width=8\] \| vector\+bag \| 0\.\d+ ± "),
        (
            ("my-fusion",),
            r"harrell_c_index .* my-fusion \| vector\+bag \|.* 0\.\d+ ± .*"
            r" auroc .* my-fusion \| vector\+bag \|.* 0\.\d+ ± ",
        ),
        (("cohort2",), r"\| healnet \| clinical\+lesions \| \**0\.\d+ ± "),
        (("lab-visits",), r"\| healnet \| clinical\+laboratory \| \**0\.\d+ ± "),
        (("landmark_c",), r"\| harrell_c_index \| landmark_c \|.* \| cox \| vector \|[^|]*\| \**0\.\d+ ± "),
    ],
    ids=["model", "both-tasks", "dataset", "modality", "metric"],
)
def test_it_takes_part_in_a_suite(installed: Path, args: tuple[str, ...], row: str) -> None:
    path = f"{installed / 'site'}:{EXAMPLE}"
    result = run_cli(["run", *args, "--no-track"], installed, {"PYTHONPATH": path})
    assert result.returncode == 0, result.stderr
    assert re.search(row, " ".join(result.stdout.split())), result.stdout


@pytest.mark.slow
def test_the_encoder_takes_slides(installed: Path, tmp_path: Path) -> None:
    write_pyramid(tmp_path / "s.tiff", (600, 600), [(0, 0, 600, 600)])
    args = ["slides", "s.tiff", "--out", "f", "--downsample", "1", "--encoder", "shades[bins=4]", "--device", "cpu"]
    result = run_cli(args, tmp_path, {"PYTHONPATH": str(installed / "site")})
    assert result.returncode == 0, result.stderr
    assert read_arrays(tmp_path / "f" / "s.h5")["features"].shape == (4, 12)


@pytest.mark.slow
def test_its_types_are_strict(installed: Path) -> None:
    folders = [installed / name / "src" for name in NAMES.values()]
    result = python("-m", "mypy", *folders, cwd=ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.slow
def test_the_wheel_has_the_templates(tmp_path: Path) -> None:
    result = python("-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, ROOT, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    kept = {name for name in names if name.startswith("fusionbench/cli/new_plugin/templates/")}
    files = (p.relative_to(ROOT).as_posix() for p in TEMPLATES.rglob("*") if p.is_file() and p.suffix != ".pyc")
    assert kept == set(files)
    assert "plugins/README.md" not in names
    assert "README.md" not in names
