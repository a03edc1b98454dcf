"""Which array of a file holds the features, what endings and folders are read, and what is said in doubt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from fusionbench import DataError, ModalityUse
from fusionbench.builtin.bag import Bag
from fusionbench.builtin.instances import InstanceOptions
from fusionbench.data.feature_files import encoder_of, feature_files, read_arrays

BAG = np.arange(12, dtype=np.float32).reshape(4, 3)
COORDS = np.arange(8).reshape(4, 2)


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in (".h5", ".hdf5"):
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    elif path.suffix.lower() == ".npz":
        with path.open("wb") as file:
            np.savez(file, **dict(arrays))
    elif path.suffix.lower() == ".npy":
        with path.open("wb") as file:
            np.save(file, next(iter(arrays.values())))
    else:
        torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
    return path


@pytest.mark.parametrize("ending", [".h5", ".H5", ".hdf5", ".npz", ".NPZ", ".npy", ".NPY", ".pt", ".PT", ".pth"])
@pytest.mark.parametrize("name", ["features", "feats", "group"])
def test_the_only_array_of_two_axes_is_read_whatever_its_name(tmp_path: Path, ending: str, name: str) -> None:
    path = write(tmp_path / f"slide{ending}", {name: BAG, "coords": COORDS, "labels": np.zeros(4)})
    for header_only in (True, False):
        arrays = read_arrays(path, header_only=header_only)
        assert arrays["features"].shape == (4, 3)
        assert ("coords" in arrays) == (ending.lower() != ".npy")
    np.testing.assert_array_equal(arrays["features"], BAG)


@pytest.mark.parametrize("ending", [".h5", ".npz", ".pt"])
def test_several_arrays_are_told_apart_by_name(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"slide{ending}", {"feats": BAG, "other": BAG * 2})
    for header_only in (True, False):
        with pytest.raises(DataError) as error:
            read_arrays(path, header_only=header_only)
        for part in (str(path), "2 that may be it", "'feats' (4, 3), 'other' (4, 3)", 'dataset = "NAME"'):
            assert part in str(error.value)
        with pytest.raises(DataError, match=r"no array 'featz'; it holds 'feats' \(4, 3\)"):
            read_arrays(path, dataset="featz", header_only=header_only)
    for name, factor in (("feats", 1), ("other", 2)):
        bag = Bag("image", ModalityUse("bag", 3), InstanceOptions(dataset=name))
        bag.check(path)
        for _ in range(2):  # from the file, then perhaps from the cache, in which the names differ
            np.testing.assert_array_equal(bag.load(path).values, BAG * factor)


def test_an_array_in_a_group_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "slide.h5", {"20x/uni": BAG})
    np.testing.assert_array_equal(read_arrays(path)["features"], BAG)
    write(path, {"20x/uni": BAG, "10x/uni": BAG[:2]})
    assert read_arrays(path, dataset="10x/uni")["features"].shape == (2, 3)


@pytest.mark.parametrize("ending", [".h5", ".npz", ".npy", ".pt"])
@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 1, 3)])
def test_a_vector_of_a_slide_is_a_bag_of_one(tmp_path: Path, ending: str, shape: tuple[int, ...]) -> None:
    """Encoders of whole slides write one vector, and beside it the coordinates of all patches."""
    path = write(tmp_path / f"slide{ending}", {"features": BAG[0].reshape(shape), "coords": COORDS})
    for header_only in (True, False):
        assert {k: a.shape for k, a in read_arrays(path, header_only=header_only).items()} == {"features": (1, 3)}
    raw = Bag("image", ModalityUse("bag", 3), InstanceOptions()).load(path)
    np.testing.assert_array_equal(raw.values, BAG[:1])
    assert raw.coords is None


def test_a_file_without_features_says_what_it_holds(tmp_path: Path) -> None:
    path = write(tmp_path / "slide.h5", {"coords": COORDS, "labels": np.zeros(4)})
    with pytest.raises(DataError, match=r"no array `features`, and none that may be it; .* 'labels' \(4,\)"):
        read_arrays(path)


def test_the_folders_that_clam_makes(tmp_path: Path) -> None:
    pt = write(tmp_path / "pt_files" / "a.pt", {"features": BAG})
    assert feature_files(tmp_path) == [pt]
    h5 = write(tmp_path / "h5_files" / "a.h5", {"features": BAG})
    assert feature_files(tmp_path) == [h5], "the ones with coordinates"
    own = write(tmp_path / "b.hdf5", {"features": BAG})
    assert feature_files(tmp_path) == [own]


def test_hidden_files_are_none_and_folders_below_are_named(tmp_path: Path) -> None:
    write(tmp_path / "features_uni" / "a.h5", {"features": BAG})
    (tmp_path / "features_uni" / "._a.h5").write_bytes(b"of macOS")
    assert [path.name for path in feature_files(tmp_path / "features_uni")] == ["a.h5"]
    with pytest.raises(DataError, match=r"name one of the folders below it that do: features_uni \(1\)"):
        feature_files(tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="put one of each slide there"):
        feature_files(tmp_path / "none")


@pytest.mark.parametrize("ending", [".h5", ".npy", ".npz", ".pt"])
@pytest.mark.parametrize("content", [b"", b"J", b"0", b"\x80\x02K", b"PK\x03\x04", b"slide,feature\n1,2\n"])
def test_a_damaged_file_is_one_line(tmp_path: Path, ending: str, content: bytes) -> None:
    """Readers raise a dozen kinds of errors for such files: struct.error, IndexError, zlib.error, ..."""
    (tmp_path / f"slide{ending}").write_bytes(content)
    for header_only in (False, True):
        with pytest.raises(DataError, match=rf"slide\{ending}: cannot be read"):
            read_arrays(tmp_path / f"slide{ending}", header_only=header_only)


def said_by(path: Path, of_file: Mapping[str, str], of_array: Mapping[str, str] | None = None) -> Path:
    write(path, {"features": BAG, "coords": COORDS})
    with h5py.File(path, "a") as file:
        file.attrs.update(of_file)
        file["features"].attrs.update(of_array or {})
    return path


def test_the_encoder_that_files_name(tmp_path: Path) -> None:
    ours = {"encoder": "torchscript", "encoder_version": "1", "weights_sha256": "0123456789abcdef" * 4}
    mine = [said_by(tmp_path / f"{i}.h5", ours) for i in range(2)]
    silent = [write(tmp_path / name, {"features": BAG}) for name in ("a.h5", "a.npy", "a.pt", "a.npz")]
    assert encoder_of([silent[0], *mine, *silent[1:]]) == "torchscript, version 1, weights 0123456789ab"
    assert encoder_of([said_by(tmp_path / "t.h5", {}, {"name": "slide", "encoder": "uni_v1"})]) == "uni_v1"  # TRIDENT
    assert encoder_of(silent) == encoder_of([]) == ""


def test_files_of_two_encoders_are_told_apart_by_their_weights(tmp_path: Path) -> None:
    one = said_by(tmp_path / "one.h5", {"encoder": "torchscript", "weights_sha256": "a" * 64})
    other = said_by(tmp_path / "other.h5", {"encoder": "torchscript", "weights_sha256": "b" * 64})
    names = [f"torchscript, weights {letter * 12}" for letter in "ab"]
    said = f"{other}: features of {names[1]}, where one.h5 has those of {names[0]}"
    with pytest.raises(DataError) as error:
        encoder_of([one, other])
    assert str(error.value) == f"{said}; extract all with one encoder"
    other.write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"other\.h5"):
        encoder_of([one, other])
