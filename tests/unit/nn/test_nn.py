import math

import pytest
import torch
from torch import nn

from fusionbench.core.types import Task
from fusionbench.nn import GatedAttention, QueryPool, SNNBlock, TorchModel, masked_mean, masked_softmax, masked_sum


def test_softmax_over_nothing_is_zeros_with_zero_gradient():
    scores = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
    mask = torch.tensor([[False] * 3, [True, False, True]])
    weights = masked_softmax(scores, mask)
    assert weights[0].tolist() == [0, 0, 0]
    (weights * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert scores.grad[0].tolist() == [0, 0, 0]
    assert scores.grad.isfinite().all()
    assert scores.grad[1, 1] == 0
    assert scores.grad[1, 0] != 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_softmax_over_the_real_entries_is_the_softmax_of_these(dtype):
    scores = torch.tensor([[3.0, -2.0, 1.0, 0.5]], dtype=dtype)
    weights = masked_softmax(scores, torch.tensor([[True, True, False, True]]))
    assert weights[0, 2] == 0
    torch.testing.assert_close(weights[0, [0, 1, 3]], scores[0, [0, 1, 3]].softmax(0))


def test_softmax_never_reads_a_masked_score():
    scores = torch.tensor([[0.0, math.nan, math.inf, 1e30]])
    weights = masked_softmax(scores, torch.tensor([[True, False, False, False]]))
    assert weights.tolist() == [[1, 0, 0, 0]]


def test_softmax_takes_any_dim_and_a_broadcast_mask():
    scores = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([True, False, True]).reshape(1, 3, 1)
    torch.testing.assert_close(masked_softmax(scores, mask, dim=1)[:, [0, 2]], scores[:, [0, 2]].softmax(1))


def test_mean_and_sum_never_read_what_is_padded():
    values = torch.tensor([[[1.0], [3.0], [torch.nan]], [[torch.inf]] * 3])
    mask = torch.tensor([[True, True, False], [False] * 3])
    assert masked_mean(values, mask).tolist() == [[2.0], [0.0]]
    assert masked_sum(values, mask).tolist() == [[4.0], [0.0]]


@pytest.fixture
def attention():
    torch.manual_seed(0)
    return GatedAttention(6, 4).double()


def test_gated_attention_is_the_formula_of_ilse_et_al(attention):
    h = torch.randn(5, 6, dtype=torch.float64)
    v, u = attention.project.weight[:4], attention.project.weight[4:]
    v0, u0 = attention.project.bias[:4], attention.project.bias[4:]
    scores = [attention.score.weight[0] @ (torch.tanh(v @ x + v0) * torch.sigmoid(u @ x + u0)) for x in h]
    expected = torch.stack(scores).softmax(0)
    pooled, weights = attention(h.unsqueeze(0), torch.ones(1, 5, dtype=torch.bool))
    torch.testing.assert_close(weights[0], expected)
    torch.testing.assert_close(pooled[0], expected @ h)


def test_gated_attention_ignores_padding_and_empty_bags(attention):
    h = torch.randn(2, 7, 6, dtype=torch.float64)
    mask = torch.arange(7) < torch.tensor([[4], [0]])
    pooled, weights = attention(h, mask)
    alone, _ = attention(h[:1, :4], torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(pooled[0], alone[0])
    assert (pooled[1] == 0).all()
    assert weights.sum(1).tolist() == pytest.approx([1, 0])
    assert (weights[~mask] == 0).all()


def test_learned_queries_pool_by_keys_and_values_of_the_real_instances():
    torch.manual_seed(0)
    pool = QueryPool(6, 4, 3).double()
    h, mask = torch.randn(2, 7, 6, dtype=torch.float64), torch.arange(7) < torch.tensor([[4], [0]])
    expected = (pool.query @ pool.key(h[0, :4]).T / 2).softmax(dim=1)
    tokens, weights = pool(h, mask)
    torch.testing.assert_close(weights[0, :, :4], expected)
    torch.testing.assert_close(tokens[0], expected @ pool.value(h[0, :4]))
    assert torch.equal(tokens[1], pool.value.bias.expand(3, -1))
    assert not weights.movedim(1, 2)[~mask].any()


def test_gated_attention_drops_out_in_training_only():
    torch.manual_seed(0)
    module = GatedAttention(6, 4, dropout=0.5)
    h = torch.randn(1, 5, 6)
    assert not torch.equal(module.scores(h), module.scores(h))
    module.eval()
    assert torch.equal(module.scores(h), module.scores(h))


def test_snn_block_is_lecun_initialised():
    torch.manual_seed(0)
    linear = SNNBlock(400, 300)[0]
    assert linear.weight.std().item() == pytest.approx(1 / 20, rel=0.02)
    assert (linear.bias == 0).all()


def test_snn_block_can_keep_torchs_initialisation():
    torch.manual_seed(0)
    block = SNNBlock(8, 5, init="torch")
    torch.manual_seed(0)
    assert torch.equal(block[0].weight, nn.Linear(8, 5).weight)


def test_deep_selu_blocks_stay_normalised():
    torch.manual_seed(0)
    net = nn.Sequential(*[SNNBlock(256, 256, activation="selu", dropout=0.1) for _ in range(20)])
    out = net(torch.randn(512, 256))
    assert abs(out.mean().item()) < 0.1
    assert out.std().item() == pytest.approx(1, abs=0.15)


def test_activation_is_the_one_asked_for():
    assert isinstance(SNNBlock(2, 2)[1], nn.ELU)
    assert isinstance(SNNBlock(2, 2, activation="selu")[1], nn.SELU)
    with pytest.raises(KeyError):
        SNNBlock(2, 2, activation="relu")


def test_dropout_is_the_kind_asked_for():
    assert isinstance(SNNBlock(2, 2)[2], nn.AlphaDropout)
    plain = SNNBlock(2, 2, dropout=0.3, dropout_kind="plain")[2]
    assert isinstance(plain, nn.Dropout)
    assert plain.p == 0.3
    with pytest.raises(KeyError):
        SNNBlock(2, 2, dropout_kind="none")


def test_torch_model_hands_its_module_to_the_harness():
    class Model(TorchModel):
        name = "m"

        def build(self, task, specs):
            return nn.Linear(1, task.n_outputs)

    class Context:
        task, specs = Task(n_outputs=3), {}

        def train(self, module, train, val):
            return "trained", module.out_features, train, val

        def module(self, module, state):
            return "restored", module.out_features, state

    model = Model(Model.Options())
    assert model.fit("train", "val", Context()) == ("trained", 3, "train", "val")
    assert model.restore({"a": 1}, Context()) == ("restored", 3, {"a": 1})
    with pytest.raises(TypeError, match="abstract"):
        TorchModel(TorchModel.Options())
