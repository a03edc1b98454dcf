"""A preparation with what it has made on a fold, and the tokens that it makes of cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fusionbench.core.errors import FusionBenchError, PluginError
from fusionbench.core.preparation import Preparation, State
from fusionbench.core.timing import PREPARE, span
from fusionbench.core.types import Case, ModalityKind, ModalitySpec, PreparedBag
from fusionbench.data.bag_cache import BagCache
from fusionbench.data.case_guard import reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

PREFIX = "prepared"
"""First part of the names of a preparation's arrays among a cell's weights: `prepared.0.centroids`."""


@dataclass(frozen=True, eq=False)
class FittedPreparation:
    """What a preparation has made; picklable.

    Attributes:
        state: its named arrays.
        ledger: sorted ids of the training cases that it read.
        key: of the result; see `fusionbench.execution.preparation`. Empty where it was restored.
        seconds: that it took where it was computed.
        caches: modality to the tokens of cases that were asked for.
    """

    preparation: Preparation
    state: State
    ledger: tuple[str, ...] = ()
    key: str = ""
    seconds: float = 0.0
    caches: dict[str, BagCache] = field(default_factory=dict)

    def copied_state(self) -> State:
        """Its arrays for a plugin, which may write into them; other cells and the stored weights share these."""
        return {name: array.copy() for name, array in self.state.items()}

    @property
    def who(self) -> str:
        """For messages."""
        return f"preparation {self.preparation.name!r}"

    def bag(self, name: str, case: Case, load: Callable[[], PreparedBag]) -> PreparedBag:
        """The tokens of a case in the place of its bag, which `load` gives; computed once while there is room.

        Raises:
            PluginError: they are no tokens. FusionBenchError: they are not finite.
        """
        reading(name, case)
        cache = self.caches.setdefault(name, BagCache())
        ref = case.refs[name]
        known = cache.get(case.id, ref)
        if known is not None:
            return known
        made = self.tokens(name, load(), f"case {case.id!r}")
        if made is None:
            raise PluginError(
                f"{self.who}: no tokens of {name!r} for case {case.id!r}; give them for all cases or none"
            )
        cache.put(case.id, ref, made)
        return made

    def tokens(self, name: str, bag: PreparedBag, whose: str) -> PreparedBag | None:
        """The tokens of a bag; None where the preparation makes none of this modality.

        Raises:
            PluginError: they are no tokens. FusionBenchError: they are not finite.
        """
        import torch  # here, so that planning need not load it

        with span(PREPARE), torch.no_grad():
            made: Any = self.preparation.tokens(name, bag, self.copied_state())
        if made is None:
            return None
        where = f"{self.who}: tokens of {name!r} for {whose}"
        if not isinstance(made, torch.Tensor) or made.ndim != 2 or 0 in made.shape:
            seen = f"shape {tuple(made.shape)}" if isinstance(made, torch.Tensor) else f"type {type(made).__name__}"
            raise PluginError(f"{where} have {seen}, expected a tensor (token, feature)")
        if not bool(made.isfinite().all()):
            raise FusionBenchError(f"{where} have NaN or inf; check that no cluster is empty and no variance is zero")
        return PreparedBag(made.detach().to(device="cpu", dtype=torch.float32), tokens=True)


def tokens_spec(spec: ModalitySpec, tokens: PreparedBag) -> ModalitySpec:
    """What a model sees of a modality in tokens: a bag, or a vector where a vector stays one."""
    kind: ModalityKind = "vector" if spec.kind == "vector" and len(tokens.values) == 1 else "bag"
    return replace(spec, kind=kind, dim=tokens.values.shape[1], groups={}, axes=0, features=())


def stored_arrays(preparations: tuple[FittedPreparation, ...]) -> dict[str, NDArray[Any]]:
    """The arrays of all preparations as a cell's weights have them."""
    return {f"{PREFIX}.{i}.{n}": a for i, made in enumerate(preparations) for n, a in made.state.items()}


def split_arrays(state: State, count: int) -> tuple[State, list[State]]:
    """A cell's weights without the arrays of its preparations, and those of each preparation."""
    firsts = [f"{PREFIX}.{i}." for i in range(count)]
    own: list[State] = [{n.removeprefix(f): a for n, a in state.items() if n.startswith(f)} for f in firsts]
    return {n: a for n, a in state.items() if not n.startswith(tuple(firsts))}, own
