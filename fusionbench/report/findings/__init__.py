"""Sections below a suite's table, made from its stored results and its lock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fusionbench.core.guard import guarded
from fusionbench.core.registry import Registry
from fusionbench.report.analysis import Analysis
from fusionbench.report.document import Section
from fusionbench.report.findings.anytime import anytime_predictions
from fusionbench.report.findings.external import external_sections
from fusionbench.report.findings.fusion import did_fusion_help
from fusionbench.report.findings.missing import missing_modalities
from fusionbench.report.findings.pooled import pooled_sections
from fusionbench.report.findings.variants import variant_effects

Lock = Mapping[str, Any]
SectionMaker = Callable[[Analysis, Lock], Iterable[Section]]
"""From stored results and the lock to sections, or to none where they do not apply."""

BUILTIN: tuple[SectionMaker, ...] = (
    pooled_sections,
    external_sections,
    did_fusion_help,
    missing_modalities,
    anytime_predictions,
    variant_effects,
)

FOLDED = ("modalities", "variant")
"""Columns that are written once, below the heading, where they are equal in every line."""


def findings(analysis: Analysis, lock: Lock, registry: Registry) -> list[Section]:
    """The sections that every report has, then those of the plugins, in order."""
    sections = [section.folded(*FOLDED) for make in BUILTIN for section in make(analysis, lock)]
    for name, (make, plugin) in registry.found.get("findings", {}).items():
        with guarded(f"writing section {name} of plugin {plugin}", registry.note):
            sections += _of_plugin(name, plugin, make, analysis, lock)
    return sections


def _of_plugin(name: str, plugin: str, make: SectionMaker, analysis: Analysis, lock: Lock) -> list[Section]:
    """The sections of a plugin's function; where it fails, one that says so in a line."""
    try:
        return [section.folded(*FOLDED) for section in make(analysis, lock)]
    # A plugin is third-party code and may fail in any way; the rest of the report is not to be lost with it.
    except Exception as error:  # noqa: BLE001
        reason = f"{type(error).__name__}: {error}".replace("\n", " ")
        return [Section(2, name, notes=(f"plugin {plugin!r} failed to write this section: {reason}",))]
