"""results/<suite>/made_from.json: the stored results of which tables, report and audit were made.

    {"report.html": {"cells/0f3a...": "9b1c..."}}

Each name has the content of every cell and every imported file of that moment, so that a later run is told from a copy:
an archive, a clone or a cloud's copy of a folder gives all files new modification times, in any order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from fusionbench.core.errors import ResultsError, file_problem
from fusionbench.core.json_text import json_text
from fusionbench.results.cell_files import CELL, sha256
from fusionbench.results.store import Store

RECORD = "made_from.json"
TABLE = "table"
"""Name of a whole suite's table with its frames."""
IMPORTED_FOLDER = "imported"
"""The folder of imported predictions below a suite's."""
_SHOWN = 16  # hexadecimal digits of a checksum: it tells contents apart and proves nothing

Contents = Mapping[str, str]
"""Cell, or imported file, to the beginning of its checksum."""


def stored_contents(store: Store) -> Contents:
    """What is stored now; nothing of a published folder, which has no cells.

    Raises:
        ResultsError: the system refuses a file.
    """
    keys = store.keys()
    paths = {f"cells/{key}": store.cells / key / CELL for key in keys}  # which holds the checksums of its other files
    imported = sorted((store.folder / IMPORTED_FOLDER).glob("[!.]*.parquet"))
    paths |= {f"{IMPORTED_FOLDER}/{path.name}": path for path in imported}
    found = {}
    for name, path in paths.items():
        try:
            found[name] = sha256(path)[:_SHOWN]
        except OSError as error:
            raise ResultsError(file_problem(path, error, "run the suite again")) from error
    return found


def note_made_from(store: Store, name: str, contents: Contents) -> None:
    """Record of what a file of the suite's folder was made, after it was written.

    Args:
        contents: `stored_contents` before anything was read for it.
    """
    if store.cells.is_dir():
        store.write_text(RECORD, json_text({**_read(store), name: dict(contents)}, indent=1))


def is_current(store: Store, name: str) -> bool | None:
    """Whether a file was made of all that is stored now; None where that was not recorded.

    What has been removed since does not count.

    Raises:
        ResultsError: the record is damaged, or the system refuses a file.
    """
    then = _read(store).get(name)
    return None if then is None else stored_contents(store).items() <= then.items()


def _read(store: Store) -> dict[str, dict[str, str]]:
    path = store.folder / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): dict(of.items()) for name, of in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise ResultsError(file_problem(path, error, "remove it and run the suite again")) from error
