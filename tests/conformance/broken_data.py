"""A sound dataset, modality, metric, executor and encoder, and copies of them with one defect each; see `broken`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusionbench import (
    Case,
    DataError,
    Dataset,
    DatasetInfo,
    FittedModality,
    Fold,
    Metric,
    ModalitySpec,
    ModalityUse,
    Options,
    RawBag,
    Source,
    SurvivalPrediction,
    SurvivalTarget,
    SurvivalTargets,
    UndefinedMetric,
)
from fusionbench.builtin.bag import Bag
from fusionbench.core.encoder import Encoder
from fusionbench.core.executor import Executor
from tests.conformance.broken import fails

FILE = "broken/times.txt"
Targets = SurvivalTargets[Any]


class SoundCohort(Dataset):
    """Twenty cases whose times lie in a file of the data home; one number a case."""

    name = "sound"

    def times(self) -> list[float]:
        try:
            return [float(line) for line in (self.home / FILE).read_text().split()]
        except FileNotFoundError as error:
            raise DataError(f"{self.home / FILE} is missing; run: fusionbench data fetch {self.name}") from error

    def info(self) -> DatasetInfo:
        self.times()
        uses = {"table": ModalityUse("vector", 2, features=("a", "b"))}
        return DatasetInfo("Twenty cases", uses, checksums={FILE: "0" * 64})

    def cases(self, unit: str = "patient") -> Sequence[Case]:
        return tuple(
            Case(f"case-{i:02d}", f"case-{i:02d}", SurvivalTarget(time, i % 2 == 0), {"table": np.array([i, -i])})
            for i, time in enumerate(self.times())
        )

    def folds(self) -> Sequence[Fold]:
        ids = [f"case-{i:02d}" for i in range(20)]
        return [Fold(tuple(ids[10:]), (), tuple(ids[:10])), Fold(tuple(ids[:10]), (), tuple(ids[10:]))]

    def sources(self) -> Sequence[Source]:
        return (Source(FILE, "https://example.org/times.txt", "0" * 64, "made up"),)


@fails("says-how-to-fetch")
class CrashesWithoutFile(SoundCohort):
    def times(self) -> list[float]:
        return [float(line) for line in (self.home / FILE).read_text().split()]


@fails("says-how-to-fetch")
class SaysNothing(SoundCohort):
    def times(self) -> list[float]:
        if not (self.home / FILE).exists():
            raise DataError("no data")
        return super().times()


@fails("readable")
class SameIdTwice(SoundCohort):
    def cases(self, unit: str = "patient") -> Sequence[Case]:
        return (*super().cases(), super().cases()[0])


@fails("readable")
class UndeclaredModality(SoundCohort):
    def cases(self, unit: str = "patient") -> Sequence[Case]:
        return tuple(replace(case, refs={**case.refs, "image": np.zeros((3, 2))}) for case in super().cases())


@fails("readable")
class Crashes(SoundCohort):
    def cases(self, unit: str = "patient") -> Sequence[Case]:
        raise KeyError("OS.time")


@fails("names-are-words")
class NumbersForGroups(SoundCohort):
    def cases(self, unit: str = "patient") -> Sequence[Case]:
        return tuple(replace(case, group=i) for i, case in enumerate(super().cases()))

    def folds(self) -> Sequence[Fold] | None:
        return None


@fails("same-again")
class OtherOrder(SoundCohort):
    calls = itertools.count()

    def cases(self, unit: str = "patient") -> Sequence[Case]:
        cases = super().cases()
        first = next(self.calls) % len(cases)
        return (*cases[first:], *cases[:first])


@fails("same-again")
class OtherNumbers(SoundCohort):
    def cases(self, unit: str = "patient") -> Sequence[Case]:
        draw = np.random.default_rng().normal
        return tuple(replace(case, refs={"table": draw(size=2)}) for case in super().cases())


@fails("pickles")
class HoldsLambda(SoundCohort):
    def __init__(self, options: Any, home: Any) -> None:
        super().__init__(options, home)
        self.read = lambda path: path.read_text()


@fails("published-folds")
class OverlappingFolds(SoundCohort):
    def folds(self) -> Sequence[Fold]:
        first, second = super().folds()
        return [first, replace(second, train=(*second.train, second.test[0]))]


@fails("published-folds")
class UnknownCases(SoundCohort):
    def folds(self) -> Sequence[Fold]:
        first, second = super().folds()
        return [first, replace(second, train=(*second.train, "case-99"))]


@fails("checksums")
class NoChecksums(SoundCohort):
    def info(self) -> DatasetInfo:
        return replace(super().info(), checksums={})


@fails("same-anywhere")
class PathIsIdentity(SoundCohort):
    """Reads a file of the user's, and does not say which option is its path."""

    own_files = True

    class Options(Options):
        """
        Attributes:
            file: the times.
        """

        file: str = "times.txt"

    @classmethod
    def example(cls, folder: Path) -> Options:
        (folder / "times.txt").write_text("\n".join(map(str, range(1, 21))))
        return cls.Options(file=str(folder / "times.txt"))

    def times(self) -> list[float]:
        return [float(line) for line in Path(self.options.file).read_text().split()]

    def sources(self) -> Sequence[Source]:
        return ()


@fails("writes-nothing")
class KeepsTable(SoundCohort):
    def cases(self, unit: str = "patient") -> Sequence[Case]:
        cases = super().cases()
        Path("cases.txt").write_text("\n".join(case.id for case in cases))
        return cases


@fails("writes-nothing")
class ConvertsInPlace(SoundCohort):
    def convert(self, raw_dir: Path, out_dir: Path) -> None:
        (Path.home() / "converted.txt").write_text("times")


@fails("documented")
class WithoutWords(SoundCohort):
    class Options(Options):
        endpoint: str = "os"


class SoundBag(Bag):
    """The built-in bag."""

    name = "sound"


@dataclass(frozen=True, eq=False)
class Around(FittedModality):
    """A fitted modality around the built-in one."""

    inner: FittedModality
    spec: ModalitySpec

    def __call__(self, raw: RawBag) -> Tensor:
        return self.inner(raw)

    def mean(self) -> Tensor:
        return self.inner.mean()

    def state(self) -> Mapping[str, Any]:
        return self.inner.state()


class AroundBag(SoundBag):
    """A bag whose fitted part is `around`."""

    around: type[Around] = Around

    def fit(self, train: Iterable[RawBag]) -> Any:
        return self._wrapped(super().fit(train))

    def restore(self, state: Mapping[str, Any]) -> Any:
        return self._wrapped(super().restore(state))

    def _wrapped(self, inner: FittedModality) -> Around:
        return self.around(inner, inner.spec)


class _Double(Around):
    def __call__(self, raw: RawBag) -> Tensor:
        return super().__call__(raw).double()


@fails("prepares")
class DoublePrecision(AroundBag):
    around = _Double


@fails("loads")
class ReadsNothing(SoundBag):
    @classmethod
    def examples(cls) -> tuple[ModalityUse, Sequence[Any]]:
        return ModalityUse(cls.name, 3), ["no/such/file.npy"]


class _Table(Around):
    def mean(self) -> Tensor:
        return super().mean().unsqueeze(0)


@fails("mean")
class MeanWithAxis(AroundBag):
    around = _Table


class _Numpy(Around):
    def state(self) -> Mapping[str, Any]:
        return {name: np.array(value) for name, value in super().state().items()}


@fails("restores")
class ForgetsCentre(SoundBag):
    def restore(self, state: Mapping[str, Any]) -> Any:
        return super().restore({**state, "center": [0.0] * len(state["center"])})


@fails("same-again")
class RunningStatistics(SoundBag):
    def fit(self, train: Iterable[RawBag]) -> Any:
        fitted = super().fit(train)
        return replace(fitted, average=np.random.default_rng().normal(size=fitted.average.shape))


class _Filling(SoundBag):
    def load(self, ref: Any) -> RawBag:
        return super().load(np.nan_to_num(ref))


@fails("missing-values")
class HidesNaN(_Filling):
    pass


@fails("refuses-other-widths")
class CutsColumns(SoundBag):
    def load(self, ref: Any) -> RawBag:
        values = np.asarray(ref)
        missing = max(self.use.dim - values.shape[1], 0)
        return super().load(np.pad(values, ((0, 0), (0, missing)))[:, : self.use.dim])


class _Centring(Around):
    def __call__(self, raw: RawBag) -> Tensor:
        made = super().__call__(raw)
        raw.values[:] = 0
        return made


@fails("inputs-not-changed")
class ChangesRawBags(AroundBag):
    around = _Centring


@fails("pickles")
class HoldsFunction(SoundBag):
    def __init__(self, name: str, use: ModalityUse, options: Any) -> None:
        super().__init__(name, use, options)
        self.read = lambda ref: ref


@fails("writes-nothing")
class KeepsDecoded(SoundBag):
    def load(self, ref: Any) -> RawBag:
        raw = super().load(ref)
        np.save("decoded.npy", raw.values)
        return raw


class SoundC(Metric):
    """Harrell's c, without ties."""

    name = "sound"

    def __call__(self, prediction: SurvivalPrediction, test: Targets, train: Targets) -> float:
        comparable = test.event[:, None] & (test.time[:, None] < test.time[None, :])
        if not comparable.any():
            raise UndefinedMetric("no comparable pair")
        higher = np.sign(prediction.risk[:, None] - prediction.risk[None, :])[comparable]
        return float(((higher + 1) / 2).mean())


@fails("value-in-range")
class Percent(SoundC):
    def __call__(self, prediction: SurvivalPrediction, test: Targets, train: Targets) -> float:
        return 100 * super().__call__(prediction, test, train)


@fails("direction")
class OtherWay(SoundC):
    higher_is_better = False


@fails("undefined-with-reason")
class SilentZero(SoundC):
    def __call__(self, prediction: SurvivalPrediction, test: Targets, train: Targets) -> float:
        return super().__call__(prediction, test, train) if test.event.any() else 0.0


@fails("undefined-with-reason")
class NoReason(SoundC):
    def __call__(self, prediction: SurvivalPrediction, test: Targets, train: Targets) -> float:
        if not test.event.any():
            raise UndefinedMetric("")
        return super().__call__(prediction, test, train)


@fails("undefined-with-reason")
class DividesByZero(SoundC):
    def __call__(self, prediction: SurvivalPrediction, test: Targets, train: Targets) -> float:
        return super().__call__(prediction, test, train) if test.event.any() else math.nan


@fails("without-survival")
class NeedsCurves(SoundC):
    def __call__(self, prediction: SurvivalPrediction, test: Targets, train: Targets) -> float:
        return super().__call__(prediction, test, train) + 0.0 * float(prediction.survival.mean())


@fails("repeatable")
class Bootstrapped(SoundC):
    def __call__(self, prediction: SurvivalPrediction, test: Targets, train: Targets) -> float:
        return min(1.0, super().__call__(prediction, test, train) + 1e-6 * np.random.default_rng().random())


@fails("order-of-cases")
class FirstHalf(SoundC):
    def __call__(self, prediction: SurvivalPrediction, test: Targets, train: Targets) -> float:
        half = math.ceil(len(test.time) / 2)
        part = SurvivalTargets(*(array[:half] for array in vars(test).values()))
        return super().__call__(replace(prediction, risk=prediction.risk[:half]), part, train)


@fails("inputs-not-changed")
class SortsTraining(SoundC):
    def __call__(self, prediction: SurvivalPrediction, test: Targets, train: Targets) -> float:
        value = super().__call__(prediction, test, train)
        train.time.sort()
        return value


class SoundExecutor(Executor):
    """One after the other."""

    name = "sound"

    def run(self, next_task: Callable[[], Any], run_task: Callable[[Any], Any]) -> Iterator[tuple[Any, Any]]:
        while (task := next_task()) is not None:
            yield task, run_task(task)


@fails("runs-every-task")
class TakesAllFirst(SoundExecutor):
    def run(self, next_task: Callable[[], Any], run_task: Callable[[Any], Any]) -> Iterator[tuple[Any, Any]]:
        tasks = list(iter(next_task, None))
        return zip(tasks, map(run_task, tasks), strict=True)


@fails("runs-nothing")
class LooksAtTheFirst(SoundExecutor):
    def run(self, next_task: Callable[[], Any], run_task: Callable[[Any], Any]) -> Iterator[tuple[Any, Any]]:
        task = next_task()
        while True:
            yield task, run_task(task)
            if (task := next_task()) is None:
                return


class SoundEncoder(Encoder):
    """The mean colour."""

    name = "sound"

    def __call__(self, tiles: Tensor) -> Tensor:
        return tiles.float().mean(dim=(1, 2)) / 255


@fails("features")
class NotPooled(SoundEncoder):
    def __call__(self, tiles: Tensor) -> Tensor:
        return tiles.float() / 255


@fails("batch-invariant")
class ScaledByBatch(SoundEncoder):
    def __call__(self, tiles: Tensor) -> Tensor:
        seen = super().__call__(tiles)
        return seen / seen.max()


@fails("tells-tiles-apart")
class Blind(SoundEncoder):
    def __call__(self, tiles: Tensor) -> Tensor:
        return torch.ones(len(tiles), 3)


@fails("repeatable")
class DrawsWeights(SoundEncoder):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.weights_drawn = torch.rand(3)

    def __call__(self, tiles: Tensor) -> Tensor:
        return super().__call__(tiles) * self.weights_drawn


@fails("inputs-not-changed")
class InPlace(SoundEncoder):
    def __call__(self, tiles: Tensor) -> Tensor:
        seen = super().__call__(tiles)
        tiles.zero_()
        return seen
