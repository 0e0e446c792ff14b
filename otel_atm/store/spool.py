"""The spool: where a process puts an event at once, with one write, before anything else.

A process appends to a segment of its own, a text file that it keeps locked. A segment that nobody
has locked is sealed: its process closed it, or died. Whatever was written survives the process
(not the machine: nothing is synced).

A segment holds two kinds of lines. A head says, once, all that many rows have in common::

    [7,"{""user_id"":""ann"",""model"":""gpt-5.1"",""status"":""ok"", …}"

and a row says the rest, as a JSON array that DuckDB reads as a line of CSV. Its last element is
always 0, so that a line cut off by a full disk is not taken for a row::

    [7,"0193…",1700000000000000000,4711,815,42,120000,null,[900,210,0,0,0],null,0]

A head has the model's rates, from which the drain works out what its rows cost. Where rates do not
tell (see `otel_atm.price.Price`), the element before the last is the cost, in pico-USD, as a text.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from time import time_ns
from typing import Any, Final
from weakref import WeakSet

import orjson

from otel_atm.errors import StoreError
from otel_atm.gate import PLAIN, Call, Outcome, Plan
from otel_atm.store.backlog import Backlog
from otel_atm.store.bound import DEFAULT_MAX_BYTES, Bound
from otel_atm.store.filesystem import check_locks
from otel_atm.store.lock import let_go, open_locked
from otel_atm.trouble import Trouble

SUFFIX: Final = ".segment"
_64_BITS: Final = (1 << 64) - 1

# Looked up once: this is the hot path.
_dumps_row: Final = orjson.dumps
_NEWLINE: Final = orjson.OPT_APPEND_NEWLINE

# What makes two calls share a head: a plan, a door and an outcome, but for what is mostly so.
_HeadKey = Plan | tuple[Plan, str] | tuple[Plan, str, Outcome]
_MOSTLY: Final = "span"

_spools: WeakSet[Spool] = WeakSet()


def seal_own(folder: Path) -> None:
    """Seal the segments that this process is writing in `folder`, so that they can be read."""
    for spool in list(_spools):
        if spool.folder == folder:
            spool.backlog.write_all()
            spool.seal()


class _Segment:
    """A segment that is being written.

    Attributes:
        heads: what rows have in common → the number of the head that says it.
        lost: rows, when it has ended.
        numbers: for further heads.
        room: in bytes, until it is full.
        size: in bytes.
    """

    __slots__ = ("descriptor", "heads", "lost", "numbers", "path", "room", "size")

    def __init__(self, path: Path, descriptor: int, room: int) -> None:
        self.path, self.descriptor, self.room, self.size = path, descriptor, room, 0
        self.heads: dict[_HeadKey, int] = {}
        self.numbers, self.lost = count(), 0

    def end(self) -> None:
        """Let others take it in; an OSError if somebody has deleted it and it cannot be saved."""
        try:
            if not self.size:
                self.path.unlink(missing_ok=True)  # a full disk must not fill up with empty files
            elif not os.fstat(self.descriptor).st_nlink:
                self._save()
        finally:
            let_go(self.descriptor)

    def _save(self) -> None:
        """Somebody has deleted the file, perhaps with its folder; its rows are ours still."""
        content = os.pread(self.descriptor, self.size, 0)
        try:
            _write_segment(self.path.parent, content)
        except OSError:
            self.lost = content.count(b"\n") - len(self.heads)
            raise


class Spool:
    """Appends events to this process's segment. A sink of the gate.

    Its lock may be taken again by the thread that has it: the garbage collector may close an
    abandoned stream, and so end a span, wherever something is allocated, in here too.

    Args:
        folder: of all segments; made, for the owner alone, when the first event comes.
        trouble: counts the events that could not be written.
        on_open: called when a segment is begun, under no lock.
        max_bytes: of what may wait in `folder`, of all processes; somebody has to `measure` it.

    Attributes:
        backlog: of events that somebody keeps back; they are written before others read.
    """

    def __init__(
        self,
        folder: Path,
        trouble: Trouble,
        on_open: Callable[[], None] | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self.folder, self.backlog = folder, Backlog(trouble)
        self._trouble, self._on_open = trouble, on_open
        self._bound = Bound(folder, max_bytes, trouble)
        self._lock = threading.RLock()
        self._segment: _Segment | None = None
        self._begun = False
        #: Told of a row that could not be written; True: it keeps it for later.
        self.on_failure: Callable[[Call], bool] | None = None
        _spools.add(self)

    def append(self, call: Call) -> None:
        """Write the row of a call. When this returns, it survives the death of the process."""
        key: _HeadKey = call.plan
        if call.outcome is not PLAIN:
            key = call.plan, call.source, call.outcome
            if self._bound.nearly and self._bound.drops(call):
                return
        elif call.source != _MOSTLY:
            key = call.plan, call.source
        lock, failed = self._lock, None
        lock.acquire()  # `with` takes twice as long
        try:
            segment = self._segment
            if segment is not None and (number := segment.heads.get(key)) is not None:
                row = _row(number, call)
                if segment is self._segment:  # else the garbage collector had a call end in here
                    written = os.write(segment.descriptor, row)
                    size = segment.size = segment.size + written
                    if size > segment.room or written < len(row):
                        self._turn(len(row) - written)
                    return
        except OSError as error:
            failed = error
        finally:
            lock.release()
        if failed is None:
            self._append_slowly(key, call)
        else:
            self._lose(call, failed)

    def _append_slowly(self, key: _HeadKey, call: Call) -> None:
        """Write the first row of its kind in a segment, or the first of a segment."""
        try:
            with self._lock:
                self._append_head(key, call)
        except (OSError, StoreError) as error:
            self._lose(call, error)
        finally:
            if self._begun:
                self._begun = False
                if self._on_open is not None:
                    self._on_open()

    def _lose(self, call: Call, error: Exception) -> None:
        self.seal()  # whatever came of the line, the next segment starts with its own heads
        kept = self.on_failure is not None and self.on_failure(call)
        self._trouble.note("spool_write", error, dropped=0 if kept else call.outcome.calls)

    def _append_head(self, key: _HeadKey, call: Call) -> None:
        """Write what a call's row has in common with others, and the row, with one write."""
        if self._bound.full and self._bound.drops(call):
            return
        while True:
            segment = self._segment or self._begin()
            number = segment.heads.get(key)
            fresh = next(segment.numbers) if number is None else number
            row = _row(fresh, call)
            if number is None:
                row = _head_line(fresh, call) + row
            if segment is self._segment:
                break  # nobody ended it meanwhile
        written = os.write(segment.descriptor, row)
        segment.size += written
        if written < len(row) or segment.size > segment.room:
            self._turn(len(row) - written)
        else:
            segment.heads[key] = fresh

    def seal(self) -> bool:
        """End the current segment; the next event begins another. True if there was one."""
        with self._lock:
            segment, self._segment = self._segment, None
            if segment is not None:
                self._end(segment)
            return segment is not None

    def measure(self, spooled_bytes: int) -> None:
        """Take note of what waits in the folder now, of all processes."""
        self._bound.measure(spooled_bytes)
        if self._bound.full:
            self.seal()  # a new segment is begun when there is room

    def report_to(self, trouble: Trouble) -> None:
        """Count from now on with others what could not be written."""
        self._trouble = self._bound.trouble = self.backlog.trouble = trouble

    def _end(self, segment: _Segment) -> None:
        try:
            segment.end()
        except OSError as error:
            self._trouble.note("spool_deleted", error, dropped=segment.lost)

    def after_fork(self) -> None:
        """In a forked child: the segment is the parent's, and closed here already."""
        self._lock = threading.RLock()
        self._segment, self._begun = None, False
        self._bound.measure(0)  # a thread of the child's has to tell

    def _begin(self) -> _Segment:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            path = _new_path(self.folder)
            descriptor = open_locked(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL)
            if descriptor is None:
                continue  # a drain saw the new file before we locked it
            segment = _Segment(path, descriptor, self._bound.segment_bytes)
            if self._segment is not None:  # begun by what the garbage collector closed
                segment.end()
                return self._segment
            if self._is_usable(segment):
                self._segment, self._begun = segment, True
                return segment
            segment.end()  # a drain had it, and deleted it

    def _is_usable(self, segment: _Segment) -> bool:
        if not os.fstat(segment.descriptor).st_nlink:
            return False
        try:
            check_locks(segment.path)
        except BaseException:
            segment.end()
            raise
        return True

    def _turn(self, missing: int) -> None:
        """Go on in another segment; `missing` bytes of the last line could not be written."""
        self.seal()
        if missing:  # the line stays cut off: readers know it by its end
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _new_path(folder: Path) -> Path:
    return folder / f"{time_ns():020d}-{os.getpid()}-{os.urandom(4).hex()}{SUFFIX}"


def _write_segment(folder: Path, content: bytes) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    while (descriptor := open_locked(path := _new_path(folder), flags)) is None:
        continue  # a drain saw the new file before we locked it
    try:
        while content:
            content = content[os.write(descriptor, content) :]
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        let_go(descriptor)


def _row(number: int, call: Call) -> bytes:
    trace_id = call.trace_id
    return _dumps_row(
        (
            number,
            call.id,
            call.opened_ns,
            trace_id >> 64,
            trace_id & _64_BITS,
            call.span_id,
            call.ended_ns - call.started_ns,
            call.ttft_us,
            call.tokens,
            None if call.plan.flat else str(call.cost),
            0,
        ),
        None,
        _NEWLINE,
    )


def _head_line(number: int, call: Call) -> bytes:
    outcome, price = call.outcome, call.plan.price
    head = _dumps(
        {
            **call.texts(),
            "status": outcome.status,
            "decision": outcome.decision,
            "budget": outcome.budget,
            "calls": outcome.calls,
            "attempts": outcome.attempts,
            "estimated": outcome.estimated,
            "revision": outcome.revision,
            "source": call.source,
            "tags": call.tags(),
            "attributes": call.attributes(),
            "price_version": price and price.version,
            "rates": price and price.rates and tuple(price.rates),
        }
    )
    return b'[%d,"%b"\n' % (number, head.replace(b'"', b'""'))


def _dumps(head: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(head)
    except TypeError:
        return orjson.dumps(_as_unicode(head))


def _as_unicode(value: Any) -> Any:
    """The same, with lone surrogates, which are no Unicode, written out in ASCII."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_as_unicode(key): _as_unicode(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_as_unicode(item) for item in value]
    return value
