"""results/<suite>/suite_file.json: which file of the user's own the suite in this folder was run from.

    {"relative": "../mine/study.toml", "absolute": "/home/me/mine/study.toml"}

`relative` is relative to the results root, so that a folder that holds the file and its results can be moved. A suite
that a plugin brings has no such file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from fusionbench.core.errors import ResultsError
from fusionbench.core.json_text import json_text
from fusionbench.results.store import Store

RECORD = "suite_file.json"


def remember(store: Store, file: Path) -> None:
    """Record that the suite in this folder is run from `file`.

    Raises:
        ResultsError: the record cannot be written.
    """
    absolute = os.path.abspath(file)
    content = json_text({"relative": os.path.relpath(absolute, store.root), "absolute": absolute}, indent=1)
    if not store.has_file(RECORD) or (store.folder / RECORD).read_text(encoding="utf-8") != content:
        store.folder.mkdir(parents=True, exist_ok=True)
        store.write_text(RECORD, content)


def places(store: Store) -> tuple[Path, ...]:
    """Where the suite's own file was, absolute, the most likely place first; empty where none was recorded.

    Raises:
        ResultsError: the record is damaged.
    """
    if not store.has_file(RECORD):
        return ()
    path = store.folder / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = (os.path.join(os.path.abspath(store.root), content["relative"]), str(content["absolute"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{path}: cannot be read ({error}); remove it, then run the suite by its path") from error
    return tuple(dict.fromkeys(Path(os.path.normpath(place)) for place in found))


def recorded(root: Path) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """Each suite of the user's own under a results root, with the places of its file."""
    for record in sorted(root.glob(f"*/{RECORD}")):
        yield record.parent.name, places(Store(root, record.parent.name))
