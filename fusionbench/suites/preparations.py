"""What a row's model has prepared on training cases, as its cells' keys have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fusionbench.core.errors import FusionBenchError, PluginError
from fusionbench.core.guard import guarded
from fusionbench.core.plugin_options import validate_options
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.preparation import checked_preparations
from fusionbench.core.registry import Registry
from fusionbench.core.types import ModalitySpec, Task


def about_preparations(
    registry: Registry, ref: PluginRef, task: Task, specs: Mapping[str, ModalitySpec]
) -> dict[str, Any]:
    """Name, version and settings of each preparation under `preparations`; empty where there is none.

    A preparation may come from another plugin than the model, so that the model's version does not cover it.

    Raises:
        PluginError: `preparations` raises, or gives what cannot be prepared for the row.
    """
    options = validate_options(registry, "models", ref)
    try:
        with guarded(f"planning with model {ref}", registry.note):
            model = registry.model(ref.name)(options)
            declared = checked_preparations(f"model {ref}", model.preparations(task, specs), specs)
    except FusionBenchError:
        raise
    except Exception as error:  # third-party code: the error names the plugin
        raise PluginError(f"model {ref}: preparations() raised {type(error).__name__}: {error}") from error
    return {"preparations": [preparation.about for preparation in declared]} if declared else {}
