"""What training sees of bags: the order and draw of instances, parts of a batch and of a case, neighbours."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fusionbench import NO_NEIGHBOUR, ModalitySpec, Outputs, survival
from fusionbench.core.errors import PluginError
from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.seeds import derive
from fusionbench.core.types import PreparedBag, PreparedCase, Task
from fusionbench.data.bag_parts import drawn, with_neighbours
from fusionbench.data.collate import collate, within
from fusionbench.nn import case_generator, masked_softmax, one_head, sub_bags
from fusionbench.tasks import task_kind
from fusionbench.tasks.parts import mean_of_parts
from tests.unit.execution.test_training import COX, SPECS, TASK, Linear, Net, cohort, fit


def numbered(n, name="a"):
    """A case whose instances, coords and slides say which one each is."""
    values = torch.arange(float(n)).unsqueeze(1).repeat(1, 5)
    coords = torch.arange(float(n)).unsqueeze(1).repeat(1, 2)
    return PreparedCase(name, {"wsi": PreparedBag(values, coords, None, torch.arange(n))})


def order(case):
    return case.bags["wsi"].values[:, 0].tolist()


def test_instances_come_in_their_order_unless_the_recipe_shuffles_them():
    case = numbered(20)
    stored, shuffled = (TrainRecipe(max_instances=8, instance_order=o) for o in ("stored", "shuffled"))
    kept = order(drawn(case, stored, 0, 1))
    mixed = drawn(case, shuffled, 0, 1)
    assert kept == sorted(kept) == sorted(order(mixed)) != order(mixed)
    bag = mixed.bags["wsi"]  # all that belongs to an instance goes with it
    assert bag.coords[:, 1].tolist() == bag.piece.tolist() == order(mixed)
    whole = drawn(case, TrainRecipe(instance_order="shuffled"), 0, 1)
    assert sorted(order(whole)) == order(case) != order(whole)
    assert order(drawn(case, shuffled, 0, 2)) != order(mixed) == order(drawn(case, shuffled, 0, 1))
    assert drawn(case, TrainRecipe(), 0, 1) is case


def test_a_grid_keeps_its_order():
    grid = PreparedCase("a", {"map": PreparedBag(torch.randn(12, 5), None, (3, 4))})
    kept = drawn(grid, TrainRecipe(instance_order="shuffled"), 0, 1)
    assert torch.equal(kept.bags["map"].values, grid.bags["map"].values)


def test_neighbours_of_a_drawn_bag_are_among_those_drawn():
    case = with_neighbours(replace(numbered(20), bags={"wsi": PreparedBag(*_line(20))}), 2, SPECS)
    few = with_neighbours(drawn(case, TrainRecipe(max_instances=4), 0, 1), 2, SPECS).bags["wsi"]
    at = few.coords[:, 0]
    for i, near in enumerate(few.neighbours.tolist()):
        others = sorted((j for j in range(4) if j != i), key=lambda j, i=i: (abs(at[j] - at[i]), j))
        assert near == others[:2]


def _line(n):
    coords = torch.arange(float(n)).unsqueeze(1).repeat(1, 2)
    return torch.randn(n, 5), coords


class WithNeighbours(Net):
    neighbours = 2

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, batch):
        self.seen.append((batch.ids, batch.bags["wsi"].neighbours, batch.bags["wsi"].lengths, batch.bags["omic"]))
        return super().forward(batch)


@pytest.mark.parametrize("recipe", [{}, {"max_instances": 3}])
def test_a_module_that_asks_finds_neighbours_in_training_and_prediction(recipe):
    cases, module = _with_coords(cohort(12)), WithNeighbours()
    predictor, _ = fit(module, cases, cases, epochs=1, **recipe)
    module.seen.clear()
    predictor.predict(cases.without_targets())
    fit(module, cases, cases, epochs=1, **recipe)
    assert module.seen
    for _, near, lengths, omic in module.seen:
        assert omic.neighbours is None
        for own, n in zip(near, lengths.tolist(), strict=True):
            assert (own[n:] == NO_NEIGHBOUR).all()
            assert (own[:n] < n).all()
            assert ((own[:n] != NO_NEIGHBOUR).sum(dim=1) == min(2, max(n - 1, 0))).all()


def _with_coords(cases):
    def prepare(case, seen):
        bags = dict(cases.prepare(case, seen).bags)
        if "wsi" in bags:
            bags["wsi"] = replace(bags["wsi"], coords=bags["wsi"].values[:, :2])
        return PreparedCase(case.id, bags)

    return replace(cases, prepare=prepare)


def test_neighbours_that_are_no_number_are_refused():
    module = Net()
    module.neighbours = "all"
    with pytest.raises(PluginError, match="Net: neighbours is 'all', expected how many of each instance, such as 8"):
        fit(module)


# parts of a batch


class Exact(nn.Module):
    """The network in float64."""

    def __init__(self):
        super().__init__()
        self.inner = Net(dropout=0.0).double()
        self.sizes = []

    def forward(self, batch):
        if self.training:
            self.sizes.append(tuple(batch.bags["wsi"].mask.shape))
        bags = {name: replace(bag, values=bag.values.double()) for name, bag in batch.bags.items()}
        logits = self.inner(replace(batch, bags=bags))
        return Outputs(logits, {"size": logits.square().mean(dim=1)}, {"size": 0.1})


def test_a_batch_in_parts_has_the_gradient_of_the_whole_batch():
    """To 1e-10 in float64, at one step of SGD, whose change of the weights is the gradient."""
    train = cohort(30)
    torch.manual_seed(0)
    module = Exact()
    batch = collate(list(train), SPECS, train.targets)
    out = module(batch)
    loss = survival.discrete_hazard_nll(out.logits, batch.targets.time_bin, batch.targets.event)
    (loss + 0.1 * out.losses["size"]).mean().backward()
    expected = {name: p.detach() - p.grad for name, p in module.named_parameters()}
    module.sizes.clear()
    settings = {
        "epochs": 1,
        "batch_size": 30,
        "lr": 1.0,
        "weight_decay": 0.0,
        "optimizer": "sgd",
        "restore_best": False,
    }
    fit(module, train, init=0, schedule="constant", max_tokens=24, **settings)
    assert len(module.sizes) > 5
    assert all(cases * longest <= 24 for cases, longest in module.sizes)
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], rtol=0, atol=1e-10)


def test_the_loss_of_an_epoch_and_its_steps_do_not_depend_on_the_parts():
    whole, in_parts = (fit(accumulate=2, **most)[1] for most in ({}, {"max_tokens": 9}))
    for epoch, values in whole.items():
        assert in_parts[epoch] == pytest.approx(values, rel=1e-5, nan_ok=True)


def test_parts_of_a_batch_hold_its_cases_once_and_a_longer_one_alone():
    tokens = [3, 60, 1, 5, 5, 2]
    made = within([0, 1, 3, 4, 5], tokens, 12)
    assert sorted(i for part in made for i in part) == [0, 1, 3, 4, 5]
    assert made == [[5, 0], [3, 4], [1]]


def test_a_loss_that_compares_cases_is_not_split():
    with pytest.raises(
        ValueError, match="max_tokens splits a batch, whose cases loss 'cox' compares: set max_instances"
    ):
        TrainRecipe(loss="cox", max_tokens=100)


def test_new_keys_at_their_defaults_are_in_no_cell_key():
    assert {"max_tokens", "instance_order"}.isdisjoint(TrainRecipe().model_dump())
    assert {"max_tokens", "instance_order"} <= set(TrainRecipe(max_tokens=9, instance_order="shuffled").model_dump())


# parts of a case


def batch_of_numbered(*lengths):
    cases = [numbered(n, str(i)) for i, n in enumerate(lengths)]
    return collate(cases, {"wsi": ModalitySpec("wsi", "bag", 5)})


def instances(batch):
    """The numbers of the instances of each row."""
    bag = batch.bags["wsi"]
    return [own[real, 0].long().tolist() for own, real in zip(bag.values, bag.mask, strict=True)]


def test_a_partition_has_each_instance_once():
    parts = sub_bags(batch_of_numbered(10, 1, 4, 9), 4)
    seen, case = instances(parts.batch), parts.case
    assert case.tolist() == [0, 0, 0, 1, 2, 3, 3, 3]
    assert parts.batch.ids == ("0", "0", "0", "1", "2", "3", "3", "3")
    assert [len(own) for own in seen] == [4, 3, 3, 1, 4, 3, 3, 3]
    for i, n in enumerate((10, 1, 4, 9)):
        assert sorted(x for own, of in zip(seen, case, strict=True) if of == i for x in own) == list(range(n))
    assert all(own == sorted(own) for own in seen)
    bag = parts.batch.bags["wsi"]
    assert torch.equal(bag.coords[..., 0], bag.values[..., 0])
    assert torch.equal(bag.piece, bag.values[..., 0].long())


def test_draws_are_without_replacement_and_a_short_bag_is_whole():
    parts = sub_bags(batch_of_numbered(10, 2), 4, count=3)
    seen, case = instances(parts.batch), parts.case
    assert case.tolist() == [0, 0, 0, 1, 1, 1]
    assert [len(set(own)) for own in seen] == [4, 4, 4, 2, 2, 2]
    assert len({tuple(own) for own in seen[:3]}) > 1


@pytest.mark.parametrize("wrong", [{"size": 0}, {"size": 4, "count": 0}])
def test_parts_without_instances_are_refused(wrong):
    with pytest.raises(ValueError, match=r"sub_bags: size is .* and count .*; both count from 1"):
        sub_bags(batch_of_numbered(3), **wrong)


def test_parts_follow_from_case_and_epoch_and_are_fixed_at_prediction():
    whole = batch_of_numbered(10, 7, 10)
    alone = batch_of_numbered(10)

    def first(batch, seed):
        parts = sub_bags(replace(batch, seed=seed), 4)
        return [own for own, of in zip(instances(parts.batch), parts.case, strict=True) if of == 0]

    assert first(whole, 1) == first(alone, 1) != first(whole, 2)
    assert first(whole, None) == first(alone, None) == first(replace(alone, ids=("renamed",)), None)
    again = torch.rand(3, generator=case_generator(replace(whole, seed=1), 0, "noise"))
    assert torch.equal(again, torch.rand(3, generator=case_generator(replace(whole, seed=1), 0, "noise")))
    assert not torch.equal(again, torch.rand(3, generator=case_generator(replace(whole, seed=1), 1, "noise")))


@pytest.mark.parametrize("count", [None, 2])
def test_attention_on_parts_becomes_attention_on_the_bag(count):
    batch = batch_of_numbered(10, 1, 4)
    parts = sub_bags(batch, 4, count=count)
    bag = parts.batch.bags["wsi"]
    whole = parts.attention("wsi", one_head(masked_softmax(bag.values[..., 0], bag.mask)))[:, 0, 0]
    assert whole.shape == batch.bags["wsi"].mask.shape
    torch.testing.assert_close(whole.sum(dim=1), torch.ones(3))
    assert not whole[~batch.bags["wsi"].mask].any()
    # The weight of an instance is a softmax over its own part, and each part has an equal share.
    first = instances(parts.batch)[0]
    if count is None:
        torch.testing.assert_close(whole[0, first], torch.tensor(first).float().softmax(dim=0) / 3)
    torch.testing.assert_close(parts.mean(parts.case.float()), torch.arange(3.0))


def test_parts_of_a_missing_bag_and_beside_a_vector():
    train = cohort(8)
    batch = collate(list(train), SPECS, train.targets)
    cut = sub_bags(batch, 3)
    parts, case = cut.batch, cut.case
    assert len(set(case.tolist())) == 8
    for i, of in enumerate(case.tolist()):
        assert torch.equal(parts.bags["omic"].values[i], batch.bags["omic"].values[of])
        assert parts.targets.time[i] == batch.targets.time[of]
    missing = [i for i in range(8) if not batch.bags["wsi"].present[i]]
    assert missing
    assert not parts.bags["wsi"].present[torch.isin(case, torch.tensor(missing))].any()
    assert parts.bags["wsi"].lengths.tolist() == parts.bags["wsi"].mask.sum(dim=1).tolist()


def test_neighbours_of_a_part_are_within_it():
    case = with_neighbours(PreparedCase("a", {"wsi": PreparedBag(*_line(9))}), 2, SPECS)
    bag = sub_bags(collate([case], {"wsi": SPECS["wsi"]}), 3).batch.bags["wsi"]
    for at, near in zip(bag.coords[..., 0], bag.neighbours, strict=True):
        for i in range(3):
            assert near[i].tolist() == sorted((j for j in range(3) if j != i), key=lambda j: (abs(at[j] - at[i]), j))


class InParts(nn.Module):
    """Omics and the mean of each part; the seeds of the batches it saw in training."""

    def __init__(self, n_outputs=4, size=3):
        super().__init__()
        self.omic, self.wsi, self.size = Linear(n_outputs), nn.Linear(5, n_outputs), size
        self.seeds, self.drawn = set(), {}

    def forward(self, batch):
        cut = sub_bags(batch, self.size)
        parts, case = cut.batch, cut.case
        bag = parts.bags["wsi"]
        mean = bag.values.sum(dim=1) / bag.mask.sum(dim=1, keepdim=True).clamp(min=1)
        if self.training:
            self.seeds.add(batch.seed)
            for i, of in enumerate(case.tolist()):
                self.drawn.setdefault((batch.seed, batch.ids[of]), []).append(bag.values[i].sum().item())
        return Outputs(self.omic(parts) + self.wsi(mean), parts=case)


def test_trained_is_the_mean_of_the_losses_of_parts():
    train, module = cohort(10), InParts()
    batch = replace(collate(list(train), SPECS, train.targets), seed=derive(0, "drawn for cases", 1))
    out = module(batch)
    t = batch.targets.map(lambda array: array[out.parts])
    losses = survival.discrete_hazard_nll(out.logits, t.time_bin, t.event)
    expected = mean_of_parts(losses, out.parts, 10).mean().item()
    assert expected != pytest.approx(losses.mean().item(), rel=1e-3)
    _, history = fit(module, train, epochs=1, batch_size=4, lr=1e-12)
    assert history[1]["train/loss"] == pytest.approx(expected, rel=1e-5)


def test_parts_are_drawn_anew_in_each_epoch_and_not_by_the_batch():
    first, other = InParts(), InParts()
    fit(first, epochs=3)
    fit(other, epochs=3, batch_size=3)
    assert len(first.seeds) == 3
    assert first.drawn.keys() == other.drawn.keys()
    for key, sums in first.drawn.items():
        assert sorted(sums) == pytest.approx(sorted(other.drawn[key]), abs=1e-5)


def test_predicted_is_the_mean_of_the_scores_of_parts():
    module = InParts()
    predictor, history = fit(module)
    cases = cohort(12, 1).without_targets()
    made = predictor.predict(cases)
    out = module.eval()(collate(list(cases), SPECS))
    curve = survival.hazards_to_survival(out.logits.double())
    assert len(curve) > 12
    mean = mean_of_parts(curve, out.parts, 12).detach()
    np.testing.assert_allclose(made.survival, mean[:, :-1], rtol=1e-12)
    np.testing.assert_allclose(made.risk, survival.risk_from_survival(mean), rtol=1e-12)
    assert history[3]["val/loss"] > 0


@pytest.mark.parametrize(("kind", "outputs"), [("binary", 1), ("binary", 2), ("multiclass", 3)])
def test_of_classes_the_mean_is_that_of_the_probabilities(kind, outputs):
    task = Task(kind, outputs, classes=("a", "b", "c")[: max(outputs, 2)])
    logits, parts = torch.randn(5, outputs, dtype=torch.float64) * 5, torch.tensor([0, 0, 0, 1, 2])
    made = task_kind(kind).prediction(("x",) * 3, task_kind(kind).mean_of_parts(logits, parts, 3), task, {})
    each = task_kind(kind).prediction(("x",) * 5, logits, task, {}).probability
    expected = mean_of_parts(torch.from_numpy(each), parts, 3)
    np.testing.assert_allclose(made.probability, expected, rtol=1e-12)


def test_a_case_of_one_part_is_predicted_as_it_is_and_extremes_stay_finite():
    kind, parts = task_kind("survival"), torch.tensor([0, 1, 1, 2, 2])
    logits = torch.tensor([[0.3, -0.2]] + [[900.0, 5.0]] * 2 + [[-900.0, -1000.0]] * 2, dtype=torch.float64)
    made = kind.mean_of_parts(logits, parts, 3)
    assert torch.equal(made[0], logits[0])
    assert made.isfinite().all()


def test_cox_is_trained_on_the_mean_log_hazard_of_the_parts():
    module = InParts(1)
    predictor, _ = fit(module, task=COX, loss="cox", batch_size=30)
    cases = cohort(12, 1).without_targets()
    out = module.eval()(collate(list(cases), SPECS))
    expected = mean_of_parts(out.logits.detach().double(), out.parts, 12)[:, 0]
    np.testing.assert_allclose(predictor.predict(cases).risk, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (torch.arange(8) // 2, "positions of the 8 cases, each at least once"),
        (torch.arange(8.0), "must be an int64 tensor"),
        (torch.arange(9) % 8, r"logits of shape \(8, 4\), expected \(part, n_outputs\) = \(9, 4\)"),
    ],
)
def test_parts_that_are_none_are_refused(parts, said):
    class Wrong(Linear):
        def forward(self, batch):
            return Outputs(super().forward(batch), parts=parts)

    with pytest.raises(PluginError, match=said):
        fit(Wrong, cohort(8))


def test_the_example_of_the_documents_is_trained():
    text = (Path(__file__).parents[3] / "docs" / "plugins.md").read_text()
    made = {}
    exec(next(code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "OfEachBag" in code), made)
    cases = _with_coords(cohort(24))
    cases = cases.take([i for i in range(24) if "wsi" in cases[i].bags])
    predictor, _ = fit(made["OfEachBag"]("wsi", SPECS["wsi"], TASK), cases, cases, epochs=1)
    assert np.isfinite(predictor.predict(cases.without_targets()).risk).all()
