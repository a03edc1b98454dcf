"""What a model has prepared once per fold from the training cases alone, before anything is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from fusionbench.core.errors import PluginError, did_you_mean
from fusionbench.core.types import CaseSet, ModalitySpec, PreparedBag

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

State = Mapping[str, "NDArray[Any]"]
"""Named arrays that are a fitted model or a preparation; stored as safetensors, never pickled."""


@dataclass(frozen=True)
class PreparationContext:
    """What the harness gives a preparation.

    Attributes:
        seed: follows from the cases and the settings; the only source of randomness that `prepare` may use.
        device: where the cell is computed; cases are prepared on the CPU.
    """

    seed: int
    device: torch.device


class Preparation(BaseModel, ABC):
    """An unsupervised stage before training, such as prototypes of bags by k-means, a PCA or a vocabulary.

    Its fields are its settings, all of them with an influence on the result. The result is stored under a key of the
    training cases, the settings and the code, and all models and cells of a fold that ask for the same share it.

    Attributes:
        reads: names of the modalities that it reads.
        version: to be raised with every change that changes results; in the keys of cells.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: ClassVar[str]
    version: ClassVar[str] = "1"
    reads: tuple[str, ...]

    @abstractmethod
    def prepare(self, train: CaseSet, ctx: PreparationContext) -> State:
        """Named arrays of numbers, from training cases alone.

        Args:
            train: the training cases that show one of `reads`, in the order of the fold, without targets; nothing is
                imputed. Reading any other case is refused.
        """

    def tokens(self, name: str, bag: PreparedBag, state: State) -> Tensor | None:
        """(token, feature) that stand in a batch in the place of a case's bag; None: the bag stays as it is.

        Computed once per case and fold, without gradients, and also of the training mean, a bag of one instance, which
        stands for a missing modality where the harness imputes. Every case has tokens of one width.

        Args:
            name: one of `reads`.
            bag: a training, validation or test case's, on the CPU; not to be changed.
            state: what `prepare` has made.
        """
        return None

    @property
    def about(self) -> dict[str, Any]:
        """Name, version and settings as JSON values."""
        return {"name": self.name, "version": self.version, "settings": self.model_dump(mode="json")}


def checked_preparations(who: str, declared: Sequence[Any], specs: Mapping[str, ModalitySpec]) -> list[Preparation]:
    """What a model's `preparations` gives for a row.

    Args:
        who: the model, for messages.

    Raises:
        PluginError: it is no preparation, stands there twice, or reads a modality that the row does not have.
    """
    checked: list[Preparation] = []
    for given in declared:
        if not isinstance(given, Preparation):
            raise PluginError(f"{who}: preparations() gave {type(given).__name__}, expected fusionbench.Preparation")
        if given in checked:
            raise PluginError(f"{who}: preparation {given.name!r} stands twice in preparations(); give it once")
        if not given.reads:
            raise PluginError(f"{who}: preparation {given.name!r} reads no modality; name those that it reads")
        for name in given.reads:
            if name not in specs:
                raise PluginError(f"{who}: preparation {given.name!r} reads {did_you_mean('modality', name, specs)}")
        checked.append(given)
    return checked
