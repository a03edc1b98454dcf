"""The cache of feature files: the same numbers with it and without; nothing stale, damaged or half written."""

import json
import logging
import os
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from safetensors.numpy import save

from fusionbench.builtin.bag import Bag
from fusionbench.builtin.grid import Grid, GridOptions
from fusionbench.builtin.instances import InstanceOptions
from fusionbench.core.errors import DataError
from fusionbench.core.types import ModalityUse
from fusionbench.data import feature_cache
from fusionbench.data.feature_cache import RACY_NS, FeatureCache, narrow
from tests.conftest import Cli
from tests.e2e.test_bad_input import one_error

DIM = 6
SETTLE = 2 * RACY_NS / 1e9


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The cache turned on, in a folder of its own."""
    monkeypatch.setenv(feature_cache.ENVIRONMENT, str(tmp_path / "cache"))
    return tmp_path / "cache"


def bag(dim=DIM):
    return Bag("image", ModalityUse("bag", dim), InstanceOptions())


def write(path: Path, values, coords=None):
    """A feature file, old enough to be kept."""
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["features"] = values
            if coords is not None:
                file["coords"] = coords
    elif path.suffix == ".pt":
        torch.save(torch.tensor(values), path)
    else:
        np.save(path, values)
    time.sleep(SETTLE)
    return path


def values(n=5, dtype=np.float32, seed=0):
    return (np.random.default_rng(seed).normal(size=(n, DIM)) * 100).astype(dtype)


def entries(folder):
    return sorted(folder.glob("*.bag"))


@pytest.mark.parametrize("suffix", [".h5", ".pt", ".npy"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16, np.uint8])
def test_the_same_numbers_from_the_cache(tmp_path, folder, monkeypatch, suffix, dtype):
    path = write(tmp_path / f"a{suffix}", np.abs(values(dtype=np.float64)).astype(dtype))
    first, second = bag().load(path), bag().load(path)
    assert len(entries(folder)) == 1
    monkeypatch.setenv(feature_cache.ENVIRONMENT, "off")
    without = bag().load(path)
    for read in (first, second):
        assert read.values.dtype in (np.float16, np.float32)
        assert np.array_equal(read.values.astype(np.float32).view(np.uint32), without.values.view(np.uint32))
    assert second.values.dtype == (np.float32 if dtype in (np.float32, np.float64) else np.float16)


def test_coords_and_the_slides_of_a_patient(tmp_path, folder):
    paths = [
        write(tmp_path / f"{name}.h5", values(seed=i, dtype=dtype), np.arange(10).reshape(5, 2) + i)
        for i, (name, dtype) in enumerate([("a", np.float16), ("b", np.float32)])
    ]
    first, second = bag().load(paths), bag().load(paths)
    assert np.array_equal(first.values, second.values)
    assert np.array_equal(first.coords, second.coords)
    assert second.coords.shape == (10, 2)


@given(arrays(np.float32, (3, 2), elements=st.floats(width=32)))
def test_narrowing_loses_nothing(array):
    assert np.array_equal(narrow(array).astype(np.float32).view(np.uint32), array.view(np.uint32))


def test_half_precision_saved_as_single_takes_half_the_room():
    assert narrow(values(dtype=np.float16).astype(np.float32)).dtype == np.float16
    assert narrow(values()).dtype == np.float32


def test_preparing_is_the_same_bits(tmp_path, folder, monkeypatch):
    path = write(tmp_path / "a.npy", values(dtype=np.float16))
    for scale in ("standard", "none"):
        modality = Bag("image", ModalityUse("bag", DIM), InstanceOptions(scale=scale))
        monkeypatch.setenv(feature_cache.ENVIRONMENT, "off")
        fitted, plain = modality.fit([modality.load(path)]), modality.load(path)
        want = (plain.values - fitted.center.astype(np.float32)) * fitted.factor.astype(np.float32)
        monkeypatch.setenv(feature_cache.ENVIRONMENT, str(folder))
        raws = [modality.load(path) for _ in range(2)]
        assert raws[1].values.dtype == np.float16
        assert modality.fit([raws[1]]).state() == fitted.state()
        for raw in raws:
            assert np.array_equal(fitted(raw).numpy().view(np.uint32), want.view(np.uint32))


def test_what_is_read_may_be_changed_and_changes_nothing(tmp_path, folder):
    path = write(tmp_path / "a.npy", values())
    bag().load(path)
    mapped = bag().load(path).values
    mapped[:] = 0
    assert np.array_equal(bag().load(path).values, values())


def test_a_changed_file_is_read_anew(tmp_path, folder):
    path = write(tmp_path / "a.npy", values())
    bag().load(path)
    stat = path.stat()
    write(path, values(seed=1))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # the same size and the same time
    time.sleep(SETTLE)
    for _ in range(2):
        assert np.array_equal(bag().load(path).values, values(seed=1))
    assert len(entries(folder)) == 1


def test_a_file_that_was_written_just_now_is_not_kept(tmp_path, folder):
    np.save(tmp_path / "a.npy", values())
    bag().load(tmp_path / "a.npy")
    assert entries(folder) == []


@pytest.mark.parametrize("damage", ["bit", "short", "empty", "header", "length", "other", "foreign"])
def test_a_damaged_entry_is_made_again(tmp_path, folder, damage):
    path = write(tmp_path / "a.npy", values())
    bag().load(path)
    (entry,) = entries(folder)
    whole = bytearray(entry.read_bytes())
    if damage == "bit":
        whole[-5] ^= 1
    elif damage == "header":
        whole[40] ^= 1
    elif damage == "length":
        whole[0] ^= 1
    elif damage == "foreign":
        whole = bytearray(save({"features": values(seed=1)}))
    elif damage == "other":
        whole = bytearray(b"not an entry")
    entry.unlink()
    entry.write_bytes({"short": whole[:-64], "empty": b""}.get(damage, whole))
    fresh = FeatureCache(folder, 1 << 30)
    read = {"features": values()}
    for _ in range(2):
        assert np.array_equal(fresh.arrays(path, "bag", lambda: read)["features"], values())
    assert fresh.arrays(path, "bag", dict) != {}  # from the entry, not from the reader


def test_a_bad_file_says_the_same_and_leaves_no_entry(tmp_path, folder):
    bad = values()
    bad[2, 3] = np.nan
    path = write(tmp_path / "a.npy", bad)
    for _ in range(2):
        with pytest.raises(DataError, match=r"1 values are NaN or infinite, the first at \(2, 3\)"):
            bag().load(path)
    assert entries(folder) == []
    with pytest.raises(DataError, match="no such file"):
        bag().load(tmp_path / "b.npy")


def test_an_entry_is_checked_against_each_cohort(tmp_path, folder):
    path = write(tmp_path / "a.npy", values())
    bag().load(path)
    with pytest.raises(DataError, match="6 features where the other cases have 4"):
        bag(4).load(path)


def test_many_at_once_write_one_whole_entry(tmp_path, folder):
    path, cache = write(tmp_path / "a.npy", values(200)), FeatureCache(folder, 1 << 30)
    wrong = []

    def read():
        got = cache.arrays(path, "bag", lambda: {"features": values(200)})["features"]
        if not np.array_equal(got, values(200)):
            wrong.append(got)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert [p.name for p in folder.iterdir()] == [p.name for p in entries(folder)]
    assert len(entries(folder)) == 1


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(feature_cache.ENVIRONMENT, str(tmp_path / "file" / "cache"))
    paths = [write(tmp_path / f"{name}.npy", values()) for name in "ab"]
    with caplog.at_level(logging.WARNING):
        for path in paths:
            assert np.array_equal(bag().load(path).values, values())
    (record,) = caplog.records
    assert "cannot be written (Not a directory)" in record.message
    assert feature_cache.ENVIRONMENT in record.message


def test_a_full_cache_keeps_what_it_has_and_goes_on(tmp_path, folder, monkeypatch, caplog):
    paths = [write(tmp_path / f"{name}.npy", values(1000)) for name in "ab"]
    size = paths[0].stat().st_size
    monkeypatch.setenv(feature_cache.LIMIT, str(1.5 * size / 1e9))
    with caplog.at_level(logging.WARNING):
        for path in paths * 2:
            assert np.array_equal(bag().load(path).values, values(1000))
    assert len(entries(folder)) == 1
    (record,) = caplog.records
    assert "is full" in record.message
    assert "data cache --clear" in record.message


def test_entries_unused_for_long_make_room(tmp_path, folder, caplog):
    paths = [write(tmp_path / f"{name}.npy", values(1000)) for name in "ab"]
    cache = FeatureCache(folder, int(1.5 * paths[0].stat().st_size))
    cache.arrays(paths[0], "bag", lambda: {"features": values(1000)})
    (old,) = entries(folder)
    os.utime(old, (0, 0))
    cache.arrays(paths[1], "bag", lambda: {"features": values(1000)})
    assert [p for p in entries(folder) if p != old] == entries(folder)
    assert len(entries(folder)) == 1
    assert caplog.records == []


def test_a_disk_without_room_is_left_alone(tmp_path, folder, monkeypatch, caplog):
    monkeypatch.setattr(feature_cache, "SPARE", 1 << 62)
    path = write(tmp_path / "a.npy", values())
    assert np.array_equal(FeatureCache(folder, 1 << 30).arrays(path, "bag", lambda: {"x": values()})["x"], values())
    assert entries(folder) == []
    assert "of disk left" in caplog.records[0].message


def test_pictures_are_decoded_once(tmp_path, folder, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    time.sleep(SETTLE)
    grid = Grid("map", ModalityUse("grid", 3), GridOptions(downsample=2))
    first, second = grid.load(tmp_path / "a.png"), grid.load(tmp_path / "a.png")
    assert len(entries(folder)) == 1
    assert np.array_equal(first.values, second.values)
    assert first.shape == second.shape == (4, 3)


def test_entries_are_mapped_not_copied(tmp_path, folder):
    path = write(tmp_path / "a.npy", values())
    bag().load(path)
    (entry,) = entries(folder)
    mapped = bag().load(path).values
    assert str(entry) in Path("/proc/self/maps").read_text()
    assert np.array_equal(mapped, values())


def test_a_file_name_that_is_not_unicode(tmp_path, folder):
    path = write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.npy")), values())
    for _ in range(2):
        assert np.array_equal(bag().load(path).values, values())
    assert len(entries(folder)) == 1
    assert FeatureCache(folder, 1 << 30).stale() == []


def test_the_command_shows_prunes_and_clears(tmp_path, folder, cli: Cli):
    for name in "ab":
        bag().load(write(tmp_path / f"{name}.npy", values()))
    shown = json.loads(cli("data", "cache", "--json").stdout)
    assert (shown["entries"], shown["stale"], shown["folder"]) == (2, 0, str(folder))
    (tmp_path / "a.npy").unlink()
    assert "1" in cli("data", "cache").stdout.splitlines()[-1].split()
    assert "1 files removed" in cli("data", "cache", "--prune").stdout
    assert len(entries(folder)) == 1
    assert json.loads(cli("data", "cache", "--clear", "--json").stdout)["removed"] == 1
    assert entries(folder) == []
    bag().load(tmp_path / "b.npy")
    assert len(entries(folder)) == 1


def test_bad_settings_get_one_line(cli: Cli, folder):
    one_error(cli("data", "cache", env={feature_cache.LIMIT: "much"}), feature_cache.LIMIT, "'much'", "gigabytes")
    one_error(cli("run", "quickstart", env={feature_cache.LIMIT: "-1"}), feature_cache.LIMIT, "'-1'")
    off = cli("data", "cache", env={feature_cache.ENVIRONMENT: "off"})
    assert f"turned off: {feature_cache.ENVIRONMENT}" in off.stdout
