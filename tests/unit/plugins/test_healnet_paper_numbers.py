"""Numbers of the HEALNet paper (Hemker et al. 2024) as the suites hold them: as printed, and in agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from fusionbench_healnet_paper.claims import least_amount
from fusionbench_healnet_paper.reproduction import reproduction

from fusionbench.suites import published_numbers
from tests.unit.plugins.test_healnet_paper import analysed, lock_of, named, texts
from tests.unit.stored_results import make_frames

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
COHORTS = ("tcga-blca", "tcga-brca", "tcga-kirp", "tcga-ucec")
FUSED = "clinical+omic+image"

Number = tuple[str, str]
"""A published mean and its sd, as they are written."""
Place = tuple[str, str, str, str]
"""Dataset, model, modalities and pattern of a published number."""


def rows_of(name: str) -> Sequence[Mapping[str, str]]:
    kind = {"healnet-claims.csv": "claims", "healnet-table4.csv": "counts"}.get(name, "reference")
    return published_numbers.parse(kind, (BENCHMARKS / name).read_text(encoding="utf-8"), name).rows


def numbers_of(table: str) -> dict[Place, Number]:
    return {
        (row["dataset"], row["model"], row["modalities"], row["pattern"]): (row["mean"], row["sd"])
        for row in rows_of(f"healnet-{table}.csv")
    }


TABLE_2 = """
BLCA 0.547 0.612 0.668
BRCA 0.543 0.541 0.638
KIRP 0.644 0.714 0.812
UCEC 0.533 0.580 0.626
"""
"""As printed: the best uni-modal model and HEALNet on half omics and half slides, HEALNet on omics and slides."""


def test_table_2_is_as_printed() -> None:
    columns = (("xor-unimodal", "half"), ("healnet", "half"), ("healnet", "full"))
    printed = {
        (f"tcga-{cohort.lower()}", model, FUSED, pattern): (mean, "")
        for cohort, *means in map(str.split, TABLE_2.strip().splitlines())
        for (model, pattern), mean in zip(columns, means, strict=True)
    }
    assert len(printed) == 12
    assert numbers_of("table2") == printed


def test_healnet_with_everything_visible_is_the_same_in_tables_1_and_2() -> None:
    table_1, table_2 = numbers_of("table1"), numbers_of("table2")
    for cohort in COHORTS:
        place = (cohort, "healnet", FUSED, "full")
        assert table_1[place][0] == table_2[place][0]


def test_table_1_is_a_selection_of_table_3() -> None:
    """Its uni-modal rows are the best of Table 3; HEALNet's sd on UCEC differs, as printed."""
    table_1, table_3 = numbers_of("table1"), numbers_of("table3")
    differing = {place: (number, table_3[place]) for place, number in table_1.items() if table_3[place] != number}
    assert differing == {("tcga-ucec", "healnet", FUSED, "full"): (("0.626", "0.037"), ("0.626", "0.107"))}
    for place, (mean, _) in table_1.items():
        if place[2] != FUSED:
            rivals = [number for other, number in table_3.items() if (other[0], other[2]) == (place[0], place[2])]
            assert mean == max(number[0] for number in rivals)


def test_the_omic_rows_of_table_3_are_those_of_its_own_file() -> None:
    omic = {place: number for place, number in numbers_of("table3").items() if place[2] == "clinical+omic"}
    assert numbers_of("table3-omic") == omic
    assert len(omic) == 12


@pytest.mark.parametrize(("table", "size"), [("table1", 24), ("table2", 12), ("table3", 40)])
def test_a_table_has_all_its_numbers_each_for_every_cohort(table: str, size: int) -> None:
    numbers = numbers_of(table)
    assert len(numbers) == size
    assert [sum(place[0] == cohort for place in numbers) for cohort in COHORTS] == [size // 4] * 4


TABLE_4 = """
slides      436             1,019                 297              566
having:omic 437             1,022                 284              538
rows        436             1,019                 284              538
columns     2,191           2,922                 1,587            1,421
censored    53.9%           86.8%                 84.5%            85.5%
bins        72;83;109;172   403;289;172;155       43;56;113;72     68;143;83;244
"""
"""As printed, but for the names of the rows and the brackets of the bins; the columns are the cohorts."""


def test_table_4_is_as_printed() -> None:
    """All counts of claim c19: slides, omic samples, overlap, features, censoring and bins."""
    counts = {(row["dataset"], row["property"]): row["value"] for row in rows_of("healnet-table4.csv")}
    printed = {
        (cohort, name): value
        for name, *values in map(str.split, TABLE_4.strip().splitlines())
        for cohort, value in zip(COHORTS, values, strict=True)
    }
    assert {place: as_a_number(text) for place, text in printed.items()} == counts
    assert len(counts) == 24
    (claim,) = (row for row in rows_of("healnet-claims.csv") if row["id"] == "c19")
    assert claim["number"] == "24 counts"


def as_a_number(printed: str) -> str:
    """`1,019` as 1019, `53.9%` as 0.539, `72;83` as two numbers."""
    if printed.endswith("%"):
        return f"{float(printed.removesuffix('%')) / 100:.3f}"
    return printed.replace(",", "").replace(";", " ")


def test_the_bins_of_table_4_are_those_of_its_overlap() -> None:
    counts = {(row["dataset"], row["property"]): row["value"] for row in rows_of("healnet-table4.csv")}
    for cohort in COHORTS:
        slides, omic, overlap = (int(counts[cohort, name]) for name in ("slides", "having:omic", "rows"))
        assert overlap == min(slides, omic) == sum(map(int, counts[cohort, "bins"].split()))


def claims_of(kind: str) -> list[Mapping[str, str]]:
    """The claims of a kind that state an amount."""
    rows = rows_of("healnet-claims.csv")
    return [row for row in rows if row["kind"] == kind and row["number"].endswith("%")]


def gains_in_table_1(claim: Mapping[str, str]) -> list[float]:
    """By how many per cent the claim's model beats the best of those it is held against, cohort by cohort."""
    table = {place[:3]: float(mean) for place, (mean, _) in numbers_of("table1").items()}

    def best(cohort: str) -> float:
        names = (name.partition("@") for name in claim["against"].split())
        places = ((cohort, model, sets or claim["modalities"]) for model, _, sets in names)
        return max(table[place] for place in places if place in table)

    cohorts = claim["datasets"].split()
    return [100 * (table[cohort, claim["model"], claim["modalities"]] / best(cohort) - 1) for cohort in cohorts]


def test_every_claim_of_an_amount_is_judged_by_it() -> None:
    """`7 %` stands in the column that the verdict reads, too."""
    amounts = [row for row in rows_of("healnet-claims.csv") if "%" in row["number"]]
    assert {row["kind"] for row in amounts} == {"gain-over-best", "mean-gain-over-best"}
    for claim in amounts:
        assert claim["number"] == f"{claim['threshold']} %", claim["id"]


OF_TABLE_1 = {"c01": [7.7], "c02": [1.3], "c03": [2.8], "c04": [0.5], "c05": [10.2, 10.0], "c06": [4.1]}
"""Per cent, as the notes of the claims have them."""


def test_gains_that_follow_from_table_1() -> None:
    gains = {claim["id"]: gains_in_table_1(claim) for claim in claims_of("gain-over-best")}
    assert {name: [round(gain, 1) for gain in of] for name, of in gains.items()} == OF_TABLE_1
    short = [c["id"] for c in claims_of("gain-over-best") if min(gains[c["id"]]) < least_amount(c["threshold"])]
    assert short == ["c04"]
    (ucec,) = (claim for claim in claims_of("gain-over-best") if claim["id"] == "c04")
    assert [round(gain, 1) for gain in gains_in_table_1({**ucec, "against": "porpoise mcat"})] == [6.1]


def test_mean_gains_that_follow_from_table_1_are_not_those_that_are_stated() -> None:
    """The introduction states 7 % and 4.5 %; Table 1 gives 5.9 % and 3.1 %, or 4.5 % where early fusion is left out."""
    c20, c21, c22 = claims_of("mean-gain-over-best")
    assert [c["id"] for c in (c20, c21, c22)] == ["c20", "c21", "c22"]
    means = [np.mean(gains_in_table_1(claim)) for claim in (c20, c21, c22)]
    assert [round(mean, 1) for mean in means] == [5.9, 3.1, 5.9]
    for claim, mean in zip((c20, c21, c22), means, strict=True):
        assert claim["claim"].endswith(f"from Table 1 follow {mean:.1f} %")
    assert [claim["number"] for claim in (c20, c21, c22)] == ["7 %", "4.5 %", "5.9 %"]
    assert "stated as up to 7 %;" in c20["claim"]
    assert "stated as up to 4.5 %;" in c21["claim"]
    assert round(np.mean(gains_in_table_1({**c21, "against": "porpoise mcat"})), 1) == 4.5


def test_mean_uplift_of_the_other_fusion_models_in_table_1() -> None:
    (c22,) = (claim for claim in claims_of("mean-gain-over-best") if claim["where"] == "Figure 2")
    others = {name: np.mean(gains_in_table_1({**c22, "model": name})) for name in ("porpoise", "mcat", "early-fusion")}
    assert {name: round(mean, 1) for name, mean in others.items()} == {
        "porpoise": 1.5,
        "mcat": -0.4,
        "early-fusion": -2.5,
    }


def test_spreads_are_lower_in_three_cohorts_of_table_1_and_in_two_of_table_3() -> None:
    """Claim c08, against the mean of the baselines' sd; the tables differ in HEALNet's sd on UCEC."""
    (c08,) = (row for row in rows_of("healnet-claims.csv") if row["id"] == "c08")

    def lower(table: str) -> list[str]:
        sd = {place[:2]: float(number[1]) for place, number in numbers_of(table).items() if place[2] == FUSED}
        return [
            name for name in COHORTS if sd[name, "healnet"] < np.mean([sd[name, m] for m in c08["against"].split()])
        ]

    assert lower("table1") == ["tcga-blca", "tcga-kirp", "tcga-ucec"]
    assert lower("table3") == ["tcga-blca", "tcga-kirp"]
    assert (c08["number"], c08["threshold"]) == ("3 of 4", "3")


def test_all_numbers_of_table_2_stand_beside_the_runs() -> None:
    skill = {"healnet[preset=p]": 1.0, "xor-unimodal": 0.5}
    names = [f"{cohort}[image=dir]" for cohort in COHORTS]
    frames = make_frames(
        skill,
        datasets=names,
        variants=("table5",),
        patterns={"full": 1, "half": 1},
        modalities=dict.fromkeys(skill, FUSED),
    )
    stored = {"notes": [], "rows": rows_of("healnet-table2.csv")}
    card = named(list(reproduction(analysed(frames), lock_of(reference=stored))), "Published numbers")
    assert card.text.startswith("12 of 12 published rows were run")
    lines = [dict(zip(card.header, line, strict=True)) for line in texts(card)]
    assert [line["published"] for line in lines] == [row["mean"] for row in stored["rows"]]
    assert {line["pattern"] for line in lines} == {"full", "half"}
    assert {line["variant"] for line in lines} == {"table5"}
