"""Models of one hospital predict the patients of another: a cell, a row, every row, and cohorts that do not fit."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sksurv.metrics import concordance_index_censored

from fusionbench.core.registry import discover
from fusionbench.session import Session
from tests.conftest import Cli

COHORT = """\
title = "Hospital {name}"
table = "{name}.csv"
id = "patient"
[outcome]
time = "months"
unit = "month"
event = "died"
[modality.clinical]
columns = [{clinical}]
[modality.blood]
columns = [{blood}]
"""
CLINICAL, BLOOD = ("age", "sex", "stage"), ("crp", "albumin")
SUITE = """
title = "Two hospitals"
datasets = ["table[file=a.toml]"]
models = ["cox", "snn", "late-fusion[member=cox]"]
modalities = [["clinical"], ["blood"], ["clinical", "blood"]]
metrics = ["harrell_c_index", "uno_c_index", "ibs"]
[protocol]
folds = 2
[train]
epochs = 2
"""


def patients(n: int, seed: int, prefix: str) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age, stage, crp = rng.normal(60, 9, n), rng.integers(1, 5, n), rng.normal(size=n)
    time = rng.exponential(30 * np.exp(-0.05 * (age - 60) - 0.5 * (stage - 2) - 0.4 * crp))
    ids = [f"{prefix}{i:03d}" for i in range(n)]
    columns = {"age": age.round(1), "sex": rng.choice(["f", "m"], n), "stage": stage, "crp": crp.round(3)}
    columns |= {"albumin": rng.normal(4, 0.5, n).round(2)}
    return pd.DataFrame({"patient": ids, **columns, "months": np.minimum(time, 60).round(2), "died": time < 60})


def write(folder: Path, name: str, table: pd.DataFrame, clinical: object = CLINICAL, blood: object = BLOOD) -> str:
    table.to_csv(folder / f"{name}.csv", index=False)
    quoted = [", ".join(f'"{column}"' for column in columns) for columns in (clinical, blood)]  # type: ignore[union-attr]
    text = COHORT.format(name=name, clinical=quoted[0], blood=quoted[1])
    if not blood:
        text = text[: text.index("[modality.blood]")]
    if "months" not in table.columns:
        text = text[: text.index("[outcome]")] + text[text.index("[modality.clinical]") :]
    (folder / f"{name}.toml").write_text(text)
    return f"{name}.toml"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("hospitals")
    write(home, "a", patients(90, 0, "A"))
    write(home, "b", patients(50, 1, "B"))
    (home / "two.toml").write_text(SUITE)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(home)
        assert not Session(Path("results"), device="cpu", registry=discover()).run("two.toml", track=False).failed
    return home


@pytest.fixture
def home(ran: Path, cli: Cli, tmp_path: Path) -> Path:
    """A copy, in the working directory of `cli`."""
    shutil.copytree(ran, tmp_path, dirs_exist_ok=True)
    return tmp_path


def risks(cli: Cli, *args: str) -> pd.DataFrame:
    result = cli("predict", *args, "--to", "said.csv")
    assert result.returncode == 0, result.stderr
    return pd.read_csv("said.csv", keep_default_na=False).set_index("case")


COX = ("two.toml", "b.toml", "-m", "cox")


def test_a_row_is_the_mean_of_its_fold_models_and_is_scored(cli: Cli, home: Path) -> None:
    result = cli("predict", *COX, "--to", "row.csv")
    assert result.returncode == 0, result.stderr
    row = pd.read_csv("row.csv").set_index("case")
    assert list(row.columns[:3]) == ["risk", "prior", "modalities"]
    assert set(row["modalities"]) == {"clinical+blood"}
    cells = pd.read_csv("results/two/cells.csv")
    keys = cells[(cells["model"] == "cox") & (cells["modalities"] == "clinical+blood")]["key"]
    of_cells = [risks(cli, key, "b.toml") for key in keys]
    assert len(of_cells) == 2
    np.testing.assert_allclose(row["risk"], sum(of["risk"] for of in of_cells) / 2, rtol=1e-12)
    there = patients(50, 1, "B").set_index("patient").loc[row.index]
    expected = concordance_index_censored(there["died"].to_numpy(), there["months"].to_numpy(), row["risk"].to_numpy())
    said = re.search(r"harrell_c_index: (\S+) \[(\S+), (\S+)\]; each model alone (\S+) ± (\S+)", result.stdout)
    assert said is not None, result.stdout
    value, low, high, mean, _ = map(float, said.groups())
    assert value == pytest.approx(expected[0], abs=5e-4)
    assert low < value < high
    alone = [
        concordance_index_censored(there["died"].to_numpy(), there["months"].to_numpy(), of["risk"].to_numpy())[0]
        for of in of_cells
    ]
    assert mean == pytest.approx(np.mean(alone), abs=5e-4)
    assert "50 cases scored" in result.stdout
    assert "uno_c_index: " in result.stdout
    assert "ibs: " in result.stdout


def test_every_row_is_a_table(cli: Cli, home: Path) -> None:
    result = cli("predict", "two.toml", "b.toml", "--all-rows", "--to", "all.csv")
    assert result.returncode == 0, result.stderr
    head, _, *lines = result.stdout.splitlines()[1:]
    assert " ".join(head.split()) == "model modalities c-index 95 % interval of fold models uno_c_index ibs"
    values = [float(re.split(r"\s{2,}", line)[2]) for line in lines]
    assert values == sorted(values, reverse=True)
    assert len(lines) == 7, "three models on each single modality or on both; late fusion needs two"
    everything = pd.read_csv("all.csv")
    assert everything.groupby(["model", "trained_on"]).size().tolist() == [50] * 7


def test_a_member_that_is_no_row_of_the_table_predicts_and_is_scored(cli: Cli, home: Path) -> None:
    (home / "one.toml").write_text(SUITE.replace('"cox", "snn", ', ""))
    assert cli("run", "one.toml", "--no-track").returncode == 0
    listed = set(pd.read_csv("results/one/cells.csv")["key"])
    member = next(
        p.parent.name for p in (home / "results/one/cells").glob("*/cell.json") if p.parent.name not in listed
    )
    result = cli("predict", f"one/{member}", "b.toml", "--to", "member.csv")
    assert result.returncode == 0, result.stderr
    assert "50 cases scored" in result.stdout


def test_columns_in_another_order_change_no_bit(cli: Cli, home: Path) -> None:
    table = patients(50, 1, "B")
    write(home, "c", table[table.columns[::-1]], clinical=("stage", "age", "sex"), blood=("albumin", "crp"))
    one, other = (risks(cli, "two.toml", f"{name}.toml", "-m", "cox") for name in "bc")
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_what_differs_is_told(cli: Cli, home: Path) -> None:
    table = patients(50, 1, "B").rename(columns={"stage": "pT"}).assign(weight=70.0)
    table.loc[:5, "sex"] = "unknown gender"
    write(home, "c", table, clinical=("age", "sex", "pT", "weight"))
    result = cli("predict", "two.toml", "c.toml", "-m", "cox", "--to", "c.csv")
    assert result.returncode == 0, result.stderr
    assert "modality 'clinical': 1 column (stage) is absent here: imputed as in training" in result.stderr
    assert "2 columns (pT, weight) are not among those that it was fitted on: left out" in result.stderr
    assert "column 'sex': 6 of 50 cases (12%) have a level that no training case has; the model knows" in result.stderr


def test_a_hospital_without_a_modality(cli: Cli, home: Path) -> None:
    write(home, "c", patients(50, 1, "B").drop(columns=[*BLOOD]), blood=())
    result = cli("predict", "two.toml", "c.toml", "--all-rows", "--to", "c.csv")
    assert result.returncode == 0, result.stderr
    assert "modality 'blood': no case has it; it counts as missing" in result.stderr
    assert "cox on blood: table[file=c.toml] has none of the modalities blood; it has clinical" in result.stderr
    late = pd.read_csv("c.csv").query("model.str.startswith('late-fusion')")
    assert set(late["modalities"]) == {"clinical"}
    assert not late["prior"].any()


def test_patients_without_outcomes(cli: Cli, home: Path) -> None:
    table = patients(50, 1, "B")
    write(home, "c", table.drop(columns=["months", "died"]))
    result = cli("predict", "two.toml", "c.toml", "-m", "cox", "--to", "c.csv")
    assert result.returncode == 0, result.stderr
    assert "no case has an outcome: predicted, not scored" in result.stderr
    table.loc[:9, "months"] = np.nan
    write(home, "d", table)
    some = cli("predict", "two.toml", "d.toml", "-m", "cox", "--to", "d.csv")
    assert some.returncode == 0, some.stderr
    assert "10 of 50 cases have no outcome: not scored" in some.stderr
    assert "40 cases scored" in some.stdout
    assert len(pd.read_csv("d.csv")) == 50


def test_days_called_months_are_suspected(cli: Cli, home: Path) -> None:
    write(home, "c", patients(50, 1, "B").assign(months=lambda t: t["months"] * 30.44))
    result = cli("predict", "two.toml", "c.toml", "-m", "cox", "--to", "c.csv")
    assert re.search(r"median follow-up is \S+ months here and \S+ in training: look at the unit", result.stderr)


def test_training_patients_are_no_external_test(cli: Cli, home: Path) -> None:
    result = cli("predict", "two.toml", "a.toml", "-m", "cox", "--to", "c.csv")
    assert "90 of 90 cases have the id or the group of a training case ('A000', 'A001'" in result.stderr


def test_one_patient(cli: Cli, home: Path) -> None:
    write(home, "c", patients(50, 1, "B")[:1])
    result = cli("predict", "two.toml", "c.toml", "-m", "cox")
    assert result.returncode == 0, result.stderr
    assert len(pd.read_csv(io.StringIO(result.stdout))) == 1
    assert "harrell_c_index: undefined: no comparable pair" in result.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("two.toml", "b.toml", "-m", "cocks"), "unknown model of this suite 'cocks'"),
        (("two.toml", "b.toml", "-m", "cox", "--modalities", "clinical+rna"), "unknown modality set"),
        (("two.toml", "b.toml", "-m", "cox", "--variant", "joined"), "unknown variant"),
        (("two.toml", "b.toml", "-m", "cox", "-d", "b.toml"), "unknown dataset of this suite"),
        (("two.toml", "b.toml", "-m", "cox", "--all-rows"), "either --model or --all-rows"),
        (("two.toml", "nothing.toml", "-m", "cox"), "nothing.toml"),
        (("two.toml", "b.toml"), "no cell key"),
    ],
)
def test_bad_requests(cli: Cli, home: Path, args: tuple[str, ...], said: str) -> None:
    result = cli("predict", *args)
    assert result.returncode == 2, result.stdout
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "clinical", "said"),
    [
        ({"stage": lambda t: t["stage"].map({1: "I", 2: "II", 3: "III", 4: "IV"})}, CLINICAL, "numbers in training"),
        ({"sex": lambda t: (t["sex"] == "m").astype(int)}, CLINICAL, "levels ('f', 'm') in training, numbers here"),
        ({"weight": 70.0}, ("weight",), "none of the columns that it was fitted on"),
        ({"weight": 70.0}, ("weight", "age"), "2 of the 3 columns that it was fitted on are absent"),
    ],
)
def test_columns_that_do_not_fit_are_one_line(
    cli: Cli, home: Path, change: dict[str, object], clinical: tuple[str, ...], said: str
) -> None:
    write(home, "c", patients(50, 1, "B").assign(**change), clinical=clinical)
    result = cli("predict", "two.toml", "c.toml", "-m", "cox")
    assert result.returncode == 2, result.stdout
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_two_cohorts_beside_each_other(cli: Cli, home: Path) -> None:
    seen = cli("data", "check", "a.toml", "b.toml")
    assert seen.returncode == 0, seen.stderr
    assert "clinical: 3 columns in both" in seen.stdout
    assert "nothing suspicious between them" in seen.stdout, "two draws of one population"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.assign(patient=["A000", *t["patient"][1:]]), "1 case id is in both ('A000')"),
        (lambda t: t.assign(crp=lambda u: u["crp"] * 100 + 500), "1 column on two scales: crp (median"),
        (lambda t: t.assign(albumin=lambda u: u["albumin"] * 10), "1 column on two scales: albumin (median"),
        (lambda t: t.assign(sex=["f"] * 40 + ["unknown gender"] * 10), "does not have, of so many cases: sex (20%)"),
        (lambda t: t.assign(sex=(t["sex"] == "m").astype(int)), "'sex': levels in one cohort and numbers in the other"),
        (lambda t: t.assign(months=t["months"] * 30.44), "months: look at the unit of time"),
        (lambda t: t.assign(months=t["months"] / 12), "months: look at the unit of time"),
    ],
)
def test_what_makes_an_external_test_doubtful(cli: Cli, home: Path, change: object, said: str) -> None:
    write(home, "c", change(patients(50, 1, "B")))  # type: ignore[operator]
    seen = cli("data", "check", "a.toml", "c.toml")
    assert seen.returncode == 0, seen.stderr
    (warning,) = [line for line in seen.stdout.splitlines() if line.startswith("warning: ")]
    assert said in warning
    kinds = json.loads(cli("data", "check", "a.toml", "c.toml", "--json").stdout)["warnings"]
    assert len(kinds) == 1


def test_patients_of_both_under_other_ids(cli: Cli, home: Path) -> None:
    both = pd.concat([patients(50, 1, "B"), patients(90, 0, "A").head(12).assign(patient=lambda t: "X" + t["patient"])])
    write(home, "c", both)
    seen = cli("data", "check", "a.toml", "c.toml")
    assert "12 cases have the values of a case of the other cohort (the first: 'A000' and 'XA000')" in seen.stdout
