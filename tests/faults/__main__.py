"""The fault report: `python -m tests.faults` writes results/published/faults.md.

1. 200 cells on a local Ray of 2 workers, one in five of which raises, is killed, crashes, runs out of memory or hangs.
2. 200 healthy cells whose driver is killed at 20 random moments, with Ray and with `serial`, each time resumed.
3. 400 trivial cells with `serial`: what the harness costs, and whether it grows.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from fusionbench.core.environment import machine, packages
from tests.faults.cost import cost
from tests.faults.watching import ATTEMPTS, PLUGIN, REASONS, Running, begun, gone, records, same_results, seed_of

TO = Path(__file__).parents[2] / "results/published/faults.md"
KILLS = 20
CELLS = 200


def injected(folder: Path) -> tuple[list[str], bool]:
    """Part 1: every healthy cell finishes, every faulty one has its reason, none is run more often than it may."""
    sys.path.insert(0, str(PLUGIN))
    from fusionbench_faults.models import FAULTS, fault_of

    log = folder / "fits.txt"
    args = ("run", "faults-200", "--no-track", "-j", "2", "--timeout", "5s")
    run = Running(args, folder, {"FAULTS_LOG": str(log)})
    status = run.end(1800)
    seconds = time.monotonic() - run.began
    stored, fits = records(folder / "results/faults-200"), begun(log)
    cells, right, wrong = Counter[str](), Counter[str](), []
    for key, record in stored.items():
        seed, said = seed_of(record), f"{record['status']} {record['reason']}"
        fault = fault_of(seed, 0.2)
        status_right = record["status"] == ("failed" if fault else "ok")
        fine = status_right and REASONS.get(fault, "") in said and fits[seed] == ATTEMPTS[fault]
        cells[fault] += 1
        right[fault] += fine
        if not fine:
            wrong.append(f"- WRONG: {key} ({fault or 'healthy'}): {said}, {fits[seed]} fits")
    left = list((folder / "results/faults-200/attempts").iterdir())
    fine = not wrong and not left and len(stored) == CELLS and status == 1
    lines = [
        f"`fusionbench {' '.join(args)}`: {len(stored)} of {CELLS} cells have a result, exit status {status}, "
        f"{seconds:.0f} s.",
        "",
        "| fault | cells | with the right status, reason and number of attempts |",
        "|---|---|---|",
        *(f"| {fault or 'none'} | {cells[fault]} | {right[fault]} |" for fault in ("", *FAULTS)),
        *wrong,
    ]
    return lines, fine


def killed(folder: Path, executor: tuple[str, ...], rng: random.Random) -> tuple[list[str], bool]:
    """Part 2: an undisturbed run, and one whose driver is killed at random moments."""
    args = ("run", "faults-none", "--no-track", "--retries", "100", *executor)
    calm, disturbed = folder / "calm", folder / "disturbed"
    run = Running(args, calm)
    run.wait_for("[1/", timeout=600)
    first = time.monotonic()
    assert run.end(1800) == 0
    whole, computing = time.monotonic() - run.began, time.monotonic() - first
    span = computing / KILLS  # half a part of the work on average, so that the run outlasts the kills
    orphans, cells = 0, []
    for _ in range(KILLS):
        run = Running(args, disturbed)
        # Some while it starts; most while cells are computed, so that there is something to lose.
        run.wait_for(" to compute" if rng.random() < 0.25 else "[1/", timeout=600)
        time.sleep(rng.uniform(0, span))
        if run.process.poll() is not None:
            break
        orphans += not gone(run.kill())
        cells.append(len(records(disturbed / "results/faults-none")))
    kills = len(cells)
    status = Running(args, disturbed).end(1800)
    differing = same_results(calm / "results/faults-none", disturbed / "results/faults-none")
    left = list((disturbed / "results/faults-none/attempts").iterdir())
    fine = not differing and not left and not orphans and status == 0 and kills == KILLS
    lines = [
        f"`fusionbench {' '.join(args)}`: {kills} kills; finished cells after each: {', '.join(map(str, cells))}.",
        f"Files that differ from the undisturbed run's: {', '.join(differing) or 'none'}. Kills after which a process "
        f"was left behind: {orphans}. Markers left: {len(left)}. Undisturbed: {whole:.0f} s.",
    ]
    return lines, fine


PARTS: dict[str, tuple[str, Callable[[Path, int], tuple[list[str], bool]]]] = {
    "injected": ("Faults injected in one cell of five", lambda folder, seed: injected(folder)),
    "ray": (
        f"The driver killed {KILLS} times: Ray, 2 workers",
        lambda folder, seed: killed(folder, ("-j", "2"), random.Random(seed)),
    ),
    "serial": (
        f"The driver killed {KILLS} times: serial",
        lambda folder, seed: killed(folder, (), random.Random(seed)),
    ),
    "cost": ("What the harness costs", lambda folder, seed: cost(folder)),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--to", type=Path, default=TO)
    parser.add_argument("--only", choices=PARTS, help="this part; the others stay as the report has them")
    args = parser.parse_args()
    about, versions = machine(), packages()
    where = f"{about['system']}, {about['cores']} cores, {about['memory_gib']} GiB, Python {about['python']}"
    sections = {title: "" for title, _ in PARTS.values()}
    if args.only:
        sections |= _read(args.to)
    sound = True
    for title, part in [PARTS[args.only]] if args.only else PARTS.values():
        with tempfile.TemporaryDirectory() as folder:
            lines, fine = part(Path(folder) / "run", args.seed)
        sections[title] = "\n".join([f"{'As it should be.' if fine else 'NOT AS IT SHOULD BE.'}", "", *lines])
        sound &= fine
        text = [f"# Faults\n\nWritten by `python -m tests.faults`. Machine: {where}, torch {versions['torch']}."]
        text += [f"## {title}\n\n{body}" for title, body in sections.items() if body]
        args.to.write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print(args.to.read_text(encoding="utf-8"))
    return int(not sound)


def _read(path: Path) -> dict[str, str]:
    """The sections of a report."""
    if not path.exists():
        return {}
    found = (part.partition("\n") for part in path.read_text(encoding="utf-8").split("\n## ")[1:])
    return {title: body.strip() for title, _, body in found}


if __name__ == "__main__":
    sys.exit(main())
