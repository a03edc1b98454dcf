"""The recipe that a model is trained with: the suite's, or what the model makes of it."""

from __future__ import annotations

from pydantic import ValidationError

from fusionbench.core.errors import FusionBenchError, PluginError
from fusionbench.core.guard import guarded
from fusionbench.core.plugin_options import validate_options
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.protocol import TrainRecipe, overlay
from fusionbench.core.registry import Registry


def recipe_of(registry: Registry, ref: PluginRef, suites: TrainRecipe) -> TrainRecipe:
    """The recipe of a model with its options; the very object `suites` where the model changes nothing.

    Raises:
        PluginError: the model's recipe has a key that there is not, or a value that is refused.
    """
    options = validate_options(registry, "models", ref)
    try:
        with guarded(f"planning with model {ref}", registry.note):
            model = registry.model(ref.name)(options)
            changes = dict(model.recipe())
            if stages := tuple(model.stages()):
                changes["stage"] = stages
        if changes.get("loss") == "cox":
            changes.setdefault("max_tokens", None)  # the suite's; a batch of the Cox loss is not computed in parts
        made: TrainRecipe = overlay(suites, changes) if changes else suites
    except FusionBenchError:
        raise
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'together'}: {e['msg']}" for e in error.errors())
        raise PluginError(f"model {ref}: its recipe is refused: {said}") from error
    except Exception as error:  # third-party code: the error names the plugin
        raise PluginError(f"model {ref}: recipe() or stages() raised {type(error).__name__}: {error}") from error
    return made
