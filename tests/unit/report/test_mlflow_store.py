"""The file of the local tracking store: its birth, whatever interrupts it, and files that are of no use."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from fusionbench.core.errors import ResultsError
from fusionbench.report.mlflow import sqlite_store, store_uri
from fusionbench.report.mlflow.client import Connection, TrackingError
from fusionbench.report.mlflow.owner import owner_of
from fusionbench.report.mlflow.sqlite_store import filled, make_ready
from fusionbench.results.exclusive import exclusive
from tests.forking import child, status
from tests.full_disk import full_disk


def size_of(path: Path) -> int:
    """Bytes of a file that another process may remove."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def assert_whole(path: Path) -> None:
    """The store takes an experiment, and nothing of its birth is left."""
    assert make_ready(path) == ""
    Connection(f"sqlite:///{path}", "any").call("create_experiment", f"after {time.monotonic_ns()}")
    assert [p.name for p in path.parent.iterdir() if ".new-" in p.name] == []


@pytest.fixture
def quick_birth(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new store is a copy, where the making of it is not what is tested: mlflow takes a second for it."""

    @contextmanager
    def made(path: Path) -> Iterator[Path]:
        yield Path(shutil.copy(empty_store, path.with_name("copied")))

    monkeypatch.setattr(sqlite_store, "_made", made)


@pytest.fixture(scope="module")
def mlflow_loaded(empty_store: Path) -> None:
    """Forked processes need not import it: `empty_store` has made this one do so."""


@pytest.mark.parametrize("races", [2, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("mlflow_loaded")
def test_two_processes_that_make_one_store_at_once_both_use_it(tmp_path: Path, races: int) -> None:
    for race in range(races):
        root = tmp_path / str(race)
        root.mkdir()
        uri = store_uri(root)
        both = [child(partial(Connection(uri, suite).call, "create_experiment", suite)) for suite in ("one", "two")]
        assert [status(pid) for pid in both] == [0, 0]
        made = {found.name for found in Connection(uri, "one").call("search_experiments")}
        assert made == {"Default", "one", "two"}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda how: how.name)
@pytest.mark.usefixtures("mlflow_loaded")
def test_a_birth_that_is_ended_at_any_moment_leaves_no_store_or_a_whole_one(tmp_path: Path, how: int) -> None:
    path, ended = tmp_path / "mlflow.db", []
    for size in (0, 50_000, 300_000, 700_000, 900_000):  # of the file in the making; a whole one has 950,000 bytes
        pid = child(lambda: make_ready(path))
        while not path.exists() and max(map(size_of, tmp_path.glob("*.new-*")), default=-1) < size:
            time.sleep(0.001)
        os.kill(pid, how)
        ended.append(status(pid))
        assert not path.exists() or make_ready(path) == ""
        path.unlink(missing_ok=True)
    assert ended.count({signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130}[how]) >= 4
    assert_whole(path)


def dumped(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return list(database.iterdump())


@pytest.mark.usefixtures("mlflow_loaded")
def test_what_mlflow_s_own_birth_leaves_half_made_is_moved_aside(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    path = tmp_path / "mlflow.db"
    pid = child(lambda: MlflowClient(f"sqlite:///{path}"))
    while size_of(path) < 300_000:
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    assert status(pid) == -signal.SIGKILL
    (tmp_path / "copy").mkdir()
    for part in tmp_path.glob("mlflow.db*"):  # with its journal: SQLite rolls a transaction back when it is opened
        shutil.copy(part, tmp_path / "copy")
    told = make_ready(path)
    (aside,) = tmp_path.glob("mlflow.db.broken-*[0-9]")
    assert told == (f"{path} was left half-made; it is {aside.name} now, a new store is filled from the results")
    assert dumped(aside) == dumped(tmp_path / "copy" / path.name)
    assert make_ready(path) == told  # until it has been filled, whatever ends this process before
    filled(path)
    assert_whole(path)


def no_database(path: Path) -> None:
    path.write_text("no database " * 500)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(200_000))


def without_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE experiments")
        database.commit()


@pytest.mark.usefixtures("quick_birth")
@pytest.mark.parametrize("damage", [no_database, cut, overwritten, without_tables])
def test_a_damaged_store_is_moved_aside_and_made_anew(
    tmp_path: Path, empty_store: Path, damage: Callable[[Path], None]
) -> None:
    path = Path(shutil.copy(empty_store, tmp_path / "mlflow.db"))
    damage(path)
    before = path.read_bytes()
    told = make_ready(path)
    (aside,) = tmp_path.glob("mlflow.db.broken-*")
    assert told.startswith(f"{path} {'was left half-made' if damage is without_tables else 'is damaged'}")
    assert "\n" not in told
    assert aside.read_bytes() == before
    filled(path)
    assert_whole(path)


@pytest.mark.usefixtures("quick_birth")
def test_a_journal_of_a_store_that_is_gone_is_not_applied_to_the_new_one(tmp_path: Path, empty_store: Path) -> None:
    path = Path(shutil.copy(empty_store, tmp_path / "mlflow.db"))

    def dies_in_a_transaction() -> None:
        database = sqlite3.connect(path)
        database.execute("PRAGMA cache_size = 1")  # so that pages are written before the transaction ends
        database.execute("UPDATE experiments SET name = hex(randomblob(900000))")
        os.kill(os.getpid(), signal.SIGKILL)

    assert status(child(dies_in_a_transaction)) == -signal.SIGKILL
    assert path.with_name("mlflow.db-journal").stat().st_size > 0
    path.unlink()
    assert_whole(path)


@pytest.mark.usefixtures("quick_birth")
def test_an_empty_file_is_filled_in_without_a_word(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.touch()
    assert make_ready(path) == ""
    assert_whole(path)


def older_schema(path: Path) -> str:
    """A whole store with one experiment as an older MLflow left it; gives the version of its schema."""
    import mlflow.store.db_migrations
    import sqlalchemy
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from mlflow.store.tracking.dbmodels.initial_models import Base

    folder = str(Path(mlflow.store.db_migrations.__file__).parent)
    revisions = [script.revision for script in ScriptDirectory(folder).walk_revisions()]
    uri = f"sqlite:///{path}"
    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
    Base.metadata.create_all(engine)
    config = Config()
    config.set_main_option("script_location", folder)
    config.set_main_option("sqlalchemy.url", uri)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revisions[2])
        connection.execute(sqlalchemy.text("INSERT INTO experiments (name, lifecycle_stage) VALUES ('mine', 'active')"))
    engine.dispose()
    return revisions[2]


@pytest.mark.slow
def test_an_out_of_date_schema_is_told_with_address_and_the_command_that_upgrades_it(tmp_path: Path) -> None:
    root = tmp_path / "my results"
    root.mkdir()
    path = root / "mlflow.db"
    version, before = older_schema(path), path.read_bytes()
    with pytest.raises(TrackingError) as caught:
        Connection(store_uri(root), "any").call("search_experiments")
    told = str(caught.value)
    assert told.startswith(f"MLflow at sqlite:///{path} has the schema of an older MLflow (version {version}, expected")
    command = told.split("then upgrade it: ")[1].split(" (where that fails")[0]
    assert command == f"{sys.executable} -m mlflow db upgrade 'sqlite:///{path}'"
    assert path.read_bytes() == before
    subprocess.run(command, shell=True, check=True, capture_output=True)
    found = {of.name for of in Connection(store_uri(root), "any").call("search_experiments")}
    assert "mine" in found


def test_a_schema_of_a_newer_mlflow_is_told_and_left_alone(tmp_path: Path, empty_store: Path) -> None:
    path = Path(shutil.copy(empty_store, tmp_path / "mlflow.db"))
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE alembic_version SET version_num = 'f00d'")
        database.commit()
    with pytest.raises(TrackingError, match=r"\(version f00d\) that the installed MLflow .* does not know; upgrade"):
        Connection(store_uri(tmp_path), "any").call("search_experiments")
    assert list(tmp_path.glob("*.broken-*")) == []


@pytest.mark.parametrize("size", [0, 800_000])
def test_a_birth_on_a_full_disk_leaves_nothing_and_is_made_up_for_later(tmp_path: Path, size: int) -> None:
    with full_disk(size), pytest.raises(TrackingError):
        Connection(store_uri(tmp_path), "any").call("search_experiments")
    assert {p.name for p in tmp_path.iterdir()} <= {".mlflow.lock"}
    assert_whole(tmp_path / "mlflow.db")


@pytest.fixture
def small_disk(tmp_path: Path, empty_store: Path) -> Iterator[Path]:
    """A file system with a store and 200 kB more."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = empty_store.stat().st_size + 200_000
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False).returncode:
        pytest.skip("this account may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_store_whose_disk_fills_up_keeps_what_it_has_and_goes_on_with_more_room(
    small_disk: Path, empty_store: Path
) -> None:
    path = Path(shutil.copy(empty_store, small_disk / "mlflow.db"))
    uri = f"sqlite:///{path}"
    Connection(uri, "any").call("create_experiment", "before")
    filler = small_disk / "filler"
    free = os.statvfs(small_disk)
    filler.write_bytes(bytes(free.f_bavail * free.f_frsize))
    with pytest.raises(TrackingError, match="full"):
        Connection(uri, "any").call("create_experiment", "x" * 400, tags={"mlflow.note.content": "x" * 4000})
    filler.unlink()
    assert make_ready(path) == ""
    Connection(uri, "any").call("create_experiment", "after")
    names = {of.name for of in Connection(uri, "any").call("search_experiments")}
    assert {"before", "after"} <= names


# --- whose it is


def test_one_results_root_has_one_id_whoever_asks_first(tmp_path: Path) -> None:
    pids = [child(lambda n=n: (tmp_path / f"seen-{n}").write_text(owner_of(tmp_path).root)) for n in range(8)]
    assert {status(pid) for pid in pids} == {0}
    seen = {path.read_text() for path in tmp_path.glob("seen-*")}
    assert seen == {owner_of(tmp_path).root}
    assert owner_of(tmp_path / "another").root not in seen


def test_a_file_that_holds_no_id_is_named(tmp_path: Path) -> None:
    (tmp_path / "root-id").write_text("it's 'mine'")
    with pytest.raises(ResultsError, match="root-id holds no id"):
        owner_of(tmp_path)


def test_a_lock_is_waited_for_and_given_up_after_a_while(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = pytest.raises(ResultsError, match="held by another process")
    with exclusive(path), held, exclusive(path, seconds=0.1):
        pass
    with exclusive(path, seconds=0.1):
        pass
