"""Twenty-four cases that are read in no time."""

import numpy as np

from fusionbench import Case, Dataset, DatasetInfo, ModalityUse, SurvivalTarget


class Trivial(Dataset):
    """Two tables of three columns."""

    name = "trivial"

    def info(self):
        columns = ModalityUse("vector", 3, features=("a", "b", "c"))
        return DatasetInfo(title="Twenty-four cases", modalities={"left": columns, "right": columns})

    def cases(self, unit="patient"):
        rng = np.random.default_rng(0)
        left, right, time = rng.normal(size=(24, 3)), rng.normal(size=(24, 3)), rng.exponential(20, 24)
        return [
            Case(
                f"c{i:02d}",
                f"c{i:02d}",
                SurvivalTarget(float(time[i]), i % 3 > 0),
                {"left": left[i], "right": right[i]},
            )
            for i in range(24)
        ]
