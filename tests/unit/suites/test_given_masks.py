"""Masks that a suite reads: against the cohort and its folds, and what keys depend on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fusionbench import Case, ClassTarget, DatasetInfo, Fold, MaskRow, SuiteError, SurvivalTarget
from fusionbench.core.registry import Registry
from fusionbench.suites import cell as cells
from fusionbench.suites.cell import Cell, Plan
from fusionbench.suites.given_masks import mask_notes, moved_patterns
from fusionbench.suites.plan import expand
from fusionbench.suites.selection import narrow_suite
from fusionbench.suites.suite_files import parse_suite, read_suite
from fusionbench.suites.validation import check_names
from tests.unit.suites.test_plan import SUITE, Toy, keys, registry

IDS = tuple(f"c{i:02d}" for i in range(40))
HALVES = (Fold(IDS[20:], (), IDS[:20]), Fold(IDS[:20], (), IDS[20:]))
FILE = 'test_patterns = ["file:masks.csv"]'
TESTED = SUITE.replace('test_patterns = ["full", "half"]', f'fold_source = "published"\n{FILE}')
TRAINED = TESTED.replace(FILE, 'train_pattern = "file:masks.csv"')


def planned(text: str, masks: str, toy: Toy | None = None, installed: Registry | None = None, **others: Toy) -> Plan:
    known = {"toy": toy or Toy(folds=HALVES), **others}
    cohorts: Callable[..., Any] = lambda ref, unit: known[ref.name]  # noqa: E731
    suite = parse_suite("mine", text, "mine.toml", {"masks.csv": f"case,modality,fold\n{masks}"})
    return expand(suite, installed or registry(), cohorts)


def listed(plan: Plan, modalities: str = "clinical+omic") -> list[Cell]:
    return [c for c in plan.listed if not c.skip and c.row[1:3] == ("uni", modalities)]


def test_a_file_hides_from_the_test_cases_of_its_folds() -> None:
    plan = planned(TESTED, "c01,omic,0\nc21,clinical,\nc22,omic,0\n")
    masks = [cells.test_masks(c, Toy().cases) for c in listed(plan)]
    assert [list(of) for of in masks] == [["full", "file:masks.csv"]] * 2
    assert [dict(of["file:masks.csv"][0].hidden) for of in masks] == [{"c01": {"omic"}}, {"c21": {"clinical"}}]
    assert all(cells.train_mask(c, Toy().cases).hidden == {} for c in listed(plan))
    assert [c.patterns for c in listed(plan, "clinical")] == [("full",)] * 2


def test_a_file_hides_from_training_and_validation_cases() -> None:
    plan = planned(TRAINED, "c01,omic,0\nc21,clinical,\nc22,omic,0\n")
    hidden = [cells.train_mask(c, Toy().cases).hidden for c in listed(plan)]
    assert hidden == [{"c21": {"clinical"}, "c22": {"omic"}}, {}]
    assert [c.protocol.train_pattern for c in listed(plan)] == ["file:masks.csv"] * 2
    assert all(cells.train_mask(c, Toy().cases).hidden == {} for c in listed(plan, "clinical"))
    members = [c for c in plan.cells if c.masked_over and c.fold == 0]
    assert {c.modalities for c in members} == {("clinical",), ("omic",)}
    assert all(cells.train_mask(c, Toy().cases).hidden == hidden[0] for c in members)


ROWS = "c01,omic,0\nc02,omic,\nc21,omic,\nc22,omic,1\n"


@pytest.mark.parametrize("text", [TESTED, TRAINED])
def test_only_folds_whose_masks_differ_have_other_keys(text: str) -> None:
    """c03 is tested in fold 0 and trained on in fold 1."""
    before, after = keys(planned(text, ROWS)), keys(planned(text, f"{ROWS}c03,omic,\n"))
    changed = {label for label in before if before[label] != after[label]}
    of = "fold 0" if text is TESTED else "fold 1"
    assert changed == {c for c in before if of in c and ("clinical+omic" in c or (text is TRAINED and "late" in c))} | {
        c.label for c in planned(text, ROWS).todo() if of in c.label and c.masked_over
    }
    assert keys(planned(text, "".join(reversed(ROWS.splitlines(keepends=True))))) == before


def test_no_folder_is_in_a_key(tmp_path: Path) -> None:
    for place in ("a", "b/c"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "masks.csv").write_text(
            f"case,modality\n{ROWS}".replace(",0\n", "\n").replace(",1\n", "\n")
        )
    (tmp_path / "a" / "masks.csv").write_text("case,modality,fold\n" + ROWS)
    (tmp_path / "b" / "c" / "masks.csv").write_text("case,modality,fold\n" + ROWS)
    made = []
    for i, name in enumerate(("a/masks.csv", "./a/masks.csv", "b/c/masks.csv", str(tmp_path / "a" / "masks.csv"))):
        path = tmp_path / f"suite{i}.toml"
        path.write_text(TESTED.replace("masks.csv", name))
        toy: Callable[..., Any] = lambda ref, unit: Toy(folds=HALVES)  # noqa: E731
        made.append(keys(expand(read_suite(registry(), path.stem, path), registry(), toy)))
    assert made == made[:1] * 4 == [keys(planned(TESTED, ROWS))] * 4


EMPTIED = (
    r"masks.csv, toy, fold 0, modalities clinical\+omic: as {} it leaves 1 cases nothing, first '{}', which has {};"
)
IDLE = "as {} it hides nothing of toy: in the folds that it names none of its cases is {} and has"
REFUSED = {
    "unknown cases": (
        TESTED,
        "c01,omic,\nc99,omic,\nx,omic,\ny,omic,\nz,omic,\n",
        r"masks.csv: 4 of 5 cases are in no dataset of the suite \(line 3: 'c99', did you mean 'c\d9'\?; line 4: 'x'; "
        r"line 5: 'y'\); write ids as the dataset has them, a patient each",
    ),
    "unknown modality": (
        TESTED,
        "c01,omics,\nc02,omics,\n",
        r"masks.csv, line 2 \(and 1 more lines\): unknown modality 'omics'; did you mean 'omic'",
    ),
    "fold beyond": (TESTED, "c01,omic,2\n", "masks.csv, line 2: fold is 2, but toy has the folds 0 to 1; they are"),
    "test case emptied": (TESTED, "c00,clinical,\nc01,omic,\n", EMPTIED.format("test_patterns", "c00", "clinical")),
    "training case emptied": (
        TRAINED,
        "c21,clinical,\nc21,omic,\n",
        EMPTIED.format("train_pattern", "c21", "clinical, omic"),
    ),
    "nobody keeps it": (
        TRAINED,
        "".join(f"{i},omic,1\n" for i in IDS if int(i[1:]) % 5),
        r"fold 1, modalities .* as train_pattern it hides 'omic' from all \d\d training cases that have it",
    ),
    "nothing at test": (TESTED, "c01,omic,1\nc21,omic,0\n", IDLE.format("test_patterns", "a test case")),
    "nothing in training": (TRAINED, "c01,omic,0\n", IDLE.format("train_pattern", "in training or validation")),
    "no set has it": (
        TESTED.replace('["clinical", "omic"]', '["omic"]'),
        "c01,omic,\n",
        "masks.csv: it hides omic, and the rows of several modalities have none; leave the pattern out",
    ),
    "not there": (
        TESTED.replace("masks.csv", "gone.csv"),
        "",
        r"test_patterns: gone\.csv: cannot be read \(.*\); name a file of UTF-8 text",
    ),
    "content": (TESTED, "c01,omic,x\n", "masks.csv, line 2: fold is 'x'"),
    "two of one name": (
        TESTED.replace('"file:masks.csv"', '"file:masks.csv", "file:b/masks.csv"'),
        "c01,omic,\n",
        r"b/masks\.csv and masks\.csv are two files of one name",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_masks_that_do_not_fit_are_refused_before_anything_is_computed(case: str) -> None:
    text, masks, said = REFUSED[case]
    with pytest.raises(SuiteError, match=said) as error:
        planned(text, masks)
    assert "\n" not in str(error.value)


def test_a_file_may_be_of_one_of_several_datasets() -> None:
    other = replace(Toy(folds=HALVES), names=("clinical", "image"), identity="other")
    text = (
        TESTED.replace('["toy"]', '["toy", "other"]')
        .replace("[[", "{toy = [[")
        .replace("]]", ']], other = [["clinical", "image"]]}', 1)
    )
    with pytest.raises(SuiteError, match=r"masks.csv, line 2: unknown modality 'imago'"):
        planned(text, "c01,imago,\n", other=other)
    plan = planned(text, "c01,omic,\n", other=other)
    assert {c.row[0]: c.patterns for c in plan.listed if len(c.modalities) > 1} == {
        "toy": ("full", "file:masks.csv"),
        "other": ("full",),
    }


def test_a_narrowed_suite_knows_nothing_of_the_cases_of_the_others() -> None:
    text = TESTED.replace('["toy"]', '["toy", "other"]')
    known: Callable[..., Any] = lambda ref, unit: Toy(folds=HALVES)  # noqa: E731
    suite = parse_suite("mine", text, "mine.toml", {"masks.csv": "case,modality\nc01,omic\nof another,omic\n"})
    with pytest.raises(SuiteError, match="'of another'"):
        expand(suite, registry(), known)
    assert expand(narrow_suite(suite, datasets=["toy"]), registry(), known).todo()


MASKS = {"half": (MaskRow("c21", "omic", 0), MaskRow("c21", "clinical", 0), MaskRow("gone", "omic", 0))}
PUBLISHING = Toy(folds=HALVES, masks=MASKS)
PUBLISHED = TRAINED.replace("file:masks.csv", "published:half")


def test_published_masks_are_of_the_published_folds() -> None:
    plan = planned(PUBLISHED, "", PUBLISHING)
    assert [cells.train_mask(c, Toy().cases).hidden for c in listed(plan)] == [{"c21": {"omic", "clinical"}}, {}]
    assert mask_notes(plan.suite, plan.suite.datasets[0], PUBLISHING) == [  # type: ignore[arg-type]
        "pattern published:half: 2 of 3 rows of masks are of this cohort"
    ]
    for text, said in (
        (PUBLISHED.replace('fold_source = "published"\n', ""), "fold_source is 'generated'; set it to \"published\""),
        (
            PUBLISHED.replace("published:half", "published:haf"),
            "toy: unknown published masks 'haf'; did you mean 'half'",
        ),
        (PUBLISHED.replace("folds = 2", 'folds = 2\nunit = "slide"'), "the masks are of patients, and unit is 'slide'"),
    ):
        with pytest.raises(SuiteError, match=said):
            planned(text, "", PUBLISHING)


MNAR = TESTED.replace(FILE, 'test_patterns = ["mnar:omic:0.5"]\ntrain_pattern = "mnar:omic:0.5"\nmask_draws = 3')


def test_mnar_hides_from_one_outcome_in_training_and_from_the_other_at_test() -> None:
    """The event of every second case was observed; every fifth case has no omic."""
    plan = planned(MNAR, "")
    for c in listed(plan):
        events = {case.id for case in Toy().cases if isinstance(case.target, SurvivalTarget) and case.target.event}
        having = {case.id for case in Toy().cases if "omic" in case.refs}
        train = cells.train_mask(c, Toy().cases).hidden
        fitted = having & {*c.split.train, *c.split.val}
        assert set(train) <= fitted & events
        assert len(train) == len(fitted & events) / 2
        tested = cells.test_masks(c, Toy().cases)["mnar:omic:0.5"]
        assert len(tested) == 3
        for mask in tested:
            assert set(mask.hidden) <= (having & set(c.split.test)) - events
            assert len(mask.hidden) == len((having & set(c.split.test)) - events) / 2
    (note, *more) = mask_notes(plan.suite, plan.suite.datasets[0], Toy())  # type: ignore[arg-type]
    assert more == []
    assert "the outcome decides from whom omic is hidden, 50% of the cases whose event was observed in training" in note


@dataclass(frozen=True)
class Classes(Toy):
    """Of two or three classes in turn."""

    classes: tuple[str, ...] = ("no", "yes")

    @property
    def cases(self) -> tuple[Case, ...]:
        return tuple(
            replace(c, target=ClassTarget(self.classes[i % len(self.classes)])) for i, c in enumerate(super().cases)
        )

    @property
    def info(self) -> DatasetInfo:
        task: Any = "binary" if len(self.classes) == 2 else "multiclass"
        return replace(super().info, task=task, classes=self.classes)


CLASSES = MNAR.replace("models =", 'metrics = ["harrell_c_index"]\nmodels =')


def classes_registry() -> Registry:
    made = registry()
    for kind in ("models", "metrics"):
        for thing, _ in made.found[kind].values():
            thing.tasks = ("survival", "binary", "multiclass")
    return made


def test_of_two_classes_the_second_is_hidden_in_training() -> None:
    toy = Classes(folds=HALVES)
    plan = planned(CLASSES, "", toy, classes_registry())
    label = {c.id: getattr(c.target, "label", "") for c in toy.cases}
    for c in listed(plan):
        assert {label[i] for i in cells.train_mask(c, toy.cases).hidden} == {"yes"}
        assert {label[i] for mask in cells.test_masks(c, toy.cases)["mnar:omic:0.5"] for i in mask.hidden} == {"no"}


def test_of_several_classes_mnar_is_refused() -> None:
    with pytest.raises(
        SuiteError, match=r"train_pattern 'mnar:omic:0.5': toy has 3 classes; mnar needs two, or survival"
    ):
        planned(CLASSES, "", Classes(folds=HALVES, classes=("a", "b", "c")), classes_registry())


def test_rows_of_masks_are_counted_below_the_table() -> None:
    plan = planned(TESTED, "c00,omic,\nc01,omic,\nc05,omic,\n")
    assert mask_notes(plan.suite, plan.suite.datasets[0], Toy()) == [  # type: ignore[arg-type]
        "pattern file:masks.csv: 3 of 3 rows of masks are of this cohort; 2 of them name a modality that the case does "
        "not have"
    ]


@pytest.mark.parametrize(
    ("name", "content"), [("m.csv", b"case,modality\n\xff,omic\n"), ("m\\u0000.csv", b""), (".", b"")]
)
def test_what_is_no_text_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "m.csv").write_bytes(content)
    path = tmp_path / "mine.toml"
    path.write_text(TESTED.replace("masks.csv", name if name != "." else f"../{tmp_path.name}"))
    with pytest.raises(SuiteError, match=r"mine\.toml: test_patterns: .*: cannot be read \(.*\); .+"):
        check_names(read_suite(registry(), "mine", path), registry())


def test_a_suite_in_another_folder_reads_the_same_masks(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    path = tmp_path / "study" / "mine.toml"
    path.write_text(TESTED)
    (tmp_path / "study" / "masks.csv").write_text(ROWS)
    suite = read_suite(registry(), "mine", path)
    protocol: dict[str, str | Sequence[str]] = {
        "train_pattern": "file:masks.csv",
        "test_patterns": ["half", "file:/elsewhere/m.csv", "file:sub/m.csv"],
        "folds": "2",
    }
    assert moved_patterns(suite, protocol, tmp_path / "tuned") == {
        "train_pattern": "file:../study/masks.csv",
        "test_patterns": ["half", "file:/elsewhere/m.csv", "file:../study/sub/m.csv"],
        "folds": "2",
    }
