"""What reading bags costs: from the warm cache against a plain sequential read of the same bytes, and an epoch's data.

`python -m tests.speed.bags [--bags 24] [--patches 4000] [--width 1024] [--format h5] [--dtype float32] [--runs 7]`
makes feature files in a temporary folder (`--folder` for another disk). The ways take turns, one thread each; the first
turn is not counted. Prints medians and ratios, in wall time and in CPU time; the second is the one to look at on a
machine with other work.

- plain: `readinto` of the cache's own files, into the same buffer each time.
- cached: `Bag.load` from the cache, every number copied into the same buffer.
- source: `Bag.load` without the cache, copied likewise: h5py or torch, conversion, and the check for NaN.

Then an epoch of data for batches of `--batch`, with nothing kept in memory, which is the way of cohorts that do not
fit: reading, standardising, collating; without the cache, with it, and as this repository did it before the cache.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from fusionbench.builtin.bag import Bag
from fusionbench.builtin.instances import FittedInstances, InstanceOptions, as_float32
from fusionbench.core.types import ModalitySpec, ModalityUse, PreparedBag, PreparedCase
from fusionbench.data.collate import collate
from fusionbench.data.feature_cache import ENVIRONMENT, LIMIT, OFF, RACY_NS

MB = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bags", type=int, default=24)
    parser.add_argument("--patches", type=int, default=4000, help="of the average bag; they range over a factor of 2")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--format", choices=("h5", "h5-gzip", "pt", "npy"), default="h5")
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float32")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        cache = Path(folder) / "cache"
        os.environ |= {ENVIRONMENT: str(cache), LIMIT: "1000"}
        paths = written(Path(folder), args)
        modality = Bag("image", ModalityUse("bag", args.width), InstanceOptions())
        fitted = modality.fit(modality.load(path) for path in paths)  # fills the cache
        reading(modality, paths, sorted(cache.glob("*.bag")), cache, args.runs)
        epoch(modality, fitted, paths, cache, args)


def written(folder: Path, args: argparse.Namespace) -> list[Path]:
    """Files of random features, old enough to be kept in the cache."""
    rng, paths = np.random.default_rng(0), []
    for i in range(args.bags):
        n = round(args.patches * (2 / 3 + 2 / 3 * i / max(1, args.bags - 1)))
        values = rng.standard_normal((n, args.width), dtype=np.float32).astype(args.dtype)
        path = folder / f"{i}.{args.format.split('-')[0]}"
        if path.suffix == ".h5":
            with h5py.File(path, "w") as file:
                file.create_dataset("features", data=values, compression="gzip" if "gzip" in args.format else None)
        elif path.suffix == ".pt":
            torch.save(torch.from_numpy(values), path)
        else:
            np.save(path, values)
        paths.append(path)
    time.sleep(2 * RACY_NS / 1e9)
    return paths


def reading(modality: Bag, paths: Sequence[Path], entries: Sequence[Path], cache: Path, runs: int) -> None:
    size = sum(path.stat().st_size for path in entries)
    buffer = np.empty(max(path.stat().st_size for path in entries) * 2, np.uint8)

    def plain() -> None:
        for path in entries:
            with path.open("rb", buffering=0) as file:
                file.readinto(memoryview(buffer))

    def load(place: str) -> Callable[[], None]:
        def go() -> None:
            os.environ[ENVIRONMENT] = place
            for path in paths:
                values = modality.load(path).values
                # as bytes, which numpy copies as fast as the machine does; numbers of two bytes it copies one by one
                np.copyto(buffer[: values.nbytes], values.reshape(-1).view(np.uint8))

        return go

    ways = {"plain": plain, "cached": load(str(cache)), "source": load(OFF)}
    wall, cpu = timed(ways, runs)
    print(f"reading {len(paths)} bags, {size / MB:.0f} MB in the cache, {runs} runs:")
    for name in ways:
        print(f"  {name}: {size / MB / wall[name]:.0f} MB/s, {size / MB / cpu[name]:.0f} MB per CPU second")
    print(f"  cached / plain: {wall['plain'] / wall['cached']:.2f} (CPU {cpu['plain'] / cpu['cached']:.2f})")
    print(f"  cached / source: {wall['source'] / wall['cached']:.2f} (CPU {cpu['source'] / cpu['cached']:.2f})")


def epoch(modality: Bag, fitted: FittedInstances, paths: Sequence[Path], cache: Path, args: argparse.Namespace) -> None:
    specs = {"image": ModalitySpec("image", "bag", args.width)}
    groups = [paths[start : start + args.batch] for start in range(0, len(paths), args.batch)]

    def now(place: str) -> Callable[[], None]:
        def go() -> None:
            os.environ[ENVIRONMENT] = place
            for group in groups:
                raw = [modality.load(path) for path in group]
                cases = [PreparedCase(str(i), {"image": PreparedBag(fitted(one))}) for i, one in enumerate(raw)]
                collate(cases, specs)

        return go

    def before() -> None:
        center, factor = fitted.center.astype(np.float32), fitted.factor.astype(np.float32)
        os.environ[ENVIRONMENT] = OFF
        for group in groups:
            raw = [np.concatenate([as_float32("", modality.load(path).values)]) for path in group]
            pad_sequence([torch.from_numpy((one - center) * factor) for one in raw], batch_first=True)

    ways = {"before": before, "without the cache": now(OFF), "with it": now(str(cache))}
    wall, cpu = timed(ways, args.runs)
    print(f"an epoch of data, {len(groups)} batches of up to {args.batch}:")
    for name in ways:
        print(f"  {name}: {wall[name]:.2f} s, {cpu[name]:.2f} CPU s")
    print(f"  before / with it: {wall['before'] / wall['with it']:.2f} (CPU {cpu['before'] / cpu['with it']:.2f})")


def timed(ways: Mapping[str, Callable[[], None]], runs: int) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of each way, of wall time and of CPU time; turn and turn about."""
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs + 1):
        for name, way in ways.items():
            began, spent = time.perf_counter(), time.process_time()
            way()
            wall[name].append(time.perf_counter() - began)
            cpu[name].append(time.process_time() - spent)
    middle = {name: statistics.median(times[1:]) for name, times in wall.items()}
    return middle, {name: statistics.median(times[1:]) for name, times in cpu.items()}


if __name__ == "__main__":
    main()
