"""`fusionbench profile`: the table adds up, the files are there, what is stored stays, what cannot be is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from fusionbench.core import timing as watch
from fusionbench.core.errors import SuiteError
from fusionbench.core.timing import Spent
from fusionbench.session import Session
from fusionbench.tools.explain import Request
from fusionbench.tools.profiling.figure import drawn
from fusionbench.tools.profiling.measuring import OF_THE_MODEL, STEPS, Profile
from tests.conftest import Cli
from tests.e2e.test_bad_input import one_error
from tests.unit.drawn_results import overlapping


@pytest.mark.slow
def test_a_profile_of_a_cell(cli: Cli, tmp_path: Path) -> None:
    result = cli("profile", "example-tiny", "-m", "snn[]", "--json", "--fold", "1")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    steps = found["steps"]
    assert set(steps) == set(STEPS)
    assert found["cell"]["fold"] == 1
    assert sum(step["seconds"] for step in steps.values()) == pytest.approx(found["seconds"])
    own = sum(step["seconds"] for name, step in steps.items() if name in OF_THE_MODEL)
    assert found["harness_share"] == pytest.approx(1 - own / found["seconds"])
    assert steps[watch.BACKWARD]["entered"] == steps[watch.FORWARD]["entered"] > 0
    assert all(step["peak_mib"] > 50 for name, step in steps.items() if step["seconds"] > 0.05)
    folder = tmp_path / found["folder"]
    text = (folder / "profile.md").read_text(encoding="utf-8")
    assert all(f"| {name}" in text for name in STEPS)
    with Image.open(folder / "profile.png") as image:
        assert image.width > 500
    assert (folder / "profile.svg").read_bytes().startswith(b"<?xml")
    assert [path.name for path in (tmp_path / "results" / "example-tiny").iterdir()] == ["profile"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("quikstart", "-m", "snn"), ("unknown suite", "did you mean 'quickstart'")),
        (("example-tiny", "-m", "healnut"), ("unknown model of this suite", "healnet")),
        (("example-tiny", "-m", "cox[]"), ("cox trains no torch module", "profile a network")),
        (("example-tiny", "-m", "late-fusion[]"), ("built on finished cells of others",)),
        (("example-tiny", "-m", "snn[]", "--modalities", "bag"), ("unknown modality set 'bag'", "vector")),
        (("quickstart", "-m", "snn", "--modalities", "bag"), ("snn was skipped on bag", "vectors only")),
        (("example-tiny", "-m", "snn[]", "--fold", "9"), ("this suite has folds 0 to 1",)),
        (("example-tiny", "-m", "snn[]", "--repeat", "-1"), ("--repeat -1: must be at least 0",)),
    ],
)
def test_what_cannot_be_profiled(cli: Cli, args: tuple[str, ...], words: tuple[str, ...]) -> None:
    one_error(cli("profile", *args), *words)


def test_a_model_without_steps_is_refused_before_it_is_fitted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("fusionbench.tools.profiling.measuring.run_cell", lambda *_: pytest.fail("it was fitted"))
    with pytest.raises(SuiteError, match="cox trains no torch module"):
        Session(out=tmp_path, device="cpu").profile(Request("quickstart", "cox"), 0)


@pytest.mark.parametrize("seconds", [1e-4, 3.0, 54321.0])
def test_no_text_of_the_chart_meets_another(seconds: float) -> None:
    cell: Any = SimpleNamespace(label="a · b · c")
    spent = {name: Spent(seconds * i, seconds, i, 100.0 * i) for i, name in enumerate(STEPS)}
    picture = drawn(Profile(cell, spent, 1.0, 3, {}))
    assert overlapping(picture.figure) == []
    assert "rest takes longest" in picture.alt
    bars = [bar.get_width() for bar in picture.figure.axes[0].patches]
    assert bars == [s.seconds for s in spent.values()]
