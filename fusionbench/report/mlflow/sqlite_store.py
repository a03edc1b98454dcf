"""The file of a SQLite tracking store: put in place whole, never half-made; a file that cannot be used is moved aside.

MLflow makes a store in some fifty steps, each of which stays when the process ends between two. Two processes that do
so at once, or one that is interrupted, leave a file that neither MLflow nor its own upgrade can finish.
"""

from __future__ import annotations

import os
import shlex
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

from fusionbench.results.exclusive import exclusive

LOCK = ".mlflow.lock"
"""Lock file beside the store."""
MADE, ASIDE = ".new-", ".broken-"
"""Between a store's name and what tells one file from another: a store that is being made; one that was of no use."""
JOURNALS = ("-journal", "-wal", "-shm")
"""SQLite's own files beside a database, which it applies to whatever file has that database's name."""
REFILL = ".refill"
"""Ending of the note beside a store which is to be filled again, from the results; gone once that is done."""
PATIENCE = 20  # seconds for another process's transaction, as MLflow has it
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class UnusableStore(Exception):
    """A store that only its owner can mend; the text goes on after "MLflow at URI "."""


def make_ready(path: Path) -> str:
    """Have a whole store of the installed MLflow's schema at `path`, made anew where there is none that can be used.

    Of processes that ask at once, one makes it and the others wait. A file that holds no experiment, or is damaged, is
    renamed, never removed. One that holds experiments in another schema stays as it is.

    Returns:
        one line that says why the store has to be filled again, and where its old file is; empty where it has not to.

    Raises:
        UnusableStore: another schema, with the command that upgrades it. ResultsError: no lock can be had there.
    """
    if not _is_whole(path):
        with exclusive(path.with_name(LOCK)):
            if not _is_whole(path):
                _make_anew(path)
    return _note(path).read_text(encoding="utf-8") if _note(path).is_file() else ""


def to_be_filled(path: Path, why: str) -> None:
    """Have `make_ready` say `why` until the store is filled again, whatever ends this process before."""
    new = Path(f"{_note(path)}{MADE}{uuid4().hex}")
    new.write_text(why, encoding="utf-8")
    new.replace(_note(path))


def filled(path: Path) -> None:
    """The store holds everything that its results root does."""
    _note(path).unlink(missing_ok=True)


def _note(path: Path) -> Path:
    return Path(f"{path}{REFILL}")


def _is_whole(path: Path) -> bool:
    """Whether there is a store that can be used; needs no lock, since a store is put in place whole.

    Raises:
        UnusableStore: as in `make_ready`.
    """
    try:
        return path.is_file() and not _fault(path)
    except sqlite3.OperationalError:
        if path.is_file():
            raise
        return False  # another process has just moved it aside


def _make_anew(path: Path) -> None:
    """Put an empty store in place; what is there of another birth is removed, a file of no use moved aside."""
    for left in path.parent.glob(f"{path.name}*{MADE}*"):  # its process was killed
        left.unlink()
    with _made(path) as whole:
        if path.is_file() and path.stat().st_size:
            aside = path.with_name(f"{path.name}{ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")
            to_be_filled(path, f"{path} {_fault(path)}; it is {aside.name} now, a new store is filled from the results")
            path.rename(aside)
            for suffix in JOURNALS:
                if (beside := Path(f"{path}{suffix}")).exists():
                    beside.rename(f"{aside}{suffix}")
        for suffix in JOURNALS:
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        whole.replace(path)


def upgrade_command(uri: str) -> str:
    """The command that brings a database to the schema of the installed MLflow."""
    return shlex.join([sys.executable, "-m", "mlflow", "db", "upgrade", uri])


def out_of_date(uri: str, found: str, expected: str) -> str:
    """The rest of a line that begins with the address of a store with an older schema."""
    return (
        f"has the schema of an older MLflow (version {found}, expected {expected}); make a copy of the database, then "
        f"upgrade it: {upgrade_command(uri)}"
    )


def _fault(path: Path) -> str:
    """Why a file is of no use as a store; empty where it is one, or has nothing in it yet.

    Raises:
        UnusableStore: it is a store, of another MLflow.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=PATIENCE)) as database:
            (checked,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if checked != "ok":
                return f"is damaged ({' '.join(str(checked).split())})"
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            # MLflow adds the experiment `Default` once the schema is whole: without one, it never was.
            if not {"experiments", "alembic_version"} <= tables or not _count(database, "experiments"):
                return "was left half-made"
            schema = [str(found) for (found,) in database.execute("SELECT version_num FROM alembic_version")]
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in DAMAGED:
            return f"is damaged ({error})"
        raise
    _compare(path, ", ".join(schema))
    return ""


def _count(database: sqlite3.Connection, table: str) -> int:
    (number,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(number)


def _compare(path: Path, schema: str) -> None:
    """Whether a store's schema is the one that the installed MLflow makes.

    Raises:
        UnusableStore: it is not.
    """
    import mlflow
    from alembic.script import ScriptDirectory

    known = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    expected = known.get_current_head() or ""
    if schema == expected:
        return
    uri = f"sqlite:///{path.absolute().as_posix()}"
    if schema in {script.revision for script in known.walk_revisions()}:
        raise UnusableStore(
            f"{out_of_date(uri, schema, expected)} (where that fails, move the file away: a new one is filled again)"
        )
    raise UnusableStore(
        f"has a schema (version {schema}) that the installed MLflow {version('mlflow')} does not know; upgrade MLflow: "
        f"{shlex.join([sys.executable, '-m', 'pip', 'install', '--upgrade', 'mlflow'])}"
    )


@contextmanager
def _made(path: Path) -> Iterator[Path]:
    """A whole and empty store under another name in the folder of `path`, gone in the end if nobody renamed it."""
    from mlflow.tracking import MlflowClient

    # MLflow remembers the stores of a process by their names.
    steps = path.with_name(f"{path.name}{MADE}{uuid4().hex}")
    whole = Path(f"{steps}-whole")
    try:
        MlflowClient(f"sqlite:///{steps.absolute().as_posix()}").search_experiments(max_results=1)
        with closing(sqlite3.connect(steps, timeout=PATIENCE)) as database:
            database.execute("VACUUM INTO ?", (str(whole),))  # one file, whatever MLflow still holds open of the other
        with whole.open("rb") as file:
            os.fsync(file.fileno())
        yield whole
    finally:
        for left in (steps, whole, *(Path(f"{steps}{suffix}") for suffix in JOURNALS)):
            left.unlink(missing_ok=True)
