"""A Ray of this machine's own, or one that runs already; what it has, against what a cell needs."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, contextmanager
from typing import IO, Any

from fusionbench.core.errors import SuiteError
from fusionbench.core.executor import ResourceRequest
from fusionbench.execution.device import cores

OBJECT_STORE = 200 * 2**20
"""Bytes of shared memory for what is on its way between processes; a cell's arrays are a few megabytes."""
_SESSION = "session_2026-01-31_23-59-59_123456"
"""How Ray calls the folder of a session, before the number of its process."""
_SOCKET_PATH, _SOCKET_PATH_MACOS = 107, 103
"""Bytes of the path of a socket, at most."""
_PATIENCE = 3.0
"""Seconds for a cluster's first answer; Ray itself would try for half a minute."""


@contextmanager
def cluster(request: ResourceRequest) -> Iterator[None]:
    """Ray is there while inside, and has a machine that a cell fits on.

    Raises:
        SuiteError: it has none, or nothing answers at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if request.address is None and "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
        # Nobody else on this machine is to send it work; Ray reads this when it is imported.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with _signals_obeyed_afterwards():
        import ray

    if ray.is_initialized():  # the notebook's own
        check(request, ray.nodes())
        yield
        return
    logging.getLogger("ray").setLevel(logging.ERROR)
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    # In another thread, since Ray gives the main thread a handler for SIGTERM that ends the process without a word. The
    # thread lasts as long as Ray: Linux ends Ray's processes with the thread that started them.
    with ThreadPoolExecutor(1) as thread:
        try:
            with _signals_obeyed_afterwards(), _from_root():
                if request.address is None:
                    thread.submit(_start, request, quiet).result()
                else:
                    thread.submit(_join, request.address, quiet).result()
            check(request, ray.nodes())
            yield
        finally:
            with _signals_obeyed_afterwards():
                ray.shutdown()


@contextmanager
def _signals_obeyed_afterwards() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP wait until the end: an exception inside Ray's compiled code aborts the process.

    They are not blocked, since Ray's processes would inherit that. One that is ignored stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    told: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    obeyed = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}
    try:
        for number in obeyed:
            signal.signal(number, lambda number, frame: told.append(number))
        yield
    finally:
        for number, handler in obeyed.items():
            signal.signal(number, handler)
        if told:
            signal.raise_signal(told[0])


@contextmanager
def _from_root() -> Iterator[None]:
    """Ray is started from the root folder.

    Its workers look for modules first in the working directory of the driver, where a file `queue.py` would be imported
    in place of the standard library's module. A worker goes to that directory afterwards; see `Worker`.
    """
    before = os.environ.get("PYTHONPATH")
    if before:  # relative entries are relative to here
        os.environ["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in before.split(os.pathsep))
    try:
        with chdir(os.path.abspath(os.sep)):
            yield
    finally:
        if before:
            os.environ["PYTHONPATH"] = before


def _start(request: ResourceRequest, quiet: Mapping[str, Any]) -> None:
    import ray
    import torch

    check_temporary_folder()
    gpus = torch.cuda.device_count()
    check(request, [{"Alive": True, "Resources": {"CPU": cores(), "GPU": gpus}}])
    wanted = (request.jobs or 1) * request.threads
    ray.init(
        address="local",
        num_cpus=max(cores(), wanted),  # more cells than cores: as asked
        num_gpus=gpus,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE,
        **quiet,
    )


def check_temporary_folder() -> None:
    """
    Raises:
        SuiteError: Ray's sockets cannot lie in the folder of temporary files: the path is too long, or not ASCII.
    """
    linux = sys.platform.startswith("linux")
    variable = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ or not linux else "TMPDIR"
    folder = os.environ.get(variable, "/tmp")  # where Ray looks
    socket_path = os.path.join(folder, "ray", f"{_SESSION}_{os.getpid()}", "sockets", "plasma_store")
    most = _SOCKET_PATH if linux else _SOCKET_PATH_MACOS
    if len(os.fsencode(socket_path)) > most:
        what = f"{len(os.fsencode(folder))} bytes are too long for the sockets that Ray puts there"
    elif not folder.isascii():
        what = "Ray takes no letters beyond ASCII there"
    else:
        return
    raise SuiteError(f"{variable}={folder}: {what}; set RAY_TMPDIR to another folder, such as /tmp")


def _join(address: str, quiet: Mapping[str, Any]) -> None:
    """
    Raises:
        SuiteError: nothing answers, in seconds rather than after Ray's own patience.
    """
    import ray

    remedy = "start one with: ray start --head; leave --address out to run on this machine alone"
    place = address.removeprefix("ray://")
    host, _, port = place.rpartition(":")
    if address != "auto":
        if not host or not port.isdigit():
            raise SuiteError(f"--address {address}: write HOST:PORT, ray://HOST:PORT or auto")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
        except (OSError, OverflowError) as error:
            raise SuiteError(f"--address {address}: no Ray cluster answers there ({error}); {remedy}") from error
    with tempfile.TemporaryFile() as words:
        try:
            with warnings.catch_warnings(), _native_words(words):
                warnings.simplefilter("ignore", UserWarning)  # that it took too long, which the error says
                ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, ImportError) as error:  # Ray's classes for whatever is wrong
            words.seek(0)
            if b"InvalidAuthToken" in words.read():
                raise SuiteError(
                    f"--address {address}: the cluster asks for a token, and this machine has none or another one; set "
                    "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to the cluster's, or copy its ~/.ray/auth_token"
                ) from error
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise SuiteError(f"--address {address}: the cluster cannot be joined ({first}); {remedy}") from error


@contextmanager
def _native_words(file: IO[bytes]) -> Iterator[None]:
    """What Ray's own C++ writes to standard error goes to a file: one line a second on why it does not join yet."""
    sys.stderr.flush()
    before = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def fits(request: ResourceRequest, node: Mapping[str, Any]) -> int:
    """Cells that a machine of the cluster, as `ray.nodes()` says it, can run at once."""
    has = node["Resources"]
    if not node["Alive"]:
        return 0
    by_cores = int(has.get("CPU", 0) // request.threads)
    return min(by_cores, int(has.get("GPU", 0) / request.gpus + 1e-9)) if request.gpus else by_cores


def check(request: ResourceRequest, nodes: Sequence[Mapping[str, Any]]) -> None:
    """
    Raises:
        SuiteError: no machine has what one cell asks for, so that it would wait for ever.
    """
    if any(fits(request, node) for node in nodes):
        return
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    most = {what: max((int(has.get(what, 0)) for has in alive), default=0) for what in ("CPU", "GPU")}
    where = "this machine" if request.address is None else f"the largest of {len(alive)} machines"
    short = request.gpus > most["GPU"]
    flag = f"--gpus-per-cell {request.gpus:g}" if short else f"--threads {request.threads}"
    raise SuiteError(f"{flag}: a cell cannot have that, {where} has {most['CPU']} CPU cores and {most['GPU']} GPUs")
