"""Checkpoints are read as tensors only; what is damaged or holds code is refused with its reason."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from fusionbench.core.errors import DataError
from tests.golden.replay import read
from tests.golden.replay.healnet import load_official
from tests.golden.replay.weights import read_weights

GOLDEN = Path(__file__).parents[2] / "golden" / "healnet" / "03_bag_only_b1.npz"
STATE = read(GOLDEN).under("param/")


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must never run",)


@pytest.mark.parametrize("ending", [".pt", ".pth", ".bin", ".safetensors", ".npz"])
def test_every_kind_of_checkpoint_loads(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"weights{ending}"
    if ending == ".npz":
        np.savez(path, **STATE)
    elif ending == ".safetensors":
        save_file(STATE, path)
    else:
        torch.save({name: torch.from_numpy(a) for name, a in STATE.items()}, path)
    state = read_weights(path)
    assert set(state) == set(STATE)
    assert all(np.array_equal(state[name], STATE[name]) for name in STATE)
    official = load_official(read(GOLDEN).config, state)
    assert official is not None
    assert not official.module.training


def test_a_reference_file_gives_its_parameters() -> None:
    assert set(read_weights(GOLDEN)) == set(STATE)


def test_half_precision_comes_as_float32(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / "x.pt")
    assert read_weights(tmp_path / "x.pt")["a"].dtype == np.float32


@pytest.mark.parametrize("ending", [".pt", ".safetensors", ".npz"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_truncated_file_is_refused(tmp_path: Path, ending: str, share: float) -> None:
    test_every_kind_of_checkpoint_loads(tmp_path, ending)
    path = tmp_path / f"weights{ending}"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=str(path)):
        read_weights(path)


def test_pickled_code_is_refused_and_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": Malicious()}, tmp_path / "model.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"a": Malicious()}, protocol=2))
    np.savez(tmp_path / "model.npz", a=np.array([Malicious()], dtype=object))
    for name in ("model.pt", "plain.pt"):
        with pytest.raises(DataError, match="pickled objects or is damaged; only plain tensors are loaded"):
            read_weights(tmp_path / name)
    with pytest.raises(DataError, match=r"not a readable \.npz of plain arrays"):
        read_weights(tmp_path / "model.npz")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("value", "reason"),
    [(torch.ones(2), "holds Tensor, expected a state dict"), ({"epoch": 3}, "holds dict, expected a state dict")],
)
def test_anything_but_a_state_dict_is_refused(tmp_path: Path, value: object, reason: str) -> None:
    torch.save(value, tmp_path / "x.pt")
    with pytest.raises(DataError, match=reason):
        read_weights(tmp_path / "x.pt")


def test_unknown_endings_and_absent_files(tmp_path: Path) -> None:
    (tmp_path / "x.h5").touch()
    with pytest.raises(DataError, match=r"weights come as \.safetensors, \.pt, \.pth, \.bin, \.npz, not as \.h5"):
        read_weights(tmp_path / "x.h5")
    with pytest.raises(DataError, match="no such file"):
        read_weights(tmp_path / "y.pt")
