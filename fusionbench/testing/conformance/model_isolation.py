"""Checks that a model knows what it is given and no more: no ids, no cohort, no other fit, no process, no file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from fusionbench.core.endpoints import ClassTargets, follow_up
from fusionbench.core.registry import Registry
from fusionbench.core.types import CaseSet
from fusionbench.data.downloads import data_home
from fusionbench.testing.conformance.check import Checklist, Failure
from fusionbench.testing.conformance.model_basics import check_same, unlike_arrays
from fusionbench.testing.conformance.trials import BRIEF, ModelSubject, as_ranking, largest_difference

CHECKS: Checklist[ModelSubject] = Checklist()
REPEATS = ("predictions", "deterministic")
APART = ("restores", "pickles", "independent-fits")
TRIED = 24
"""Training cases that are renamed, and ids that are taken from each cohort."""
Follow = Mapping[str, tuple[float, bool]]


@CHECKS.add(
    "ids-not-read",
    "Cases that are renamed after the fit, also to ids of installed cohorts, are given the same risks.",
    cause="outcomes or risks kept by case id: of the training cases, in a module, in a file, or out of a dataset.",
    needs=(*REPEATS, "copes-with-missing"),
)
def ids_not_read(subject: ModelSubject) -> None:
    known = _known_ids(subject.registry, subject.ref.name)
    for trial in subject.trials:
        for cases, what in ((trial.fitted.sample.train.take(range(TRIED)), "training"), (trial.test, "test")):
            ids = (known + [f"renamed-{i}" for i in range(len(cases))])[: len(cases)]
            difference = largest_difference(trial.fitted.risk(_renamed(cases, ids)), trial.fitted.risk(cases))
            if difference > 0:
                raise Failure(
                    f"on {trial.label}, the risk of a {what} case changes by {difference:.3g} when the cases are "
                    f"called {ids[0]!r}, ..."
                )


def _renamed(cases: CaseSet, ids: Sequence[str]) -> CaseSet:
    renamed = (replace(case, id=id_, group=id_) for case, id_ in zip(cases.cases, ids, strict=True))
    hidden = {id_: cases.hidden[case.id] for case, id_ in zip(cases.cases, ids, strict=True) if case.id in cases.hidden}
    return replace(cases, cases=tuple(renamed), hidden=hidden)


def _known_ids(registry: Registry, model: str) -> list[str]:
    """Some case ids of each cohort that needs no files, or that the model's plugin brings and whose files are here."""
    owner = registry.owner("models", model).name
    ids: list[list[str]] = []
    for cls, plugin in registry.found.get("datasets", {}).values():
        if cls.own_files:
            continue
        try:
            dataset = cls(cls.Options(), data_home())
            if plugin == owner or not dataset.sources():
                ids.append([case.id for case in dataset.cases()[:TRIED]])
        except Exception:  # noqa: BLE001 - a cohort that cannot be read is what checks of datasets are for
            continue
    return [id_ for row in zip(*ids, strict=False) for id_ in row]


@CHECKS.add(
    "cohorts-not-read",
    "Neither `fit`, `restore` nor `predict` opens a dataset.",
    cause="features or follow-up looked up in the cohort: a model is given all that it may know.",
    needs=("ids-not-read", "other-process"),
)
def cohorts_not_read(subject: ModelSubject) -> None:
    if subject.elsewhere.datasets:
        raise Failure(f"the model opened {', '.join(sorted({*subject.elsewhere.datasets}))}")


@CHECKS.add(
    "trains-on-training-cases",
    "`ctx.train` is given the fold's training cases with their own targets, and validates on validation cases.",
    cause="validation cases added to the training set, or targets that were replaced or moved to other cases.",
    needs=("fits",),
)
def trains_on_training_cases(subject: ModelSubject) -> None:
    for trial in subject.trials:
        sample = trial.fitted.sample
        train, val = _follow_up(sample.train), _follow_up(sample.val)
        for given, validation in trial.fitted.context.given:
            for cases, allowed, what in ((given, train, "training"), (validation, {**train, **val}, "validation")):
                for problem in _foreign(cases, allowed):
                    raise Failure(f"on {trial.label}, among the {what} cases of ctx.train {problem}")


def _follow_up(cases: CaseSet) -> Follow:
    if cases.targets is None:
        return {}
    if isinstance(cases.targets, ClassTargets):
        return {id_: (float(label), True) for id_, label in zip(cases.ids, cases.targets.label, strict=True)}
    targets = follow_up(cases.targets)
    return dict(zip(cases.ids, zip(targets.time.tolist(), targets.event.tolist(), strict=True), strict=True))


def _foreign(cases: CaseSet, allowed: Follow) -> Iterator[str]:
    given = _follow_up(cases)
    for id_ in cases.ids:
        if id_ not in allowed:
            yield f"is {id_!r}, which is none of the fold's"
        elif id_ in given and given[id_] != allowed[id_]:
            yield f"{id_!r} has the follow-up {given[id_]}, not its own {allowed[id_]}"


@CHECKS.add(
    "independent-fits",
    "A fit is the same before and after a fit on other cases, and a predictor says the same after it.",
    cause="statistics, weights or a cache on the class or the module that are kept from one fit to the next.",
    needs=("restores",),
)
def independent_fits(subject: ModelSubject) -> None:
    for trial in subject.widest():
        first = subject.brief(trial)
        before = first.predict(first.sample.test)
        other = subject.brief(trial, other=True)
        after = first.predict(first.sample.test)
        again = subject.fitter.fit(trial.ref, trial.sample, BRIEF)
        check_same(before, after, f"on {trial.label}, the predictor after a fit on other cases")
        unlike = unlike_arrays(first.predictor.state(), again.predictor.state())
        if unlike:
            raise Failure(f"on {trial.label}, a fit after one on other cases differs in {', '.join(unlike[:3])}")
        check_same(before, again.predict(again.sample.test), f"on {trial.label}, a fit after one on other cases")
        # The state of a choice among members may be the same; what the chosen member says is not.
        if largest_difference(before.risk, other.risk(other.sample.test)) == 0:
            raise Failure(f"on {trial.label}, a fit on other cases of the same ids gives the same risks")


@CHECKS.add(
    "other-process",
    "In another process, with another hash seed and clock, restored weights predict the same and a fit is the same.",
    cause="the order of a set, the time of day, or what `fit` left in a module, a folder or the environment.",
    needs=APART,
)
def other_process(subject: ModelSubject) -> None:
    reply = subject.elsewhere
    if reply.error:
        raise Failure(f"in another process: {' '.join(reply.error.split())}")
    for trial, made in zip(subject.trials, reply.predictions, strict=True):
        check_same(trial.plain, as_ranking(made), f"on {trial.label}, the predictor restored in another process")
    for trial, state in zip(subject.widest(), reply.states, strict=True):
        unlike = unlike_arrays(subject.brief(trial, other=True).predictor.state(), state)
        if unlike:
            raise Failure(f"on {trial.label}, a fit in another process differs in {', '.join(unlike[:3])}")


@CHECKS.add(
    "writes-nothing",
    "Neither `fit`, `restore` nor `predict` writes into the working directory, the home, the data home or the plugin.",
    cause="a checkpoint, a log or a cache with a relative path: what is stored goes through `state`.",
    needs=(*APART, "other-process"),
)
def writes_nothing(subject: ModelSubject) -> None:
    if subject.elsewhere.written:
        raise Failure(f"it wrote {', '.join(subject.elsewhere.written[:3])}")
