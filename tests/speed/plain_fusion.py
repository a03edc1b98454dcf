"""Fusion models written plainly, one case at a time, from its real instances and the modalities that it has.

The oracle of what is computed for whole batches under masks, and what its speed is measured against. Each takes a built
network of ours, without dropout or in evaluation, and uses its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from fusionbench_clam import ClamNetwork
from fusionbench_dsmil import DsmilNetwork
from fusionbench_ilra import IlraNetwork
from fusionbench_ilra.network import Block
from fusionbench_lmf import AttentionEmbedder, Embedder, LmfNetwork, VectorEmbedder
from fusionbench_mbt import MbtNetwork
from fusionbench_motcat import MotcatNetwork
from fusionbench_mult import MultiHeadAttention, MultNetwork
from fusionbench_multimodn import MultiModNNetwork
from fusionbench_multimodn.network import StateEncoder
from fusionbench_pathomic_fusion import PathomicNetwork
from fusionbench_perceiver_io import PerceiverIoNetwork
from fusionbench_survpath import SurvPathNetwork
from fusionbench_tfn import TfnNetwork
from fusionbench_unimodal import BagNetwork
from torch import Tensor, nn
from torch.nn import functional as F

from fusionbench import Batch
from fusionbench.nn import QueryPool

Case = dict[str, Tensor]
"""Modality -> (instance, feature), of what a case has."""


def cases(names: Sequence[str], batch: Batch) -> list[Case]:
    found = []
    for i in range(len(batch.ids)):
        bags = {name: batch.bags[name] for name in names}
        found.append({name: bag.values[i, bag.mask[i]] for name, bag in bags.items() if bool(bag.mask[i].any())})
    return found


def one_by_one(names: Sequence[str], batch: Batch, logits: Callable[[Case], Tensor]) -> Tensor:
    return torch.stack([logits(case) for case in cases(names, batch)])


def vector(embed: nn.Module, x: Tensor | None) -> Tensor:
    """(width,) of a modality of LMF and TFN; zeros where it is missing."""
    if x is None:
        return next(embed.parameters()).new_zeros(embed.width)
    if isinstance(embed, VectorEmbedder):
        return embed.network(x.mean(dim=0, keepdim=True))[0]
    return embed.out(pooled(embed.pool, x).flatten()).relu()


def pooled(pool: QueryPool, x: Tensor) -> Tensor:
    """(query, width), with a key and a value of every instance."""
    scores = pool.query @ pool.key(x).T / pool.query.shape[1] ** 0.5
    return scores.softmax(dim=1) @ pool.value(x)


def lmf(net: LmfNetwork, batch: Batch) -> Tensor:
    def logits(case: Case) -> Tensor:
        total = net.fusion.bias[0]
        for j in range(net.fusion.weights.shape[1]):
            product = torch.ones_like(total)
            for name, embed, factor in zip(net.names, net.embed, net.fusion.factors, strict=True):
                if name not in case and net.fusion.absent == "one":
                    continue
                h = torch.cat([total.new_ones(1), vector(embed, case.get(name))])
                product = product * (h @ factor[j])
            total = total + net.fusion.weights[0, j] * product
        return total

    return one_by_one(net.names, batch, logits)


def tfn(net: TfnNetwork, batch: Batch) -> Tensor:
    def logits(case: Case) -> Tensor:
        product = net.head.weight.new_ones(1)
        for name, embed in zip(net.names, net.embed, strict=True):
            product = torch.kron(product, torch.cat([product.new_ones(1), vector(embed, case.get(name))]))
        return net.head(net.layers(product))

    return one_by_one(net.names, batch, logits)


def pathomic(net: PathomicNetwork, batch: Batch) -> Tensor:
    def encoded(role: str, x: Tensor) -> Tensor:
        encode = net.encode[role]
        return vector(encode, x) if isinstance(encode, Embedder) else encode.layers(x)[0]

    def logits(case: Case) -> Tensor:
        vectors = {role: encoded(role, case[name]) for role, name in net.names.items()}
        product, kept = net.head.weight.new_ones(1), []
        for role, branch in net.fusion.branches.items():
            v = vectors[role]
            if branch.gate is not None:
                a, b = (vectors[other] for other in net.fusion.pairs[role])
                if isinstance(branch.gate, nn.Bilinear):
                    forms = zip(branch.gate.weight, branch.gate.bias, strict=True)
                    z = torch.stack([a @ matrix @ b + c for matrix, c in forms])
                else:
                    z = branch.gate.linear(torch.cat([a, b]))
                v = z.sigmoid() * branch.value(v)
            kept.append(torch.cat([branch.out(v), v.new_ones(1)]))
            product = torch.kron(product, kept[-1])
        e = net.fusion.encode(product)
        return net.head(net.fusion.combine(torch.cat([e, *kept]) if net.fusion.skip else e))

    return one_by_one(list(net.names.values()), batch, logits)


def attended(block: MultiHeadAttention, query: Tensor, key: Tensor) -> Tensor:
    """(token, dim) looks at (source, dim), head by head; zeros and the output's bias where there is no source."""
    q, k, v = (
        F.linear(x, w, b)
        for x, w, b in zip((query, key, key), block.project.weight.chunk(3), block.project.bias.chunk(3), strict=True)
    )
    heads = []
    for a, b, c in zip(
        q.chunk(block.heads, dim=1), k.chunk(block.heads, dim=1), v.chunk(block.heads, dim=1), strict=True
    ):
        heads.append((a @ b.T / a.shape[1] ** 0.5).softmax(dim=1) @ c)
    return block.out(torch.cat(heads, dim=1))


def tokens(embed: nn.Module, x: Tensor) -> Tensor:
    """(token, width) of a modality that is not cut."""
    project = embed.project
    return pooled(project, x) if isinstance(project, QueryPool) else project(x)


def mult(net: MultNetwork, batch: Batch) -> Tensor:
    def transformed(network: nn.Module, x: Tensor, source: Tensor | None) -> Tensor:
        x = network.width**0.5 * x
        other = None if source is None else network.width**0.5 * source
        for layer in network.layers:
            own = layer.norms[0](x)
            read = own if other is None else layer.norms[0](other)
            x = x + attended(layer.attend, own, read)
            x = x + layer.contract(layer.expand(layer.norms[1](x)).relu())
        return network.norm(x)

    def logits(case: Case) -> Tensor:
        embedders = dict(zip(net.names, net.embed, strict=True))
        found = {name: tokens(embedders[name], x) for name, x in case.items()}
        nothing, ends = net.head.weight.new_zeros(0, net.options.width), []
        for i, target in enumerate(net.targets):
            sources = [name for name in net.names if name != target]
            if target not in case:
                ends.append(nothing.new_zeros(len(sources) * net.options.width))
                continue
            read = zip(net.read[i], sources, strict=True)
            parts = [transformed(network, found[target], found.get(name, nothing)) for network, name in read]
            ends.append(transformed(net.memory[i], torch.cat(parts, dim=1), None).mean(dim=0))
        s = torch.cat(ends)
        return net.head(net.second(net.first(s).relu()) + s)

    return one_by_one(net.names, batch, logits)


def mbt(net: MbtNetwork, batch: Batch) -> Tensor:
    def logits(case: Case) -> Tensor:
        own, shared = {}, net.bottlenecks
        for m, name in enumerate(net.names):
            if name in case:
                own[m] = torch.cat([net.classes[m : m + 1], tokens(net.embed[m], case[name])])
        for i in range(net.options.layers):
            exchange, written = i >= net.options.fusion_layer, []
            for m, x in own.items():
                block, length = net.blocks[min(m, len(net.blocks) - 1)][i], len(x)
                x = torch.cat([x, shared]) if exchange else x
                x = x + attended(block.attend, block.norms[0](x), block.norms[0](x))
                x = x + block.contract(F.gelu(block.expand(block.norms[1](x))))
                own[m] = x[:length]
                written.append(x[length:])
            shared = torch.stack(written).mean(dim=0) if exchange else shared
        return torch.stack([net.head(net.norm(x[0])) for x in own.values()]).mean(dim=0)

    return one_by_one(net.names, batch, logits)


def perceiver_io(net: PerceiverIoNetwork, batch: Batch) -> Tensor:
    read, o = net.read, net.options

    def logits(case: Case) -> Tensor:
        padded = [
            torch.cat([case[name], padding.expand(len(case[name]), -1)], dim=1)
            for name, padding in zip(net.names, read.padding, strict=True)
            if name in case
        ]
        normed, heads = read.norm(torch.cat(padded)), read.heads
        parts = (
            x.chunk(heads, dim=1)
            for x in (read.query(read.norm_latents(net.latents)), read.key(normed), read.value(normed))
        )
        seen = [(q @ k.T / q.shape[1] ** 0.5).softmax(dim=1) @ v for q, k, v in zip(*parts, strict=True)]
        z = net.latents + read.out(torch.cat(seen, dim=1))
        z = z + net.feed(z)
        for layer in [*net.layers] * o.blocks:
            z = z + attended(layer.attend, layer.norm(z), layer.norm(z))
            z = z + layer.feed(z)
        if net.decode is None:
            return net.head(z.mean(dim=0))
        x = attended(net.decode.attend, net.decode.norm_query(net.decode.query), net.decode.norm(z))
        x = x + net.decode.query if o.query_residual else x
        return net.head((x + net.decode.feed(x))[0])

    return one_by_one(net.names, batch, logits)


def multimodn(net: MultiModNNetwork, batch: Batch) -> Tensor:
    def encoded(encode: StateEncoder, state: Tensor, x: Tensor) -> Tensor:
        *hidden, last = encode.layers
        u = torch.cat([x, state]) if encode.full else x
        for layer in hidden:
            u = encode.activate(layer(u))
        return encode.activate(last(u)) if encode.full else last(torch.cat([u, state]))

    def logits(case: Case) -> Tensor:
        state, decoded = net.start[0], [net.decode(net.start[0])]
        for name, read, encode in zip(net.names, net.read, net.encode, strict=True):
            if name in case:
                x = vector(read, case[name]) if isinstance(read, AttentionEmbedder) else case[name].mean(dim=0)
                state = encoded(encode, state, x)
                decoded.append(net.decode(state))
        return decoded[-1]

    return one_by_one(net.names, batch, logits)


def clam(net: ClamNetwork, batch: Batch) -> Tensor:
    def dropped(x: Tensor, rate: float) -> Tensor:
        return F.dropout(x, rate, net.training)

    def logits(case: Case) -> Tensor:
        o = net.options
        h = dropped(net.embed[0](case[net.bag.name]).relu(), o.dropout)
        if o.gated:
            (v, u), (b, c) = (p.chunk(2) for p in (net.pool.project.weight, net.pool.project.bias))
            value, gate = F.linear(h, v, b).tanh(), F.linear(h, u, c).sigmoid()
            mixed = dropped(value, o.attention_dropout) * dropped(gate, o.attention_dropout)
        else:
            mixed = dropped(net.pool.project(h).tanh(), o.attention_dropout)
        each = [a @ h for a in net.pool.score(mixed).softmax(dim=0).T]
        if o.fusion == "none":
            rows = zip(each * (net.head.out_features // len(each)), net.head.weight, net.head.bias, strict=True)
            return torch.stack([w @ m + b for m, w, b in rows])
        return bag_logits(net, torch.cat(each), case)

    return one_by_one(of_bag(net), batch, logits)


def of_bag(net: BagNetwork) -> list[str]:
    return [net.bag.name, *(spec.name for spec in net.vectors)]


def bag_logits(net: BagNetwork, embedding: Tensor, case: Case) -> Tensor:
    """Of one bag's vector, perhaps fused with the others."""
    if net.vectors:
        vectors = torch.cat([case[spec.name][0] for spec in net.vectors])
        embedding = net.fusion(net.rho(embedding), net.omic(vectors))
    return net.head(embedding)


def dsmil(net: DsmilNetwork, batch: Batch) -> Tensor:
    def logits(case: Case) -> Tensor:
        x = net.embed(case[net.bag.name])
        scores, queries, values, vectors = net.score(x), net.query(x), net.value(x), []
        for of_output in scores.T:
            likeness = queries @ queries[of_output.argmax()] / queries.shape[1] ** 0.5
            vectors.append(likeness.softmax(dim=0) @ values)
        made = bag_logits(net, torch.cat(vectors), case)
        return made if net.options.head == "two" else (made + scores.amax(dim=0)) / 2

    return one_by_one(of_bag(net), batch, logits)


def ilra(net: IlraNetwork, batch: Batch) -> Tensor:
    def read(block: Block, x: Tensor, source: Tensor) -> Tensor:
        q = block.query(x)
        parts = zip(
            (q, block.key(source), block.value(source)),
            block.attend.project.chunk(3),
            block.attend.bias.chunk(3),
            strict=True,
        )
        by_head = (F.linear(part, w, b).chunk(block.attend.heads, dim=1) for part, w, b in parts)
        seen = [(a @ b.T / a.shape[1] ** 0.5).softmax(dim=1) @ c for a, b, c in zip(*by_head, strict=True)]
        o = block.norms[0](q + block.attend.out(torch.cat(seen, dim=1)))
        o = block.norms[1](o + block.feed(o).relu())
        return o if block.gate is None else o * F.silu(block.gate(x))

    def logits(case: Case) -> Tensor:
        x = case[net.bag.name]
        for layer in net.layers:
            x = read(layer.spread, x, read(layer.collect, layer.latent[0], x))
        return bag_logits(net, read(net.pool, net.token[0], x)[0], case)

    return one_by_one(of_bag(net), batch, logits)


def survpath(net: SurvPathNetwork, batch: Batch) -> Tensor:
    """All tokens under one masked softmax, (P + N)^2 numbers, where ours leaves the patches' own block out."""
    absent = {name: batch.bags[name].values.new_zeros(1, batch.bags[name].values.shape[-1]) for name in net.vectors}

    def logits(case: Case) -> Tensor:
        pathways = group_tokens(net, torch.cat([case.get(name, absent[name]) for name in net.vectors], dim=1))
        patches = net.embed(case[net.bag]) if net.bag in case else pathways[:0]
        count = len(pathways)
        x = torch.cat([pathways, patches])
        q, k, v = net.attend.project(net.attend.norm(x)).chunk(3, dim=1)
        hidden = torch.zeros(len(x), len(x), dtype=torch.bool, device=x.device)
        hidden[count:, count:] = True
        seen = (q @ k.T / q.shape[1] ** 0.5).masked_fill(hidden, -torch.inf).softmax(dim=1) @ v
        z = net.norm(net.feed(seen))
        patch_mean = z[count:].mean(dim=0) if len(patches) else z.new_zeros(z.shape[1])
        return net.head(net.hidden(torch.cat([z[:count].mean(dim=0), patch_mean])).relu())

    return one_by_one((net.bag, *net.vectors), batch, logits)


def group_tokens(net: nn.Module, columns: Tensor) -> Tensor:
    """(token, width) of (1, feature): each group's own layers on its columns."""
    networks = zip(net.encode_groups.networks, net.groups, strict=True)
    return torch.cat([network(columns[:, list(group.columns)]) for network, group in networks])


@torch.no_grad()
def unbalanced_scaling(cost: Tensor, reg: float, tau: float, regulariser: str) -> tuple[Tensor, int]:
    """The plan (instance, token) and its iterations: scaling factors, no logarithms."""
    n, m = cost.shape
    kernel, power = (-cost / reg).exp(), tau / (tau + reg)
    kernel = kernel / (n * m) if regulariser == "kl" else kernel
    u, v, taken = cost.new_ones(n), cost.new_ones(m), 0
    for _ in range(1000):
        old_u, old_v, taken = u, v, taken + 1
        u = (1 / n / (kernel @ v)) ** power
        v = (1 / m / (kernel.T @ u)) ** power
        changes = [
            float((new - old).abs().max()) / max(float(new.max()), float(old.max()), 1.0)
            for new, old in ((u, old_u), (v, old_v))
        ]
        if sum(changes) / 2 < 1e-6:
            break
    return u[:, None] * kernel * v, taken


@torch.no_grad()
def balanced_scaling(cost: Tensor, a: Tensor, b: Tensor, reg: float) -> tuple[Tensor, int]:
    """The plan (instance, token) with these marginals, and its iterations."""
    kernel, u, taken = (-cost / reg).exp(), torch.full_like(a, 1 / len(a)), 0
    for i in range(1000):
        v = b / (kernel.T @ u)
        u, taken = a / (kernel @ v), taken + 1
        if i % 10 == 0 and float(((u[:, None] * kernel * v).sum(dim=0) - b).norm()) < 1e-9:
            break
    return u[:, None] * kernel * v, taken


def motcat(net: MotcatNetwork, batch: Batch) -> Tensor:
    o = net.attend.options

    def logits(case: Case) -> Tensor:
        tokens = group_tokens(net, torch.cat([case[name] for name in net.vectors], dim=1))
        instances = net.embed(case[net.bag])
        y, x = ((z - z.min(dim=1, keepdim=True).values).detach().double() for z in (tokens, instances))
        cost = torch.stack([(x - one).square().sum(dim=1) for one in y], dim=1)
        cost = cost / cost.max()
        if o.solver == "unbalanced":
            plan, _ = unbalanced_scaling(cost, o.reg, o.tau, o.regulariser)
        else:
            plan, _ = balanced_scaling(cost, x.sum(dim=1) / x.sum(), y.sum(dim=1) / y.sum(), o.reg)
        seen = plan.T.to(instances) @ instances
        path, omic = net.path(seen[None])[0], net.omic(tokens[None])[0]
        return net.head(net.fusion(path, omic))[0]

    return one_by_one((net.bag, *net.vectors), batch, logits)
