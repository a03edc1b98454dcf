import numpy as np
import pytest
import torch

from fusionbench.core.errors import DataError
from fusionbench.core.types import Bag, Case, CaseSet, ModalitySpec, PreparedBag, PreparedCase, SurvivalTargets
from fusionbench.data import loader as loader_module
from fusionbench.data.bag_parts import subsample
from fusionbench.data.collate import batches, collate, select, stream
from fusionbench.data.loader import CaseLoader, Prefetcher

SPECS = {
    "omic": ModalitySpec("omic", "vector", 3),
    "wsi": ModalitySpec("wsi", "bag", 2),
    "map": ModalitySpec("map", "grid", 1, axes=2),
}
CPU = torch.device("cpu")


def case(name, *, omic=True, wsi=0, grid=None, coords=False):
    bags = {}
    if omic:
        bags["omic"] = PreparedBag(torch.full((1, 3), 1.0))
    if wsi:
        places = torch.arange(2.0 * wsi).reshape(wsi, 2) if coords else None
        bags["wsi"] = PreparedBag(torch.full((wsi, 2), 2.0), places)
    if grid:
        bags["map"] = PreparedBag(torch.arange(1.0, 1 + grid[0] * grid[1]).unsqueeze(1), None, grid)
    return PreparedCase(name, bags)


def test_absence_becomes_a_row_of_all_false():
    batch = collate([case("a", wsi=2), case("b", omic=False, wsi=4)], SPECS)
    assert batch.bags["omic"].mask.tolist() == [[True], [False]]
    assert batch.bags["wsi"].mask.tolist() == [[True, True, False, False], [True] * 4]
    assert batch.bags["wsi"].values[0, 2:].eq(0).all()
    assert batch.bags["omic"].present.tolist() == [True, False]
    assert batch.ids == ("a", "b")
    assert batch.targets is None


def test_modality_missing_for_all_is_there_with_zeros():
    batch = collate([case("a"), case("b")], SPECS)
    for name, spec in SPECS.items():
        bag = batch.bags[name]
        assert bag.values.shape == (2, 1, spec.dim)
        assert bag.values.dtype == torch.float32
        assert bag.mask.shape == (2, 1)
    assert not batch.bags["wsi"].mask.any()
    assert batch.bags["map"].shape.tolist() == [[0, 0], [0, 0]]


def test_targets_become_tensors():
    targets = SurvivalTargets(np.array([1.5, 2.0]), np.array([True, False]), np.array([0, 3]))
    targets.time.flags.writeable = False
    got = collate([case("a"), case("b")], SPECS, targets).targets
    assert got.time.dtype == torch.float64
    assert got.event.tolist() == [True, False]
    assert got.time_bin.dtype == torch.int64


def test_grids_carry_shape_and_row_major_coords():
    bag = collate([case("a", grid=(2, 3)), case("b"), case("c", grid=(1, 2))], SPECS).bags["map"]
    assert bag.shape.tolist() == [[2, 3], [0, 0], [1, 2]]
    assert bag.coords[0].tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert bag.coords[2, :2].tolist() == [[0, 0], [0, 1]]
    assert bag.mask.sum(1).tolist() == [6, 0, 2]


def test_coords_are_padded_beside_the_instances():
    bag = collate([case("a", wsi=1, coords=True), case("b", wsi=2, coords=True), case("c")], SPECS).bags["wsi"]
    assert bag.coords.tolist() == [[[0, 1], [0, 0]], [[0, 1], [2, 3]], [[0, 0], [0, 0]]]


@pytest.mark.parametrize(
    ("bags", "message"),
    [
        (
            {"omic": PreparedBag(torch.zeros(1, 4))},
            r"modality 'omic' of case 'bad': .* \(1, 4\), expected \(inst.*, 3\)",
        ),
        ({"omic": PreparedBag(torch.zeros(3))}, r"modality 'omic' of case 'bad'"),
        ({"wsi": PreparedBag(torch.zeros(0, 2))}, "modality 'wsi' of case 'bad': the bag has no instance"),
        ({"wsi": PreparedBag(torch.zeros(2, 2), torch.zeros(3, 2))}, r"coords have shape \(3, 2\) for 2 instances"),
        ({"map": PreparedBag(torch.zeros(4, 1))}, "a grid of 2 axes needs its extent"),
        ({"map": PreparedBag(torch.zeros(4, 1), None, (2, 3))}, r"4 instances do not fill a grid of \(2, 3\)"),
    ],
)
def test_ill_shaped_bags_are_named(bags, message):
    with pytest.raises(DataError, match=message):
        collate([case("fine"), PreparedCase("bad", bags)], SPECS)


def test_coords_for_some_are_refused():
    with pytest.raises(DataError, match="modality 'wsi': coords of unequal kinds"):
        collate([case("a", wsi=2, coords=True), case("b", wsi=2)], SPECS)


def test_subsample_keeps_coords_and_order():
    bag = PreparedBag(torch.arange(100.0).unsqueeze(1), torch.arange(100.0).unsqueeze(1) * 2)
    got = subsample(bag, 10, torch.Generator().manual_seed(0))
    assert got.values.shape == (10, 1)
    assert torch.equal(got.coords, got.values * 2)
    assert (got.values.diff(dim=0) > 0).all()
    again, other = (subsample(bag, 10, torch.Generator().manual_seed(s)) for s in (0, 1))
    assert torch.equal(got.values, again.values)
    assert not torch.equal(got.values, other.values)
    assert subsample(bag, 100, torch.Generator()) is bag


def test_subsampled_grid_knows_where_it_was():
    grid = PreparedBag(torch.arange(12.0).unsqueeze(1), None, (3, 4))
    got = subsample(grid, 5, torch.Generator().manual_seed(0))
    assert got.shape == (3, 4)
    assert torch.equal(got.coords @ torch.tensor([4.0, 1.0]), got.values[:, 0])
    batch = collate([PreparedCase("a", {"map": got}), case("b", grid=(2, 2))], SPECS)
    assert batch.bags["map"].mask.sum(1).tolist() == [5, 4]


def test_evaluation_batches_are_sorted_by_length_and_limited():
    lengths = [5, 1, 4, 2, 3]
    assert batches(lengths, 2) == [[1, 3], [4, 2], [0]]
    assert batches(lengths, 5, limit=8) == [[1, 3], [4, 2], [0]]
    assert batches([100, 1], 2, limit=8) == [[1], [0]]


def test_training_batches_of_equal_length_are_a_plain_shuffle():
    formed = batches([1] * 50, 8, torch.Generator().manual_seed(0))
    assert formed != batches([1] * 50, 8, torch.Generator().manual_seed(1))
    assert formed == batches([1] * 50, 8, torch.Generator().manual_seed(0))
    visited = [i for batch in formed for i in batch]
    assert visited != sorted(visited)


def cohort(prepared):
    cases = tuple(Case(c.id, c.id, None, dict.fromkeys(c.bags, 0)) for c in prepared)
    by_id = {c.id: c for c in prepared}
    asked = []

    def prepare(one, visible):
        asked.append(one.id)
        return PreparedCase(one.id, {k: by_id[one.id].bags[k] for k in visible})

    n = len(cases)
    targets = SurvivalTargets(np.arange(1.0, n + 1), np.ones(n, bool), np.zeros(n, np.int64))
    return CaseSet(cases, SPECS, targets, prepare), asked


def same(one, two):
    assert one.ids == two.ids
    for name, bag in one.bags.items():
        for part in ("values", "mask", "coords", "shape"):
            a, b = getattr(bag, part), getattr(two.bags[name], part)
            assert (a is None and b is None) or torch.equal(a, b), (name, part)
    assert torch.equal(one.targets.time, two.targets.time)


@pytest.mark.parametrize("wsi", [0, 1, 5])
def test_loader_gives_the_same_batches_with_and_without_memory(wsi):
    prepared = [case(f"c{i}", omic=i % 3 > 0 or not wsi, wsi=wsi and i % wsi + 1, grid=(2, 2)) for i in range(9)]
    if wsi < 5:
        prepared = [PreparedCase(c.id, {k: b for k, b in c.bags.items() if k != "map"}) for c in prepared]
    cases, asked = cohort(prepared)
    rich, partly, poor = (CaseLoader(cases, SPECS, CPU, cache_bytes=b) for b in (1 << 20, 60, 0))
    asked.clear()
    for index in ([3, 0, 8], [5]):
        expected = collate([prepared[i] for i in index], SPECS, cases.take(index).targets)
        for loader in (rich, partly, poor):
            same(loader.batch(index), expected)
    assert rich.lengths == partly.lengths == poor.lengths
    assert asked.count("c5") == (2 if partly.cached_bytes < 60 else 1) or wsi == 0
    assert poor.cached_bytes == 0
    assert [c.id for c in partly] == list(cases.ids)


def test_loader_with_memory_prepares_each_case_once():
    cases, asked = cohort([case(f"c{i}", wsi=i + 1) for i in range(4)])
    loader = CaseLoader(cases, SPECS, CPU)
    for _ in range(3):
        loader.batch([0, 1, 2, 3])
        list(loader)
    assert sorted(asked) == ["c0", "c1", "c2", "c3"]


@pytest.mark.parametrize("expected", [[[3, 0], [5], [2, 1]], [[5], [3, 0]], []])
def test_what_is_prepared_ahead_is_the_same(expected):
    """As on a GPU, in the order that was told and in another one."""
    prepared = [case(f"c{i}", wsi=i + 1, coords=True) for i in range(6)]
    cases, asked = cohort(prepared)
    plain, ahead = CaseLoader(cases, SPECS, CPU, cache_bytes=0), CaseLoader(cases, SPECS, CPU, cache_bytes=0)
    ahead._prefetcher = Prefetcher(ahead._prepare)
    asked.clear()
    for _ in range(2):
        ahead.schedule(expected)
        for index in [[3, 0], [5], [2, 1]]:
            same(ahead.batch(index), plain.batch(index))
    assert len(asked) == 2 * 10 or expected[:1] != [[3, 0]]  # nothing twice where the order is as told
    assert [c.id for c in ahead] == list(cases.ids)


def test_what_fails_ahead_fails_where_it_is_taken():
    def prepare(i):
        raise DataError(f"case {i} cannot be read")

    ahead = Prefetcher(prepare)
    ahead.schedule([[1]])
    with pytest.raises(DataError, match="case 1"):
        ahead.take([1])


@pytest.mark.gpu
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_loader_on_a_gpu_gives_the_same_batches(share, monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    monkeypatch.setattr(loader_module, "GPU_SHARE", share)
    prepared = [case(f"c{i}", omic=i % 3 > 0, wsi=i + 1, grid=(2, i + 1)) for i in range(6)]
    cases, _ = cohort(prepared)
    device = torch.device("cuda")
    for budget in (0, 1 << 20):
        loader = CaseLoader(cases, SPECS, device, cache_bytes=budget)
        loader.schedule([[3, 0], [5], [2, 1]])
        for index in [[3, 0], [5], [2, 1]]:
            batch = loader.batch(index)
            assert all(bag.values.is_cuda and bag.mask.is_cuda for bag in batch.bags.values())
            back = {k: Bag(*(x.cpu() for x in (b.values, b.mask))) for k, b in batch.bags.items()}
            expected = collate([prepared[i] for i in index], SPECS)
            for name, bag in back.items():
                assert torch.equal(bag.values, expected.bags[name].values)
                assert torch.equal(bag.mask, expected.bags[name].mask)


@pytest.mark.parametrize("bound", [1 << 20, 0])
def test_batches_for_evaluation_are_put_together_once_where_they_fit(bound, monkeypatch):
    monkeypatch.setattr(loader_module, "EVAL_CACHE_BYTES", bound)
    prepared = [case(f"c{i}", omic=i % 3 > 0, wsi=1 + 5 * i % 7) for i in range(7)]
    loader = CaseLoader(cohort(prepared)[0], SPECS, CPU)
    first, again, others = (list(loader.evaluation_batches(n)) for n in (3, 3, 2))
    assert all(a[1] is b[1] for a, b in zip(first, again, strict=True)) == bool(bound)
    for size, made in ((3, again), (2, others)):
        for (positions, batch), (expected, plain) in zip(made, stream(prepared, SPECS, size), strict=True):
            assert positions == expected
            assert batch.ids == plain.ids
            assert all(torch.equal(bag.values, plain.bags[name].values) for name, bag in batch.bags.items())


def test_loader_draws_only_where_asked():
    cases, _ = cohort([case(f"c{i}", wsi=6) for i in range(2)])
    loader = CaseLoader(cases, SPECS, CPU)

    def two(c):
        return PreparedCase(c.id, {k: subsample(b, 2, torch.Generator()) for k, b in c.bags.items()})

    assert loader.batch([0, 1], two).bags["wsi"].mask.shape == (2, 2)
    assert loader.batch([0, 1]).bags["wsi"].mask.shape == (2, 6)


def test_stream_visits_every_case_once_in_like_lengths():
    prepared = [case(f"c{i}", wsi=1 + 7 * i % 11) for i in range(21)]
    seen = []
    for positions, batch in stream(iter(prepared), SPECS, 2):
        assert batch.ids == tuple(f"c{i}" for i in positions)
        seen += positions
    assert sorted(seen) == list(range(21))
    assert seen != sorted(seen)
    assert list(stream([], SPECS, 2)) == []


def test_select_keeps_everything():
    prepared = [case("a", wsi=2, grid=(1, 2), coords=True), case("b", wsi=1, grid=(2, 2), coords=True)]
    targets = SurvivalTargets(np.array([1.0, 2.0]), np.array([True, False]), np.array([0, 1]))
    batch = collate(prepared, SPECS, targets)
    assert select(batch, [1]).ids == ("b",)
    same(select(select(batch, [1, 0]), [1, 0]), batch)
