from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fusionbench_unimodal.abmil import Abmil, AbmilNetwork, AbmilOptions
from fusionbench_unimodal.snn import Snn, SnnNetwork, SnnOptions
from pydantic import ValidationError

from fusionbench import Bag, Batch, DataError, ModalitySpec, PreparedBag, PreparedCase, Task
from fusionbench.bags import collate
from fusionbench.survival import discrete_hazard_nll

GOLDEN = Path(__file__).parents[1] / "golden" / "unimodal"
TASK = Task(n_outputs=4, edges=(1.0, 2.0, 3.0))
CLINICAL, OMIC = ModalitySpec("clinical", "vector", 3), ModalitySpec("omic", "vector", 6)
IMAGE, MAP = ModalitySpec("image", "bag", 5), ModalitySpec("map", "grid", 2, axes=2)
VECTORS, BAG = {"clinical": CLINICAL, "omic": OMIC}, {"image": IMAGE}


def prepared(id_, seed, length=7):
    g = torch.Generator().manual_seed(seed)
    sizes = {"clinical": (1, 3), "omic": (1, 6), "image": (length, 5)}
    return PreparedCase(id_, {name: PreparedBag(torch.randn(*size, generator=g)) for name, size in sizes.items()})


PUBLISHED = SnnOptions(dropout_kind="alpha", head_scale=1)
CASES = tuple(prepared(f"case-{i}", i, length=1 + 2 * i) for i in range(5))
MODELS = {
    "snn": (lambda: Snn(SnnOptions()), VECTORS),
    "snn published": (lambda: Snn(PUBLISHED), VECTORS),
    "snn selu": (lambda: Snn(SnnOptions(widths=(16, 8), activation="selu", init="torch")), VECTORS),
    "abmil": (lambda: Abmil(AbmilOptions()), BAG),
}


@pytest.fixture(params=MODELS, name="built")
def built_(request):
    make, specs = MODELS[request.param]
    torch.manual_seed(0)
    return make().build(TASK, specs).eval(), specs


def close(a, b):
    torch.testing.assert_close(a, b, rtol=2e-6, atol=2e-6)


def test_logits_are_finite_and_distinct(built):
    net, specs = built
    logits = net(collate(CASES, specs))
    assert logits.shape == (5, 4)
    assert logits.isfinite().all()
    assert len({round(x, 6) for x in logits[:, 0].tolist()}) == 5


def test_neither_batch_mates_nor_padding_nor_order_matter(built):
    net, specs = built
    batch = collate(CASES, specs)
    together = net(batch)
    for i, case in enumerate(CASES):
        turned = replace(case, bags={**case.bags, "image": PreparedBag(case.bags["image"].values.flip(0))})
        close(net(collate([turned], specs))[0], together[i])
    bags = {k: replace(b, values=torch.where(b.mask[..., None], b.values, 9.0)) for k, b in batch.bags.items()}
    close(net(replace(batch, bags=bags)), together)


def test_every_parameter_learns_but_the_one_that_softmax_cancels(built):
    net, specs = built
    net(collate(CASES, specs)).square().sum().backward()
    dead = {n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-6}
    assert dead <= {"pool.score.bias"}


def test_dropout_is_on_in_training_only(built):
    net, specs = built
    batch = collate(CASES, specs)
    assert torch.equal(net(batch), net(batch))
    net.train()
    assert not torch.equal(net(batch), net(batch))


def test_snn_takes_vectors_in_the_suites_order():
    torch.manual_seed(0)
    net = SnnNetwork([OMIC, CLINICAL], 4, SnnOptions()).eval()
    seen = {}
    net.blocks.register_forward_pre_hook(lambda _, args: seen.update(x=args[0]))
    batch = collate(CASES, VECTORS)
    net(batch)
    expected = torch.cat([batch.bags["omic"].values[:, 0], batch.bags["clinical"].values[:, 0]], dim=1)
    assert torch.equal(seen["x"], expected)


def test_snn_starts_as_lecun_says():
    net = SnnNetwork([ModalitySpec("omic", "vector", 400)], 4, PUBLISHED)
    linears = [m for m in net.modules() if isinstance(m, torch.nn.Linear)]
    assert [m.out_features for m in linears] == [256, 256, 256, 256, 4]
    for linear in linears:
        assert linear.weight.std().item() == pytest.approx(linear.in_features**-0.5, rel=0.1)
        assert not linear.bias.any()


@pytest.mark.parametrize("init", ["lecun", "torch"])
def test_snns_head_starts_small_and_nothing_else_changes(init):
    nets = []
    for scale in (1, 0.01):
        torch.manual_seed(0)
        nets.append(SnnNetwork([OMIC], 4, SnnOptions(init=init, head_scale=scale)).state_dict())
    full, small = nets
    for name, values in full.items():
        assert torch.equal(small[name], values * 0.01 if name.startswith("head.") else values), name


def test_snns_defaults_leave_the_published_ones_where_the_docstring_says():
    assert SnnOptions(dropout_kind="plain", head_scale=0.01) == SnnOptions()
    assert [type(block[2]) for block in SnnNetwork([OMIC], 4, SnnOptions()).blocks] == [torch.nn.Dropout] * 4
    published = SnnNetwork([OMIC], 4, PUBLISHED)
    assert [type(block[2]) for block in published.blocks] == [torch.nn.AlphaDropout] * 4
    assert {block[2].p for block in published.blocks} == {0.25}
    assert isinstance(published.blocks[0][1], torch.nn.ELU)


def test_trained_snn_fits_its_training_cases_without_dropout_as_with_it():
    """What AlphaDropout breaks, and why it is not the default."""

    def gap(options):
        torch.manual_seed(0)
        x = torch.randn(320, 20)
        time_bin, event = torch.randint(4, (320,)), torch.rand(320) < 0.4
        net = SnnNetwork([ModalitySpec("x", "vector", 20)], 4, options)
        optimizer = torch.optim.AdamW(net.parameters(), lr=5e-4)

        def nll(rows):
            logits = net.head(net.blocks(x[rows]))
            return discrete_hazard_nll(logits, time_bin[rows], event[rows]).mean()

        for rows in [rows for _ in range(4) for rows in torch.randperm(320).split(16)]:
            optimizer.zero_grad()
            nll(rows).backward()
            optimizer.step()
        everyone = torch.arange(320)
        with torch.no_grad():
            with_dropout = nll(everyone).item()
            net.eval()
            return nll(everyone).item() - with_dropout

    assert gap(SnnOptions()) < 0.05
    assert gap(PUBLISHED) > 0.2


def test_abmil_starts_as_xavier_says():
    net = AbmilNetwork(ModalitySpec("image", "bag", 400), 4, AbmilOptions())
    assert net.embed[0].weight.std().item() == pytest.approx((2 / (400 + 512)) ** 0.5, rel=0.05)
    assert not any(m.bias.any() for m in net.modules() if isinstance(m, torch.nn.Linear))


def test_abmil_pools_by_its_attention():
    net = AbmilNetwork(IMAGE, 4, AbmilOptions(width=8, attention_width=4)).eval()
    batch = collate(CASES, BAG)
    weights = net.attention(batch)["image"]
    assert weights.shape == batch.bags["image"].mask.shape
    assert not weights[~batch.bags["image"].mask].any()
    close(weights.sum(dim=1), torch.ones(5))
    pooled = (weights.unsqueeze(-1) * net.embed(batch.bags["image"].values)).sum(dim=1)
    close(net(batch), net.head(pooled))


@pytest.mark.parametrize(
    ("model", "specs", "reason"),
    [
        (Snn(SnnOptions()), (CLINICAL, OMIC), None),
        (Snn(SnnOptions()), (CLINICAL, IMAGE), "takes vectors only; 'image' is a bag"),
        (Snn(SnnOptions()), (MAP,), "takes vectors only; 'map' is a grid"),
        (Abmil(AbmilOptions()), (IMAGE,), None),
        (Abmil(AbmilOptions()), (MAP,), None),
        (Abmil(AbmilOptions()), (IMAGE, OMIC), "takes bags and grids only; 'omic' is a vector"),
        (Abmil(AbmilOptions()), (IMAGE, MAP), "takes exactly one bag; there are 2: 'image', 'map'"),
    ],
)
def test_skips_with_a_reason(model, specs, reason):
    assert model.skip(TASK, {spec.name: spec for spec in specs}) == reason


@pytest.mark.parametrize(("kind", "specs", "lost"), [(SnnNetwork, VECTORS, "omic"), (AbmilNetwork, BAG, "image")])
def test_a_missing_modality_is_an_error_that_names_the_case(kind, specs, lost):
    net = kind(list(specs.values()), 4, SnnOptions()) if kind is SnnNetwork else kind(IMAGE, 4, AbmilOptions())
    case = PreparedCase("half", {k: v for k, v in CASES[0].bags.items() if k != lost})
    with pytest.raises(DataError, match=f"case 'half' has no '{lost}'"):
        net(collate([CASES[0], case], specs))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (SnnOptions, {"widths": []}),
        (SnnOptions, {"dropout": 1.0}),
        (SnnOptions, {"head_scale": 0}),
        (SnnOptions, {"dropout_kind": "none"}),
        (AbmilOptions, {"big": True}),
    ],
)
def test_options_are_strict(kind, options):
    with pytest.raises(ValidationError):
        kind(**options)


def replay(net, names, golden, x):
    """Logits and the gradient of the summed risk by the input, with the published weights."""
    state = {
        ours: torch.from_numpy(np.concatenate([golden[f"param/{t}"] for t in theirs])) for ours, theirs in names.items()
    }
    net = net.double().eval()
    net.load_state_dict(state)
    x = torch.from_numpy(x).requires_grad_()
    values = x.unsqueeze(1) if isinstance(net, SnnNetwork) else x.unsqueeze(0)
    bag = Bag(values, torch.ones(values.shape[:2], dtype=torch.bool))
    logits = net(Batch(tuple(map(str, range(len(values)))), {"x": bag}))
    (-(1 - logits.sigmoid()).cumprod(dim=1)).sum().backward()
    return logits.detach().numpy(), x.grad.numpy()


def test_snn_gives_porpoises_numbers():
    golden = np.load(GOLDEN / "snn_small.npz")
    net = SnnNetwork([ModalitySpec("x", "vector", 30)], 4, PUBLISHED.model_copy(update={"widths": (32,) * 4}))
    names = {f"blocks.{i}.0.{kind}": [f"fc_omic.{i}.0.{kind}"] for i in range(4) for kind in ("weight", "bias")}
    names |= {f"head.{kind}": [f"classifier.{kind}"] for kind in ("weight", "bias")}
    logits, gradient = replay(net, names, golden, golden["input/x_omic"])
    np.testing.assert_allclose(logits, golden["output/logits"], atol=1e-12)
    np.testing.assert_allclose(gradient, golden["grad/x_omic"], atol=1e-12)


def test_abmil_gives_porpoises_numbers():
    golden = np.load(GOLDEN / "porpoise_amil_small.npz")
    net = AbmilNetwork(ModalitySpec("x", "bag", 40), 4, AbmilOptions(width=48, attention_width=32))
    inner = {"embed.0": ["0"], "pool.project": ["3.attention_a.0", "3.attention_b.0"], "pool.score": ["3.attention_c"]}
    names = {
        f"{o}.{kind}": [f"attention_net.{t}.{kind}" for t in ts]
        for o, ts in inner.items()
        for kind in ("weight", "bias")
    }
    names |= {f"head.{kind}": [f"classifier.{kind}"] for kind in ("weight", "bias")}
    logits, gradient = replay(net, names, golden, golden["input/x_path"])
    np.testing.assert_allclose(logits, golden["output/logits"], atol=1e-12)
    np.testing.assert_allclose(gradient, golden["grad/x_path"], atol=1e-12)
