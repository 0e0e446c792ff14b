"""The store of a ledger in a SQLite file: exact, shared by the processes of one host, kept."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from otel_atm.errors import ConfigurationError
from otel_atm.ledger.bell import Bell
from otel_atm.ledger.cells import Remains
from otel_atm.ledger.grants import Answer, Ask, Bucket, Lease, Record, Sums, answer
from otel_atm.ledger.lease_store import LedgerError, Standing, Tally
from otel_atm.ledger.sqlite_file import SqliteFile
from otel_atm.window import FOREVER_NS, SECOND_NS

#: For how long a window that is over is kept for what is settled late.
KEEP_NS: Final = 3_600 * SECOND_NS
#: The number of the last message about a dead node.
_LAST_SEQ: Final = 1 << 50


class SqliteStore:
    """See `LeaseStore`. One transaction a step; a few dozen microseconds for each account.

    Args:
        path: of the file, which is made when it is first needed. Beside it lie SQLite's own
            ``-wal`` and ``-shm`` and the folder ``PATH.nodes``.
        mono: seconds of a clock that never goes back.
        sleep: waits so many seconds, for a file that another process writes to.

    Raises:
        ConfigurationError: for a path that cannot be one of a file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        mono: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not str(path) or Path(path).is_dir():
            raise ConfigurationError(f"ledger: {str(path)!r} is not the path of a file")
        self.path = Path(os.path.realpath(path))
        self._folder = self.path.with_name(self.path.name + ".nodes")
        self._mono = mono
        self._file = SqliteFile(self.path, self._folder, mono=mono, sleep=sleep)
        self._bell: Bell | None = None
        self._ids: dict[str, tuple[int, str]] = {}  # budget → (its row, what is said about it)
        self._ids_of = -1  # the generation that they are of

    @property
    def folder(self) -> Path:
        """See `LeaseStore.folder`."""
        return self._folder

    @property
    def generation(self) -> int:
        """See `LeaseStore.generation`."""
        return self._file.generation

    @property
    def bell(self) -> Bell:
        """See `LeaseStore.bell`."""
        if self._bell is None or self._bell.is_gone():
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._bell = Bell(self._folder / "bell", lambda: int(self._mono() * SECOND_NS))
            except OSError as error:
                raise LedgerError(f"{self._folder}: {error.strerror or error}") from error
        return self._bell

    def open(self, timeout_s: float) -> None:
        """See `LeaseStore.open`."""
        with self._file.writing(timeout_s):
            _ = self.bell

    def close(self) -> None:
        """See `LeaseStore.close`."""
        self._file.close()

    # Nodes ------------------------------------------------------------------------------------

    def step(self, asks: Sequence[Ask], now_ns: int, timeout_s: float) -> list[Answer]:
        """See `LeaseStore.step`."""
        with self._writing(timeout_s) as db:
            return [self._answer(db, ask, now_ns) for ask in asks]

    def bury(self, node: str, remains: Sequence[Remains], now_ns: int, timeout_s: float) -> None:
        """See `LeaseStore.bury`."""
        with self._writing(timeout_s) as db:
            if db.execute("select 1 from buried where node = ?", (node,)).fetchone():
                return
            for each in remains:
                self._answer(db, _last_word(node, each), now_ns)
            db.execute(
                "update bucket set spare = spare - 1, granted = granted - "
                "(select granted - spent from lease where bucket = id and node = :node) "
                "where id in (select bucket from lease where node = :node and granted > spent)",
                {"node": node},
            )
            db.execute("delete from lease where node = ?", (node,))
            db.execute("insert into buried values (?, ?)", (node, now_ns))

    def sweep(self, now_ns: int) -> None:
        """See `LeaseStore.sweep`."""
        with self._writing(1.0) as db:
            gone = "select id from bucket where gone_ns < ?"
            db.execute(f"delete from lease where bucket in ({gone})", (now_ns,))
            db.execute("delete from bucket where gone_ns < ?", (now_ns,))
            db.execute("delete from exempt where until_ns < ?", (now_ns,))
            db.execute("delete from buried where at_ns < ?", (now_ns - 86_400 * SECOND_NS,))
        self._file.checkpoint()

    # Operators --------------------------------------------------------------------------------

    def grant(self, bucket: Bucket, amount: int, cap: int, about: str) -> None:
        """See `LeaseStore.grant`."""
        with self._writing(5.0) as db:
            place, _ = self._find(db, bucket, "", cap, about, gone_ns(bucket))
            db.execute("update bucket set extra = extra + ? where id = ?", (amount, place))

    def reset(self, bucket: Bucket) -> None:
        """See `LeaseStore.reset`. Of a rolling window: all slots that count."""
        with self._writing(5.0) as db:
            budget = self._budget(db, bucket.budget, "")
            which = "budget = ? and payer = ? and start_ns > ?"
            whose = (budget, bucket.payer, min(bucket.counts_from_ns, bucket.start_ns - 1))
            db.execute(
                f"delete from lease where bucket in (select id from bucket where {which})", whose
            )
            db.execute(
                "update bucket set epoch = epoch + 1, granted = 0, spent = 0, settled = 0, "
                f"spare = 0, extra = 0, told = '[]' where {which}",
                whose,
            )

    def exempt(self, bucket: Bucket, until_ns: int, about: str) -> None:
        """See `LeaseStore.exempt`."""
        with self._writing(5.0) as db:
            budget = self._budget(db, bucket.budget, about)
            db.execute(
                "insert or replace into exempt values (?, ?, ?)", (budget, bucket.payer, until_ns)
            )

    # Reading ----------------------------------------------------------------------------------

    def budgets(self) -> dict[str, str]:
        """See `LeaseStore.budgets`."""
        with self._file.reading() as db:
            return dict(db.execute("select identity, about from budget where about != ''"))

    def payers(self, budget: str) -> list[str]:
        """See `LeaseStore.payers`."""
        with self._file.reading() as db:
            rows = db.execute(
                "select distinct payer from bucket join budget on budget.id = bucket.budget "
                "where identity = ? order by payer",
                (budget,),
            )
            return [payer for (payer,) in rows]

    def standings(self, budget: str, start_ns: int, from_ns: int) -> list[Standing]:
        """See `LeaseStore.standings`."""
        with self._file.reading() as db:
            rows = db.execute(_STANDINGS, (from_ns, start_ns, budget))
            return [Standing(budget, *row) for row in rows]

    def tally(self, budget: str, start_ns: int, from_ns: int, cap: int, first_alert: int) -> Tally:
        """See `LeaseStore.tally`."""
        with self._file.reading() as db:
            row = db.execute(
                _TALLY,
                {"of": budget, "from": from_ns, "to": start_ns, "cap": cap, "at": first_alert},
            ).fetchone()
            return Tally(*row)

    # One step ---------------------------------------------------------------------------------

    @contextmanager
    def _writing(self, timeout_s: float) -> Iterator[sqlite3.Connection]:
        known = dict(self._ids)
        try:
            with self._file.writing(timeout_s) as db:
                if self._ids_of != self._file.generation:
                    self._ids, self._ids_of, known = {}, self._file.generation, {}
                yield db
        except BaseException:
            self._ids = known  # what was added to them is rolled back
            raise

    def _answer(self, db: sqlite3.Connection, ask: Ask, now_ns: int) -> Answer:
        place, row = self._find(db, ask.bucket, ask.node, ask.cap, ask.about, ask.gone_ns)
        cap, epoch, granted, spent, settled, spare, extra, told, *leased = row
        lease = Lease(*leased) if leased[0] is not None else Lease()
        others = Sums(granted, spent, settled).with_(lease, -1)
        slots: tuple[tuple[int, int], ...] = ()
        levels = json.loads(told) if told != "[]" else []
        if ask.bucket.length_ns:
            before, extra, levels, slots = self._other_slots(db, ask.bucket, place, extra, levels)
            others = others.with_(Lease(0, *before))
            slots = tuple(sorted((*slots, (_counts_until_ns(ask.bucket), granted))))
        record = Record(
            epoch=max(epoch, ask.epoch),
            lease=lease,
            others=others,
            rivals=spare - (lease.spare > 0),
            extra=extra,
            told=tuple(levels),
            exempt_ns=self._exempt_ns(db, ask.bucket, now_ns),
            slots=slots,
        )
        answered, kept, change = answer(ask, record)
        if kept is not lease:
            here = json.dumps(sorted({*(json.loads(told)), *answered.due}))
            db.execute(
                "update bucket set cap = ?, epoch = ?, granted = granted + ?, spent = spent + ?, "
                "settled = settled + ?, spare = ?, told = ?, gone_ns = max(gone_ns, ?) "
                "where id = ?",
                (
                    ask.cap or cap,
                    record.epoch,
                    *change,
                    record.rivals + (kept.spare > 0),
                    here,
                    ask.gone_ns,
                    place,
                ),
            )
            db.execute(
                "insert or replace into lease values (?, ?, ?, ?, ?, ?, ?)",
                (place, ask.node, *kept),
            )
        return answered

    def _find(
        self, db: sqlite3.Connection, bucket: Bucket, node: str, cap: int, about: str, gone_ns: int
    ) -> tuple[int, Sequence[Any]]:
        """A bucket's row, which is made if there is none, and what it says."""
        budget = self._budget(db, bucket.budget, about)
        of = (node, budget, bucket.payer, bucket.start_ns)
        row = db.execute(_BUCKET, of).fetchone()
        if row is None:
            db.execute(
                "insert into bucket (budget, payer, start_ns, end_ns, length_ns, cap, gone_ns) "
                "values (?, ?, ?, ?, ?, ?, ?)",
                (budget, *bucket[1:], cap, gone_ns),
            )
            row = db.execute(_BUCKET, of).fetchone()
        return row[0], row[1:]

    def _budget(self, db: sqlite3.Connection, identity: str, about: str) -> int:
        known = self._ids.get(identity)
        if known is not None and (known[1] == about or not about):
            return known[0]
        db.execute("insert or ignore into budget (identity, about) values (?, '')", (identity,))
        if about:
            db.execute("update budget set about = ? where identity = ?", (about, identity))
        row = db.execute("select id, about from budget where identity = ?", (identity,)).fetchone()
        self._ids[identity] = row
        place: int = row[0]
        return place

    def _other_slots(
        self, db: sqlite3.Connection, bucket: Bucket, place: int, extra: int, told: list[float]
    ) -> tuple[Sums, int, list[float], tuple[tuple[int, int], ...]]:
        """Of a rolling window: sums, extra and alerts of the slots that count with this one."""
        budget = self._ids[bucket.budget][0]
        sums, slots = Sums(), []
        for start_ns, end_ns, granted, spent, settled, more, levels in db.execute(
            "select start_ns, end_ns, granted, spent, settled, extra, told from bucket "
            "where budget = ? and payer = ? and start_ns > ? and id != ?",
            (budget, bucket.payer, bucket.counts_from_ns, place),
        ):
            sums = Sums(sums.granted + granted, sums.spent + spent, sums.settled + settled)
            slots.append((end_ns + bucket.length_ns, granted))
            extra += more
            if start_ns > bucket.start_ns - bucket.length_ns and levels != "[]":
                told = [*told, *json.loads(levels)]
        return sums, extra, told, tuple(slots)

    def _exempt_ns(self, db: sqlite3.Connection, bucket: Bucket, now_ns: int) -> int:
        row = db.execute(
            "select until_ns from exempt where budget = ? and payer = ? and until_ns > ?",
            (self._ids[bucket.budget][0], bucket.payer, now_ns),
        ).fetchone()
        return row[0] if row else 0


_BUCKET: Final = """
    select b.id, b.cap, b.epoch, b.granted, b.spent, b.settled, b.spare, b.extra, b.told,
           l.birth, l.granted, l.spent, l.settled, l.seq
    from bucket as b left join lease as l on l.bucket = b.id and l.node = ?
    where b.budget = ? and b.payer = ? and b.start_ns = ?
"""
_STANDINGS: Final = """
    select b.payer, b.cap, sum(b.extra), sum(b.granted), sum(b.spent), sum(b.settled),
           max(b.start_ns), b.end_ns, coalesce(e.until_ns, 0)
    from bucket as b join budget as g on g.id = b.budget
    left join exempt as e on e.budget = b.budget and e.payer = b.payer
    where b.start_ns > ? and b.start_ns <= ? and g.identity = ?
    group by b.payer order by b.payer
"""
_TALLY: Final = """
    with payer as (
        select sum(settled) as used, sum(spent) as spent, :cap + sum(extra) as most
        from bucket
        where budget = (select id from budget where identity = :of)
          and start_ns > :from and start_ns <= :to
        group by payer
    )
    select coalesce(max(used), 0), coalesce(max(spent - used), 0), coalesce(max(spent), 0),
           count(*), coalesce(sum(spent < most and used >= :at), 0),
           coalesce(sum(spent >= most), 0)
    from payer
"""


def gone_ns(bucket: Bucket) -> int:
    """When a bucket may be forgotten, as far as its window says."""
    if bucket.end_ns >= FOREVER_NS:
        return FOREVER_NS
    return bucket.end_ns + 2 * bucket.length_ns + KEEP_NS


def _counts_until_ns(bucket: Bucket) -> int:
    return bucket.end_ns + bucket.length_ns


def _last_word(node: str, remains: Remains) -> Ask:
    """What a dead node would say: all that it had committed is spent."""
    bucket, birth, epoch, spent = remains
    return Ask(
        bucket=bucket,
        node=node,
        birth=birth,
        seq=_LAST_SEQ,
        epoch=epoch,
        spent=spent,
        settled=spent,
        keep=spent,
        need=0,
        want=0,
        call=0,
        alone=False,
        cap=0,
        ceiling=0,
        alerts=(),
        about="",
        gone_ns=gone_ns(bucket),
    )
