"""What preparations have made, on disk: entries of the feature cache's folder, each with its checksum."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open

from fusionbench.core.preparation import State
from fusionbench.data.feature_cache import STATE_SUFFIX, FeatureCache

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class StoredState:
    """What a preparation has made on the training cases of a fold.

    Attributes:
        ledger: ids of the cases that it read.
        seconds: that it took.
    """

    state: State
    ledger: tuple[str, ...]
    seconds: float


def state_file(cache: FeatureCache, key: str) -> Path:
    """Where the state of a key lies."""
    return cache.folder / f"{key}{STATE_SUFFIX}"


def load_state(cache: FeatureCache, key: str) -> tuple[StoredState | None, str]:
    """The state of a key; None where there is none, with the reason where there is a damaged file."""
    path = state_file(cache, key)
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads(file.metadata()["about"])
            state = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        ledger, seconds = about["ledger"], float(about["seconds"])
        if about["sha256"] != _checksum(key, state, ledger):
            return None, f"{path} is damaged (its checksum is another): computed again"
    except FileNotFoundError:
        return None, ""
    except (OSError, SafetensorError, TypeError, ValueError, KeyError) as error:
        return None, f"{path} is damaged ({type(error).__name__}): computed again"
    with suppress(OSError):  # of another user; then its age is less exact
        os.utime(path)  # time of last use: entries unused for long make room for others
    return StoredState(state, tuple(ledger), seconds), ""


def store_state(cache: FeatureCache, key: str, stored: StoredState) -> None:
    """Keep a state under its key."""
    sha256 = _checksum(key, stored.state, stored.ledger)
    about = {"ledger": list(stored.ledger), "seconds": stored.seconds, "sha256": sha256}
    cache.write(state_file(cache, key), stored.state, json.dumps(about))


def _checksum(key: str, state: State, ledger: Sequence[str]) -> str:
    """Of the arrays with their names, types and shapes, of the key and of the ledger."""
    digest = hashlib.sha256(json.dumps([key, *ledger]).encode())
    for name, array in sorted(state.items()):
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(_bytes(array))
    return digest.hexdigest()


def _bytes(array: NDArray[np.generic]) -> bytes:
    return np.array(array, order="C").tobytes()
