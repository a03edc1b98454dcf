from dataclasses import replace

import numpy as np
import pytest
import torch
from fusionbench_unimodal.clusters import NearestCentroid, draw_instances, fit_centroids
from fusionbench_unimodal.mifcn import Mifcn
from fusionbench_unimodal.options import MifcnOptions

from fusionbench.core.protocol import TrainRecipe
from fusionbench.data.collate import collate
from fusionbench.execution.fit_context import Context, Restore
from fusionbench.testing.toys import toy_case_set, toy_task
from tests.unit.network_cases import CASES, IMAGE, MODELS

CPU = torch.device("cpu")
RECIPE = TrainRecipe(epochs=1, batch_size=8, restore_best=False)
BAG = {"image": IMAGE}


def fitted(train, val, seed=0, **options):
    """A predictor and its state as bytes, without what is said of the validation cases."""
    model = Mifcn(MifcnOptions(**{"width": 8, "hidden": 8, "attention_width": 4, "clusters": 3, **options}))
    torch.manual_seed(seed)  # as the harness does
    predictor = model.fit(train, val, Context(toy_task(train), train.specs, seed, CPU, RECIPE, {}))
    return predictor, {k: v.tobytes() for k, v in predictor.state().items() if k.startswith("module.")}


def images(n, seed=0, **options):
    return toy_case_set(n, seed, ("image",), **options)


def with_rows(cases, rows):
    """The same cases, each with a bag of some of `rows`."""
    own = {i: np.resize(rows[i % len(rows) :], (4, rows.shape[1])) for i in range(len(cases))}
    return replace(cases, cases=tuple(replace(c, refs={**c.refs, "image": own[i]}) for i, c in enumerate(cases.cases)))


def test_kmeans_sees_training_instances_only():
    train = images(20)
    _, once = fitted(train, images(9, seed=1))
    _, other = fitted(train, with_rows(images(12, seed=2), np.random.default_rng(0).normal(50, 9, (6, 8))))
    assert once == other
    assert "module.assign.centroids" in once


def test_kmeans_depends_on_the_seed_and_on_nothing_else():
    train, val = images(20), images(9, seed=1)
    _, once = fitted(train, val, fit_instances=30)
    torch.randn(3)
    np.random.default_rng().random()
    assert (
        fitted(train, val, fit_instances=30)[0].state()["module.assign.centroids"].tobytes()
        == once["module.assign.centroids"]
    )
    _, other = fitted(train, val, seed=1, fit_instances=30)
    assert other["module.assign.centroids"] != once["module.assign.centroids"]


def test_centroids_are_means_of_their_instances():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(m, 0.1, (40, 3)) for m in (-3, 0, 4)]).astype(np.float32)
    centroids = fit_centroids(x, 3, np.random.default_rng(1))
    np.testing.assert_allclose(np.sort(centroids[:, 0]), [-3, 0, 4], atol=0.1)
    expected = np.stack([x[40 * i : 40 * (i + 1)].mean(axis=0) for i in range(3)])
    np.testing.assert_allclose(centroids[np.argsort(centroids[:, 0])], expected, atol=1e-5)


def test_as_many_instances_are_drawn_as_asked_an_equal_share_of_each_case():
    train = images(20)
    rng = np.random.default_rng(0)
    lengths = [len(case.bags["image"].values) for case in train]
    assert len(draw_instances(train, "image", 10_000, rng)) == sum(lengths)
    assert len(draw_instances(train, "image", 7, rng)) == 7
    drawn = draw_instances(train, "image", 40, rng)
    assert len(drawn) == 40
    of_case = [{row.tobytes() for row in case.bags["image"].values.numpy()} for case in train]
    assert [sum(row.tobytes() in own for row in drawn) for own in of_case] == [2] * 20


def test_imputed_bags_are_not_clustered():
    train = toy_case_set(20, missing=0.5, impute=True)
    own = [i for i, case in enumerate(train.cases) if "image" in case.refs]
    assert 0 < len(own) < 20
    drawn = draw_instances(train, "image", 10_000, np.random.default_rng(0))
    assert len(drawn) == sum(len(train[i].bags["image"].values) for i in own)
    only = train.take([i for i in range(20) if i not in own])
    assert len(draw_instances(only, "image", 10_000, np.random.default_rng(0))) == len(only)


def test_fewer_distinct_instances_than_clusters_make_fewer_clusters_and_a_note():
    train, val = with_rows(images(16), np.eye(3, 8)), images(6, seed=1)
    predictor, _ = fitted(train, val, clusters=5)
    assert predictor.notes == ("3 clusters instead of 5: as many distinct training instances",)
    state = predictor.state()
    assert state["module.assign.used"].tolist() == [True] * 3 + [False] * 2
    new = val.without_targets()
    weights = predictor.attention(new)["image"].weights[:, 0, 0]
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(new)))
    # what nothing belongs to neither computes nor is looked at
    changed = {k: v + 1 if k.startswith(("module.phis.3", "module.phis.4")) else v for k, v in state.items()}
    model = Mifcn(MifcnOptions(width=8, hidden=8, attention_width=4, clusters=5))
    again = model.restore(changed, Restore(toy_task(train), train.specs, CPU, {}, RECIPE))
    np.testing.assert_array_equal(again.predict(new).risk, predictor.predict(new).risk)


def test_as_many_distinct_instances_as_clusters_need_no_note():
    predictor, _ = fitted(with_rows(images(16), np.eye(3, 8)), images(6, seed=1))
    assert predictor.notes == ()


def test_an_instance_belongs_to_the_nearest_centroid_that_is_used():
    assign = NearestCentroid("image", 4, 5)
    assign.place(np.stack([CASES[i].bags["image"].values[0].numpy() for i in (1, 3)]))
    batch = collate(CASES, BAG)
    ids = assign(batch)
    assert (ids == -1).equal(~batch.bags["image"].mask)
    for i, case in enumerate(CASES):
        gaps = (case.bags["image"].values[:, None] - assign.centroids[:2]).norm(dim=-1)
        assert ids[i, : len(gaps)].tolist() == gaps.argmin(dim=1).tolist()


@pytest.fixture(name="net")
def net_():
    return MODELS["mifcn"].network()


def clusters_of(net, case):
    """(cluster, width) embedded means and (cluster,) counts, one instance after the other."""
    rows = [[] for _ in net.phis]
    for x in case.bags["image"].values.double():
        nearest = int((net.assign.centroids - x).norm(dim=1).argmin())
        rows[nearest].append(net.phis[nearest](x))
    means = [torch.stack(r).mean(dim=0) if r else torch.zeros(48, dtype=torch.float64) for r in rows]
    return net.embed(torch.stack(means)), torch.tensor([len(r) for r in rows])


def test_mifcn_is_its_formula_with_zeros_for_empty_clusters(net):
    batch = collate(CASES, BAG)
    batch = replace(batch, bags={"image": replace(batch.bags["image"], values=batch.bags["image"].values.double())})
    logits, attention = net(batch), net.attention(batch)["image"][:, 0, 0]
    empty = 0
    for i, case in enumerate(CASES):
        items, counts = clusters_of(net, case)
        empty += int((counts == 0).sum())
        scores = net.pool.scores(items.unsqueeze(0))[0]
        pooled = scores.softmax(dim=0) @ items
        torch.testing.assert_close(logits[i], net.head(net.rho(pooled)))
        ids = net.assign(batch)[i, : counts.sum()]
        weight = scores.masked_fill(counts == 0, -torch.inf).softmax(dim=0) / counts
        torch.testing.assert_close(attention[i, : counts.sum()], weight[ids])
    assert empty > 3


def test_mifcn_has_a_network_for_each_cluster():
    torch.manual_seed(0)
    net = Mifcn(MifcnOptions()).build(toy_task(images(9)), BAG)
    assert len(net.phis) == 10
    assert net.assign.centroids.shape == (10, 5)
    assert net(collate(CASES, BAG)).isfinite().all()
