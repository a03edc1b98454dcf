"""Weights of Innse/MOTCat (fe70abc) into this network, so that both can be compared number by number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

import torch
from fusionbench_motcat import MotcatNetwork, MotcatOptions, balanced_plan, unbalanced_plan
from fusionbench_motcat.network import Transport
from fusionbench_motcat.transport import Plan
from pydantic import Field
from torch import Tensor, nn

from fusionbench import Bag, Batch
from fusionbench.nn import KroneckerFusion
from fusionbench.survival import discrete_hazard_nll, hazards_to_survival, risk_from_survival
from tests.golden.replay.compare import Comparison, compare
from tests.golden.replay.mcat import McatAdapter, McatConfig, group_widths, observed_pools, published_parts, specs
from tests.golden.replay.official import Official, Size, State, as_vector, checked, fill
from tests.golden.replay.reference import Reference

_SOLVERS = {"pot-uot-l2": "unbalanced", "pot-sinkhorn-l2": "balanced"}


class MotcatConfig(McatConfig):
    """Of `MOTCAT_Surv`."""

    ot_impl: Literal["pot-uot-l2", "pot-sinkhorn-l2"]
    ot_reg: float
    ot_tau: float
    ot_reg_type: Literal["entropy", "kl"]
    ot_max_iter: Literal[1000] = 1000
    ot_stop: float | None = None
    microbatch: Size | None = Field(None)


class MotcatAdapter(McatAdapter):
    """As of MCAT; with `order` and `chunk_sizes`, each part of the bag is a case of its own."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> Batch:
        whole = super().__call__(inputs)
        if "order" not in inputs:
            return whole
        path = inputs["x_path"][inputs["order"]].split(inputs["chunk_sizes"].tolist())
        values = nn.utils.rnn.pad_sequence(list(path), batch_first=True)
        mask = torch.arange(values.shape[1]) < inputs["chunk_sizes"].unsqueeze(1)
        omic = whole.bags["omic"].values[:, 0].expand(len(path), -1)
        return Batch(tuple(map(str, range(len(path)))), {"path": Bag(values, mask), "omic": as_vector(omic)})

    def observe(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        net, batch = cast(MotcatNetwork, module), self(inputs)
        return _of_parts(net, batch, inputs) if "order" in inputs else _of_a_bag(net, batch)


def _of_a_bag(net: MotcatNetwork, batch: Batch) -> dict[str, Tensor]:
    transport = cast(Transport, net.attend)
    bag, omic = batch.bags["path"], batch.bags["omic"].values[:, 0]
    tokens, instances = net.encode_groups(omic), net.embed(bag.values)
    cost, x, y = transport.costs(tokens, instances)
    attended, mass = transport(tokens, instances, bag.mask)
    fused = net.fusion(net.path(attended)[0], net.omic(tokens)[0])
    return {
        "output/logits": net(batch),
        "output/attn_coattn": net.coattention(batch).unsqueeze(1),
        "mid/wsi_net": instances[0],
        "mid/ot_x": x[0],
        "mid/ot_y": y[0],
        "mid/ot_cost": cost[0],
        "mid/ot_flow": mass[0].T,
        "mid/ot_dist": (mass[0].T * cost[0]).sum(),
        "mid/path_tokens": attended.transpose(0, 1),
        "mid/omic_tokens": tokens.transpose(0, 1),
        **observed_pools(net, attended, tokens),
        "mid/mm": fused if isinstance(net.fusion, KroneckerFusion) else fused[0],
    }


def _of_parts(net: MotcatNetwork, batch: Batch, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    logits, sizes = net(batch), inputs["chunk_sizes"].tolist()
    flows = net.coattention(batch)
    risk = risk_from_survival(hazards_to_survival(logits)).mean().reshape(1)
    each = [x.expand(len(logits)) for x in (inputs["Y"], inputs["c"] == 0)]
    return {
        "output/logits": logits,
        "output/risk_mean": risk,
        "loss/risk_mean": risk,
        "loss/nll_a0.0_mean_over_chunks": discrete_hazard_nll(logits, *each, alpha=0.0).mean(),
        **{f"mid/ot_flow{i}": flows[i, :, :size].T for i, size in enumerate(sizes)},
    }


def load_official(config: Mapping[str, Any], state: State) -> Official | None:
    """The published `MOTCAT_Surv` with these weights; None where `cls` names another class.

    Raises:
        PluginError: naming every key of the config, or else every tensor, that is absent or does not fit.
    """
    if config.get("cls") != "MOTCAT_Surv":
        return None
    given = checked(MotcatConfig, config, "MOTCAT_Surv")
    widths = group_widths(given, state)
    solver = _SOLVERS[given.ot_impl]
    values: dict[str, Any] = {"group_widths": widths, "fusion": given.fusion, "solver": solver, "reg": given.ot_reg}
    values |= {"heads": given.nhead, "layers": given.layers, "feedforward": given.dim_ff}
    if solver == "unbalanced":
        values |= {"tau": given.ot_tau, "regulariser": given.ot_reg_type}
    net = MotcatNetwork(*specs(given), given.n_classes, checked(MotcatOptions, values, "MOTCAT_Surv"))
    parts = published_parts(net, given, len(widths))
    parts = {ours: theirs for ours, theirs in parts.items() if not ours.startswith("attend.")}
    fill(net, state, parts, who="MOTCAT_Surv")
    return Official(net, MotcatAdapter(len(given.omic_sizes)).knowing(parts))


def pieces(file: Reference) -> Iterator[tuple[str, Comparison]]:
    """Plans of given costs, and the whole block on given embeddings."""
    for case in file.config["cases"]:
        name, given = case["name"], {k: torch.tensor(x) for k, x in file.under(f"input/{case['name']}/").items()}
        ours = _block(case, given) if "impl" in case else _plan(case, given)
        for output, value in ours.items():
            if (key := f"output/{name}/{output}") in file.arrays:
                yield key, compare(key, value, file.arrays[key])


def _plan(case: Mapping[str, Any], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    cost = given["cost"].unsqueeze(0)
    mask = torch.ones(cost.shape[:2], dtype=torch.bool)
    plan: Plan
    if case["solver"] == "unbalanced":
        plan = unbalanced_plan(cost, mask, case["reg"], case["tau"], case["reg_type"])
    else:
        plan = balanced_plan(cost, mask, given["a"].unsqueeze(0), given["b"].unsqueeze(0), case["reg"])
    return {"flow": plan.mass[0], "iterations": plan.iterations[0], "error": plan.error[0]}


def _block(case: Mapping[str, Any], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    solver = _SOLVERS[case["impl"]]
    own = {"tau": case["tau"], "regulariser": case.get("reg_type", "entropy")} if solver == "unbalanced" else {}
    block = Transport(MotcatOptions(solver=solver, reg=case["reg"], **own))  # type: ignore[arg-type]
    instances, tokens = (given[side].transpose(0, 1) for side in ("x", "y"))
    _, mass = block(tokens, instances, torch.ones(instances.shape[:2], dtype=torch.bool))
    return {"plan": mass.unsqueeze(1), "dist": (mass.mT * block.costs(tokens, instances)[0]).sum()}
