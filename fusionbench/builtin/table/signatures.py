"""Groups of columns from a file of gene names: a CSV with a column a group (MCAT's signatures), or a GMT."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionbench.builtin.table.sheets import count, examples
from fusionbench.core.errors import DataError

SUFFIXES = ("_rnaseq", "_cnv", "_mut")
"""Endings of a gene's columns in PORPOISE's tables. A column is of the gene that it is called without one of them."""
KINDS = (".csv", ".tsv", ".txt", ".gmt")

Genes = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Groups:
    """Groups of columns.

    Attributes:
        columns: group to its columns, in the table's order; a column may stand in several groups.
        notes: a line each on genes without a column and on groups without any.
        problem: a line where no gene has a column, else empty.
    """

    columns: Genes
    notes: tuple[str, ...]
    problem: str = ""


def read_signatures(data: bytes, name: str) -> Genes:
    """Group to its genes.

    Args:
        name: of the file; its ending decides the form.

    Raises:
        DataError: of another form, not UTF-8 text, or without a group.
    """
    kind = Path(name).suffix.lower()
    if kind not in KINDS:
        raise DataError(f"{name}: unknown kind of file of groups {kind!r}; known are {', '.join(KINDS)}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: no UTF-8 text; save it as UTF-8") from error
    try:
        pairs = list(_gmt(text) if kind == ".gmt" else _table(text, "," if kind == ".csv" else "\t"))
    except csv.Error as error:
        raise DataError(f"{name}: cannot be read as a table ({error}); write the file again") from error
    twice = next((group for i, (group, _) in enumerate(pairs) if group in {g for g, _ in pairs[:i]}), None)
    if twice is not None:
        raise DataError(f"{name}: two groups are called {twice!r}; rename one")
    groups = {group: tuple(dict.fromkeys(gene for gene in genes if gene)) for group, genes in pairs}
    if not any(groups.values()):
        raise DataError(f"{name}: holds no group; write a column of genes a group, its name in the first row, or a GMT")
    return groups


def _gmt(text: str) -> Iterator[tuple[str, list[str]]]:
    """A group a line: its name, what it is, and its genes, separated by tabs."""
    for line in text.splitlines():
        if line.strip():
            group, _, *genes = [*map(str.strip, line.split("\t")), ""]
            yield group, genes


def _table(text: str, separator: str) -> Iterator[tuple[str, list[str]]]:
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    for i, group in enumerate(rows[0] if rows else []):
        if group.strip():
            yield group.strip(), [row[i].strip() for row in rows[1:] if i < len(row)]


def match_columns(genes: Genes, columns: Sequence[str], where: str, file: str) -> Groups:
    """The columns of each group's genes: those called like the gene, or like it with one of the suffixes.

    Args:
        columns: of the modality.
        where: the modality, for messages; `file`: of the groups.
    """
    of_gene: dict[str, list[str]] = {}
    for column in columns:
        for gene in {column, *(column.removesuffix(s) for s in SUFFIXES if column.endswith(s))}:
            of_gene.setdefault(gene, []).append(column)
    named = dict.fromkeys(gene for of in genes.values() for gene in of)
    absent = [gene for gene in named if gene not in of_gene]
    if len(absent) == len(named):
        return Groups(
            {},
            (),
            f"{where}.groups: no gene of {file} is a column, with or without {', '.join(SUFFIXES)} "
            f"{examples(named, columns)}; write them alike",
        )
    wanted = {group: {column for gene in of for column in of_gene.get(gene, ())} for group, of in genes.items()}
    made = {group: tuple(c for c in columns if c in of) for group, of in wanted.items() if of}
    notes = []
    if absent:
        notes.append(
            f"{where}: {len(absent)} of {count(len(named), 'gene')} of {file} have no column, the first is "
            f"{absent[0]!r}: left out"
        )
    empty = [group for group in genes if group not in made]
    if empty:
        notes.append(f"{where}: no column for {', '.join(map(repr, empty))} of {file}: these groups are left out")
    return Groups(made, tuple(notes))
