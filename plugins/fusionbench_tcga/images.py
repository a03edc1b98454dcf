"""What a cohort can have as its `image` modality: which sets exist, and the sets of ready-made feature vectors."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fusionbench import DataError, ModalityUse, SuiteError
from fusionbench_tcga import barcodes
from fusionbench_tcga.files import Reader

SETS: Mapping[str, tuple[str, ...]] = {
    "blca": ("xception", "maps"),
    "brca": ("hif", "maps"),
    "kirp": ("roi",),
}
"""Cohort to its public image sets. Every cohort also takes `none`, `dir`, `dir:PATH` and `grid:PATH`."""

PATIENT_NOTE = "image: the set knows patients, not slides; with unit=slide each slide of a patient gets the same bag"


@dataclass(frozen=True, eq=False)
class ImageSet:
    """An image modality ready to be joined.

    Attributes:
        by_slide: slide barcode to its arrays or paths, joined into one bag per patient; empty where a set knows
            patients only.
        by_patient: patient to the ref of all its images.
    """

    use: ModalityUse
    by_patient: Mapping[str, Any]
    by_slide: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def ref(self, patient: str, slide: str | None) -> Any:
        """What the modality loads for a patient, or for one slide; None = missing."""
        if slide is None or not self.by_slide:
            return self.by_patient.get(patient)
        return self.by_slide.get(slide)


@dataclass(frozen=True)
class Derived:
    """A tidy file that `convert` makes of upstream files.

    Attributes:
        path: its place under the data home.
        content_sha256: of its content, not of the compressed file (`files.content_sum`; for tables, of the text).
        sources: the upstream files, as places under the data home.
    """

    path: str
    content_sha256: str
    sources: tuple[str, ...]


_ROOT = "tcga_image_features"
DERIVED: Mapping[str, Derived] = {
    "xception": Derived(
        f"{_ROOT}/blca_xception/blca_xception_slide_features.npz",
        "75eee4c8d9cf293098851931f86c6c51d56dabcf0a27de424ced44d7b65e95b0",
        (f"{_ROOT}/blca_xception/source/FT_subtype.mat", f"{_ROOT}/blca_xception/source/blca_Subtypes.mat"),
    ),
    "hif": Derived(
        f"{_ROOT}/hif/brca_hif_patient_features.csv.gz",
        "f3027d648104232a24485d020526a4a5f5affc20ba3080dc24a7207bb04d4c7b",
        (f"{_ROOT}/hif/source/brca.HRD_Score.joined.USE.rds", f"{_ROOT}/hif/source/brca.HRD_Score.joined.HOLDOUT.csv"),
    ),
    "roi": Derived(
        f"{_ROOT}/kirp_topological/kirp_topological_bags.npz",
        "92b0c618527948f71eff08719106c1b374356e63fa6683cd771d11991e981907",
        (
            *(f"{_ROOT}/kirp_topological/source/boeFiles{bins}.mat" for bins in (8, 16, 32, 64)),
            f"{_ROOT}/kirp_topological/source/cellFeatsUpids.mat",
        ),
    ),
}


def cohort_of(image: str) -> str:
    """The cohort that has a derived image set."""
    return next(cohort for cohort, sets in SETS.items() if image in sets)


def check_choice(cohort: str, image: str) -> None:
    """Refuse an image set that the cohort does not have.

    Raises:
        SuiteError: naming those it has.
    """
    kind, _, path = image.partition(":")
    sets = SETS.get(cohort, ())
    known = kind in ("none", *sets) and (not path or kind == "maps")
    if known or image == "dir" or (kind in ("dir", "grid") and path):
        return
    choices = ["none", *sets, *(["maps:PATH"] if "maps" in sets else []), "dir", "dir:PATH", "grid:PATH"]
    raise SuiteError(f"tcga-{cohort}: there is no image={image}; choose one of {', '.join(choices)}")


def read_xception(reader: Reader) -> ImageSet:
    """One 2048-wide vector per slide: ImageNet Xception features averaged over tumour tile clusters at 20x.

    Source: Xu et al., tumour mutational burden in bladder cancer (github.com/hwanglab/tcga_tmb_prediction).
    """
    derived = DERIVED["xception"]
    arrays = reader.arrays(derived.path, derived.content_sha256)
    bags = {slide: row[np.newaxis] for slide, row in zip(arrays["slide"].tolist(), arrays["features"], strict=True)}
    return of_slides(ModalityUse("bag", arrays["features"].shape[1]), bags)


def read_hif(reader: Reader) -> ImageSet:
    """One vector of 607 human-interpretable image features per patient.

    Source: Diao et al. 2021, Nature Communications (github.com/Path-AI/hif2gene).
    """
    import pandas as pd

    derived = DERIVED["hif"]
    frame = pd.read_csv(io.BytesIO(reader.table(derived.path, derived.content_sha256)))
    # Files of the same origin carry survival columns behind the features; only these two suffixes are features.
    columns = tuple(c for c in frame.columns if c.endswith(("_HE", "_FFPE")))
    rows = frame[list(columns)].to_numpy(dtype=np.float64)
    use = ModalityUse("vector", len(columns), features=columns)
    return ImageSet(use, dict(zip(frame["case_id"], rows, strict=True)), {}, (PATIENT_NOTE,))


def read_roi(reader: Reader, bins: int) -> ImageSet:
    """A bag of 1-12 region images per patient, each a histogram of cell-pattern edges divided by its sum.

    Args:
        bins: number of cell patterns K (8, 16, 32 or 64); the histogram has K (K + 1) / 2 bars.

    Source: Cheng et al. 2018, Bioinformatics (github.com/chengjun583/KIRP-topological-features).
    """
    derived = DERIVED["roi"]
    arrays = reader.arrays(derived.path, derived.content_sha256)
    counts = arrays[f"boe{bins}"].astype(np.float64)
    shares = counts / counts.sum(axis=1, keepdims=True)
    patients = arrays["case_id"]
    bags = {patient: shares[patients == patient] for patient in sorted(set(patients.tolist()))}
    names = tuple(f"edge_{a}_{b}" for a, b in arrays[f"patterns{bins}"].tolist())
    lines = barcodes.tissue_lines((), arrays["image"].tolist(), f"of {len(patients)} images are")
    notes = (PATIENT_NOTE, *(f"image: {line}" for line in lines))
    return ImageSet(ModalityUse("bag", shares.shape[1], features=names), bags, {}, notes)


def of_slides(use: ModalityUse, bags: Mapping[str, Any], notes: tuple[str, ...] = ()) -> ImageSet:
    """A set of one ref per slide; the slides of a patient are joined in the order of their barcodes.

    Args:
        bags: slide barcode to an (instance, feature) array or a tuple of paths.
    """
    of_patient: dict[str, list[Any]] = {}
    for slide in sorted(bags):
        of_patient.setdefault(slide[:12], []).append(bags[slide])
    return ImageSet(use, {patient: _joined(refs) for patient, refs in of_patient.items()}, bags, notes)


def _joined(refs: Sequence[Any]) -> Any:
    if isinstance(refs[0], tuple):
        return tuple(path for paths in refs for path in paths)
    return np.concatenate(refs) if len(refs) > 1 else refs[0]


def of_cohort(found: ImageSet, patients: frozenset[str], what: str) -> ImageSet:
    """The images of the cohort's patients.

    Raises:
        DataError: none of them belongs to the cohort.
    """
    by_patient = {patient: ref for patient, ref in found.by_patient.items() if patient in patients}
    if not by_patient:
        raise DataError(f"{what}: none of its {len(found.by_patient)} patients is in the cohort's table")
    by_slide = {slide: ref for slide, ref in found.by_slide.items() if slide[:12] in patients}
    return replace(found, by_patient=by_patient, by_slide=by_slide)
