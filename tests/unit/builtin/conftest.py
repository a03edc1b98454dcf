"""Shared by the tests of the table dataset: a small cohort in the form in which a user has one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.own_cohort import write_cohort


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cohort's files, which no test changes."""
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(folder, 30)
    return folder


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Path:
    """A copy of the cohort, which a test may change."""
    return shutil.copytree(template, tmp_path / "own")
