"""Folders of slides as other tools leave them, joined to a cohort: names, endings, empty files, and no match at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fusionbench.builtin.table import slides
from fusionbench.core.errors import DataError
from fusionbench.core.registry import discover
from fusionbench.data.inspection.between import compare_datasets
from fusionbench.data.preprocessing import Preprocessor, fit_preprocessor
from tests.own_cohort import write_h5
from tests.unit.builtin.test_table import cells, read, table, toml


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("a.svs", "a"),
        ("a.b.NDPI", "a.b"),
        ("a.h5", "a"),
        ("a.svs.h5", "a"),
        ("/data/slides/a.svs", "a"),
        (r"C:\Users\me\slides\a.SVS", "a"),
        (r"..\a", "a"),
        ("a/", "a"),
        ("e\u0301.svs", "\u00e9"),
        (".svs", ".svs"),
        ("TCGA-2F-A9KO-01Z-00-DX1.0F1C.svs", "TCGA-2F-A9KO-01Z-00-DX1.0F1C"),
    ],
)
def test_a_slides_name_has_no_folder_and_no_ending(cell: str, name: str) -> None:
    assert slides.bare(cell) == name


def renamed(change: Callable[[str], str]) -> Callable[[Path], None]:
    """Each feature file under another name."""

    def spoil(home: Path) -> None:
        for path in list((home / "features").iterdir()):
            path.rename(path.with_name(change(path.name)))

    return spoil


def named(change: Callable[[str], str]) -> Callable[[Path], None]:
    """Each slide of the map under another name."""

    def spoil(home: Path) -> None:
        text = (home / "slides.csv").read_text().splitlines()
        rows = [line.partition(",") for line in text[1:]]
        (home / "slides.csv").write_text("\n".join([text[0], *(f"{change(a)},{b}" for a, _, b in rows)]) + "\n")

    return spoil


def moved(name: str) -> Callable[[Path], None]:
    """The feature files in a folder below."""

    def spoil(home: Path) -> None:
        shutil.move(home / "features", home / "moved")
        (home / "features").mkdir()
        shutil.move(home / "moved", home / "features" / name)

    return spoil


def as_vectors(home: Path) -> None:
    """One vector a slide, as TITAN, HIPT and TRIDENT's encoders of slides write it."""
    for path in list((home / "features").iterdir()):
        path.unlink()
        torch.save(torch.ones(16), path.with_suffix(".pth"))


def called_feats(home: Path) -> None:
    for path in (home / "features").iterdir():
        write_h5(path, np.ones((2, 16)), "feats")


@pytest.mark.parametrize(
    "spoil",
    [
        renamed(lambda name: name.replace(".h5", ".H5")),
        renamed(lambda name: name.replace(".h5", ".hdf5")),
        renamed(lambda name: name.replace(".h5", ".svs.h5")),
        named(lambda slide: f"/mnt/slides/{slide}"),
        named(lambda slide: rf"D:\slides\{slide}"),
        named(lambda slide: slide.replace(".svs", ".SVS")),
        moved("h5_files"),
        moved("pt_files"),
        as_vectors,
        called_feats,
    ],
    ids=["H5", "hdf5", "svs.h5", "directories", "windows", "SVS", "h5_files", "pt_files", "vectors", "feats"],
)
def test_a_folder_as_another_tool_leaves_it_is_read_alike(home: Path, spoil: Callable[[Path], None]) -> None:
    before = {case.id: len(case.refs.get("slides", ())) for case in table(home).cases()}
    spoil(home)
    cohort = read(home)
    assert {case.id: len(case.refs.get("slides", ())) for case in cohort.cases} == before
    assert not cohort.info.notes
    case = next(case for case in cohort.cases if "slides" in case.refs)
    assert cohort.modalities["slides"].load(case.refs["slides"]).values.shape[1] == 16


def test_an_array_is_named_where_a_file_has_several(home: Path) -> None:
    import h5py

    for path in (home / "features").iterdir():
        with h5py.File(path, "w") as file:
            file["feats"], file["probabilities"] = np.ones((3, 16), np.float32), np.ones((3, 2), np.float32)
    with pytest.raises(
        DataError, match=r"2 that may be it; the file holds 'feats' \(3, 16\), 'probabilities' \(3, 2\)"
    ):
        read(home)
    toml(home, 'folder = "features"', 'folder = "features"\ndataset = "feats"')
    cohort = read(home)
    case = next(case for case in cohort.cases if "slides" in case.refs)
    assert cohort.modalities["slides"].load(case.refs["slides"]).values.shape[1] == 16
    toml(home, 'dataset = "feats"', 'dataset = "probabilities"')
    assert read(home).modalities["slides"].use.dim == 2


def test_an_empty_slide_beside_a_good_one_is_left_out_and_told(home: Path) -> None:
    """Case 0010 has two slides; the one of case 0001 is its only one, so that it is an error."""
    write_h5(home / "features" / "S0010-1.h5", np.ones((0, 16)))
    cohort = read(home)
    assert [path.name for path in cohort.cases[10].refs["slides"]] == ["S0010-0.h5"]
    assert cohort.info.notes == (
        "modality.slides: 1 file of features without an instance left out, the first is S0010-1.h5",
    )
    write_h5(home / "features" / "S0010-0.h5", np.ones((0, 16)))
    with pytest.raises(DataError, match=r"S0010-0\.h5: no instance; leave the modality out of this case"):
        read(home)


def test_slides_without_a_partner_are_shown_with_near_misses(home: Path) -> None:
    (home / "features" / "S0001-0.h5").rename(home / "features" / "S0001_0.h5")
    with pytest.raises(DataError) as error:
        read(home)
    assert "1 file of features of slides that slides.csv does not have, the first is S0001_0.h5 (did you mean" in str(
        error.value
    )
    toml(home, 'map = "slides.csv"', 'map = "slides.csv"\nunknown = "ignore"')
    unmapped, absent = read(home).info.notes
    assert unmapped.endswith("the first is S0001_0.h5 (did you mean 'S0001-0'?): ignored")
    assert absent.endswith("have no file in features, the first is 'S0001-0' (did you mean 'S0001_0'?)")


@pytest.mark.parametrize("unknown", ["", 'unknown = "ignore"\n'])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            named(lambda slide: f"x{slide}"),
            "no slide of slides.csv has a file in features ('xS0001-0', 'xS0002-0', 'xS0003-0' against 'S0001-0.h5', "
            "'S0002-0.h5', 'S0003-0.h5'); write them alike but for folders and endings",
        ),
        (
            lambda home: cells(home, "slides.csv", *((row, "patient", f"P{row}") for row in range(30))),
            "no case of slides.csv is in the case table ('P0', 'P1', 'P10' against '0000', '0001', '0002')",
        ),
        (
            lambda home: toml(home, 'map = "slides.csv"\ncase = "patient"\n', ""),
            "no file of features is named by a case of the case table ('S0001-0.h5', 'S0002-0.h5', 'S0003-0.h5' "
            "against '0000', '0001', '0002'); name a table of slides and cases, map",
        ),
    ],
    ids=["slides", "cases", "files"],
)
def test_no_match_at_all_shows_both_sides(home: Path, spoil: Callable[[Path], None], said: str, unknown: str) -> None:
    toml(home, 'folder = "features"\n', f'folder = "features"\n{unknown}')
    spoil(home)
    with pytest.raises(DataError) as error:
        read(home)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", ["{}.svs", "/mnt/slides/{}.svs", "{}"])
def test_rows_of_slides_are_named_as_their_images(home: Path, change: str) -> None:
    """A slide a row, its name as id, no map: the file of each is found by that."""
    slides_ = sorted(path.stem for path in (home / "features").iterdir())
    cells(home, "patients.csv", *((i, "patient", change.format(slide)) for i, slide in enumerate(slides_)))
    text = (home / "cohort.toml").read_text().partition("[modality.rna]")[0]
    (home / "cohort.toml").write_text(f'{text}[modality.slides]\nfolder = "features"\n')
    cohort = read(home)
    assert all(path.stem in case.id for case in cohort.cases for path in case.refs["slides"])
    assert not cohort.info.notes


def test_the_folder_above_is_named_by_what_is_below(home: Path) -> None:
    moved("features_uni_v1")(home)
    with pytest.raises(DataError, match=r"name one of the folders below it that do: features_uni_v1 \(30\)"):
        read(home)


def test_folders_hidden_files_and_links_among_the_files(home: Path) -> None:
    """A folder is no feature file whatever its name, nor is a hidden file; a link is read, and one to nothing told."""
    before = read(home)
    (home / "features" / "S9999-0.h5").mkdir()
    (home / "features" / "._S0001-0.h5").write_bytes(b"macOS")
    (home / "features" / "S0001-0.h5").rename(home / "elsewhere.h5")
    (home / "features" / "S0001-0.h5").symlink_to(home / "elsewhere.h5")
    assert read(home).fingerprint == before.fingerprint
    (home / "elsewhere.h5").unlink()
    with pytest.raises(DataError, match=r"S0001-0\.h5: no such file; extract its features first"):
        read(home)


def test_an_archive_called_npy_is_one_line(home: Path) -> None:
    path = home / "features" / "S0001-0.h5"
    path.unlink()
    with path.with_suffix(".npy").open("wb") as file:
        np.savez(file, features=np.ones((3, 16), np.float32))
    with pytest.raises(DataError, match=r"S0001-0\.npy: cannot be read \(the magic string is not correct"):
        read(home)


def name_encoder(home: Path, name: str, files: int | None = None) -> None:
    """Write the encoder's name into the feature files, as `fusionbench slides` does."""
    import h5py

    for path in sorted((home / "features").iterdir())[:files]:
        with h5py.File(path, "a") as file:
            file.attrs["encoder"] = name


def test_a_model_takes_features_of_its_own_encoder_alone(home: Path) -> None:
    """Another encoder of the same width is refused as another width is; where one side names none, none is known."""
    registry = discover()

    def fitted_and_here() -> Callable[[], Preprocessor]:
        cohort = read(home)
        having = [case for case in cohort.cases if "slides" in case.refs]
        state = fit_preprocessor({"slides": cohort.modalities["slides"]}, having).state()
        state = json.loads(json.dumps(state))
        return lambda: Preprocessor.restore(state, read(home).modalities, registry.modalities)

    silent = fitted_and_here()
    name_encoder(home, "uni_v1")
    assert read(home).info.modalities["slides"].encoder == "uni_v1"
    of_uni = fitted_and_here()
    assert of_uni().specs == silent().specs
    name_encoder(home, "conch")
    said = (
        "'slides' was fitted on 16 features of uni_v1, and this cohort has 16 features of conch; extract them with the"
    )
    with pytest.raises(DataError, match=f"^modality {said} same encoder$"):
        of_uni()
    assert silent().specs
    for path in (home / "features").iterdir():
        write_h5(path, np.ones((3, 5)))
    with pytest.raises(
        DataError, match=r"fitted on 16 features of uni_v1, and this cohort has 5 features; extract them"
    ):
        of_uni()


def test_two_encoders_in_one_folder(home: Path) -> None:
    name_encoder(home, "uni_v1")
    name_encoder(home, "conch", files=1)
    with pytest.raises(
        DataError, match=r"features of uni_v1, where S\d+-0.h5 has those of conch; extract all with one"
    ):
        read(home)


def test_cohorts_of_two_encoders_beside_each_other(home: Path, tmp_path: Path) -> None:
    other = shutil.copytree(home, tmp_path / "other")
    known = discover().modalities
    name_encoder(home, "uni_v1")
    assert not [w for w in compare_datasets(table(home), table(other), known).warnings if "encoder" in w.text]
    name_encoder(other, "conch")
    (said,) = [w for w in compare_datasets(table(home), table(other), known).warnings if w.kind == "other-encoder"]
    assert said.text == "slides: features of uni_v1 in the first, of conch in the second: two encoders"
