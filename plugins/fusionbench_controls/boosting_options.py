"""The options of gradient boosting, whatever the trees are boosted on."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from fusionbench import Options


class GradientBoostingOptions(Options):
    """How many trees of which size.

    The number of trees is fixed, since choosing it by inner folds won nothing: nested inside one training part each of
    TCGA BLCA, BRCA, KIRP, UCEC (omics), BRCA and HANCOCK (tables), the c-index of all 200 trees lay .003 below to .037
    above that of the chosen number, at a third of the cost.

    Attributes:
        trees: 200; with `learning_rate` half of scikit-survival's 0.1, twice its 100.
        learning_rate: Friedman 2001 advises 0.1 or less.
        depth: of a tree; 3 as in scikit-survival, up to 8 leaves. Hastie, Tibshirani and Friedman 2009 (10.11): 4 to 8.
        min_leaf: smallest number of sampled cases in a leaf; 10 as in R's gbm.
        subsample: share of the cases each tree is grown on; 0.5 as in Friedman 2002.
        max_features: columns tried at a split; the square root of their number, as in the survival forest: all of 3,000
            columns take 20 times as long.
    """

    trees: int = Field(200, ge=1)
    learning_rate: float = Field(0.05, gt=0, le=1)
    depth: int = Field(3, ge=1)
    min_leaf: int = Field(10, ge=1)
    subsample: float = Field(0.5, gt=0, le=1)
    max_features: Literal["sqrt", "log2"] = "sqrt"


def sklearn_options(options: GradientBoostingOptions) -> dict[str, Any]:
    """The same by the names that scikit-learn and scikit-survival give them."""
    return {
        "n_estimators": options.trees,
        "learning_rate": options.learning_rate,
        "max_depth": options.depth,
        "min_samples_leaf": options.min_leaf,
        "subsample": options.subsample,
        "max_features": options.max_features,
    }
