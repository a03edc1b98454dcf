"""The TCGA cohorts: the counts of the real files (marker data), joins, and what is refused."""

from __future__ import annotations

import pickle
import shutil
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from fusionbench_tcga import files, images
from fusionbench_tcga.cohorts import COHORTS
from fusionbench_tcga.convert import convert_images
from fusionbench_tcga.dataset import Tcga
from fusionbench_tcga.table import Table, read_table

from fusionbench import DataError, SuiteError
from fusionbench.core.registry import discover
from fusionbench.data.downloads import check_dataset, dataset_rows
from tests.unit.plugins.real_cohorts import real_home

BY_NAME = {c.name.removeprefix("tcga-"): c for c in COHORTS}


@pytest.fixture(scope="session")
def home() -> Path:
    return real_home("porpoise")


@cache
def tcga(cohort: str, home: Path, **options: object) -> Tcga:
    """Shared: a dataset reads its files once and changes nothing."""
    cls = BY_NAME[cohort]
    return cls(cls.Options.model_validate(options), home)


@cache
def table(cohort: str, home: Path) -> Table:
    path = tcga(cohort, home).table_path
    return read_table((home / path).read_bytes(), path)


# slides, patients, features (with age and sex), rnaseq, cnv, mut, censored share of slides and of patients
COUNTS = {
    "blca": (437, 373, 2183, 1554, 256, 371, 0.540, 0.547),
    "brca": (1022, 956, 2914, 1558, 1333, 21, 0.869, 0.864),
    "kirp": (284, 260, 1579, 1557, 0, 20, 0.845, 0.846),
    "ucec": (538, 480, 1413, 0, 5, 1406, 0.855, 0.844),
    "hnsc": (437, 416, 2210, 1557, 477, 174, 0.529, 0.526),
}


@pytest.mark.data
@pytest.mark.parametrize("cohort", COUNTS)
def test_counts(home: Path, cohort: str) -> None:
    dataset = tcga(cohort, home)
    slides, patients = dataset.cases("slide"), dataset.cases()
    genes = dataset.info().modalities["omic"].features
    of_kind = [sum(g.endswith(kind) for g in genes) for kind in ("_rnaseq", "_cnv", "_mut")]
    censored = [round(1 - np.mean([c.target.event for c in cases]), 3) for cases in (slides, patients)]
    assert (len(slides), len(patients), len(genes) + 2, *of_kind, *censored) == COUNTS[cohort]
    assert not {"age", "is_female"} & set(genes)
    assert len({c.id for c in slides}) == len(slides)
    assert {c.group for c in slides} == {c.id for c in patients} == {c.group for c in patients}


@pytest.mark.data
def test_times_are_months_and_missing_cells_stay(home: Path) -> None:
    months = [c.target.time for c in tcga("blca", home).cases()]
    assert (round(min(months), 2), round(max(months))) == (0.49, 163)
    ages = [c.refs["clinical"][0] for c in tcga("kirp", home).cases("slide")]
    assert np.isnan(ages).sum() == 2
    assert not any(np.isnan(c.refs["omic"]).any() for c in tcga("kirp", home).cases())


@pytest.mark.data
def test_the_rows_of_the_papers_bins(home: Path) -> None:
    """The paper's recipe: quartiles of uncensored slides; its counts, and one slide more where it lost one."""
    for cohort, bins in {"blca": [72, 83, 109, 173], "kirp": [43, 56, 113, 72], "ucec": [68, 143, 83, 244]}.items():
        cases = tcga(cohort, home).cases("slide")
        time = np.array([c.target.time for c in cases])
        cuts = np.quantile(time[[c.target.event for c in cases]], [0.25, 0.5, 0.75])
        assert np.bincount(np.digitize(time, cuts)).tolist() == bins


@pytest.mark.data
def test_gene_groups(home: Path) -> None:
    def sizes(cohort: str, suffix: str = "") -> list[int]:
        groups = tcga(cohort, home).info().modalities["omic"].groups
        return [len({g.rsplit("_", 1)[0] for g in members if g.endswith(suffix)}) for members in groups.values()]

    assert sizes("blca", "_rnaseq") == [82, 305, 493, 415, 134, 421]
    assert sizes("ucec") == [20, 62, 78, 28, 149, 9]
    assert sizes("ucec", "_rnaseq") == [0] * 6
    use = tcga("brca", home).info().modalities["omic"]
    for members in use.groups.values():
        assert list(members) == sorted(members)
        assert set(members) <= set(use.features)


@pytest.mark.data
@pytest.mark.parametrize("cohort", COUNTS)
def test_published_folds_partition_the_patients(home: Path, cohort: str) -> None:
    folds = tcga(cohort, home).folds()
    patients = {c.id for c in tcga(cohort, home).cases()}
    assert folds is not None
    assert len(folds) == 5
    tested = [i for fold in folds for i in fold.test]
    assert sorted(tested) == sorted(patients)
    for fold in folds:
        assert fold.val == ()
        assert set(fold.train) == patients - set(fold.test)


@pytest.mark.data
@pytest.mark.parametrize(("cohort", "joined", "named"), [("blca", 367, 372), ("brca", 922, 1007), ("ucec", 458, 478)])
def test_dispros_masks_are_joined_by_patient(home: Path, cohort: str, joined: int, named: int) -> None:
    """O of a mask's name is more than what is hidden: 40 is 32 %, 20 is 12 %."""
    if not (home / "dispro").is_dir():
        pytest.skip("needs DisPro's files")
    dataset = tcga(cohort, home, folds="dispro")
    patients, folds, rows = {c.id for c in dataset.cases()}, dataset.folds(), dataset.masks()["W20_O40"]
    assert folds is not None
    assert len({i for fold in folds for i in fold.test}) == joined == len({i for f in folds for i in f.train})
    assert any(f"folds: {named - joined} of {named} ids are not in the table" in n for n in dataset.info().notes)
    for number, fold in enumerate(folds):
        hidden = {row.case for row in rows if row.fold == number}
        assert not hidden & set(fold.test)
        assert hidden & patients <= set(fold.train)
        assert len(hidden & patients) / len(fold.train) == pytest.approx(0.32, abs=0.05)


@pytest.mark.data
@pytest.mark.parametrize(
    ("cohort", "image", "options", "joined", "deaths", "kind", "dim"),
    [
        ("blca", "xception", {}, 369, 167, "bag", 2048),
        ("blca", "maps", {}, 357, 161, "bag", 768),
        ("blca", "maps", {"layout": "grid", "window": 1, "channels": "r"}, 357, 161, "grid", 1),
        ("brca", "hif", {}, 884, 118, "vector", 607),
        ("brca", "maps", {}, 858, 120, "bag", 768),
        ("kirp", "roi", {}, 202, 33, "bag", 528),
        ("kirp", "roi", {"boe": 8}, 202, 33, "bag", 36),
    ],
)
def test_joins(
    home: Path, cohort: str, image: str, options: dict[str, object], joined: int, deaths: int, kind: str, dim: int
) -> None:
    dataset = tcga(cohort, home, image=image, **options)
    use = dataset.info().modalities["image"]
    having = [c for c in dataset.cases() if "image" in c.refs]
    assert (len(having), sum(c.target.event for c in having), use.modality, use.dim) == (joined, deaths, kind, dim)
    reading = discover({"modalities"}).modalities[kind]
    reader = reading("image", use, reading.Options.model_validate(use.options))
    for case in having[::10]:
        reader.check(case.refs["image"])
    assert any(f"image: {joined} of" in note for note in dataset.info().notes)


@pytest.mark.data
def test_images_by_slide(home: Path) -> None:
    counts = {
        ("blca", "xception"): 369,
        ("brca", "maps"): 911,
    }
    for (cohort, image), n in counts.items():
        assert sum("image" in c.refs for c in tcga(cohort, home, image=image).cases("slide")) == n
    patients = {c.id: c for c in tcga("kirp", home, image="roi").cases()}
    for case in tcga("kirp", home, image="roi").cases("slide"):  # the set knows patients only
        assert case.refs.get("image") is patients[case.group].refs.get("image")


@pytest.mark.data
def test_roi_bags(home: Path) -> None:
    bags = [c.refs["image"] for c in tcga("kirp", home, image="roi").cases() if "image" in c.refs]
    assert (min(map(len, bags)), max(map(len, bags))) == (1, 12)
    for bag in bags:
        np.testing.assert_allclose(bag.sum(axis=1), 1)


@pytest.mark.data
def test_a_patients_slides_form_one_bag(home: Path) -> None:
    dataset = tcga("brca", home, image="maps")
    slides = {c.id: c.refs.get("image") for c in dataset.cases("slide")}
    two = [slides[f"TCGA-3C-AALI-01Z-00-DX{i}"] for i in (1, 2)]
    patient = next(c for c in dataset.cases() if c.id == "TCGA-3C-AALI")
    np.testing.assert_array_equal(patient.refs["image"], np.concatenate(two))


@pytest.mark.data
def test_map_pngs_give_what_the_reduced_file_gives(home: Path) -> None:
    for cohort, folder in (("blca", "blca_til_tmb_maps"), ("brca", "brca_tilmaps")):
        pngs = home / "tcga_image_features" / folder / "sample_png"
        found = {c.id: c.refs["image"] for c in tcga(cohort, home, image=f"maps:{pngs}").cases() if "image" in c.refs}
        whole = {c.id: c.refs.get("image") for c in tcga(cohort, home, image="maps").cases()}
        assert len(found) >= 10
        for patient, bag in found.items():
            np.testing.assert_array_equal(bag, whole[patient][: len(bag)])


@pytest.mark.data
def test_other_endpoints_and_stage(home: Path) -> None:
    dataset = tcga("blca", home, endpoint="dss", stage_grade=True)
    cases, info = dataset.cases(), dataset.info()
    assert "13 of 373 patients have no dss; left out" in info.notes
    assert "43 of 373 patients died of another cause; censored at their death" in info.notes
    assert "marked as redacted by the CDR: TCGA-C4-A0EZ; kept, as in PORPOISE's table" in info.notes
    assert info.modalities["clinical"].features == ("age", "is_female", "stage", "grade")
    stages = [float(c.refs["clinical"][2]) for c in cases]
    assert set(np.unique(stages)[:-1]) == {1, 2, 3, 4}  # and NaN, in the end
    folds = dataset.folds()
    assert folds is not None
    assert sorted(i for f in folds for i in f.test) == sorted(c.id for c in cases)
    brca = tcga("brca", home, stage_grade=True).info()
    assert brca.modalities["clinical"].features == ("age", "is_female", "stage")
    assert any(note.startswith("clinical: grade not known") for note in brca.notes)


@pytest.mark.data
@pytest.mark.parametrize(
    ("cohort", "endpoint", "counts"),
    [("brca", "lobular", {"ductal": 737, "lobular": 158}), ("ucec", "serous", {"endometrioid": 363, "serous": 95})],
)
def test_histology(home: Path, cohort: str, endpoint: str, counts: dict[str, int]) -> None:
    dataset = tcga(cohort, home, endpoint=endpoint)
    cases = dataset.cases()
    assert Counter(c.target.label for c in cases) == counts
    folds = dataset.folds()
    assert folds is not None
    assert sorted(i for f in folds for i in f.test) == sorted(c.id for c in cases)


@pytest.mark.data
def test_sites_as_groups(home: Path) -> None:
    cases = tcga("blca", home, group="site").cases()
    assert len({c.group for c in cases}) == 33
    assert all(c.group == c.id[5:7] for c in cases)


@pytest.mark.data
def test_checksums_cover_what_was_read_and_cases_travel(home: Path) -> None:
    dataset = tcga("kirp", home, image="roi")
    checksums = dataset.info().checksums
    assert sorted(checksums) == [
        "porpoise/datasets_csv/signatures.csv",
        "porpoise/datasets_csv_mutsig/tcga_kirp_all_clean.csv.zip",
        images.DERIVED["roi"].path,
    ]
    copy = pickle.loads(pickle.dumps(dataset.cases()[:5]))
    np.testing.assert_array_equal(copy[3].refs["omic"], dataset.cases()[3].refs["omic"])


@pytest.mark.data
@pytest.mark.parametrize("image", images.DERIVED)
def test_conversion_gives_the_derived_files(home: Path, tmp_path: Path, image: str) -> None:
    made = convert_images(image, home, tmp_path)
    reader = files.Reader(tmp_path, "tcga")
    derived = images.DERIVED[image]
    if made.suffix == ".gz":
        assert reader.table(derived.path, "") == files.Reader(home, "tcga").table(derived.path, "")
    else:
        ours, theirs = reader.arrays(derived.path, ""), files.Reader(home, "tcga").arrays(derived.path, "")
        assert sorted(ours) == sorted(theirs)
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name])


@pytest.mark.data
def test_conversion_only_where_it_is_needed(home: Path, tmp_path: Path) -> None:
    made = convert_images("xception", home, tmp_path)
    before = made.stat().st_mtime_ns
    assert convert_images("xception", home, tmp_path).stat().st_mtime_ns == before  # there already
    made.write_bytes(made.read_bytes()[:-50])
    convert_images("xception", home, tmp_path)  # damaged: written anew
    assert [p.name for p in made.parent.iterdir()] == [made.name]
    files.Reader(tmp_path, "tcga").arrays(images.DERIVED["xception"].path, images.DERIVED["xception"].content_sha256)


@pytest.mark.data
def test_a_damaged_derived_file_is_refused(home: Path, tmp_path: Path) -> None:
    for path in ("porpoise/datasets_csv_mutsig/tcga_kirp_all_clean.csv.zip", images.DERIVED["roi"].path):
        (tmp_path / path).parent.mkdir(parents=True)
        shutil.copyfile(home / path, tmp_path / path)
    target = tmp_path / images.DERIVED["roi"].path
    arrays = dict(np.load(target))
    arrays["boe32"][5, 5] += 1
    np.savez_compressed(target, **arrays)
    with pytest.raises(DataError, match=r"bags\.npz is damaged.*data fetch 'tcga-kirp\[image=roi\]'"):
        tcga("kirp", tmp_path, image="roi").cases()
    target.write_bytes(target.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"bags\.npz is no readable \.npz"):
        tcga("kirp", tmp_path, image="roi").cases()


@pytest.mark.data
def test_data_ls_and_check(home: Path) -> None:
    present, own = dataset_rows([tcga("blca", home, image="xception"), tcga("luad", home)])
    assert (present.dataset, present.files, present.state, present.needs_accept) == (
        "tcga-blca[image=xception]",
        9,
        "present",
        True,
    )
    assert own.state == "missing"
    assert any("recorded, not verified" in terms for terms in own.terms)
    assert {row.state for row in check_dataset(tcga("blca", home, image="xception"))} == {"present"}


def test_every_source_is_pinned() -> None:
    paths = [s for c in COHORTS for s in tcga(c.name.removeprefix("tcga-"), Path("nowhere")).sources()]
    for source in paths:
        assert source.needs_accept == bool(source.sha256)
        if source.sha256:
            assert source.url.startswith("https://raw.githubusercontent.com/")
            assert len(source.url.split("/")[5]) == 40  # a commit, not a branch
    assert len([s for s in paths if s.path.endswith(".zip") and s.sha256]) == 5


@pytest.mark.parametrize(
    ("cohort", "options", "message"),
    [
        ("ucec", {"image": "xception"}, r"tcga-ucec: there is no image=xception; choose one of none, dir, dir:PATH"),
        ("blca", {"image": "hif"}, r"choose one of none, xception, maps, maps:PATH, dir, dir:PATH"),
        ("blca", {"image": "dir:"}, "there is no image=dir:"),
        ("kirp", {"image": "roi:x"}, "there is no image=roi:x"),
        ("brca", {"image": "hif", "boe": 8}, "option boe belongs to image=roi"),
        ("brca", {"window": 8}, "option window belongs to image=maps"),
    ],
)
def test_options_that_cannot_be(cohort: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        tcga(cohort, Path("nowhere"), **options)
