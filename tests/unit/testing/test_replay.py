"""Published numbers against ours: every committed reference file agrees, and whatever is changed in one is noticed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusionbench.core.errors import DataError
from tests.golden.replay import Reference, read, replay
from tests.golden.replay.__main__ import main

GOLDEN = Path(__file__).parents[2] / "golden"
FILES = sorted(GOLDEN.glob("*/*.npz"))
MODELS = [path for path in FILES if read(path).under("param/")]
MANY = 200
"""Weights of a network whose every weight would take too long; MulT's of one target has fewer, and all of its parts."""
NETWORKS = [
    path
    for path in list({json.dumps(read(path).config): path for path in reversed(MODELS)}.values())[::-1]
    if len(read(path).under("param/")) < MANY
]
"""One file of each network: others hold larger batches of the same."""
GRADIENTS = ("grad/", "loss_grad/", "lossgrad/")
LOSSES = {"logits": np.ones((2, 4)), "y_disc": np.zeros(2, int), "censorship": np.zeros(2)}


def stem(path: Path) -> str:
    return path.stem


def test_there_are_files_of_every_kind() -> None:
    kinds = {replay(read(path)).kind.partition(" (")[0] for path in FILES}
    assert kinds == {
        "model",
        "losses",
        "class weights",
        "survival bins",
        "c-index",
        "Fourier encoding",
        "MulT's pieces",
        "smooth SVM loss",
        "SurvPath's pieces",
        "transport plans",
    }


@pytest.mark.parametrize("path", FILES, ids=stem)
def test_what_is_published_is_computed(path: Path) -> None:
    file = read(path)
    outcome = replay(file)
    assert outcome.failures == []
    assert not outcome.not_compared
    if path in MODELS and file.double:
        assert outcome.largest < 1e-12


def changed(file: Reference, name: str, change: Callable[[Any], Any]) -> Reference:
    return Reference(file.config, {**file.arrays, name: change(file.arrays[name])})


def nudged(array: Any) -> Any:
    """One number moved by a thousandth of the array's scale, or by one."""
    moved = np.array(array)
    at = np.unravel_index(np.argmax(np.abs(np.nan_to_num(moved, posinf=0, neginf=0))), moved.shape)
    if moved.dtype.kind == "b":
        return ~moved
    moved[at] += 1 if moved.dtype.kind in "iu" else 1e-3 * (abs(moved[at]) or 1.0)
    return moved


@pytest.mark.parametrize("path", FILES, ids=stem)
def test_every_compared_output_counts(path: Path) -> None:
    file = read(path)
    names = [comparison.name for comparison in replay(file).comparisons]
    # What a network is given holds none of its answers, so that all of them can be moved at once.
    for together in [names] if path in MODELS else [[name] for name in names]:
        moved = Reference(file.config, {**file.arrays, **{name: nudged(file.arrays[name]) for name in together}})
        outcome = replay(moved)
        failed = {seen.name for seen in outcome.comparisons if not seen.error <= outcome.tolerance}
        assert failed >= {*together}


@pytest.mark.parametrize("path", NETWORKS, ids=stem)
def test_every_weight_counts(path: Path) -> None:
    whole = read(path)
    # Without gradients: they follow from the outputs, and take as long as those.
    file = Reference(whole.config, {k: v for k, v in whole.arrays.items() if not k.startswith(GRADIENTS)})
    names = file.under("param/")
    idle = [name for name in names if replay(changed(file, f"param/{name}", shifted)).passed]
    expected = re.compile("|".join([*idle_patterns(file), CLOSED.get(stem(path), "nothing")]))
    assert idle == [name for name in names if expected.match(name)]


def shifted(weight: Any) -> Any:
    """Every number moved up by an amount of its own: a LayerNorm takes a common one away."""
    return weight + np.random.default_rng(0).uniform(0.5, 1.5, weight.shape).astype(weight.dtype)


CLOSED = {
    "deepsets_bilinear": r"mm\.linear_z2\.|mm\.linear_o2\.0\.weight",
    "survpath_p5_padded": r"to_logits\.2\.weight",
}
"""A ReLU is closed in every unit there (linear_h2; of the head), which leaves what reads it, and its gate, idle."""


def idle_patterns(file: Reference) -> Iterator[str]:
    """Weights that no published number depends on."""
    config = file.config
    yield r".*\.num_batches_tracked"
    if "microbatch" in config:
        yield r"(path|omic)_attention_head\.attention_c\.bias"  # a softmax cancels it, and the file holds no scores
    yield from (re.escape(name.removeprefix("param/")) for name in config.get("unused_parameters", ()))
    if config.get("sequence_length") == 1:
        yield r"text_subnet\.rnn\.weight_hh_l0"  # no state comes before the first word
    for gate, tensor in (("gate_path", "linear_z1"), ("gate_omic", "linear_z2")):
        if not config.get(gate, True):
            yield rf"mm\.{tensor}\."
    if "input/cluster_id" in file.arrays:
        empty = set(range(config["num_clusters"])) - set(file.arrays["input/cluster_id"].tolist())
        yield from (rf"phis\.{cluster}\." for cluster in empty)
    for m, there in enumerate(config.get("present", [])):
        if not there:
            yield rf"layers\.\d+\.({2 * m}|{2 * m + 1})\."
    for m in config.get("missing", []):
        yield rf"encoders\.{m}\."
    yield from _queries_of_single_tokens(file)
    if str(config.get("cls")).startswith("CLAM"):
        yield from _of_clam(file)
    if config.get("cls") == "ILRA":
        yield r".*\.fc_k\.bias"  # the same for all keys of a query
        if config["topk"] == 1:  # a single key has the weight 1 whatever it is
            yield r".*\.project_backward\.fc_k\."
        if file.arrays["input/x_path"].shape[:2] == (1, 1):
            yield r".*\.(project_forward|mha)\.fc_k\."


def _of_clam(file: Reference) -> Iterator[str]:
    """A softmax takes the bias of its scores away; heads of classes that have no part in a loss."""
    if "output/A_raw" not in file.arrays:
        yield r"attention_net\.3\.attention_c\.bias"
    lost = not any(name.startswith("loss/instance") for name in file.arrays)
    told = {int(file.arrays["target/y"][0]), int(1 - file.arrays["target/c"][0])}
    for k in range(file.config["n_classes"]):
        if lost or not (file.config["subtyping"] or k in told):
            yield rf"instance_classifiers\.{k}\."


def _queries_of_single_tokens(file: Reference) -> Iterator[str]:
    if "loss" in file.arrays:
        return  # its L1 term counts every weight
    tied = file.config.get("kwargs", {}).get("weight_tie_layers")
    layers = "0" if tied else r"\d+"  # a tied weight that changes under one of its names is refused
    for m, name in enumerate(file.config.get("modalities", [])):
        if _tokens(file, name) == 1:
            yield rf"layers\.{layers}\.{2 * m}\.(fn\.to_q\.weight|norm\.)"


def _tokens(file: Reference, name: str) -> int:
    given = file.arrays.get(f"input/{name}")
    return 0 if given is None else int(np.prod(given.shape[1:-1]))


def rewritten(tmp_path: Path, file: Reference, config: dict[str, Any] | None = None) -> Path:
    path = tmp_path / "renamed.npz"
    np.savez(path, config=json.dumps(file.config if config is None else config), **file.arrays)
    return path


def test_the_name_of_a_file_says_nothing(tmp_path: Path) -> None:
    outcome = replay(read(rewritten(tmp_path, read(GOLDEN / "healnet" / "03_bag_only_b1.npz"))))
    assert outcome.passed
    assert outcome.kind == "model (healnet)"


@pytest.mark.parametrize(
    ("arrays", "config", "reason"),
    [
        ({"param/x": np.ones(2)}, {"cls": "Unheard"}, "no plugin knows a config with 'Unheard'"),
        ({"something": np.ones(2)}, {}, "no known kind of reference file has arrays like 'something'"),
        ({}, {}, "no known kind of reference file has arrays like none"),
        (LOSSES, {}, "nothing was compared"),
        ({k: v for k, v in LOSSES.items() if k != "censorship"}, {}, "the file lacks the array"),
        ({**LOSSES, "ce/alpha0.0": np.array(np.inf)}, {}, "nothing was compared"),
    ],
)
def test_what_cannot_be_compared_fails(arrays: dict[str, Any], config: dict[str, Any], reason: str) -> None:
    outcome = replay(Reference(config, arrays))
    assert not outcome.passed
    assert reason in outcome.failures[0]


def test_an_output_without_a_counterpart_fails() -> None:
    file = read(GOLDEN / "numbers" / "losses.npz")
    outcome = replay(Reference(file.config, {**file.arrays, "output/unheard": np.ones(3)}))
    assert outcome.failures == ["output/unheard: an output that nothing here corresponds to"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_output_that_is_not_finite_fails(value: float) -> None:
    file = read(GOLDEN / "healnet" / "03_bag_only_b1.npz")
    outcome = replay(changed(file, "output", lambda a: a * value))
    assert "output: relative error inf" in outcome.failures[0]
    assert "NaN or inf in the reference" in outcome.failures[0]


def test_a_config_that_lacks_something_fails_with_its_name() -> None:
    file = read(GOLDEN / "healnet" / "03_bag_only_b1.npz")
    kwargs = {k: v for k, v in file.config["kwargs"].items() if k != "x_heads"}
    outcome = replay(Reference({**file.config, "kwargs": kwargs}, file.arrays))
    assert "plugin 'healnet' cannot make sense of the config: KeyError: 'x_heads'" in outcome.failures[0]


def test_cross_entropy_says_how_much_was_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(GOLDEN / "numbers" / "losses.npz")]) == 0
    shown = capsys.readouterr().out
    assert "output/ce_a0.4_persample 2 of 16" in shown
    assert "output/ce_a0.4_mean (all)" in shown


def test_cross_entropy_is_compared_where_survival_is_nearly_one() -> None:
    """The published value is finite there, since 1 - S has no lower bound."""
    logits, y = np.full((1, 4), -17.0), np.zeros(1, dtype=np.int64)
    hazard = 1 / (1 + np.exp(17.0))
    died = -np.log(1 - (1 - hazard))
    arrays = {"logits": logits, "y_disc": y, "censorship": np.zeros(1), "ce/alpha0.0": np.array(died)}
    assert replay(Reference({}, arrays)).failures == []


def test_files_that_hold_no_plain_arrays(tmp_path: Path) -> None:
    pickled, cut, text = (tmp_path / f"{name}.npz" for name in ("pickled", "cut", "text"))
    np.savez(pickled, code=np.array([print], dtype=object))
    whole = (GOLDEN / "healnet" / "03_bag_only_b1.npz").read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    text.write_text("no archive")
    for path in (pickled, cut, text):
        with pytest.raises(DataError, match=rf"{path}: not a readable \.npz of plain arrays"):
            read(path)
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "absent.npz")
    np.savez(text, config="{", x=np.ones(1))
    with pytest.raises(DataError, match="its config is not a JSON object"):
        read(text)


def test_the_command(tmp_path: Path) -> None:
    file = read(GOLDEN / "healnet" / "03_bag_only_b1.npz")
    wrong = rewritten(tmp_path, changed(file, "embedding", nudged))
    good = GOLDEN / "numbers" / "cindex.npz"
    command = [sys.executable, "-m", "tests.golden.replay", str(good), str(wrong), str(tmp_path / "no.npz")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    lines = ended.stdout.splitlines()
    assert lines[2].split()[0] == "cindex.npz"
    assert lines[2].endswith("pass")
    assert lines[3].endswith("FAIL")
    assert f"{wrong}: embedding: relative error 1.0e-03, allowed 1e-05" in lines
    assert f"{tmp_path / 'no.npz'}: no such file" in lines
    assert lines[-1] == "1 of 3 files agree"


def test_without_files_the_usage_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: python -m tests.golden.replay" in capsys.readouterr().err
