"""Statistics as functions of arrays: concordance, censoring, bootstrap, corrected tests, pooling over cohorts."""

from fusionbench.survival.stats.bootstrap import DRAWS, Resampling, ScoredFold, percentile_interval, resample
from fusionbench.survival.stats.censoring import Censoring
from fusionbench.survival.stats.concordance import (
    TIED_RISK,
    Pairs,
    comparable_pairs,
    concordant_pairs,
    distinct_risks,
    harrell_c,
    pair_weight,
    tied_ranks,
    twice_concordant,
    weighted_auc,
    weighted_c,
)
from fusionbench.survival.stats.log_rank import log_rank_p, risk_groups
from fusionbench.survival.stats.meta_analysis import RandomEffects, RankTest, random_effects, rank_test
from fusionbench.survival.stats.paired_tests import (
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
    "concordant_pairs",
    "corrected_t_test",
    "distinct_risks",
    "fold_shares",
    "harrell_c",
    "holm",
    "log_rank_p",
    "mean_over_folds",
    "pair_weight",
    "percentile_interval",
    "random_effects",
    "rank_test",
    "resample",
    "risk_groups",
    "standard_deviation",
    "tied_ranks",
    "twice_concordant",
    "weighted_auc",
    "weighted_c",
]
