"""Options of `tfn`. "Published" is Justin1904/TensorFusionNetworks at ef0e78b, a program by others than the authors."""

from __future__ import annotations

from fusionbench_lmf import EmbeddingOptions
from pydantic import Field

WIDEST = 16
"""Width of a modality's vector where the product leaves room for it."""


class TfnOptions(EmbeddingOptions):
    """Options of `tfn`.

    Attributes:
        width: of each modality's vector; None = 16, or as wide as `max_product` allows. Published: 4, 16 and 64 for
            audio, video and text.
        max_product: largest size of the outer product, (width + 1) to the power of the number of modalities. Six
            modalities of width 16 would have 24 million numbers.
        fusion_width: of the two layers on the outer product. Published: 32.
        fusion_dropout: on the outer product. Published: .3.
        dropout: see `lmf`. Published: .3.
        bounded: 6 sigmoid(logit) - 3 in place of the logit, within (-3, 3). Published for regression; with loss=cox a
            bounded log hazard.
        head_scale: multiplies the output layer's start. Published: 1.
    """

    width: int | None = Field(None, ge=1)  # type: ignore[assignment]
    max_product: int = Field(65_536, ge=2)
    fusion_width: int = Field(32, ge=1)
    fusion_dropout: float = Field(0.3, ge=0, lt=1)
    dropout: float = Field(0.3, ge=0, lt=1)
    bounded: bool = False
    head_scale: float = Field(1.0, gt=0)

    def width_of(self, modalities: int) -> int:
        """Width of each vector where that many modalities are multiplied; 0 where not even 1 has room."""
        if self.width is not None:
            return self.width
        return max((w for w in range(WIDEST + 1) if (w + 1) ** modalities <= self.max_product), default=0)
