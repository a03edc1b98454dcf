"""The `healnet` model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch

from fusionbench import ModalitySpec, Options, Task
from fusionbench.nn import TorchModel
from fusionbench_healnet.network import HealNet
from fusionbench_healnet.options import HealnetOptions
from fusionbench_healnet.tokens import Tokenizer


class Healnet(TorchModel):
    """HEALNet: hybrid early fusion by iterative attention (Hemker et al. 2024)."""

    name = "healnet"
    version = "1"
    Options: ClassVar[type[Options]] = HealnetOptions
    missing: ClassVar[Literal["native", "impute"]] = "native"
    options: HealnetOptions

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        """A reason where the options do not fit the modalities."""
        vectors = [spec for spec in specs.values() if spec.kind == "vector"]
        if self.options.tokens != "single" and not vectors:
            return f"tokens={self.options.tokens} cuts vectors, and there is none"
        if self.options.tokens == "group" and not any(spec.groups for spec in vectors):
            return "tokens=group needs feature groups, and no vector declares any"
        return next(filter(None, (self._erased(spec) for spec in specs.values())), None)

    def _erased(self, spec: ModalitySpec) -> str | None:
        """A LayerNorm over a single channel gives its bias, whatever the data are."""
        with torch.device("meta"):  # no memory, and no random number of the harness's is drawn
            width = Tokenizer(spec, self.options).dim
        if self.options.token_norm and width == 1:
            return f"LayerNorm over the one channel of {spec.name!r} would erase it: set token_norm=false"
        return None

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> HealNet:
        return HealNet(specs.values(), task.n_outputs, self.options)
