"""What only a GPU shows: the CPU's numbers, steps that never wait for it, mixed precision, compiled steps."""

from __future__ import annotations

import contextlib
import copy
import gc
import itertools
import warnings

import pytest
import torch
from fusionbench_early_fusion.model import EarlyFusion
from fusionbench_healnet.model import Healnet

from fusionbench import Batch, PreparedBag, PreparedCase
from fusionbench.core.protocol import TrainRecipe
from fusionbench.data import loader
from fusionbench.execution.training import loop
from fusionbench.execution.training.loop import train_module
from tests.speed.made import logits
from tests.unit.execution import test_training as on_the_cpu
from tests.unit.network_cases import CLINICAL, GROUPED, IMAGE, MAP, MODELS, TASK, Made, of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

CUDA = torch.device("cuda")
FUSING = {
    "healnet": of(Healnet, CLINICAL, GROUPED, IMAGE, MAP, token_norm=True),
    "healnet untied": of(Healnet, GROUPED, IMAGE, sharing="none", token_norm=True, tokens="group"),
    "healnet wide": of(Healnet, GROUPED, IMAGE, latents=40, head_dim=4, token_norm=True),
    "early-fusion": of(EarlyFusion, CLINICAL, GROUPED, IMAGE),
}
ALL = MODELS | FUSING
WAITING = {"mifcn", "mifcn concat", "mifcn bilinear", "multimodn", "multimodn late"}
"""They choose instances by cluster, or have losses of the cases that took a step, so that sizes depend on numbers."""


@pytest.fixture(autouse=True)
def _free():
    yield
    gc.collect()
    torch.cuda.empty_cache()


@pytest.mark.parametrize("name", ALL)
def test_logits_and_gradients_are_the_cpus(name: str) -> None:
    made = ALL[name]
    here, batch = made.network(), made.batch()
    there = copy.deepcopy(here).to(CUDA)
    expected, found = logits(here, batch), logits(there, on_gpu(batch))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-8, atol=1e-8)
    for made_of_it in (expected, found):
        made_of_it.square().sum().backward()
    for (key, a), b in zip(here.named_parameters(), there.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), key
        if a.grad is not None:
            torch.testing.assert_close(b.grad.cpu(), a.grad, rtol=1e-7, atol=1e-8, msg=lambda m, k=key: f"{k}: {m}")


@contextlib.contextmanager
def waiting_refused():
    """An operation that waits for the GPU raises; torch says that it may not know all of them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Synchronization debug mode")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def on_gpu(batch: Batch) -> Batch:
    def there(x):
        return None if x is None else x.to(CUDA)

    bags = {k: type(b)(*map(there, (b.values, b.mask, b.coords, b.shape)), b.known) for k, b in batch.bags.items()}
    return Batch(batch.ids, bags)


def trained(made: Made, device: torch.device, *, cases=24, **recipe):
    """A short training on bags of ever other lengths."""
    torch.manual_seed(0)
    network = made.model().build(TASK, made.specs)
    train, val = (prepared(made, n, seed) for n, seed in ((cases, 0), (9, 1)))
    if (assign := getattr(network, "assign", None)) is not None and hasattr(assign, "place"):
        bags = [train[i].bags[assign.name].values for i in range(8)]
        assign.place(torch.cat(bags)[:4].numpy())
    history = {}
    settings = TrainRecipe.model_validate(
        {"epochs": 2, "batch_size": 5, "lr": 0.01, "patience": None, "amp": False} | recipe
    )
    predictor = train_module(
        network, TASK, made.specs, train, val, settings, seed=0, device=device, log=history.__setitem__
    )
    return predictor, history, val


def prepared(made: Made, n: int, seed: int):
    whole = on_the_cpu.cohort(n, seed)
    g = torch.Generator().manual_seed(seed)
    data = {}
    for i, case in enumerate(whole.cases):
        bags = {}
        for name, spec in made.specs.items():
            length = 1 if spec.kind == "vector" else 3 + (7 * i + len(name)) % 23
            if spec.kind == "grid":
                bags[name] = PreparedBag(torch.randn(2 * length, spec.dim, generator=g), shape=(2, length))
            else:
                bags[name] = PreparedBag(torch.randn(length, spec.dim, generator=g))
        data[case.id] = bags
    cases = tuple(type(case)(case.id, case.id, None, dict.fromkeys(data[case.id], 0)) for case in whole.cases)
    return type(whole)(
        cases, made.specs, whole.targets, lambda c, seen: PreparedCase(c.id, {k: data[c.id][k] for k in seen})
    )


@pytest.mark.parametrize("share", [0.3, 0.0], ids=["bags on the GPU", "bags in the machine's memory"])
@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        *((name, {}) for name in ALL if name not in WAITING),
        *itertools.product(
            ("healnet", "porpoise", "snn"), ({"loss": "cox"}, {"amp": True, "l1": 1e-4, "grad_clip": 1.0})
        ),
    ],
    ids=str,
)
def test_no_step_waits_for_the_gpu(name, recipe, share, monkeypatch: pytest.MonkeyPatch) -> None:
    if recipe.get("loss") == "cox":
        monkeypatch.setitem(globals(), "TASK", type(TASK)(n_outputs=1))
    monkeypatch.setattr(loader, "GPU_SHARE", share)
    stepped = loop._Steps._step
    asked = []

    def watched(self, *given):
        if not asked:  # what the first step allocates and loads is allowed to wait
            asked.append(1)
            return stepped(self, *given)
        asked.append(1)
        with waiting_refused():
            return stepped(self, *given)

    monkeypatch.setattr(loop._Steps, "_step", watched)
    _, history, _ = trained(ALL[name], CUDA, **recipe)
    assert len(asked) > 5
    assert len(history) == 2


@pytest.mark.parametrize(
    "name", ["healnet", "healnet untied", "early-fusion", "porpoise", "mcat", "abmil concat", "snn"]
)
def test_mixed_precision_is_near_and_predictions_move_to_the_cpu(name) -> None:
    made = ALL[name]
    mixed, history, val = trained(made, CUDA, amp=True)
    assert history[2]["train/loss"] < 5
    assert {p.dtype for p in mixed.module.parameters()} == {torch.float32}
    there = mixed.logits(val)
    with torch.autocast("cuda", torch.bfloat16):
        near = mixed.logits(val)
    assert not torch.equal(near, there)
    assert (near - there).norm() / there.norm() < 0.03
    mixed.device = torch.device("cpu")
    mixed.module.to("cpu")
    torch.testing.assert_close(mixed.logits(val), there, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
@pytest.mark.parametrize("name", ["healnet", "abmil", "snn"])
def test_compiled_steps_are_the_same_steps_without_a_program_for_each_length(name) -> None:
    from torch._dynamo.utils import counters

    of_healnet = {"attention_dropout": 0.0, "feedforward_dropout": 0.0}
    still_options = of_healnet if name == "healnet" else {"dropout": 0.0}
    kinds = {"snn": ("clinical", "omic"), "abmil": ("image",), "healnet": ("omic", "image")}[name]
    made = ALL[name]
    model = type(made.model())
    still = Made(lambda: model(model.Options(**still_options)), {k: made.specs[k] for k in kinds})
    torch._dynamo.reset()
    counters.clear()
    _, compiled, _ = trained(still, CUDA, compile=True, epochs=3)
    programs = counters["stats"]["unique_graphs"]
    _, plain, _ = trained(still, CUDA, epochs=3)
    for epoch in (1, 2, 3):
        assert compiled[epoch]["train/loss"] == pytest.approx(plain[epoch]["train/loss"], rel=2e-3)
    assert programs <= 4


def test_a_training_leaves_nothing_on_the_gpu() -> None:
    gc.disable()
    try:
        trained(ALL["porpoise"], CUDA)
        before = torch.cuda.memory_allocated()
        for _ in range(2):
            trained(ALL["porpoise"], CUDA)
        assert torch.cuda.memory_allocated() <= before
    finally:
        gc.enable()
