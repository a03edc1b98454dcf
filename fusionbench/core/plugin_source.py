"""Which code a plugin's class is: distribution, version, and a checksum of the package's files."""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusionbench.core.registry import Registry


def source_of(registry: Registry, kind: str, name: str) -> dict[str, str]:
    """The plugin that brings a thing: its name, distribution and version, and the SHA-256 of its package's code.

    Two results of one row with different checksums were computed by different code, whatever versions say.

    Raises:
        SuiteError: there is no such thing.
    """
    thing = registry.get(kind, name)
    record = registry.owner(kind, name)
    return {
        "plugin": record.name,
        "distribution": record.distribution,
        "version": record.version,
        "sha256": package_hash(str(thing.__module__).partition(".")[0]),
    }


@cache  # every cell asks; code does not change below a running process
def package_hash(name: str) -> str:
    """SHA-256 over the paths and contents of a loaded package's Python files; empty where it has no file."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        return ""
    path = Path(file)
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    digest = hashlib.sha256()
    for each in files:
        content = each.read_bytes()
        digest.update(f"{each.relative_to(path.parent).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
