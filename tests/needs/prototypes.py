"""Need 5: prototypes of a fold's instances, and each bag as tokens around them by one EM step: PANTHER and MMP."""

from collections.abc import Mapping, Sequence

import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from fusionbench import Batch, CaseSet, ModalitySpec, Preparation, PreparationContext, PreparedBag, State, Task
from fusionbench.nn import GatedAttention, TorchModel


class Prototypes(Preparation):
    """K-means of the first instances of each bag; a token is (share, mean, variance) of a Gaussian around a centre."""

    name = "prototypes"
    count: int = 4
    first: int = 20

    def prepare(self, train: CaseSet, ctx: PreparationContext) -> State:
        rows = torch.cat([case.bags[self.reads[0]].values[: self.first] for case in train])
        return {"centres": KMeans(self.count, random_state=ctx.seed % 2**32).fit(rows.numpy()).cluster_centers_}

    def tokens(self, name: str, bag: PreparedBag, state: State) -> Tensor:
        x, centres, prior = bag.values, torch.from_numpy(state["centres"]), 1e-3
        share = (-5 * (x[:, None] - centres).square().sum(2)).softmax(1)
        n = share.sum(0)[:, None] + prior
        mean = (share.T @ x + prior * centres) / n
        variance = (share.T @ x.square() + prior * (0.1 + centres.square())) / n - mean.square()
        return torch.cat([n / n.sum(), mean, variance], 1)


class OfTokens(TorchModel):
    """Gated attention over each modality, of which bags are tokens."""

    name = "need-prototypes"

    def preparations(self, task: Task, specs: Mapping[str, ModalitySpec]) -> Sequence[Preparation]:
        return [Prototypes(reads=(name,)) for name, spec in specs.items() if spec.kind == "bag"]

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        return Net(task, specs)


class Net(nn.Module):
    def __init__(self, task, specs):
        super().__init__()
        self.pools = nn.ModuleDict({name: GatedAttention(spec.dim, 4) for name, spec in specs.items()})
        self.layers = nn.ModuleDict({name: nn.Linear(spec.dim, task.n_outputs) for name, spec in specs.items()})

    def forward(self, batch: Batch) -> Tensor:
        return sum(layer(self.pool(batch, name)[0]) for name, layer in self.layers.items())

    def pool(self, batch, name):
        return self.pools[name](batch.bags[name].values, batch.bags[name].mask)

    def attention(self, batch: Batch) -> Mapping[str, Tensor]:
        return {name: self.pool(batch, name)[1][:, None, None] for name in self.pools}
