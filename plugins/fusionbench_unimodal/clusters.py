"""Clusters of instances: k-means on training cases, and the cluster that an instance belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fusionbench import Batch, CaseSet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]


class NearestCentroid(nn.Module):
    """The nearest centroid of each instance of a bag.

    Attributes:
        centroids: (cluster, feature); zeros until `place` is called.
        used: (cluster,) bool, False for clusters that have no centroid.
    """

    centroids: Tensor
    used: Tensor

    def __init__(self, name: str, clusters: int, dim: int) -> None:
        super().__init__()
        self.name = name
        self.register_buffer("centroids", torch.zeros(clusters, dim))
        self.register_buffer("used", torch.ones(clusters, dtype=torch.bool))

    def place(self, centroids: Floats) -> None:
        """Take (found, feature) centroids, at most as many as there are clusters."""
        found = len(centroids)
        self.centroids.zero_()[:found] = torch.from_numpy(np.asarray(centroids, dtype=np.float32))
        self.used.fill_(False)[:found] = True

    @torch.no_grad()
    def forward(self, batch: Batch) -> Tensor:
        """(case, instance) int64, -1 where padded."""
        bag = batch.bags[self.name]
        distance = torch.cdist(bag.values, self.centroids.to(bag.values)).masked_fill(~self.used, torch.inf)
        return distance.argmin(dim=-1).masked_fill(~bag.mask, -1)


def draw_instances(cases: CaseSet, name: str, most: int, rng: np.random.Generator) -> Floats:
    """(instance, feature): at most `most` instances of the bag `name`, an equal share of each case that has it.

    Where no case has it, what the harness gives in its place.
    """
    own = [i for i, case in enumerate(cases.cases) if name in cases.visible(case)]
    seen = cases.take(own or range(len(cases))).restrict([name])
    share = -(-most // len(seen))
    drawn = np.concatenate([_choice(case.bags[name].values.numpy(), share, rng) for case in seen])
    return _choice(drawn, most, rng)


def _choice(rows: Floats, most: int, rng: np.random.Generator) -> Floats:
    return rows if len(rows) <= most else rows[np.sort(rng.choice(len(rows), most, replace=False))]


def fit_centroids(instances: Floats, clusters: int, rng: np.random.Generator) -> Floats:
    """(found, feature) centres of k-means; fewer than `clusters` where there are fewer distinct instances.

    One thread: the order in which threads add up centres would show in the last bits.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    distinct = np.unique(instances, axis=0)
    if len(distinct) <= clusters:
        return distinct
    with threadpool_limits(limits=1):
        means = KMeans(clusters, n_init=1, random_state=int(rng.integers(2**32)))
        return np.asarray(means.fit(instances.astype(np.float64)).cluster_centers_)
