from __future__ import annotations

import fcntl
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from fusionbench import DataError, ModalityUse
from fusionbench.builtin import bag as bag_module
from fusionbench.builtin.bag import Bag
from fusionbench.builtin.instances import InstanceOptions
from fusionbench.data.feature_files import read_arrays
from fusionbench.data.slides import unreadable

DIM = 3


def bag(**options: str) -> Bag:
    return Bag("image", ModalityUse("bag", DIM), InstanceOptions(**options))


def values(n: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def write(path: Path, features: np.ndarray, coords: np.ndarray | None = None) -> Path:
    arrays = {"features": features} if coords is None else {"features": features, "coords": coords}
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for key, array in arrays.items():
                file[key] = array
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".npy":
        np.save(path, features)
    else:
        torch.save(torch.from_numpy(features), path)
    return path


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".npy", ".pt"])
def test_each_format_gives_its_features(tmp_path: Path, suffix: str) -> None:
    x = values(5)
    path = write(tmp_path / f"slide{suffix}", x)
    for ref in (path, str(path), (path,)):
        bag().check(ref)
        loaded = bag().load(ref)
        np.testing.assert_array_equal(loaded.values, x)
        assert loaded.values.dtype == np.float32
        assert loaded.coords is None


def test_a_file_that_is_being_written_is_not_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "slide.h5", values(5))
    with path.open("rb+") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)  # as HDF5 locks a file that is open for writing
        with pytest.raises(
            DataError, match=r"slide\.h5: cannot be read .*; another process has it open for writing: wait"
        ):
            bag().load(path)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("file is already open for write (may use <h5clear file>)", "another process has it open for writing"),
        (
            "unable to lock file, errno = 38, error message = 'Function not implemented'",
            "set HDF5_USE_FILE_LOCKING=FALSE",
        ),
        ("truncated file", "write the file again"),
    ],
)
def test_what_to_do_about_a_file_that_cannot_be_read(reason: str, words: str) -> None:
    assert words in str(unreadable(Path("slide.h5"), OSError(reason)))


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_coords_come_along(tmp_path: Path, suffix: str) -> None:
    coords = np.arange(10).reshape(5, 2)
    loaded = bag().load(write(tmp_path / f"slide{suffix}", values(5), coords))
    assert loaded.coords is not None
    np.testing.assert_array_equal(loaded.coords, coords)


def test_half_precision_tensors_are_widened(tmp_path: Path) -> None:
    path = tmp_path / "slide.pt"
    torch.save(torch.ones(2, DIM, dtype=torch.bfloat16), path)
    bag().check(path)
    np.testing.assert_array_equal(bag().load(path).values, np.ones((2, DIM), np.float32))


def test_slides_of_a_patient_follow_one_another(tmp_path: Path) -> None:
    a, b = (
        write(tmp_path / "a.h5", values(2), np.zeros((2, 2))),
        write(tmp_path / "b.npz", values(3, 1), np.ones((3, 2))),
    )
    loaded = bag().load((a, b))
    np.testing.assert_array_equal(loaded.values, np.concatenate([values(2), values(3, 1)]))
    assert loaded.coords is not None
    assert loaded.coords[:, 0].tolist() == [0, 0, 1, 1, 1]
    assert loaded.piece is not None
    assert loaded.piece.tolist() == [0, 0, 1, 1, 1]
    assert bag().load(a).piece is None


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".npy", ".pt"])
@pytest.mark.parametrize(
    ("shape", "words"), [((0, DIM), "no instance"), ((4, DIM + 1), "4 features where"), ((2, 4, DIM), "(2, 4, 3)")]
)
def test_check_finds_a_wrong_shape_in_the_header(tmp_path: Path, suffix: str, shape: tuple, words: str) -> None:
    path = write(tmp_path / f"slide{suffix}", np.zeros(shape, np.float32))
    for verb in (bag().check, bag().load):
        with pytest.raises(DataError) as error:
            verb(path)
        assert str(path) in str(error.value)
        assert words in str(error.value)


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".npy", ".pt"])
def test_a_value_that_is_no_number_is_found_on_loading(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"slide{suffix}", np.full((4, DIM), np.nan, np.float32))
    bag().check(path)
    with pytest.raises(DataError, match="NaN or infinite, the first at") as error:
        bag().load(path)
    assert str(path) in str(error.value)


def test_check_reads_headers_only(tmp_path: Path) -> None:
    shape = (10**13, DIM)  # more than any memory holds
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("features", shape, "f4", chunks=(1024, DIM))
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with (tmp_path / "huge.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.write(tmp_path / "huge.npy", "features.npy")
    for suffix in (".h5", ".npy", ".npz"):
        bag().check(tmp_path / f"huge{suffix}")


def test_bad_files_are_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["other"] = np.zeros(3)
    for suffix in (".h5", ".npz", ".npy", ".pt"):
        (tmp_path / f"broken{suffix}").write_bytes(b"not what it says")
    torch.save([torch.zeros(2, DIM)], tmp_path / "list.pt")
    (tmp_path / "slide.txt").touch()
    good, plain = write(tmp_path / "a.h5", values(2), np.zeros((2, 2))), write(tmp_path / "b.h5", values(2))
    short = write(tmp_path / "short.h5", values(2), np.zeros((1, 2)))
    bad = {
        "empty.h5": "`features`",
        "broken.h5": "cannot be read",
        "broken.npz": "cannot be read",
        "broken.npy": "cannot be read",
        "broken.pt": "cannot be read",
        "list.pt": "one plain tensor",
        "slide.txt": "unknown kind",
        "absent.h5": "no such file",
        short.name: "coords",
    }
    refs = [(tmp_path / name, words) for name, words in bad.items()]
    for ref, words in [*refs, ((good, plain), "b.h5: its `coords`"), ((good, good), "named twice"), ((), "no file")]:
        for verb in (bag().check, bag().load):
            with pytest.raises(DataError) as error:
                verb(ref)
            assert words in str(error.value)
            assert "\n" not in str(error.value)
            if isinstance(ref, Path):
                assert ref.name in str(error.value)


def test_a_pickled_object_is_never_executed(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"path": tmp_path}, path)  # a Path is a pickled class
    with pytest.raises(DataError, match="cannot be read"):
        bag().load(path)


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        (np.zeros((0, DIM)), "no instance"),
        (np.zeros((2, DIM - 1)), "2 features where the other cases have 3"),
        (np.array([[0, 0, np.inf]]), "1 values are NaN or infinite, the first at (0, 2)"),
        (np.full((1, DIM), 1e39), "3 values are NaN or infinite"),
        (np.array([["a", "b", "c"]]), "expected numbers"),
    ],
)
def test_bad_arrays_are_refused(ref: np.ndarray, words: str) -> None:
    for verb in (bag().check, bag().load):
        with pytest.raises(DataError) as error:
            verb(ref)
        assert words in str(error.value)


def test_scaling_is_over_all_training_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusionbench.builtin.instances.ROWS", 4)
    modality = bag()
    bags = [100 + 3 * values(n, n) for n in (1, 2, 9)]
    fitted = modality.fit(modality.load(b) for b in bags)
    z = torch.cat([fitted(modality.load(b)) for b in bags]).numpy()
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(fitted.mean(), np.zeros(DIM))


def test_without_scaling_values_pass_and_the_mean_is_known() -> None:
    modality = bag(scale="none")
    bags = [values(4), values(2, 1)]
    fitted = modality.fit(modality.load(b) for b in bags)
    np.testing.assert_array_equal(fitted(modality.load(bags[0])), bags[0])
    np.testing.assert_allclose(fitted.mean(), np.concatenate(bags).mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("n", [3, 7, 10, 49])
def test_a_constant_feature_becomes_0_whatever_rounding_says(n: int) -> None:
    modality = bag()
    x = values(n)
    x[:, 1] = 0.1
    fitted = modality.fit([modality.load(x[:2]), modality.load(x[2:])])
    x[0, 1] = 9
    assert not fitted(modality.load(x))[:, 1].any()


def test_a_restored_state_prepares_the_same_and_refuses_another_width() -> None:
    modality = bag()
    fitted = modality.fit([modality.load(values(9))])
    state = json.loads(json.dumps(fitted.state(), allow_nan=False))
    raw = modality.load(values(4, 1))
    assert modality.restore(state).state() == fitted.state()
    assert torch.equal(modality.restore(state)(raw), fitted(raw))
    with pytest.raises(DataError, match="fitted on 3 features and this cohort has 4"):
        Bag("image", ModalityUse("bag", 4), InstanceOptions()).restore(state)


def test_fitting_reads_one_case_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write(tmp_path / f"{i}.npy", values(3, i)) for i in range(4)]
    modality, order = bag(), []
    original = bag_module.read_arrays
    monkeypatch.setattr(bag_module, "read_arrays", lambda p, **k: (order.append(p), original(p, **k))[1])

    def lazily():
        for i, path in enumerate(paths):
            assert len(order) == i
            yield modality.load(path)

    modality.fit(lazily())
    assert order == paths


@pytest.mark.parametrize("suffix", [".h5", ".pt", ".npy"])
def test_a_batch_of_one_slide_as_other_tools_write_it(tmp_path: Path, suffix: str) -> None:
    values, path = np.arange(12, dtype=np.float32).reshape(1, 4, 3), tmp_path / f"slide{suffix}"
    if suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["features"], file["coords"] = values, np.zeros((1, 4, 2), dtype=np.int64)
    elif suffix == ".pt":
        torch.save(torch.from_numpy(values), path)
    else:
        np.save(path, values)
    for header_only in (True, False):
        found = read_arrays(path, header_only=header_only)
        assert {key: array.shape[0] for key, array in found.items()} == dict.fromkeys(found, 4)
    assert np.array_equal(found["features"], values[0])
