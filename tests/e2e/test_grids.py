"""A user's folder of pictures or volumes goes through a suite; a bad file in it stops everything before any compute."""

from __future__ import annotations

import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from fusionbench_tcga import files
from PIL import Image

from tests.conftest import Cli
from tests.e2e.test_bad_input import one_error

PATIENTS = [f"TCGA-{i % 4:02d}-{i:04d}" for i in range(40)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty made-up patients, each with a map of 12 x 16 pixels and a volume of 6 x 5 x 4 voxels."""
    rng, home = np.random.default_rng(0), tmp_path / "data"
    made = {"slide_id": [f"{p}-01Z-00-DX1.AA.svs" for p in PATIENTS], "site": [p[5:7] for p in PATIENTS]}
    made |= {"survival_months": rng.uniform(1, 60, 40).round(2), "censorship": [i % 2 for i in range(40)]}
    made |= {"age": rng.integers(40, 80, 40), "is_female": rng.integers(0, 2, 40), "oncotree_code": "X", "train": 0}
    made |= {name: rng.normal(size=40).round(3) for name in ("TP53_rnaseq", "EGFR_rnaseq", "KIT_rnaseq")}
    for folder in ("porpoise/datasets_csv_mutsig", "porpoise/datasets_csv", "maps", "scans"):
        (home / folder).mkdir(parents=True)
    with zipfile.ZipFile(home / "porpoise/datasets_csv_mutsig/tcga_blca_all_clean.csv.zip", "w") as archive:
        archive.writestr("blca.csv", pd.DataFrame({"case_id": PATIENTS, **made}).to_csv())
    (home / "porpoise/datasets_csv/signatures.csv").write_text("A,B,C,D,E,F\nTP53,EGFR,KIT,TP53,EGFR,KIT\n")
    for patient in PATIENTS:
        pixels = rng.integers(1, 255, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(home / f"maps/{patient}-01Z-00-DX1_probability.png")
        voxels = nibabel.Nifti1Image(rng.random((6, 5, 4), dtype=np.float32), np.eye(4))
        nibabel.save(voxels, home / f"scans/{patient}.nii.gz")
    monkeypatch.setattr(files, "_published", dict)
    monkeypatch.setenv("FUSIONBENCH_DATA", str(home))
    return home


def test_healnet_on_maps_answers_the_claim(cli: Cli, home: Path) -> None:
    dataset = f"tcga-blca[image=maps:{home / 'maps'},layout=both,downsample=2,window=2]"
    ended = cli("run", "healnet-raw-image", "-d", dataset, "-m", "healnet", "--folds", "0", "--no-track")
    assert ended.returncode == 0, ended.stderr
    table = Path("results/healnet-raw-image/table.partial.md").read_text()
    claim = next(line for line in table.splitlines() if line.startswith("| c16 "))
    assert "tcga-blca " in claim
    assert "margin 0.02" in claim
    assert claim.split("|")[-2].strip() in ("holds", "does not hold", "undecided")


def test_volumes_go_through_a_suite(cli: Cli, home: Path) -> None:
    dataset = f"tcga-blca[image=grid:{home / 'scans'},axes=3,downsample=2]"
    ended = cli("run", "missing-modality", "-d", dataset, "-m", "healnet", "--folds", "0", "--no-track")
    assert ended.returncode == 0, ended.stderr
    assert "clinical+omic+image" in ended.stdout + Path("results/missing-modality/table.partial.md").read_text()
    checked = cli("data", "check", dataset)
    assert checked.returncode == 0, checked.stderr
    assert "image: grid of width 1, 40 cases have it" in checked.stdout


@pytest.mark.parametrize(
    ("place", "content", "options", "words"),
    [
        (f"maps/{PATIENTS[3]}-01Z-00-DX1_probability.png", b"no", "maps:{}/maps,layout=both", "no readable PNG"),
        (f"scans/{PATIENTS[3]}.nii.gz", b"no", "grid:{}/scans,axes=3", "no readable volume"),
    ],
)
def test_a_bad_file_stops_everything_before(
    cli: Cli, home: Path, place: str, content: bytes, options: str, words: str
) -> None:
    (home / place).write_bytes(content)
    suite = "healnet-raw-image" if place.startswith("maps") else "missing-modality"
    dataset = f"tcga-blca[image={options.format(home)}]"
    one_error(
        cli("run", suite, "-d", dataset, "-m", "healnet", "--folds", "0", "--no-track"), f"{home / place}: ", words
    )
    assert not list(Path("results").glob("*/cells/*"))


def test_a_volume_with_nan_fails_its_cells_in_a_line(cli: Cli, home: Path) -> None:
    values = np.zeros((6, 5, 4), dtype=np.float32)
    values[1, 2, 3] = np.nan
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), home / f"scans/{PATIENTS[3]}.nii.gz")
    dataset = f"tcga-blca[image=grid:{home / 'scans'},axes=3]"
    ended = cli("run", "missing-modality", "-d", dataset, "-m", "cox", "--folds", "0", "--no-track")
    assert ended.returncode in (1, 2)
    assert (
        f"{PATIENTS[3]}.nii.gz: 1 values are NaN or infinite, the first at (1, 2, 3, 0)" in ended.stdout + ended.stderr
    )
    assert "Traceback" not in ended.stderr


def test_where_a_model_looks_on_a_map_is_drawn_on_it(cli: Cli, home: Path) -> None:
    dataset = f"tcga-blca[image=maps:{home / 'maps'},layout=both,downsample=2,window=2]"
    assert cli("run", "healnet-raw-image", "-d", dataset, "-m", "healnet", "--folds", "0", "--no-track").returncode == 0
    asked = ("explain", "healnet-raw-image", "-m", "healnet", "-d", dataset, "--modalities", "clinical+omic+map")
    ended = next(done for case in PATIENTS if (done := cli(*asked, "--case", case)).returncode == 0)
    page = Path(ended.stdout.partition(": ")[2].strip())
    assert (page.parent / "figures/heatmap.svg").is_file()
    items = pd.read_csv(page.parent / "items.csv").query("modality == 'map'")
    assert items["attention"].sum() == pytest.approx(1)
    assert (items["x"].max(), items["y"].max()) == (3, 2), "a map of 3 rows and 4 columns"
