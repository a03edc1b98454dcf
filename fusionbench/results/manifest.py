"""manifest.json of a published folder: the checksum of every file, and the code that made them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fusionbench.core.environment import git_commit
from fusionbench.core.errors import ResultsError, file_problem, refused_file
from fusionbench.results.audit_verdict import Finding, Line, verdict
from fusionbench.results.cell_files import sha256

MANIFEST = "manifest.json"
_RULE = "the published files are those of the manifest"


def write_manifest(folder: Path) -> None:
    """Write the manifest of every file in a folder; the folder has no subfolders."""
    commit = git_commit()
    content = {
        "commit": commit.removesuffix("-dirty"),
        "uncommitted_changes": commit.endswith("-dirty"),
        "sha256": {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST},
    }
    (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def renew_entry(folder: Path, name: str) -> None:
    """Note that one file of a published folder was made anew from the others; without a manifest nothing is done."""
    path = folder / MANIFEST
    if path.is_file():
        content = _read(path)
        content["sha256"][name] = sha256(folder / name)
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def manifest_agrees(folder: Path) -> Line:
    """Whether every file of a published folder is the one that the manifest names; the figures' folder is not named.

    Raises:
        ResultsError: the manifest cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return verdict(_RULE, [Finding("there is none", "published without a manifest")], "1 manifest")
    try:
        found = {each.name: sha256(each) for each in folder.iterdir() if each.is_file() and each.name != MANIFEST}
    except OSError as error:
        raise ResultsError(refused_file(error)) from error
    expected: dict[str, str] = _read(path)["sha256"]
    findings = [
        Finding(f"{name} {what}")
        for name in sorted({*expected, *found})
        if (what := _difference(expected.get(name), found.get(name)))
    ]
    return verdict(_RULE, findings, f"{len(expected)} files")


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        content["sha256"].items()
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise ResultsError(file_problem(path, error, "publish the run again")) from error
    return content


def _difference(expected: str | None, found: str | None) -> str:
    """What is wrong with a file, given its checksum in the manifest and on disk; empty where nothing is."""
    if found is None:
        return "is missing"
    if expected is None:
        return "is not in the manifest"
    return "" if found == expected else "was changed"
