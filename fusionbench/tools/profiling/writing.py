"""results/<suite>/profile/<cell>/: the table, the numbers and the chart of a profile."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from fusionbench.core.errors import ResultsError
from fusionbench.report.figures.export import write_figures
from fusionbench.results.store import Store
from fusionbench.suites.suite import BASE
from fusionbench.tools.explain.places import safe
from fusionbench.tools.profiling.figure import drawn
from fusionbench.tools.profiling.measuring import OF_THE_MODEL, STEPS, Profile


@dataclass(frozen=True)
class Profiled:
    """A profile and the folder that it was written to."""

    profile: Profile
    folder: Path


def write(profile: Profile, store: Store) -> Profiled:
    """profile.md, profile.json, profile.svg and profile.png; what an earlier profile of the cell left is replaced.

    Raises:
        ResultsError: they cannot be written.
    """
    place = f"profile/{_name(profile)}"
    folder = store.folder / place
    picture = drawn(profile)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        list(write_figures([picture], store, place))
        store.write_text(f"{place}/profile.md", markdown(profile, picture.caption))
        store.write_text(f"{place}/profile.json", json.dumps(as_json(profile), indent=1))
    except OSError as error:
        raise ResultsError(f"{folder} cannot be written: {error.strerror or error}; choose with --out") from error
    return Profiled(profile, folder)


def _name(profile: Profile) -> str:
    cell = profile.cell
    parts = [str(cell.model), str(cell.dataset), "+".join(cell.modalities)]
    parts += [cell.variant] if cell.variant != BASE else []
    return safe("-".join([*parts, f"repeat{cell.repeat}", f"fold{cell.fold}"]))


def header(profile: Profile) -> list[str]:
    gpu = ["GPU MiB"] if _on_gpu(profile) else []
    return ["step", "seconds", "%", "CPU s", "times", "peak MiB", *gpu, "what it is"]


def lines(profile: Profile) -> list[Sequence[str]]:
    """The table's lines, the sum last."""
    made: list[Sequence[str]] = []
    for name, spent in profile.spent.items():
        gpu = [f"{spent.gpu_peak_mib:.0f}"] if _on_gpu(profile) else []
        share = f"{100 * spent.seconds / profile.seconds:.1f}"
        numbers = [f"{spent.seconds:.3f}", share, f"{spent.cpu_seconds:.3f}", str(spent.entered)]
        made.append([name, *numbers, f"{spent.peak_mib:.0f}", *gpu, STEPS[name]])
    every = profile.spent.values()
    gpu = [f"{max(s.gpu_peak_mib for s in every):.0f}"] if _on_gpu(profile) else []
    peak = f"{max(s.peak_mib for s in every):.0f}"
    made.append(["cell", f"{profile.seconds:.3f}", "100", f"{profile.cpu_seconds:.3f}", "1", peak, *gpu, ""])
    return made


def summary(profile: Profile) -> list[str]:
    """What stands below the table."""
    threads = profile.about["threads"]
    return [
        f"harness (all but {', '.join(name for name in STEPS if name in OF_THE_MODEL)}): {100 * profile.harness:.1f} % "
        f"of the cell's time, {100 * profile.harness_cpu:.1f} % of its CPU time",
        f"{profile.epochs} epochs on {profile.about['device']}, {threads} thread{'s' if threads != 1 else ''}; "
        f"before that, once a process, the cohort was read and planned in {profile.before:.1f} s",
    ]


def markdown(profile: Profile, caption: str) -> str:
    table = tabulate(lines(profile), header(profile), tablefmt="github", disable_numparse=True)
    notes = "\n".join(f"- {line}" for line in summary(profile))
    return f"# Profile: {profile.cell.label}\n\n{table}\n\n{notes}\n\n![profile](profile.svg)\n\n{caption}\n"


def as_json(profile: Profile) -> dict[str, Any]:
    """Plain values, full precision."""
    return {
        "cell": profile.cell.place,
        "key": profile.cell.key,
        "seconds": profile.seconds,
        "cpu_seconds": profile.cpu_seconds,
        "harness_share": profile.harness,
        "harness_cpu_share": profile.harness_cpu,
        "epochs": profile.epochs,
        "before_seconds": profile.before,
        "steps": {name: asdict(spent) for name, spent in profile.spent.items()},
        "environment": dict(profile.about),
    }


def _on_gpu(profile: Profile) -> bool:
    return str(profile.about["device"]).startswith("cuda")
