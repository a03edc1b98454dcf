"""Check that what a model has prepared before training depends on the training cases and the settings alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fusionbench.core.errors import PluginError
from fusionbench.core.types import CaseSet
from fusionbench.data.preparations import FittedPreparation
from fusionbench.testing.conformance.check import Checklist, Failure, Skipped
from fusionbench.testing.conformance.model_basics import unlike_arrays
from fusionbench.testing.conformance.samples import with_half_the_data
from fusionbench.testing.conformance.trials import ModelSubject, Trial, compute_state

CHECKS: Checklist[ModelSubject] = Checklist()
TRIED = 20
"""Test cases whose tokens are looked at."""


@CHECKS.add(
    "prepares",
    "`prepare` reads its training cases alone and gives the same arrays again; the tokens of a case are the same "
    "whichever cases came before.",
    cause="a generator that `ctx.seed` does not seed, cases kept from a fit, or counts kept from one case to the next.",
    needs=("fits",),
)
def prepares(subject: ModelSubject) -> None:
    trials = [trial for trial in subject.trials if trial.fitted.context.preparations]
    if not trials:
        raise Skipped("it has nothing prepared before training")
    for trial in trials:
        for made in trial.fitted.context.preparations:
            _check_state(trial, made)
            _check_tokens(trial, made)


def _check_state(trial: Trial, made: FittedPreparation) -> None:
    try:
        # On other cases in between: what was kept of the fit before shows.
        compute_state(made.preparation, with_half_the_data(trial.sample))
        again = compute_state(made.preparation, trial.sample)
    except PluginError as error:
        raise Failure(f"on {trial.label}, {error}") from error
    if unlike := unlike_arrays(made.state, again.state):
        raise Failure(f"on {trial.label}, {made.who} made anew differs in {', '.join(unlike[:3])}")


def _check_tokens(trial: Trial, made: FittedPreparation) -> None:
    """Of the first test cases, in their order and in the reverse one."""
    cases = trial.test.take(range(TRIED))
    forth, back = (_tokens(trial, made, cases, order) for order in (range(TRIED), range(TRIED - 1, -1, -1)))
    for i, (one, other) in enumerate(zip(forth, reversed(back), strict=True)):
        for name in one:
            if one[name].shape != other[name].shape or not torch.equal(one[name], other[name]):
                raise Failure(
                    f"on {trial.label}, {made.who} gives other tokens of {name!r} for the case at {i} when it is asked "
                    "after others"
                )


def _tokens(
    trial: Trial, made: FittedPreparation, cases: CaseSet, order: Sequence[int]
) -> list[dict[str, torch.Tensor]]:
    parts = trial.fitted.sample.preprocessor.parts
    found = []
    for i in order:
        case = cases.cases[i]
        of_case = {n: made.tokens(n, parts[n].bag(case), f"case {case.id!r}") for n in made.preparation.reads}
        found.append({name: bag.values for name, bag in of_case.items() if bag is not None})
    return found
