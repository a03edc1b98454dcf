"""Checks of a model that every other check rests on: it fits, predicts, says the same again, and can be stored."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusionbench.core.cell_result import CellResult, PatternPrediction
from fusionbench.core.errors import PluginError, SuiteError
from fusionbench.core.plugin_options import validate_options
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.types import CaseSet, SurvivalPrediction
from fusionbench.data.preparations import FittedPreparation
from fusionbench.data.preprocessing import Preprocessor
from fusionbench.execution.fit_context import make_model
from fusionbench.results.store import Store
from fusionbench.suites.own_recipe import recipe_of
from fusionbench.tasks import task_kind
from fusionbench.testing.conformance.check import Checklist, Failure, Skipped, raised
from fusionbench.testing.conformance.samples import as_classes, make_sample, with_loss
from fusionbench.testing.conformance.trials import (
    BRIEF,
    COX,
    Fitted,
    ModelSubject,
    Trial,
    as_ranking,
    largest_difference,
)
from fusionbench.testing.toys import toy_modalities
from fusionbench.tools.tuning.space import check_space

CHECKS: Checklist[ModelSubject] = Checklist()
State = Mapping[str, NDArray[Any]]
PREDICTS = ("predictions",)
REPEATS = ("predictions", "deterministic")


@CHECKS.add(
    "takes-a-modality-set",
    "At least one set of vectors, bags and grids is taken; each other one is refused by `skip` with a reason.",
    cause="`skip` returns a reason for what the model could take, or True in place of words.",
)
def takes_a_modality_set(subject: ModelSubject) -> None:
    for names, said in subject.refused.items():
        if said is not None and not (isinstance(said, str) and said.strip()):
            raise Failure(f"skip said {said!r} of {'+'.join(names)}", "None, or a reason in words a user understands")
    if not subject.trials:
        reasons = "; ".join(f"{'+'.join(names)}: {said}" for names, said in subject.refused.items())
        raise Failure(f"every set was refused ({reasons})")


@CHECKS.add(
    "search-space",
    "Every name of `search_space` is an option or a key of the recipe, and every end and value is accepted.",
    cause="an option was renamed, or its limits are narrower than the space.",
)
def search_space(subject: ModelSubject) -> None:
    try:
        space = make_model(subject.registry, subject.ref).search_space()
        check_space(space, "search_space", subject.ref, subject.registry)
    except Exception as error:
        raise Failure(raised(error)) from error


@CHECKS.add(
    "fits",
    "`fit` returns a Predictor on every set that `skip` takes, also where training cases lack modalities.",
    cause="`skip` lets through what `build` or `fit` cannot take.",
    needs=("takes-a-modality-set",),
)
def fits(subject: ModelSubject) -> None:
    for trial in subject.trials:
        try:
            _ = trial.fitted
        except Failure:
            raise
        except Exception as error:
            raise Failure(f"on {trial.label}, {raised(error)}") from error


def with_own_recipe(subject: ModelSubject) -> PluginRef:
    """The model with its published recipe.

    Raises:
        Skipped: it has none.
    """
    published = subject.ref.with_options({"recipe": "own"})
    try:
        validate_options(subject.registry, "models", published)
    except SuiteError:
        raise Skipped("it has no published recipe: no option `recipe` with the choice `own`") from None
    return published


@CHECKS.add(
    "recipe",
    "Default options change nothing of the suite's recipe; the published one, where there is an option "
    '`recipe="own"`, is accepted and names parameters that are there.',
    cause="`recipe` does not look at the options, a key of `[train]` is misspelt, or a layer was renamed.",
    needs=("fits",),
)
def recipe(subject: ModelSubject) -> None:
    suites = TrainRecipe()
    if recipe_of(subject.registry, subject.ref, suites) is not suites:
        raise Failure("with its default options it changes the suite's recipe")
    published = with_own_recipe(subject)
    own = recipe_of(subject.registry, published, suites)
    if own is suites:
        raise Failure("with recipe=own it changes nothing of the suite's recipe")
    for trial in subject.widest():
        sample, short = with_loss(trial.sample, own.loss), own.model_copy(update={"epochs": 1})
        subject.fitter.fit(published, sample, short, suites=COX if own.loss == "cox" else BRIEF)


@CHECKS.add(
    "labels-not-read",
    "Predictions do not depend on follow-up: neither `cases.targets` nor `Case.target` is read.",
    cause="`predict` uses `cases.targets`, which is None whenever the harness asks.",
    needs=("fits", "prepares"),
)
def labels_not_read(subject: ModelSubject) -> None:
    for trial in subject.trials:
        knowing = _with_targets(trial, flipped=False)
        try:
            blind = trial.fitted.predict(trial.test)
        except Exception as error:
            if _works(trial, knowing):
                raise Failure(f"on {trial.label}, without follow-up {raised(error)}; with it, it predicts") from error
            raise Skipped("it does not predict at all") from error
        if largest_difference(blind.risk, trial.fitted.risk(trial.test)) > 0:
            raise Skipped("asked twice it says two things anyway")
        for cases, whose in ((knowing, "their own"), (_with_targets(trial, flipped=True), "other patients'")):
            difference = largest_difference(blind.risk, trial.fitted.predict(cases).risk)
            if difference > 0:
                raise Failure(f"on {trial.label}, risks differ by {difference:.3g} once {whose} targets are at hand")


def _with_targets(trial: Trial, *, flipped: bool) -> CaseSet:
    """The test cases with their targets, or with those of the cases in reverse order."""
    order = list(range(len(trial.test)))
    outcome = trial.sample.outcome
    rows = order[::-1] if flipped else order
    targets = replace(outcome, time=outcome.time[rows], event=outcome.event[rows], time_bin=outcome.time_bin[rows])
    known = trial.sample.known_test
    cases = tuple(replace(case, target=known[j].target) for case, j in zip(trial.test.cases, rows, strict=True))
    return replace(trial.test, cases=cases, targets=targets)


def _works(trial: Trial, cases: CaseSet) -> bool:
    try:
        trial.fitted.predict(cases)
    except Exception:  # noqa: BLE001 - then follow-up is not what it lacks
        return False
    return True


@CHECKS.add(
    "predictions",
    "`predict` and `predict_validation` give the cases' ids in order and one finite float64 risk each.",
    cause="float32 straight from torch, a shape of (case, 1), a batch order that was not undone, or diverged training.",
    needs=("labels-not-read",),
)
def predictions(subject: ModelSubject) -> None:
    for trial in subject.trials:
        validation = trial.fitted.sample.val.without_targets()
        said = trial.fitted.predictor.predict(trial.test)
        if trial.kind != "survival":
            task_kind(trial.kind).checked(said, trial.test.ids, f"on {trial.label}", trial.sample.task.classes)
        _check_risks(trial.plain, trial.test.ids, f"predict on {trial.label}")
        made = as_ranking(trial.fitted.predictor.predict_validation(validation))
        _check_risks(made, validation.ids, f"predict_validation on {trial.label}")


def _check_risks(made: object, ids: tuple[str, ...], where: str) -> None:
    if not isinstance(made, SurvivalPrediction):
        raise Failure(f"{where} gave {type(made).__name__}", "a fusionbench.SurvivalPrediction")
    if tuple(made.ids) != ids:
        raise Failure(f"{where} gave ids {list(made.ids[:3])}..., asked for {list(ids[:3])}...")
    shape, dtype = np.shape(made.risk), getattr(made.risk, "dtype", type(made.risk))
    if shape != (len(ids),) or dtype != np.float64:
        raise Failure(f"{where} gave risks of shape {shape} and type {dtype}", f"shape ({len(ids)},), type float64")
    bad = np.flatnonzero(~np.isfinite(made.risk))
    if bad.size:
        raise Failure(f"{where} gave risk {made.risk[bad[0]]} for case {ids[bad[0]]!r}")


@CHECKS.add(
    "survival-curves",
    "Where S is given it is float64, within [0, 1], never rises, and stands at positive, ascending months.",
    cause="S is the cumulative hazard, not exp of minus it; or its columns are in the order of another time grid.",
    needs=PREDICTS,
)
def survival_curves(subject: ModelSubject) -> None:
    given = [trial for trial in subject.trials if trial.plain.survival is not None or trial.plain.times is not None]
    if not given:
        raise Skipped("it predicts risks only")
    for trial in given:
        try:
            task_kind("survival").checked(trial.plain, trial.test.ids, f"on {trial.label}")
        except PluginError as error:
            raise Failure(str(error)) from error
        for name, array in (("survival", trial.plain.survival), ("times", trial.plain.times)):
            if array is not None and array.dtype != np.float64:
                raise Failure(f"on {trial.label}, {name} has type {array.dtype}", "float64")


@CHECKS.add(
    "deterministic",
    "Fitted twice under one seed it has the same state, byte for byte; asked twice it says the same.",
    cause="random numbers that are seeded neither by torch's global generator nor by `ctx.seed`; dropout in `predict`.",
    needs=PREDICTS,
)
def deterministic(subject: ModelSubject) -> None:
    for trial in subject.trials:
        difference = largest_difference(trial.plain.risk, trial.fitted.risk(trial.test))
        if difference > 0:
            raise Failure(f"on {trial.label}, the same predictor asked twice differs by {difference:.3g} in risk")
        first, second = _two_fits(subject, trial)
        unlike = unlike_arrays(first, second)
        if unlike:
            raise Failure(f"on {trial.label}, two fits differ in {', '.join(unlike[:3])} ({len(unlike)} arrays)")


def _two_fits(subject: ModelSubject, trial: Trial) -> tuple[State, State]:
    """Short ones where the recipe matters."""
    if trial.fitted.module is None:
        return trial.fitted.predictor.state(), subject.fitter.fit(trial.ref, trial.sample).predictor.state()
    first, second = (subject.fitter.fit(trial.ref, trial.sample, BRIEF) for _ in range(2))
    return first.predictor.state(), second.predictor.state()


def unlike_arrays(first: State, second: State) -> list[str]:
    """Names of the arrays that are not the same in both states, byte for byte."""
    return sorted(name for name in {*first, *second} if _bytes(first, name) != _bytes(second, name))


def _bytes(state: State, name: str) -> tuple[str, tuple[int, ...], bytes]:
    if name not in state:
        return "", (), b""
    array = np.asarray(state[name])
    return str(array.dtype), array.shape, array.tobytes()


@CHECKS.add(
    "restores",
    "State written to safetensors and read back makes a predictor that says exactly the same.",
    cause="`state` leaves out what `predict` uses, or `restore` builds the model with other options.",
    needs=REPEATS,
)
def restores(subject: ModelSubject) -> None:
    for trial in subject.trials:
        stored = _through_the_store(trial.fitted, trial.plain)
        again = subject.fitter.restore(trial.fitted, trial.ref, stored.state).predict(_read_back(trial, stored))
        check_same(trial.plain, as_ranking(again), f"on {trial.label}, the restored predictor")


def _through_the_store(fitted: Fitted, prediction: SurvivalPrediction) -> CellResult:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder), "conformance")
        tested = PatternPrediction("test", "full", 0, prediction)
        preprocess = fitted.sample.preprocessor.state()
        store.write(
            CellResult("cell", "ok", predictions=(tested,), preprocess=preprocess, state=fitted.predictor.state())
        )
        return store.load("cell")


def _read_back(trial: Trial, stored: CellResult) -> CaseSet:
    """The test cases through the preprocessing that was stored."""
    preprocessor = Preprocessor.restore(stored.preprocess, toy_modalities(trial.modalities))
    # Without the tokens that are kept in memory.
    made = [FittedPreparation(of.preparation, of.state) for of in trial.fitted.context.preparations]
    preprocessor = replace(preprocessor, preparations=tuple(made))
    if trial.fitted.model.missing == "impute":
        preprocessor = preprocessor.imputing()
    return replace(trial.test, prepare=preprocessor.prepare)


@CHECKS.add(
    "classes",
    "Of two classes and of three, where it takes them, it gives probabilities that sum to 1, and restored the same.",
    cause="probabilities that are not normalised, classes in an order of its own, or a fixed number of outputs.",
    needs=("restores",),
)
def classes(subject: ModelSubject) -> None:
    kinds = [kind for kind in subject.cls.tasks if kind not in ("survival", subject.kind)]
    if not kinds:
        raise Skipped("it takes no further kind of endpoint")
    for trial in subject.widest():
        for name in kinds:
            kind, sample = task_kind(name), as_classes(make_sample(trial.modalities), name)
            if trial.fitted.model.skip(sample.task, sample.raw_specs) is not None:
                continue  # options may need follow-up
            fitted = subject.fitter.fit(trial.ref, sample, BRIEF)
            said = []
            for predictor in (fitted.predictor, subject.fitter.restore(fitted, trial.ref, fitted.predictor.state())):
                made = predictor.predict(fitted.sample.test)
                try:
                    said.append(kind.checked(made, sample.test.ids, f"on {trial.label}", sample.task.classes))
                except PluginError as error:
                    raise Failure(str(error)) from error
            difference = largest_difference(said[0].scores, said[1].scores)
            if difference > 0:
                raise Failure(
                    f"on {trial.label}, {name}, the restored predictor differs by {difference:.3g} in log odds"
                )


@CHECKS.add(
    "pickles",
    "The fitted predictor, the model and the cases go through pickle, and say the same on the other side.",
    cause="a lambda, a local class, an open file or a generator as an attribute.",
    needs=REPEATS,
)
def pickles(subject: ModelSubject) -> None:
    for trial in subject.trials:
        things = (trial.fitted.model, trial.fitted.predictor, trial.test)
        try:
            _, predictor, cases = pickle.loads(pickle.dumps(things))
        except Exception as error:
            raise Failure(f"on {trial.label}, {raised(error)}") from error
        check_same(trial.plain, as_ranking(predictor.predict(cases)), f"on {trial.label}, the unpickled predictor")


def check_same(before: SurvivalPrediction, after: SurvivalPrediction, who: str) -> None:
    """Raise Failure where risks or curves of two predictions differ at all."""
    difference = largest_difference(before.risk, after.risk)
    if difference > 0:
        raise Failure(f"{who} differs by {difference:.3g} in risk")
    pairs = ((before.survival, after.survival), (before.times, after.times))
    for one, other in pairs:
        if (one is None) != (other is None) or (one is not None and not np.array_equal(one, np.asarray(other))):
            raise Failure(f"{who} has other survival curves")
