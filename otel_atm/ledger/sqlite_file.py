"""SqliteFile: a SQLite file that is opened, locked, lost and found again."""

from __future__ import annotations

import fcntl
import os
import random
import secrets
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from otel_atm.late import late_import
from otel_atm.ledger.lease_store import LedgerError

_APPLICATION_ID: Final = 0x41544D4C  # "ATML"
_VERSION: Final = 1
_WRITER, _READER = "writer", "reader"
_Place = tuple[int, int] | None  # device and inode
_SCHEMA: Final = Path(__file__).with_name("sqlite.sql")
_BUSY: Final = 5  # SQLITE_BUSY
#: How long to wait before the next try to get the lock of a file, at most.
_RETRY_S: Final = 0.002
#: SQLite itself waits so long, without the interpreter; its waits become longer and longer.
_PATIENCE_S: Final = 0.004
#: Readers do not hold up anybody.
_READ_TIMEOUT_S: Final = 1.0


class Hand:
    """A connection in the hand of a thread, until a deadline."""

    def __init__(
        self,
        db: sqlite3.Connection,
        deadline: float,
        mono: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self.db, self._deadline = db, deadline
        self._mono, self._sleep = mono, sleep

    def write(self, statement: str, values: Any = ()) -> None:
        """Execute a statement, as soon as nobody else writes.

        Raises:
            sqlite3.Error: it has not happened.
        """
        while True:
            try:
                self.db.execute(statement, values)
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or self._mono() >= self._deadline:
                    raise
            else:
                return
            self._sleep(_RETRY_S * random.uniform(0.1, 1))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A transaction that nobody else writes beside.

        Raises:
            sqlite3.Error: nothing was written.
        """
        self.write("begin immediate")
        try:
            yield
            self.db.execute("commit")
        except BaseException:
            with suppress(sqlite3.Error):
                self.db.execute("rollback")
            raise


class SqliteFile:
    """One connection to write with and one to read with, each for one thread at a time.

    They are opened when first needed, and again after the file was removed, another one was put in
    its place, or something failed. They are closed before a fork: SQLite's own state must not be
    in two processes.

    Args:
        path: of the file; made if needed, for its owner alone.
        folder: where to keep the lock that is held while the file is made.
        mono: seconds of a clock that never goes back.
        sleep: waits so many seconds.

    Attributes:
        generation: rises when the file is not the one that it was.
    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        *,
        mono: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self.path, self.folder = path, folder
        self.generation = 0
        self._mono, self._sleep = mono, sleep
        self._name = ""
        self._open_ones: dict[str, tuple[sqlite3.Connection, _Place]] = {}
        self.renew_locks()
        _files.add(self)

    def renew_locks(self) -> None:
        """In a forked child: other threads, which may have held them, are not there."""
        self.locks = {_WRITER: threading.Lock(), _READER: threading.Lock()}

    @contextmanager
    def using(self, timeout_s: float) -> Iterator[Hand]:
        """The connection that writes.

        Raises:
            LedgerError: the file was locked for too long, or cannot be used.
        """
        deadline = self._mono() + timeout_s
        with self._connection(_WRITER, deadline) as db:
            yield Hand(db, deadline, self._mono, self._sleep)

    @contextmanager
    def writing(self, timeout_s: float) -> Iterator[Hand]:
        """A transaction that nobody else writes beside.

        Raises:
            LedgerError: nothing was written: the file was locked for too long, or cannot be used.
        """
        with self.using(timeout_s) as hand, hand.alone():
            yield hand

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees what is committed.

        Raises:
            LedgerError: the file cannot be read.
        """
        with self._connection(_READER, self._mono() + _READ_TIMEOUT_S) as db:
            yield db

    def checkpoint(self) -> None:
        """Copy what was written into the file itself. Beside a step, not in it.

        Raises:
            LedgerError: it did not go; it is tried again.
        """
        with self.reading() as db:
            db.execute("pragma wal_checkpoint(passive)")

    def close(self) -> None:
        """Close what is open; it is opened again when needed."""
        for role, lock in self.locks.items():
            if lock.acquire(timeout=_READ_TIMEOUT_S):
                try:
                    self.close_one(role)
                finally:
                    lock.release()

    def close_one(self, role: str) -> None:
        """Close a connection; for whoever has its lock."""
        db, _ = self._open_ones.pop(role, (None, None))
        if db is not None:
            with suppress(sqlite3.Error):
                db.execute("pragma synchronous = normal")  # the last one to close copies the log
                db.close()

    @contextmanager
    def _connection(self, role: str, deadline: float) -> Iterator[sqlite3.Connection]:
        lock = self.locks[role]
        if not lock.acquire(timeout=max(0.0, deadline - self._mono())):
            raise LedgerError(f"{self.path} is busy")
        try:
            yield self._ready(role, deadline)
        except (sqlite3.Error, OSError) as error:
            if not _is_busy(error):
                self.close_one(role)  # whatever it is: the next one starts anew
            raise LedgerError(f"{self.path} cannot be used: {_said(error)}") from error
        finally:
            lock.release()

    def _ready(self, role: str, deadline: float) -> sqlite3.Connection:
        if role in self._open_ones:
            db, place = self._open_ones[role]
            if place == self._place():
                return db
            self.close_one(role)  # it is of a file that is no more
        db = self._open(role, deadline)
        self._open_ones[role] = db, self._place()
        return db

    def _place(self) -> _Place:
        """Where the file lies. While it is open, no other file can lie there."""
        try:
            status = os.stat(self.path)  # noqa: PTH116 - in every step; Path.stat takes twice as long
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    # Opening ----------------------------------------------------------------------------------

    def _open(self, role: str, deadline: float) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        # `pragma journal_mode` does not wait for others that do the same.
        with self._alone(deadline):
            self._make()
            db = sqlite3.connect(
                self.path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(db, role)
            except BaseException:
                db.close()
                raise
        return db

    def _make(self) -> None:
        """A file for its owner alone, if there is none.

        One that is there must not be opened, were it only for a moment: closing it would drop
        the locks that SQLite has on it in this process, and others would take its log away.
        """
        with suppress(FileExistsError):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            os.close(os.open(self.path, flags, 0o600))

    @contextmanager
    def _alone(self, deadline: float) -> Iterator[None]:
        descriptor = os.open(self.folder / "opening", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if self._mono() >= deadline:
                        raise
                else:
                    break
                self._sleep(_RETRY_S)
            yield
        finally:
            os.close(descriptor)

    def _prepare(self, db: sqlite3.Connection, role: str) -> None:
        (kind,) = db.execute("pragma application_id").fetchone()
        (version,) = db.execute("pragma user_version").fetchone()
        if kind == 0 and version == 0 and not db.execute("select 1 from sqlite_master").fetchone():
            self._create(db)
        elif kind != _APPLICATION_ID:
            raise LedgerError(f"{self.path} is a SQLite file of something else, not a ledger")
        elif version != _VERSION:
            raise LedgerError(
                f"{self.path} is a ledger of version {version}; this otel-atm reads {_VERSION}"
            )
        # Who writes does not wait for the disk with the file's lock. That is safe as long as who
        # copies the log into the file (see `checkpoint`) syncs both: after a power failure it is
        # consistent, and may miss the last moments.
        db.execute(f"pragma synchronous = {'off' if role == _WRITER else 'normal'}")
        db.execute("pragma wal_autocheckpoint = 0")
        (name,) = db.execute("select name from ledger").fetchone()
        if self._name and name != self._name:
            self.generation += 1
        self._name = name

    def _create(self, db: sqlite3.Connection) -> None:
        db.execute("pragma journal_mode = wal")
        db.executescript(
            f"begin immediate;\n{_SCHEMA.read_text(encoding='utf-8')}\n"
            f"insert into ledger values ('{secrets.token_hex(8)}');\n"
            f"pragma application_id = {_APPLICATION_ID};\n"
            f"pragma user_version = {_VERSION};\n"
            "commit;"
        )


def _is_busy(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == _BUSY


def _said(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


# Forks ----------------------------------------------------------------------------------------

_files: weakref.WeakSet[SqliteFile] = weakref.WeakSet()


_taken: list[threading.Lock] = []


def _before_fork() -> None:
    """Close everything, and let nobody open anything until there are two of us."""
    with late_import():
        pass  # a fork waits for these; not with our locks, which calls may need
    for file in list(_files):
        for role, lock in file.locks.items():
            if lock.acquire(timeout=_READ_TIMEOUT_S):
                _taken.append(lock)
                file.close_one(role)


def _in_parent() -> None:
    while _taken:
        _taken.pop().release()


def _in_child() -> None:
    _taken.clear()
    for file in list(_files):
        file.renew_locks()


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
