from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fusionbench import builtin
from fusionbench.core.executor import Executor
from fusionbench.core.interfaces import Dataset, Modality
from fusionbench.core.metric import Metric


def test_each_hook_gives_named_classes_of_its_kind() -> None:
    found = {
        Modality: list(builtin.fusionbench_modalities()),
        Dataset: list(builtin.fusionbench_datasets()),
        Metric: list(builtin.fusionbench_metrics()),
        Executor: list(builtin.fusionbench_executors()),
    }
    for kind, classes in found.items():
        assert classes
        assert all(issubclass(cls, kind) for cls in classes)
        assert len({cls.name for cls in classes}) == len(classes)
    assert [cls.name for cls in found[Modality]] == ["vector", "bag", "grid"]
    assert [cls.name for cls in found[Dataset]] == ["synthetic", "breast-cancer", "wisconsin", "table"]


def test_suites_come_from_the_checkout_or_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmarks = Path(builtin.__file__).parents[2] / "benchmarks"
    assert [Path(str(s)) for s in builtin.fusionbench_suites()] == sorted(benchmarks.glob("*.toml"))
    (tmp_path / "_suites").mkdir()
    for name in ("b.toml", "a.toml", "table1.csv"):
        (tmp_path / "_suites" / name).touch()
    monkeypatch.setattr(builtin, "files", lambda package: tmp_path)
    assert [s.name for s in builtin.fusionbench_suites()] == ["a.toml", "b.toml"]


def test_listing_what_there_is_loads_no_heavy_package() -> None:
    program = (
        "import sys\nfrom fusionbench import builtin\nlist(builtin.fusionbench_suites())\n"
        "assert not {'numpy', 'torch', 'pandas'} & set(sys.modules), sorted(sys.modules)\n"
        "list(builtin.fusionbench_datasets()), list(builtin.fusionbench_modalities())\n"
        "assert not {'torch', 'pandas', 'h5py', 'sksurv'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
