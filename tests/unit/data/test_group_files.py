"""Files of groups: three forms of a table and GMT, as programs write them; what is wrong is said with its line."""

from __future__ import annotations

import gzip
import random

import pytest

from fusionbench.core.errors import DataError
from fusionbench.data.group_files import match_groups, read_groups

GROUPS = {"P53": ("TP53", "MDM2"), "KRAS": ("KRAS", "TP53"), "LONE": ("MYC",)}
GMT = "P53\thttp://x\tTP53\tMDM2\nKRAS\tna\tKRAS\tTP53\n\nLONE\tna\tMYC\n"
SIGNATURES = "P53,KRAS,LONE\nTP53,KRAS,MYC\nMDM2,TP53,\n"
MATRIX = "gene,P53,KRAS,LONE\nTP53,1,1,0\nMDM2,1,0,0\nKRAS,0,1,0\nMYC,0,0,1\n"
PAIRS = "gene,pathway\nTP53,P53\nMDM2,P53\nKRAS,KRAS\nTP53,KRAS\nMYC,LONE\n"
FORMS = {"a.gmt": GMT, "a.csv": SIGNATURES, "matrix.csv": MATRIX, "pairs.csv": PAIRS}


@pytest.mark.parametrize("name", FORMS)
def test_all_forms_say_the_same(name: str) -> None:
    found = read_groups(FORMS[name].encode(), name).genes
    assert {group: set(genes) for group, genes in found.items()} == {g: set(of) for g, of in GROUPS.items()}
    assert list(found) == list(GROUPS)


@pytest.mark.parametrize("name", FORMS)
def test_texts_as_programs_write_them(name: str) -> None:
    plain, text = read_groups(FORMS[name].encode(), name), FORMS[name]
    ways = {
        "with a byte order mark": text.encode("utf-8-sig"),
        "of Windows": text.replace("\n", "\r\n").encode(),
        "of an old Mac": text.replace("\n", "\r").encode(),
        "in UTF-16": text.encode("utf-16"),
        "without the last line end": text.rstrip("\n").encode(),
        "with spaces": text.replace("TP53", " TP53 ").encode(),
    }
    for way, data in ways.items():
        assert read_groups(data, name) == plain, way
    assert read_groups(gzip.compress(text.encode()), f"{name}.gz").genes == plain.genes
    if name.endswith("csv"):
        assert read_groups(text.replace(",", "\t").encode(), "a.tsv").genes == plain.genes


@pytest.mark.parametrize(
    "text",
    [
        ",A,B\nTP53,1,0\nKRAS,0,1\n",  # pandas, R
        "gene,A,B\nTP53,TRUE,FALSE\nKRAS,FALSE,TRUE\n",
        "gene,A,B\nTP53,1.0,0.0\nKRAS,0.0,1.0\n",
        "set,Gene\nA,TP53\nB,KRAS\n",
        '"gene","group"\n"TP53","A"\n"KRAS","B"\n',
        "A,B\nTP53,KRAS\n",
    ],
)
def test_tables_as_programs_write_them(text: str) -> None:
    assert read_groups(text.encode(), "a.csv").genes == {"A": ("TP53",), "B": ("KRAS",)}


def test_genes_may_be_numbers() -> None:
    """Entrez ids in columns of genes are no memberships, and in the first column they are genes."""
    assert read_groups(b"A,B\n7157,3845\n1956,7157\n", "a.csv").genes == {"A": ("7157", "1956"), "B": ("3845", "7157")}
    assert read_groups(b"gene,A,B\n7157,1,0\n3845,1,1\n", "a.csv").genes == {"A": ("7157", "3845"), "B": ("3845",)}
    assert read_groups(b"gene,group\n7157,1\n3845,2\n", "a.csv").genes == {"1": ("7157",), "2": ("3845",)}


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        (
            "s.json",
            b"{}",
            "s.json: unknown kind of file of groups '.json'; known are .csv, .tsv, .txt, .gmt, also with",
        ),
        *((name, b"", f"{name}: holds no group; write") for name in ("s.csv", "s.tsv", "s.gmt")),
        ("s.csv", b"A,B\n,\n", "s.csv: holds no group"),
        ("s.csv", b"A,B,A\nTP53,KRAS,MYC\n", "s.csv, line 1: two groups are called 'A'; rename one"),
        ("s.csv", b"A,\nTP53,KRAS\n", "s.csv, line 1: column 2 has no name and a cell in line 2; name it"),
        ("s.csv", b"A\nTP53,KRAS\n", "s.csv, line 1: column 2 has no name and a cell in line 2; name it"),
        ("s.csv", b"A\nTP53\n\xff\n", "s.csv, line 3: no UTF-8 text; save it as UTF-8"),
        ("s.csv", b"A\nTP\x0053\n", "s.csv, line 2: no text; save it as UTF-8"),
        ("s.csv", b"A;B\nTP53;KRAS\n", "s.csv, line 1: ';' stands between its cells; separate them by commas"),
        ("s.tsv", b"A,B\nTP53,KRAS\n", "s.tsv, line 1: ',' stands between its cells; separate them by tabs"),
        ("s.csv", b'A\n"TP53\n', "s.csv, line 2: not a table (unexpected end of data); write the file again"),
        ("s.gz.csv", b"\x1f\x8b\x08damaged", "s.gz.csv: a damaged gzip file ("),
        ("s.gmt", b"A\tna\tTP53\nB TP53 KRAS\n", "s.gmt, line 2: no tab; a GMT has a group a line"),
        ("s.gmt", b"A\tna\tTP53\n\nA\tna\tKRAS\n", "s.gmt, line 3: line 1 also has a group 'A'; rename one"),
        ("s.gmt", b"\tna\tTP53\n", "s.gmt, line 1: the group has no name; write it before the first tab"),
        ("s.gmt", b"A\tna\n", "s.gmt: holds no group"),
        ("s.csv", b"TP53,1,0\nKRAS,0,1\n", "s.csv, line 1: memberships, where the groups' names should be"),
        ("s.csv", b"gene,A,B\nTP53,1,0\nKRAS,0,2\n", "s.csv, line 3: '2' in column 'B'; a membership is 0 or 1"),
        ("s.csv", b"gene,A,B\nTP53,0.3,0.1\nKRAS,0.9,\n", "s.csv, line 2: '0.3' in column 'A'; a membership is 0"),
        ("s.csv", b"gene,A,B\nTP53,1,0\nKRAS,0,\n", "s.csv, line 3: '' in column 'B'; a membership is 0 or 1"),
        ("s.csv", b"gene,A,B\nTP53,1,0\nKRAS,0\n", "s.csv, line 3: 2 cells, the first row has 3"),
        ("s.csv", b"gene,A\nTP53,1\nKRAS,0,\n", "s.csv, line 3: 3 cells, the first row has 2"),
        ("s.csv", b"gene,A\nTP53,1\nTP53,0\n", "s.csv, line 3: line 2 also has 'TP53'; write one row a gene"),
        ("s.csv", b"gene,A\nTP53,1\n,0\n", "s.csv, line 3: no gene in the first column; write one row a gene"),
        ("s.csv", b"gene,group\nTP53,A\nKRAS,\n", "s.csv, line 3: ['KRAS', ''] is no pair of a gene and a group"),
        ("s.csv", b"gene,symbol,pathway\nTP53,TP53,A\n", "s.csv, line 1: column 'pathway' beside those of genes"),
        ("s.csv", b"gene,group,weight\nTP53,A,1\n", "s.csv, line 1: column 'weight' beside those of genes and groups"),
        (
            "s.csv",
            b"gene,what\nTP53,A\nKRAS,B\n",
            "s.csv, line 1: a column 'gene' beside others that are neither 0 and",
        ),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(name: str, data: bytes, said: str) -> None:
    with pytest.raises(DataError) as error:
        read_groups(data, name)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("s.gmt", "A\tna\tTP53\nB\tna\tKRAS\tMYC\tKRAS\n", 2),
        ("s.csv", "A,B\nTP53,KRAS\nMYC,MYC\n,KRAS\n", 4),
        ("s.csv", "gene,group\nTP53,A\nKRAS,B\nKRAS,B\n", 4),
    ],
)
def test_a_gene_that_stands_twice_in_a_group_counts_once_and_is_noted(name: str, text: str, line: int) -> None:
    """MCAT's published file has nine of them."""
    file = read_groups(text.encode(), name)
    assert file.genes["B"].count("KRAS") == 1
    said = f"{name}: a gene stands twice in a group, the first is 'KRAS' of 'B' in line {line}: counted once"
    assert file.notes == (said,)
    assert match_groups(file, ["KRAS"], "modality.rna").notes[-1] == f"modality.rna: {said}"


def test_a_table_without_the_row_of_names_is_refused() -> None:
    """Its first genes would be taken for names; a GMT may call a group by its regulator."""
    columns = ["TP53_rnaseq", "KRAS_rnaseq", "MYC_rnaseq", "EGFR_rnaseq"]
    found = match_groups(read_groups(b"TP53,KRAS\nMYC,EGFR\n", "s.csv"), columns, "modality.rna")
    assert found.problem.startswith("modality.rna.groups: s.csv, line 1: 'TP53' is a gene of the table, not the name")
    assert match_groups(read_groups(b"MYC\tna\tTP53\n", "s.gmt"), columns, "m").columns == {"MYC": ("TP53_rnaseq",)}


def test_hundreds_of_groups_that_overlap() -> None:
    """331 groups of a table of 20,000 columns; each gene stands in twenty groups, and half of the genes are absent."""
    sets = {f"S{i}": [f"G{j}" for j in range(i * 30, i * 30 + 600)] for i in range(330)} | {"S330": ["G7"]}
    text = "".join(f"{name}\tna\t" + "\t".join(genes) + "\n" for name, genes in sets.items())
    columns = [f"G{j}{suffix}" for j in range(0, 20000, 2) for suffix in ("_cnv", "_rnaseq")] + ["G7_mut"]
    found = match_groups(read_groups(text.encode(), "all.gmt"), columns, "omic")
    assert len(found.columns) == 331
    assert found.columns["S330"] == ("G7_mut",)
    assert sum("G602_cnv" in of for of in found.columns.values()) == 20
    assert "331 groups of all.gmt, with 1 to 601 columns each; 5236 of 10470 genes have a column" in found.notes[0]


CHANGES = [
    b"\n",
    b"\r",
    b"\t",
    b'"',
    b",",
    b";",
    b",1",
    b"gene,",
    b"nan",
    b" ",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\x1f\x8b",
]


def test_damaged_files_are_groups_or_one_clear_line() -> None:
    """What an editor or a broken copy may make of a file; 4,000 of them."""
    drawn, groups, said = random.Random(0), 0, list[tuple[str, str]]()
    for _ in range(4000):
        name, text = drawn.choice([*FORMS.items()])
        data = bytearray(text.encode())
        for _ in range(drawn.randint(1, 6)):
            start = drawn.randrange(len(data) + 1)
            data[start : start + drawn.choice([0, 0, 1, 5])] = drawn.choice([*CHANGES, b""])
        try:
            match_groups(read_groups(bytes(data), name), ["TP53_mut", "MYC"], "modality.rna")
            groups += 1
        except DataError as error:
            said.append((name, str(error)))
    assert all(line.startswith(name) and "\n" not in line for name, line in said)
    assert 500 < groups < 3500
