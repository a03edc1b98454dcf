"""The `healnet` model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from fusionbench import Interval, ModalitySpec, Options, SearchSpace, Task
from fusionbench.nn import TorchModel
from fusionbench_healnet.cutting import token_width
from fusionbench_healnet.options import HealnetOptions

if TYPE_CHECKING:
    from fusionbench_healnet.network import HealNet


class Healnet(TorchModel):
    """HEALNet: hybrid early fusion by iterative attention (Hemker et al. 2024)."""

    name = "healnet"
    version = "3"
    Options: ClassVar[type[Options]] = HealnetOptions
    missing: ClassVar[Literal["native", "impute"]] = "native"
    options: HealnetOptions

    def search_space(self) -> SearchSpace:
        """Around the defaults; the published search is the file `healnet-paper`."""
        return {
            **super().search_space(),
            "layers": Interval(1, 4),
            "latents": Interval(8, 32),
            "latent_dim": Interval(16, 64),
            "heads": Interval(1, 8),
            "head_dim": Interval(8, 32),
            "attention_dropout": Interval(0.0, 0.5),
            "feedforward_dropout": Interval(0.0, 0.5),
        }

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        """A reason where the options do not fit the modalities."""
        vectors = [spec for spec in specs.values() if spec.kind == "vector"]
        if self.options.tokens != "single" and not vectors:
            return f"tokens={self.options.tokens} cuts vectors, and there is none"
        reasons = [self._no_group(vectors), *(self._erased(spec) for spec in specs.values())]
        return next(filter(None, reasons), None)

    def _no_group(self, vectors: Sequence[ModalitySpec]) -> str | None:
        """A vector without groups is one token, which is not what one means who declares groups."""
        if self.options.tokens != "group":
            return None
        bare = next((spec for spec in vectors if spec.groups and not any(spec.groups.values())), None)
        if bare is not None:
            return f"tokens=group: none of the {len(bare.groups)} feature groups of {bare.name!r} has a column"
        declared = any(spec.groups for spec in vectors)
        return None if declared else "tokens=group needs feature groups, and no vector declares any"

    def _erased(self, spec: ModalitySpec) -> str | None:
        """A LayerNorm over a single channel gives its bias, whatever the data are."""
        if self.options.token_norm and token_width(spec, self.options) == 1:
            return f"LayerNorm over the one channel of {spec.name!r} would erase it: set token_norm=false"
        return None

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> HealNet:
        from fusionbench_healnet.network import HealNet  # loads torch

        return HealNet(specs.values(), task.n_outputs, self.options)
