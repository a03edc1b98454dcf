"""What docs/cluster.md shows beside commands works: a third-party executor, and the job script as shell."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.faults.watching import PLUGIN, Running, same_results

TEXT = (Path(__file__).parents[2] / "docs/cluster.md").read_text(encoding="utf-8")
HOOK = """

from fusionbench import hookimpl


@hookimpl
def fusionbench_executors():
    return [Pool]
"""


@pytest.mark.slow
def test_the_executor_runs_a_suite_with_members(tmp_path: Path) -> None:
    site = tmp_path / "site"
    info = site / "pool_executor-1.0.dist-info"
    info.mkdir(parents=True)
    code = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0]
    (site / "pool_executor.py").write_text(code + HOOK)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pool-executor\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fusionbench]\npool = pool_executor\n")
    env = {"PYTHONPATH": f"{site}:{PLUGIN}"}
    for name, flags in (("pool", ("--executor", "pool", "-j", "2")), ("serial", ())):
        run = Running(("run", "faults-few", "--no-track", *flags), tmp_path / name, env, warm=True)
        assert run.end() == 0, (tmp_path / name / "log.txt").read_text()
    assert same_results(tmp_path / "pool/results/faults-few", tmp_path / "serial/results/faults-few") == []


def test_the_job_script_is_a_shell_script() -> None:
    script = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)[0]
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
