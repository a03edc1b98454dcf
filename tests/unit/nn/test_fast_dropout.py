import pytest
import torch

from fusionbench.nn.fast_dropout import Dropout, dropout

LARGE = (200, 500)


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("shape", [LARGE, (20, 30)])
def test_the_share_that_is_dropped_and_what_makes_up_for_it(rate, shape):
    torch.manual_seed(0)
    found = dropout(torch.ones(shape), rate)
    share = float((found == 0).float().mean())
    spread = (rate * (1 - rate) / found.numel()) ** 0.5
    assert abs(share - rate) < 4 * spread
    kept = found[found != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - rate)), rtol=1e-4, atol=0)


def test_neighbours_are_dropped_independently():
    """One random word decides of four elements."""
    torch.manual_seed(0)
    gone = (dropout(torch.ones(1_000_000), 0.5) == 0).double().view(-1, 4)
    correlation = torch.corrcoef(gone.T) - torch.eye(4)
    assert correlation.abs().max() < 4 / len(gone) ** 0.5


@pytest.mark.parametrize("length", [1 << 14, (1 << 14) + 1, (1 << 14) + 3])
def test_any_length_and_type(length):
    x = torch.randn(length, dtype=torch.float64)
    found = dropout(x, 0.3)
    kept = found != 0
    torch.testing.assert_close(found[kept] / x[kept], torch.full_like(x[kept], 1 / 0.7), rtol=1e-4, atol=0)


def test_the_gradient_is_of_what_was_kept():
    x = torch.randn(LARGE, requires_grad=True)
    found = dropout(x, 0.25)
    found.sum().backward()
    torch.testing.assert_close(x.grad, torch.where(found == 0, 0.0, 1 / 0.75))


def test_it_follows_the_seed_and_is_off_in_evaluation():
    x, module = torch.randn(LARGE), Dropout(0.25)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(module(x))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert module.eval()(x) is x
    assert dropout(x, 0.0) is x


def test_the_rarest_and_the_most_frequent_rate_are_defined():
    assert dropout(torch.ones(LARGE), 0.9999999).isfinite().all()
    assert torch.equal(dropout(torch.ones(LARGE), 1e-9), torch.ones(LARGE))
