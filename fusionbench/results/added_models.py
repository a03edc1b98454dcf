"""results/<suite>/added_models.json: models that runs were asked for beside those of the suite's file.

    {"mine": "", "m.py:Net[width=64]": "/home/me/m.py"}

Each model has the file that its class was imported from, absolute, or nothing where a plugin brings it. The record is
not published: paths are of one machine, and only a class that its own user named here is imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from fusionbench.core.errors import ResultsError, file_problem
from fusionbench.core.json_text import json_text
from fusionbench.results.store import Store

RECORD = "added_models.json"


def added_models(store: Store) -> dict[str, str]:
    """Model as it was written to its file, in the order in which they were added.

    Raises:
        ResultsError: the record is damaged.
    """
    path = store.folder / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(model): str(file) for model, file in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        remedy = "remove it, then add the models again with `run SUITE -m MODEL`"
        raise ResultsError(file_problem(path, error, remedy)) from error


def keep_added(store: Store, models: Mapping[str, str]) -> None:
    """Record which models were added.

    Raises:
        ResultsError: the record cannot be written.
    """
    if dict(models) == added_models(store):
        return
    if models:
        store.write_text(RECORD, json_text(dict(models), indent=1))
    else:
        store.remove(RECORD)
