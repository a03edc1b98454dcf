"""Every speed script in turn, on an idle machine: `python -m tests.speed` writes results/published/speed.md.

`--only healnet bags` runs some and prints them; the file is left as it is.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil

from fusionbench.core.environment import machine, packages

ROOT = Path(__file__).parents[2]
TO = ROOT / "results/published/speed.md"
CHART = "speed"
SCRIPTS = {
    "healnet": ("HEALNet's step against the plain formulation", ("--runs", "5")),
    "floors": ("What of HEALNet's step is products", ("--runs", "5")),
    "bag_models": ("Porpoise and MCAT against the plain formulation", ("--runs", "5")),
    "fusion_models": ("Fusion models against the plain formulation", ("--runs", "5")),
    "bags": ("Reading bags", ("--runs", "5")),
    "curves": ("Cost as work grows", ("--runs", "3", "--out", f"results/published/{CHART}")),
}
"""Script -> its heading and its arguments here."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(SCRIPTS))
    args = parser.parse_args()
    load, about = psutil.getloadavg()[0], machine()
    where = f"{about['system']}, {about['cores']} cores, {about['memory_gib']} GiB, Python {about['python']}"
    versions = ", ".join(f"{name} {version}" for name, version in packages().items())
    parts = [
        "# Speed",
        f"{datetime.now(UTC):%Y-%m-%d}, {where}; {versions}. Load average at the start: {load:.2f}.\n"
        "`python -m tests.speed` made this file; each section has its own command. Seconds are by the clock unless it "
        "says CPU; ratios are medians of the rounds' own ratios, the ways taking turns.",
    ]
    for name in args.only or SCRIPTS:
        heading, given = SCRIPTS[name]
        found = _said(name, given)
        print(found, flush=True)
        parts.append(f"## {heading}\n\n`python -m {' '.join((f'tests.speed.{name}', *given))}`\n\n{found}")
    if not args.only:
        parts[-1] += f"\n\n![Seconds a step against how many, on log-log axes]({CHART}/curves.svg)"
        TO.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _said(name: str, given: tuple[str, ...]) -> str:
    command = [sys.executable, "-m", f"tests.speed.{name}", *given]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return ended.stdout.strip()


if __name__ == "__main__":
    main()
