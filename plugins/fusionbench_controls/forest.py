"""Random survival forest on concatenated vectors."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fusionbench import (
    CaseSet,
    DataError,
    FitContext,
    FusionModel,
    Interval,
    Options,
    Predictor,
    RestoreContext,
    SearchSpace,
    State,
    SurvivalPrediction,
)
from fusionbench_controls.features import (
    Bools,
    Floats,
    Outcomes,
    as_state,
    encode_ids,
    fitting_rows,
    positions,
    same_columns,
    sklearn_seed,
)
from fusionbench_controls.hazards import prediction
from fusionbench_controls.trees import TreeArrays

if TYPE_CHECKING:
    from sksurv.ensemble import RandomSurvivalForest

_HELD_OUT = "held_out."


class SurvivalForestOptions(Options):
    """How the trees grow.

    Attributes:
        trees: 100, as PROTOCOLS has it; fewer than 25 would leave validation cases without an out-of-bag tree.
        min_leaf: smallest number of distinct cases in a leaf; 15.
        max_features: columns tried at a split; the square root of their number, as in Ishwaran et al. 2008.
    """

    trees: int = Field(100, ge=25)
    min_leaf: int = Field(15, ge=1)
    max_features: Literal["sqrt", "log2"] = "sqrt"


class SurvivalForest(FusionModel):
    """Random survival forest on the columns of all modalities; bags are averaged over their instances.

    Fitted on training and validation cases; what it says of a validation case is out-of-bag. A patient with many rows
    (slides) can be in every tree's sample; then a second forest, of the other patients' rows alone, speaks for all
    validation cases.

    Source: Ishwaran, Kogalur, Blackstone and Lauer 2008.
    """

    name = "survival-forest"
    version = "1"
    Options = SurvivalForestOptions
    missing = "impute"
    options: SurvivalForestOptions

    def search_space(self) -> SearchSpace:
        return {"min_leaf": Interval(5, 40)}

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        """Fit on training and validation cases together.

        Raises:
            DataError: if fewer than two cases have an event, or no tree finds a split.
        """
        rows = fitting_rows(train, val, self.name)
        forest = self._grown(rows, ctx.seed)
        trees = self._split(forest, rows)
        out_of_bag = _out_of_bag(forest.estimators_samples_, rows)[len(train) :]
        held_out = None
        if not out_of_bag.any(axis=1).all():
            other_groups = rows.take(~np.isin(rows.group, rows.group[len(train) :]))
            held_out = self._split(self._grown(other_groups, ctx.seed), other_groups)
        return SurvivalForestPredictor(trees, encode_ids(val.ids), out_of_bag, held_out)

    def _split(self, forest: RandomSurvivalForest, rows: Outcomes) -> TreeArrays:
        trees = TreeArrays.of(forest)
        if len(trees.root) == len(trees.leaf):
            raise DataError(
                f"survival-forest: no tree splits {len(rows)} cases into leaves of {self.options.min_leaf}; "
                "give more cases or a smaller survival-forest[min_leaf=...]"
            )
        return trees

    def _grown(self, rows: Outcomes, seed: int) -> RandomSurvivalForest:
        from sksurv.ensemble import RandomSurvivalForest
        from sksurv.util import Surv

        forest = RandomSurvivalForest(
            n_estimators=self.options.trees,
            min_samples_leaf=self.options.min_leaf,
            max_features=self.options.max_features,
            n_jobs=1,
            random_state=sklearn_seed(seed),
        )
        y = Surv.from_arrays(rows.event, last_event_before(rows.time, rows.event))
        return forest.fit(rows.x.astype(np.float32), y)

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        names = [field.name for field in fields(TreeArrays)]
        trees = TreeArrays(**{name: state[name] for name in names})
        held_out = None
        if _HELD_OUT + names[0] in state:
            held_out = TreeArrays(**{name: state[_HELD_OUT + name] for name in names})
        return SurvivalForestPredictor(trees, state["val_ids"], state["val_out_of_bag"], held_out)


def last_event_before(time: Floats, event: Bools) -> Floats:
    """(case,) times with each censored case moved back to the last event it survived, or to 0 where there is none.

    Nobody enters or leaves a risk set at an event by this, so log-rank splits and hazards are the same, at a third of
    the time: the trees' cost grows with the number of distinct times.
    """
    events = np.unique(time[event])
    return np.concatenate([[0.0], events])[np.searchsorted(events, time, side="right")]


def _out_of_bag(samples: list[NDArray[np.intp]], rows: Outcomes) -> Bools:
    """(case, tree): neither the case nor another row of its group is in the tree's sample (row indices)."""
    seen = np.zeros((len(samples), rows.group.max() + 1), dtype=bool)
    for tree, sample in enumerate(samples):
        seen[tree, rows.group[sample]] = True
    return ~seen[:, rows.group].T


class SurvivalForestPredictor(Predictor):
    """Risk is the ensemble cumulative hazard summed over event times (the expected number of events); S = exp(-H)."""

    def __init__(
        self, trees: TreeArrays, val_ids: NDArray[np.uint8], val_out_of_bag: Bools, held_out: TreeArrays | None = None
    ) -> None:
        """`val_out_of_bag`: (validation case, tree) for the cases in `val_ids` (see `encode_ids`).

        `held_out`: trees that saw no validation patient, where some case is out of no tree's bag.
        """
        self.trees, self.val_ids, self.val_out_of_bag, self.held_out = trees, val_ids, val_out_of_bag, held_out

    def predict(self, cases: CaseSet) -> SurvivalPrediction:
        return _said(self.trees, cases, np.ones((len(cases), len(self.trees.root)), dtype=bool))

    def predict_validation(self, val: CaseSet) -> SurvivalPrediction:
        """Each case by the trees it was out of the bag of."""
        use = self.val_out_of_bag[positions(self.val_ids, val.ids, "survival-forest")]
        if self.held_out is not None:
            return _said(self.held_out, val, np.ones((len(val), len(self.held_out.root)), dtype=bool))
        return _said(self.trees, val, use)

    def state(self) -> State:
        held_out = {} if self.held_out is None else {_HELD_OUT + k: a for k, a in asdict(self.held_out).items()}
        own = {"val_ids": self.val_ids, "val_out_of_bag": self.val_out_of_bag}
        return as_state({**asdict(self.trees), **own, **held_out})


def _said(trees: TreeArrays, cases: CaseSet, use: Bools) -> SurvivalPrediction:
    """By those trees that `use`, (case, tree), lets speak for a case."""
    x = same_columns(cases, int(trees.columns[0]), "survival-forest").astype(np.float32)
    hazard = trees.cumulative_hazard(x, use)
    return prediction(cases.ids, hazard.sum(axis=1), np.exp(-hazard), trees.times)
