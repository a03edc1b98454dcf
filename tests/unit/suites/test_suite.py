"""Suites: what is read, what is refused and in which words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import pytest

from fusionbench import BESIDE_SUITE, Options, PluginRef, SuiteError
from fusionbench.core.plugin_options import validate_options
from fusionbench.core.protocol import overlay
from fusionbench.core.registry import PluginRecord, Registry
from fusionbench.suites.selection import narrow_suite
from fusionbench.suites.suite import BASE, Suite
from fusionbench.suites.suite_files import dataset_for_folder, load_suite, parse_suite
from fusionbench.suites.validation import check_names

HEAD = """
title = "A suite"
datasets = ["toy", "other[n=5]"]
models = ["mcat", "snn[depth=3]"]
modalities = [["clinical"], ["clinical", "omic"]]
"""


class McatOptions(Options):
    fusion: Literal["concat", "bilinear"] = "concat"
    groups: tuple[int, ...] = (6,)


class SnnOptions(Options):
    depth: int = 2


class ToyOptions(Options):
    n: int = 10


class OwnOptions(Options):
    file: Annotated[str, BESIDE_SUITE] = "cohort.toml"
    groups: Annotated[Literal["usual", "others"] | str, BESIDE_SUITE] = "usual"
    n: int = 10


def plugin(options: type[Options]) -> tuple[Any, str]:
    return SimpleNamespace(Options=options), "toys"


def registry(suites: Mapping[str, Path] | None = None) -> Registry:
    found = {
        "datasets": {"toy": plugin(ToyOptions), "other": plugin(ToyOptions), "own": plugin(OwnOptions)},
        "models": {"mcat": plugin(McatOptions), "snn": plugin(SnnOptions)},
        "metrics": {"harrell_c_index": plugin(Options), "ibs": plugin(Options)},
        "suites": {name: (path, "toys") for name, path in (suites or {}).items()},
    }
    return Registry((PluginRecord("toys", "toys", "1", "MIT"),), found)


def read(text: str) -> Suite:
    return parse_suite("mine", text, "mine.toml")


def refused(text: str) -> list[str]:
    """The lines of the message."""
    with pytest.raises(SuiteError) as caught:
        read(text)
    return str(caught.value).splitlines()


def test_a_suite_as_written() -> None:
    suite = read(HEAD + 'metrics = ["ibs"]\nseed = 3\n[protocol]\nfolds = 3\n[train]\nloss = "ce"\n')
    assert (suite.name, suite.title, suite.seed, suite.metrics) == ("mine", "A suite", 3, ("ibs",))
    assert suite.datasets == (PluginRef("toy"), PluginRef.of("other", n=5))
    assert suite.modalities == (("clinical",), ("clinical", "omic"))
    assert (suite.protocol.folds, suite.protocol.bins, suite.train.loss) == (3, 4, "ce")
    assert [v.name for v in suite.variants()] == [BASE]
    assert suite.sets_of("toy") == suite.sets_of("other") == suite.modalities


def test_modality_sets_may_differ_by_dataset() -> None:
    suite = read(HEAD.replace("modalities = ", "modalities.toy = ") + 'modalities.other = [["omic"]]\n')
    assert suite.sets_of("toy") == (("clinical",), ("clinical", "omic"))
    assert suite.sets_of("other") == (("omic",),)
    assert suite.sets_of("third") == ()


@pytest.mark.parametrize(
    ("text", "where"),
    [("title = \n", "line 1"), ("title = 1\nmodels = [\n", "end of document"), ("a = 1\n\na = 2\n", "line 3")],
)
def test_a_syntax_error_names_file_and_line(text: str, where: str) -> None:
    (message,) = refused(text)
    assert message.startswith("mine.toml: not valid TOML: ")
    assert f"(at {where}" in message


def test_load_names_the_file(tmp_path: Path) -> None:
    good, bad, latin = tmp_path / "good.toml", tmp_path / "bad.toml", tmp_path / "latin.toml"
    good.write_text(HEAD)
    bad.write_text("title = \n")
    latin.write_bytes("title = 'Größe'".encode("latin-1"))
    known = registry({"good": good, "bad": bad, "latin": latin})
    assert load_suite(known, "good").name == "good"
    with pytest.raises(SuiteError, match=rf"^{bad}: not valid TOML: .*line 1, column 9"):
        load_suite(known, "bad")
    with pytest.raises(SuiteError, match=rf"^{latin}: not UTF-8 text"):
        load_suite(known, "latin")
    with pytest.raises(SuiteError, match="unknown suite 'god'; did you mean 'good'"):
        load_suite(known, "god")


OWN = HEAD.replace('"toy", "other[n=5]"', "{}")


def load_own(folder: Path, *datasets: str) -> Suite:
    path = folder / "mine.toml"
    path.write_text(OWN.format(", ".join(f"'{name}'" for name in datasets)))
    return load_suite(registry(), str(path))


@pytest.mark.parametrize(
    ("written", "label", "file"),
    [
        ("own[file=a.toml]", "own[file=a.toml]", "{}/a.toml"),
        ("own[file=./data//a.toml]", "own[file=data/a.toml]", "{}/data/a.toml"),
        ("own[file=../a.toml,n=3]", "own[file=../a.toml,n=3]", "{}/../a.toml"),
        ("own[file=/data/a.toml]", "own[file=/data/a.toml]", "/data/a.toml"),
        ("own[file=~/a.toml]", "own[file=~/a.toml]", "/home/me/a.toml"),
        ("own", "own", "{}/cohort.toml"),
    ],
)
def test_paths_begin_beside_the_suite_and_labels_are_as_written(
    written: str, label: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    (dataset,) = load_own(tmp_path, written).datasets
    expected = Path(os.path.normpath(file.format(tmp_path)))
    assert str(dataset) == label
    assert Path(validate_options(registry(), "datasets", dataset).file) == expected
    elsewhere = dataset_for_folder(dataset, registry(), tmp_path / "some" / "where")
    assert elsewhere.folder == ""
    moved = validate_options(registry(), "datasets", replace(elsewhere, folder=str(tmp_path / "some" / "where")))
    assert Path(moved.file) == expected


def test_words_of_an_option_of_paths_are_no_paths(tmp_path: Path) -> None:
    for written, groups in (("", "usual"), (",groups=others", "others"), (",groups=a.gmt", str(tmp_path / "a.gmt"))):
        (dataset,) = load_own(tmp_path, f"own[file=a.toml{written}]").datasets
        assert validate_options(registry(), "datasets", dataset).groups == groups
        moved = dataset_for_folder(dataset, registry(), tmp_path / "some")
        assert dict(moved.options).get("groups", "usual") == groups


def test_one_file_in_two_spellings_is_listed_twice(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"datasets: 'own\[file=a.toml\]' is listed twice"):
        load_own(tmp_path, "own[file=a.toml]", "own[file=./a.toml]")


def test_a_dataset_is_chosen_by_its_label_from_every_folder(tmp_path: Path) -> None:
    suite = load_own(tmp_path, "own[file=a.toml]", "toy")
    assert narrow_suite(suite, datasets=["own[file=a.toml]"]).datasets == suite.datasets[:1]


def test_all_faults_come_at_once() -> None:
    text = HEAD.replace('"mcat"', '"mcat[x"') + (
        'sed = 1\n[protocol]\nfolds = 1\nmask_draw = 3\n[train]\nlr = -1.0\nloss = "mse"\n[[variant]]\nnmae = "x"\n'
    )
    first, *lines = refused(text)
    assert first == "mine.toml: 7 problems"
    for start, said in {
        "models.0": "cannot read 'mcat[x'",
        "sed": "did you mean 'seed'",
        "protocol.folds": "greater than or equal to 2 (got 1)",
        "protocol.mask_draw": "did you mean 'mask_draws'?",
        "train.lr": "greater than 0 (got -1.0)",
        "train.loss": "'nll', 'ce' or 'cox' (got 'mse')",
        "variant.0.nmae": "did you mean 'name'?",
    }.items():
        (line,) = (line for line in lines if line.startswith(f"  - {start}: "))
        assert said in line


def test_a_single_fault_is_one_line() -> None:
    assert refused(HEAD + "seeds = 1") == [
        "mine.toml: seeds: unknown key 'seeds'; did you mean 'seed'? Choices: base, claims, counts, datasets, "
        "external, metrics, modalities, models, name, protocol, reference, seed, title, train, tuned, variant"
    ]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("test = []", "external.0.test: it is empty; list at least one (got [])"),
        ('test = "other"', "external.0.test: write a list, [\"NAME\", ...] (got 'other')"),
        ('tests = ["other"]', "external.0.tests: unknown key 'tests'; did you mean 'test'? Choices: test, train"),
        ('other = ["other"]', "external.0.test: the key is missing"),
        ("", "external.0.test: the key is missing"),
    ],
)
def test_what_is_wrong_with_external_is_said_in_plain_words(written: str, said: str) -> None:
    lines = refused(HEAD + f'[[external]]\ntrain = "toy"\n{written}\n')
    assert any(line.endswith(said) for line in lines), lines
    if written != 'other = ["other"]':
        assert len(lines) == 1


def test_what_is_wrong_with_a_stage_names_its_own_keys() -> None:
    (line,) = refused(HEAD + '[[train.stage]]\nname = "one"\nlr = 1\n')
    assert line.endswith("unknown key 'lr'. Choices: epochs, frozen, frozen_dropout, lr_factor, name, train, warmup")
    (line,) = refused(HEAD + '[train]\nstage = "one"\n')
    assert line.endswith("train.stage: write it as tables, [[train.stage]] (got 'one')")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('title = "A suite"', "", "title: the key is missing"),
        ('title = "A suite"', 'title = "A suite"\nname = "x"', "installed suite is called as its file, 'mine'"),
        ('["mcat", "snn[depth=3]"]', "[]", "models: it is empty; list at least one (got [])"),
        ('["mcat", "snn[depth=3]"]', '"mcat"', "models: write a list, [\"NAME\", ...] (got 'mcat')"),
        ('["mcat", "snn[depth=3]"]', '["mcat", "snn", "mcat"]', "models: 'mcat' is listed twice"),
        ('"other[n=5]"', '"toy"', "datasets: 'toy' is listed twice"),
        ('[["clinical"], ["clinical", "omic"]]', '["clinical"]', "modalities: write lists of names"),
        ('[["clinical"], ["clinical", "omic"]]', "[]", "modalities: write lists of names"),
        ('[["clinical"], ["clinical", "omic"]]', "[[1]]", "modalities: write lists of names"),
        ('[["clinical"], ["clinical", "omic"]]', '{toy = ["clinical"]}', "modalities: write lists of names"),
        ('[["clinical"], ["clinical", "omic"]]', '[["a"], ["a"]]', "modalities: ('a',) is listed twice"),
        ('[["clinical"], ["clinical", "omic"]]', '{tou = [["a"]]}', "unknown dataset 'tou'; did you mean 'toy'?"),
    ],
)
def test_what_a_suite_may_not_say(old: str, new: str, said: str) -> None:
    assert old in HEAD
    (message,) = refused(HEAD.replace(old, new))
    assert said in message


VARIANTS = """
[[variant]]
name = "l1"
train.l1 = 1e-5
only = {models = ["snn"]}
[[variant]]
name = "bilinear"
model.mcat.fusion = "bilinear"
protocol.test_patterns = ["full", "half"]
"""


def test_variants_come_after_the_base() -> None:
    suite = read(HEAD + VARIANTS)
    assert [v.name for v in suite.variants()] == [BASE, "l1", "bilinear"]
    assert [v.name for v in read(HEAD + "base = false\n" + VARIANTS).variants()] == ["l1", "bilinear"]
    assert [v.name for v in read(HEAD + "base = false\n").variants()] == [BASE]
    _, l1, bilinear = suite.variants()
    assert l1.only.models == ("snn",)
    assert overlay(suite.train, l1.train).l1 == 1e-5
    assert overlay(suite.protocol, bilinear.protocol).test_patterns == ("full", "half")
    assert suite.train.l1 == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "v"\ntrain.l3 = 1', "variant 'v': train.l3: unknown key 'l3'; did you mean 'lr' or 'l1'"),
        ('name = "v"\nprotocol.fold = 3', "variant 'v': protocol.fold: unknown key 'fold'; did you mean 'folds'"),
        ('name = "v"\ntrain.lr = "high"', "variant 'v': train.lr: Input should be a valid number"),
        ('name = "v"\nmodel.mact.fusion = "concat"', "unknown model of this suite 'mact'; did you mean 'mcat'?"),
        ('name = "v"\nonly.models = ["cox"]', "unknown model of this suite 'cox'. Choices: mcat, snn"),
        ('name = "v"\nonly.datasets = ["toi"]', "unknown dataset of this suite 'toi'; did you mean 'toy'?"),
        ('name = "v"\nonly.model = ["snn"]', "variant.0.only.model: unknown key 'model'; did you mean 'models'?"),
        ('name = "base"', "variant 'base' is named twice"),
    ],
)
def test_what_a_variant_may_not_say(text: str, said: str) -> None:
    (message,) = refused(f"{HEAD}[[variant]]\n{text}\n")
    assert said in message


def test_the_choices_of_a_variants_key_are_those_of_its_part() -> None:
    (message,) = refused(f'{HEAD}[[variant]]\nname = "v"\ntrain.l3 = 1\n')
    assert "weight_decay" in message
    assert "modalities" not in message


def test_narrowing_keeps_the_order_and_the_options_of_the_suite() -> None:
    suite = read(HEAD)
    assert narrow_suite(suite) == suite
    assert narrow_suite(suite, models=["snn"]).models == (PluginRef.of("snn", depth=3),)
    assert narrow_suite(suite, datasets=["other"]).datasets == (PluginRef.of("other", n=5),)
    both = narrow_suite(suite, models=["mcat", "mcat[fusion=bilinear]", "mcat"])
    assert both.models == (PluginRef("mcat"), PluginRef.of("mcat", fusion="bilinear"))
    assert narrow_suite(suite, models=["snn[depth=3]"]).models == (PluginRef.of("snn", depth=3),)
    assert narrow_suite(suite, models=["cox[l1=1]"]).models == (PluginRef.of("cox", l1=1),)
    assert narrow_suite(suite, models=["cox[]"]).models == (PluginRef.of("cox"),)


def test_narrowing_changes_repeats_and_seed_only_within_bounds() -> None:
    suite = narrow_suite(read(HEAD), repeats=3, seed=7)
    assert (suite.protocol.repeats, suite.protocol.folds, suite.seed) == (3, 5, 7)
    with pytest.raises(SuiteError, match="repeats is 0; it must be at least 1"):
        narrow_suite(suite, repeats=0)
    with pytest.raises(SuiteError, match="seed is -1"):
        narrow_suite(suite, seed=-1)


def test_narrowing_to_what_is_not_there() -> None:
    with pytest.raises(SuiteError, match="unknown model of this suite 'mact'; did you mean 'mcat'"):
        narrow_suite(read(HEAD), models=["mact"])
    with pytest.raises(SuiteError, match=r'brackets add an installed model to the suite: "cox\[\]"'):
        narrow_suite(read(HEAD), models=["cox"])
    with pytest.raises(SuiteError, match="unknown dataset of this suite 'tou'"):
        narrow_suite(read(HEAD), datasets=["toy", "tou"])
    with pytest.raises(SuiteError, match="write name or name"):
        narrow_suite(read(HEAD), models=["mcat[fusion"])


def test_names_and_options_are_held_against_what_is_installed() -> None:
    check_names(read(HEAD + VARIANTS), registry())
    text = (
        HEAD.replace('"toy"', '"tou"').replace("n=5", "m=5").replace("depth=3", "depth=three")
        + 'metrics = ["ibs", "harrell"]\n'
        + '[[variant]]\nname = "v"\nmodel.mcat.fusion = "sum"\n'
    )
    with pytest.raises(SuiteError) as caught:
        check_names(read(text), registry())
    first, *lines = str(caught.value).splitlines()
    assert first == "suite 'mine': 5 problems"
    assert [line.removeprefix("  - ").partition(" (got")[0] for line in lines] == [
        "unknown dataset 'tou'; did you mean 'toy'? Choices: other, own, toy",
        "dataset other[m=5]: unknown option 'm'. Choices: n",
        "model snn[depth=three]: option 'depth': Input should be a valid integer, unable to parse string as an integer",
        "variant 'v': model mcat[fusion=sum]: option 'fusion': Input should be 'concat' or 'bilinear'",
        "unknown metric 'harrell'; did you mean 'harrell_c_index'? Choices: harrell_c_index, ibs",
    ]


def test_a_dataset_without_modality_sets_is_a_fault_and_narrowing_is_none() -> None:
    suite = read(HEAD.replace("[[", "{toy = [[").replace("]]", "]]}"))
    with pytest.raises(SuiteError, match="modalities: none given for dataset 'other'"):
        check_names(suite, registry())
    both = read(HEAD.replace("modalities = ", "modalities.toy = ") + 'modalities.other = [["omic"]]\n')
    check_names(both, registry())
    check_names(narrow_suite(both, datasets=["toy"]), registry())


def test_options_of_a_reference() -> None:
    chosen = validate_options(registry(), "models", PluginRef.parse("mcat[fusion=bilinear,groups=[1,2]]"))
    assert (chosen.fusion, chosen.groups) == ("bilinear", (1, 2))
    assert validate_options(registry(), "models", PluginRef("mcat")).fusion == "concat"
    with pytest.raises(SuiteError, match=r"^model mcat\[fusoin=sum\]: unknown option 'fusoin'; did you mean 'fusion'"):
        validate_options(registry(), "models", PluginRef.parse("mcat[fusoin=sum]"))


def test_a_variant_may_set_a_list() -> None:
    suite = read(HEAD + '[[variant]]\nname = "v"\nmodel.mcat.groups = [1, 2]\n')
    check_names(suite, registry())


def test_a_dataset_in_no_variant_is_told() -> None:
    text = HEAD + 'base = false\n[[variant]]\nname = "v"\nonly.datasets = ["nowhere"]'
    assert any("is in no variant, and base = false" in line for line in refused(text))
