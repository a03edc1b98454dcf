from dataclasses import replace

import pytest
import torch
from fusionbench_multimodn import MultiModN, MultiModNOptions
from pydantic import ValidationError

from fusionbench import DataError, Outputs, PreparedCase, Task
from fusionbench.core.protocol import TrainRecipe
from fusionbench.data.collate import collate
from fusionbench.execution.fit_context import Context
from fusionbench.execution.training.outputs import EpochLosses, step_losses, trained_loss
from fusionbench.tasks import task_kind
from fusionbench.testing.toys import toy_case_set, toy_task
from tests.unit.network_cases import CASES, CLINICAL, IMAGE, MAP, OMIC, TASK, named

ALL = named(CLINICAL, IMAGE, OMIC)
GAPS = ((), ("image",), ("clinical", "omic"), ("clinical", "image", "omic"))
SOME = [
    PreparedCase(case.id, {name: bag for name, bag in case.bags.items() if name not in gone})
    for case, gone in zip(CASES, GAPS, strict=False)
]
"""The last one has no modality at all."""


def build(specs=ALL, *, training=False, **options):
    torch.manual_seed(0)
    values = {"state": 6, "bag_width": 4, "dropout": 0, **options}
    net = MultiModN(MultiModNOptions(**values)).build(TASK, specs).double().train(training)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return net


def batch_of(cases, specs=ALL):
    batch = collate(cases, specs)
    return replace(batch, bags={k: replace(b, values=b.values.double()) for k, b in batch.bags.items()})


def test_a_modality_that_a_case_lacks_leaves_its_state_and_its_batch_mates_alone():
    net = build()
    walk = net.walk(batch_of(SOME))
    assert walk.taken.tolist() == [
        [True, True, True, True],
        [True, True, False, True],
        [True, False, True, False],
        [True, False, False, False],
    ]
    assert walk.pairs == walk.taken.sum() == 10
    same = (walk.states[:, 1:] == walk.states[:, :-1]).all(dim=2)
    assert torch.equal(same, ~walk.taken[:, 1:])
    for i, case in enumerate(SOME):
        torch.testing.assert_close(net.walk(batch_of([case])).states[0], walk.states[i])


def test_a_case_without_any_modality_is_decoded_from_the_start():
    net = build()
    out = net(batch_of(SOME))
    torch.testing.assert_close(out.logits[3:], net.decode(net.start))
    torch.testing.assert_close(out.step_logits.logits[:, 0], net.decode(net.start).expand(4, -1))


@pytest.mark.parametrize("denominators", ["constant", "taken"])
def test_what_is_trained_is_the_published_sum_over_steps_and_changes(denominators):
    train = toy_case_set(10, modalities=("clinical", "image", "omic"), missing=0.4)
    task = toy_task(train)
    torch.manual_seed(0)
    options = MultiModNOptions(change_penalty=0.3, error_penalty=0.7, denominators=denominators)
    net = MultiModN(options).build(task, train.specs).eval()
    objective = task_kind(task.kind).objective(TrainRecipe(), train.targets, task, torch.device("cpu"))
    batch = collate(list(train), train.specs)
    targets = train.targets.map(torch.from_numpy)
    out, walk = net(batch), net.walk(batch)
    assert not walk.taken.all()
    beside = step_losses(out.step_logits, objective, targets, 10)
    mean = objective(out.logits, targets) / 10
    sums = EpochLosses(net, "training").add(out, 10)
    found = trained_loss(out, mean, {**beside, **sums}, 10)
    errors = torch.stack([objective.per_case(out.step_logits.logits[:, t], targets) for t in range(4)], dim=1)
    errors, change = errors * walk.taken, walk.change
    if denominators == "constant":
        expected = (0.7 * errors.sum(dim=1) / 4 + 0.3 * change.sum(dim=1) / 3).mean()
    else:
        expected = 0.7 * errors.sum() / walk.pairs + 0.3 * change.sum() / (walk.pairs - 10)
    torch.testing.assert_close(found, expected)


def test_the_order_is_the_suites_the_given_or_one_drawn_for_a_training_batch():
    batch = batch_of(CASES)
    assert build().names == ("clinical", "image", "omic")
    given = build(order=("omic", "other", "clinical", "image"))
    assert given.names == ("omic", "clinical", "image")
    assert given(batch).step_logits.names == ("start", "omic", "clinical", "image")
    net = build(shuffle=True)
    assert {net.walk(batch).sequence for _ in range(20)} == {(0, 1, 2)}
    net.train()
    assert len({net.walk(batch).sequence for _ in range(60)}) == 6


def test_shuffled_steps_stand_under_the_names_of_their_modalities():
    net, batch = build(shuffle=True, training=True), batch_of(SOME)
    for _ in range(6):
        torch.manual_seed(seed := torch.seed() % 1000)
        walk = net.walk(batch)
        torch.manual_seed(seed)
        out = net(batch)
        assert out.step_logits.names == ("start", "clinical", "image", "omic")
        last = walk.sequence[-1]
        torch.testing.assert_close(out.step_logits.logits[:, 1 + last], out.logits)
        assert torch.equal(out.step_logits.taken[:, 1], batch.bags["clinical"].present)


def test_a_published_bug_skips_a_modality_for_a_whole_training_batch():
    batch = batch_of(SOME[:2])
    net = build(skip_whole_batch=True, training=True)
    walk = net.walk(batch)
    assert walk.taken.tolist() == [[True, True, False, True]] * 2
    assert walk.pairs == 6
    assert net.eval().walk(batch).taken.tolist() == [[True] * 4, [True, True, False, True]]


def test_a_published_bug_squashes_the_scores():
    net = build(squash=True)
    out = net(batch_of(CASES))
    torch.testing.assert_close(out.logits, net.decode(net.walk(batch_of(CASES)).states[:, -1]).sigmoid())


def test_steps_are_predicted_from_a_start_that_is_the_same_for_all():
    modalities = ("clinical", "image")
    train, val = (toy_case_set(n, seed=n, modalities=modalities, missing=0.3) for n in (24, 12))
    model, task = MultiModN(MultiModNOptions(state=6)), toy_task(train)
    context = Context(task, train.specs, 5, torch.device("cpu"), TrainRecipe(epochs=1, batch_size=8), {})
    predictor = model.fit(train, val, context)
    new = val.without_targets()
    steps = {step.name: step for step in predictor.predict_steps(new)}
    assert list(steps) == ["start", *modalities]
    assert len(set(steps["start"].prediction.risk.tolist())) == 1
    assert {len(step.rows) for step in steps.values()} == {12}
    assert steps["image"].prediction.risk.tolist() == predictor.predict(new).risk.tolist()
    quantities = {(split, quantity) for _, split, quantity, _ in context.history}
    assert {("train", "change"), ("val", "change"), ("train", "steps"), ("val", "steps")} <= quantities


@pytest.mark.parametrize(
    ("specs", "order", "reason"),
    [
        (ALL, ("clinical", "image"), "order names clinical, image and leaves out 'omic'"),
        (named(replace(CLINICAL, name="start")), (), "the step before any modality is called 'start', and so is a mod"),
        (named(MAP, OMIC), ("omic", "map", "bag"), None),
        (ALL, (), None),
    ],
)
def test_what_it_cannot_read(specs, order, reason):
    model = MultiModN(MultiModNOptions(order=order))
    said = model.skip(Task(), specs)
    assert said is None if reason is None else said.startswith(reason)
    if reason:
        with pytest.raises(DataError, match=f"multimodn: {reason}"):
            model.build(TASK, specs)
    else:
        assert isinstance(model.build(TASK, specs)(collate(CASES, specs)), Outputs)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"order": ("omic", "map", "omic")}, "order names omic twice"),
        ({"order": "omic"}, "order"),
        ({"state": 0}, "greater than or equal to 1"),
        ({"hidden": (8, 0)}, "greater than or equal to 1"),
        ({"encoder": "rnn"}, "'full' or 'late'"),
        ({"error_penalty": 0}, "greater than 0"),
        ({"change_penalty": -1}, "greater than or equal to 0"),
        ({"bag": "mean", "queries": 9}, "queries is of bag=attention"),
    ],
)
def test_options_are_strict(options, reason):
    with pytest.raises(ValidationError, match=reason):
        MultiModNOptions(**options)
