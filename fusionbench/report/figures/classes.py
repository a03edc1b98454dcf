"""Figures of endpoints with classes: ROC, precision-recall and decision curves, calibration, confusion matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sklearn.metrics import roc_auc_score

from fusionbench.report.analysis import Analysis
from fusionbench.report.figures.class_panels import (
    calibration_figure,
    confusion_figure,
    curves_figure,
    one_vs_rest_figure,
)
from fusionbench.report.figures.figure import FigureOrOmitted, Omitted, ReportFigure, numbered
from fusionbench.report.figures.predictions import MOST, JoinedClasses, best_rows, joined_classes, with_classes
from fusionbench.report.figures.rows import row_label
from fusionbench.report.figures.style import displayable, shortened, wrapped
from fusionbench.report.findings.estimates import RowMean
from fusionbench.report.model import AUROC, FULL
from fusionbench.suites.lock import classes_of

TITLE = "Classes by predicted probability"
_JOINED = "Test patients joined over the folds{first}. "
_ROWS = "Best row of each model, at most {most}, by mean AUROC, and so selected on these patients: {rows}."
_CURVES = (
    "ROC: sensitivity against the false positive rate. Precision and recall: dashed is the prevalence of {positive!r}, "
    "{prevalence:.1%}, which a model without knowledge has. Decision curve: net benefit of treating those above a "
    "threshold as {positive!r}; dashed: all are treated, dotted: none. The legend has the AUROC of the table, a mean "
    "over folds, with its 95 % bootstrap interval; the curves mix folds, whose models may have different scales. "
)
_CALIBRATION = (
    "Predicted probability of {positive!r} against the observed share. Each point is an equal part of the test "
    "patients by predicted probability, with the 95 % interval of Wilson; on the line, predictions are calibrated. "
    "Grey, below: how many patients have which prediction. "
)
_BY_THRESHOLD = (
    "A patient counts as {positive!r} from that probability on which has the highest balanced accuracy on the "
    "validation patients of the fold{but}. "
)
_MOST_PROBABLE = "Each patient counts at the most probable class. "
_COUNTS = "A number is a count of test patients, its colour the share of the true class. "
_ONE_VS_REST = (
    "Sensitivity against the false positive rate of each class against the others, of {row}: the row with the highest "
    "mean AUROC, and so selected on these patients. The legend has the AUROC of each class, a mean over folds. "
)
NAME, LONG_NAME = 1.25, 2.2
"""Inches of a name in the legend, beside its numbers and above them."""


def classes(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[FigureOrOmitted]:
    """Figures of each cohort whose endpoint has classes; none where no endpoint has."""
    datasets = with_classes(analysis)
    for i, dataset in enumerate(datasets):
        rows = best_rows(analysis, dataset)
        names = classes_of(lock, dataset)
        found = joined_classes(analysis, dataset, [m.row for m in rows], names)
        if not found:
            why = "test folds overlap, so that a patient would count several times" if rows else "no row has an AUROC"
            yield Omitted(f"{TITLE}: {dataset}", why)
            continue
        shown = [m for m in rows if m.row in found]
        several = len({repeat for repeat, _ in analysis.values[shown[0].row, FULL, AUROC]}) > 1
        joined = _JOINED.format(first=" of the first repeat" if several else "")
        about = joined + _ROWS.format(most=MOST, rows=", ".join(row_label(m.row) for m in shown))
        place = (dataset, i, len(datasets))
        if len(names) == 2:
            yield from _of_two(place, names, shown, found, about)
        else:
            yield _of_more(place, names, shown[0], found, joined)
        matrices = {row_label(m.row): found[m.row] for m in shown}
        right = max(float((of.label == of.predicted).mean()) for of in matrices.values())
        yield ReportFigure(
            name=numbered("confusion", i, len(datasets)),
            title=f"Confusion matrix: {dataset}",
            caption=_predicted(matrices, names) + _COUNTS + about,
            alt=f"True against predicted class of {len(shown)} rows on {dataset}; at most {right:.0%} are right.",
            figure=confusion_figure(matrices, names),
        )


def _predicted(rows: Mapping[str, JoinedClasses], names: tuple[str, ...]) -> str:
    """How predicted classes come about: two classes have thresholds, but not in what was imported or stored before."""
    without = [row for row, of in rows.items() if not of.has_thresholds]
    if len(without) == len(rows):
        return _MOST_PROBABLE
    but = f"; without such predictions at the most probable class: {', '.join(without)}" if without else ""
    return _BY_THRESHOLD.format(positive=names[1], but=but)


Place = tuple[str, int, int]
"""A dataset, its number among those with classes, and their number."""


def _of_two(
    place: Place, names: tuple[str, ...], rows: list[RowMean], found: Mapping[Any, JoinedClasses], about: str
) -> Iterator[ReportFigure]:
    dataset, i, n = place
    positive, first = names[1], found[rows[0].row]
    curves = {_legend(m): (found[m.row].label == 1, found[m.row].probability[:, 1]) for m in rows}
    prevalence = float((first.label == 1).mean())
    yield ReportFigure(
        name=numbered("roc", i, n),
        title=f"ROC, precision and net benefit: {dataset}",
        caption=_CURVES.format(positive=positive, prevalence=prevalence) + about,
        alt=f"Curves of {len(rows)} rows on {dataset}; the highest mean AUROC is {rows[0].mean:.3f}, {rows[0].row[1]}.",
        figure=curves_figure(curves, prevalence),
    )
    panels = {row_label(m.row): curve for m, curve in zip(rows, curves.values(), strict=True)}
    yield ReportFigure(
        name=numbered("class-calibration", i, n),
        title=f"Calibration of probabilities: {dataset}",
        caption=_CALIBRATION.format(positive=positive) + about,
        alt=f"Points of {len(rows)} rows on {dataset} beside the line of calibration, with histograms of predictions.",
        figure=calibration_figure(panels, positive),
    )


def _of_more(
    place: Place, names: tuple[str, ...], row: RowMean, found: Mapping[Any, JoinedClasses], joined: str
) -> ReportFigure:
    dataset, i, n = place
    best = found[row.row]
    curves = {
        f"{shortened(name, NAME)} {_mean_auroc(best, k)}": (best.label == k, best.probability[:, k])
        for k, name in enumerate(names)
    }
    return ReportFigure(
        name=numbered("roc", i, n),
        title=f"ROC of each class: {dataset}",
        caption=_ONE_VS_REST.format(row=row_label(row.row)) + joined.rstrip(),
        alt=f"Curves of {len(names)} classes on {dataset} by {row_label(row.row)}: {', '.join(curves)}.",
        figure=one_vs_rest_figure(curves),
    )


def _legend(m: RowMean) -> str:
    interval = "" if m.draws is None else f" [{m.low:.3f}, {m.high:.3f}]"
    return legend_entry(m.row[1], f"{m.mean:.3f}{interval}")


def legend_entry(model: str, numbers: str) -> str:
    """A model beside its numbers; a long name stands above them, so that rows which differ in an option differ here."""
    name = displayable(model)
    if shortened(name, NAME) == name:
        return f"{name} {numbers}"
    return f"{wrapped(name, LONG_NAME, lines=2)}\n{numbers}"


def _mean_auroc(of: JoinedClasses, k: int) -> str:
    """Mean over folds of a class against the others; folds without the class, or with it alone, do not count."""
    folds = [of.fold == fold for fold in sorted(set(of.fold.tolist()))]
    known = [part for part in folds if 0 < (of.label[part] == k).sum() < part.sum()]
    if not known:
        return "undefined"
    values = [float(roc_auc_score(of.label[part] == k, of.probability[part, k])) for part in known]
    return f"{sum(values) / len(values):.3f}"
