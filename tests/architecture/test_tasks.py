"""What depends on the kind of endpoint stands in `fusionbench/tasks`; who else asks for it is counted."""

from __future__ import annotations

import re
from pathlib import Path

CORE = Path(__file__).parents[2] / "fusionbench"
ASKS = re.compile(
    r"isinstance\([^)]*\b(?:ClassTargets?|SurvivalTargets?|ClassPrediction|SurvivalPrediction)\b"
    r"|\bif (?:not )?[\w.]*\bclasses\b|\btask(?:\.kind)? [!=]= \"|\bkind [!=]= \"(?:survival|binary|multiclass)"
)
OWN = ("tasks/", "core/endpoints.py", "testing/", "report/figures/", "builtin/")
"""Where it may be asked: the tasks themselves, checks of plugins, and figures, metrics and cohorts of one kind."""
ELSEWHERE = {
    "data/cohort.py": "cases without a class are left out, cases without follow-up are refused",
    "data/fingerprint.py": "follow-up is rounded before it is hashed",
    "data/inspection/": "follow-up is looked at, and counted",
    "execution/evaluate.py": "curves are stored at the model's own times",
    "execution/run_cell.py": "degenerate risks are named",
    "report/": "follow-up and classes make pairs; words",
    "results/": "columns of stored targets and predictions",
    "suites/plan.py": "the horizon is one of follow-up; classes are part of a key",
    "suites/lock.py": "classes are written down",
    "tools/audit/": "words; time bins are of follow-up",
    "tools/explain/": "the score that is explained: the risk, or the log odds of a class",
    "tools/rescore.py": "curves of stored predictions",
}
"""Part of the core to what it asks the kind for."""


def askers() -> dict[str, int]:
    """Module outside of `OWN` to how often it asks."""
    found = {}
    for path in sorted(CORE.rglob("*.py")):
        name = path.relative_to(CORE).as_posix()
        if not name.startswith(OWN) and "templates" not in name and (n := len(ASKS.findall(path.read_text("utf-8")))):
            found[name] = n
    return found


def test_who_asks_for_the_kind_of_an_endpoint_says_what_for() -> None:
    unnamed = [name for name in askers() if not any(name.startswith(known) for known in ELSEWHERE)]
    assert unnamed == [], "let `TaskKind` decide it (fusionbench/tasks/interface.py), or name it in ELSEWHERE"
    assert all(any(name.startswith(known) for name in askers()) for known in ELSEWHERE), "nobody asks there any more"


def test_the_training_loop_and_the_executors_do_not_ask() -> None:
    assert not [
        name for name in askers() if name.startswith(("execution/training", "execution/executors", "nn/", "cli/"))
    ]
