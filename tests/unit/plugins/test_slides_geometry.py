"""Which level is read, where tiles lie, and what is tissue."""

from __future__ import annotations

import numpy as np
import pytest
from fusionbench_slides.grid import Grid
from fusionbench_slides.resolution import Resolution, Said, Scale, mpp_of, scale_for
from fusionbench_slides.tissue import Tissue, find_tissue, otsu, saturation, shares

from fusionbench import DataError

LEVELS = (1.0, 4.0, 16.0)
GLASS, STAINED = (243, 243, 244), (190, 90, 160)


@pytest.mark.parametrize(
    ("wanted", "said", "level", "downsample", "mpp"),
    [
        (Resolution("mpp", 0.5), Said(0.25, 40), 0, 2.0, 0.5),
        (Resolution("mpp", 1.0), Said(0.25, 40), 1, 4.0, 1.0),
        (Resolution("mpp", 1.0), Said(0.2527, 40), 1, 4.0, 1.0108),  # a level within 2 % is taken as it is
        (Resolution("mpp", 0.5), Said(0.499, 20), 0, 1.0, 0.499),
        (Resolution("mpp", 0.5), Said(None, 40), 0, 2.0, 0.5),
        (Resolution("mpp", 8.0), Said(0.25, None), 2, 32.0, 8.0),
        (Resolution("magnification", 10), Said(0.23, 40), 1, 4.0, 0.92),
        (Resolution("magnification", 10), Said(0.25, None), 1, 4.0, 1.0),
        (Resolution("downsample", 4), Said(None, None), 1, 4.0, None),
        (Resolution("downsample", 6), Said(352.8, None), 1, 6.0, None),
    ],
)
def test_the_level_that_needs_least_rescaling(
    wanted: Resolution, said: Said, level: int, downsample: float, mpp: float | None
) -> None:
    scale = scale_for(wanted, said, LEVELS)
    assert (scale.level, scale.level_downsample) == (level, LEVELS[level])
    assert scale.downsample == pytest.approx(downsample)
    assert scale.mpp == (None if mpp is None else pytest.approx(mpp))
    assert scale.rescale >= 1


@pytest.mark.parametrize(
    ("wanted", "said", "why"),
    [
        (Resolution("mpp", 0.5), Said(None, None), r"--mpp 0.5 .*says none.*--slide-mpp X .*--downsample N"),
        (Resolution("magnification", 20), Said(None, None), "--magnification 20 .*says none"),
        (Resolution("mpp", 0.5), Said(352.8, None), "says 352.8 micrometres per pixel, which no scanner has"),
        (Resolution("mpp", 0.25), Said(0.5, 20), "2 times coarser than --mpp 0.25"),
    ],
)
def test_a_resolution_that_cannot_be_had_says_what_to_pass(wanted: Resolution, said: Said, why: str) -> None:
    with pytest.raises(DataError, match=why):
        scale_for(wanted, said, LEVELS)


def test_magnification_stands_in_for_micrometres() -> None:
    assert mpp_of(Said(None, 40)) == 0.25
    assert mpp_of(Said(352.8, 20)) == 0.5
    assert mpp_of(Said(0.23, 40)) == 0.23


def grid(width: int, height: int, tile: int, downsample: float, level: float = 1.0) -> Grid:
    return Grid(width, height, tile, Scale(0, level, downsample, None))


def test_only_whole_tiles_row_by_row() -> None:
    made = grid(300, 250, 64, 1.0)
    assert (made.columns, made.rows) == (4, 3)
    assert made.coords()[:5].tolist() == [[0, 0], [64, 0], [128, 0], [192, 0], [0, 64]]
    assert len(grid(16, 16, 256, 1.0).coords()) == 0
    assert len(grid(256, 256, 256, 1.0).coords()) == 1


def test_what_is_read_of_a_level_covers_the_tile() -> None:
    made = grid(10_000, 10_000, 256, 5.0, level=4.0)
    assert (made.step, made.side, made.read) == (1280, 320, 320)
    assert grid(10_000, 10_000, 256, 4.5, level=4.0).read == 288
    assert grid(10_000, 10_000, 100, 4.33, level=4.0).read == 109  # 108.25


def picture(height: int = 400, width: int = 400) -> np.ndarray:
    rng = np.random.default_rng(0)
    noise = rng.integers(-2, 3, (height, width, 3))
    return (np.array(GLASS) + noise).clip(0, 255).astype(np.uint8)


def test_stained_areas_are_tissue_and_glass_is_not() -> None:
    rgb = picture()
    rgb[100:300, 50:350] = STAINED
    tissue = find_tissue(rgb, downsample=8, step=256)
    truth = np.zeros((400, 400), dtype=bool)
    truth[100:300, 50:350] = True
    assert (tissue.mask != truth).mean() < 0.002
    assert tissue.share == pytest.approx(truth.mean(), abs=0.002)


def test_specks_and_small_holes_go_and_large_ones_stay() -> None:
    rgb = picture()
    rgb[100:300, 100:300] = STAINED
    rgb[20:30, 20:30] = STAINED  # 100 pixels, below a quarter of a tile of 32 x 32
    rgb[150:160, 150:160] = GLASS  # below a tile
    rgb[220:270, 220:270] = GLASS  # above a tile
    mask = find_tissue(rgb, downsample=8, step=256).mask
    assert not mask[:60, :60].any()
    assert mask[140:170, 140:170].all()
    assert not mask[230:260, 230:260].any()


@pytest.mark.parametrize("colour", [GLASS, (255, 255, 255), (0, 0, 0), (128, 128, 128)])
def test_a_plain_picture_without_stain_has_no_tissue(colour: tuple[int, int, int]) -> None:
    rgb = np.full((64, 64, 3), colour, dtype=np.uint8)
    assert find_tissue(rgb, 1, 16).share == 0
    assert find_tissue(picture(), 1, 16).share == 0


def test_a_picture_full_of_stain_is_all_tissue() -> None:
    assert find_tissue(np.full((64, 64, 3), STAINED, dtype=np.uint8), 1, 16).share == 1


def test_saturation_is_that_of_hsv() -> None:
    rgb = np.array([[[0, 0, 0], [255, 0, 0], [200, 100, 150], [7, 7, 7]]], dtype=np.uint8)
    assert saturation(rgb).tolist() == [[0, 255, 127, 0]]


def test_otsu_parts_two_humps() -> None:
    rng = np.random.default_rng(0)
    grey = np.concatenate([rng.normal(20, 4, 3000), rng.normal(120, 15, 1000)]).clip(0, 255).astype(np.uint8)
    assert 35 < otsu(grey) < 80
    values = np.array([10, 10, 10, 200], dtype=np.uint8)
    assert (values >= otsu(values)).tolist() == [False, False, False, True]


def test_shares_are_exact_where_tiles_cut_pixels() -> None:
    mask = np.zeros((10, 10), dtype=bool)
    mask[:, :5] = True  # level-0 pixels 0..35 of 70
    tissue, made = Tissue(mask, 7.0, 0), grid(70, 70, 20, 1.0)
    assert shares(tissue, made, made.coords())[:3] == pytest.approx([1.0, 0.75, 0.0])
