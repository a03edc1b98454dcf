"""The `mifcn` model (DeepAttnMISL): attention over the clusters that the instances of a bag fall into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np

from fusionbench import CaseSet, FitContext, ModalitySpec, Options, Predictor, Task
from fusionbench_unimodal.bag_model import BagModel
from fusionbench_unimodal.options import MifcnOptions

if TYPE_CHECKING:
    from fusionbench_unimodal.mifcn_network import MifcnNetwork


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
