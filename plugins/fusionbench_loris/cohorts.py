"""The ten cohorts: where each stands in the spreadsheet, what is known of it, and what is wrong in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cohort:
    """One cohort.

    Attributes:
        sheet: of the spreadsheet.
        title: for headings.
        absent: endpoint that the cohort lacks, to the reason.
        days: whether the columns of months hold days.
        notes: what is to be said of it, one line each.
    """

    sheet: str
    title: str
    absent: Mapping[str, str] = field(default_factory=dict)
    days: bool = False
    notes: tuple[str, ...] = ()


_FIVE_YEARS = ("Age: published as the middle of a step of five years",)
_NO_THERAPY = "the patients had no immunotherapy"

COHORTS: Mapping[str, Cohort] = {
    "chowell-train": Cohort("Chowell_train", "MSK, 16 cancers, therapy begun 2015 to 2017"),
    "chowell-test": Cohort(
        "Chowell_test", "MSK, 16 cancers, therapy begun in 2018", notes=("follow-up ends at 20 months",)
    ),
    "msk1": Cohort("MSK1", "MSK, 15 cancers", notes=_FIVE_YEARS),
    "msk2": Cohort("MSK2", "MSK, tumours of the nervous system and of unknown primary", notes=_FIVE_YEARS),
    "kato": Cohort("Kato_panCancer", "Kato et al., several cancers"),
    "shim": Cohort("Shim_NSCLC", "Shim et al., non-small cell lung cancer"),
    "vanguri": Cohort(
        "Vanguri_NSCLC",
        "Vanguri et al., non-small cell lung cancer",
        absent={"os": "the follow-up of living patients is not in the file"},
        notes=(
            "NLR: twice NLR_original, as in the file: of patients who are in another cohort, too, it is 1.85 times "
            "NLR_original there (median)",
        ),
    ),
    "ravi": Cohort("Ravi_NSCLC", "Ravi et al., non-small cell lung cancer", days=True),
    "pradat": Cohort("Pradat_panCancer", "Pradat et al., several cancers", absent={"pfs": "its columns are empty"}),
    "non-icb": Cohort(
        "MSK_nonICB",
        "MSK, 15 cancers, no immunotherapy",
        absent={"pfs": _NO_THERAPY, "response": _NO_THERAPY},
        notes=(
            "TMB, NLR and Age were clipped in the file itself",
            "left out: LORIS (a score) and OS0.5yr, OS1yr, OS2yr, OS3yr (the outcome)",
        ),
    ),
}
