"""A plugin whose model changes a setting of the process while it is fitted, as a careless or a dishonest one would."""

import os
import random
import sys
import tempfile
import warnings

import numpy as np
import torch

from fusionbench import FusionModel, Options, Predictor, SurvivalPrediction, hookimpl


def patch_metric():
    from fusionbench.builtin.metrics import HarrellC

    HarrellC.__call__ = lambda self, prediction, test, train: 0.99


def patch_statistics():
    from fusionbench.survival import stats

    stats.harrell_c = lambda *args, **kwargs: 0.99


MEDDLING = {
    "nothing": lambda: None,
    "dtype": lambda: torch.set_default_dtype(torch.float64),
    "folder": lambda: os.chdir(tempfile.gettempdir()),
    "environment": lambda: os.environ.update(FUSIONBENCH_RESULTS="elsewhere"),
    "warnings": lambda: warnings.simplefilter("ignore"),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "deterministic": lambda: torch.use_deterministic_algorithms(True),
    "precision": lambda: torch.set_float32_matmul_precision("medium"),
    "gradients": lambda: torch.set_grad_enabled(False),
    "errors": lambda: np.seterr(all="raise"),
    "seed": lambda: (torch.manual_seed(1), np.random.seed(1), random.seed(1)),  # noqa: NPY002
    "stdout": lambda: (print("not JSON"), sys.stdout.write("neither\n")),
    "metric": patch_metric,
    "statistics": patch_statistics,
}


class Flat(Predictor):
    """Risks without a meaning."""

    def predict(self, cases):
        return SurvivalPrediction(cases.ids, np.arange(len(cases), dtype=np.float64))

    def state(self):
        return {}


class Meddler(FusionModel):
    """Predicts nothing, and changes a setting."""

    name = "meddler"
    missing = "native"

    class Options(Options):
        """what: which setting it changes."""

        what: str = "nothing"

    def fit(self, train, val, ctx):
        MEDDLING[self.options.what]()
        return Flat()

    def restore(self, state, ctx):
        return Flat()


@hookimpl
def fusionbench_models():
    return [Meddler]
