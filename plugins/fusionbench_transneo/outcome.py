"""What is predicted: pathological complete response (pCR) to neoadjuvant therapy, or residual disease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusionbench import ClassTarget, DataError
from fusionbench_transneo.tables import by_patient

if TYPE_CHECKING:
    import pandas as pd

RESIDUAL, COMPLETE = CLASSES = ("residual disease", "pCR")
"""The second is the positive one."""

_BURDEN = {"pCR": COMPLETE, "RCB-I": RESIDUAL, "RCB-II": RESIDUAL, "RCB-III": RESIDUAL}
"""Classes of residual cancer burden (RCB)."""

_RESPONSE = {"pCR": COMPLETE, "RD": RESIDUAL}


def read_response(table: pd.DataFrame, where: str) -> dict[str, ClassTarget | None]:
    """Patient to class; None where the response is not known.

    The class of residual cancer burden decides. Where it is empty, `pCR.RD` does: one patient has residual disease of
    a burden that was not measured.

    Raises:
        DataError: a value that is not known, or the two columns contradict each other.
    """
    frame = by_patient(table, "Donor.ID", where, ("RCB.category", "pCR.RD"))
    rows = zip(frame.index, frame["RCB.category"], frame["pCR.RD"], strict=True)
    return {patient: _response(burden, response, f"{where}: patient {patient}") for patient, burden, response in rows}


def _response(burden: Any, response: Any, where: str) -> ClassTarget | None:
    by_burden = _class(burden, _BURDEN, f"{where}: RCB.category")
    by_response = _class(response, _RESPONSE, f"{where}: pCR.RD")
    if by_burden and by_response and by_burden != by_response:
        raise DataError(f"{where}: RCB.category says {burden!r}, pCR.RD says {response!r}; which one is right?")
    label = by_burden or by_response
    return ClassTarget(label) if label else None


def _class(value: Any, known: dict[str, str], where: str) -> str:
    """The class of a cell; "" where the cell is empty."""
    if value != value:  # NaN
        return ""
    if value not in known:
        raise DataError(f"{where} holds {value!r}; {', '.join(known)} are known")
    return known[value]
