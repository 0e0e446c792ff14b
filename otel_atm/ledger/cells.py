"""Cells: what a process has committed, where it survives the process.

Beside a ledger that processes share lies a folder with two files for each of them::

    4711-9f3a.cells   a magic word, then an int64 for each account: settled + held, through mmap
    4711-9f3a.names   a line for each account: [cell, birth, epoch, *bucket]

The process has a lock on its cells while it lives. Whoever gets that lock knows that it is dead,
and how much it had committed: no more than the cells say, since a cell is written before its call
goes out. A name is written before the first credit is asked for, and struck out (``[cell]``) before
its cell is used again.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from otel_atm.ledger.grants import Bucket

_MAGIC: Final = b"ATMCELL1"
_FIRST_SIZE: Final = 512  # a page
_Line = list[Any]  # of names: [cell, birth, epoch, *bucket], or [cell]
#: Cell 0 is nobody's: what has no cell yet may write there.
SCRATCH: Final = 0


class Remains(NamedTuple):
    """What a node has committed in one bucket."""

    bucket: Bucket
    birth: int
    epoch: int
    spent: int


class Cells:
    """The cells of this process.

    Args:
        folder: made if needed.

    Raises:
        OSError: the files cannot be made.

    Attributes:
        node: the name of the process, of this life: no other has had or will have it.
        values: the cells; another object after each growth. `SCRATCH` is nobody's.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.node = f"{os.getpid()}-{secrets.token_hex(6)}"
        self.path = folder / f"{self.node}.cells"
        self._names = _Names(folder / f"{self.node}.names")
        self._free: list[int] = []
        self._lock = -1
        try:
            self._create()
        except OSError:
            self.leave()
            raise

    def _create(self) -> None:
        """Locked before it has its name: nobody may take it for a dead one's."""
        draft = self.path.with_suffix(".new")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._lock = os.open(draft, flags, 0o600)
        _held.add(self._lock)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(self._lock, _MAGIC)
            draft_size = _FIRST_SIZE
            self.values = self._map(draft, draft_size)
            draft.rename(self.path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        self._free = list(range(draft_size - 1, SCRATCH, -1))

    def _map(self, path: Path, size: int) -> memoryview:
        # Opened anew: a mapping keeps a copy of its descriptor, which a child would inherit, and
        # with it the lock.
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            end = os.fstat(descriptor).st_size
            # Written, not just made longer: where the disk is full, this fails instead of mmap.
            missing = bytes(8 * (size + 1) - end)
            if os.pwrite(descriptor, missing, end) < len(missing):
                raise OSError(f"no room for {path}")
            return memoryview(mmap.mmap(descriptor, 8 * (size + 1))).cast("q")[1:]
        finally:
            os.close(descriptor)

    def name(self, bucket: Bucket, birth: int, epoch: int, spent: int) -> int:
        """A cell for an account, with what it has committed already. Not safe between threads.

        Raises:
            OSError: it cannot be written; nothing has changed.
        """
        if not self._free:
            self._grow()
        cell = self._free[-1]
        self.values[cell] = spent  # nobody's, so far
        self._names.add([cell, birth, epoch, *bucket])
        return self._free.pop()

    def rename(self, cell: int, bucket: Bucket, birth: int, epoch: int) -> None:
        """Say in which epoch an account is.

        Raises:
            OSError: it cannot be written; nothing has changed.
        """
        self._names.add([cell, birth, epoch, *bucket])

    def free(self, cells: Sequence[int]) -> None:
        """Let others use these. What they say must have been told to the store.

        Raises:
            OSError: it cannot be written; nothing has changed.
        """
        if cells:
            self._names.add(*([cell] for cell in cells))
            self._free += cells

    def _grow(self) -> None:
        size = len(self.values)
        self.values = self._map(self.path, 2 * size)
        self._free = list(range(2 * size - 1, size - 1, -1))

    def leave(self) -> None:
        """Remove the files. What they say must have been told to the store."""
        self.path.unlink(missing_ok=True)
        self._names.remove()
        if self._lock >= 0:
            _let_go(self._lock)
            self._lock = -1

    def disown(self) -> None:
        """In a forked child: the files are its parent's, and so is the lock."""
        self._lock = -1
        self._names.close()

    def abandon(self) -> None:
        """Leave the files to whoever finds them, as a process does that dies."""
        if self._lock >= 0:
            _let_go(self._lock)
            self._lock = -1
        self._names.close()


class _Names:
    """Lines, of which later ones about a cell replace earlier ones."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._live: dict[int, _Line] = {}
        self._lines = self._end = 0
        self._descriptor = self._open(path)

    def _open(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def add(self, *lines: _Line) -> None:
        if self._lines > 1_000 and self._lines > 4 * len(self._live):
            self._rewrite()
        self._end += self._write(self._descriptor, lines, self._end)
        self._take(lines)

    def _take(self, lines: Sequence[_Line]) -> None:
        self._lines += len(lines)
        for line in lines:
            cell = line[0]
            if len(line) == 1:
                self._live.pop(cell, None)
            else:
                self._live[cell] = line

    def _rewrite(self) -> None:
        """Without what was replaced, in the place of the old file at once."""
        draft = self.path.with_suffix(".names-new")
        descriptor = self._open(draft)
        try:
            end = self._write(descriptor, list(self._live.values()), 0)
            draft.rename(self.path)
        except OSError:
            os.close(descriptor)
            draft.unlink(missing_ok=True)
            raise
        os.close(self._descriptor)
        self._descriptor, self._end, self._lines = descriptor, end, len(self._live)

    @staticmethod
    def _write(descriptor: int, lines: Sequence[_Line], at: int) -> int:
        data = "".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in lines).encode()
        try:
            if os.pwrite(descriptor, data, at) == len(data):
                return len(data)
        except OSError:
            os.ftruncate(descriptor, at)
            raise
        os.ftruncate(descriptor, at)
        raise OSError("no room for the names of accounts")

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.close()


class DeadNode:
    """The files of a process that is no more, locked for us.

    Attributes:
        node: its name.
        remains: what it had committed.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.node, self._path, self._lock = path.stem, path, lock
        self.remains = _read(path)

    def remove(self) -> None:
        """Once the store knows."""
        self._path.unlink(missing_ok=True)
        self._path.with_suffix(".names").unlink(missing_ok=True)


def recover(folder: Path) -> Iterator[DeadNode]:
    """Nodes whose process is dead, one after the other, each locked until the next one.

    Raises:
        OSError: a file cannot be read; those after it are left for another time.
    """
    for path in sorted(folder.glob("*.cells")):
        lock = _lock_of_dead(path)
        if lock is not None:
            try:
                yield DeadNode(path, lock)
            finally:
                _let_go(lock)


def _lock_of_dead(path: Path) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    _held.add(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(descriptor).st_ino:  # else it was buried just now
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass  # alive, or buried just now
    _held.discard(descriptor)
    os.close(descriptor)
    return None


def _read(path: Path) -> list[Remains]:
    data = path.read_bytes()
    cells = memoryview(data[8 : len(data) - len(data) % 8]).cast("q")
    names: dict[int, _Line] = {}
    for text in _complete_lines(path.with_suffix(".names")):
        line = json.loads(text)
        if len(line) == 1:
            names.pop(line[0], None)
        else:
            names[line[0]] = line
    return [
        Remains(Bucket(*bucket), birth, epoch, cells[cell])
        for cell, birth, epoch, *bucket in names.values()
    ]


def _complete_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        return []


# A forked child has the same open files, and would keep the locks of a parent that dies. It closes
# them, without unlocking, which would unlock its parent's.
_held: set[int] = set()


def _let_go(descriptor: int) -> None:
    """Unlock and close: closing alone would leave the lock to a child that was forked meanwhile."""
    _held.discard(descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _close_inherited() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_inherited)
