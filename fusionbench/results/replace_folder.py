"""A finished folder takes the place of an older one; at every moment one of the two is there whole."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

ASIDE = ".old-"
"""Begins the name of a folder that is being replaced where two names cannot be exchanged."""
_HERE, _EXCHANGE = -100, 2
"""AT_FDCWD and RENAME_EXCHANGE of Linux."""


def replace_folder(new: Path, final: Path) -> None:
    """Rename `new` to `final`, and remove what was there before; both lie in one folder.

    On Linux the two are exchanged in one step. Where the system or the file system cannot do that, a process that is
    killed between two renames leaves the old folder under another name; `put_back` ends that.
    """
    if not final.exists():
        new.rename(final)
        return
    if _exchanged(new, final):
        shutil.rmtree(new, ignore_errors=True)
        return
    old = _aside(final)
    final.rename(old)
    try:
        new.rename(final)
    finally:
        put_back(final)


def put_back(final: Path) -> None:
    """Restore the folder that an interrupted `replace_folder` moved aside, or remove it where the new one is there."""
    old = _aside(final)
    if final.exists():
        shutil.rmtree(old, ignore_errors=True)
    elif old.exists():
        old.rename(final)


def _aside(final: Path) -> Path:
    return final.with_name(f"{ASIDE}{final.name}")


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step; False where the system or the file system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    return rename is not None and rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0
