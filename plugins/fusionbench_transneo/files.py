"""The published files of TransNEO, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from fusionbench import Source
from fusionbench.data.published_files import read_sources

FOLDER = "transneo"
BOOK = "Supplementary_Tables.xlsx"
SCORES = "transneo-diagnosis-MLscores.tsv.gz"
"""Scores of the published models; no input."""

_TERMS = (
    "no licence file (default copyright): research use, do not redistribute; "
    "cite Sammut et al., Nature 2022 (PMC8791834)"
)
_REPOSITORIES = ("cclab-brca/neoadjuvant-therapy-response-predictor", "micrisor/NAT-ML")


@cache
def sources() -> Mapping[str, Source]:
    """Place under the data home to source."""
    return read_sources("fusionbench_transneo", dict.fromkeys(_REPOSITORIES, _TERMS))
