"""What models find of classes whose true probabilities are known, as the published suite shows it of survival."""

from __future__ import annotations

import pandas as pd
import pytest

from fusionbench.session import Selection, Session

SIZE = "bag_max=20,bag_min=10,cases=600,seed=1"
ADDITIVE = f"synthetic[{SIZE},strength_interaction=0,task=binary]"
INTERACTION = f"synthetic[{SIZE},strength_bag=0,strength_interaction=2,strength_vector=0,task=binary]"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """AUROC and its interval on one of three folds, by dataset and model."""
    root = tmp_path_factory.mktemp("planted")
    (root / "planted.toml").write_text(
        f'title = "Planted"\ndatasets = ["{ADDITIVE}", "{INTERACTION}"]\n'
        'models = ["healnet", "late-fusion", "best-unimodal[candidates=unimodal]"]\n'
        'modalities = [["vector", "bag"]]\nmetrics = ["auroc"]\n[protocol]\nfolds = 3\n'
    )
    session = Session(out=root / "results", device="cpu")
    session.run(str(root / "planted.toml"), Selection(folds="0"), track=False)
    return session.table("planted").set_index(["dataset", "model"])


@pytest.mark.slow
@pytest.mark.parametrize("model", ["healnet", "late-fusion"])
def test_additive_signal_is_found(table: pd.DataFrame, model: str) -> None:
    """At least 85 % of the way from chance to the oracle."""
    found, oracle = (table.loc[(ADDITIVE, name), "mean"] for name in (model, "oracle"))
    assert found - 0.5 >= 0.85 * (oracle - 0.5)


@pytest.mark.slow
def test_pure_interaction_is_found_by_fusion_alone(table: pd.DataFrame) -> None:
    healnet, alone = (table.loc[(INTERACTION, name)] for name in ("healnet", "best-unimodal[candidates=unimodal]"))
    assert alone["ci_low"] < 0.5 < alone["ci_high"]
    assert healnet["ci_low"] > alone["ci_high"]
    assert healnet["mean"] > 0.95
