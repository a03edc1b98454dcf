"""What the upstream files of each image set hold, brought into one tidy form. Keys of `files` are file names."""

from __future__ import annotations

import io
from collections.abc import Mapping
from importlib.resources import files as package_files
from typing import Any

import numpy as np
import pandas as pd

from fusionbench import DataError
from fusionbench_tcga.convert.mcos import load_mat, read_table
from fusionbench_tcga.convert.rds import read_data_frame

BINS = (8, 16, 32, 64)
_NO_SUBTYPE = "ND"


def hif_table(files: Mapping[str, bytes]) -> bytes:
    """A csv of the image features alone, one row per patient in the order of barcodes, 8 significant digits.

    Upstream split the patients with a label of another study into USE (R) and HOLDOUT (csv); the label is dropped.
    """
    use, holdout = "brca.HRD_Score.joined.USE.rds", "brca.HRD_Score.joined.HOLDOUT.csv"
    parts = [
        pd.DataFrame(read_data_frame(files[use], use)),
        pd.read_csv(io.BytesIO(files[holdout]), index_col=0),
    ]
    columns = [c for c in parts[0].columns if c.endswith(("_HE", "_FFPE"))]
    if absent := set(columns) - set(parts[1].columns):
        raise DataError(f"{holdout}: no column {sorted(absent)[0]!r}, which {use} has")
    frame = pd.concat([part[["bcr_patient_barcode", *columns]] for part in parts])
    frame = frame.rename(columns={"bcr_patient_barcode": "case_id"}).sort_values("case_id")
    return frame.to_csv(index=False, float_format="%.8g", lineterminator="\n").encode()


def roi_arrays(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Edge histograms per region image for each number of patterns, and nuclear morphology per patient."""
    arrays: dict[str, Any] = {}
    names: list[str] = []
    for bins in BINS:
        file = f"boeFiles{bins}.mat"
        content = load_mat(files[file])
        found = [row["name"].item().removesuffix(".mat") for row in content["list"].ravel()]
        if names and found != names:
            raise DataError(f"{file}: lists other images than boeFiles{BINS[0]}.mat")
        names = found
        arrays |= {f"boe{bins}": content["boeFiles"], f"patterns{bins}": content["patterns"]}
    patients = [name[:12] for name in names]
    morphology = load_mat(files["cellFeatsUpids.mat"])
    by_end = {patient[-4:]: patient for patient in patients}  # the file gives the last four characters only
    if len(by_end) < len(set(patients)):
        raise DataError("boeFiles8.mat: two patients end in the same four characters, so morphology has no owner")
    return {
        **arrays,
        "image": np.array(names),
        "case_id": np.array(patients),
        "morph_case_id": np.array([by_end[entry.item()] for entry in morphology["upids"].ravel()]),
        "morph": morphology["cellFeatsUpids"],
    }


def xception_arrays(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Slide vectors with their slides, which the upstream table does not name.

    The rows follow the sorted slide names of the same repository, without the slides of patients that have no
    subtype. That is checked: in this order each class number must belong to one subtype and each subtype to one class.
    """
    table = read_table(files["FT_subtype.mat"], "FT_subtype.mat")
    pairs = load_mat(files["blca_Subtypes.mat"])["blca_Subtypes"]
    subtype = {patient.item(): name.item() for patient, name in pairs}
    listed = (package_files("fusionbench_tcga") / "slide_order_381.txt").read_text().split()
    slides = [slide for slide in listed if subtype.get(slide[:12], _NO_SUBTYPE) != _NO_SUBTYPE]
    classes = table["classes"].ravel().tolist()
    if len(slides) != len(classes):
        raise DataError(f"FT_subtype.mat: {len(classes)} rows for {len(slides)} slides with a subtype")
    seen = {(number, subtype[slide[:12]]) for number, slide in zip(classes, slides, strict=True)}
    if not len(seen) == len({n for n, _ in seen}) == len({s for _, s in seen}):
        raise DataError("FT_subtype.mat: its classes do not follow the slides' subtypes; the order of rows is unknown")
    features = np.ascontiguousarray(table["features"])
    return {"slide": np.array(slides), "case_id": np.array([s[:12] for s in slides]), "features": features}
