"""`fusionbench explain` as a user calls it, on a cohort whose answer is known, on odd names, and on what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fusionbench.builtin.synthetic import Synthetic, SyntheticOptions
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.report.html.page import escaped
from fusionbench.session import Session
from fusionbench.suites.selection import Selection
from fusionbench.tools.explain import Request
from fusionbench.tools.explain.verdict import Outcome as VerdictOutcome
from tests.conftest import Cli, Outcome
from tests.e2e.test_bad_input import one_error
from tests.own_cohort import write_cohort

SMALL = """
title = "Small"
datasets = ["synthetic[cases=60,missing=0.1]"]
models = ["healnet[tokens=feature]", "abmil", "cox", "late-fusion[member=cox]", "healnet"]
modalities = [["vector"], ["bag"], ["vector", "bag"]]
metrics = ["harrell_c_index"]
[protocol]
folds = 2
test_patterns = ["full", "drop:*"]
[train]
epochs = 2
"""
FEATURES = "healnet[tokens=feature]"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small.toml and its results."""
    home = tmp_path_factory.mktemp("small")
    (home / "small.toml").write_text(SMALL)
    Session(out=home / "results", device="cpu").run(str(home / "small.toml"), track=False)
    return home


@pytest.fixture
def small(run: Path, cli: Cli, tmp_path: Path) -> Callable[..., Outcome]:
    """`fusionbench explain small.toml ...` in a copy of that folder."""
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)
    return lambda *args: cli("explain", "small.toml", *args)


def test_a_case_becomes_a_page_figures_and_tables(small: Callable[..., Outcome]) -> None:
    result = small("-m", "healnet", "--top-risk", "2")
    assert result.returncode == 0, result.stderr
    page = Path(result.stdout.splitlines()[0].partition(": ")[2])
    assert page.parent.parent == Path("results/small/explain/healnet")
    names = {p.relative_to(page.parent).as_posix() for p in page.parent.rglob("*") if p.is_file()}
    assert names >= {"explanation.html", "explanation.json", "items.csv", "layers.csv", "curves.csv"}
    assert names >= {f"figures/{name}.{kind}" for name in ("agreement", "layers", "items") for kind in ("png", "svg")}
    text = page.read_text(encoding="utf-8")
    assert "Not drawn. " in text
    assert "<b>Heatmap</b>: " in text
    assert not re.findall(r'(?:src|href)="(?!#|data:)', text), "a page that needs nothing else"
    items = pd.read_csv(page.parent / "items.csv")
    shares = items[items["modality"] == "bag"]["attention"]
    assert shares.sum() == pytest.approx(1)
    layers = pd.read_csv(page.parent / "layers.csv")
    assert list(layers["layer"]) == [1, 2]
    assert layers[["total_variation", "jensen_shannon", "total_variation_between_seeds"]].stack().between(0, 1).all()
    about = json.loads((page.parent / "explanation.json").read_text())
    assert about["rank_in_fold"] == 1
    verdicts = [modality["verdict"] for modality in about["modalities"].values()]
    assert result.stdout.splitlines()[1 : 1 + len(verdicts)] == [f"  {of['text']}" for of in verdicts]
    assert all(escaped(of["text"]) in text for of in verdicts)
    summary = pd.read_csv("results/small/explain/healnet/summary.csv")
    assert summary["case"].nunique() == 2
    assert set(summary["verdict"]) <= {str(outcome) for outcome in VerdictOutcome}
    again = small("-m", "healnet", "--case", about["case"])
    assert again.returncode == 0
    assert json.loads((page.parent / "explanation.json").read_text()) == about


def test_top_risk_asks_the_predictions_and_not_the_outcome(small: Callable[..., Outcome]) -> None:
    """The order is that of each fold's own predicted risks."""
    assert small("-m", "cox", "--top-risk", "3").returncode == 0
    summary = pd.read_csv("results/small/explain/cox/summary.csv").drop_duplicates("case")
    stored = pd.read_parquet("results/small/predictions.parquet")
    own = stored[(stored["model"] == "cox") & (stored["modalities"] == "vector+bag") & (stored["pattern"] == "full")]
    firsts = own.loc[own.groupby("fold")["risk"].idxmax(), "case"]
    assert set(summary["case"][:2]) == set(firsts)


def test_a_model_without_attention_is_explained_by_occlusion(small: Callable[..., Outcome]) -> None:
    """The risk of a linear model is a sum over columns, so contributions differ between two cases as their risks do."""
    (cell, *_) = _cells("cox", "vector")
    stored = pd.read_parquet(cell / "predictions.parquet").query("split == 'test' and pattern == 'full'")
    risks = stored.set_index("case")["risk"]
    sums = {}
    for case in (risks.idxmax(), risks.idxmin()):
        assert small("-m", "cox", "--case", case, "--modalities", "vector").returncode == 0
        (page,) = Path("results/small/explain/cox").glob(f"{case}*/explanation.html")
        assert "cox has no attention" in page.read_text()
        items = pd.read_csv(page.parent / "items.csv")
        assert items["attention"].isna().all()
        sums[case] = items["contribution"].sum()
    assert sums[risks.idxmax()] - sums[risks.idxmin()] == pytest.approx(risks.max() - risks.min(), rel=1e-4)
    assert risks.max() - risks.min() > 0.01


def test_the_contribution_of_a_modality_is_the_risk_with_it_minus_the_risk_without_it(
    small: Callable[..., Outcome],
) -> None:
    """The run has predicted its test cases without each modality, too."""
    assert small("-m", "healnet", "--top-risk", "1").returncode == 0
    (page,) = Path("results/small/explain/healnet").glob("*/explanation.html")
    about = json.loads((page.parent / "explanation.json").read_text())
    cell = _cell_of("healnet", "vector+bag", about["case"])
    stored = pd.read_parquet(cell / "predictions.parquet").query("split == 'test'")
    risk = stored[stored["case"] == about["case"]].set_index("pattern")["risk"]
    assert set(about["modalities"]) == {"vector", "bag"}
    for name, modality in about["modalities"].items():
        assert modality["contribution"] == pytest.approx(risk["full"] - risk[f"drop:{name}"], rel=1e-3, abs=1e-6)
        assert abs(modality["contribution"]) > 1e-4


def test_members_of_a_fusion_are_occluded_too(small: Callable[..., Outcome]) -> None:
    assert small("-m", "late-fusion[member=cox]", "--top-risk", "1").returncode == 0
    (fused,) = Path("results/small/explain").glob("late_fusion_member*/*/items.csv")
    changes = pd.read_csv(fused).groupby("modality")["contribution"]
    assert set(changes.groups) <= {"vector", "bag"}
    assert (changes.apply(lambda x: x.abs().max()) > 0).all()


def test_features_that_are_tokens_have_attention_each(small: Callable[..., Outcome]) -> None:
    assert small("-m", FEATURES, "--top-risk", "1", "--modalities", "vector").returncode == 0
    (path,) = Path("results/small/explain").glob("healnet_tokens*/*/items.csv")
    items = pd.read_csv(path)
    assert list(items["name"][:2]) == ["main_0", "main_1"]
    assert items["attention"].sum() == pytest.approx(1)


def test_levels_of_text_have_their_names(tmp_path: Path) -> None:
    write_cohort(tmp_path, 30)
    (tmp_path / "own.toml").write_text(
        f'title = "Own"\ndatasets = ["table[file={tmp_path / "cohort.toml"}]"]\nmodels = ["cox"]\n'
        'modalities = [["clinical"]]\n[protocol]\nfolds = 2\n'
    )
    session = Session(out=tmp_path / "results", device="cpu")
    session.run(str(tmp_path / "own.toml"), track=False)
    report = session.explain(Request("own", "cox", top_risk=1))
    (modality,) = report.explanations[0].modalities
    assert set(modality.item_names) == {"age", "sex=f", "sex=m", "stage", "smoker=yes", "smoker=no"}
    assert "sex=f" in report.pages[0].read_text()


def test_a_missing_modality_is_said(small: Callable[..., Outcome]) -> None:
    cases = Synthetic(SyntheticOptions(cases=60, missing=0.1), Path()).cases()
    lacking = next(case.id for case in cases if "bag" not in case.refs)
    assert small("-m", "healnet", "--case", lacking).returncode == 0
    page = Path(f"results/small/explain/healnet/{lacking}/explanation.html").read_text()
    assert "The case has no bag: no attention and no contribution to show" in page
    one_error(small("-m", "abmil", "--case", lacking), "has none of bag", "training mean", "--modalities")


BAD = {
    "no-case": (("-m", "cox"), ["--case ID", "--top-risk N"]),
    "both": (("-m", "cox", "--case", "case-00001", "--top-risk", "1"), ["--case ID", "--top-risk N"]),
    "nobody": (("-m", "cox", "--top-risk", "0"), ["--top-risk 0: must be at least 1"]),
    "case": (
        ("-m", "cox", "--case", "case-0001"),
        ["'case-0001' is no case", "did you mean 'case-00", "60 test cases"],
    ),
    "model": (("-m", "healnt", "--top-risk", "1"), ["unknown model of this suite 'healnt'", "did you mean 'healnet'"]),
    "rows": (("-m", "late-fusion", "--top-risk", "1", "--modalities", "bag"), ["was skipped on bag"]),
    "modalities": (("-m", "cox", "--top-risk", "1", "--modalities", "bagg"), ["'bagg'", "did you mean 'bag'"]),
    "skipped": (("-m", "abmil", "--top-risk", "1", "--modalities", "vector"), ["was skipped on vector", "bags and"]),
    "variant": (("-m", "cox", "--top-risk", "1", "--variant", "l1"), ["unknown variant 'l1'", "base"]),
    "repeat": (("-m", "cox", "--top-risk", "1", "--repeat", "3"), ["--repeat 3", "repeats 0 to 0"]),
    "dataset": (("-m", "cox", "--top-risk", "1", "-d", "hancok"), ["unknown dataset of this suite 'hancok'"]),
    "slides": (("-m", "abmil", "--top-risk", "1", "--slides", "nowhere"), ["--slides nowhere: no such folder"]),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_cannot_be_explained_is_refused_in_one_line(small: Callable[..., Outcome], fault: str) -> None:
    args, words = BAD[fault]
    one_error(small(*args), *words)
    assert not list(Path("results").glob("*/explain"))


def test_what_is_not_stored_is_told_with_its_remedy(small: Callable[..., Outcome], cli: Cli) -> None:
    one_error(cli("explain", "quickstart", "-m", "cox", "--top-risk", "1"), "nothing has been run", "fusionbench run")
    asked = ("-m", "cox", "--case", "case-00003", "--modalities", "vector")
    cell = _cell_of("cox", "vector", "case-00003")
    (cell / "model.safetensors").unlink()
    one_error(small(*asked), "model.safetensors", "run the suite again")
    record = json.loads((cell / "cell.json").read_text())
    (cell / "cell.json").write_text(json.dumps({**record, "status": "failed", "reason": "it broke"}))
    one_error(small(*asked), "failed: it broke", "--retry failed")
    (cell / "cell.json").unlink()
    one_error(small(*asked), "has not run", "fusionbench run small -m")
    Path("small.toml").write_text(SMALL.replace("folds = 2", "folds = 2\nbins = 3"))
    one_error(small("-m", "cox", "--case", "case-00003", "--modalities", "bag"), "is stale", "fusionbench run small -m")


def test_weights_of_another_fit_are_noticed(small: Callable[..., Outcome]) -> None:
    cells = {
        fold: p
        for p in _cells("cox", "vector")
        for fold in [json.loads((p / "cell.json").read_text())]
        for fold in [fold["record"]["cell"]["fold"]]
    }
    shutil.copy(cells[1] / "model.safetensors", cells[0] / "model.safetensors")
    case = pd.read_parquet(cells[0] / "predictions.parquet").query("split == 'test'")["case"].iloc[0]
    one_error(small("-m", "cox", "--case", case, "--modalities", "vector"), "is stored; run it again")


def test_published_results_hold_no_weights(small: Callable[..., Outcome], cli: Cli) -> None:
    published = Path(__file__).parents[2] / "results" / "published"
    result = cli("explain", "synthetic-fusion", "-m", "healnet", "--top-risk", "1", "--out", str(published))
    one_error(result, "published results hold no weights", "fusionbench run synthetic-fusion")


def _cells(model: str, modalities: str) -> list[Path]:
    found = []
    for path in Path("results/small/cells").glob("*/cell.json"):
        about = json.loads(path.read_text())["record"]["cell"]
        found += [path.parent] if (about["model"], about["modalities"]) == (model, modalities) else []
    return found


def _cell_of(model: str, modalities: str, case: str) -> Path:
    """The cell in whose test fold the case is."""
    for cell in _cells(model, modalities):
        frame = pd.read_parquet(cell / "predictions.parquet")
        if case in set(frame[frame["split"] == "test"]["case"]):
            return cell
    raise LookupError(case)


EVIL = "../../<img src=x onerror=alert(1)>$\\frac{1}{2}$_&"


def test_names_never_leave_the_results_nor_become_markup(cli: Cli, tmp_path: Path) -> None:
    """A case, a column and a modality with whatever HTML, LaTeX and a file system make something of."""
    rng = np.random.default_rng(0)
    ids = [EVIL, "..", *(f"p{i}" for i in range(38))]
    table = {"id": ids, "months": rng.exponential(20, 40) + 1, "died": [1, 0] * 20, f"a {EVIL}": rng.normal(size=40)}
    pd.DataFrame({**table, "b": rng.normal(size=40)}).to_csv("patients.csv", index=False)
    columns = json.dumps([f"a {EVIL}", "b"])
    Path("cohort.toml").write_text(
        'title = "<b>Odd</b>"\ntable = "patients.csv"\nid = "id"\n[outcome]\ntime = "months"\nunit = "month"\n'
        f'event = "died"\n[modality.clinical]\ncolumns = {columns}\n'
    )
    Path("odd.toml").write_text(
        'title = "Odd"\ndatasets = ["table[file=cohort.toml]"]\nmodels = ["healnet[tokens=feature]"]\n'
        'modalities = [["clinical"]]\n[protocol]\nfolds = 2\n[train]\nepochs = 1\n'
    )
    assert cli("run", "odd.toml", "--no-track").returncode == 0
    before = {p for p in tmp_path.rglob("*") if "explain" not in p.parts}
    for case in (EVIL, ".."):
        result = cli("explain", "odd.toml", "-m", FEATURES, "--case", case)
        assert result.returncode == 0, result.stderr
    made = Path("results/odd/explain").resolve()
    assert {p for p in tmp_path.rglob("*") if "explain" not in p.parts} == before
    pages = list(made.glob("*/*/explanation.html"))
    assert len(pages) == 2
    for path in made.rglob("*"):
        assert re.fullmatch(r"[A-Za-z0-9._-]+", path.name), path
    text = next(page for page in pages if "img" in page.parent.name).read_text(encoding="utf-8")
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    one_error(cli("explain", "odd.toml", "-m", FEATURES, "--case", "<b>"), "case '<b>' is no case of this row")


STILL_MODELS = (
    *("healnet", "abmil", "mifcn[width=8,hidden=8,attention_width=4,clusters=3]", "mcat[groups=one]"),
    *("survpath[groups=one,group_widths=[8]]", "motcat[groups=one,group_widths=[8],feedforward=8]"),
    *("mult[width=8,heads=2,layers=1]", "mbt[width=8,heads=2]", "perceiver-io[latents=4,latent_dim=8]", "lmf"),
    *("multimodn", "clam[branches=output,instance=event]", "dsmil", "ilra[width=16]"),
)
STILL = f"""
title = "Trained at a rate of nothing"
datasets = ["synthetic[cases=40]"]
models = {json.dumps(STILL_MODELS)}
modalities = [["bag"], ["vector", "bag"]]
metrics = ["harrell_c_index"]
[protocol]
folds = 2
[train]
epochs = 1
lr = 1e-12
weight_decay = 0.0
"""


def test_a_network_that_has_not_learnt_has_the_initial_attention_of_its_seed(tmp_path: Path) -> None:
    """The start is that of the very cell: k-means of clusters and order of random numbers included."""
    (tmp_path / "still.toml").write_text(STILL)
    suite, session = str(tmp_path / "still.toml"), Session(out=tmp_path / "results", device="cpu")
    session.run(suite, Selection(folds="0"), track=False)
    for model in STILL_MODELS:
        plan, _ = session.as_run(suite, Request(suite, model, top_risk=1).selection)
        case = next(cell for cell in plan.listed if cell.fold == 0 and cell.model == PluginRef.parse(model)).split.test[
            0
        ]
        (explanation,) = session.explain(Request(suite, model, case=case, draws=1)).explanations
        attention = next(m.attention for m in explanation.modalities if m.name == "bag")
        assert attention is not None
        assert attention.distance_from_initial.max() < 1e-5, model
        assert attention.distance_between_seeds.min() > 1e-4, model


PLANTED = """
title = "Planted"
datasets = ["synthetic[cases=400,strength_interaction=0]"]
models = ["{model}"]
modalities = [{modalities}]
metrics = ["harrell_c_index"]
[protocol]
folds = 2
[train]
{train}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "modalities", "train", "times"),
    [
        ("abmil", ["bag"], "epochs = 20\npatience = 5", 5),
        # HEALNet's average is over heads and latents, most with nearly even attention. It depends on the seed: with one
        # head and 8 latents 7.4 was measured under one, 4.2, 3.3 and 2.8 under seeds 0, 1 and 2; with the default 4
        # heads and 16 latents 4.6 (3.6 and 5.7 in its layers), with one head and 16 latents 3.9.
        pytest.param(
            *("healnet[heads=1,latents=8]", ["vector", "bag"], "epochs = 30\nlr = 0.001", 5),
            marks=pytest.mark.xfail(reason="the goal of 5 is missed: 4.2", strict=True),
        ),
        ("healnet", ["vector", "bag"], "epochs = 30\nlr = 0.001", 3),
    ],
)
def test_attention_finds_the_planted_instances_and_occlusion_agrees(
    tmp_path: Path, model: str, modalities: list[str], train: str, times: float
) -> None:
    """Where one instance in ten carries the signal: over twelve test cases of a fold."""
    text = PLANTED.format(model=model, modalities=json.dumps(modalities), train=train)
    (tmp_path / "planted.toml").write_text(text)
    suite, session = str(tmp_path / "planted.toml"), Session(out=tmp_path / "results", device="cpu")
    session.run(suite, Selection(folds="0"), track=False)
    plan, _ = session.as_run(suite, Request(suite, model, top_risk=1).selection)
    options = SyntheticOptions(cases=400, strength_interaction=0)
    truth = Synthetic(options, tmp_path).planted_instances()
    attention, change, curves = [], [], []
    for case in next(cell for cell in plan.listed if cell.fold == 0 and not cell.skip).split.test[:12]:
        (explanation,) = session.explain(Request(suite, model, case=case, draws=3)).explanations
        bag = next(modality for modality in explanation.modalities if modality.name == "bag")
        assert bag.attention is not None
        assert bag.occlusion.curve is not None
        there, moved, curve = truth[case], np.abs(bag.occlusion.by_item), bag.occlusion.curve
        attention.append((bag.attention.mean[there].mean(), bag.attention.mean[~there].mean()))
        change.append((moved[there].mean(), moved[~there].mean()))
        few = slice(None, len(curve.k) // 2)
        curves.append((curve.top[few].mean(), curve.random[:, few].mean()))
    ratios = {}
    for name, pairs in (("attention", attention), ("change", change), ("top k to any k", curves)):
        on, off = np.mean(pairs, axis=0)
        ratios[name] = on / off
    assert ratios["attention"] >= times, ratios
    assert ratios["change"] >= 4, ratios
    assert ratios["top k to any k"] >= 2, ratios
