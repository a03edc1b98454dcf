import pytest
import torch
from fusionbench_perceiver_io import PerceiverIo, PerceiverIoOptions
from fusionbench_perceiver_io.reading import statistics
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fusionbench import ModalitySpec
from fusionbench.data.collate import collate
from tests.unit.network_cases import CASES, CLINICAL, IMAGE, OMIC, TASK, named

ALL = named(CLINICAL, IMAGE, OMIC)
SMALL = {"latents": 5, "latent_dim": 8, "read_width": 8}


def build(specs=ALL, **options):
    torch.manual_seed(0)
    return PerceiverIo(PerceiverIoOptions(**{**SMALL, **options})).build(TASK, specs).eval()


@given(st.integers(1, 6), st.integers(1, 6), st.floats(-100, 100))
def test_statistics_are_those_of_the_padded_token(channels, more, shift):
    g = torch.Generator().manual_seed(channels)
    values = shift + torch.randn(2, 3, channels, generator=g, dtype=torch.float64)
    padding = torch.randn(more, generator=g, dtype=torch.float64)
    whole = torch.cat([values, padding.expand(2, 3, -1)], dim=-1)
    found = statistics(values, padding)
    torch.testing.assert_close(found.mean, whole.mean(dim=-1, keepdim=True))
    torch.testing.assert_close(found.rstd, (whole.var(dim=-1, keepdim=True, correction=0) + 1e-5).rsqrt())


def test_every_modality_is_padded_to_one_width_by_numbers_of_its_own():
    net = build(modality_dim=4)
    assert [len(padding) for padding in net.read.padding] == [7, 5, 4]
    assert net.read.channels == 10


def test_all_modalities_share_one_softmax():
    _, weights = build().encode(collate(CASES, ALL))
    total = sum(w.sum(dim=-1) for w in weights)
    torch.testing.assert_close(total, torch.ones_like(total))
    assert [w.shape[1:] for w in weights] == [(5, 1), (5, 9), (5, 1)]


def test_blocks_have_the_same_weights():
    once, often = build(blocks=1), build(blocks=4)
    assert {n: x.shape for n, x in once.state_dict().items()} == {n: x.shape for n, x in often.state_dict().items()}
    batch = collate(CASES, ALL)
    assert not torch.allclose(once(batch), often(batch))


def test_one_column_is_not_erased_by_the_norm():
    lone = ModalitySpec("clinical", "vector", 1)
    cases = [type(c)(c.id, {"clinical": type(c.bags["clinical"])(c.bags["clinical"].values[:, :1])}) for c in CASES]
    logits = build(named(lone))(collate(cases, named(lone)))
    assert len({round(x, 6) for x in logits[:, 0].tolist()}) == 5


def test_the_mean_of_the_latents_is_a_decoder():
    assert build(decoder="mean").decode is None
    assert build().decode is not None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"latent_dim": 30}, r"latent_dim \(30\) must be a multiple of self_heads"),
        ({"read_width": 10, "read_heads": 4}, r"read_width \(10\) must be a multiple of read_heads"),
        ({"latent_dim": 32, "read_heads": 64, "read_width": 64}, "latent_dim .32. must be a multiple of read_heads"),
        ({"decoder": "mean", "query_residual": True}, "query_residual is of decoder=query"),
        ({"latents": 0}, "greater than or equal to 1"),
        ({"modality_std": 0}, "greater than 0"),
        ({"modality_dim": 0}, "greater than or equal to 1"),
        ({"dropout": 1.0}, "less than 1"),
    ],
)
def test_options_are_strict(options, reason):
    with pytest.raises(ValidationError, match=reason):
        PerceiverIoOptions(**options)
