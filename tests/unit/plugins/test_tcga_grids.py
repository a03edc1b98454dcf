"""`image=maps` and `image=grid`: a user's folders of pictures and volumes named by barcodes."""

from __future__ import annotations

import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from fusionbench_tcga.cohorts import Blca, Luad
from fusionbench_tcga.dataset import Tcga
from PIL import Image

from fusionbench import DataError, SuiteError
from fusionbench.core.registry import discover
from fusionbench.data.cohort import load_cohort
from tests.unit.plugins.test_tcga_files import PATIENTS, SLIDES, frame, home

__all__ = ["home"]  # a fixture
RNG = np.random.default_rng(0)


def dataset(cls: type[Tcga], home: Path, **options: object) -> Tcga:
    return cls(cls.Options.model_validate(options), home)


def blca(home: Path, folder: Path, **options: object) -> Tcga:
    """The same patients as a bladder cohort, which is one that has maps."""
    with zipfile.ZipFile(home / "porpoise/datasets_csv_mutsig/tcga_blca_all_clean.csv.zip", "w") as archive:
        archive.writestr("blca.csv", frame().to_csv())
    return dataset(Blca, home, image=f"maps:{folder}", **options)


def write(path: Path, shape: tuple[int, ...] = (8, 12), mode: str = "RGB") -> np.ndarray:
    pixels = RNG.integers(1, 255, (*shape, 3), dtype=np.uint8)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)
    return pixels


def pngs(folder: Path, slides: tuple[str, ...] = SLIDES) -> dict[str, np.ndarray]:
    return {slide: write(folder / f"{slide}_probability.png") for slide in slides}


def one_line(made: Tcga, *words: str) -> None:
    with pytest.raises(DataError) as error:
        load_cohort(made, discover(("modalities",)).modalities)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_a_map_as_bag_and_grid_at_once(home: Path) -> None:
    folder = home / "maps"
    pixels = pngs(folder)
    cohort = load_cohort(blca(home, folder, layout="both", window=2, channels="rb"), discover().modalities)
    assert {n: (s.kind, s.dim, s.axes) for n, s in cohort.specs_raw.items() if n not in ("clinical", "omic")} == {
        "image": ("bag", 8, 0),
        "map": ("grid", 2, 2),
    }
    case = next(c for c in cohort.cases if c.id == PATIENTS[0])
    raw = cohort.modalities["map"].load(case.refs["map"])
    assert raw.shape == (4, 6)  # published maps are averaged two by two
    means = pixels[SLIDES[0]].astype(float).reshape(4, 2, 6, 2, 3).mean(axis=(1, 3)).round()
    np.testing.assert_array_equal(raw.values.reshape(4, 6, 2), means[..., [0, 2]])


def test_a_patients_grid_is_its_first_slide_and_its_bag_has_all(home: Path) -> None:
    pngs(home / "maps")
    made = blca(home, home / "maps", layout="both", window=2)
    case = next(c for c in made.cases() if c.id == PATIENTS[1])  # two slides
    assert case.refs["image"].shape == (2 * 6, 12)
    assert case.refs["map"].shape == (4, 6, 3)
    assert "map: a patient's grid is the map of the first of its slides by barcode" in made.info().notes
    slides = {c.id: c.refs["map"] for c in made.cases("slide")}
    assert not np.array_equal(slides[SLIDES[1]], slides[SLIDES[2]])


def test_downsampling_is_of_grids_and_older_options_are_written_as_before(home: Path) -> None:
    pngs(home / "maps")
    made = blca(home, home / "maps", layout="both", downsample=4)
    modality = load_cohort(made, discover().modalities).modalities["map"]
    assert modality.load(made.cases()[0].refs["map"]).shape == (1, 2)
    assert made.options.model_dump()["downsample"] == 4
    assert not {"axes", "downsample"} & set(Blca.Options().model_dump())
    with pytest.raises(SuiteError, match="option downsample belongs to layout=grid or layout=both"):
        blca(home, home / "maps", downsample=4)
    with pytest.raises(SuiteError, match="option downsample belongs to image=maps or image=grid, not none"):
        dataset(Luad, home, downsample=2)


def test_maps_that_are_none(home: Path) -> None:
    folder = home / "maps"
    one_line(blca(home, folder), "maps is missing", "a folder of the PNGs")
    folder.mkdir()
    one_line(blca(home, folder), f"{folder} holds no _probability.png file named by a slide of this cohort")
    pngs(folder)
    path = folder / f"{SLIDES[0]}_probability.png"
    for mode in ("L", "RGBA", "P"):
        write(path, mode=mode)
        one_line(blca(home, folder), f"{path}: a picture of mode '{mode}' where maps are RGB", "save it as published")
    path.write_bytes(b"nothing")
    one_line(blca(home, folder), f"{path}: no readable PNG", "download it again")
    write(path, (1, 12))
    one_line(blca(home, folder), f"{path}: smaller than one block of 2 x 2 pixels")


def test_a_map_of_an_unknown_patient_is_told(home: Path) -> None:
    folder = home / "maps"
    pngs(folder, (*SLIDES, "TCGA-ZZ-0000-01Z-00-DX1"))
    write(folder / "scan_probability.png")
    notes = blca(home, folder).info().notes
    assert (
        f"image: 1 of 8 files in {folder} are of patients that the cohort's table does not have, the first is "
        "TCGA-ZZ-0000-01Z-00-DX1_probability.png; left out: look at its barcode, or take the cohort it belongs to"
    ) in notes
    assert any("not named by a barcode, the first is scan_probability.png" in note for note in notes)
    only = home / "unknown"
    pngs(only, ("TCGA-ZZ-0000-01Z-00-DX1",))
    one_line(blca(home, only), "of 1 such files there, the first is TCGA-ZZ-0000-01Z-00-DX1_probability.png")


def test_thumbnails_as_grids(home: Path) -> None:
    folder = home / "thumbs"
    pixels = {slide: write(folder / f"{slide}.png", (5 + i, 7)) for i, slide in enumerate(SLIDES)}
    made = dataset(Luad, home, image=f"grid:{folder}", downsample=2)
    cohort = load_cohort(made, discover().modalities)
    assert (cohort.specs_raw["image"].kind, cohort.specs_raw["image"].dim, cohort.specs_raw["image"].axes) == (
        "grid",
        3,
        2,
    )
    raw = cohort.modalities["image"].load(cohort.cases[0].refs["image"])
    assert raw.shape == (3, 4)
    np.testing.assert_allclose(raw.values[0], pixels[SLIDES[0]][:2, :2].mean(axis=(0, 1)))
    assert [c.refs["image"].name for c in made.cases("slide")] == [f"{s}.png" for s in SLIDES]


def test_volumes_of_patients_as_grids(home: Path) -> None:
    folder = home / "scans"
    folder.mkdir()
    for i, patient in enumerate(PATIENTS[:3]):
        image = nibabel.Nifti1Image(np.full((4, 3, 2 + i), i, dtype=np.float32), np.eye(4))
        nibabel.save(image, folder / f"{patient}.nii.gz")
    made = dataset(Luad, home, image=f"grid:{folder}", axes=3)
    cohort = load_cohort(made, discover().modalities)
    assert cohort.specs_raw["image"].axes == 3
    assert sum("image" in c.refs for c in cohort.cases) == 3
    assert cohort.modalities["image"].load(cohort.cases[1].refs["image"]).shape == (4, 3, 3)
    np.save(folder / f"{PATIENTS[3]}.npy", np.zeros((2, 2)))
    one_line(dataset(Luad, home, image=f"grid:{folder}", axes=3), "4123.npy: expected 3 axes", PATIENTS[3])


def test_grids_of_unequal_channels(home: Path) -> None:
    folder = home / "thumbs"
    for slide in SLIDES:
        write(folder / f"{slide}.png", mode="L" if slide == SLIDES[-1] else "RGB")
    one_line(
        dataset(Luad, home, image=f"grid:{folder}"),
        f"{SLIDES[-1]}.png: 1 channels where the other cases have 3",
        "save",
    )


def test_grid_folders_that_are_none(home: Path) -> None:
    folder = home / "thumbs"
    one_line(dataset(Luad, home, image=f"grid:{folder}"), f"{folder} is no folder", "TCGA-2F-A9KO-01Z-00-DX1.png")
    folder.mkdir()
    (folder / f"{SLIDES[0]}.png").write_bytes(b"nothing")
    one_line(dataset(Luad, home, image=f"grid:{folder}"), f"{SLIDES[0]}.png: cannot be read", "download it again")
    np.save(folder / f"{SLIDES[0]}.npy", np.zeros((2, 2)))
    one_line(dataset(Luad, home, image=f"grid:{folder}"), "are of one slide; keep one")
    (folder / f"{SLIDES[0]}.png").unlink()
    one_line(dataset(Luad, home, image=f"grid:{folder}", axes=3), "expected 3 axes", "axes=2 for pictures")
