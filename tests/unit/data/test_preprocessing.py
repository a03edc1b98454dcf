from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fusionbench import DataError, PreparedCase
from fusionbench.builtin.bag import Bag
from fusionbench.builtin.grid import Grid
from fusionbench.builtin.vector import Vector
from fusionbench.data.collate import collate
from fusionbench.data.preprocessing import Preprocessor, fit_preprocessor
from fusionbench.testing.toys import TOYS, toy_cases, toy_modalities

NAMES = tuple(TOYS)


def same(a: PreparedCase, b: PreparedCase) -> bool:
    return list(a.bags) == list(b.bags) and all(torch.equal(a.bags[n].values, b.bags[n].values) for n in a.bags)


def test_the_ledger_holds_the_training_cases_that_have_the_modality() -> None:
    cases = toy_cases(30, modalities=NAMES, missing=0.4)
    fitted = fit_preprocessor(toy_modalities(NAMES), cases[:20])
    for name in NAMES:
        assert fitted.ledger[name] == tuple(sorted(c.id for c in cases[:20] if name in c.refs))
        assert 0 < len(fitted.ledger[name]) < 20


def test_only_visible_modalities_are_prepared() -> None:
    cases = toy_cases(10, modalities=NAMES)
    fitted = fit_preprocessor(toy_modalities(NAMES), cases)
    prepared = fitted.prepare(cases[0], ("image",))
    assert prepared.id == "toy-000"
    assert list(prepared.bags) == ["image"]
    assert prepared.bags["image"].values.shape == cases[0].refs["image"].shape


def test_imputing_fills_hidden_and_absent_modalities_with_one_mean_instance() -> None:
    cases = list(toy_cases(10, modalities=NAMES))
    cases[0] = replace(cases[0], refs={"omic": cases[0].refs["omic"], "image": cases[0].refs["image"]})
    fitted = fit_preprocessor(toy_modalities(NAMES), cases[1:]).imputing()
    prepared = fitted.prepare(cases[0], ("omic",))
    assert list(prepared.bags) == list(NAMES)
    for name in ("clinical", "image", "map"):
        torch.testing.assert_close(prepared.bags[name].values, fitted.parts[name].fitted.mean()[None])
    batch = collate([prepared, fitted.prepare(cases[1], NAMES)], fitted.specs)
    assert batch.bags["map"].present.all()


def test_an_imputed_bag_has_coords_where_the_others_have(tmp_path: Path) -> None:
    cases = []
    for case in toy_cases(4, modalities=("image",)):
        path = tmp_path / f"{case.id}.npz"
        np.savez(path, features=case.refs["image"], coords=np.ones((len(case.refs["image"]), 2)))
        cases.append(replace(case, refs={"image": path}))
    fitted = fit_preprocessor(toy_modalities(("image",)), cases).imputing()
    restored = Preprocessor.restore(fitted.state(), toy_modalities(("image",))).imputing()
    for one in (fitted, restored):
        batch = collate([one.prepare(cases[0], ("image",)), one.prepare(cases[1], ())], one.specs)
        assert batch.bags["image"].mask.sum(dim=1).tolist()[1] == 1


def test_it_survives_json_and_pickle_exactly() -> None:
    cases = toy_cases(20, modalities=NAMES, missing=0.3)
    fitted = fit_preprocessor(toy_modalities(NAMES), cases[:15])
    state = json.loads(json.dumps(fitted.state(), allow_nan=False))
    restored = Preprocessor.restore(state, toy_modalities(NAMES))
    assert restored.state() == fitted.state()
    assert restored.specs == fitted.specs
    for other in (restored, pickle.loads(pickle.dumps(fitted))):
        for case in cases:
            assert same(other.prepare(case, tuple(case.refs)), fitted.prepare(case, tuple(case.refs)))
            assert same(other.imputing().prepare(case, ()), fitted.imputing().prepare(case, ()))


def test_parts_can_be_taken_and_put_together_without_fitting_again() -> None:
    cases = toy_cases(10, modalities=NAMES)
    fitted = fit_preprocessor(toy_modalities(NAMES), cases)
    few = fitted.restrict(("map", "omic"))
    assert list(few.specs) == ["map", "omic"]
    assert few.parts["omic"] is fitted.parts["omic"]
    whole = Preprocessor.merge([fitted.restrict((name,)) for name in NAMES])
    assert whole.state() == fitted.state()
    first = fitted.prepare(cases[0], NAMES).bags["omic"]
    assert few.prepare(cases[0], NAMES).bags["omic"] is first  # one cache


def test_the_cache_keeps_arrays_up_to_its_limit_and_stays_at_home() -> None:
    cases = toy_cases(10, modalities=("omic",))
    fitted = fit_preprocessor(toy_modalities(("omic",)), cases, cache_bytes=3 * 12 * 4)
    cache = fitted.parts["omic"].cache
    prepared = [[fitted.prepare(case, ("omic",)).bags["omic"] for case in cases] for _ in range(2)]
    assert [a is b for a, b in zip(*prepared, strict=True)] == [True] * 3 + [False] * 7
    assert cache.used == cache.limit
    travelled = pickle.loads(pickle.dumps(cache))
    assert (travelled.used, travelled.limit) == (0, cache.limit)
    noise = replace(cases[0], refs={"omic": cases[0].refs["omic"] + 1})
    assert not torch.equal(fitted.prepare(noise, ("omic",)).bags["omic"].values, prepared[0][0].values)


def test_bags_in_files_are_read_anew_each_time(tmp_path: Path) -> None:
    case = toy_cases(1, modalities=("image",))[0]
    np.save(tmp_path / "a.npy", case.refs["image"])
    case = replace(case, refs={"image": tmp_path / "a.npy"})
    fitted = fit_preprocessor(toy_modalities(("image",)), [case])
    fitted.prepare(case, ("image",))
    assert fitted.parts["image"].cache.used == 0


def test_faults_name_case_and_modality() -> None:
    cases = list(toy_cases(5))
    with pytest.raises(DataError, match="none of 5 training cases has modality 'clinical'"):
        fit_preprocessor(toy_modalities(("clinical",)), cases)
    cases[2] = replace(cases[2], refs={"image": np.full((1, 8), np.nan)})
    with pytest.raises(DataError, match=r"case 'toy-002', modality 'image': 8 values are NaN"):
        fit_preprocessor(toy_modalities(("image",)), cases)
    state = fit_preprocessor(toy_modalities(("omic",)), cases).state()
    with pytest.raises(DataError, match="modality 'omic' was fitted, but this cohort declares image"):
        Preprocessor.restore(state, toy_modalities(("image",)))


def test_a_cohort_that_lacks_a_modality_is_prepared_as_if_it_were_missing() -> None:
    cases = toy_cases(12, modalities=NAMES)
    fitted = fit_preprocessor(toy_modalities(NAMES), cases)
    without = [replace(case, refs={"omic": case.refs["omic"]}) for case in cases]
    state = json.loads(json.dumps(fitted.state(), allow_nan=False))
    kinds = {"vector": Vector, "bag": Bag, "grid": Grid}
    restored = Preprocessor.restore(state, toy_modalities(("omic",)), kinds)
    assert restored.specs == fitted.specs
    for case in without:
        assert same(restored.prepare(case, ("omic",)), fitted.prepare(case, ("omic",)))
        assert same(restored.imputing().prepare(case, ("omic",)), fitted.imputing().prepare(case, ("omic",)))
    assert [line for line in restored.differences(without) if "no case has it" in line] == [
        f"modality {name!r}: no case has it; it counts as missing" for name in NAMES if name != "omic"
    ]
    with pytest.raises(DataError, match="modality 'clinical' was fitted, but this cohort declares omic"):
        Preprocessor.restore(state, toy_modalities(("omic",)), {"bag": Bag, "grid": Grid})


def test_notes_name_the_modality() -> None:
    cases = [replace(c, refs={"omic": np.where(np.arange(12) == 4, np.nan, c.refs["omic"])}) for c in toy_cases(5)]
    fitted = fit_preprocessor(toy_modalities(("omic",)), cases)
    assert fitted.notes == ("modality 'omic': no training case has a value in 'gene_4': imputed as 0",)
