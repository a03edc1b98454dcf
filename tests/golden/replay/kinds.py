"""Which kind a reference file is: decided by its config and the set of its arrays' names."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fusionbench.core.errors import FusionBenchError
from tests.golden.replay import clam, motcat, mult, numbers, survpath
from tests.golden.replay.compare import TOLERANCE, Comparison, Outcome
from tests.golden.replay.models import load, models
from tests.golden.replay.reference import Reference

Names = frozenset[str]

_GIVEN = {
    *("logits", "Y", "y_disc", "c", "censorship", "class_weights", "train_indices"),
    *("survival_months", "f0_in", "event", "time", "risk"),
}
"""What published losses, bins and c-indices were given; it needs no counterpart."""


def _short(file: Reference) -> Names:
    return frozenset(name.removeprefix("input/") for name in file.arrays)


_KINDS: Mapping[str, tuple[Callable[[Names], bool], Callable[[Reference], numbers.Compared]]] = {
    "losses": (lambda n: "logits" in n and bool(n & {"Y", "y_disc"}), numbers.losses),
    "class weights": (lambda n: {"y_disc", "train_indices"} <= n, numbers.weights),
    "survival bins": (lambda n: any(x.endswith("/survival_months") for x in n), numbers.bins),
    "c-index": (lambda n: any(x.endswith("/risk") for x in n), numbers.c_index),
    "smooth SVM loss": (lambda n: any(x.startswith("svm_") for x in n), clam.pieces),
    "MulT's pieces": (lambda n: {"x_first", "query"} <= n, mult.pieces),
    "transport plans": (lambda n: any(x.endswith("/cost") for x in n), motcat.pieces),
    "SurvPath's pieces": (lambda n: {"radam_grads", "rna_train"} <= n, survpath.pieces),
    "Fourier encoding": (lambda n: any(x.startswith("fourier") for x in n), numbers.fourier),
}


def replay(file: Reference) -> Outcome:
    """Compute what a reference file holds, and compare."""
    tolerance = TOLERANCE[file.double]
    try:
        if file.under("param/"):
            plugin, official = load(file)
            return _outcome(f"model ({plugin})", dict(models(file, official)), tolerance, file)
        for kind, (matches, compared) in _KINDS.items():
            if matches(_short(file)):
                return _outcome(kind, dict(compared(file)), tolerance, file)
    except FusionBenchError as error:
        return Outcome("model", reason=str(error))
    except KeyError as error:
        return Outcome("unreadable", reason=f"the file lacks the array {error}")
    return Outcome("unknown", reason=f"no known kind of reference file has arrays like {_some(file)}")


def _outcome(kind: str, compared: Mapping[str, Comparison], tolerance: float, file: Reference) -> Outcome:
    rest = [name for name in file.arrays if name not in compared and not _was_given(name)]
    there = [c for c in compared.values() if c.left_out < max(c.of, 1)]
    empty = [name for name, c in compared.items() if c not in there]
    return Outcome(kind, there, empty, tolerance, rest)


def _was_given(name: str) -> bool:
    last = name.rpartition("/")[2]
    return name.startswith(("param/", "input/", "target/")) or last in _GIVEN or name == "mask"


def _some(file: Reference) -> str:
    names = sorted(file.arrays)
    return (", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")) if names else "none"
