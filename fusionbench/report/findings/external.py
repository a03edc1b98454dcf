"""External cohorts below a table: each row there beside its own test folds, and several cohorts pooled."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fusionbench.core.plural import plural
from fusionbench.core.rounding import DIGITS
from fusionbench.report.analysis import Analysis
from fusionbench.report.document import NONE, Entry, Grid, Section
from fusionbench.report.estimate import Estimate
from fusionbench.report.external_tests import ExternalMean, ExternalTest, standard_error
from fusionbench.report.findings.pooled import TWO_COHORTS
from fusionbench.report.model import FULL, RANKINGS, Configuration, configuration_of
from fusionbench.report.words import WORDS
from fusionbench.results.frames import ROW
from fusionbench.survival.stats import RandomEffects, holm, random_effects

_ABOUT = (
    "Each model that was fitted on a training fold predicts every patient of another cohort, whom nothing was fitted "
    "on. {score}: mean ± sd over the fold models, 95 % interval over resampled patients, models fixed. Together: the "
    "{score} of the mean prediction of the fold models. Fall: {score} of the test folds minus that here, the two "
    "cohorts' patients resampled independently. Behind: the best row minus this one on the same patients; p: z-test "
    "with the standard error of the resampling, Holm-adjusted over the rows; bold, a: the best row and those not "
    "significantly different from it."
)


def external_sections(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[Section]:
    """Sections on every external cohort, and the pooled ones; none where nothing is predicted yet."""
    failed = _failed(analysis)
    made = [section for test in analysis.external for section in _of_test(test, lock, failed)]
    if not made:
        return
    named = dict.fromkeys(WORDS[name].short for name in RANKINGS if any(t.of(name) for t in analysis.external))
    yield Section(2, "External validation", _ABOUT.format(score=" or ".join(named) or "score"))
    yield from made
    for train in dict.fromkeys(test.train for test in analysis.external):
        yield from _pooled([test for test in analysis.external if test.train == train])


def _failed(analysis: Analysis) -> dict[str, list[str]]:
    """`TRAIN -> TEST` to a line on each row whose predictions of that cohort failed."""
    cells = None if analysis.frames.external is None else analysis.frames.external.cells
    if cells is None:
        return {}
    found: dict[str, list[str]] = {}
    of_rows = cells[cells["status"] == "failed"].groupby([*ROW, "reason"], sort=False, observed=True)
    for key, of in of_rows:
        name, model, modalities, variant, reason = map(str, key)
        who = f"{model} on {modalities}" + ("" if variant == "base" else f" ({variant})")
        found.setdefault(name, []).append(f"failed: {who}, {plural(len(of), 'cell')}: {reason}")
    return found


def _of_test(test: ExternalTest, lock: Mapping[str, Any], failed: Mapping[str, Sequence[str]]) -> Iterator[Section]:
    title, name = f"{test.train}, tested on {test.test}", f"{test.train} -> {test.test}"
    about = lock.get("external", {}).get(name, {})
    notes = [
        *failed.get(name, ()),
        *about.get("notes", ()),
        *(f"warning: {warning['text']}" for warning in about.get("warnings", ())),
    ]
    cases = sum(about.get("cases", {}).values()) or test.cases
    counts = plural(cases, "case") + (f", {test.outcomes}" if test.outcomes else "")
    if not test.cases:
        yield Section(3, title, f"{counts}: no outcome is known, so that nothing is scored.")
        return
    if test.no_interval:
        notes.insert(0, f"neither intervals nor tests: {test.no_interval}")
    if test.cases < cases:
        counts += f"; {cases - test.cases} without an outcome are predicted and not scored"
    ranked = [name for name in test.metrics if name in RANKINGS]
    if test.means and not any(test.of(name, pattern) for name in ranked for pattern in test.patterns):
        reasons = " or ".join(dict.fromkeys(m.reason for m in test.means if m.metric in ranked and m.reason))
        undefined = f": no {WORDS[ranked[0]].short} is defined ({reasons})" if reasons else ""
        yield Section(3, title, f"{counts}{undefined}.", notes=tuple(notes))
    for metric in [name for name in test.metrics if test.of(name)]:
        if metric not in RANKINGS:
            continue
        for pattern, same in _apart_by_effect(test, metric).items():
            rows = _best_first(test.of(metric, pattern))
            shown = title if pattern == FULL else f"{title}, pattern {pattern}"
            more = [f"every row has the same score here under: {', '.join(same)}"] if same else []
            yield _grid(shown, f"{counts}.", rows, metric, [*more, *(notes if pattern == FULL else [])])
    others = [name for name in test.metrics if name not in RANKINGS and test.of(name)]
    if others:
        yield _others(test, others)


def _apart_by_effect(test: ExternalTest, metric: str) -> dict[str, list[str]]:
    """Each pattern whose scores are its own to the later ones under which every row has the same scores."""
    found: dict[str, list[str]] = {}
    seen: dict[str, set[tuple[object, ...]]] = {}
    for pattern in test.patterns:
        scores: set[tuple[object, ...]] = {
            (m.row, m.external, m.ensemble, m.models, m.n_prior) for m in test.of(metric, pattern)
        }
        first = next((name for name, known in seen.items() if scores <= known), None)
        if scores and first is not None:
            found[first].append(pattern)
        elif scores:
            found[pattern], seen[pattern] = [], scores
    return found


def _grid(title: str, text: str, means: Sequence[ExternalMean], metric: str, notes: Sequence[str]) -> Section:
    grid = Grid([m.row for m in means], f"{WORDS[metric].short}", "together", "test folds", "fall", "behind", "p")
    for m in means:
        part = "" if m.whole else f" ({m.models.n_folds} of {plural(m.models.n_wanted, 'model')})"
        value = Entry(f"{m.external.value:.3f}{_spread(m)}{_interval(m.external)}{part}", m.best, "a" if m.tied else "")
        internal = NONE if math.isnan(m.internal) else Entry(f"{m.internal:.3f}")
        p = NONE if math.isnan(m.p_holm) else Entry(f"{m.p_holm:.3f}")
        fall = NONE if math.isnan(m.fall.value) else m.fall.entry(signed=True)
        behind = NONE if math.isnan(m.behind.value) else m.behind.entry(signed=True)
        together = NONE if math.isnan(m.ensemble.value) else m.ensemble.entry()
        grid.add(m.row, (value, together, internal, fall, behind, p))
    prior = max(m.n_prior for m in means)
    more = [f"up to {plural(prior, 'case')} without any of a row's modalities: average training risk"] if prior else []
    return Section(3, title, text, grid.header, tuple(grid.lines), (*more, *notes))


def _best_first(means: Sequence[ExternalMean]) -> list[ExternalMean]:
    """Sets of modalities and variants as in the table, within each the best row first; rows that lack models last."""
    place = {key: i for i, key in enumerate(dict.fromkeys((m.row[3], m.row[2]) for m in means))}
    return sorted(means, key=lambda m: (place[m.row[3], m.row[2]], not m.whole, -m.external.value))


def _spread(mean: ExternalMean) -> str:
    """Of the fold models; empty for a single one."""
    return "" if math.isnan(mean.sd) else f" ± {mean.sd:.3f}"


def _interval(estimate: Estimate) -> str:
    return "" if math.isnan(estimate.low) else f" [{estimate.low:.3f}, {estimate.high:.3f}]"


def _others(test: ExternalTest, metrics: Sequence[str]) -> Section:
    """The further metrics, all modalities present."""
    rows = dict.fromkeys(m.row for name in metrics for m in test.of(name))
    grid = Grid(list(rows), *metrics)
    of = {(m.row, m.metric): m for name in metrics for m in test.of(name)}
    for row in rows:
        found = [of.get((row, name)) for name in metrics]
        grid.add(row, [NONE if m is None else Entry(f"{m.external.value:.3f}{_spread(m)}", m.best) for m in found])
    return Section(3, f"{test.train}, tested on {test.test}: further metrics", "", grid.header, tuple(grid.lines))


def _pooled(tests: Sequence[ExternalTest]) -> Iterator[Section]:
    """The rows of one training cohort over its external cohorts, each held against the row of the highest mean."""
    for metric in RANKINGS:
        several = [test for test in tests if len(test.of(metric)) > 1]
        scored, notes = _apart([test for test in several if not test.no_interval])
        notes += [f"{test.test} is not counted: {test.no_interval}" for test in several if test.no_interval]
        if len(several) > 1 and len(scored) < 2:
            title = f"{tests[0].train}: external cohorts together"
            yield Section(3, title, f"Not pooled: {'; '.join(notes)}.")
        for variant in dict.fromkeys(m.row[3] for test in scored for m in test.of(metric)):
            found = [
                {configuration_of(m.row): m for m in test.of(metric) if m.row[3] == variant and m.whole}
                for test in scored
            ]
            everywhere = [c for c in found[0] if all(c in of for of in found)] if found else []
            if len(found) > 1 and len(everywhere) > 1:
                yield _pooled_grid(tests[0].train, metric, everywhere, found, notes)


def _apart(tests: Sequence[ExternalTest]) -> tuple[list[ExternalTest], list[str]]:
    """Tests of which no two share patients, the smaller ones first chosen, in their order; and the others, in words."""
    kept: list[ExternalTest] = []
    notes = []
    for test in sorted(tests, key=lambda test: test.cases):
        shared = [other.test for other in kept if other.patients & test.patients]
        if shared:
            notes.append(f"{test.test} holds patients of {' and '.join(shared)}: counted once")
        else:
            kept.append(test)
    return [test for test in tests if test in kept], notes


def _pooled_grid(
    train: str,
    metric: str,
    configs: Sequence[Configuration],
    found: Sequence[Mapping[Configuration, ExternalMean]],
    notes: Sequence[str],
) -> Section:
    means = {c: float(np.mean([of[c].external.value for of in found])) for c in configs}
    leader, *others = sorted(configs, key=lambda c: -round(means[c], DIGITS))
    effects = {c: _effect([(of[leader], of[c]) for of in found]) for c in others}
    p_holm = holm([effect.p if effect else math.nan for effect in effects.values()])
    lines = [(Entry(leader[0], True), Entry(leader[1], True), Entry(f"{means[leader]:.3f}", True), *[NONE] * 3)]
    for (config, effect), p in zip(effects.items(), p_holm, strict=True):
        head = (Entry(config[0]), Entry(config[1]), Entry(f"{means[config]:.3f}"))
        if effect is None:
            lines.append((*head, Entry("undefined"), NONE, NONE))
            continue
        gap = f"{effect.mean:+.3f} [{effect.low:+.3f}, {effect.high:+.3f}]"
        lines.append((*head, Entry(gap), Entry(f"{p:.3f}"), Entry(f"{effect.i2:.0%}")))
    named = f"{train}: {plural(len(found), 'external cohort')} together" + (
        "" if leader[2] == "base" else f", {leader[2]}"
    )
    note = (
        "behind: the leading row minus this one, random-effects mean of the cohorts' differences on the same patients, "
        "95 % interval of Hartung and Knapp; p: Holm-adjusted; I2: share of the variation that lies between cohorts"
    )
    header = ("model", "modalities", f"mean {WORDS[metric].short}", "behind", "p", "I2")
    wide = [TWO_COHORTS] if len(found) == 2 else []
    return Section(3, named, header=header, lines=tuple(lines), notes=(note, *wide, *notes))


def _effect(pairs: Sequence[tuple[ExternalMean, ExternalMean]]) -> RandomEffects | None:
    """None where a cohort's difference has no spread."""
    errors = [standard_error(one, other) for one, other in pairs]
    if not all(math.isfinite(error) and error > 0 for error in errors):
        return None
    return random_effects([one.external.value - other.external.value for one, other in pairs], np.square(errors))
