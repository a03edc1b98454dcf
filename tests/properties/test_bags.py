import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionbench.core.types import ModalitySpec, PreparedBag, PreparedCase
from fusionbench.data.collate import batches, collate, stream
from fusionbench.nn import GatedAttention

SPECS = {"omic": ModalitySpec("omic", "vector", 3), "wsi": ModalitySpec("wsi", "bag", 4)}
LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=12)


def cases(lengths):
    """A case for each length; its length is that of its bag, 0 = missing, and odd ones lack the vector."""
    generator = torch.Generator().manual_seed(0)
    out = []
    for i, n in enumerate(lengths):
        bags = {"wsi": PreparedBag(torch.randn(n, 4, generator=generator))} if n else {}
        if n % 2 == 0:
            bags["omic"] = PreparedBag(torch.randn(1, 3, generator=generator))
        out.append(PreparedCase(f"c{i}", bags))
    return out


@settings(deadline=None)
@given(LENGTHS)
def test_collate_loses_and_invents_nothing(lengths):
    prepared = cases(lengths)
    batch = collate(prepared, SPECS)
    for name, spec in SPECS.items():
        bag = batch.bags[name]
        assert bag.values.shape[1] == max(1, *(len(c.bags[name].values) if name in c.bags else 0 for c in prepared), 0)
        for case, values, mask in zip(prepared, bag.values, bag.mask, strict=True):
            own = case.bags[name].values if name in case.bags else torch.zeros(0, spec.dim)
            assert torch.equal(values[mask], own)
            assert mask.tolist() == sorted(mask.tolist(), reverse=True)
            assert (values[~mask] == 0).all()


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 5), st.booleans(), st.one_of(st.none(), st.integers(1, 20)))
def test_batches_partition_the_cases(lengths, batch_size, shuffled, limit):
    generator = torch.Generator().manual_seed(3) if shuffled else None
    formed = batches(lengths, batch_size, generator, limit=limit)
    assert sorted(i for batch in formed for i in batch) == list(range(len(lengths)))
    assert all(0 < len(batch) <= batch_size for batch in formed)
    if limit is None:
        assert sorted(map(len, formed))[1:] == [batch_size] * (len(formed) - 1)
    else:
        assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= limit for b in formed)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 5))
def test_neighbours_and_padding_do_not_matter(lengths, batch_size):
    torch.manual_seed(0)
    attention = GatedAttention(4, 3)
    prepared = cases(lengths)
    with torch.no_grad():
        alone = [attention(b.values, b.mask)[0][0] for b in (collate([c], SPECS).bags["wsi"] for c in prepared)]
        for positions, batch in stream(prepared, SPECS, batch_size):
            pooled, _ = attention(batch.bags["wsi"].values, batch.bags["wsi"].mask)
            for position, row in zip(positions, pooled, strict=True):
                torch.testing.assert_close(row, alone[position], rtol=1e-5, atol=1e-6)
