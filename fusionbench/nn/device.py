"""Where a model is computed."""

from __future__ import annotations

import torch

from fusionbench.core.errors import SuiteError


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one.

    Raises:
        SuiteError: CUDA asked for, but there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise SuiteError("--device cuda: this torch sees no CUDA device; use --device cpu, or install a CUDA build")
    if name not in ("cpu", "cuda"):
        raise SuiteError(f"--device {name}: choices are auto, cpu, cuda")
    return torch.device(name)
