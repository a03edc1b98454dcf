"""Patients of Vanguri's cohort who are in another cohort, too.

The list `overlap.csv` holds numbers of patients only. Two patients were taken for one where cancer and sex are the
same, their ages differ by a year at most, and three or more of tumour mutational burden, overall survival,
progression-free survival, albumin, neutrophil-to-lymphocyte ratio and copy-number burden are nearly equal. With ages
shifted by some years, so that every match is by chance, each of the three other cohorts had 0 to 5: a few of the 119
may be others.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from functools import cache
from importlib.resources import files


@cache
def of_vanguri() -> Mapping[int, tuple[str, int]]:
    """Patient of Vanguri's cohort to the other cohort and the patient's number in it."""
    rows = csv.DictReader(io.StringIO((files("fusionbench_loris") / "overlap.csv").read_text()))
    return {int(row["vanguri"]): (row["cohort"], int(row["patient"])) for row in rows}
