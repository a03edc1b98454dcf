"""Masks in a CSV: what is read, and what is refused with file and line."""

from __future__ import annotations

import pytest

from fusionbench import SuiteError
from fusionbench.data.mask_files import parse_masks

GOOD = """case,modality,fold
p1,omic,0
p1,image,1
p2,omic,
"""


def test_a_row_hides_a_modality_in_its_fold_or_in_every_fold() -> None:
    table = parse_masks(GOOD, "masks.csv")
    assert table.hidden(0, 0) == {"p1": {"omic"}, "p2": {"omic"}}
    assert table.hidden(3, 1) == {"p1": {"image"}, "p2": {"omic"}}
    assert table.hides == {"p1": {"omic", "image"}, "p2": {"omic"}}


def test_a_row_may_be_of_one_repeat() -> None:
    table = parse_masks("repeat,case,modality\n1,p1,omic\n,p2,omic\n", "masks.csv")
    assert table.hidden(0, 4) == {"p2": {"omic"}}
    assert table.hidden(1, 4) == {"p1": {"omic"}, "p2": {"omic"}}


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD.replace(",0", ",0.0").replace(",1\n", ",1.0\n"),
        GOOD.replace(",omic", ", omic ").replace("p1", '"p1"') + "\n\n,,\n",
    ],
    ids=["with a byte order mark", "from Windows", "with decimals", "with spaces, quotes and empty lines"],
)
def test_what_programs_write_is_read(text: str) -> None:
    assert parse_masks(text, "m").hidden(0, 0) == parse_masks(GOOD, "m").hidden(0, 0)
    assert parse_masks(text, "m").hidden(0, 1) == parse_masks(GOOD, "m").hidden(0, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"masks.csv: no column 'case' and 'modality'; the first line is ''; write case, modality, fold, repeat"),
        ("case;modality\np1;omic\n", r"the first line is 'case;modality'; write .*, separated by commas"),
        ("case,fold\np1,0\n", "no column 'modality'"),
        ("case,modality,Fold\np1,omic,0\n", "unknown column 'Fold'; did you mean 'fold'"),
        ("case,modality,case\np1,omic,p1\n", "two columns 'case'"),
        ("case,modality\n", "no row below the header"),
        ("case,modality\np1\n", "masks.csv, line 2: 1 cells under 2 columns"),
        ("case,modality\np1,\n", "line 2: modality is empty"),
        ("case,modality\n\n,omic\n", "line 3: case is empty"),
        (GOOD + "p3,omic,x\n", "line 5: fold is 'x'; write a number from 0, or nothing for every fold"),
        (GOOD + "p3,omic,-1\n", "line 5: fold is '-1'"),
        (GOOD + "p3,omic,1.5\n", "line 5: fold is '1.5'"),
        (GOOD + "p3,omic," + "9" * 5000 + "\n", "line 5: fold is '9+'"),
        (GOOD + "p1,omic,0\n", "line 5: case 'p1', modality 'omic' stands in line 2 for the same fold; keep one"),
        (GOOD + "p2,omic,3\n", "line 5: case 'p2', modality 'omic' stands in line 4"),
        ('case,modality\n"p1,omic\n', "no CSV: unexpected end of data"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(SuiteError, match=said) as error:
        parse_masks(text, "masks.csv")
    assert "\n" not in str(error.value)
