"""Building blocks for torch models, and the base class that ties a module to the training loop.

Names are loaded when first used: a plan asks models for their names, versions and options, and for that needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusionbench.nn.bag_geometry import Squares as Squares
    from fusionbench.nn.bag_geometry import coarse_grid as coarse_grid
    from fusionbench.nn.bag_geometry import squares as squares
    from fusionbench.nn.bag_geometry import unpadded as unpadded
    from fusionbench.nn.blocks import GatedAttention as GatedAttention
    from fusionbench.nn.blocks import SNNBlock as SNNBlock
    from fusionbench.nn.blocks import complete as complete
    from fusionbench.nn.blocks import fourier_features as fourier_features
    from fusionbench.nn.blocks import fully_connected as fully_connected
    from fusionbench.nn.blocks import masked_mean as masked_mean
    from fusionbench.nn.blocks import masked_softmax as masked_softmax
    from fusionbench.nn.blocks import masked_sum as masked_sum
    from fusionbench.nn.blocks import one_head as one_head
    from fusionbench.nn.blocks import scale_head as scale_head
    from fusionbench.nn.blocks import some_modality as some_modality
    from fusionbench.nn.blocks import vectors as vectors
    from fusionbench.nn.device import pick_device as pick_device
    from fusionbench.nn.embedpool import embed_and_pool as embed_and_pool
    from fusionbench.nn.fast_dropout import Dropout as Dropout
    from fusionbench.nn.fast_dropout import dropout as dropout
    from fusionbench.nn.fusion import ConcatFusion as ConcatFusion
    from fusionbench.nn.fusion import KroneckerFusion as KroneckerFusion
    from fusionbench.nn.fusion import fusion_of_equals as fusion_of_equals
    from fusionbench.nn.member_weights import load_member as load_member
    from fusionbench.nn.partition import Parts as Parts
    from fusionbench.nn.partition import case_generator as case_generator
    from fusionbench.nn.partition import sub_bags as sub_bags
    from fusionbench.nn.query_pool import QueryPool as QueryPool
    from fusionbench.nn.torch_model import TorchModel as TorchModel

_HOMES = {
    "bag_geometry": ("Squares", "coarse_grid", "squares", "unpadded"),
    "fast_dropout": ("Dropout", "dropout"),
    "blocks": (
        *("GatedAttention", "SNNBlock", "complete", "fourier_features", "fully_connected", "masked_mean"),
        *("masked_softmax", "masked_sum", "one_head", "scale_head", "some_modality", "vectors"),
    ),
    "device": ("pick_device",),
    "embedpool": ("embed_and_pool",),
    "fusion": ("ConcatFusion", "KroneckerFusion", "fusion_of_equals"),
    "member_weights": ("load_member",),
    "query_pool": ("QueryPool",),
    "partition": ("Parts", "case_generator", "sub_bags"),
    "torch_model": ("TorchModel",),
}


def __getattr__(name: str) -> Any:
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = getattr(import_module(f"fusionbench.nn.{home}"), name)
    return globals()[name]
