from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fusionbench import DataError, ModalityUse
from fusionbench.builtin.grid import Grid, GridOptions


def grid(axes: int = 2) -> Grid:
    return Grid("map", ModalityUse("grid", 3), GridOptions(axes=axes))


def test_positions_are_row_major_with_their_indices() -> None:
    image = np.arange(2 * 4 * 3).reshape(2, 4, 3)
    raw = grid().load(image)
    assert raw.shape == (2, 4)
    assert raw.coords is not None
    for value, (row, column) in zip(raw.values, raw.coords.astype(int), strict=True):
        np.testing.assert_array_equal(value, image[row, column])
    assert raw.coords[:5].tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0]]


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_each_number_of_axes(axes: int) -> None:
    raw = grid(axes).load(np.ones((2,) * axes + (3,)))
    assert raw.values.shape == (2**axes, 3)
    assert raw.coords is not None
    assert raw.coords.shape == (2**axes, axes)


def test_an_image_may_lie_in_a_file(tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((3, 2, 3), dtype=np.float32)
    np.save(tmp_path / "image.npy", image)
    grid().check(tmp_path / "image.npy")
    np.testing.assert_array_equal(grid().load(tmp_path / "image.npy").values.reshape(3, 2, 3), image)
    with pytest.raises(DataError, match=r"image.npy: expected 3 axes"):
        grid(3).check(str(tmp_path / "image.npy"))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 3)), "expected 2 axes"),
        (np.zeros((4, 4, 2)), "2 channels where the other cases have 3"),
        (np.zeros((0, 4, 3)), "no instance"),
        (np.full((1, 1, 3), np.nan), "3 values are NaN"),
    ],
)
def test_bad_images_are_refused(image: np.ndarray, words: str) -> None:
    for verb in (grid().check, grid().load):
        with pytest.raises(DataError) as error:
            verb(image)
        assert words in str(error.value)


def test_scaling_spec_and_restoring() -> None:
    modality = grid()
    raws = [modality.load(np.random.default_rng(i).random((2, 3 + i, 3))) for i in range(3)]
    fitted = modality.fit(raws)
    assert (fitted.spec.kind, fitted.spec.axes, fitted.spec.dim) == ("grid", 2, 3)
    np.testing.assert_allclose(torch.cat([fitted(raw) for raw in raws]).std(dim=0, correction=0), 1, atol=1e-5)
    again = modality.restore(fitted.state())
    assert again.spec == fitted.spec
    assert torch.equal(again(raws[1]), fitted(raws[1]))
