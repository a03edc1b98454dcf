"""Needs 7 and 11 on a cohort of a user's own: hundreds of overlapping groups of a GMT, and maps between modalities."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fusionbench import ModalitySpec, Task
from fusionbench.core.registry import PluginRecord, Registry, discover
from fusionbench.nn import TorchModel
from fusionbench.session import Session
from fusionbench.suites.lock import read_lock
from fusionbench.testing import checks_for
from fusionbench.tools.explain import Request
from fusionbench.tools.reporter import SilentReporter
from tests.needs import groups, maps
from tests.own_cohort import write_cohort

NEEDS = {"7": groups.Pathways, "11": maps.Transport}
GROUPS = {f"P{i}": [f"gene_{j}" for j in range(6) if (i + 1) >> j & 1] for i in range(63)} | {
    f"Q{i}": ["gene_0", "ABSENT"] for i in range(268)
}
"""331: every set of six genes, of one gene to six, and 268 of one gene and another that the table lacks."""
SUITE = """
title = "Groups"
datasets = ["table[file=cohort.toml]"]
models = ["need-groups", "need-maps", "mcat[group_widths=[8],heads=2,layers=1,feedforward=8]"]
modalities = [["rna", "slides"]]
metrics = ["harrell_c_index"]

[protocol]
folds = 2

[train]
epochs = 1
"""


def registry(*further: type[TorchModel]) -> Registry:
    """What is installed, the models of the needs, and further ones."""
    installed, models = discover(), {cls.name: (cls, "needs") for cls in (*NEEDS.values(), *further)}
    record = PluginRecord("needs", "needs", "1", "not stated", {"models": tuple(models)})
    found = {**installed.found, "models": {**installed.found["models"], **models}}
    return Registry((*installed.plugins, record), found)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """The suite, run."""
    folder = tmp_path_factory.mktemp("groups")
    toml = write_cohort(folder, 40)
    inline = 'groups = {first = ["gene_0", "gene_1"], second = ["gene_2", "gene_3"]}'
    toml.write_text(toml.read_text().replace(inline, 'groups = "pathways.gmt"'))
    (folder / "pathways.gmt").write_text("".join("\t".join([name, "na", *of]) + "\n" for name, of in GROUPS.items()))
    (folder / "groups.toml").write_text(SUITE)
    made = Session(folder / "results", home=folder, registry=registry())
    report = made.run(str(folder / "groups.toml"), track=False, reporter=SilentReporter())
    assert not report.failed
    return made


@pytest.mark.parametrize("cls", NEEDS.values(), ids=NEEDS)
def test_a_need_takes_forty_lines_and_nothing_private(cls: type) -> None:
    text = Path(__file__).with_name(f"{cls.__module__.rpartition('.')[2]}.py").read_text()
    names = {node.attr for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)}
    assert len([line for line in text.splitlines() if line.strip()]) <= 40
    assert not {name for name in names if name.startswith("_") and not name.startswith("__")}


def test_hundreds_of_groups_are_tokens_and_are_counted(session: Session) -> None:
    table = pd.read_csv(session.out / "groups" / "table.csv")
    assert {"need-groups", "need-maps", "mcat"} <= {name.partition("[")[0] for name in table["model"]}
    (about,) = read_lock(session.out / "groups")["datasets"].values()
    counted = (
        "331 groups of pathways.gmt, with 1 to 6 columns each; 6 of 7 genes have a column, 1 skipped, the first is"
    )
    assert f"modality.rna: {counted} 'ABSENT'" in about["notes"]


def explained(session: Session, model: str) -> tuple[Path, dict[str, np.ndarray]]:
    """Folder and arrays of the explanation of the case with the highest risk."""
    report = session.explain(Request("groups", model, top_risk=1))
    folder = report.pages[0].parent
    with np.load(folder / "maps.npz") as arrays:
        return folder, {name: arrays[name] for name in arrays.files}


def test_three_maps_between_pathways_and_patches_are_explained(session: Session) -> None:
    folder, arrays = explained(session, "need-groups")
    own, patches, back = (arrays[f"values/{n}"] for n in ("group to group", "group to patch", "patch to group"))
    n = patches.shape[-1]
    assert [own.shape, patches.shape, back.shape] == [(1, 1, 1, 331, 331), (1, 1, 1, 331, n), (1, 1, 1, n, 331)]
    np.testing.assert_allclose(own.sum(-1) + patches.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(back.sum(-1), 1, atol=1e-5)
    raw = np.concatenate([arrays["scores/group to group"], arrays["scores/group to patch"]], axis=-1)[0, 0, 0, 5]
    shares = np.exp(raw - raw.max()) / np.exp(raw - raw.max()).sum()
    np.testing.assert_allclose(shares[:331], own[0, 0, 0, 5], atol=1e-5)
    frame = pd.read_csv(folder / "maps.csv")
    first = frame[(frame["map"] == "group to patch") & (frame["query"] == "P5")].iloc[0]
    assert first["item"] == f"instance {patches[0, 0, 0, 5].argmax()}"
    assert first["score"] == pytest.approx(arrays["scores/group to patch"][0, 0, 0, 5].max())
    page = (folder / "explanation.html").read_text()
    assert "Maps of attention" in page
    assert "patch to group" in page
    assert {path.name for path in (folder / "figures").glob("map*.png")}
    about = json.loads((folder / "explanation.json").read_text())
    assert [one["name"] for one in about["maps"]] == ["group to group", "group to patch", "patch to group"]
    # What explain shows of every model follows from the maps.
    assert set(about["modalities"]) == {"rna", "slides"}
    assert all(modality["attention"] for modality in about["modalities"].values())


def test_a_plan_and_classes_are_explained(session: Session) -> None:
    folder, arrays = explained(session, "need-maps")
    plan, classes = arrays["values/plan"], arrays["values/classes"]
    assert plan.shape[3] == 331
    assert 0.3 < plan.sum() < 3  # an unbalanced plan; its mass is near 1
    assert classes.shape[:4] == (1, 1, 3, 1)
    np.testing.assert_allclose(classes.sum(-1), 1, atol=1e-5)
    frame = pd.read_csv(folder / "maps.csv").set_index("map")
    assert set(frame.loc["plan", "kind"]) == {"mass"}
    assert set(frame.loc["classes", "class"]) == {0, 1, 2}


@pytest.mark.parametrize("cls", NEEDS.values(), ids=NEEDS)
def test_the_promises_on_maps_hold(cls: type[TorchModel]) -> None:
    def skip(self: TorchModel, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        return None if list(specs) == ["omic", "image"] else "tried on omic and image only"

    checked = type("Checked", (cls,), {"name": "checked", "skip": skip, "tasks": ("survival",)})
    outcomes = {check.name: check.outcome() for check in checks_for("needs", registry(checked), "checked:attention")}
    assert {name: outcome.status for name, outcome in outcomes.items()} == dict.fromkeys(
        ("attention-maps", "attention-sums", "attention"), "pass"
    )
