"""`bag = true`: several rows of a case in another table form one bag."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusionbench.core.errors import DataError
from fusionbench.core.protocol import Protocol
from fusionbench.data.inspection.contents import read_all
from fusionbench.data.inspection.summary import facts_of
from fusionbench.data.splits import make_folds
from tests.unit.builtin.test_table import read, toml

ROIS = "patient,roi,nuclei,stroma\n0001,a,1,0.5\n0002,a,2,0.25\n0001,b,3,0.75\n0004,a,,\n0005,a,5,0\n"


def rois(home: Path, text: str = ROIS, keys: str = "bag = true") -> None:
    """A table of regions beside the cohort, and a modality of it."""
    (home / "rois.csv").write_text(text)
    with (home / "cohort.toml").open("a") as file:
        file.write(f'\n[modality.regions]\ntable = "rois.csv"\nexclude = "roi"\n{keys}\n')


def test_the_rows_of_a_case_are_a_bag(home: Path) -> None:
    rois(home)
    cohort = read(home)
    modality = cohort.modalities["regions"]
    assert (modality.kind, modality.use.features) == ("bag", ("nuclei", "stroma"))
    bags = {c.id: modality.load(c.refs["regions"]).values.tolist() for c in cohort.cases if "regions" in c.refs}
    assert bags == {"0001": [[1, 0.5], [3, 0.75]], "0002": [[2, 0.25]], "0005": [[5, 0]]}
    facts = next(m for m in facts_of(cohort, read_all(cohort, [])).modalities if m.name == "regions")
    assert (facts.kind, facts.have, facts.instances) == ("bag", 3, (1, 1.0, 2))
    assert len(make_folds(cohort.cases, Protocol(folds=3), 0, 0)) == 3


def test_without_bag_it_says_how_to_make_one(home: Path) -> None:
    rois(home, keys="")
    with pytest.raises(DataError) as error:
        read(home)
    assert (
        "rois.csv, column 'patient': 1 id has several rows (first: '0001', rows 2 and 4). Aggregate to one row per "
        'patient, say repeated = "first" under [file."rois.csv"] to read the first of each, or say bag = true for a '
        "bag of rows per patient"
    ) in str(error.value)


@pytest.mark.parametrize(
    ("text", "keys", "said"),
    [
        (
            ROIS.replace("0001,b,3", "0001,b,"),
            "bag = true",
            "rois.csv, column 'nuclei', row 4: empty, as 1 cell of 1 column",
        ),
        (
            ROIS.replace(",a,", ",a,x", 4),
            "bag = true",
            "column 'nuclei' of rois.csv holds text; a bag is of numbers",
        ),
        (ROIS.replace("0005", "9999"), "bag = true", "rois.csv has 1 row of cases that the case table does not have"),
        (
            ROIS.replace(",a", ",a").replace("000", "P00"),
            "bag = true",
            "no case of rois.csv is in the case table ('P001', ",
        ),
        (ROIS, 'bag = true\ncategorical = "nuclei"', "categorical and groups are of vectors"),
    ],
)
def test_what_cannot_be_a_bag(home: Path, text: str, keys: str, said: str) -> None:
    rois(home, text, keys)
    with pytest.raises(DataError) as error:
        read(home)
    assert said in str(error.value)


def test_the_case_table_has_one_row_a_case(home: Path) -> None:
    toml(home, 'columns = ["age", "sex", "stage", "smoker"]', 'columns = ["age", "stage"]\nbag = true')
    with pytest.raises(DataError, match="id, unknown and bag belong to a modality with a table or a folder of its own"):
        read(home)
