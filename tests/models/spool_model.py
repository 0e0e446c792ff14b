"""The spool and the drain: how a row gets from a process into the table once and only once.

Writers append rows to segments of their own, which they keep locked. A drain, one at a time, takes
the segments that nobody has locked: their rows, the roll-up and the names of the segments are one
transaction; then it deletes the files. Everybody may be killed between any two steps.

The steps are those of ``otel_atm/store/spool.py`` and ``drain.py``; each says which function it
is. Locks are ``flock``: the system frees them when their process dies. Head lines are left out:
they are in the same write as the first row that needs them. So are segments that cannot be read.

Two nets keep a row from being taken twice: the names of the segments that were taken, and the ids
and revisions of the events. A model can go without either, to try the other alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple


class Fault(Enum):
    """Ways to get it wrong."""

    DELETES_BEFORE_COMMIT = "files are deleted before the commit"
    NAMES_IN_ANOTHER_TRANSACTION = "the names are committed after the rows"
    FORGETS_NAMES_AT_ONCE = "names are forgotten before their files are deleted"
    TAKES_UNSEALED = "a segment is taken without its lock"
    NO_DRAIN_LOCK = "two drains open the file at a time: the later commit overwrites the other"
    WRITES_INTO_THE_VOID = "a new segment is used without a look whether it was deleted"
    TAKES_TORN_ROWS = "half a row is taken for one"


class Row(NamedTuple):
    """What a writer appends. A higher revision of an event replaces a lower one."""

    event: int
    revision: int = 0

    @property
    def tokens(self) -> int:
        """Different for each row, and no sum of others, so that the roll-up tells all mistakes."""
        return int(4 ** (3 * self.event + self.revision))


class Segment(NamedTuple):
    """A file of the spool. Its name is its place in the order of all."""

    name: int
    rows: tuple[Row, ...] = ()
    torn: Row | None = None  # half a row at the end
    locked_by: str = ""
    exists: bool = True


class Writer(NamedTuple):
    """A process that spools.

    Attributes:
        to_write: its rows to come.
        segment: the name of the file that it has opened; None: none.
        ready: it has the lock and has seen that the file is still there.
    """

    to_write: tuple[Row, ...]
    segment: int | None = None
    ready: bool = False
    alive: bool = True


class Table(NamedTuple):
    """What the DuckDB file holds."""

    rows: tuple[Row, ...] = ()
    tokens: int = 0  # the roll-up: changed by differences, never counted anew
    names: frozenset[int] = frozenset()


class Drain(NamedTuple):
    """A process that drains.

    Attributes:
        at: what it does next.
        listed: names that it found and has not looked at.
        taken: names of its batch; it has their locks.
        full: the batch was; so there may be more.
        draft: its transaction.
    """

    at: str = "idle"
    listed: tuple[int, ...] = ()
    taken: tuple[int, ...] = ()
    full: bool = False
    draft: Table | None = None


IDLE: Final = Drain()


class World(NamedTuple):
    """All there is, and the truth, which nobody in the protocol sees."""

    writers: tuple[Writer, ...]
    drains: tuple[Drain, ...]
    segments: tuple[Segment, ...] = ()
    table: Table = Table()
    drain_lock: int = -1  # which drain has it
    deaths: int = 0
    acknowledged: frozenset[Row] = frozenset()  # append returned
    whole: frozenset[Row] = frozenset()  # nothing of them is missing in a file
    deleted: frozenset[Row] = frozenset()  # by an operator


@dataclass(frozen=True)
class Spooling:
    """Writers and drains.

    Args:
        scripts: of each writer, the rows that it appends.
        drains: processes that drain.
        deaths: processes that may be killed; a killed drain is followed by a new one.
        batch: the most segments of one transaction.
        by_names: the names of segments that were taken are kept.
        keeps_names_of_files: until their files are gone, as drain.py does it; else only while they
            are in the batch.
        by_events: a row whose event is known counts only if its revision is higher.
        deletes: an operator may delete a row from the table, once.
        disk_full: a write may be cut short, and its writer live on.
        fault: what is wrong with it.
    """

    scripts: tuple[tuple[Row, ...], ...]
    drains: int = 2
    deaths: int = 2
    batch: int = 100
    by_names: bool = True
    keeps_names_of_files: bool = True
    by_events: bool = True
    deletes: bool = False
    disk_full: bool = False
    fault: Fault | None = None

    @property
    def initial(self) -> World:
        return World(tuple(Writer(script) for script in self.scripts), (IDLE,) * self.drains)

    def steps(self, world: World) -> Iterator[tuple[str, World]]:
        """All that can happen next."""
        for number, writer in enumerate(world.writers):
            if writer.alive and (writer.to_write or writer.segment is not None):
                for name, after in self._writes(world, number, writer):
                    yield f"writer {number} {name}", _tidy(after)
        for number, drain in enumerate(world.drains):
            if drain == IDLE and drain in world.drains[:number]:
                continue  # its twin does the same
            if drain.at != "idle" and world.deaths < self.deaths:
                yield f"drain {number} is killed", _tidy(_ended(world, number, deaths=1))
            for name, after in self._drains(world, number, drain):
                yield f"drain {number} {name}", _tidy(after)

        if self.deletes and not world.deleted and self._is_free(world):
            for row in world.table.rows:
                yield f"an operator deletes {tuple(row)}", _deleted(world, row)

    # A writer: spool.py ------------------------------------------------------------------------

    def _writes(self, world: World, number: int, writer: Writer) -> Iterator[tuple[str, World]]:
        if world.deaths < self.deaths:
            yield "is killed", _killed(world, number)
        if writer.segment is None:  # Spool._begin, open_locked: made now, locked a moment later
            segment = Segment(len(world.segments))
            created = world._replace(segments=(*world.segments, segment))
            opening = writer._replace(segment=segment.name)
            yield f"creates {segment.name}", _set_writer(created, number, opening)
        elif not writer.ready:
            yield self._locks(world, number, writer, world.segments[writer.segment])
        else:
            if writer.to_write:
                segment = world.segments[writer.segment]
                yield from self._appends(world, number, writer, segment)
            # Spool.seal: somebody flushes, reads, or the segment is long enough
            yield f"seals {writer.segment}", _sealed(world, number, writer)

    def _locks(
        self, world: World, number: int, writer: Writer, segment: Segment
    ) -> tuple[str, World]:
        """Spool._begin: lock, and look whether a drain has deleted the empty file meanwhile."""
        if segment.locked_by:
            return "finds it locked", _set_writer(world, number, writer._replace(segment=None))
        if not segment.exists and self.fault is not Fault.WRITES_INTO_THE_VOID:
            return "finds it gone", _set_writer(world, number, writer._replace(segment=None))
        locked = _set_segment(world, segment._replace(locked_by=f"writer {number}"))
        return f"locks {segment.name}", _set_writer(locked, number, writer._replace(ready=True))

    def _appends(
        self, world: World, number: int, writer: Writer, segment: Segment
    ) -> Iterator[tuple[str, World]]:
        """Spool.append: one os.write."""
        row, *rest = writer.to_write
        after = writer._replace(to_write=tuple(rest))
        whole = _set_segment(world, segment._replace(rows=(*segment.rows, row)))
        whole = whole._replace(whole=world.whole | {row})
        torn = _set_segment(world, segment._replace(torn=row))
        told = whole._replace(acknowledged=world.acknowledged | {row})
        yield f"appends {tuple(row)}", _set_writer(told, number, after)
        if world.deaths < self.deaths:
            yield "is killed in the midst of a write", _killed(torn, number)
            yield "is killed before it knows that it has written", _killed(whole, number)
        if self.disk_full:  # Spool._turn: sealed as it is, the row is dropped
            yield "finds the disk full", _sealed(torn, number, after)

    # A drain: drain.py -------------------------------------------------------------------------

    def _drains(self, world: World, number: int, drain: Drain) -> Iterator[tuple[str, World]]:
        def goes_on(draft: Table | None = None) -> World:
            at = self._after(drain.at)
            return _set_drain(world, number, drain._replace(at=at, draft=draft))

        if drain.at == "idle":  # drain: has_segments, locked
            if any(segment.exists for segment in world.segments) and self._is_free(world):
                locked = world._replace(drain_lock=number)
                yield "takes the lock", _set_drain(locked, number, Drain("list"))
        elif drain.at == "list":  # _sealed: glob, sorted
            listed = tuple(segment.name for segment in world.segments if segment.exists)
            yield f"lists {listed}", _set_drain(world, number, Drain("take", listed))
        elif drain.at == "take":
            yield self._takes(world, number, drain)
        elif drain.at == "begin":  # take_in_once: connection.begin, delete from …
            keep = drain.taken
            if self.keeps_names_of_files:
                keep = tuple(segment.name for segment in world.segments if segment.exists)
            names = world.table.names & frozenset(keep)
            yield "begins a transaction", goes_on(world.table._replace(names=names))
        elif drain.at == "unlink":
            yield self._unlinks(world, drain) or ("has deleted all", goes_on(drain.draft))
        elif drain.at == "end":  # leaves _sealed: let_go; drain: again after a full batch
            yield "lets go", _ended(world, number, Drain("list") if drain.full else IDLE)
        else:
            yield from self._in_transaction(world, number, drain, goes_on)

    def _is_free(self, world: World) -> bool:
        return world.drain_lock < 0 or self.fault is Fault.NO_DRAIN_LOCK

    def _after(self, at: str) -> str:
        order = ["take", "begin", "ingest", "name", "commit", "unlink", "end"]
        if self.fault is Fault.DELETES_BEFORE_COMMIT:
            order.insert(1, order.pop(5))
        return order[order.index(at) + 1]

    def _takes(self, world: World, number: int, drain: Drain) -> tuple[str, World]:
        """_sealed: open_locked, _cut_torn_tail; one segment after the other."""
        full = len(drain.taken) == self.batch
        if full or not drain.listed:
            if not drain.taken:
                return "has found nothing", _ended(world, number)
            then = Drain(self._after("take"), taken=drain.taken, full=full)
            return f"has {drain.taken}", _set_drain(world, number, then)
        segment = world.segments[drain.listed[0]]
        drain = drain._replace(listed=drain.listed[1:])
        if not segment.exists:  # FileNotFoundError: its writer has ended it, empty
            return f"fails: {segment.name} is gone", _ended(world, number)
        if segment.locked_by and self.fault is not Fault.TAKES_UNSEALED:
            return f"leaves {segment.name} to its writer", _set_drain(world, number, drain)
        if segment.torn is not None:
            torn = (segment.torn,) if self.fault is Fault.TAKES_TORN_ROWS else ()
            segment = segment._replace(torn=None, rows=segment.rows + torn)
        if not segment.rows:
            emptied = _set_segment(world, segment._replace(exists=False))
            return f"deletes {segment.name}, empty", _set_drain(emptied, number, drain)
        drain = drain._replace(taken=(*drain.taken, segment.name))
        locked_by = segment.locked_by or f"drain {number}"
        locked = _set_segment(world, segment._replace(locked_by=locked_by))
        return f"takes {segment.name}", _set_drain(locked, number, drain)

    def _in_transaction(
        self, world: World, number: int, drain: Drain, goes_on: Callable[[Table | None], World]
    ) -> Iterator[tuple[str, World]]:
        draft = drain.draft
        assert draft is not None
        if drain.at == "ingest":  # ingest._take_in: its SQL
            fresh = [world.segments[name] for name in drain.taken if name not in draft.names]
            rows = [row for segment in fresh for row in segment.rows]
            yield "takes the rows in", goes_on(self._ingested(draft, rows))
        elif drain.at == "name":  # take_in_once: insert into drained_segments
            yield "writes the names", goes_on(self._named(draft, drain))
        else:  # take_in_once: connection.commit; the file is closed
            rows_only = draft._replace(names=world.table.names)
            apart = self.fault is Fault.NAMES_IN_ANOTHER_TRANSACTION
            if apart and world.table != rows_only:
                yield "commits the rows", world._replace(table=rows_only)
            else:
                yield "commits", goes_on(None)._replace(table=draft)

    def _ingested(self, table: Table, incoming: list[Row]) -> Table:
        """ingest.sql: a row whose event is known counts if its revision is higher."""
        rows, tokens = list(table.rows), table.tokens
        for row in incoming:
            known = [old for old in rows if old.event == row.event] if self.by_events else []
            if any(old.revision >= row.revision for old in known):
                continue
            rows = [row, *(old for old in rows if old not in known)]
            tokens += row.tokens - sum(old.tokens for old in known)
        return table._replace(rows=tuple(sorted(rows)), tokens=tokens)

    def _named(self, table: Table, drain: Drain) -> Table:
        if not self.by_names or self.fault is Fault.FORGETS_NAMES_AT_ONCE:
            return table._replace(names=frozenset())
        return table._replace(names=table.names | set(drain.taken))

    def _unlinks(self, world: World, drain: Drain) -> tuple[str, World] | None:
        """Drain: segment.unlink, one after the other."""
        for name in drain.taken:
            if world.segments[name].exists:
                gone = world.segments[name]._replace(exists=False)
                return f"deletes {name}", _set_segment(world, gone)
        return None


# What must hold -----------------------------------------------------------------------------------


def wrong(world: World) -> str | None:
    """What a reader of the file could see."""
    table = world.table
    events = [row.event for row in table.rows]
    if len(set(events)) < len(events):
        return f"an event is twice in the table: {table.rows}"
    if not set(table.rows) <= world.whole:
        return f"half a row is in the table: {table.rows}"
    if world.deleted & set(table.rows):
        return f"what was deleted is back: {table.rows}"
    if table.tokens != sum(row.tokens for row in table.rows):
        return "the roll-up is not the sum of the rows"
    return None


def lost(world: World) -> str | None:
    """What was acknowledged and is not in the table, nor is a correction of it."""
    return _missing(world, world.table.rows)


def problem(world: World) -> str | None:
    """At all times: nothing is wrong, and what was acknowledged is in the table or in a file."""
    files = [row for segment in world.segments if segment.exists for row in segment.rows]
    return wrong(world) or _missing(world, (*world.table.rows, *files))


def _missing(world: World, rows: Iterable[Row]) -> str | None:
    newest: dict[int, int] = {}
    for row in rows:
        newest[row.event] = max(row.revision, newest.get(row.event, 0))
    due = world.acknowledged - world.deleted
    missing = [row for row in due if newest.get(row.event, -1) < row.revision]
    return f"lost: {missing}" if missing else None


def is_drained(world: World) -> bool:
    """All rows were written, or their writers are dead, and no file waits."""
    written = all(not (one.alive and one.to_write) for one in world.writers)
    return written and not any(segment.exists for segment in world.segments)


# Small steps --------------------------------------------------------------------------------------


def _set_writer(world: World, number: int, writer: Writer) -> World:
    writers = world.writers
    return world._replace(writers=(*writers[:number], writer, *writers[number + 1 :]))


def _set_drain(world: World, number: int, drain: Drain) -> World:
    drains = world.drains
    return world._replace(drains=(*drains[:number], drain, *drains[number + 1 :]))


def _set_segment(world: World, segment: Segment) -> World:
    at, segments = segment.name, world.segments
    return world._replace(segments=(*segments[:at], segment, *segments[at + 1 :]))


def _unlocked(world: World, who: str) -> World:
    return world._replace(
        segments=tuple(
            segment._replace(locked_by="") if segment.locked_by == who else segment
            for segment in world.segments
        )
    )


def _sealed(world: World, number: int, writer: Writer) -> World:
    """_Segment.end: an empty one is deleted; let_go."""
    assert writer.segment is not None
    segment = world.segments[writer.segment]
    empty = not segment.rows and segment.torn is None
    ended = segment._replace(locked_by="", exists=segment.exists and not empty)
    ended_writer = writer._replace(segment=None, ready=False)
    return _set_writer(_set_segment(world, ended), number, ended_writer)


def _killed(world: World, number: int) -> World:
    """Kill -9 of a writer: the system frees its lock."""
    world = _unlocked(world, f"writer {number}")
    world = _set_writer(world, number, Writer((), alive=False))
    return world._replace(deaths=world.deaths + 1)


def _ended(world: World, number: int, then: Drain = IDLE, deaths: int = 0) -> World:
    """The end of a batch, or of a drain; killed, its transaction is gone and a new one may come."""
    world = _set_drain(_unlocked(world, f"drain {number}"), number, then)
    drain_lock = -1 if then == IDLE and world.drain_lock == number else world.drain_lock
    return world._replace(drain_lock=drain_lock, deaths=world.deaths + deaths)


def _deleted(world: World, row: Row) -> World:
    """As retention would, or a user who wants to be forgotten: under the lock of the drain."""
    table = world.table
    rows = tuple(other for other in table.rows if other != row)
    without = table._replace(rows=rows, tokens=table.tokens - row.tokens)
    return world._replace(table=without, deleted=frozenset({row}))


def _tidy(world: World) -> World:
    """The same without files that are deleted and that nobody looks at, numbered anew."""
    used = {name for drain in world.drains for name in (*drain.listed, *drain.taken)}
    used |= {writer.segment for writer in world.writers if writer.segment is not None}
    kept = [segment for segment in world.segments if segment.exists or segment.name in used]
    if len(kept) == len(world.segments):
        return world
    new = {segment.name: name for name, segment in enumerate(kept)}

    def known(names: Iterable[int]) -> tuple[int, ...]:
        return tuple(new[name] for name in names if name in new)

    def renamed(table: Table) -> Table:
        return table._replace(names=frozenset(known(table.names)))

    return world._replace(
        segments=tuple(segment._replace(name=new[segment.name]) for segment in kept),
        table=renamed(world.table),
        writers=tuple(
            writer if writer.segment is None else writer._replace(segment=new[writer.segment])
            for writer in world.writers
        ),
        drains=tuple(
            drain._replace(
                listed=known(drain.listed),
                taken=known(drain.taken),
                draft=drain.draft and renamed(drain.draft),
            )
            for drain in world.drains
        ),
    )
