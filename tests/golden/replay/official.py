"""What loads published weights into a plugin's module, so that both can be compared number by number.

Each plugin's map (`healnet`, `mcat`, `porpoise`, `unimodal` beside this file) has `load_official(config, state)`, which
returns an `Official`, or None where the config is of another kind. The names of published tensors that are known here
are those of blocks of `fusionbench.nn`, as Porpoise and MCAT call them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from fusionbench.core.errors import PluginError
from fusionbench.core.types import Bag, Batch
from fusionbench.nn import GatedAttention
from fusionbench.survival import hazards_to_survival, risk_from_survival

if TYPE_CHECKING:
    from numpy.typing import NDArray

State = Mapping[str, "NDArray[Any]"]
"""The published module's state dict, every name as it is there."""
Parts = dict[str, tuple[str, ...]]
"""Our parameter to the published ones that it is made of, one below the other."""
Size = Annotated[int, Field(ge=1)]
M = TypeVar("M", bound=BaseModel)


class PublishedConfig(BaseModel):
    """Constructor arguments of a published class. One that has no default here must be in the file."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def checked(kind: type[M], values: Mapping[str, Any], who: str) -> M:
    """A config, or the options that follow from one.

    Raises:
        PluginError: naming everything that is absent or makes no sense, all at once.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))} {e['msg']}".strip() for e in error.errors())
        raise PluginError(f"the config of {who} does not say what to build: {wrong}") from None


class Penalty(NamedTuple):
    """An L1 penalty on published tensors.

    Attributes:
        weight: what multiplies the sum in the total loss.
        names: of the tensors whose absolute values are summed.
    """

    weight: float
    names: frozenset[str]


class Adapter(ABC):
    """Between the arrays of a reference file and our module.

    Attributes:
        parts: our parameter to the published ones that it is made of, for gradients by parameters.
        penalty: of the total loss, where a file holds one.
    """

    parts: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    penalty: Penalty | None = None

    def knowing(self, parts: Parts, penalty: Penalty | None = None) -> Self:
        """The same adapter, for files that hold what the module was trained by."""
        self.parts, self.penalty = parts, penalty
        return self

    @abstractmethod
    def __call__(self, inputs: Mapping[str, Tensor]) -> Batch:
        """The published module's arguments as a Batch; gradients flow back to `inputs`.

        Args:
            inputs: `input/<name>` of the file under `<name>`, in the file's precision.
        """

    @abstractmethod
    def observe(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Everything that our module computes of what a reference file may hold.

        Returns:
            the file's names to values in the file's shapes: `output/logits` (always), `mid/<published submodule>`,
            attention. What follows from the logits (hazards, S, risk, gradients by the inputs) is not needed.
        """

    def losses(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Losses that take more than the logits, under the file's names; with them the file's others.

        Gradients of `loss/total` are `loss_grad/*` in the file, of any other `loss/NAME` `loss_grad/NAME/*`.
        """
        return {}


class Official(NamedTuple):
    """A module with published weights, in evaluation mode, and how to feed it."""

    module: nn.Module
    adapter: Adapter


def fill(
    module: nn.Module,
    state: State,
    parts: Mapping[str, Iterable[str]],
    *,
    unused: Iterable[str] = (),
    who: str = "the module",
) -> None:
    """Load published tensors into our module.

    Args:
        parts: our parameter to the published ones that it is made of, one below the other (a fused projection is made
            of two); every parameter of `module` is a key.
        unused: published names that may be there and have no effect on what the module computes.

    Raises:
        PluginError: naming every tensor that is missing, left over, misshapen or no array of finite numbers, all at
            once.
    """
    parts = {ours: tuple(theirs) for ours, theirs in parts.items()}
    own = module.state_dict()
    if set(parts) != set(own):
        raise PluginError(f"{who}: no published name for {sorted(set(own) ^ set(parts))}")
    wanted = {name for theirs in parts.values() for name in theirs}
    problems = [f"missing {name!r}" for name in sorted(wanted - set(state))]
    problems += [f"left over {name!r}" for name in sorted(set(state) - wanted - set(unused))]
    problems += [f"{name!r} holds NaN or inf" for name in sorted(wanted & set(state)) if not _finite(state[name])]
    loaded = {}
    for ours, theirs in parts.items():
        if not all(name in state for name in theirs):
            continue
        blocks = [np.asarray(state[name]) for name in theirs]
        seen = " + ".join(str(tuple(block.shape)) for block in blocks)
        expected = tuple(own[ours].shape)
        stacks = len({block.shape[1:] for block in blocks}) == 1 and all(block.ndim for block in blocks)
        whole = np.concatenate(blocks) if len(blocks) > 1 and stacks else blocks[0]
        if (not stacks and len(blocks) > 1) or tuple(whole.shape) != expected:
            problems.append(f"{' + '.join(map(repr, theirs))} has shape {seen}, expected {expected}")
        loaded[ours] = torch.from_numpy(np.ascontiguousarray(whole))
    if problems:
        raise PluginError(f"{who}: the state does not fit: {'; '.join(problems)}")
    dtype = next((value.dtype for value in loaded.values() if value.is_floating_point()), torch.get_default_dtype())
    module.to(dtype).load_state_dict(loaded)
    module.eval()


def _finite(array: Any) -> bool:
    array = np.asarray(array)
    return array.dtype.kind in "fiub" and bool(np.isfinite(array).all())


def linear_parts(ours: str, *theirs: str) -> Parts:
    """Weight and bias of a linear map, made of one or more."""
    return {f"{ours}.{kind}": tuple(f"{name}.{kind}" for name in theirs) for kind in ("weight", "bias")}


def stack_parts(ours: str, theirs: str, layers: int) -> Parts:
    """Layers one after the other, each of which begins with its linear map."""
    parts: Parts = {}
    for i in range(layers):
        parts |= linear_parts(f"{ours}.{i}.0", f"{theirs}.{i}.0")
    return parts


def gated_parts(ours: str, theirs: str) -> Parts:
    """A `GatedAttention`."""
    project = linear_parts(f"{ours}.project", f"{theirs}.attention_a.0", f"{theirs}.attention_b.0")
    return project | linear_parts(f"{ours}.score", f"{theirs}.attention_c")


def gated_values(pool: GatedAttention, theirs: str, items: Tensor) -> dict[str, Tensor]:
    """What the published attention gives for (1, item, width): scores (item, 1) before the softmax, and the items."""
    return {f"mid/{theirs}.0": pool.scores(items).T, f"mid/{theirs}.1": items[0]}


def fusion_parts(kind: str, gates: tuple[bool, bool] = (True, True)) -> tuple[Parts, tuple[str, ...]]:
    """A `ConcatFusion` or `KroneckerFusion` called `fusion`; and the published tensors that have no effect."""
    if kind == "concat":
        return linear_parts("fusion.layers.0", "mm.0") | linear_parts("fusion.layers.2", "mm.2"), ()
    parts, unused = linear_parts("fusion.encode.0", "mm.encoder1.0"), []
    parts |= linear_parts("fusion.combine.0", "mm.encoder2.0")
    for i, gated in enumerate(gates):
        parts |= linear_parts(f"fusion.value.{i}.0", f"mm.linear_h{i + 1}.0")
        parts |= linear_parts(f"fusion.out.{i}.0", f"mm.linear_o{i + 1}.0")
        if gated:
            parts |= linear_parts(f"fusion.gate.{i}", f"mm.linear_z{i + 1}.0")
        else:
            unused += [f"mm.linear_z{i + 1}.0.{tensor}" for tensor in ("weight", "bias")]
    return parts, tuple(unused)


def as_bag(values: Tensor) -> Bag:
    """(instance, feature) of one patient."""
    return _whole(values.unsqueeze(0))


def as_vector(values: Tensor) -> Bag:
    """(case, feature), or (feature,) of one patient."""
    return _whole(values.reshape(-1, 1, values.shape[-1]))


def _whole(values: Tensor) -> Bag:
    return Bag(values, torch.ones(values.shape[:2], dtype=torch.bool, device=values.device))


BOUNDS = {"output_range": 6.0, "output_shift": -3.0}
"""Constants of a bounded output, 6 sigmoid(logit) - 3, which published modules store as parameters."""


def bounds(state: State) -> tuple[str, ...]:
    """The published names of the constants of a bounded output.

    Raises:
        PluginError: if one of them has another value than here.
    """
    found = {name: BOUNDS[last] for name in state if (last := name.rpartition(".")[2]) in BOUNDS}
    wrong = [name for name, value in found.items() if not np.array_equal(state[name], [value])]
    if wrong:
        raise PluginError(f"a bounded output is 6 sigmoid(logit) - 3 here, and not with {', '.join(wrong)} of the file")
    return tuple(found)


def from_logits(logits: Tensor) -> dict[str, Tensor]:
    """The outputs that follow from logits (case, bin) of hazards, under the names that reference files use."""
    survival = hazards_to_survival(logits)
    return {
        "output/logits": logits,
        "output/logits_from_hazards": logits,
        "output/hazards": logits.sigmoid(),
        "output/S": survival,
        "output/risk": risk_from_survival(survival),
        "output/Y_hat": logits.argmax(dim=1, keepdim=True),
    }
