"""Train several members at once: one forward and one backward, and everything else each by itself.

What a member comes to is what `train_module` would make of it, up to the rounding of sums: its cases in its own order,
its own dropout (on the CPU the very numbers it would draw; CUDA draws others), optimiser, schedule, early stopping and
kept weights. One that has fewer steps in an epoch sits the rest out: nothing of it moves. One that has ended, or whose
loss is not finite, leaves the stack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.types import Batch
from fusionbench.data.collate import select
from fusionbench.execution.retry import transient
from fusionbench.execution.stacked.batches import joined
from fusionbench.execution.stacked.layers import Streams, linear_layers, stack, why_not
from fusionbench.execution.stacked.member import Member, Trainee
from fusionbench.execution.training.objective import wide
from fusionbench.execution.training.optimizers import autocast
from fusionbench.execution.training.torch_predictor import TorchPredictor, forward

_RTOL, _ATOL = 1e-3, 1e-4
"""Between a stack's logits and its members' own, in float32; what mixes cases or members is off by far more."""


class UnstackableError(Exception):
    """These modules cannot be trained together; the reason."""


def train_stack(
    given: Sequence[Trainee], recipe: TrainRecipe, device: torch.device, progress: Callable[[int], None] | None = None
) -> list[TorchPredictor | Exception]:
    """Train modules of one shape in place; each as a predictor, or why that one failed.

    Torch's global random state is left alone. On the CPU the same call gives the same bits.

    Args:
        progress: called with the epoch after each epoch.

    Raises:
        UnstackableError: before the first step; the modules are as they were.
    """
    for one in given:
        if reason := why_not(one.module):
            raise UnstackableError(reason)
    tried = [_member(one, recipe, device, len(given)) for one in given]
    members = [one for one in tried if isinstance(one, Member)]
    if any(sum(member.feed.lengths) > member.feed.held for member in members):
        raise UnstackableError("the prepared cases of all folds do not fit into memory together")
    if members:
        _train(Steps(members, recipe, device), recipe, progress)
    return [one.result() if isinstance(one, Member) else one for one in tried]


def _member(one: Trainee, recipe: TrainRecipe, device: torch.device, share: int) -> Member | Exception:
    try:
        return Member(one, recipe, device, share)
    except Exception as error:  # noqa: BLE001 - a case that cannot be read fails the folds that train on it
        return error


def _train(steps: Steps, recipe: TrainRecipe, progress: Callable[[int], None] | None) -> None:
    try:
        steps.compare()
        for epoch in range(1, recipe.epochs + 1):
            steps.epoch(epoch)
            if progress is not None:
                progress(epoch)
            if not steps.drop_ended():
                break
    finally:
        steps.release()


class Steps:
    """Steps of the members that still train."""

    def __init__(self, members: Sequence[Member], recipe: TrainRecipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self._stack(list(members))

    def _stack(self, members: list[Member]) -> None:
        self.members = members
        self.streams = Streams([member.dropout for member in members])
        self.module = stack([member.given.module for member in members], self.streams)
        self.layers = linear_layers(self.module)
        feeds = [member.feed for member in members]
        self.whole = joined([feed.batch(range(len(feed))) for feed in feeds])
        self.starts = [sum(len(feed) for feed in feeds[:k]) for k in range(len(feeds))]
        weights = torch.stack([member.objective.weights for member in members])
        self.weights = None if bool((weights == weights[0]).all()) else weights

    def epoch(self, epoch: int) -> None:
        """All training cases of every member once."""
        self.module.train()
        for member in self.members:
            member.begin()
        total = torch.zeros(len(self.members), device=self.device)
        for step in range(max(len(member.windows) for member in self.members)):
            total += self.step([member.window(step) for member in self.members])
        for member, loss in zip(self.members, total.tolist(), strict=True):
            member.end_epoch(epoch, loss)

    def step(self, windows: Sequence[list[list[int]]]) -> Tensor:
        """One optimiser step of each member that has a window; (member,) sums of their losses."""
        units = torch.tensor([sum(map(len, window)) for window in windows], device=self.device).clamp(min=1)
        for layer in self.layers:
            layer.gradients.written = False
        total = torch.zeros(len(windows), device=self.device)
        for i in range(max(map(len, windows))):
            loss = self.losses([window[i] if i < len(window) else [] for window in windows])
            (loss / units).sum().backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        for layer in self.layers:
            layer.gradients.hand_out()
        for member, window in zip(self.members, windows, strict=True):
            if window:
                member.step()
        return total

    def losses(self, index: Sequence[Sequence[int]]) -> Tensor:
        """(member,) sums over a batch of each; those with fewer cases are filled up with one that does not count."""
        self.streams.real = [len(cases) for cases in index]
        longest = max(self.streams.real)
        filled = [(*cases, *[0] * (longest - len(cases))) for cases in index]
        rows = [start + i for start, cases in zip(self.starts, filled, strict=True) for i in cases]
        batch = select(self.whole, rows)
        assert batch.targets is not None
        with autocast(self.recipe, self.device):
            logits = forward(self.module, batch, self.members[0].given.task)
        weights = None if self.weights is None else self.weights.unsqueeze(1).expand(-1, longest, -1).flatten(0, 1)
        values = self.members[0].objective.per_case(wide(logits), batch.targets, weights).view(len(index), longest)
        if min(self.streams.real) < longest:
            counts = torch.tensor(self.streams.real, device=self.device).unsqueeze(1)
            values = torch.where(torch.arange(longest, device=self.device) < counts, values, 0.0)
        return values.sum(dim=1)

    def drop_ended(self) -> int:
        """Go on with those that still train; how many they are."""
        left = [member for member in self.members if not member.ended]
        if left and len(left) < len(self.members):
            self.release()
            self._stack(left)
        return len(left)

    def release(self) -> None:
        """The members' modules have memory of their own again."""
        for layer in self.layers:
            layer.release()

    def compare(self) -> None:
        """Ask stack and members for the logits of a first batch, nothing dropped.

        Raises:
            UnstackableError: they differ, or something else than a dropout layer draws random numbers.
        """
        size = min(self.recipe.batch_size, *(len(member.feed) for member in self.members))
        batch = select(self.whole, [start + i for start in self.starts for i in range(size)])
        before = _random_state(self.device)
        with torch.no_grad(), torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            ours = self._undropped(batch)
            theirs = torch.cat([_alone(member, size) for member in self.members])
            drawn = not torch.equal(before, _random_state(self.device))
        if drawn:
            raise UnstackableError("its forward draws random numbers outside a dropout layer")
        if not torch.allclose(ours, theirs, _RTOL, _ATOL, equal_nan=True):
            raise UnstackableError("its forward is more than layers that work case by case")

    def _undropped(self, batch: Batch) -> Tensor:
        self.streams.off = True
        try:
            return forward(self.module.train(), batch, self.members[0].given.task)
        except Exception as error:
            if transient(error):
                raise
            raise UnstackableError(f"its forward fails on a stack ({type(error).__name__}: {error})") from error
        finally:
            self.streams.off = False


def _alone(member: Member, size: int) -> Tensor:
    """Logits of a member's first cases in training, nothing dropped."""
    module = member.given.module.train()
    for layer in module.modules():
        if isinstance(layer, nn.Dropout | nn.AlphaDropout):
            layer.eval()
    return forward(module, member.feed.batch(range(size)), member.given.task)


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
