"""What every class of a plugin can say about the checks that are run on it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar


class Checked:
    """A class that `fusionbench check` tries.

    Attributes:
        expected_failures: check that this class does not pass, by its name, to the reason as a sentence. It is shown
            and never counted as passed.
    """

    expected_failures: ClassVar[Mapping[str, str]] = MappingProxyType({})
