"""Groups of columns from a file of gene names: MCAT's signatures and GMT; what is absent is counted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from fusionbench.core.errors import DataError
from fusionbench.data.group_files import GroupFile, match_groups
from tests.unit.builtin.test_table import read, toml

FILES = Path(__file__).parents[2] / "files" / "groups"
INLINE = 'groups = {first = ["gene_0", "gene_1"], second = ["gene_2", "gene_3"]}'
COLUMNS = ["TP53_rnaseq", "EGFR_cnv", "KRAS", "TP53_mut", "MYC_protein", "EGFR_rnaseq"]


def with_genes(home: Path, file: str) -> None:
    """Expressions under the names of genes, and the file of groups beside them."""
    frame = pd.read_csv(home / "rna.csv", dtype=str)
    frame.columns = ["patient", *COLUMNS]
    frame.to_csv(home / "rna.csv", index=False)
    shutil.copy(FILES / file, home / file)
    toml(home, INLINE, f'groups = "{file}"')


def test_signatures_with_a_column_a_group(home: Path) -> None:
    with_genes(home, "signatures.csv")
    cohort = read(home)
    assert cohort.modalities["rna"].use.groups == {
        "Tumor Suppressor Genes": ("TP53_rnaseq", "TP53_mut"),
        "Oncogenes": ("EGFR_cnv", "KRAS", "EGFR_rnaseq"),
        "Kinases": ("EGFR_cnv", "EGFR_rnaseq"),
    }
    assert cohort.specs_raw["rna"].groups["Kinases"] == (1, 5)
    assert cohort.info.notes == (
        "modality.rna: 3 groups of signatures.csv, with 2 to 3 columns each; 3 of 8 genes have a column, 5 skipped, "
        "the first is 'PTEN'",
        "modality.rna: 1 group of signatures.csv without a column, left out: 'Cytokines'",
    )
    before = cohort.fingerprint
    (home / "signatures.csv").write_text("A\nKRAS\n")
    assert read(home).fingerprint != before


def test_a_gmt(home: Path) -> None:
    with_genes(home, "hallmarks.gmt")
    cohort = read(home)
    assert cohort.modalities["rna"].use.groups == {
        "HALLMARK_P53": ("TP53_rnaseq", "TP53_mut"),
        "HALLMARK_KRAS": ("EGFR_cnv", "KRAS", "EGFR_rnaseq"),
    }
    assert cohort.info.notes[-1] == "modality.rna: 1 group of hallmarks.gmt without a column, left out: 'HALLMARK_IL6'"


@pytest.mark.parametrize(
    ("gene", "columns"),
    [
        ("TP53", ("TP53_rnaseq", "TP53_mut")),
        ("KRAS", ("KRAS",)),
        ("EGFR_cnv", ("EGFR_cnv",)),
        ("MYC_protein", ("MYC_protein",)),
        ("MYC", ()),
        ("tp53", ()),
        ("TP5", ()),
    ],
)
def test_a_column_is_of_the_gene_that_it_is_called_without_a_suffix(gene: str, columns: tuple[str, ...]) -> None:
    found = match_groups(GroupFile("genes.csv", {"A": (gene,), "B": ("KRAS",)}), COLUMNS, "modality.rna")
    assert found.columns.get("A", ()) == columns


def test_many_absent_genes_are_one_line(home: Path) -> None:
    """Of a file they are counted; of the TOML they are one error, not one each."""
    genes = ["gene_0", *(f"G{i}" for i in range(1503))]
    toml(home, INLINE, f"groups = {{all = {genes!r}}}")
    with pytest.raises(DataError) as error:
        read(home)
    assert "modality.rna.groups.all: 1503 of 1504 are no columns of rna.csv, the first is 'G0'" in str(error.value)
    assert 'groups = "signatures.csv"' in str(error.value)
    assert "\n" not in str(error.value)
    (home / "signatures.csv").write_text("all\n" + "\n".join(genes))
    toml(home, f"groups = {{all = {genes!r}}}", 'groups = "signatures.csv"')
    assert read(home).info.notes == (
        "modality.rna: 1 group of signatures.csv, with 1 column each; 1 of 1504 genes have a column, 1503 skipped, "
        "the first is 'G0'",
    )


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "s.csv",
            "A,B\nTP53,MYC\n",
            "no gene of s.csv is a column, with or without _rnaseq, _cnv, _mut behind ('TP53' in the file, ",
        ),
        ("s.gmt", "A\n", "s.gmt, line 1: no tab; a GMT has a group a line"),
        ("absent.csv", None, "'absent.csv' cannot be read (No such file or directory)"),
    ],
)
def test_files_of_groups_that_cannot_be(home: Path, name: str, text: str | None, said: str) -> None:
    if text is not None:
        (home / name).write_text(text)
    toml(home, INLINE, f'groups = "{name}"')
    with pytest.raises(DataError) as error:
        read(home)
    assert f"modality.rna.groups: {said}" in str(error.value)
    assert "\n" not in str(error.value)


def test_groups_of_another_type_are_one_line(home: Path) -> None:
    toml(home, INLINE, "groups = 3")
    with pytest.raises(DataError, match=r"modality\.rna\.groups: write keys, key = value, under"):
        read(home)
