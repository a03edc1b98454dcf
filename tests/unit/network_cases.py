"""Made-up cases for the tests of published and uni-modal networks, and the models on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from fusionbench_clam import Clam
from fusionbench_dsmil import Dsmil
from fusionbench_ilra import Ilra
from fusionbench_lmf import Lmf
from fusionbench_mbt import Mbt
from fusionbench_mcat.models import Mcat, McatOmic, McatWsi
from fusionbench_motcat import Motcat
from fusionbench_mult import Mult
from fusionbench_multimodn import MultiModN
from fusionbench_pathomic_fusion import PathomicFusion
from fusionbench_perceiver_io import PerceiverIo
from fusionbench_porpoise import Porpoise, PorpoiseAmil, PorpoiseSnn
from fusionbench_survpath import SurvPath
from fusionbench_tfn import Tfn
from fusionbench_unimodal.abmil import Abmil
from fusionbench_unimodal.clusters import NearestCentroid
from fusionbench_unimodal.deepsets import Deepsets
from fusionbench_unimodal.mean_pool import MeanPool
from fusionbench_unimodal.mifcn import Mifcn
from fusionbench_unimodal.snn import Snn
from torch import Tensor, nn

from fusionbench import Batch, ModalitySpec, PreparedBag, PreparedCase, Task
from fusionbench.data.collate import collate
from fusionbench.nn import TorchModel

TASK = Task(n_outputs=4, edges=(1.0, 2.0, 3.0))
CLINICAL, OMIC = ModalitySpec("clinical", "vector", 3), ModalitySpec("omic", "vector", 6)
IMAGE, MAP = ModalitySpec("image", "bag", 5), ModalitySpec("map", "grid", 2, axes=2)
ALL = {spec.name: spec for spec in (CLINICAL, OMIC, IMAGE, MAP)}
GROUPED = replace(OMIC, groups={"a": (0, 1, 2), "none": (), "b": (2, 4)})


def named(*specs: ModalitySpec) -> dict[str, ModalitySpec]:
    return {spec.name: spec for spec in specs}


def prepared(id_: str, seed: int, length: int = 7) -> PreparedCase:
    g = torch.Generator().manual_seed(seed)
    sizes = {"clinical": (1, 3), "omic": (1, 6), "image": (length, 5)}
    bags = {name: PreparedBag(torch.randn(*size, generator=g)) for name, size in sizes.items()}
    return PreparedCase(id_, {**bags, "map": PreparedBag(torch.randn(2 * length, 2, generator=g), shape=(2, length))})


CASES = tuple(prepared(f"case-{i}", i, length=1 + 2 * i) for i in range(5))


@dataclass(frozen=True)
class Made:
    """A model on some modalities, with narrow layers."""

    model: Callable[[], TorchModel]
    specs: Mapping[str, ModalitySpec]

    def network(self, seed: int = 0) -> nn.Module:
        """In float64, in evaluation mode; clusters at instances that are far from one another."""
        torch.manual_seed(seed)
        net = self.model().build(TASK, self.specs)
        if isinstance(assign := getattr(net, "assign", None), NearestCentroid):
            assign.place(np.stack([CASES[i].bags[assign.name].values[-1].numpy() for i in (1, 2, 3, 4)]))
        return net.double().eval()

    def batch(self, *cases: PreparedCase) -> Batch:
        """All cases, or those given, in float64."""
        batch = collate(cases or CASES, self.specs)
        return replace(batch, bags={k: replace(b, values=b.values.double()) for k, b in batch.bags.items()})


def of(kind: type[TorchModel], *specs: ModalitySpec, **options: object) -> Made:
    return Made(lambda: kind(kind.Options(**options)), named(*specs))


_BAG = {"width": 48, "attention_width": 16}
_POOLED = {"width": 48, "hidden": 32}
_MIFCN = {**_BAG, "hidden": 32, "clusters": 4}
_PORPOISE = {**_BAG, "bag_width": 32, "vector_widths": (24, 40), "fusion_width": 32}
_MCAT = {"group_widths": (16,), "feedforward": 24}
_PERCEIVER = {"latents": 4, "latent_dim": 8, "read_width": 8}
_MULT = {"width": 8, "heads": 2, "layers": 1, "memory_layers": 1}

MODELS: Mapping[str, Made] = {
    "snn": of(Snn, CLINICAL, OMIC),
    "snn published": of(Snn, CLINICAL, OMIC, dropout_kind="alpha", head_scale=1),
    "snn selu": of(Snn, CLINICAL, OMIC, widths=(16, 8), activation="selu", init="torch"),
    "mean-pool": of(MeanPool, CLINICAL, IMAGE, OMIC, MAP, widths=(32,)),
    "abmil": of(Abmil, IMAGE, **_BAG),
    "abmil on a grid": of(Abmil, MAP, **_BAG),
    "abmil rho": of(Abmil, IMAGE, rho=True, hidden=32, **_BAG),
    "abmil concat": of(Abmil, OMIC, IMAGE, CLINICAL, fusion="concat", hidden=32, **_BAG),
    "abmil bilinear": of(Abmil, IMAGE, OMIC, fusion="bilinear", hidden=32, **_BAG),
    "deepsets": of(Deepsets, IMAGE, **_POOLED),
    "deepsets sum": of(Deepsets, IMAGE, pool="sum", **_POOLED),
    "deepsets concat": of(Deepsets, IMAGE, OMIC, fusion="concat", **_POOLED),
    "deepsets bilinear": of(Deepsets, CLINICAL, MAP, OMIC, fusion="bilinear", scale=4, **_POOLED),
    "mifcn": of(Mifcn, IMAGE, **_MIFCN),
    "mifcn concat": of(Mifcn, IMAGE, OMIC, fusion="concat", **_MIFCN),
    "mifcn bilinear": of(Mifcn, CLINICAL, IMAGE, OMIC, fusion="bilinear", scale=4, vector_dropout="plain", **_MIFCN),
    "porpoise": of(Porpoise, CLINICAL, OMIC, IMAGE),
    "porpoise on a grid": of(Porpoise, MAP, OMIC, fusion="concat", **_PORPOISE),
    "porpoise command line": of(
        Porpoise, CLINICAL, OMIC, IMAGE, gate_bag=False, gate_vector=False, skip=False, input_dropout=0, **_PORPOISE
    ),
    "porpoise unequal": of(Porpoise, IMAGE, OMIC, gate_bag=False, scale_bag=4, **_PORPOISE),
    "porpoise mlp": of(Porpoise, CLINICAL, OMIC, IMAGE, mlp=True, **_PORPOISE),
    "porpoise-amil": of(PorpoiseAmil, IMAGE),
    "porpoise-snn": of(PorpoiseSnn, CLINICAL, OMIC),
    "mcat": of(Mcat, CLINICAL, GROUPED, IMAGE),
    "mcat on a grid": of(Mcat, MAP, GROUPED, **_MCAT),
    "mcat bilinear": of(Mcat, CLINICAL, GROUPED, IMAGE, fusion="bilinear"),
    "mcat one": of(Mcat, CLINICAL, GROUPED, IMAGE, groups="one", **_MCAT),
    "mcat big": of(Mcat, CLINICAL, GROUPED, IMAGE, size="big", layers=1),
    "mcat narrow": of(Mcat, GROUPED, IMAGE, heads=2, fusion="bilinear", scale=2, dropout_kind="plain", **_MCAT),
    "mcat-wsi": of(McatWsi, IMAGE),
    "mcat-omic": of(McatOmic, CLINICAL, OMIC),
    "motcat": of(Motcat, CLINICAL, GROUPED, IMAGE, **_MCAT),
    "motcat balanced": of(Motcat, MAP, GROUPED, solver="balanced", fusion="bilinear", scale=2, **_MCAT),
    "survpath": of(SurvPath, CLINICAL, GROUPED, IMAGE, group_widths=(16, 64)),
    "survpath on a grid": of(SurvPath, MAP, OMIC, groups="one", group_widths=(64,)),
    "lmf": of(Lmf, CLINICAL, IMAGE, OMIC, MAP, width=8),
    "lmf one": of(Lmf, CLINICAL, OMIC, IMAGE, width=8, absent="one"),
    "tfn": of(Tfn, CLINICAL, IMAGE, OMIC),
    "tfn bounded": of(Tfn, OMIC, IMAGE, MAP, width=6, bounded=True),
    "mult": of(Mult, CLINICAL, GROUPED, IMAGE, MAP, tokens="group", positions="none", **_MULT),
    "mult instances": of(Mult, CLINICAL, OMIC, IMAGE, bag_tokens=0, target="omic", **_MULT),
    "mbt": of(Mbt, CLINICAL, GROUPED, IMAGE, MAP, tokens="group", positions="none", width=8, heads=2),
    "mbt instances": of(Mbt, CLINICAL, OMIC, IMAGE, bag_tokens=0, width=8, heads=2, readout="mean", sharing=True),
    "perceiver-io": of(PerceiverIo, CLINICAL, OMIC, IMAGE, MAP, positions="none", **_PERCEIVER),
    "perceiver-io heads": of(PerceiverIo, GROUPED, IMAGE, tokens="group", read_heads=2, decoder="mean", **_PERCEIVER),
    "multimodn": of(MultiModN, CLINICAL, OMIC, IMAGE, MAP, state=8, bag_width=6),
    "multimodn late": of(MultiModN, CLINICAL, IMAGE, state=8, encoder="late", hidden=(6,), decoder=(), bag_width=6),
    "clam": of(Clam, IMAGE, **_BAG),
    "clam branches": of(Clam, IMAGE, branches="output", gated=False, instance="label", instances=2, **_BAG),
    "clam concat": of(Clam, OMIC, IMAGE, branches="output", fusion="concat", hidden=32, start="xavier", **_BAG),
    "dsmil": of(Dsmil, IMAGE, pool_dropout=0.25),
    "dsmil paper": of(Dsmil, MAP, query="linear", value="linear", start="orthogonal", pool_dropout=0.25),
    "dsmil bilinear": of(Dsmil, IMAGE, OMIC, fusion="bilinear", hidden=32, width=6, value="relu"),
    "ilra": of(Ilra, IMAGE, width=16, heads=4, pool_dropout=0.25),
    "ilra norm": of(Ilra, MAP, width=16, heads=2, rank=3, norm=True, layers=1, start="torch", pool_dropout=0.25),
    "ilra concat": of(Ilra, CLINICAL, IMAGE, OMIC, width=16, heads=4, fusion="concat", hidden=32),
    "pathomic-fusion": of(PathomicFusion, IMAGE, CLINICAL, OMIC, path_width=16, graph_width=12, scale_graph=2),
    "pathomic-fusion two": of(PathomicFusion, IMAGE, OMIC, gate="linear", gate_omic=True, skip=True),
}


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
