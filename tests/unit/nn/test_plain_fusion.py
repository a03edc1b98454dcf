"""Fusion models of whole batches give the numbers and gradients of their plain formulations, case by case."""

from functools import partial

import pytest
import torch

from fusionbench import PreparedCase
from tests.speed import plain_fusion as plain
from tests.speed.made import logits
from tests.unit.network_cases import (
    CASES,
    CLINICAL,
    GROUPED,
    IMAGE,
    MAP,
    OMIC,
    Clam,
    Dsmil,
    Ilra,
    Lmf,
    Mbt,
    Motcat,
    Mult,
    MultiModN,
    PathomicFusion,
    PerceiverIo,
    SurvPath,
    Tfn,
    of,
)

EVERY = (CLINICAL, IMAGE, OMIC, MAP)
SMALL = {"width": 8, "heads": 2, "positions": "none"}
PERCEIVER = {"latents": 5, "latent_dim": 8, "read_width": 12, "positions": "none"}
MCAT = {"group_widths": (16,), "feedforward": 24}
GAPS = ((), ("image",), ("clinical", "map"), ("image", "omic"), ("clinical", "image", "map"))
"""What each of the cases lacks."""
WAYS = {
    "lmf": (of(Lmf, *EVERY, width=6), plain.lmf),
    "lmf, missing factors of 1": (of(Lmf, *EVERY, width=6, absent="one", rank=2), plain.lmf),
    "tfn": (of(Tfn, *EVERY, width=4), plain.tfn),
    "mult": (of(Mult, *EVERY, bag_tokens=3, **SMALL), plain.mult),
    "mult, instances": (of(Mult, CLINICAL, IMAGE, bag_tokens=0, **SMALL), plain.mult),
    "mult, one target": (of(Mult, IMAGE, OMIC, target="omic", layers=3, **SMALL), plain.mult),
    "mbt": (of(Mbt, *EVERY, bag_tokens=3, **SMALL), plain.mbt),
    "mbt, instances, shared": (of(Mbt, *EVERY, bag_tokens=0, sharing=True, fusion_layer=0, **SMALL), plain.mbt),
    "perceiver-io": (of(PerceiverIo, *EVERY, **PERCEIVER), plain.perceiver_io),
    "perceiver-io, heads": (
        of(PerceiverIo, *EVERY, read_heads=2, query_residual=True, **PERCEIVER),
        plain.perceiver_io,
    ),
    "multimodn": (of(MultiModN, *EVERY, state=6, bag_width=5, activation="tanh"), plain.multimodn),
    "multimodn, late": (
        of(MultiModN, *EVERY, order=("map", "omic", "image", "clinical"), encoder="late", bag="mean", hidden=(7,)),
        plain.multimodn,
    ),
    "clam": (of(Clam, IMAGE, width=12, attention_width=8), plain.clam),
    "clam, branches": (of(Clam, MAP, branches="output", gated=False, width=12, attention_width=8), plain.clam),
    "clam, fused": (of(Clam, OMIC, IMAGE, branches="output", fusion="concat", width=12, hidden=8), plain.clam),
    "dsmil": (of(Dsmil, IMAGE, query_width=6), plain.dsmil),
    "dsmil, values": (of(Dsmil, MAP, value="relu", width=6, query="linear"), plain.dsmil),
    "dsmil, fused": (of(Dsmil, OMIC, IMAGE, fusion="concat", hidden=8, head="two"), plain.dsmil),
    "ilra": (of(Ilra, IMAGE, width=8, heads=2), plain.ilra),
    "ilra, norm": (of(Ilra, MAP, width=8, heads=4, rank=3, norm=True, layers=3), plain.ilra),
    "ilra, fused": (of(Ilra, IMAGE, CLINICAL, OMIC, width=8, heads=2, fusion="concat", hidden=8), plain.ilra),
    "motcat": (of(Motcat, GROUPED, IMAGE, CLINICAL, **MCAT), plain.motcat),
    "motcat, balanced": (of(Motcat, GROUPED, IMAGE, solver="balanced", **MCAT), plain.motcat),
    "survpath": (of(SurvPath, GROUPED, IMAGE, CLINICAL, group_widths=(8, 12)), plain.survpath),
    "pathomic-fusion": (of(PathomicFusion, IMAGE, CLINICAL, OMIC, gate_omic=True, scale_path=4), plain.pathomic),
    "pathomic-fusion, pairs B": (of(PathomicFusion, *EVERY[:3], pairs="B", gate="linear", skip=True), plain.pathomic),
    "pathomic-fusion, no gates": (of(PathomicFusion, OMIC, MAP, gate_path=False, scale_path=2), plain.pathomic),
}


def missing(made):
    """The cases, some without some modalities; all of them where the model takes complete ones alone."""
    if made.model().missing == "impute":
        return CASES
    gaps = [[name for name in gone if name in made.specs] for gone in GAPS]
    kept = [{k: b for k, b in case.bags.items() if k not in gone} for case, gone in zip(CASES, gaps, strict=True)]
    full = [bags if set(bags) & set(made.specs) else case.bags for case, bags in zip(CASES, kept, strict=True)]
    return [PreparedCase(case.id, bags) for case, bags in zip(CASES, full, strict=True)]


@pytest.mark.parametrize("name", WAYS)
def test_batches_under_masks_are_single_cases_without(name):
    made, formula = WAYS[name]
    net, batch = made.network(), made.batch(*missing(made))
    for parameter in net.parameters():  # zeros and ones of the start would hide what is left out
        torch.nn.init.normal_(parameter, std=0.3)
    found = []
    for made_of in (partial(logits, net), partial(formula, net)):
        net.zero_grad()
        seen = made_of(batch)
        (seen * torch.arange(1.0, seen.numel() + 1).view_as(seen)).sum().backward()
        found.append((seen.detach(), {n: p.grad for n, p in net.named_parameters() if p.grad is not None}))
    (ours, our_gradients), (theirs, their_gradients) = found
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    for parameter, gradient in their_gradients.items():
        error = (our_gradients[parameter] - gradient).abs().max()
        assert error <= 1e-9 * (1 + gradient.abs().max()), parameter
