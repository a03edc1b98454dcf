"""The `mifcn` model (DeepAttnMISL): attention over the clusters that the instances of a bag fall into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
from pydantic import Field

from fusionbench import CaseSet, FitContext, ModalitySpec, Options, Predictor, Task
from fusionbench_unimodal.bag_model import BagModel, BagOptions

if TYPE_CHECKING:
    from fusionbench_unimodal.mifcn_network import MifcnNetwork


class MifcnOptions(BagOptions):
    """Options of `mifcn`.

    Attributes:
        attention_width: of the gated attention over clusters. Set-MIL: 256.
        clusters: of k-means. Set-MIL: 10.
        fit_instances: training instances that k-means is fitted on, at most; an equal share of each case. Set-MIL reads
            ready-made clusters and does not say what they were fitted on; ours: a few seconds on one core.
    """

    attention_width: int = Field(256, ge=1)
    clusters: int = Field(10, ge=1)
    fit_instances: int = Field(10_000, ge=1)


class Mifcn(BagModel):
    """Attention over ten clusters of one bag or grid, alone or fused with vectors; k-means sees training cases only."""

    name = "mifcn"
    version = "2"
    Options: ClassVar[type[Options]] = MifcnOptions
    options: MifcnOptions

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> MifcnNetwork:
        from fusionbench_unimodal.mifcn_network import MifcnNetwork  # loads torch

        return MifcnNetwork(list(specs.values()), task.n_outputs, self.options)

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        from fusionbench_unimodal.clusters import NearestCentroid, draw_instances, fit_centroids

        module, o = self.build(ctx.task, ctx.specs), self.options
        rng = np.random.default_rng(ctx.seed)
        instances = draw_instances(train, module.bag.name, o.fit_instances, rng)
        centroids = fit_centroids(instances, o.clusters, rng)
        cast(NearestCentroid, module.assign).place(centroids)
        if len(centroids) < o.clusters:
            module.notes = (f"{len(centroids)} clusters instead of {o.clusters}: as many distinct training instances",)
        return ctx.train(module, train, val)
