"""Members trained together come to what each comes to by itself."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fusionbench import Bag, Batch, Case, ModalitySpec, Task, survival
from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.types import CaseSet, PreparedBag, PreparedCase, SurvivalTargets
from fusionbench.execution.stacked.member import Member, Trainee
from fusionbench.execution.stacked.training import Steps, UnstackableError, train_stack
from fusionbench.execution.training.loop import train_module
from fusionbench.execution.training.torch_predictor import TorchPredictor

CPU = torch.device("cpu")
EDGES = (5.0, 12.0, 25.0)
TASK = Task(n_outputs=4, edges=EDGES)
SPECS = {"omic": ModalitySpec("omic", "vector", 5), "clinical": ModalitySpec("clinical", "vector", 2)}
SIZES = (37, 33, 20)
"""Of training sets: 5, 5 and 3 batches of 8 an epoch, the last ones of 5, 1 and 4 cases."""


class Net(nn.Module):
    """Two vectors, either of which may be missing; in the precision of its weights."""

    def __init__(self, dropout: nn.Module | None = None) -> None:
        super().__init__()
        drop = dropout or nn.Dropout(0.3)
        self.omic, self.clinical = nn.Linear(5, 6), nn.Linear(2, 6, bias=False)
        self.hidden = nn.Sequential(nn.Linear(6, 8), nn.ELU(), drop, nn.Linear(8, 8), nn.ELU(), copy.deepcopy(drop))
        self.head = nn.Linear(8, 4)

    def forward(self, batch: Batch) -> Tensor:
        parts = [self.of(layer, batch.bags[name]) for name, layer in (("omic", self.omic), ("clinical", self.clinical))]
        logits: Tensor = self.head(self.hidden(parts[0] + parts[1]))
        return logits

    def of(self, layer: nn.Linear, bag: Bag) -> Tensor:
        dtype = self.head.weight.dtype
        made: Tensor = layer(bag.values[:, 0].to(dtype))
        return made * bag.present.unsqueeze(1)


def cohort(n: int, seed: int, scale: float = 1.0) -> CaseSet:
    rng = np.random.default_rng(seed)
    omic, clinical = rng.normal(size=(n, 5)), rng.normal(size=(n, 2))
    data = {f"{seed}-{i}": (scale * omic[i : i + 1], clinical[i : i + 1]) for i in range(n)}
    time = rng.exponential(15 * np.exp(-omic[:, 0]))
    targets = SurvivalTargets(time, rng.random(n) < 0.6, survival.assign_bins(time, EDGES))
    cases = tuple(Case(k, k, None, {"omic": 0, "clinical": 0} if i % 4 else {"omic": 0}) for i, k in enumerate(data))

    def prepare(case: Case, seen: Any) -> PreparedCase:
        found = dict(zip(("omic", "clinical"), data[case.id], strict=True))
        return PreparedCase(case.id, {k: PreparedBag(torch.tensor(found[k], dtype=torch.float32)) for k in seen})

    return CaseSet(cases, SPECS, targets, prepare)


def trainees(
    net: Any = Net, dtype: torch.dtype = torch.float32, sizes: tuple[int, ...] = SIZES
) -> tuple[list[Trainee], list[dict[int, Any]]]:
    """Members with weights, cases and a seed of their own, and what they log."""
    made, logs = [], []
    for k, n in enumerate(sizes):
        torch.manual_seed(k)
        history: dict[int, Any] = {}
        module = net().to(dtype)
        made.append(Trainee(module, TASK, SPECS, cohort(n, k), cohort(15, 100 + k), 40 + k, history.__setitem__))
        logs.append(history)
    return made, logs


def recipe(**changes: Any) -> TrainRecipe:
    return TrainRecipe.model_validate({"epochs": 3, "batch_size": 8, "lr": 0.01, "patience": None} | changes)


def alone(given: list[Trainee], settings: TrainRecipe) -> list[TorchPredictor]:
    return [
        train_module(t.module, t.task, t.specs, t.train, t.val, settings, seed=t.seed, device=CPU, log=t.log)
        for t in given
    ]


def weights(predictor: Any) -> Tensor:
    assert isinstance(predictor, TorchPredictor), predictor
    return torch.cat([p.detach().flatten() for p in predictor.module.parameters()])


def alpha() -> Net:
    return Net(nn.AlphaDropout(0.25))


@pytest.mark.parametrize(
    ("net", "changes"),
    [
        (Net, {}),
        (alpha, {"optimizer": "adam", "weight_decay": 0.01, "schedule": "onecycle"}),
        (Net, {"class_weights": "inverse", "alpha": 0.3, "clamp": 1e-7, "weight_on": "likelihood"}),
        (Net, {"loss": "ce", "class_weights": "inverse_root", "alpha": 0.2}),
        (Net, {"l1": 1e-3, "l1_factor": 2.0, "grad_clip": 0.05, "accumulate": 2}),
        (Net, {"optimizer": "sgd", "momentum": 0.9, "schedule": "constant", "validation_loss": "as-trained"}),
        (Net, {"optimizer": "radam", "batch_size": 64}),
    ],
)
def test_in_float64_every_step_is_the_one_it_would_take_by_itself(net: Any, changes: dict[str, Any]) -> None:
    (given, logs), (same, same_logs) = trainees(net, torch.float64), trainees(net, torch.float64)
    settings = recipe(**changes)
    together, one_by_one = train_stack(given, settings, CPU), alone(same, settings)
    for a, b in zip(together, one_by_one, strict=True):
        torch.testing.assert_close(weights(a), weights(b), rtol=0, atol=1e-10)
    for log, other in zip(logs, same_logs, strict=True):
        assert log.keys() == other.keys()
        for epoch in log:
            # losses are summed in float32
            assert log[epoch] == pytest.approx(other[epoch], rel=1e-6)


def test_in_float32_an_epoch_is_the_same_to_1e5() -> None:
    (given, _), (same, _) = trainees(), trainees()
    settings = recipe(epochs=1, l1=1e-4)
    for a, b in zip(train_stack(given, settings, CPU), alone(same, settings), strict=True):
        torch.testing.assert_close(weights(a), weights(b), rtol=0, atol=1e-5)


@pytest.mark.parametrize("restore_best", [True, False])
def test_every_member_stops_for_itself(restore_best: bool) -> None:
    (given, logs), (same, same_logs) = trainees(dtype=torch.float64), trainees(dtype=torch.float64)
    settings = recipe(epochs=30, lr=0.03, patience=2, restore_best=restore_best)
    together, one_by_one = train_stack(given, settings, CPU), alone(same, settings)
    assert [len(log) for log in logs] == [len(log) for log in same_logs]
    assert len({len(log) for log in logs}) > 1, "they would stop together, and this test says little"
    for a, b in zip(together, one_by_one, strict=True):
        assert isinstance(a, TorchPredictor)
        assert a.best_epoch == b.best_epoch
        assert a.validation_loss == pytest.approx(b.validation_loss, abs=1e-9)
        torch.testing.assert_close(weights(a), weights(b), rtol=0, atol=1e-9)


def test_who_has_no_more_steps_sits_the_rest_of_the_epoch_out() -> None:
    settings = recipe(weight_decay=0.1)
    members = [Member(one, settings, CPU, 3) for one in trainees()[0]]
    steps = Steps(members, settings, CPU)
    steps.module.train()
    for member in members:
        member.begin()
    assert [len(member.windows) for member in members] == [5, 5, 3]

    def held(member: Member) -> list[Tensor]:
        state = [torch.as_tensor(x) for of in member.optimizer.state.values() for x in of.values()]
        return [x.clone() for x in (*member.parameters, *state, member.dropout.get_state())]

    for step in range(5):
        before = [held(member) for member in members]
        loss = steps.step([member.window(step) for member in members])
        for k, member in enumerate(members):
            moved = any(not torch.equal(a, b) for a, b in zip(before[k], held(member), strict=step > 0))
            assert moved == (step < len(member.windows))
            assert (loss[k] > 0) == moved


def test_a_loss_that_is_not_finite_fails_its_member_alone() -> None:
    (given, logs), (same, _) = trainees(), trainees()
    bad = cohort(33, 1, scale=np.inf)
    given[1] = Trainee(given[1].module, TASK, SPECS, bad, given[1].val, 41, given[1].log)
    first, failed, last = train_stack(given, recipe(), CPU)
    assert isinstance(failed, Exception)
    assert "the training loss of epoch 1 is" in str(failed)
    assert logs[1] == {}
    one_by_one = alone(same, recipe())
    torch.testing.assert_close(weights(first), weights(one_by_one[0]), rtol=0, atol=1e-5)
    torch.testing.assert_close(weights(last), weights(one_by_one[2]), rtol=0, atol=1e-5)


def test_a_case_that_cannot_be_read_fails_who_trains_on_it() -> None:
    given, _ = trainees()

    def unreadable(case: Case, seen: Any) -> PreparedCase:
        raise OSError("disk")

    bad = CaseSet(given[0].train.cases, SPECS, given[0].train.targets, unreadable)
    given[0] = Trainee(given[0].module, TASK, SPECS, bad, given[0].val, 40, given[0].log)
    results = train_stack(given, recipe(), CPU)
    assert [type(result) for result in results] == [OSError, TorchPredictor, TorchPredictor]


def test_the_same_bits_again_and_nobody_elses_random_numbers() -> None:
    torch.manual_seed(5)
    (given, _), (again, _) = trainees(), trainees()
    before = torch.get_rng_state()
    one = [weights(p) for p in train_stack(given, recipe(), CPU)]
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    other = [weights(p) for p in train_stack(again, recipe(), CPU)]
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_members_leave_with_weights_of_their_own() -> None:
    results = train_stack(trainees()[0], recipe(epochs=1), CPU)
    held = [p for r in results if isinstance(r, TorchPredictor) for p in r.module.parameters()]
    assert len({p.untyped_storage().data_ptr() for p in held}) == len(held)
    assert all(p.untyped_storage().nbytes() == p.nbytes for p in held), "a view would keep the whole stack in memory"


# what cannot be stacked


class WithNorm(Net):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)


class Tied(Net):
    def __init__(self) -> None:
        super().__init__()
        self.more = nn.Linear(5, 6)
        self.more.weight = self.omic.weight


class Counting(Net):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))


class Fixed(Net):
    def __init__(self) -> None:
        super().__init__()
        self.omic.weight.requires_grad_(False)


class Mixing(Net):
    """Looks at the other cases of a batch: in a stack, at other members' cases."""

    def forward(self, batch: Batch) -> Tensor:
        logits = super().forward(batch)
        return logits - logits.mean(dim=0)


class Noisy(Net):
    def forward(self, batch: Batch) -> Tensor:
        return nn.functional.dropout(super().forward(batch), 0.1, self.training)


class Bare(Net):
    """Takes a layer's weight into its own hands."""

    def forward(self, batch: Batch) -> Tensor:
        return super().forward(batch) + batch.bags["omic"].values[:, 0, :4] @ self.head.weight[:, :4].mT


class Nothing(nn.Module):
    def forward(self, batch: Batch) -> Tensor:
        return torch.zeros(len(batch.ids), 4)


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (WithNorm, "its parameter norm.weight is not that of a linear layer"),
        (Tied, "two of its layers share weights"),
        (Counting, "it has a buffer, seen"),
        (Fixed, "its parameter omic.weight is held fixed"),
        (Nothing, "it has no linear layer"),
        (Mixing, "its forward is more than layers that work case by case"),
        (Noisy, "its forward draws random numbers outside a dropout layer"),
        (Bare, "its forward fails on a stack"),
    ],
)
def test_what_cannot_be_stacked_is_said_before_the_first_step(net: Any, words: str) -> None:
    given, logs = trainees(net)
    before = [{k: v.clone() for k, v in one.module.state_dict().items()} for one in given]
    with pytest.raises(UnstackableError) as caught:
        train_stack(given, recipe(), CPU)
    assert words in str(caught.value)
    assert not any(logs)
    after = [one.module.state_dict() for one in given]
    assert all(torch.equal(a[k], b[k]) for a, b in zip(before, after, strict=True) for k in a)
