"""A cohort that has one fault, by name."""

from typing import Literal

import numpy as np

from fusionbench import Case, Dataset, DatasetInfo, ModalityUse, Options, SurvivalTarget

Fault = Literal[
    "none",
    "duplicate",
    "negative-time",
    "nan-time",
    "no-event",
    "few-events",
    "few-cases",
    "empty-column",
    "infinite",
    "empty-bag",
    "nan-bag",
    "wide-bag",
    "empty",
]


class Faulty(Dataset):
    """Twenty cases with a table and a bag; `fault` says what is wrong with them."""

    name = "example-faulty"

    class Options(Options):
        fault: Fault = "none"

    def info(self):
        return DatasetInfo(
            title="A cohort with a fault",
            modalities={
                "table": ModalityUse("vector", 3, features=("a", "b", "c")),
                "tiles": ModalityUse("bag", 4),
            },
        )

    def cases(self, unit="patient"):
        rng = np.random.default_rng(0)
        fault = self.options.fault
        n = {"few-cases": 3, "empty": 0}.get(fault, 20)
        table, tiles = rng.normal(size=(n, 3)), [rng.normal(size=(5, 4)) for _ in range(n)]
        time, event = rng.exponential(20, n), rng.random(n) < 0.8
        ids = [f"case-{i:02d}" for i in range(n)]
        if fault == "duplicate":
            ids[7] = ids[3]
        elif fault == "negative-time":
            time[4] = -1
        elif fault == "nan-time":
            time[4] = np.nan
        elif fault == "no-event":
            event[:] = False
        elif fault == "few-events":
            event[:] = False
            event[:2] = True
        elif fault == "empty-column":
            table[:, 1] = np.nan
        elif fault == "infinite":
            table[5, 2] = np.inf
        elif fault == "empty-bag":
            tiles[6] = tiles[6][:0]
        elif fault == "nan-bag":
            tiles[6][2, 1] = np.nan
        elif fault == "wide-bag":
            tiles[6] = rng.normal(size=(5, 7))
        return [
            Case(ids[i], ids[i], SurvivalTarget(float(time[i]), bool(event[i])), {"table": table[i], "tiles": tiles[i]})
            for i in range(n)
        ]
