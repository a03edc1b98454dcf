"""Made-up cases and a context for tests of the controls, and members that say what they are told to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from fusionbench_controls.features import Outcomes
from fusionbench_controls.members import OnUnimodal, label
from sksurv.metrics import concordance_index_censored

from fusionbench import (
    Case,
    CaseSet,
    Member,
    ModalitySpec,
    Predictor,
    PreparedBag,
    PreparedCase,
    SurvivalPrediction,
    SurvivalTarget,
    SurvivalTargets,
    Task,
)


def _prepare(case: Case, visible: tuple[str, ...]) -> PreparedCase:
    """A modality's ref is the array of its instances."""
    return PreparedCase(case.id, {m: PreparedBag(torch.as_tensor(case.refs[m])) for m in visible})


def case_set(
    tables: Mapping[str, Sequence[np.ndarray | None]], time: np.ndarray, event: np.ndarray, groups: Sequence[str] = ()
) -> CaseSet:
    """`tables`: modality to one (instance, feature) array a case, None = missing."""
    cases = tuple(
        Case(
            f"case-{i}",
            groups[i] if groups else f"case-{i}",
            SurvivalTarget(float(time[i]), bool(event[i])),
            {m: rows[i] for m, rows in tables.items() if rows[i] is not None},
        )
        for i in range(len(time))
    )
    widths = {m: next(r.shape[1] for r in rows if r is not None) for m, rows in tables.items()}
    specs = {m: ModalitySpec(m, "vector", width) for m, width in widths.items()}
    return CaseSet(cases, specs, SurvivalTargets(time, event, np.zeros(len(time), dtype=np.int64)), _prepare)


def cohort(n: int = 120, columns: int = 6, signal: float = 1.0, seed: int = 0) -> CaseSet:
    """`a` carries the hazard in its first column; `b` is noise of as many columns."""
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal((n, columns)).astype(np.float32) for _ in range(2))
    death, censoring = rng.exponential(20 * np.exp(-signal * a[:, 0])), rng.exponential(40, n)
    tables = {"a": list(a[:, None]), "b": list(b[:, None])}
    return case_set(tables, np.minimum(death, censoring) + 0.01, death <= censoring)


def parts(cases: CaseSet) -> tuple[CaseSet, CaseSet, CaseSet]:
    """Training, validation and test cases: half, a quarter, a quarter."""
    n = len(cases)
    return cases[: n // 2], cases[n // 2 : 3 * n // 4], cases[3 * n // 4 :]


@dataclass
class FakeContext:
    """Context of fit and of restore, with members as they are handed in."""

    specs: Mapping[str, ModalitySpec]
    seed: int = 0
    task: Task = field(default_factory=Task)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    members: dict[Member, Any] = field(default_factory=dict)
    logged: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def member(self, member: Member) -> Any:
        return self.members[member]

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.logged.append((step, dict(values)))

    def train(self, module: Any, train: CaseSet, val: CaseSet) -> Predictor:
        raise AssertionError("the controls do not train torch modules")

    def module(self, module: Any, state: Any) -> Predictor:
        raise AssertionError("the controls do not restore torch modules")


def concordance(cases: CaseSet, prediction: SurvivalPrediction) -> float:
    assert cases.targets is not None
    return float(concordance_index_censored(cases.targets.event, cases.targets.time, prediction.risk)[0])


def outcomes(n: int = 60, columns: int = 4, seed: int = 0, *, ties: bool = True) -> Outcomes:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, columns))
    time = rng.exponential(10 * np.exp(-x[:, 0])) + 0.5
    return Outcomes(x, np.ceil(time) if ties else time, rng.random(n) < 0.6, np.arange(n))


def same(one: SurvivalPrediction, other: SurvivalPrediction) -> bool:
    assert one.survival is not None
    assert other.survival is not None
    return (
        one.ids == other.ids
        and np.array_equal(one.risk, other.risk)
        and np.array_equal(one.survival, other.survival)
        and np.array_equal(np.asarray(one.times), np.asarray(other.times))
    )


@dataclass
class Scripted(Predictor):
    """Says `scale` times the modality's first number; remembers what it was asked."""

    modality: str
    scale: float = 1.0
    times: tuple[float, ...] | None = (6.0, 12.0)
    asked: list[CaseSet] = field(default_factory=list)

    def predict(self, cases: CaseSet) -> SurvivalPrediction:
        self.asked.append(cases)
        risk = np.array([self.scale * float(case.bags[self.modality].values[0, 0]) for case in cases])
        if self.times is None:
            return SurvivalPrediction(cases.ids, risk)
        survival = np.exp(-np.outer(1 / (1 + np.exp(-risk)), self.times) / 10)
        return SurvivalPrediction(cases.ids, risk, survival, np.array(self.times))

    def state(self) -> dict[str, np.ndarray]:
        return {}


@dataclass
class Fit:
    """A MemberFit as it is handed in."""

    predictor: Predictor
    validation: SurvivalPrediction
    prior: SurvivalPrediction
    validation_loss: float = float("nan")


def fitted(
    model: OnUnimodal, val: CaseSet, said: Mapping[str, Scripted], losses: Mapping[str, float] | None = None
) -> FakeContext:
    """A context with a model's members, validated on the cases of `val` that have them.

    `said` and `losses` are by modality or by `cox on a`. A prior's risk is 100, its S 0.9 and 0.8 at 6 and 12 months.
    """
    context = FakeContext(val.specs)
    for member in model.members(context.task, val.specs):
        (name,) = member.modalities
        rows = [i for i, case in enumerate(val.cases) if name in val.visible(case)]
        predictor = said.get(label(member)) or said[name]
        loss = (losses or {}).get(label(member), (losses or {}).get(name, float("nan")))
        validation = predictor.predict(val.restrict((name,)).take(rows))
        context.members[member] = Fit(predictor, validation, PRIOR, loss)
        predictor.asked.clear()
    return context


PRIOR = SurvivalPrediction(("prior",), np.array([100.0]), np.array([[0.9, 0.8]]), np.array([6.0, 12.0]))


def numbers(a: Sequence[float | None], b: Sequence[float | None]) -> CaseSet:
    """Cases of two modalities of one number each; None = missing. Case i has its event at month i + 1."""
    tables = {m: [None if v is None else np.array([[v]]) for v in values] for m, values in (("a", a), ("b", b))}
    return case_set(tables, np.arange(1.0, len(a) + 1), np.ones(len(a), dtype=bool))
