"""The `pathomic-fusion` model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fusionbench import (
    CaseSet,
    DataError,
    FitContext,
    Interval,
    Member,
    ModalitySpec,
    Options,
    PluginRef,
    Predictor,
    SearchSpace,
    Stage,
    Task,
)
from fusionbench.nn import TorchModel, load_member
from fusionbench_pathomic_fusion.options import PathomicOptions
from fusionbench_pathomic_fusion.roles import not_two_or_three, roles
from fusionbench_pathomic_fusion.training import ALONE, FUSION

if TYPE_CHECKING:
    from fusionbench_pathomic_fusion.network import AloneNetwork, PathomicNetwork

_OF_ALONE = {
    *("path_width", "graph_width", "omic_widths", "queries", "dropout", "bounded", "head_scale", "recipe"),
}
"""Options that a network of one role has from the whole."""


class PathomicFusion(TorchModel):
    """Pathomic Fusion: gated Kronecker product of two or three vectors (Chen et al. 2020); two or three modalities.

    A modality that a case lacks is imputed; published, such patients are left out.

    `pretrained=true` trains it in two stages as published: the network of each modality first (`alone`), which is then
    loaded; path's stays as it is, the others are frozen for four epochs, in which their dropout goes on. `recipe=own`
    does so with the rates, penalties and loss of the released survival runs.

    Departures from the published program: by default the whole network is trained at once; a patient is one bag and not
    many rows of one patch each; a bag is pooled by learned queries in place of the published network on pictures, and
    path's network goes on being computed in place of stored features; the rate falls with each step, not each epoch. A
    gate that is switched off may stand beside a scale above 1, which fails there; layers and gates without effect do
    not exist.
    """

    name = "pathomic-fusion"
    Options: ClassVar[type[Options]] = PathomicOptions
    missing: ClassVar[Literal["native", "impute"]] = "impute"
    options: PathomicOptions

    def search_space(self) -> SearchSpace:
        own = {"fusion_width": Interval(32, 128), "dropout": Interval(0.0, 0.5)}
        return {**super().search_space(), **own}

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        return not_two_or_three(specs, self.options)

    def recipe(self) -> Mapping[str, Any]:
        if self.options.recipe == "suite":
            return {}
        return ALONE[self.options.alone] if self.options.alone else FUSION

    def stages(self) -> Sequence[Stage]:
        if not self.options.pretrained:
            return ()
        dropping = ("encode.[go]*",)  # graph and omic; there may be no graph
        first = Stage(name="fusion", epochs=self.options.frozen_epochs, frozen=("encode.*",), frozen_dropout=dropping)
        return first, Stage(name="all but path", frozen=("encode.path.*",))

    def members(self, task: Task, specs: Mapping[str, ModalitySpec]) -> Sequence[Member]:
        return list(self._alone(specs).values())

    def _alone(self, specs: Mapping[str, ModalitySpec]) -> dict[str, Member]:
        """Role to the network that is trained alone, where the whole is built on them."""
        if not self.options.pretrained:
            return {}
        shared = self.options.model_dump(mode="json", include=_OF_ALONE, exclude_defaults=True)
        if self.options.recipe == "own":  # which would set `bounded` in them
            shared["bounded"] = self.options.bounded
        return {
            role: Member(PluginRef.of(self.name, **shared, alone=role), (spec.name,))
            for role, spec in roles(specs, self.options).items()
        }

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        network = self.build(ctx.task, ctx.specs)
        for role, member in self._alone(ctx.specs).items():
            load_member(network.encode[role], ctx, member, f"encode.{role}")
        return ctx.train(network, train, val)

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> PathomicNetwork | AloneNetwork:
        """
        Raises:
            DataError: if the modalities are not two or three with clear roles, or one of a network alone.
        """
        from fusionbench_pathomic_fusion.network import AloneNetwork, PathomicNetwork, encoder  # loads torch

        if (reason := self.skip(task, specs)) is not None:
            raise DataError(f"pathomic-fusion: {reason}")
        o, found = self.options, roles(specs, self.options)
        every = {"path": o.path_width, "graph": o.graph_width, "omic": o.omic_widths[-1]}
        if o.alone:
            return AloneNetwork(o.alone, found[o.alone], every[o.alone], task.n_outputs, o)
        encoders = {role: encoder(role, spec, o) for role, spec in found.items()}
        return PathomicNetwork(found, encoders, {role: every[role] for role in found}, task.n_outputs, o)
