"""Whatever rows are written: what is read hides those modalities of those cases in those folds, and nothing else."""

from __future__ import annotations

import csv
import io
import random
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from fusionbench import SuiteError
from fusionbench.data.mask_files import parse_masks
from fusionbench.data.masks import make_masks, mask_hash

FOLDS = 3
names = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Z"], exclude_characters="\ufeff"), min_size=1, max_size=5
)
places = st.tuples(names, st.sampled_from(["clinical", "omic", "a,b", 'q"']))
numbers = st.none() | st.integers(0, FOLDS - 1)


@st.composite
def written(draw: st.DrawFn) -> list[tuple[str, str, int | None, int | None]]:
    """Rows of which no two say the same."""
    rows: list[tuple[str, str, int | None, int | None]] = []
    for place in draw(st.lists(places, min_size=1, max_size=8, unique=True)):
        if draw(st.booleans()):
            rows.append((*place, draw(numbers), draw(numbers)))
        else:
            rows += [(*place, fold, None) for fold in draw(st.sets(st.integers(0, FOLDS - 1), min_size=1))]
    return rows


def text_of(rows: list[tuple[str, str, int | None, int | None]]) -> str:
    file = io.StringIO()
    csv.writer(file).writerows([("case", "modality", "fold", "repeat"), *rows])
    return file.getvalue()


@given(written())
def test_a_fold_hides_what_its_rows_say(rows: list[tuple[str, str, int | None, int | None]]) -> None:
    table = parse_masks(text_of(rows), "masks.csv")
    for repeat, fold in product(range(2), range(FOLDS)):
        pairs = {(case, modality) for case, of in table.hidden(repeat, fold).items() for modality in of}
        assert pairs == {row[:2] for row in rows if row[2] in (None, fold) and row[3] in (None, repeat)}


@given(written(), st.randoms())
def test_the_order_of_rows_changes_no_mask(
    rows: list[tuple[str, str, int | None, int | None]], chance: random.Random
) -> None:
    mixed = chance.sample(rows, len(rows))
    present = {row[0]: ("clinical", "omic") for row in rows}
    hashes = {
        mask_hash(
            make_masks(
                "file:m.csv", present, ("clinical", "omic"), 1, 0, given=parse_masks(text_of(of), "m").hidden(0, 0)
            )
        )
        for of in (rows, mixed)
    }
    assert len(hashes) == 1


@given(st.text(max_size=40) | st.text('case,modality,fold\n"0123x', max_size=60).map("case,modality,fold\n".__add__))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    said = "masks.csv"
    try:
        parse_masks(text, "masks.csv")
    except SuiteError as error:
        said = str(error)
    assert said.startswith("masks.csv")
    assert len(said.splitlines()) == 1
