"""Plans: which cells a suite expands to, in which order, which are skipped, and what their keys depend on."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fusionbench import (
    Case,
    DataError,
    DatasetInfo,
    Fold,
    FusionModel,
    MaskRow,
    Member,
    ModalitySpec,
    ModalityUse,
    Options,
    PluginRef,
    SuiteError,
    SurvivalTarget,
    Task,
)
from fusionbench.core.protocol import Protocol
from fusionbench.core.registry import PluginRecord, Registry
from fusionbench.suites import cell as cells
from fusionbench.suites import plan as plans
from fusionbench.suites.cell import Cell, Plan
from fusionbench.suites.plan import expand, horizon
from fusionbench.suites.selection import narrow_suite
from fusionbench.suites.suite_files import parse_suite

SUITE = """
title = "A suite"
datasets = ["toy"]
models = ["uni", "late"]
modalities = [["clinical"], ["clinical", "omic"]]
[protocol]
folds = 2
test_patterns = ["full", "half"]
[train]
lr = 1e-3
"""


class ModelBase(FusionModel):
    def fit(self, train: Any, val: Any, ctx: Any) -> Any:
        raise NotImplementedError

    def restore(self, state: Any, ctx: Any) -> Any:
        raise NotImplementedError


class UniOptions(Options):
    depth: int = 2
    widths: tuple[int, ...] = (8,)


class Uni(ModelBase):
    name = "uni"
    Options = UniOptions


class Late(ModelBase):
    """Built on one model per modality."""

    name = "late"
    missing = "native"

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        return None if len(specs) > 1 else "late fusion needs two modalities"

    def members(self, task: Task, specs: Mapping[str, ModalitySpec]) -> Sequence[Member]:
        return [Member(PluginRef("uni"), (name,)) for name in specs]


class OnLate(ModelBase):
    """Built on a model that is built on others."""

    name = "on-late"

    def members(self, task: Task, specs: Mapping[str, ModalitySpec]) -> Sequence[Member]:
        return [Member(PluginRef("late"), tuple(specs))]


class OnGone(ModelBase):
    name = "on-gone"

    def members(self, task: Task, specs: Mapping[str, ModalitySpec]) -> Sequence[Member]:
        return [Member(PluginRef("gone"), tuple(specs))]


class OutputsSeen(ModelBase):
    """Skips with what it was told."""

    name = "outputs-seen"

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        return f"{task.n_outputs} outputs, {', '.join(f'{s.name} {s.dim}' for s in specs.values())}"


class ToyOptions(Options):
    n: int = 40


class Versioned:
    """As much of a dataset, a modality or a metric as planning sees."""

    version = "1"
    Options = ToyOptions
    tasks = ("survival",)


class AnyOptions(Options, extra="allow"):
    """Takes what a test says."""


class Reader(Versioned):
    Options = AnyOptions


def registry(**versions: str) -> Registry:
    """`versions` by name of a thing, where it is not "1"."""

    def thing(name: str, base: type) -> tuple[Any, str]:
        return type(name, (base,), {"name": name, "version": versions.get(name, "1")}), "toys"

    models: list[type] = [Uni, Late, OnLate, OnGone, OutputsSeen]
    return Registry(
        (PluginRecord("toys", "toys", "1", "MIT"),),
        {
            "datasets": {name: thing(name, Versioned) for name in ("toy", "other")},
            "modalities": {"vector": thing("vector", Reader)},
            "models": {str(m.name): thing(str(m.name), m) for m in models},  # type: ignore[attr-defined]
            "metrics": {name: thing(name, Versioned) for name in ("harrell_c_index", "ibs")},
        },
    )


@dataclass(frozen=True)
class Toy:
    """As much of a cohort as planning sees: every fifth case lacks the second modality."""

    n: int = 40
    names: tuple[str, ...] = ("clinical", "omic")
    fingerprint: str = "f"
    identity: str = "toy"
    use: Mapping[str, Any] = field(default_factory=dict)
    true_risk: Mapping[str, float] | None = None
    folds: tuple[Fold, ...] | None = None
    masks: Mapping[str, tuple[MaskRow, ...]] = field(default_factory=dict)
    last: float = 100.0

    @property
    def cases(self) -> tuple[Case, ...]:
        return tuple(self._case(i) for i in range(self.n))

    def _case(self, i: int) -> Case:
        refs = {m: i for j, m in enumerate(self.names) if i % 5 or j != 1}
        return Case(f"c{i:02d}", f"c{i:02d}", SurvivalTarget(self.last * (i + 1) / self.n, i % 2 == 0), refs)

    @property
    def info(self) -> DatasetInfo:
        uses = {m: ModalityUse("vector", 3 + i, self.use) for i, m in enumerate(self.names)}
        return DatasetInfo("Toy", uses, true_risk=self.true_risk)

    @property
    def specs_raw(self) -> Mapping[str, ModalitySpec]:
        return {m: ModalitySpec(m, "vector", 3 + i) for i, m in enumerate(self.names)}


class Backwards(Toy):
    @property
    def cases(self) -> tuple[Case, ...]:
        return super().cases[::-1]


def planned(text: str = SUITE, installed: Registry | None = None, toy: Toy | None = None, **others: Toy) -> Plan:
    """`others`: cohorts of further datasets by name."""
    known = {"toy": toy or Toy(), **others}
    cohorts: Callable[..., Any] = lambda ref, unit: known[ref.name]  # noqa: E731
    return expand(parse_suite("mine", text, "mine.toml"), installed or registry(), cohorts)


def keys(plan: Plan) -> dict[str, str]:
    """Label to key of all that runs."""
    return {c.label: c.key for c in plan.todo()}


def test_a_cell_for_every_row_and_fold() -> None:
    plan = planned()
    rows = [(str(c.model), "+".join(c.modalities), c.fold) for c in plan.listed]
    assert sorted(rows) == sorted(
        (model, modalities, fold)
        for model in ("uni", "late")
        for modalities in ("clinical", "clinical+omic")
        for fold in (0, 1)
    )
    cell = next(c for c in plan.listed if c.row == ("toy", "uni", "clinical+omic", "base"))
    assert (cell.patterns, cell.policy, cell.recipe.lr, cell.task.n_outputs) == (("full", "half"), "impute", 1e-3, 4)
    assert cell.label == "toy · uni · clinical+omic · repeat 0 fold 0"


def test_repeats_make_folds_of_their_own() -> None:
    plan = planned(SUITE.replace("folds = 2", "folds = 2\nrepeats = 3"))
    splits = {(c.repeat, c.fold): c.split for c in plan.cells}
    assert len(splits) == len(set(splits.values())) == 6


def test_each_member_runs_once_whoever_needs_it() -> None:
    plan = planned(SUITE.replace('"late"]', '"late", "on-late"]'))
    of_fold = [c for c in plan.todo() if c.fold == 0]
    ran = [(str(c.model), "+".join(c.modalities)) for c in of_fold]
    assert sorted(ran) == sorted(
        [
            ("uni", "clinical"),
            ("uni", "omic"),
            ("uni", "clinical+omic"),
            ("late", "clinical+omic"),
            ("on-late", "clinical+omic"),
        ]
    )
    members = {str(c.model): [(str(m.model), m.modalities) for m, _ in c.members] for c in of_fold}
    assert members["late"] == [("uni", ("clinical",)), ("uni", ("omic",))]
    assert members["on-late"] == [("late", ("clinical", "omic"))]


def test_a_key_is_the_hash_of_canonical_json_of_its_ingredients() -> None:
    """Said plainly; the plan puts what cells share into words once."""
    plan = planned(SUITE.replace('"uni", "late"', '"on-late", "late", "uni"'))
    assert len(plan.todo()) == 10
    for cell in plan.todo():
        text = json.dumps(cell.ingredients, sort_keys=True, separators=(",", ":"), allow_nan=False)
        assert cell.key == hashlib.sha256(text.encode()).hexdigest()[:20]


def test_members_come_first_and_folds_stay_together() -> None:
    plan = planned(SUITE.replace('"uni", "late"', '"on-late", "late", "uni"').replace("folds = 2", "folds = 3"))
    seen: set[str] = set()
    for cell in plan.cells:
        assert {key for _, key in cell.members} <= seen
        seen.add(cell.key)
    folds = [c.fold for c in plan.cells]
    assert folds == sorted(folds)


def test_a_member_that_is_a_row_too_runs_as_the_row() -> None:
    for models in ('"uni", "late"', '"late", "uni"'):
        text = SUITE.replace('[["clinical"], ["clinical", "omic"]]', '[["clinical", "omic"], ["clinical"]]')
        plan = planned(text.replace('"uni", "late"', models))
        unlisted = [(str(c.model), *c.modalities) for c in plan.todo() if not c.listed and c.fold == 0]
        assert unlisted == [("uni", "omic")]


def test_skips_are_rows_with_a_reason_and_never_run() -> None:
    text = SUITE.replace('"late"', '"late", "on-late", "outputs-seen"').replace("[[", '[["image"], [')
    plan = planned(
        text.replace('["toy"]', '["toy", "other"]'), other=Toy(names=("clinical", "omic", "image"), identity="other")
    )
    reasons = {c.row[:3]: c.skip for c in plan.listed if c.skip}
    assert reasons["toy", "late", "clinical"] == "late fusion needs two modalities"
    assert reasons["toy", "uni", "image"] == "toy has no modality 'image'"
    assert ("other", "uni", "image") not in reasons
    expected = "its member late on clinical cannot run: late fusion needs two modalities"
    assert reasons["toy", "on-late", "clinical"] == expected
    assert reasons["toy", "outputs-seen", "clinical+omic"] == "4 outputs, clinical 3, omic 4"
    assert not any(c.skip for c in plan.todo())
    skipped = [c.key for c in plan.listed if c.skip]
    assert len(skipped) == len(set(skipped))
    assert all(key.startswith("skip-") for key in skipped)


def test_the_cox_loss_has_one_output() -> None:
    text = SUITE.replace('"late"', '"outputs-seen"').replace("[train]", '[train]\nloss = "cox"')
    plan = planned(text)
    assert {c.skip[:9] for c in plan.listed if c.skip} == {"1 outputs"}
    assert {c.task.n_outputs for c in plan.todo()} == {1}


def test_a_training_pattern_that_leaves_nothing_is_a_skip() -> None:
    plan = planned(
        SUITE.replace("[train]", 'train_pattern = "only:omic"\n[train]').replace("[[", '[["clinical", "image"], ['),
        toy=Toy(names=("clinical", "omic", "image")),
    )
    reasons = {c.row[2]: c.skip for c in plan.listed if c.skip and str(c.model) == "uni"}
    assert reasons == {
        "clinical+image": "train_pattern 'only:omic' leaves nothing of clinical+image to train on",
        "clinical+omic": "train_pattern 'only:omic' hides clinical from every training case",
    }


def test_a_member_that_is_not_installed_is_named_with_who_needs_it() -> None:
    with pytest.raises(SuiteError, match="model on-gone is built on gone: unknown model 'gone'"):
        planned(SUITE.replace('"late"', '"on-gone"'))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"omic"]', '"omci"]', "unknown modality (dataset 'toy') 'omci'; did you mean 'omic'?"),
        ('"omic"]', '"clinical"]', "['clinical', 'clinical'] of dataset 'toy' is empty or names one twice"),
        ('["clinical"],', "[],", "[] of dataset 'toy' is empty or names one twice"),
        ('"half"]', '"hlaf"]', "unknown missing-modality pattern 'hlaf'"),
        ('"half"]', '"only:omci"]', "'only:omci': unknown modality 'omci'"),
        ("[train]", 'train_pattern = "hlaf"\n[train]', "unknown missing-modality pattern 'hlaf'"),
        ("[train]", 'train_pattern = "drop:*"\n[train]', "'drop:*' stands for several"),
        ("[train]", '[[variant]]\nname = "v"\nprotocol.train_pattern = "rate:2"\n[train]', "pattern 'rate:2'"),
    ],
)
def test_what_is_refused_before_any_compute(old: str, new: str, said: str) -> None:
    assert old in SUITE
    with pytest.raises(SuiteError) as caught:
        planned(SUITE.replace(old, new))
    assert said in str(caught.value)


def test_all_modality_problems_come_at_once_and_in_order() -> None:
    text = SUITE.replace('["clinical"]', '["clinic"], ["imgae"]').replace('"half"', '"hlaf"')
    with pytest.raises(SuiteError) as caught:
        planned(text)
    message = str(caught.value)
    assert message.index("'clinic'") < message.index("'imgae'") < message.index("'hlaf'")


SCOPED = SUITE.replace('["toy"]', '["toy", "other"]').replace(
    'modalities = [["clinical"], ["clinical", "omic"]]',
    'modalities = {toy = [["omic"]], other = [["image"], ["clinical", "image"]]}',
)


def test_modality_sets_are_scoped_to_their_dataset() -> None:
    plan = planned(SCOPED, other=Toy(names=("clinical", "image")))
    rows = {(c.row[0], c.row[2]) for c in plan.listed}
    assert rows == {("toy", "omic"), ("other", "image"), ("other", "clinical+image")}
    with pytest.raises(SuiteError, match=r"unknown modality \(dataset 'toy'\) 'image'. Choices: clinical, omic"):
        planned(SCOPED.replace('[["omic"]]', '[["image"]]'), other=Toy(names=("clinical", "image")))


def test_one_dataset_with_two_options_may_have_different_modalities() -> None:
    text = SUITE.replace('["toy"]', '["toy[n=40]", "toy[n=30]"]').replace(
        'modalities = [["clinical"], ["clinical", "omic"]]', 'modalities = {toy = [["omic"]]}'
    )
    sizes = {40: Toy(names=("clinical", "omic")), 30: Toy(30, names=("clinical", "image"))}
    cohorts: Callable[..., Any] = lambda ref, unit: sizes[dict(ref.options)["n"]]  # noqa: E731
    plan = expand(parse_suite("mine", text, "mine.toml"), registry(), cohorts)
    assert {c.row[0]: c.skip for c in plan.listed if str(c.model) == "uni"} == {
        "toy[n=40]": "",
        "toy[n=30]": "toy[n=30] has no modality 'omic'",
    }


def test_a_cohort_that_cannot_be_folded_is_named() -> None:
    with pytest.raises(DataError, match=r"dataset toy: 3 groups .* fewer than the 4 folds"):
        planned(SUITE.replace("folds = 2", "folds = 4"), toy=Toy(n=3))


def test_published_folds_are_taken_where_the_protocol_says_so() -> None:
    ids = tuple(f"c{i:02d}" for i in range(40))
    given = (Fold(ids[10:], (), ids[:10]), Fold(ids[:10] + ids[20:], (), ids[10:20]), Fold(ids[:30], (), ids[30:]))
    plan = planned(SUITE.replace("[train]", 'fold_source = "published"\n[train]'), toy=Toy(folds=given))
    assert {c.fold: c.split.test for c in plan.todo()} == {i: fold.test for i, fold in enumerate(given)}
    assert {c.fold for c in planned(toy=Toy(folds=given)).todo()} == {0, 1}


VARIANTS = """
[[variant]]
name = "l1"
train.l1 = 1e-5
[[variant]]
name = "wide"
model.uni.widths = [4, 4]
only = {models = ["uni"], datasets = ["toy"]}
"""


def test_variants_and_their_scope() -> None:
    plan = planned((SUITE + VARIANTS).replace('["toy"]\nmodels', '["toy", "other"]\nmodels'), other=Toy())
    assert {c.row for c in plan.listed if c.variant == "wide"} == {
        ("toy", "uni[widths=[4,4]]", modalities, "wide") for modalities in ("clinical", "clinical+omic")
    }
    assert {c.recipe.l1 for c in plan.listed if c.variant == "l1"} == {1e-5}
    assert {c.recipe.l1 for c in plan.listed if c.variant == "base"} == {0.0}
    assert {c.label for c in plan.todo() if " · wide · " in c.label}


def test_a_variant_that_leaves_a_row_alone_shares_its_cells() -> None:
    text = SUITE + '[[variant]]\nname = "deep"\nmodel.uni.depth = 9\n'
    plan = planned(text.replace('"late"', '"outputs-seen", "uni[depth=1]"'))
    assert len({c.key for c in plan.listed if not c.skip}) == len(plan.todo())


def test_the_true_hazards_are_a_row_where_they_are_known() -> None:
    truth = {f"c{i:02d}": 0.0 for i in range(40)}
    plan = planned(toy=Toy(true_risk=truth))
    oracle = [c for c in plan.listed if str(c.model) == plans.ORACLE]
    assert [(c.row, c.fold, c.patterns, c.policy) for c in oracle] == [
        (("toy", "oracle", "clinical+omic", "base"), fold, ("full",), "true hazards") for fold in (0, 1)
    ]
    others = {label: key for label, key in keys(plan).items() if "oracle" not in label}
    assert others == keys(planned())


def test_every_model_of_a_fold_sees_the_same_masks() -> None:
    plan, toy = planned(SUITE.replace('"uni"', '"uni", "uni[depth=3]"')), Toy()
    both = [c for c in plan.listed if c.fold == 0 and c.row[2] == "clinical+omic" and not c.skip]
    assert len(both) == 3
    masks = [cells.test_masks(c, toy.cases) for c in both]
    assert masks[0] == masks[1] == masks[2]
    assert list(masks[0]) == ["full", "half"]
    assert len(masks[0]["half"]) == 10
    assert set(masks[0]["half"][0].hidden) <= set(both[0].split.test)
    (other,) = (c for c in plan.listed if c.fold == 1 and c.row[1:3] == ("late", "clinical+omic"))
    assert cells.test_masks(other, toy.cases)["half"] != masks[0]["half"]


def test_horizon_is_the_smallest_ninetieth_percentile_of_training_follow_up() -> None:
    cases = [Case(f"c{i}", f"c{i}", SurvivalTarget(float(i), True), {}) for i in range(101)]
    ids = tuple(c.id for c in cases)
    folds = [Fold(ids[:41], ids[60:80], ids[80:]), Fold(ids[:51], (), ids[51:])]
    assert horizon(cases, folds, Protocol()) == pytest.approx(36)
    assert horizon(cases, folds, Protocol(horizon=12)) == 12
    assert horizon(cases, folds[1:], Protocol()) == pytest.approx(45)


def test_the_horizon_is_at_most_the_protocols() -> None:
    assert {c.tau for c in planned(toy=Toy(last=1000)).todo()} == {60.0}
    (tau,) = {c.tau for c in planned(toy=Toy(last=40)).todo()}
    assert 20 < tau < 40


# Keys


def test_keys_are_unique_and_the_same_again() -> None:
    plan = planned()
    assert len(set(keys(plan).values())) == len(plan.todo()) == 8
    assert keys(plan) == keys(planned())


def test_keys_are_the_same_in_other_processes() -> None:
    code = (
        "import runpy, json, sys\nmodule = runpy.run_path(sys.argv[1])\n"
        "print(json.dumps(module['keys'](module['planned']())))"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__))],
            env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(done.stdout) == keys(planned())


SAME_KEYS = {
    "title": SUITE.replace("A suite", "Another title"),
    "order of keys": SUITE.replace(
        'folds = 2\ntest_patterns = ["full", "half"]', 'test_patterns = ["full", "half"]\nfolds = 2'
    ),
    "other rows": SUITE.replace('"late"]', '"late", "uni[depth=7]"]').replace("[[", '[["omic"], ['),
    "another dataset": SUITE.replace('["toy"]', '["other", "toy"]'),
    "another variant": SUITE + VARIANTS,
    "more metrics": SUITE.replace("[protocol]", 'metrics = ["harrell_c_index", "ibs"]\n[protocol]'),
    "more repeats": SUITE.replace("folds = 2", "folds = 2\nrepeats = 2"),
    "a default spelled out": SUITE.replace("[train]", "[train]\nl1 = 0.0\nepochs = 30"),
    "a horizon that is not reached": SUITE.replace("[train]", "horizon = 1e6\n[train]"),
}


@pytest.mark.parametrize("text", SAME_KEYS.values(), ids=SAME_KEYS)
def test_a_key_stays_where_its_numbers_do(text: str) -> None:
    toy = Toy(last=40)
    assert keys(planned(toy=toy)).items() <= keys(planned(text, toy=toy, other=Toy())).items()


def test_a_key_does_not_depend_on_orders_of_cases_or_keys() -> None:
    use = {"clip": 3, "scale": [1, 2]}
    backwards = dict(reversed(use.items()))
    assert keys(planned(toy=Toy(use=use))) == keys(planned(toy=Backwards(use=backwards)))


NEW_KEYS = {
    "seed": SUITE.replace("[protocol]", "seed = 1\n[protocol]"),
    "recipe": SUITE.replace("1e-3", "2e-3"),
    "folds": SUITE.replace("folds = 2", "folds = 3"),
    "validation": SUITE.replace("[train]", "validation = 0.3\n[train]"),
    "bins": SUITE.replace("[train]", "bins = 5\n[train]"),
    "horizon": SUITE.replace("[train]", "horizon = 24.0\n[train]"),
    "training pattern": SUITE.replace("[train]", 'train_pattern = "half"\n[train]'),
    "mask draws": SUITE.replace("[train]", "mask_draws = 3\n[train]"),
    "unit": SUITE.replace("[train]", 'unit = "slide"\n[train]'),
}


@pytest.mark.parametrize("text", NEW_KEYS.values(), ids=NEW_KEYS)
def test_a_key_changes_with_what_the_suite_says(text: str) -> None:
    assert not set(keys(planned()).values()) & set(keys(planned(text)).values())


def of_model(plan: Plan, model: str) -> set[str]:
    return {c.key for c in plan.todo() if c.model.name == model}


def test_a_key_changes_with_the_patterns_of_its_row_only() -> None:
    before, after = planned(), planned(SUITE.replace('"half"]', '"half", "only:*"]'))
    for fold in (0, 1):
        one, two = ((c.key for c in p.todo() if c.fold == fold and len(c.modalities) == 1) for p in (before, after))
        assert set(one) == set(two)
        one, two = ((c.key for c in p.todo() if c.fold == fold and len(c.modalities) == 2) for p in (before, after))
        assert not set(one) & set(two)


@pytest.mark.parametrize("name", ["uni", "toy", "vector"])
def test_a_key_changes_with_versions_also_of_members(name: str) -> None:
    after = planned(installed=registry(**{name: "2"}))
    for model in ("uni", "late"):
        assert not of_model(planned(), model) & of_model(after, model)


def test_a_version_of_one_model_leaves_the_others_alone() -> None:
    after = planned(installed=registry(late="2"))
    assert of_model(planned(), "uni") == of_model(after, "uni")
    assert not of_model(planned(), "late") & of_model(after, "late")


@pytest.mark.parametrize(
    "toy",
    [
        Toy(fingerprint="g"),
        Toy(identity="toy[n=50]"),
        Toy(use={"clip": 3}),
        Toy(last=40),
        Toy(names=("omic", "clinical")),
    ],
)
def test_a_key_changes_with_the_cohort(toy: Toy) -> None:
    """Its content, its identity, how it declares its modalities, its horizon, and which case lacks what."""
    both = {c.key for c in planned().todo() if len(c.modalities) == 2}
    assert not both & {c.key for c in planned(toy=toy).todo()}


def test_a_key_changes_with_options_and_the_order_of_modalities() -> None:
    def one(text: str) -> set[str]:
        return {
            c.key for c in planned(text).todo() if c.listed and c.row[1].startswith("uni") and len(c.modalities) == 2
        }

    assert not one(SUITE) & one(SUITE.replace('"uni"', '"uni[depth=3]"'))
    assert not one(SUITE) & one(SUITE.replace('"uni"', '"uni[widths=[1,2]]"'))
    full = SUITE.replace(', "half"', "")  # masks, which hang on the order as well, are not in play
    assert not one(full) & one(full.replace('["clinical", "omic"]', '["omic", "clinical"]'))


def test_a_default_that_is_written_down_has_a_key_of_its_own() -> None:
    """Seeds depend on a model as written, so `uni` and `uni[depth=2]` are two fits of one model."""
    assert not of_model(planned(), "uni") & {
        c.key for c in planned(SUITE.replace('"uni"', '"uni[depth=2]"')).todo() if c.listed and c.row[1] != "late"
    }


# Parts of a plan


def chosen(plan: Plan, **wanted: Any) -> list[Cell]:
    return [c for c in plan.listed if all(getattr(c, name) == value for name, value in wanted.items())]


def test_selecting_takes_the_members_along() -> None:
    plan = planned(SUITE.replace('"late"]', '"late", "on-late"]'))
    part = plan.select(chosen(plan, fold=1, model=PluginRef("on-late"), modalities=("clinical", "omic")))
    assert [(str(c.model), *c.modalities, c.fold, c.listed) for c in part.todo()] == [
        ("uni", "clinical", 1, False),
        ("uni", "omic", 1, False),
        ("late", "clinical", "omic", 1, False),
        ("on-late", "clinical", "omic", 1, True),
    ]
    assert keys(part).items() <= keys(plan).items()
    assert [c.row[1] for c in part.listed] == ["on-late"]


def test_a_selected_row_that_is_a_member_too_stays_a_row() -> None:
    plan = planned()
    cells = chosen(plan, fold=0, model=PluginRef("late")) + chosen(plan, fold=0, modalities=("clinical",))
    part = plan.select(cells)
    assert [(str(c.model), *c.modalities, c.listed) for c in part.todo()] == [
        ("uni", "clinical", True),
        ("uni", "omic", False),
        ("late", "clinical", "omic", True),
    ]


def test_selecting_keeps_skips_and_nothing_else() -> None:
    plan = planned()
    part = plan.select(chosen(plan, fold=0, model=PluginRef("late"), modalities=("clinical",)))
    assert part.todo() == ()
    assert [c.skip for c in part.listed] == ["late fusion needs two modalities"]
    assert plan.select([]).cells == ()
    assert plan.select(plan.listed).cells == plan.cells
    assert plan.select(plan.listed).select(chosen(plan, fold=0)).todo() == tuple(c for c in plan.todo() if c.fold == 0)


def test_narrowing_a_suite_leaves_the_keys_of_what_is_left() -> None:
    suite = parse_suite("mine", SUITE, "mine.toml")
    cohorts: Callable[..., Any] = lambda ref, unit: Toy()  # noqa: E731
    part = expand(narrow_suite(suite, models=["late"]), registry(), cohorts)
    assert keys(part).items() <= keys(planned()).items()
    assert {c.row[1] for c in part.listed} == {"late"}


def test_cells_are_values() -> None:
    cell = planned().todo()[0]
    assert replace(cell) == cell
    assert cell == planned().todo()[0]


def test_members_are_trained_under_the_masks_of_the_cell_that_builds_on_them() -> None:
    plan = planned(SUITE.replace("[train]", 'train_pattern = "rate:0.5"\n[train]'))
    (late,) = (c for c in plan.listed if c.fold == 0 and c.row[1:3] == ("late", "clinical+omic"))
    members = [next(c for c in plan.cells if c.key == key) for _, key in late.members]
    assert [c.masked_over for c in members] == [("clinical", "omic")] * 2
    assert not any(c.listed for c in members)
    assert members[0].ingredients["masked_over"] == ["clinical", "omic"]
    (alone,) = (c for c in plan.listed if c.fold == 0 and c.row[1:3] == ("uni", "clinical"))
    assert alone.masked_over == ()
    assert alone.key != members[0].key, "a row of one modality has no pattern over it"


def test_members_of_members_see_the_same_masks() -> None:
    text = SUITE.replace('"late"]', '"late", "on-late"]').replace("[train]", 'train_pattern = "half"\n[train]')
    plan = planned(text)
    (late,) = (c for c in plan.listed if c.fold == 0 and c.row[1:3] == ("late", "clinical+omic"))
    (on_late,) = (c for c in plan.listed if c.fold == 0 and c.row[1:3] == ("on-late", "clinical+omic"))
    assert [key for _, key in on_late.members] == [late.key]


def test_without_a_training_pattern_a_member_is_the_listed_row() -> None:
    plan = planned()
    assert not any(c.masked_over or "masked_over" in c.ingredients for c in plan.cells)
    (late,) = (c for c in plan.listed if c.fold == 0 and c.row[1:3] == ("late", "clinical+omic"))
    (alone,) = (c for c in plan.listed if c.fold == 0 and c.row[1:3] == ("uni", "clinical"))
    assert alone.key == late.members[0][1]
