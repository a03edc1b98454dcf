"""Disks without room: one on which no file may grow beyond a size, and a real one that is small."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def limit_file_size(size: int) -> None:
    """Refuse, from now on and in child processes too, every file of more than `size` bytes.

    Python's import system is kept from writing byte code meanwhile: it takes a short write for a whole one,
    and a truncated `.pyc` file would break every later import of that module (CPython issue 126606).
    """
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """`limit_file_size` for the time of a `with` block."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    writes_none, variable = sys.dont_write_bytecode, os.environ.get("PYTHONDONTWRITEBYTECODE")
    limit_file_size(size)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        sys.dont_write_bytecode = writes_none
        if variable is None:
            del os.environ["PYTHONDONTWRITEBYTECODE"]
        else:
            os.environ["PYTHONDONTWRITEBYTECODE"] = variable


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A tmpfs of that size (`60k`) at `folder`; gives a function that makes it larger. Only root may mount one."""

    def mount(*options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    folder.mkdir()
    if not mount(f"size={size}"):
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield lambda larger: None if mount("remount", f"size={larger}") else pytest.fail("the disk cannot grow")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
