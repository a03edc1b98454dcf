"""What the fork server imports, so that a child that replaces a killed one is ready at once: the code that runs cells,
and the plugins. Each child looks for plugins again, since its module path may be another one.
"""

from fusionbench.core.registry import discover
from fusionbench.execution import task as task

discover()
