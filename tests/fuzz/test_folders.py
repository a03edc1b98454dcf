"""Any folder of feature files, with or without a map: clear problems, or bags of finite numbers."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tomli_w
import torch
from hypothesis import event, given
from hypothesis import strategies as st

from fusionbench.core.plugin_options import validate_options
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import Registry, discover
from fusionbench.data.cohort import load_cohort, read
from fusionbench.data.inspection import examine
from tests.conftest import EXAMPLE
from tests.fuzz.examples import FUZZ, TEXTS

pytestmark = pytest.mark.slow
CASES = ["p0", "p1", "0002", "TCGA-2F-A9KO"]
TABLE = "patient,age,days,status\n" + "".join(f"{c},{50 + i},{30 * i + 9},{i % 2}\n" for i, c in enumerate(CASES))
COHORT: dict[str, Any] = {
    "table": "patients.csv",
    "id": "patient",
    "outcome": {"time": "days", "unit": "day", "event": "status"},
    "modality": {"slides": {"folder": "features"}},
}
Arrays = dict[str, np.ndarray]


def ones(*shape: int, kind: str = "f4") -> np.ndarray:
    return np.ones(shape, dtype=kind)


ARRAYS: dict[str, Arrays] = {
    "sound": {"features": ones(3, 4)},
    "with coords": {"features": ones(3, 4), "coords": ones(3, 2, kind="i8")},
    "a batch of one": {"features": ones(1, 3, 4), "coords": ones(1, 3, 2, kind="i8")},
    "a vector": {"features": ones(4)},
    "a vector and coords": {"features": ones(4), "coords": ones(9, 2)},
    "another name": {"feats": ones(3, 4)},
    "two names": {"a": ones(3, 4), "b": ones(3, 4)},
    "below a group": {"patches/feats": ones(3, 4)},
    "only coords": {"coords": ones(3, 2)},
    "other coords": {"features": ones(3, 4), "coords": ones(2, 2)},
    "infinite coords": {"features": ones(3, 4), "coords": np.full((3, 2), np.inf)},
    "no instance": {"features": ones(0, 4)},
    "no feature": {"features": ones(3, 0)},
    "a number": {"features": np.float32(1)},
    "four axes": {"features": ones(1, 1, 3, 4)},
    "another width": {"features": ones(3, 5)},
    "half": {"features": ones(3, 4, kind="f2")},
    "double": {"features": ones(3, 4, kind="f8")},
    "beyond float32": {"features": np.full((3, 4), 1e300)},
    "NaN": {"features": np.full((3, 4), np.nan)},
    "whole numbers": {"features": ones(3, 4, kind="u1")},
    "truths": {"features": ones(3, 4, kind="?")},
    "complex": {"features": ones(3, 4, kind="c8")},
    "texts": {"features": np.array([[b"a", b"b"]])},
}


def as_h5(arrays: Arrays) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return out.getvalue()


def as_npy(arrays: Arrays) -> bytes:
    out = io.BytesIO()
    np.save(out, next(iter(arrays.values())))
    return out.getvalue()


def as_npz(arrays: Arrays) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def as_pt(arrays: Arrays) -> bytes:
    out = io.BytesIO()
    tensors = {name: torch.from_numpy(np.asarray(a)) for name, a in arrays.items() if a.dtype.kind != "S"}
    torch.save(tensors if len(tensors) > 1 else next(iter(tensors.values()), "text"), out)
    return out.getvalue()


def as_bfloat16(arrays: Arrays) -> bytes:
    out = io.BytesIO()
    torch.save({name: torch.ones(a.shape, dtype=torch.bfloat16) for name, a in arrays.items()}, out)
    return out.getvalue()


FORMS: dict[str, Callable[[Arrays], bytes]] = {
    ".h5": as_h5,
    ".npy": as_npy,
    ".npz": as_npz,
    ".pt": as_pt,
    ".pth": as_bfloat16,
}
MADE = {(form, kind): make(arrays) for form, make in FORMS.items() for kind, arrays in ARRAYS.items()}
"""Each kind of content in each format, written once."""
NAMES = st.one_of(
    st.sampled_from([*CASES, "p1.svs", "P1", "p9", "2", "TCGA-2F-A9KO-01Z-00-DX1.0F1C", "TCGA-2F-A9KO-01Z-00-DX10"]),
    TEXTS,
)
ENDINGS = st.sampled_from([*FORMS, *FORMS, ".H5", ".hdf5", ".NPY", ".txt", ""])
PLACES = st.sampled_from(["", "", "", "", "h5_files/", "pt_files/", "more/", "p1.h5/"])


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """A file of one of the kinds, mostly sound; at times cut, changed, or anything at all."""
    data = MADE[draw(st.sampled_from(sorted(FORMS))), draw(st.sampled_from(["sound", "sound", *ARRAYS]))]
    what = draw(st.integers(0, 9))
    if what == 0:
        return data[: draw(st.integers(0, len(data)))]
    if what == 1:
        at = draw(st.integers(0, len(data) - 1))
        return data[:at] + draw(st.binary(min_size=1, max_size=4)) + data[at + 1 :]
    return draw(st.binary(max_size=12)) if what == 2 else data


FILES = st.lists(st.tuples(PLACES, NAMES, ENDINGS, st.one_of(contents(), st.none())), max_size=5)
"""Folder, name, ending and content of each file; None is a link to nothing."""
MAPS = st.one_of(
    st.none(),
    st.none(),
    st.lists(st.tuples(NAMES, st.one_of(st.sampled_from(CASES), TEXTS)), max_size=4).map(
        lambda rows: "".join(f"{slide},{case}\n" for slide, case in [("slide", "patient"), *rows])
    ),
)
KEYS = st.fixed_dictionaries(
    {},
    optional={"unknown": st.just("ignore"), "dataset": st.sampled_from(["feats", "features", "coords", "b", "?"])},
)


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    sys.path.insert(0, str(EXAMPLE))
    yield discover()
    sys.path.remove(str(EXAMPLE))


def fill(folder: Path, files: list[tuple[str, str, str, bytes | None]]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for place, name, ending, content in files:
        path = folder / place / f"{name.replace('/', '-')}{ending}"
        try:
            path.parent.mkdir(exist_ok=True)
            if content is None:
                path.symlink_to("nowhere")
            else:
                path.write_bytes(content)
        except (OSError, ValueError):  # names that no file can have, and one name twice
            continue


def test_a_folder_is_read_or_its_problems_are_told(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUSIONBENCH_BAG_CACHE", "off")
    bags: list[int] = []
    (tmp_path / "patients.csv").write_text(TABLE)
    ref = PluginRef.of("table", file=str(tmp_path / "cohort.toml"))
    options = validate_options(registry, "datasets", ref)

    @FUZZ
    @given(FILES, MAPS, KEYS)
    def check(files: list[tuple[str, str, str, bytes | None]], map_: str | None, keys: dict[str, str]) -> None:
        fill(tmp_path / "features", files)
        content = deepcopy(COHORT)
        content["modality"]["slides"] |= keys
        if map_ is not None:
            (tmp_path / "slides.csv").write_bytes(map_.encode(errors="surrogatepass"))
            content["modality"]["slides"]["map"] = "slides.csv"
        (tmp_path / "cohort.toml").write_text(tomli_w.dumps(content))
        dataset = registry.dataset("table")(options, tmp_path)
        found = examine(dataset, registry.modalities)
        assert all(line.strip() for line in found.problems)
        if found.problems:
            event("problems")
            return
        cohort = load_cohort(dataset, registry.modalities)  # a run refuses nothing that `data check` lets pass
        event("a cohort")
        for case in cohort.cases:
            for name in case.refs:
                bag = read(cohort.modalities[name], case)
                assert np.isfinite(bag.values).all()
                bags.append(len(bag.values))

    check()
    assert bags, "no example was a cohort"
