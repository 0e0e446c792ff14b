"""Bell: what processes of one host tell each other without a message: words of a shared file.

A word is not a count, so nothing is lost when two write it at once: it is the time of the last
ring, and whoever sees another time than before has heard it.
"""

from __future__ import annotations

import mmap
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final
from zlib import crc32

from otel_atm.ledger.grants import Bucket

_MAGIC: Final = int.from_bytes(b"ATMBELL1", "little")
#: Payers are told apart by a mark of so many.
MARKS: Final = 256
_STOPPED, _BURIED, _HUNGRY, _RETURNED, _CHANGED = 1, 2, 16, 16 + MARKS, 16 + 2 * MARKS
_WORDS: Final = 16 + 3 * MARKS


def mark_of(bucket: Bucket) -> int:
    """Where its payer's words stand; the same in every process, and for all of its windows."""
    return crc32(f"{bucket.budget}{bucket.payer}".encode()) % MARKS


class Bell:
    """The words of one folder. Rings are for all nodes that share it.

    Args:
        path: of the file; made if needed.
        mono_ns: a clock that all processes of the host share, and that never goes back.

    Raises:
        OSError: it can be neither made nor opened.
    """

    def __init__(self, path: Path, mono_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.path, self._mono_ns = path, mono_ns
        self._words = memoryview(self._open()).cast("q")
        self._heard = bytes(self._signals)

    def _open(self) -> mmap.mmap:
        if not self.path.exists():
            self._make()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if status.st_size != 8 * _WORDS or os.pread(descriptor, 8, 0) != _head():
                raise OSError(f"{self.path} is no bell of a ledger")
            self._inode = status.st_ino
            return mmap.mmap(descriptor, 8 * _WORDS)
        finally:
            os.close(descriptor)

    def _make(self) -> None:
        """Whole or not at all: whoever comes second takes the first one's."""
        draft = self.path.with_name(f"bell.{secrets.token_hex(6)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _write_all(descriptor, _head() + bytes(8 * (_WORDS - 1)))
            with suppress(FileExistsError):
                os.link(draft, self.path)
        finally:
            os.close(descriptor)
            draft.unlink(missing_ok=True)

    @property
    def _signals(self) -> memoryview:
        return self._words[_HUNGRY:]

    def is_gone(self) -> bool:
        """Whether somebody has removed the file, so that nobody hears us any more."""
        try:
            return self.path.stat().st_ino != self._inode
        except OSError:
            return True

    # Calls that do not stop --------------------------------------------------------------------

    @property
    def stopped(self) -> bool:
        """Whether an operator has stopped all calls."""
        return bool(self._words[_STOPPED])

    @stopped.setter
    def stopped(self, stopped: bool) -> None:
        self._words[_STOPPED] = stopped

    def ask_back(self, bucket: Bucket) -> None:
        """Somebody is short: give back what you do not use."""
        self._ring(_HUNGRY + mark_of(bucket))

    def tell_returned(self, bucket: Bucket) -> None:
        """Somebody gave something back."""
        self._ring(_RETURNED + mark_of(bucket))

    def returned(self, bucket: Bucket) -> int:
        """Differs from before if somebody gave something back."""
        return self._words[_RETURNED + mark_of(bucket)]

    def tell_changed(self, bucket: Bucket) -> None:
        """An operator changed something."""
        self._ring(_CHANGED + mark_of(bucket))

    def _ring(self, word: int) -> None:
        self._words[word] = max(self._mono_ns(), self._words[word] + 1)

    def heard(self) -> tuple[frozenset[int], frozenset[int]]:
        """Marks of which somebody is short, and those that an operator changed, since last time."""
        now = bytes(self._signals)
        if now == self._heard:
            return _NONE, _NONE
        before, after = memoryview(self._heard).cast("q"), memoryview(now).cast("q")
        differing = {index for index in range(3 * MARKS) if before[index] != after[index]}
        self._heard = now
        return (
            frozenset(index for index in differing if index < MARKS),
            frozenset(index - 2 * MARKS for index in differing if index >= 2 * MARKS),
        )

    def take_turn(self, every_ns: int) -> bool:
        """Whether nobody has looked for dead nodes for so long; if so, it is our turn."""
        now, last = self._mono_ns(), self._words[_BURIED]
        if 0 <= now - last < every_ns:  # a time to come is one from before the machine started
            return False
        self._words[_BURIED] = now
        return True


_NONE: Final[frozenset[int]] = frozenset()


def _head() -> bytes:
    return _MAGIC.to_bytes(8, "little")


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
