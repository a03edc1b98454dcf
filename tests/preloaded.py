"""What the process has imported from which `tests.forking` forks commands."""

import sksurv.ensemble as forests

from fusionbench import cli
from fusionbench.execution.training.optimizers import import_compiler
from fusionbench.tools import run

__all__ = ["cli", "forests", "run"]

import_compiler()
