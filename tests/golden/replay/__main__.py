"""python -m tests.golden.replay FILE.npz ...: exit 0 where all agree, 1 where one does not, 2 without files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from fusionbench.core.errors import DataError
from tests.golden.replay import Outcome, read, replay


def main(arguments: Sequence[str]) -> int:
    """Replay files and print a line for each; what failed or was left out follows below the table."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python -m tests.golden.replay FILE.npz [FILE.npz ...]", file=sys.stderr)
        return 0 if arguments else 2
    outcomes = {name: _replayed(Path(name)) for name in dict.fromkeys(arguments)}
    rows = [
        (Path(name).name, o.kind, len(o.comparisons), f"{o.largest:.1e}", f"{o.tolerance:.0e}", _verdict(o))
        for name, o in outcomes.items()
    ]
    header = ["file", "kind", "comparisons", "largest relative error", "allowed", "verdict"]
    print(tabulate(rows, headers=header, tablefmt="simple", disable_numparse=True))
    for name, outcome in outcomes.items():
        for line in (*outcome.failures, *_remarks(outcome)):
            print(f"{name}: {line}")
    failed = sum(not o.passed for o in outcomes.values())
    print(f"{len(outcomes) - failed} of {len(outcomes)} files agree")
    return 1 if failed else 0


def _replayed(path: Path) -> Outcome:
    try:
        return replay(read(path))
    except DataError as error:
        return Outcome("unreadable", reason=str(error).removeprefix(f"{path}: "))


def _verdict(outcome: Outcome) -> str:
    return "pass" if outcome.passed else "FAIL"


def _remarks(outcome: Outcome) -> list[str]:
    lines = []
    partly = [f"{c.name} {c.left_out} of {c.of}" for c in outcome.comparisons if c.left_out]
    if partly or outcome.empty:
        whole = [f"{name} (all)" for name in outcome.empty]
        lines.append(f"values left out, since the reference is NaN or inf there: {', '.join([*partly, *whole])}")
    if outcome.not_compared:
        lines.append(f"not compared, since nothing here corresponds to it: {', '.join(outcome.not_compared)}")
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
