"""`fusionbench slides` as a user calls it, on slides that the tests make and on OpenSlide's own."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import psutil
import pytest
from fusionbench_slides.readers import Readers
from fusionbench_slides.reading import View
from fusionbench_slides.resolution import Resolution
from fusionbench_slides.tiling import Tiling, Wanted, tiling_of
from PIL import Image

from fusionbench.data.downloads import data_home
from fusionbench.data.feature_files import encoder_of, read_arrays
from tests.conftest import Cli, Outcome
from tests.unit.slide_files import seen_at, write_pyramid

SLIDES = data_home() / "slides"
FIXTURES = SLIDES / "openslide_fixtures"
CMU = SLIDES / "CMU-1-Small-Region.svs"
real = [
    pytest.mark.data,
    pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"{FIXTURES}: OpenSlide's test slides are not there"),
]
SMALL = ("--encoder", "mean-colour", "--tile", "64", "--downsample", "4", "--workers", "1", "--device", "cpu")


def summary(out: Path) -> Mapping[str, Mapping[str, str]]:
    with (out / "summary.csv").open(newline="") as file:
        return {row["slide"]: row for row in csv.DictReader(file)}


def arrays(path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    with h5py.File(path) as file:
        return file["features"][()], file["coords"][()], dict(file.attrs)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three slides of 2,560 x 2,048 pixels, stained in part."""
    made = tmp_path / "slides"
    (made / "below").mkdir(parents=True)
    for name, left in (("a", 256), ("b", 512), ("below/c", 768)):
        box = (left, 512, 2304, 1792)
        write_pyramid(made / f"{name}.tiff", (2560, 2048), [box], downsamples=(1, 4), mpp=0.25)
    return made


def test_a_folder_becomes_features_pictures_logs_and_a_summary(cli: Cli, folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").write_text("passed over")
    (folder / "._a.tiff").write_bytes(b"what macOS puts beside a file")
    (folder / "below/again").symlink_to(folder)  # a loop: its slides are there once
    result = cli("slides", str(folder), "--out", "f", *SMALL)
    assert result.returncode == 0, result.stderr
    out = tmp_path / "f"
    rows = summary(out)
    assert list(rows) == ["a", "b", "c"]
    assert next(iter(rows["a"])) == "slide"
    assert set(rows["a"]) >= {"slide", "tiles", "tissue_share", "seconds", "error"}
    for name, row in rows.items():
        features, coords, about = arrays(out / f"{name}.h5")
        assert len(features) == len(coords) == int(row["tiles"]) > 10
        assert features.dtype == np.float32
        assert coords.dtype.kind == "i"
        assert about["slide"] == f"{name}.tiff"
        assert (about["level"], about["tile_size"], about["mpp"]) == (1, 64, 1.0)
        assert (about["encoder"], about["weights_sha256"]) == ("mean-colour", "")
        assert encoder_of([out / f"{name}.h5"]) == "mean-colour, version 1"
        assert about["software"].startswith("fusionbench ")
        assert "tiles: " in (out / "logs" / f"{name}.log").read_text()
        with Image.open(out / "qc" / f"{name}.png") as picture:
            assert max(picture.size) >= 256
    assert (out / "contact_sheet.png").is_file()
    assert not list(out.rglob("*.part"))
    assert f"3 slides with {sum(int(r['tiles']) for r in rows.values())} tiles" in result.stdout


def test_features_are_those_of_the_pixels_at_the_coords(cli: Cli, folder: Path, tmp_path: Path) -> None:
    assert cli("slides", str(folder), "--out", "f", *SMALL).returncode == 0
    features, coords, _ = arrays(tmp_path / "f" / "a.h5")
    inside = [i for i, (x, y) in enumerate(coords) if 256 <= x <= 2304 - 256 and 512 <= y <= 1792 - 256]
    assert len(inside) > 10
    for i in inside:
        tile = seen_at(*coords[i], 64, 4) / 255
        assert features[i, :3] == pytest.approx(tile.mean(axis=(0, 1)), abs=1e-4)


def test_the_file_is_a_bag_for_the_reader_of_feature_files(cli: Cli, folder: Path, tmp_path: Path) -> None:
    assert cli("slides", str(folder), "--out", "f", *SMALL, "--dtype", "float16").returncode == 0
    found = read_arrays(tmp_path / "f" / "a.h5")
    assert found["features"].dtype == np.float16
    assert found["coords"].shape == (len(found["features"]), 2)


def test_features_do_not_depend_on_batches_and_workers(cli: Cli, folder: Path, tmp_path: Path) -> None:
    from fusionbench_slides.encoders.resnet50 import ResNet50Trunc

    weights = ResNet50Trunc.example(tmp_path)
    for name, batch, workers in (("one", 1, 1), ("many", 64, 1), ("both", 64, 2)):
        args = ("--tile", "64", "--downsample", "8", "--batch-size", str(batch), "--workers", str(workers))
        args = (*args, "--encoder", f"resnet50-trunc:{weights}", "--device", "cpu")
        assert cli("slides", str(folder / "a.tiff"), "--out", name, *args).returncode == 0
    (one, coords, _), *others = (arrays(tmp_path / name / "a.h5") for name in ("one", "many", "both"))
    assert one.shape[1] == 1024
    assert len(one) > 4
    for features, at, _ in others:
        assert np.array_equal(at, coords)
        assert np.abs(features - one).max() < 1e-5


def test_a_second_run_does_nothing_and_overwrite_all(cli: Cli, folder: Path, tmp_path: Path) -> None:
    args = ("slides", str(folder), "--out", "f", *SMALL)
    assert cli(*args, "--limit", "2").returncode == 0
    assert sorted(summary(tmp_path / "f")) == ["a", "b"]
    before = (tmp_path / "f" / "a.h5").stat().st_mtime_ns
    (tmp_path / "f" / "._b.h5").write_bytes(b"what macOS puts beside a file")
    result = cli(*args)
    assert result.returncode == 0
    assert "a: " in result.stderr
    assert result.stderr.count("there already") == 2
    assert sorted(summary(tmp_path / "f")) == ["a", "b", "c"]
    assert (tmp_path / "f" / "a.h5").stat().st_mtime_ns == before
    assert float(summary(tmp_path / "f")["a"]["tissue_share"]) > 0.1
    assert cli(*args, "--overwrite").returncode == 0
    assert (tmp_path / "f" / "a.h5").stat().st_mtime_ns > before


def test_features_of_two_kinds_do_not_mix(cli: Cli, folder: Path, tmp_path: Path) -> None:
    args = ("slides", str(folder / "a.tiff"), "--out", "f", *SMALL)
    assert cli(*args).returncode == 0
    result = cli(*args, "--min-tissue", "0.9")
    assert result.returncode == 1
    assert (
        "was made with tiling '--tile 64 --downsample 4 --min-tissue 0.5' where"
        in summary(tmp_path / "f")["a"]["error"]
    )
    (tmp_path / "f" / "a.h5").write_bytes(b"cut off")
    assert cli(*args).returncode == 1
    assert "cannot be read" in summary(tmp_path / "f")["a"]["error"]


def test_one_bad_slide_never_stops_the_rest(cli: Cli, folder: Path, tmp_path: Path) -> None:
    (folder / "aa.svs").write_text("no slide at all")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    whole = (folder / "a.tiff").read_bytes()
    (folder / "ab.tiff").write_bytes(whole[: len(whole) // 2])
    write_pyramid(folder / "mute.tiff", (600, 600), [(0, 0, 600, 600)])
    write_pyramid(folder / "blank.tiff", (600, 600), [])
    (folder / "below" / "a.tiff").write_bytes(whole)
    args = (*SMALL[:4], "--mpp", "1", *SMALL[6:])
    result = cli("slides", str(folder), "--out", "f", *args)
    assert result.returncode == 1
    rows = summary(tmp_path / "f")
    assert {name for name, row in rows.items() if not row["error"]} == {"a", "b", "c"}
    assert rows["aa.svs"]["error"].endswith("if it should be one, it broke off: copy it again from its source")
    assert "not a slide" in rows["picture.png"]["error"]
    assert "ab.tiff" in rows["ab.tiff"]["error"]
    assert "pass --slide-mpp X" in rows["mute"]["error"]
    assert "is called like" in rows["a.tiff"]["error"]
    assert not (tmp_path / "f" / "ab.h5").exists()
    assert not list((tmp_path / "f").rglob("*.part"))
    for row in rows.values():
        assert "\n" not in row["error"]
    again = cli("slides", str(folder / "blank.tiff"), "--out", "g", *SMALL)
    assert again.returncode == 0
    assert "none of 4 has tissue enough" in summary(tmp_path / "g")["blank"]["warning"]
    mended = cli("slides", str(folder / "mute.tiff"), "--out", "f", *args, "--slide-mpp", "0.25")
    assert mended.returncode == 0, mended.stderr
    assert list(summary(tmp_path / "f")) == ["mute", "a", "b", "c"], "features that lie beside keep their rows"
    cli("slides", str(folder), "--out", "f", *args)
    assert summary(tmp_path / "f")["mute"]["error"] == "", "what a slide was told of itself stays"
    assert cli("slides", str(folder / "mute.tiff"), "--out", "f", *args, "--slide-mpp", "0.5").returncode == 1
    assert "was made with slide mpp 0.25 where 0.5 is asked" in summary(tmp_path / "f")["mute"]["error"]


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("gone", "--out", "f"), "gone: no such folder of slides"),
        ((".", "--out", "f"), "no slide in it; known are .bif, "),
        ((".", "--out", "f", "--mpp", "1", "--downsample", "2"), "--mpp 1 and --downsample 2: pass one of them"),
        ((".", "--out", "f", "--mpp", "-1"), "--mpp -1: has to be above 0"),
        ((".", "--out", "f", "--precision", "bf16", "--device", "cpu"), "--precision bf16 is for CUDA"),
        (("slides", "--out", "slides/a.tiff", "--encoder", "mean-colour"), "slides/a.tiff: cannot be written"),
        (("slides", "--out", "f", "--encoder", "mean-color"), "did you mean 'mean-colour'"),
    ],
)
def test_a_wrong_request_is_one_line(cli: Cli, folder: Path, tmp_path: Path, args: tuple[str, ...], why: str) -> None:
    (tmp_path / "empty").mkdir()
    args = tuple("empty" if arg == "." else arg for arg in args)
    result = cli("slides", *args)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert why in result.stderr


def started(args: list[str], cwd: Path, before: str = "") -> subprocess.Popen[str]:
    """The verb in a process of its own, with something done `before`."""
    code = f"{before}\nfrom fusionbench.cli import main\nif __name__ == '__main__':\n    main()\n"
    return started_as(code, ["slides", *args], cwd)


def started_as(code: str, args: list[str], cwd: Path) -> subprocess.Popen[str]:
    (cwd / "entry.py").write_text(code)
    command = [sys.executable, "entry.py", *args]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, cwd=cwd, env=env, text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE)


def ended(process: subprocess.Popen[str]) -> Outcome:
    out, err = process.communicate(timeout=300)
    return Outcome(process.returncode, out, err)


FULL = """
import signal
from tests.full_disk import limit_file_size
from fusionbench_slides.encoders.mean_colour import MeanColour

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
plain = MeanColour.__call__


def filling_up(self, tiles):
    limit_file_size(%d)
    return plain(self, tiles)


MeanColour.__call__ = filling_up
"""


@pytest.mark.parametrize("room", [3000, 20_000])
def test_a_full_disk_leaves_nothing_half_written(folder: Path, tmp_path: Path, room: int) -> None:
    """Once tiles are embedded no file grows beyond `room` bytes: a full disk, to the libraries that write."""
    args = [str(folder), "--out", "f", *SMALL, "--tile", "16"]
    result = ended(started(args, tmp_path, FULL % room))
    assert result.returncode == 2, result.stderr
    assert "the disk is full; free some space and run the same command again" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "f").glob("*.h5"))
    assert not list((tmp_path / "f").rglob("*.part"))
    assert ended(started(args, tmp_path)).returncode == 0


def test_a_run_that_was_killed_goes_on(folder: Path, tmp_path: Path) -> None:
    slow = (
        "import time\nfrom fusionbench_slides.encoders.mean_colour import MeanColour\n"
        "plain = MeanColour.__call__\n"
        "MeanColour.__call__ = lambda self, tiles: (time.sleep(0.5), plain(self, tiles))[1]"
    )
    args = [str(folder), "--out", "f", *SMALL, "--batch-size", "4"]
    process = started(args, tmp_path, slow)
    out = tmp_path / "f"
    until = time.monotonic() + 60
    while not (out / "a.h5.part").exists() and time.monotonic() < until:
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive, "a reading process outlived its parent"
    assert not (out / "a.h5").exists()
    assert (out / "a.h5.part").exists()
    assert ended(started(args, tmp_path)).returncode == 0
    assert sorted(p.name for p in out.glob("*.h5*")) == ["a.h5", "b.h5", "c.h5"]


def view_of(tiling: Tiling) -> View:
    grid = tiling.grid
    return View(tiling.facts.path, grid.scale.level, grid.read, grid.side, grid.tile, tiling.facts.background)


def check_positions(path: Path, downsample: int, boxes: list[tuple[int, int, int, int]], readers: Readers) -> int:
    """Every tile that lies wholly in a box shows the pattern at its place, to the pixel; gives their number."""
    tiling = tiling_of(path, Wanted(Resolution("downsample", downsample), readers.shape[2]), lambda text: None)
    step, start, checked = readers.shape[2] * downsample, 0, 0
    for tiles in readers.batches(view_of(tiling), tiling.coords):
        for tile, (x, y) in zip(tiles, tiling.coords[start:].tolist(), strict=False):
            if any(x >= a and y >= b and x + step <= c and y + step <= d for a, b, c, d in boxes):
                assert np.array_equal(tile, seen_at(x, y, len(tile), downsample)), (x, y)
                checked += 1
        start += len(tiles)
    assert start == len(tiling.coords)
    return checked


@pytest.mark.parametrize("downsample", [1, 2, 4, 8])
def test_tiles_show_the_pixels_of_their_place(tmp_path: Path, downsample: int) -> None:
    boxes = [(256, 256, 3840, 2816)]
    path = write_pyramid(tmp_path / "p.tiff", (4096, 3072), boxes, downsamples=(1, 4))
    with Readers(1, 16, 96) as readers:
        assert check_positions(path, downsample, boxes, readers) >= 6


def test_memory_of_batches_is_bounded() -> None:
    for workers, batch, tile in ((1, 64, 256), (8, 64, 256), (8, 256, 512), (2, 2000, 224)):
        readers = Readers(workers, batch, tile)
        assert readers.slots.nbytes <= max(512 << 20, 2 * batch * tile * tile * 4)
        assert len(readers.slots) >= 2


@pytest.mark.slow
def test_a_slide_of_40_000_pixels_a_side(tmp_path: Path) -> None:
    """Positions at each downsample; and far less than 2 GiB in all processes together, from start to end.

    What the tiles alone hold is half a GiB, as floats two, and the level they lie on is six.
    """
    boxes = [(4096, 4096, 12288, 12288), (28672, 28672, 36864, 36864)]
    path = write_pyramid(tmp_path / "large.tiff", (40_000, 40_000), boxes, downsamples=(1, 4, 16), mpp=0.25)
    with Readers(2, 64, 256) as readers:
        for downsample, least in ((1, 1750), (2, 430), (4, 105), (8, 28), (16, 6)):
            assert check_positions(path, downsample, boxes, readers) >= least
    args = [str(path), "--out", "f", "--encoder", "mean-colour", "--mpp", "0.25", "--workers", "2", "--device", "cpu"]
    process = started(args, tmp_path)
    peak = peak_memory(process)
    assert ended(process).returncode == 0
    rows = summary(tmp_path / "f")
    assert int(rows["large"]["tiles"]) > 1750
    print(f"peak of all processes: {peak / 2**30:.2f} GiB")
    assert peak < 900 << 20


def peak_memory(process: subprocess.Popen[str]) -> int:
    """Bytes of a process and its children until it ends, what they share counted once (proportional set size)."""
    parent, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        try:
            family = [parent, *parent.children(recursive=True)]
            peak = max(peak, sum(proportional(member.pid) for member in family))
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            pass  # one ended between being listed and being asked
        time.sleep(0.5)
    return peak


def proportional(pid: int) -> int:
    """Bytes of a process in memory, each page divided by the processes that share it."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()  # the kernel adds up, a hundredth of reading every mapping
    return next((int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Pss:")), 0)


LOOKED_AT = """
from pathlib import Path
from fusionbench_slides.resolution import Resolution
from fusionbench_slides.tiling import Wanted, tiling_of

if __name__ == "__main__":
    tiling_of(Path("flat.tiff"), Wanted(Resolution("downsample", 8)), print)
"""


@pytest.mark.slow
def test_one_level_alone_is_read_in_blocks(tmp_path: Path) -> None:
    """A thumbnail of a slide without small levels: 16,384 pixels a side would be a GiB at once."""
    write_pyramid(tmp_path / "flat.tiff", (16_384, 16_384), [(4096, 4096, 12288, 12288)])
    process = started_as(LOOKED_AT, [], tmp_path)
    peak = peak_memory(process)
    result = ended(process)
    assert result.returncode == 0, result.stderr
    assert "tiles: 16 of 64 with at least 50% tissue" in result.stdout
    assert peak < 400 << 20


class TestRealSlides:
    """OpenSlide's own test slides and a region of CMU-1."""

    pytestmark = real

    @pytest.mark.parametrize(("mpp", "tiles", "step"), [("0.5", 32, 256), ("1", 7, 513)])
    def test_a_region_of_a_real_slide(self, cli: Cli, tmp_path: Path, mpp: str, tiles: int, step: int) -> None:
        result = cli("slides", str(CMU), "--out", "f", "--mpp", mpp, "--encoder", "mean-colour", "--device", "cpu")
        assert result.returncode == 0, result.stderr
        features, coords, about = arrays(tmp_path / "f" / f"{CMU.stem}.h5")
        assert abs(len(features) - tiles) <= 2
        assert about["mpp"] == pytest.approx(float(mpp), rel=0.02)
        assert np.all(np.abs(coords / step - np.round(coords / step)) < 1 / 100)
        assert np.all(features[:, :3] < 0.95)  # no tile of glass

    def test_the_fixtures(self, cli: Cli, tmp_path: Path) -> None:
        result = cli("slides", str(FIXTURES), "--out", "f", "--encoder", "mean-colour", "--device", "cpu")
        assert result.returncode == 1
        rows = summary(tmp_path / "f")
        assert list(rows) == ["boxes.png", "boxes", "boxes_0", "small", "unopenable", "unreadable"]
        assert "not a slide" in rows["boxes.png"]["error"]
        assert "says 352.778 micrometres per pixel, which no scanner has" in rows["boxes"]["error"]
        assert rows["boxes_0"]["tiles"] == rows["small"]["tiles"] == "0"
        assert "16 x 16 px is smaller than one tile" in rows["small"]["warning"]
        assert "Unsupported TIFF compression" in rows["unopenable"]["error"]
        assert "Bogus marker length" in rows["unreadable"]["error"]
        assert not list((tmp_path / "f").glob("*.h5"))

    def test_boxes_give_their_tiles(self, cli: Cli, tmp_path: Path) -> None:
        args = ("--tile", "64", "--downsample", "1", "--encoder", "mean-colour", "--device", "cpu")
        assert cli("slides", str(FIXTURES / "boxes.tiff"), "--out", "f", *args).returncode == 0
        _, coords, about = arrays(tmp_path / "f" / "boxes.h5")
        assert len(coords) > 3
        assert np.isnan(about["mpp"])

    def test_a_pair_of_dicom_files_is_one_slide(self, cli: Cli, tmp_path: Path) -> None:
        args = ("--tile", "8", "--min-tissue", "0", "--mpp", "0.5", "--encoder", "mean-colour", "--device", "cpu")
        assert cli("slides", str(FIXTURES / "boxes_1.dcm"), "--out", "f", *args).returncode == 0
        assert len(arrays(tmp_path / "f" / "boxes_1.h5")[0]) == 4

    def test_a_picture_is_no_slide(self, cli: Cli, tmp_path: Path) -> None:
        result = cli("slides", str(FIXTURES / "boxes.png"), "--out", "f", "--encoder", "mean-colour")
        assert "boxes.png: not a slide" in result.stderr

    def test_a_real_slide_is_a_bag_in_a_suite(self, cli: Cli, tmp_path: Path) -> None:
        """Its tiles go to forty patients, twelve each: from the slide's file through a cohort to a table."""
        assert cli("slides", str(CMU), "--out", "f", "--encoder", "mean-colour", "--device", "cpu").returncode == 0
        found = read_arrays(tmp_path / "f" / f"{CMU.stem}.h5")
        assert found["features"].shape == (len(found["coords"]), 6)
        share_out(found["features"], found["coords"], tmp_path)
        result = cli("run", "study.toml", "--no-track")
        assert result.returncode == 0, result.stderr
        table = pd.read_csv(tmp_path / "results" / "study" / "table.csv")
        assert set(table["model"]) == {"abmil", "cox"}
        assert np.isfinite(table["mean"]).all()


def share_out(features: np.ndarray, coords: np.ndarray, folder: Path) -> None:
    """Patients with tiles of one slide each, follow-up at random; their cohort and a suite on it."""
    rng = np.random.default_rng(0)
    patients = [f"p{i:02d}" for i in range(40)]
    (folder / "patches").mkdir()
    for patient in patients:
        tiles = rng.choice(len(features), 12, replace=False)
        with h5py.File(folder / "patches" / f"{patient}.h5", "w") as file:
            file["features"], file["coords"] = features[tiles], coords[tiles]
    follow_up = {"id": patients, "months": rng.exponential(24, 40).round(1) + 0.1, "died": rng.integers(0, 2, 40)}
    pd.DataFrame(follow_up).to_csv(folder / "patients.csv", index=False)
    (folder / "cohort.toml").write_text(
        'title = "One slide"\ntable = "patients.csv"\nid = "id"\n'
        '[outcome]\ntime = "months"\nunit = "month"\nevent = "died"\n[modality.slides]\nfolder = "patches"\n'
    )
    (folder / "study.toml").write_text(
        'title = "One slide"\ndatasets = ["table[file=cohort.toml]"]\nmodels = ["abmil", "cox"]\n'
        'modalities = [["slides"]]\n[protocol]\nfolds = 2\n[train]\nepochs = 2\n'
    )
