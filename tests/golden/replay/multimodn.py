"""Weights of EPFLiGHT/MultiModN (9920619) into our modules, compared number by number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

import torch
from fusionbench_multimodn import MultiModNNetwork, MultiModNOptions
from fusionbench_multimodn.network import Decoder, MeanReader, StateEncoder
from pydantic import Field, model_validator
from torch import Tensor, nn

from fusionbench import Bag, Batch, Outputs
from fusionbench.survival import discrete_hazard_nll
from tests.golden.replay.official import (
    Adapter,
    Official,
    Parts,
    PublishedConfig,
    Size,
    State,
    checked,
    fill,
    linear_parts,
)

_ENCODERS = {"MLPEncoder": "late", "MIMIC_MLPEncoder": "full"}


class DecoderConfig(PublishedConfig):
    """Of `ClassDecoder`, a linear map, or `MLPDecoder`."""

    cls: Literal["ClassDecoder", "MLPDecoder"]
    hidden: tuple[Size, ...] = ()
    n_classes: Size


class MultiModNConfig(PublishedConfig):
    """Constructor arguments, the order in which the modalities were read, and what the loss was made of."""

    encoder: Literal["MLPEncoder", "MIMIC_MLPEncoder"]
    activation: str
    state_size: Size
    modality_dims: tuple[Size, ...] = Field(min_length=1)
    encoder_hidden: tuple[tuple[Size, ...], ...]
    decoders: tuple[DecoderConfig, ...] = Field(min_length=1)
    err_penalty: float
    state_change_penalty: float
    order: tuple[int, ...]
    missing: tuple[int, ...] = ()
    alpha: float

    @model_validator(mode="after")
    def _of_each_modality(self) -> Self:
        each = list(range(len(self.modality_dims)))
        if len(self.encoder_hidden) != len(each) or sorted(self.order) != each or not {*self.missing} <= {*each}:
            raise ValueError("modality_dims, encoder_hidden, order and missing speak of different modalities")
        return self

    @property
    def options(self) -> MultiModNOptions:
        values = {
            "state": self.state_size,
            "encoder": _ENCODERS[self.encoder],
            "activation": self.activation,
            "dropout": 0.0,
            "error_penalty": self.err_penalty,
            "change_penalty": 0.01 * self.state_change_penalty,
        }
        return checked(MultiModNOptions, values, "MultiModN")


class Tasks(nn.Module):
    """One network a task; the first state and the encoders are common to all."""

    def __init__(self, config: MultiModNConfig) -> None:
        super().__init__()
        options, networks = config.options, []
        encode = nn.ModuleList(
            StateEncoder(config.modality_dims[m], config.encoder_hidden[m], options) for m in config.order
        )
        names = [f"x_{m}" for m in config.order]
        for decoder in config.decoders:
            read, decode = (
                nn.ModuleList(MeanReader() for _ in names),
                Decoder(config.state_size, decoder.hidden, decoder.n_classes),
            )
            networks.append(MultiModNNetwork(names, read, encode, decode, options))
            networks[-1].start = networks[0].start
        self.of = nn.ModuleList(networks)

    @property
    def networks(self) -> list[MultiModNNetwork]:
        return [cast(MultiModNNetwork, network) for network in self.of]


def published_parts(config: MultiModNConfig) -> Parts:
    """Our parameter to the published one, of each task's network."""
    parts: Parts = {}
    first = 0 if config.encoder == "MLPEncoder" else 1  # published, the dropout is a layer
    for d, decoder in enumerate(config.decoders):
        parts[f"of.{d}.start"] = ("init_state.state_value",)
        for i, m in enumerate(config.order):
            for layer in range(1 + len(config.encoder_hidden[m])):
                parts |= linear_parts(f"of.{d}.encode.{i}.layers.{layer}", f"encoders.{m}.layers.{layer + first}")
        for layer in range(1 + len(decoder.hidden)):
            theirs = "fc" if decoder.cls == "ClassDecoder" else f"layers.{layer}"
            parts |= linear_parts(f"of.{d}.decode.{2 * layer}", f"decoders.{d}.{theirs}")
    return parts


class MultiModNAdapter(Adapter):
    """x_0, x_1 and so on (case, feature); `mask` (case, modality) where cases lack different ones."""

    def __init__(self, config: MultiModNConfig) -> None:
        self.config = config

    def __call__(self, inputs: Mapping[str, Tensor]) -> Batch:
        given = {name: x for name, x in inputs.items() if name.startswith("x_")}
        # Where every modality is missing no input is there: what is predicted is the learned start.
        some = next(iter(given.values()), torch.zeros(len(inputs["target/y"]), 1, dtype=torch.get_default_dtype()))
        there = inputs.get("mask", torch.ones(len(some), len(self.config.modality_dims), dtype=torch.bool))
        bags = {}
        for m, dim in enumerate(self.config.modality_dims):
            absent = m in self.config.missing
            values = some.new_zeros(len(some), dim) if absent else given[f"x_{m}"]
            mask = torch.zeros_like(there[:, m : m + 1]) if absent else there[:, m : m + 1]
            bags[f"x_{m}"] = Bag(values.unsqueeze(1), mask)
        return Batch(tuple(map(str, range(len(some)))), bags)

    def observe(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        networks, batch = cast(Tasks, module).networks, self(inputs)
        outs = [cast(Outputs, network(batch)) for network in networks]
        seen = {f"output/logits{f'_task{d}' if d else ''}": out.logits for d, out in enumerate(outs)}
        walk = networks[0].walk(batch)
        by_modality = {m: i for i, m in enumerate(self.config.order, start=1) if m not in self.config.missing}
        seen["mid/init_state"] = walk.states[:, 0]
        seen |= {f"mid/encoders.{m}": walk.states[:, i] for m, i in by_modality.items()}
        for d, out in enumerate(outs):
            assert out.step_logits is not None
            logits = out.step_logits.logits
            seen[f"mid/decoders.{d}.init"] = logits[:, 0]
            seen |= {f"mid/decoders.{d}.{m}": logits[:, i] for m, i in by_modality.items()}
        steps = outs[0].step_logits
        assert steps is not None
        seen["mid/step_logits"] = (steps.logits * steps.taken.unsqueeze(2))[:, self._by_modality()]
        return seen

    def losses(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        tasks, batch = cast(Tasks, module), self(inputs)
        walk = tasks.networks[0].walk(batch)
        column = self._by_modality()
        errors = torch.stack([self._errors(d, tasks, batch, inputs) for d in range(len(tasks.of))], dim=2)[:, column]
        change = walk.change[:, [c - 1 for c in column[1:]]]
        o, cases = tasks.networks[0].options, len(batch.ids)
        per_case = o.error_penalty * errors.mean(dim=(1, 2)) + o.change_penalty * change.mean(dim=1)
        found = {
            "loss/err_matrix": errors.sum(dim=0) / cases,
            "loss/state_change": change.mean(dim=0),
            "loss/per_patient": per_case,
            "loss/err_per_patient": errors[..., 0],
            "loss/state_change_per_patient": change,
            "loss/total": self._trained(tasks, batch, inputs),
        }
        if "mask" in inputs:
            found["loss/upstream_whole_batch"] = self._whole_batch(tasks, batch, inputs)
        return found

    def _by_modality(self) -> list[int]:
        """Which steps are the start and modalities 0, 1 and so on: files do not count by place in the order."""
        return [0, *(1 + self.config.order.index(m) for m in range(len(self.config.order)))]

    def _errors(self, d: int, tasks: Tasks, batch: Batch, inputs: Mapping[str, Tensor]) -> Tensor:
        """(case, step) losses of task `d` as the network reads the modalities, 0 where a step was not taken."""
        steps = cast(Outputs, tasks.of[d](batch)).step_logits
        assert steps is not None
        suffix = f"_task{d}" if d else ""
        bins, event = inputs[f"target/y{suffix}"], inputs[f"target/c{suffix}"] == 0
        columns = steps.logits.unbind(dim=1)
        each = [discrete_hazard_nll(logits, bins, event, alpha=self.config.alpha) for logits in columns]
        return torch.stack(each, dim=1) * steps.taken

    def _trained(self, tasks: Tasks, batch: Batch, inputs: Mapping[str, Tensor]) -> Tensor:
        """What the harness trains: its mean over the steps that were taken and the other losses, as they are weighed.

        The published mean over tasks is that of what each task's network trains.
        """
        totals = []
        for d, network in enumerate(tasks.of):
            out = cast(Outputs, network(batch))
            assert out.step_logits is not None
            mean = self._errors(d, tasks, batch, inputs).sum() / out.step_logits.taken.sum()
            totals.append(out.weights["steps"] * mean + out.weights["change"] * out.losses["change"].mean())
        return torch.stack(totals).mean()

    def _whole_batch(self, tasks: Tasks, batch: Batch, inputs: Mapping[str, Tensor]) -> Tensor:
        """The same with `skip_whole_batch`, which is done in training."""
        own = tasks.networks[0].options
        for network in tasks.networks:
            network.options = own.model_copy(update={"skip_whole_batch": True})
        total = self._trained(tasks.train(), batch, inputs)
        for network in tasks.networks:
            network.options = own
        tasks.eval()
        return total


def load_official(config: Mapping[str, Any], state: State) -> Official | None:
    """The published `MultiModN` with these weights; None where `cls` names another class.

    Raises:
        PluginError: naming every key of the config, or else every tensor, that is absent or does not fit.
    """
    if config.get("cls") != "MultiModN":
        return None
    given = checked(MultiModNConfig, config, "MultiModN")
    tasks, parts = Tasks(given), published_parts(given)
    fill(tasks, state, parts, who="MultiModN")
    return Official(tasks, MultiModNAdapter(given).knowing(parts))
