"""The rules, each a function from what was written to one line."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fusionbench.core.endpoints import followed
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.plural import plural
from fusionbench.data.patterns import MNAR, parse_pattern
from fusionbench.data.splits import fold_hash
from fusionbench.execution.run_cell import FEW_SCORES
from fusionbench.results.audit_verdict import Finding, Line, verdict
from fusionbench.suites.cell import ORACLE
from fusionbench.survival import time_bins
from fusionbench.tools.audit.evidence import Written

if TYPE_CHECKING:
    from fusionbench.data.cohort import Cohort
    from fusionbench.suites.cell import Cell

Cohorts = Mapping[tuple[str, str], "Cohort"]


def cohort_of(cohorts: Cohorts, cell: Cell) -> Cohort:
    """A cell's cohort."""
    return cohorts[str(cell.dataset), cell.unit]


def ledgers(cells: Sequence[Written]) -> Line:
    """Fitted preprocessing has seen training ids only."""
    findings = [
        Finding(
            f"{written.cell.label}: {name} saw {min(foreign)!r}",
            declared=written.condition if written.cell.protocol.fitted_on == "cohort" else "",
        )
        for written in cells
        for name, ledger in written.ledgers.items()
        if (foreign := ledger - set(written.cell.split.train))
    ]
    shares = {
        w.condition: f"{_share(w.ledgers, w.cell.split.test):.1%} of test rows were seen when preprocessing was fitted"
        for w in cells
    }
    counted = f"{sum(len(w.ledgers) for w in cells)} fitted states"
    return verdict("fitted states saw training cases only", findings, counted, shares)


def prepared(cells: Sequence[Written]) -> Line:
    """What was prepared for a model before training, such as prototypes, has seen training ids only."""
    findings = [
        Finding(f"{written.cell.label}: {name} saw {min(foreign)!r}")
        for written in cells
        for name, ledger in written.prepared.items()
        if (foreign := ledger - set(written.cell.split.train))
    ]
    counted = f"{sum(len(w.prepared) for w in cells)} preparations"
    return verdict("preparations saw training cases only", findings, counted)


def _share(of: Mapping[str, frozenset[str]], test: Sequence[str]) -> float:
    seen = frozenset[str]().union(*of.values())
    return float(np.mean([i in seen for i in test]))


def may_have_bins(cells: Sequence[Written]) -> bool:
    """Whether some endpoint is survival, whose follow-up is cut into time bins; so it is where there is no cell."""
    return not cells or not all(written.cell.task.classes for written in cells)


def bins(cells: Sequence[Written], cohorts: Cohorts) -> Line:
    """Time bins follow from the training cases' follow-up alone: the quartiles are taken again."""
    findings, counted = [], 0
    for written in cells:
        if written.edges is None:
            continue
        counted += 1
        if not np.allclose(written.edges, _edges(written, cohorts), rtol=1e-9, atol=0):
            asked = written.cell.protocol.bins_from == "cohort"
            same = asked and np.allclose(written.edges, _edges(written, cohorts, everyone=True), rtol=1e-9, atol=0)
            shown = ", ".join(f"{edge:.2f}" for edge in written.edges)
            findings.append(Finding(f"{written.cell.label}: edges {shown}", written.condition if same else ""))
    shares = {w.condition: "edges from the whole cohort's follow-up, test cases included" for w in cells}
    return verdict("time bins came from training cases only", findings, plural(counted, "cell"), shares)


def _edges(written: Written, cohorts: Cohorts, *, everyone: bool = False) -> NDArray[np.float64]:
    targets = cohort_of(cohorts, written.cell).targets
    ids = tuple(targets) if everyone else written.cell.split.train
    time, event = (np.array([getattr(followed(targets[i]), name) for i in ids]) for name in ("time", "event"))
    edges = np.array(time_bins(time, event, written.cell.protocol.bins))
    return edges if written.edges is not None and len(edges) == len(written.edges) else np.array([np.nan])


def groups(cells: Sequence[Written], cohorts: Cohorts) -> Line:
    """No patient (or site) was on two of the sides: fitted on, predicted as validation, predicted as test."""
    of = {known: {case.id: case.group for case in cohort.cases} for known, cohort in cohorts.items()}
    findings = []
    for written in cells:
        known = of[str(written.cell.dataset), written.cell.unit]
        for problem in _on_two_sides(written, known):
            declared = written.condition if _switched_off(written, problem) else ""
            findings.append(Finding(f"{written.cell.label}: {problem}", declared))
    shares = {place: f"{share:.1%} of test rows share a patient with train" for place, share in _astride(cells, of)}
    return verdict("groups stand on one side of a split", findings, plural(len(cells), "cell"), shares)


def _switched_off(written: Written, problem: str) -> bool:
    """Random splits ignore groups; a case that is not of the cohort is a breach under any protocol."""
    return written.cell.protocol.fold_source == "random" and "not of the cohort" not in problem


def _on_two_sides(written: Written, group: Mapping[str, str]) -> Iterator[str]:
    """At most one problem of a cell."""
    fitted = frozenset[str]().union(*written.ledgers.values())
    if written.cell.protocol.fitted_on == "cohort":
        fitted = frozenset(written.cell.split.train)  # whom the preprocessing saw is another rule's business
    parts = {
        "preprocessing": fitted,
        "validation": written.validated,
        "test": frozenset(i for ids in written.tested.values() for i in ids),
    }
    side_of: dict[str, str] = {}
    for side, ids in parts.items():
        for i in sorted(ids):
            if i not in group:
                yield f"case {i!r} of {side} is not of the cohort"
                return
            before = side_of.setdefault(group[i], side)
            if before != side:
                yield f"group {group[i]!r} is in {before} and in {side}"
                return


def _astride(cells: Sequence[Written], of: Mapping[tuple[str, str], Mapping[str, str]]) -> Iterator[tuple[str, float]]:
    """(place, mean over folds of the share of test rows whose group has a row in train)."""
    shares: dict[str, dict[Hashable, float]] = defaultdict(dict)
    for written in cells:
        cell = written.cell
        group = of[str(cell.dataset), cell.unit]
        train = {group[i] for i in cell.split.train}
        shares[written.condition][cell.repeat, cell.fold] = float(np.mean([group[i] in train for i in cell.split.test]))
    yield from ((place, float(np.mean(list(found.values())))) for place, found in shares.items())


def tested_once(cells: Sequence[Written]) -> Line:
    """Within a repeat each case stands in at most one test fold; random and published splits may declare otherwise."""
    seen: dict[tuple[str, int], dict[int, tuple[str, ...]]] = defaultdict(dict)
    given = {w.condition: w.cell.protocol.fold_source != "generated" for w in cells}
    for written in cells:
        seen[written.condition, written.cell.repeat][written.cell.fold] = written.cell.split.test
    findings, shares = [], {}
    for (place, repeat), folds in seen.items():
        counts = Counter(i for test in folds.values() for i in test)
        often = sorted(i for i, n in counts.items() if n > 1)
        if often:
            findings.append(
                Finding(
                    f"{place} repeat {repeat}: {often[0]!r} is in {plural(counts[often[0]], 'fold')}",
                    place if given[place] else "",
                )
            )
            shares[place] = f"{len(often) / len(counts):.1%} of the rows tested are in more than one test fold"
    return verdict("test folds of a repeat do not overlap", findings, f"{len(seen)} sets of folds", shares)


def kept_weights(cells: Sequence[Written]) -> Line:
    """What is tested are the weights of the best validation epoch."""
    trained = [w for w in cells if w.kept_epoch is not None and w.best_epoch is not None]
    findings = [
        Finding(
            f"{w.cell.label}: kept epoch {w.kept_epoch}, the best on validation is {w.best_epoch}",
            "" if w.cell.recipe.restore_best else w.condition,
        )
        for w in trained
        if w.kept_epoch != w.best_epoch
    ]
    return verdict(
        "the weights of the best validation epoch were tested", findings, plural(len(trained), "trained network")
    )


def agree(
    rule: str,
    cells: Sequence[Written],
    place: Callable[[Written], Hashable],
    seen: Callable[[Written], Hashable],
    planned: Callable[[Written], Hashable] | None = None,
) -> Line:
    """Cells of one place recorded the same, and what was planned for them."""
    found: dict[Hashable, dict[Hashable, str]] = {}
    for written in cells:
        at = found.setdefault(place(written), {})
        if planned is not None:
            at.setdefault(planned(written), "the plan")
        at.setdefault(seen(written), written.cell.label)
    odd = [list(at.values()) for at in found.values() if len(at) > 1]
    kinds = "folds" if place is fold else "folds of modality sets"
    return verdict(rule, [Finding(f"{who[1]} differs from {who[0]}") for who in odd], f"{len(found)} {kinds}")


def fold(written: Written) -> Hashable:
    """Dataset, variant, repeat and fold of a cell."""
    cell = written.cell
    return str(cell.dataset), cell.variant, cell.repeat, cell.fold


def mask_place(written: Written) -> Hashable:
    """Where masks must be the same; the true hazards are asked for the pattern `full` only."""
    return fold(written), written.cell.modalities, written.cell.patterns


def planned_split(written: Written) -> Hashable:
    """Hash of the fold as the plan has it."""
    return fold_hash(written.cell.split)


def planned_masks(written: Written) -> Hashable:
    """Hash of the test masks as the plan has them."""
    return str(written.cell.ingredients["masks"])


def hidden_by_outcome(cells: Sequence[Written]) -> Line | None:
    """What is hidden does not depend on the outcome; None where no pattern asks that it does."""
    findings, asked = [], defaultdict[str, dict[str, None]](dict)
    for written in cells:
        patterns = _of_outcome(written.cell)
        asked[written.condition] |= dict.fromkeys(patterns)
        if patterns:
            findings.append(Finding(f"{written.cell.label}: {', '.join(patterns)}", written.condition))
    shares = {condition: f"asked for by {', '.join(patterns)}" for condition, patterns in asked.items()}
    rule = "what is hidden from a case does not depend on its outcome"
    return verdict(rule, findings, plural(len(cells), "cell"), shares) if findings else None


def _of_outcome(cell: Cell) -> list[str]:
    """Patterns of a cell under which the outcome decides from whom a modality is hidden."""
    trained = cell.model.name != ORACLE and len(cell.masked_over or cell.modalities) > 1
    asked = {"at test": cell.patterns, "in training": (cell.protocol.train_pattern,) if trained else ()}
    return [f"{p} {when}" for when, patterns in asked.items() for p in patterns if parse_pattern(p).kind == MNAR]


def coverage(cells: Sequence[Written]) -> Line:
    """Every test case of a fold has one prediction under every mask, and no other case has any."""
    findings = [
        Finding(f"{written.cell.label}: pattern {pattern}", unit=written.cell.label)
        for written in cells
        for pattern in dict.fromkeys((*written.cell.patterns, *(name for name, _ in written.tested)))
        if not _covered(written, pattern)
    ]
    counted = f"{plural(len(cells), 'cell')} with {plural(sum(len(w.tested) for w in cells), 'masked fold')}"
    return verdict("exactly the test cases were predicted", findings, counted)


def _covered(written: Written, pattern: str) -> bool:
    draws = [ids for (name, _), ids in written.tested.items() if name == pattern]
    return bool(draws) and all(ids == tuple(sorted(written.cell.split.test)) for ids in draws)


def targets_in_training(cells: Sequence[Written]) -> Line:
    """Modules that declare it were given the outcomes of training batches, which the harness gives nowhere else."""
    findings = [Finding(w.cell.label, w.condition) for w in cells if w.reads_targets]
    counts = Counter(finding.declared for finding in findings)
    shares = {
        place: f"{plural(n, 'network')} read the outcomes of training cases, and of no others"
        for place, n in counts.items()
    }
    rule = "no network was given outcomes beside the loss"
    return verdict(rule, findings, plural(len(cells), "cell"), shares)


def degenerate(cells: Sequence[Written]) -> Line:
    """A fold's risks, or probabilities of a class, take at least three values.

    A model trained by the loop that does not has learnt nothing: a breach. Declared, with their number: a sparse linear
    model may rest on one binary column; a cohort's true hazards may take two values; and a clamped loss has no gradient
    where every case is saturated (S is 0 or 1 all along), so that a network which diverged stays so.
    """
    findings = [Finding(w.cell.label, _may_be_degenerate(w)) for w in cells if w.distinct < FEW_SCORES]
    scores = dict.fromkeys("probabilities" if w.cell.task.classes else "risks" for w in cells) or ["risks"]
    return verdict(
        f"at least {FEW_SCORES} distinct {' or '.join(scores)} in a fold", findings, plural(len(cells), "cell")
    )


def installed(models: Sequence[PluginRef], uninstalled: Mapping[str, str]) -> Line:
    """Rows of models that cannot be loaded cannot be planned, so that the other rules have not looked at them."""
    findings = [Finding(f"{model}, brought by {source}", model) for model, source in uninstalled.items()]
    shares = {model: f"brought by {source}, which is gone or broken" for model, source in uninstalled.items()}
    counted = plural(len(models) + len(uninstalled), "model")
    return verdict("every model can be loaded, so that its rows could be audited", findings, counted, shares)


def _may_be_degenerate(written: Written) -> str:
    if written.kept_epoch is None:
        return "none of a trained network"
    clamp = written.cell.recipe.clamp
    return f"{written.condition}, saturated under a loss clamped at {clamp:g}" if clamp and written.saturated else ""
