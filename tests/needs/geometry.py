"""Need 10: each bag's own geometry: TransMIL's square, DSMIL's critical instance, edges between neighbours."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fusionbench import NO_NEIGHBOUR, Batch, ModalitySpec, Task
from fusionbench.nn import TorchModel, squares


class Geometric(TorchModel):
    """A convolution on the square of a bag, and its instance of the highest score with the neighbours of that one."""

    name = "need-geometry"
    ordered_instances = True

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        return None if [spec.kind for spec in specs.values()] == ["bag"] else "takes one bag, with coords"

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        return Net(task, next(iter(specs.values())))


class Net(nn.Module):
    neighbours = 3

    def __init__(self, task, spec):
        super().__init__()
        self.name, self.score, self.head = spec.name, nn.Linear(spec.dim, 1), nn.Linear(2 * spec.dim, task.n_outputs)
        self.convolve = nn.Conv2d(spec.dim, spec.dim, 3, padding=1, groups=spec.dim)

    def forward(self, batch: Batch) -> Tensor:
        bag, rows = batch.bags[self.name], torch.arange(len(batch.ids))
        laid = torch.zeros_like(bag.values[:, 0])
        for square in squares(bag.values, bag.lengths):
            image = square.values.transpose(1, 2).unflatten(2, (square.side, square.side))
            laid = laid.index_add(0, square.rows, self.convolve(image).tanh().mean(dim=(2, 3)))
        best = self.score(bag.values)[..., 0].masked_fill(~bag.mask, -torch.inf).argmax(dim=1)
        near = torch.cat([best[:, None], bag.neighbours[rows, best]], dim=1)
        seen = bag.values[rows[:, None], near] * (near != NO_NEIGHBOUR)[..., None]
        return self.head(torch.cat([laid, seen.mean(dim=1)], dim=1))
