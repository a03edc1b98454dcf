"""No code is run from data, results or suites, and nothing is unpacked into folders: such calls are not there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path for folder in ("fusionbench", "plugins", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
REFUSED = {
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "dill.load", "dill.loads", "cloudpickle.load"),
    *("cloudpickle.loads", "joblib.load", "marshal.load", "marshal.loads", "shelve.open", "yaml.load"),
    *("pd.read_pickle", "pandas.read_pickle", "eval", "exec", "compile", "__import__", "os.system", "os.popen"),
    *("shutil.unpack_archive", "runpy.run_path", "runpy.run_module", "torch.hub.load"),
}
"""By their dotted names as written."""
METHODS = {"extract", "extractall", "unpack_archive", "read_pickle", "unpickle"}
ALLOWED = {
    # a plugin's own objects, pickled a line earlier: what another process would get
    *((f"fusionbench/testing/conformance/{name}.py", "pickle.loads") for name in ("datasets", "metrics", "modalities")),
    *((f"fusionbench/testing/conformance/{name}.py", "pickle.loads") for name in ("model_basics", "model_learning")),
    ("fusionbench/testing/conformance/encoders.py", "pickle.loads"),
    # between a run and the process that it started a moment ago, over a pipe of the two; no file
    ("fusionbench/execution/executors/subprocess.py", "pickle.loads"),
    # between `check` and the process that it started a moment ago, in a temporary folder that only the user may enter
    ("fusionbench/testing/conformance/other_process.py", "pickle.loads"),
    ("fusionbench/testing/other_process.py", "pickle.load"),
}
IMPORTS = ("fusionbench/core/registry.py", "__init__.py", "fusionbench/core/class_files.py")
"""Modules of the own package by names written in its source: what is imported late, so that start-up is quick; and the
Python file that the user names on the command line, which no suite and no result can name (`parse_suite`)."""
TORCHSCRIPT = "plugins/fusionbench_slides/encoders/torchscript.py"
"""An encoder that the user names on the command line is a program in any form; it is no data and no result."""


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def calls(source: str) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield dotted(node.func), node


def keyword(call: ast.Call, name: str) -> object:
    """The constant given for a keyword; None where it is not given."""
    found = [k.value for k in call.keywords if k.arg == name]
    return found[0].value if found and isinstance(found[0], ast.Constant) else found[0] if found else None


def problems(source: str, where: str) -> list[str]:
    found = []
    for name, call in calls(source):
        last = name.rpartition(".")[2]
        bad = (
            (name in REFUSED and (where, name) not in ALLOWED)
            or (last in METHODS and "." in name)
            or (name == "torch.load" and keyword(call, "weights_only") is not True)
            or (name.endswith("jit.load") and where != TORCHSCRIPT)
            or (name in ("np.load", "numpy.load") and keyword(call, "allow_pickle") not in (None, False))
            or (last == "import_module" and not where.endswith(IMPORTS))
            or (keyword(call, "shell") not in (None, False))
        )
        if bad:
            found.append(f"{where}:{call.lineno} calls {name}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_is_run_from_files(path: Path) -> None:
    assert not problems(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))


@pytest.mark.parametrize(
    "line",
    [
        "pickle.loads(data)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "archive.extractall(folder)",
        "tar.extract(member)",
        "pd.read_pickle(path)",
        "joblib.load(path)",
        "eval(text)",
        "exec(text)",
        "importlib.import_module(name)",
        "subprocess.run(line, shell=True)",
        "torch.jit.load(path)",
    ],
)
def test_the_walk_sees_them(line: str) -> None:
    assert problems(line, "fusionbench/suites/suite.py")


def test_what_is_sound_is_not_refused() -> None:
    sound = "torch.load(path, weights_only=True)\nnp.load(path)\nnp.load(path, allow_pickle=False)\nmodel.eval()"
    assert not problems(sound, "fusionbench/suites/suite.py")


def test_suites_are_toml_and_tables_beside_them() -> None:
    assert {path.suffix for path in (ROOT / "benchmarks").iterdir() if path.is_file()} == {".toml", ".csv"}


def test_stored_weights_are_safetensors() -> None:
    from fusionbench.results.cell_files import WEIGHTS

    assert WEIGHTS == "model.safetensors"
    files = (ROOT / "fusionbench/results/cell_files.py").read_text(encoding="utf-8")
    assert "from safetensors.numpy import load" in files
