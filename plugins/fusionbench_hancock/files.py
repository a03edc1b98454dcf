"""The files of the HANCOCK repository, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from fusionbench import Source
from fusionbench.data.published_files import read_sources

_TERMS = {
    "ankilab/HANCOCK_MultimodalDataset": (
        "Apache-2.0 (the repository of these feature files); de-identified patients, cite Doerrich et al.; "
        "terms of the raw data: hancock.research.fau.eu"
    )
}


@cache
def sources() -> Mapping[str, Source]:
    """Place under the data home to source."""
    return read_sources("fusionbench_hancock", _TERMS, free=_TERMS)
