"""Pictures and volumes as grids: what is read, and the one line that a bad file gets."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from fusionbench import DataError, ModalityUse
from fusionbench.builtin.grid import Grid, GridOptions

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
VOLUME = np.arange(4 * 3 * 2, dtype=np.float32).reshape(4, 3, 2)


def grid(dim: int = 3, **options: object) -> Grid:
    return Grid("map", ModalityUse("grid", dim), GridOptions.model_validate(options))


def picture(path: Path, mode: str = "RGB") -> Path:
    Image.fromarray(PIXELS).convert(mode).save(path)
    return path


def volume(path: Path, values: np.ndarray = VOLUME, affine: np.ndarray | None = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return path


def refused(modality: Grid, path: Path, *words: str, verbs: tuple[str, ...] = ("check", "load")) -> None:
    for verb in verbs:
        with pytest.raises(DataError) as error:
            getattr(modality, verb)(path)
        assert "\n" not in str(error.value)
        assert str(error.value).startswith(f"{path}: ")
        for word in words:
            assert word in str(error.value)


def test_a_png_is_its_pixels(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    grid().check(path)
    raw = grid().load(str(path))
    assert raw.shape == (4, 6)
    np.testing.assert_array_equal(raw.values.reshape(4, 6, 3), PIXELS)


def test_a_grey_png_has_one_channel_and_a_photograph_three(tmp_path: Path) -> None:
    assert grid(1).load(picture(tmp_path / "a.png", "L")).values.shape == (24, 1)
    assert grid().load(picture(tmp_path / "a.JPG")).values.shape == (24, 3)


def test_channels_are_kept_by_position(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    modality = grid(2, channels=[2, 0])
    modality.check(path)
    np.testing.assert_array_equal(modality.load(path).values, PIXELS.reshape(-1, 3)[:, [2, 0]])
    refused(grid(1, channels=[3]), path, "3 channels and no channel 3", "`channels`")


def test_a_volume_with_and_without_channels(tmp_path: Path) -> None:
    raw = grid(1, axes=3).load(volume(tmp_path / "a.nii.gz"))
    assert raw.shape == (4, 3, 2)
    np.testing.assert_array_equal(raw.values.reshape(4, 3, 2), VOLUME)
    two = np.stack([VOLUME, -VOLUME], axis=-1)
    np.testing.assert_array_equal(grid(2, axes=3).load(volume(tmp_path / "b.nii", two)).values.reshape(two.shape), two)
    np.save(tmp_path / "c.npy", VOLUME)
    np.testing.assert_array_equal(grid(1, axes=3).load(tmp_path / "c.npy").values.ravel(), VOLUME.ravel())


def test_a_grid_of_one_row_or_one_slice_keeps_its_axes(tmp_path: Path) -> None:
    np.save(tmp_path / "row.npy", PIXELS[:1])
    assert grid().load(tmp_path / "row.npy").shape == (1, 6)
    np.save(tmp_path / "slice.npy", VOLUME[:1])
    assert grid(1, axes=3).load(tmp_path / "slice.npy").shape == (1, 3, 2)
    np.savez(tmp_path / "row.npz", features=PIXELS[:1])
    assert grid().load(tmp_path / "row.npz").shape == (1, 6)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5", "a.pt"])
def test_damaged_arrays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nothing")
    refused(grid(), tmp_path / name, "cannot be read", "write the file again")


def test_axes_of_a_volume_mean_one_thing_however_it_is_stored(tmp_path: Path) -> None:
    """The same body stored from left to right and from right to left."""
    turned = np.diag([-1.0, 1, 1, 1])
    turned[0, 3] = 3
    here = grid(1, axes=3).load(volume(tmp_path / "a.nii.gz"))
    there = grid(1, axes=3).load(volume(tmp_path / "b.nii.gz", VOLUME[::-1], turned))
    np.testing.assert_array_equal(here.values, there.values)


def test_blocks_of_a_volume(tmp_path: Path) -> None:
    raw = grid(1, axes=3, downsample=[2, 3, 1]).load(volume(tmp_path / "a.nii.gz"))
    assert raw.shape == (2, 1, 2)
    np.testing.assert_allclose(raw.values[0], VOLUME[:2, :, 0].mean())
    with pytest.raises(ValidationError, match="downsample has 2 numbers for 3 axes"):
        grid(1, axes=3, downsample=[2, 2])
    with pytest.raises(ValidationError):
        grid(1, downsample=0)


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "1", "CMYK"])
def test_a_picture_of_another_mode(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    refused(grid(), picture(path, mode), f"a picture of mode '{mode}'", "save it as L (one channel) or RGB (three)")


def test_damaged_pictures(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"no picture")
    refused(grid(), path, "no readable picture", "save or download it again")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(grid(), path, "no readable picture")
    path.write_bytes(whole[:1000] + bytes(20) + whole[1020:])
    refused(grid(), path, "no readable picture")


def test_damaged_volumes(tmp_path: Path) -> None:
    path = volume(tmp_path / "a.nii.gz", np.random.default_rng(0).random((20, 20, 20), dtype=np.float32))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(grid(1, axes=3), path, "no readable volume", "write or download it again", verbs=("load",))
    path.write_bytes(whole[:2000] + bytes(50) + whole[2050:])
    refused(grid(1, axes=3), path, "no readable volume", verbs=("load",))
    path.write_bytes(b"no volume")
    refused(grid(1, axes=3), path, "no readable volume")


def test_a_volume_with_nan_or_of_another_rank(tmp_path: Path) -> None:
    values = VOLUME.copy()
    values[1, 2, 0] = np.nan
    path = volume(tmp_path / "a.nii.gz", values)
    refused(grid(1, axes=3), path, "1 values are NaN or infinite, the first at (1, 2, 0, 0)", verbs=("load",))
    flat = volume(tmp_path / "b.nii.gz", VOLUME[..., 0])
    refused(grid(1, axes=3), flat, "expected 3 axes", "(4, 3)", "`axes`")
    np.save(tmp_path / "c.npy", np.zeros((2, 2, 2, 2, 1)))
    refused(grid(1, axes=3), tmp_path / "c.npy", "expected 3 axes", "(2, 2, 2, 2, 1)")


def test_another_number_of_channels(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", "L")
    refused(grid(), path, "1 channels where the other cases have 3", "save all alike")


def test_files_that_are_not_there_or_of_no_known_kind(tmp_path: Path) -> None:
    refused(grid(), tmp_path / "a.png", "no such file")
    refused(grid(), tmp_path / "a.bmp", "unknown kind of grid file '.bmp'", ".nii.gz")


def test_without_nibabel_a_volume_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = volume(tmp_path / "a.nii.gz")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    refused(grid(1, axes=3), path, 'pip install "fusionbench[nifti]"')
