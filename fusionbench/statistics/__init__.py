"""Concordance, censoring, bootstrap intervals, corrected tests, pooling over cohorts: pure functions of arrays."""

from fusionbench.statistics.bootstrap import DRAWS, Resampling, ScoredFold, percentile_interval, resample
from fusionbench.statistics.censoring import Censoring
from fusionbench.statistics.comparison import (
    DETECTABLE,
    PairedTest,
    average_repeats,
    best_position,
    corrected_t_test,
    fold_shares,
    holm,
    mean_over_folds,
    standard_deviation,
)
from fusionbench.statistics.concordance import (
    TIED_RISK,
    Pairs,
    comparable_pairs,
    concordance,
    harrell_c,
    tied_ranks,
    weighted_c,
)
from fusionbench.statistics.discrimination import weighted_auc
from fusionbench.statistics.groups import log_rank_p, risk_groups
from fusionbench.statistics.meta import RandomEffects, RankTest, random_effects, rank_test

__all__ = [
    "DETECTABLE",
    "DRAWS",
    "TIED_RISK",
    "Censoring",
    "PairedTest",
    "Pairs",
    "RandomEffects",
    "RankTest",
    "Resampling",
    "ScoredFold",
    "average_repeats",
    "best_position",
    "comparable_pairs",
    "concordance",
    "corrected_t_test",
    "fold_shares",
    "harrell_c",
    "holm",
    "log_rank_p",
    "mean_over_folds",
    "percentile_interval",
    "random_effects",
    "rank_test",
    "resample",
    "risk_groups",
    "standard_deviation",
    "tied_ranks",
    "weighted_auc",
    "weighted_c",
]
