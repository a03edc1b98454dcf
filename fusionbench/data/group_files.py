"""Groups of columns from a file of gene names: a GMT, or a table with a column a group, with 0 and 1, or of pairs."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionbench.core.errors import DataError

__all__ = ["GroupFile", "MatchedGroups", "match_groups", "read_groups"]
"""For plugins."""

SUFFIXES = ("_rnaseq", "_cnv", "_mut")
"""Endings of a gene's columns in PORPOISE's tables. A column is of the gene that it is called without one of them."""
KINDS = (".csv", ".tsv", ".txt", ".gmt")
"""Endings of files of groups, each also with `.gz` behind."""
GENE_COLUMNS = frozenset({"gene", "genes", "symbol", "gene_symbol"})
"""Names of a table's column of genes; case does not matter."""
GROUP_COLUMNS = frozenset({"group", "set", "gene_set", "geneset", "pathway", "signature", "term"})
"""Names of the column of groups in a table of pairs."""
MEMBERSHIPS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}
NAMED = 3
"""Groups that a note names; the others are counted."""

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_GZIP = b"\x1f\x8b"

Genes = Mapping[str, tuple[str, ...]]
Members = Iterator[tuple[int, str, str]]
"""Line, group and gene of each membership; a group without a gene comes once with an empty one."""
Rows = Sequence[tuple[int, list[str]]]
"""Line and cells of each row that is not empty."""


@dataclass(frozen=True)
class GroupFile:
    """The groups of a file.

    Attributes:
        name: of the file.
        genes: group to its genes, in the order of the file, each gene once.
        titled: the groups' names are the first row of a table, so that a file without that row reads as one with it.
        notes: a line on genes that stand twice in a group.
    """

    name: str
    genes: Genes
    titled: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MatchedGroups:
    """Groups of a table's columns.

    Attributes:
        columns: group to its columns, in the table's order; a column may stand in several groups. Groups without any
            column are left out.
        notes: a line each on the groups and genes found, on groups without a column and on genes that stand twice.
        problem: a line where no gene has a column, or the file has no header; else empty.
    """

    columns: Genes
    notes: tuple[str, ...]
    problem: str = ""


def read_groups(data: bytes, name: str) -> GroupFile:
    """The groups of a file's content.

    A table is one of three: a column of genes a group, the groups' names in the first row (MCAT's signatures); a row a
    gene and a column a group, with 0 and 1; or two columns, called `gene` and `group`, a row a membership.

    Args:
        name: of the file; its ending decides between GMT and table.

    Raises:
        DataError: of another form, not text, or without a group; names the line.
    """
    kind = Path(name.lower().removesuffix(".gz")).suffix
    if kind not in KINDS:
        raise DataError(f"{name}: unknown kind of file of groups {kind!r}; known are {', '.join(KINDS)}, also with .gz")
    text = _text(data, name)
    if kind == ".gmt":
        return _collected(name, _gmt(text, name), titled=False)
    rows = _rows(text, "," if kind == ".csv" else "\t", name)
    header = [cell.lower() for cell in rows[0][1]] if rows else []
    if GENE_COLUMNS & set(header) and GROUP_COLUMNS & set(header):
        return _collected(name, _pairs(rows, header, name), titled=False)
    if _has_memberships(rows[1:]):
        return _collected(name, _matrix(rows, name), titled=False)
    return _collected(name, _columns(rows, name), titled=True)


def match_groups(file: GroupFile, columns: Sequence[str], where: str) -> MatchedGroups:
    """The columns of each group's genes: those called like the gene, or like it with one of `SUFFIXES` behind.

    Upper and lower case count.

    Args:
        columns: of the modality.
        where: the modality, for messages.
    """
    of_gene: dict[str, list[int]] = {}
    for i, column in enumerate(columns):
        for gene in {column, *(column.removesuffix(s) for s in SUFFIXES if column.endswith(s))}:
            of_gene.setdefault(gene, []).append(i)
    named = dict.fromkeys(gene for of in file.genes.values() for gene in of)
    absent = [gene for gene in named if gene not in of_gene]
    if len(absent) == len(named):
        seen = f"{next(iter(named))!r} in the file, {columns[0]!r} in the table" if columns else "the table has none"
        return MatchedGroups(
            {},
            (),
            f"{where}.groups: no gene of {file.name} is a column, with or without {', '.join(SUFFIXES)} behind "
            f"({seen}); write them alike",
        )
    if file.titled and all(group in of_gene for group in file.genes):
        return MatchedGroups(
            {},
            (),
            f"{where}.groups: {file.name}, line 1: {next(iter(file.genes))!r} is a gene of the table, not the name of "
            "a group; write the groups' names in the first row",
        )
    places = {group: sorted({i for gene in of for i in of_gene.get(gene, ())}) for group, of in file.genes.items()}
    made = {group: tuple(columns[i] for i in of) for group, of in places.items() if of}
    return MatchedGroups(made, tuple(_notes(file, made, len(named), absent, where)))


def _notes(file: GroupFile, made: Genes, named: int, absent: Sequence[str], where: str) -> Iterator[str]:
    sizes = [len(of) for of in made.values()]
    size = _count(min(sizes), "column") if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)} columns"
    skipped = f", {len(absent)} skipped, the first is {absent[0]!r}" if absent else ""
    yield (
        f"{where}: {_count(len(made), 'group')} of {file.name}, with {size} each; {named - len(absent)} of "
        f"{_count(named, 'gene')} have a column{skipped}"
    )
    empty = [group for group in file.genes if group not in made]
    if empty:
        yield f"{where}: {_count(len(empty), 'group')} of {file.name} without a column, left out: {_listed(empty)}"
    yield from (f"{where}: {note}" for note in file.notes)


def _listed(names: Sequence[str]) -> str:
    """The first few names in quotes, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(repr, names[:NAMED])) + more


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _text(data: bytes, name: str) -> str:
    """The text of a file, uncompressed; line ends are `\\n`."""
    if data.startswith(_GZIP):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{name}: a damaged gzip file ({error}); copy it again") from error
    marked = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(marked)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"{name}, line {line}: no UTF-8 text; save it as UTF-8") from error
    if "\0" in text:
        raise DataError(f"{name}, line {text[: text.index(chr(0))].count(chr(10)) + 1}: no text; save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _collected(name: str, members: Members, *, titled: bool) -> GroupFile:
    """The groups of all memberships."""
    groups: dict[str, dict[str, int]] = {}
    twice: list[tuple[int, str, str]] = []
    for line, group, gene in members:
        genes = groups.setdefault(group, {})
        if gene in genes:
            twice.append((line, group, gene))
        elif gene:
            genes[gene] = line
    if not any(groups.values()):
        raise DataError(f"{name}: holds no group; write a column of genes a group, its name in the first row, or a GMT")
    notes = []
    if twice:
        line, group, gene = twice[0]
        times = "a gene stands twice in a group" if len(twice) == 1 else f"{len(twice)} genes stand twice in a group"
        notes.append(f"{name}: {times}, the first is {gene!r} of {group!r} in line {line}: counted once")
    return GroupFile(name, {group: tuple(genes) for group, genes in groups.items()}, titled, tuple(notes))


def _gmt(text: str, name: str) -> Members:
    """A group a line: its name, what it is, and its genes, separated by tabs."""
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        group, *rest = map(str.strip, line.split("\t"))
        if not rest:
            raise DataError(
                f"{name}, line {number}: no tab; a GMT has a group a line: its name, what it is and its genes, "
                "separated by tabs"
            )
        if not group:
            raise DataError(f"{name}, line {number}: the group has no name; write it before the first tab")
        if group in lines:
            raise DataError(f"{name}, line {number}: line {lines[group]} also has a group {group!r}; rename one")
        lines[group] = number
        yield from ((number, group, gene) for gene in (rest[1:] or [""]))


def _rows(text: str, separator: str, name: str) -> Rows:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise DataError(f"{name}, line {reader.line_num}: not a table ({error}); write the file again") from error
    other = next((sign for sign in ";\t," if sign != separator and rows and sign in rows[0][1][0]), None)
    if other is not None and len(rows[0][1]) == 1:
        wanted = {",": "commas", "\t": "tabs"}[separator]
        raise DataError(f"{name}, line {rows[0][0]}: {other!r} stands between its cells; separate them by {wanted}")
    return rows


def _has_memberships(rows: Rows) -> bool:
    """Whether the cells behind the first column are numbers and no names; names may be numbers as well (Entrez)."""
    cells = [cell for _, row in rows for cell in row[1:] if cell]
    numbers = sum(_is_number(cell) for cell in cells)
    known = sum(cell.lower() in MEMBERSHIPS for cell in cells)
    texts = sum(not _is_number(row[0]) for _, row in rows)
    return 2 * known > len(cells) or (2 * numbers > len(cells) and 2 * texts > len(rows))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _names(rows: Rows, name: str, first: int) -> list[str]:
    """The groups' names in the first row, from this column on.

    Raises:
        DataError: one has no name, or two have the same; or the row is none of names.
    """
    line, header = rows[0]
    wide = max(len(row) for _, row in rows)
    names = [header[i] if i < len(header) else "" for i in range(wide)]
    for i in range(first, wide):
        filled = next((number for number, row in rows[1:] if i < len(row) and row[i]), None)
        if not names[i] and filled is not None:
            raise DataError(f"{name}, line {line}: column {i + 1} has no name and a cell in line {filled}; name it")
        if names[i] and names[i] in names[first:i]:
            raise DataError(f"{name}, line {line}: two groups are called {names[i]!r}; rename one")
    return names


def _matrix(rows: Rows, name: str) -> Members:
    """A row a gene and a column a group, 1 where the gene belongs to it."""
    line, header = rows[0]
    if any(cell.lower() in MEMBERSHIPS for cell in header[1:]):
        raise DataError(f"{name}, line {line}: memberships, where the groups' names should be; write a first row")
    names, lines = _names(rows, name, 1)[: len(header)], dict[str, int]()
    yield from ((line, group, "") for group in names[1:] if group)
    for number, row in rows[1:]:
        gene = row[0]
        if len(row) != len(header):
            raise DataError(f"{name}, line {number}: {_count(len(row), 'cell')}, the first row has {len(header)}")
        if not gene or gene in lines:
            seen = f"line {lines[gene]} also has {gene!r}" if gene else "no gene in the first column"
            raise DataError(f"{name}, line {number}: {seen}; write one row a gene")
        lines[gene] = number
        for group, cell in zip(names[1:], row[1:], strict=True):
            member = MEMBERSHIPS.get(cell.lower())
            if group and member is None:
                raise DataError(f"{name}, line {number}: {cell!r} in column {group!r}; a membership is 0 or 1")
            if group and member:
                yield number, group, gene


def _pairs(rows: Rows, header: Sequence[str], name: str) -> Members:
    """A row a membership."""
    if len(header) != 2:
        known = GENE_COLUMNS | GROUP_COLUMNS
        # Of columns that are all of genes or groups the last one is too many: `gene,symbol,pathway`.
        more = next((cell for cell in header if cell not in known or header.count(cell) > 1), header[-1])
        raise DataError(
            f"{name}, line {rows[0][0]}: column {more!r} beside those of genes and groups; leave it out, since genes "
            "belong to a group or not"
        )
    group, gene = (next(i for i in (0, 1) if header[i] in known) for known in (GROUP_COLUMNS, GENE_COLUMNS))
    for number, row in rows[1:]:
        if len(row) != len(header) or not all(row):
            raise DataError(f"{name}, line {number}: {row!r} is no pair of a gene and a group; write both")
        yield number, row[group], row[gene]


def _columns(rows: Rows, name: str) -> Members:
    """A column a group: its name, and below it its genes."""
    names = _names(rows, name, 0) if rows else []
    other = next((group for group in names if group.lower() in GENE_COLUMNS), None)
    if other is not None:
        raise DataError(
            f"{name}, line {rows[0][0]}: a column {other!r} beside others that are neither 0 and 1 nor called 'group'; "
            "write 0 or 1 for each group, or pairs under gene and group"
        )
    yield from ((rows[0][0], group, "") for group in names if group)
    for number, row in rows[1:]:
        yield from ((number, names[i], gene) for i, gene in enumerate(row) if gene)
