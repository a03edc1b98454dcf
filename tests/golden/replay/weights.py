"""Published checkpoints as named arrays; only tensors are ever loaded, never code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionbench.core.errors import DataError
from tests.golden.replay.reference import read

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_weights(path: Path | str) -> dict[str, NDArray[Any]]:
    """A state dict from `.pt`, `.pth`, `.bin` (torch), `.safetensors`, or `.npz` (arrays under `param/`, or bare).

    Hand it to a plugin's `load_official(config, state)`.

    Raises:
        DataError: not there, truncated, of an unknown kind, or holding anything but named tensors, such as pickled
            objects, whose loading would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.suffix == ".npz":
        file = read(path)
        return file.under("param/") or dict(file.arrays)
    readers = {".safetensors": _safetensors, ".pt": _torch, ".pth": _torch, ".bin": _torch}
    if path.suffix not in readers:
        raise DataError(f"{path}: weights come as {', '.join([*readers, '.npz'])}, not as {path.suffix or 'no ending'}")
    return readers[path.suffix](path)


def _safetensors(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise DataError(f"{path}: not a readable safetensors file ({error}); copy it again") from None


def _torch(path: Path) -> dict[str, NDArray[Any]]:
    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise DataError(
            f"{path}: holds pickled objects or is damaged; only plain tensors are loaded, since anything else could "
            "run code: save module.state_dict() where you trust the file"
        ) from None
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: truncated or not a torch file ({reason}); copy it again") from None
    if not isinstance(loaded, Mapping) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise DataError(f"{path}: holds {type(loaded).__name__}, expected a state dict of named tensors")
    # numpy has no bfloat16
    plain = {name: value.float() if value.dtype == torch.bfloat16 else value for name, value in loaded.items()}
    return {str(name): value.numpy() for name, value in plain.items()}
