"""What tests of published weights share: files of `tests/golden`, changed ones, and the plain fusion."""

from pathlib import Path

import numpy as np
import torch

from tests.golden.replay import Reference, read

GOLDEN = Path(__file__).parents[1] / "golden"


def golden(name):
    """A file by its folder and stem, its weights and its inputs."""
    file = read(GOLDEN / f"{name}.npz")
    return file, file.under("param/"), file.under("input/")


def changed(file, config=None, **parts):
    """The file with another config, and with other arrays under `param/`, `input/` or what else `parts` names."""
    kept = {name: x for name, x in file.arrays.items() if name.partition("/")[0] not in parts}
    new = {f"{part}/{name}": x for part, arrays in parts.items() for name, x in arrays.items()}
    return Reference(file.config if config is None else config, {**kept, **new})


def observed(official, inputs):
    """What our module computes of inputs."""
    given = {name: torch.from_numpy(x) for name, x in inputs.items()}
    seen = official.adapter.observe(official.module, given)
    return {name: x.detach().numpy() for name, x in seen.items()}


def plain_bilinear(state, p, q, gates, skip):
    """The published fusion of two embeddings of one case, written down once more."""

    def linear(name, x):
        return state[f"mm.{name}.weight"] @ x + state[f"mm.{name}.bias"]

    both, reduced = np.concatenate([p, q]), []
    for side, x, gated in (("1", p, gates[0]), ("2", q, gates[1])):
        h = np.maximum(linear(f"linear_h{side}.0", x), 0)
        h = h / (1 + np.exp(-linear(f"linear_z{side}.0", both))) if gated else h
        reduced.append(np.append(np.maximum(linear(f"linear_o{side}.0", h), 0), 1.0))
    encoded = np.maximum(linear("encoder1.0", np.outer(*reduced).ravel()), 0)
    return np.maximum(linear("encoder2.0", np.concatenate([encoded, both]) if skip else encoded), 0)


def bilinear_state(state, scales, skip):
    """`state` with random tensors for a bilinear fusion of 32 and 32 in place of its own; gates always have some."""
    rng, width = np.random.default_rng(0), 32
    a, b = (width // scale for scale in scales)
    shapes = {f"linear_{part}{i}.0": (r, inner) for i, r in ((1, a), (2, b)) for part, inner in (("h", 32), ("z", 64))}
    shapes |= {"linear_o1.0": (a, a), "linear_o2.0": (b, b), "encoder1.0": (width, (a + 1) * (b + 1))}
    shapes["encoder2.0"] = (width, 3 * width if skip else width)
    made = {f"mm.{name}.weight": rng.normal(0, 0.3, shape) for name, shape in shapes.items()}
    made |= {f"mm.{name}.bias": rng.normal(0, 0.3, shape[0]) for name, shape in shapes.items()}
    return {**{name: x for name, x in state.items() if not name.startswith("mm.")}, **made}
