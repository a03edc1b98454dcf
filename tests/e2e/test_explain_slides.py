"""`fusionbench explain` where instances have places: on a real slide, on a grid, and where something is not at hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fusionbench.data.downloads import data_home
from fusionbench.data.feature_files import read_arrays
from tests.conftest import Cli
from tests.e2e.test_bad_input import one_error

CMU = data_home() / "slides" / "CMU-1-Small-Region.svs"
real = [pytest.mark.data, pytest.mark.skipif(not CMU.is_file(), reason=f"{CMU}: the slide is not there")]
COHORT = """
title = "One slide"
table = "patients.csv"
id = "id"
[outcome]
time = "months"
unit = "month"
event = "died"
[modality.slides]
folder = "patches"
map = "slides.csv"
slide = "slide"
case = "patient"
"""
SUITE = """
title = "One slide"
datasets = ["table[file=cohort.toml]"]
models = ["abmil", "cox"]
modalities = [["slides"]]
[protocol]
folds = 2
[train]
epochs = 20
"""


def write_cohort(features: np.ndarray, coords: np.ndarray, slide: str, whole: Path | None = None) -> None:
    """Eighty patients; the darker the half of a patient's twelve tiles, the earlier the event.

    The first has a whole slide, in `whole` or as given.
    """
    rng, light = np.random.default_rng(0), features[:, :3].mean(axis=1)
    dark = np.flatnonzero(light < np.median(light))
    pale = np.setdiff1d(np.arange(len(features)), dark)
    Path("patches").mkdir()
    rows = []
    for i in range(80):
        share = 0.5 if i == 0 else rng.random()
        n = round(12 * share)
        tiles = np.concatenate([rng.choice(dark, n, replace=False), rng.choice(pale, 12 - n, replace=False)])
        name = slide if i == 0 else f"s{i:02d}"
        if i == 0 and whole is not None:
            shutil.copy(whole, f"patches/{name}.h5")
        else:
            with h5py.File(f"patches/{name}.h5", "w") as file:
                file["features"] = features if i == 0 else features[tiles]
                file["coords"] = coords if i == 0 else coords[tiles]
        death, end = rng.exponential(30 * np.exp(4 * (0.5 - share))), rng.exponential(60)
        rows.append((f"p{i:02d}", name, round(min(death, end) + 0.1, 2), int(death <= end)))
    table = pd.DataFrame(rows, columns=["id", "slide", "months", "died"])
    table[["id", "months", "died"]].to_csv("patients.csv", index=False)
    table.rename(columns={"id": "patient"})[["slide", "patient"]].to_csv("slides.csv", index=False)
    Path("cohort.toml").write_text(COHORT)
    Path("study.toml").write_text(SUITE)


class TestOnARealSlide:
    pytestmark = real

    @pytest.fixture
    def study(self, cli: Cli) -> Cli:
        """Features of the slide's tiles by `fusionbench slides`, and a model trained on a cohort of them."""
        assert cli("slides", str(CMU), "--out", "f", "--encoder", "mean-colour", "--device", "cpu").returncode == 0
        path = Path(f"f/{CMU.stem}.h5")
        found = read_arrays(path)
        write_cohort(found["features"], found["coords"], CMU.stem, path)
        assert cli("run", "study.toml", "--no-track").returncode == 0
        return cli

    @pytest.mark.slow
    def test_attention_lies_on_the_slide_and_its_tiles_are_pictures_of_it(self, study: Cli) -> None:
        import openslide

        result = study("explain", "study.toml", "-m", "abmil", "--case", "p00", "--slides", str(CMU.parent))
        assert result.returncode == 0, result.stderr
        place = Path("results/study/explain/abmil/p00")
        items = pd.read_csv(place / "items.csv").sort_values("attention", ascending=False)
        assert len(items) == 32
        assert set(items["slide"]) == {CMU.stem}
        pictures = sorted((place / "tiles").iterdir())
        assert [p.name for p in pictures] == [f"slides-1-{CMU.stem}-{i:02d}.png" for i in range(1, 9)]
        with openslide.OpenSlide(str(CMU)) as slide:
            for path, x, y in zip(pictures, items["x"], items["y"], strict=False):
                theirs = np.asarray(slide.read_region((int(x), int(y)), 0, (256, 256)).convert("RGB"), dtype=float)
                with Image.open(path) as picture:
                    ours = np.asarray(picture.convert("RGB").resize((256, 256)), dtype=float)
                assert np.abs(ours - theirs).mean() < 8
        with Image.open(place / "figures/heatmap.png") as drawn:
            colours = np.unique(np.asarray(drawn.convert("RGB")).reshape(-1, 3), axis=0)
        assert len(colours) > 64, "the slide lies below"
        page = (place / "explanation.html").read_text(encoding="utf-8")
        assert "Attention and contribution to the risk: slides, slide CMU-1-Small-Region" in page
        assert "Tiles with the most attention" in page
        without = study("explain", "study.toml", "-m", "cox", "--case", "p00", "--slides", str(CMU.parent))
        assert without.returncode == 0, without.stderr
        page = Path("results/study/explain/cox/p00/explanation.html").read_text(encoding="utf-8")
        assert "Contribution to the risk: slides" in page


@pytest.fixture
def tiles(cli: Cli) -> Cli:
    """A cohort like that one, of made-up tiles on a grid of eight columns."""
    rng = np.random.default_rng(1)
    corners = np.stack([np.arange(32) % 8, np.arange(32) // 8], axis=1) * 256
    write_cohort(rng.random((32, 4)).astype(np.float32), corners, "wanted")
    assert cli("run", "study.toml", "--no-track").returncode == 0
    return cli


def test_without_the_slide_the_grid_of_tiles_is_drawn(tiles: Cli) -> None:
    asked = ("explain", "study.toml", "-m", "abmil", "--case", "p00")
    assert tiles(*asked).returncode == 0
    place = Path("results/study/explain/abmil/p00")
    assert "no folder of slides was given" in (place / "explanation.html").read_text()
    assert (place / "figures/heatmap.svg").is_file()
    assert not (place / "tiles").exists()
    Path("images").mkdir()
    assert tiles(*asked, "--slides", "images").returncode == 0
    notes = json.loads((place / "explanation.json").read_text())["notes"]
    assert "slides: no image of slide 'wanted' in images; drawn on the grid of tiles" in notes
    Path("images/wanted.svs").write_bytes(b"no slide")
    one_error(tiles(*asked, "--slides", "images"), "images/wanted.svs: not a slide")


def test_a_slide_of_that_name_that_is_another_one_is_refused(tiles: Cli) -> None:
    from tests.unit.slide_files import write_pyramid

    Path("images").mkdir()
    write_pyramid(Path("images/wanted.tiff"), (512, 512), [(0, 0, 500, 500)], downsamples=(1,), mpp=0.5)
    asked = ("explain", "study.toml", "-m", "abmil", "--case", "p00", "--slides", "images")
    one_error(tiles(*asked), "wanted.tiff: 512 x 512 px, but a tile of 'wanted' is at 1792, 768")


def test_a_bag_without_coordinates_has_no_heatmap_and_a_line_says_why(cli: Cli) -> None:
    rng = np.random.default_rng(1)
    write_cohort(rng.random((32, 4)).astype(np.float32), np.zeros((32, 2)), "wanted")
    for path in Path("patches").glob("*.h5"):
        with h5py.File(path, "a") as file:
            del file["coords"]
    assert cli("run", "study.toml", "--no-track").returncode == 0
    assert cli("explain", "study.toml", "-m", "abmil", "--case", "p00").returncode == 0
    page = Path("results/study/explain/abmil/p00/explanation.html").read_text()
    assert "No heatmap of slides: its instances have no coordinates" in page
