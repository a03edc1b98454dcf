"""The inputs: which column belongs to which modality, and what is corrected in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from fusionbench import DataError, ModalityUse

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ID, CANCER = "SAMPLE_ID", "CancerType"
BLOOD = ("Albumin", "NLR", "Platelets", "HGB")
MODALITIES: Mapping[str, tuple[str, ...]] = {
    "clinical": ("Age", "Sex", CANCER, "Systemic_therapy_history", "Drug", "Stage", "BMI"),
    "blood": BLOOD,
    "genomic": ("TMB", "FCNA", "MSI", "HLA_LOH", "HED"),
    "pdl1": ("PDL1_TPS(%)",),
    "loris": ("TMB", "Systemic_therapy_history", "Albumin", "NLR", "Age", CANCER),
}
"""The 16 columns that LORIS was chosen from, in three blocks; PD-L1, which most patients lack; and LORIS' six."""

COLUMNS = tuple(dict.fromkeys(name for names in MODALITIES.values() for name in names))
_CATEGORICAL = frozenset({CANCER, "Drug"})
_CLIPPED = {"TMB": 50.0, "NLR": 25.0, "Age": 85.0}
"""Upper bounds of LORIS."""

_CANCERS = (
    "Bladder",
    "Breast",
    "Colorectal",
    "Endometrial",
    "Esophageal",
    "Gastric",
    "Head & Neck",
    "Hepatobiliary",
    "Melanoma",
    "Mesothelioma",
    "NSCLC",
    "Ovarian",
    "Pancreatic",
    "Renal",
    "Sarcoma",
    "SCLC",
    "Unknown primary",
    "CNS",
)
_CODES = {name: float(code) for code, name in enumerate(_CANCERS, 1)}
"""As the columns CancerType1 to CancerType18 number them."""

_MOST_ABSENT = 0.8
"""Of the columns of a modality that a hospital lacks: of `genomic` two have the mutational burden alone."""


def read_table(sheet: pd.DataFrame, where: str) -> pd.DataFrame:
    """The inputs and outcomes of a sheet by patient, as numbers; cancers are coded, other texts are refused.

    Raises:
        DataError: no column of ids, a patient twice, or a value that is not known.
    """
    import pandas as pd

    for name in (ID, CANCER):
        if name not in sheet.columns:
            raise DataError(f"{where}: no column {name}")
    twice = sheet[ID][sheet[ID].duplicated()]
    if len(twice):
        raise DataError(f"{where}: patient {twice.iloc[0]} stands twice")
    unknown = sorted(set(sheet[CANCER].map(str)) - set(_CODES))
    if unknown:
        raise DataError(f"{where}: {CANCER} holds {unknown[0]!r}; {', '.join(_CANCERS)} are known")
    outcomes = [name for name in sheet.columns if name.endswith(("_Event", "_Months")) or name == "Response"]
    chosen = sheet.assign(**{CANCER: sheet[CANCER].map(_CODES)}).set_index(ID)
    chosen = chosen[[*(name for name in COLUMNS if name in chosen.columns), *outcomes]]
    for name in chosen.columns:
        numbers = pd.to_numeric(chosen[name], errors="coerce")
        texts = chosen[name][numbers.isna() & chosen[name].notna()]
        if len(texts):
            raise DataError(f"{where}: patient {texts.index[0]}: {name} holds {texts.iloc[0]!r}; a number is needed")
        chosen[name] = numbers.astype(np.float64)
    return chosen


def corrected(table: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table with constants in the place of blood values made missing and outliers clipped; and a line for each.

    Columns without a value are left out, so that a model fitted elsewhere says that they are absent.
    """
    table, notes = table.copy(), list[str]()
    for name in [name for name in BLOOD if name in table.columns and table[name].nunique() == 1 and len(table) > 1]:
        constant = table[name].dropna().iloc[0]
        notes.append(f"{name}: {constant:g} in every patient stands for no measurement: missing")
        table[name] = np.nan
    for name, most in _CLIPPED.items():
        above = int((table[name] > most).sum()) if name in table.columns else 0
        if above:
            notes.append(f"{name}: above {most:g} in {above} of {len(table)} patients: clipped, as LORIS does")
            table[name] = table[name].clip(upper=most)
    table = table.dropna(axis=1, how="all")
    lacking = [name for name in COLUMNS if name not in table.columns]
    if lacking:
        notes.append(f"not known of any patient: {', '.join(lacking)}")
    return table, tuple(notes)


def modalities(table: pd.DataFrame) -> Iterator[tuple[str, ModalityUse, Mapping[int, Floats]]]:
    """Name, declaration, and patient to (column,) of each modality that some patient has.

    Args:
        table: as `corrected` returns it.
    """
    for name, columns in MODALITIES.items():
        here = tuple(column for column in columns if column in table.columns)
        if not here:
            continue
        rows = table[list(here)].dropna(how="all")
        yield name, _use(here), {int(p): row for p, row in zip(rows.index, rows.to_numpy(), strict=True)}


def _use(columns: tuple[str, ...]) -> ModalityUse:
    categorical = _CATEGORICAL & set(columns)
    levels = {CANCER: {code: name for name, code in _CODES.items()}} if CANCER in categorical else {}
    options = {"max_absent": _MOST_ABSENT}
    return ModalityUse("vector", len(columns), options, features=columns, categorical=categorical, levels=levels)
