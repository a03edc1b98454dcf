"""Reference files: .npz archives of plain arrays, with a JSON config where a module was run."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench.core.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Reference:
    """One file.

    Attributes:
        config: constructor arguments and what else its maker wrote down; empty where there is none.
        arrays: everything else, by name.
    """

    config: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]

    def under(self, prefix: str) -> dict[str, NDArray[Any]]:
        """The arrays whose name starts with `prefix`, by the rest of their name."""
        return {name.removeprefix(prefix): a for name, a in self.arrays.items() if name.startswith(prefix)}

    @property
    def double(self) -> bool:
        """What went in was in float64, so that what comes out is exact to more than float32's digits."""
        went_in = [a for name, a in self.arrays.items() if name.startswith(("param/", "input/"))]
        floats = [a.dtype for a in went_in or self.arrays.values() if a.dtype.kind == "f"]
        return bool(floats) and all(dtype == np.float64 for dtype in floats)


def read(path: Path) -> Reference:
    """Read a reference file; arrays only, nothing pickled is ever loaded.

    Raises:
        DataError: not there, no .npz or truncated, an array of Python objects, or a config that is not JSON.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable .npz of plain arrays ({error}); export it again") from None
    config = arrays.pop("config", None)
    try:
        return Reference({} if config is None else dict(json.loads(str(config))), arrays)
    except ValueError as error:
        raise DataError(f"{path}: its config is not a JSON object: {error}") from None
