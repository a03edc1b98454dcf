"""Files that the plugins of cohorts publish checksums of: each is named where it is missing or altered."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fusionbench_hancock.dataset import Hancock
from fusionbench_loris.dataset import Loris
from fusionbench_metabric.dataset import Metabric
from fusionbench_tcga.cohorts import Kirp
from fusionbench_transneo.dataset import TransNeo

from fusionbench import DataError, Dataset

READ_FIRST: dict[type[Dataset], str] = {
    Hancock: "hancock/features/targets.csv",
    Metabric: "metabric/data_clinical_patient.txt",
    Kirp: "porpoise/datasets_csv_mutsig/tcga_kirp_all_clean.csv.zip",
    Loris: "loris_icb/AllData.xlsx",
    TransNeo: "transneo/training_df.csv",
}


@pytest.mark.parametrize("kind", READ_FIRST, ids=lambda kind: kind.name)
def test_a_missing_or_altered_file_is_named(kind: type[Dataset], tmp_path: Path) -> None:
    path = tmp_path / READ_FIRST[kind]
    where = re.escape(str(path))

    def read() -> None:
        kind(kind.Options(), tmp_path).cases()

    with pytest.raises(DataError, match=f"^{where} is missing; run: fusionbench data fetch {kind.name}$"):
        read()
    path.parent.mkdir(parents=True)
    path.write_bytes(b"altered")
    sums = r"expected sha256 [0-9a-f]{64}, found [0-9a-f]{64} \(7 bytes\)"
    with pytest.raises(DataError, match=f"^{where} is damaged: {sums}; run: fusionbench data fetch {kind.name}$"):
        read()
