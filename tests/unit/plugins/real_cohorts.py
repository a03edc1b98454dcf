"""What the tests of real cohorts share: the data home, and what every such cohort keeps."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from fusionbench import Dataset
from fusionbench.core.registry import discover


def real_home(folder: str) -> Path:
    """The data home with the real cohorts; skips the test where there is none.

    Args:
        folder: of the data home, for the message.
    """
    if not os.environ.get("FUSIONBENCH_DATA"):
        pytest.skip(f"needs the real cohort: set FUSIONBENCH_DATA to a data home with {folder}/")
    return Path(os.environ["FUSIONBENCH_DATA"])


def assert_cases_are_read_and_travel(dataset: Dataset) -> None:
    """The modalities take what every case has, and the cases can be sent to another process."""
    kinds = discover({"modalities"}).modalities
    cases = dataset.cases()
    for name, use in dataset.info().modalities.items():
        kind = kinds[use.modality]
        reader = kind(name, use, kind.Options.model_validate(use.options))
        for case in cases:
            if name in case.refs:
                reader.check(case.refs[name])
    copy = pickle.loads(pickle.dumps(cases))
    assert [c.id for c in copy] == [c.id for c in cases]
