"""The store of a ledger in a SQLite file: exact, shared by the processes of one host, kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from otel_atm.errors import ConfigurationError
from otel_atm.ledger.bell import Bell
from otel_atm.ledger.cells import Remains
from otel_atm.ledger.grants import Answer, Ask, Bucket
from otel_atm.ledger.lease_store import LedgerError, Standing, Tally
from otel_atm.ledger.sqlite_file import Hand, SqliteFile
from otel_atm.ledger.sqlite_step import BuriedError, OvertakenError, Step
from otel_atm.window import SECOND_NS

#: The number of the last message about a dead node.
_LAST_SEQ: Final = 1 << 50
#: How often a step is made again because somebody else was faster, before it waits for the lock.
_TRIES: Final = 3
#: For how many seconds an operator waits.
_OPERATOR_S: Final = 5.0


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
        """See `LeaseStore.open`. While it is open, this costs a look at the folder."""
        with self._file.using(timeout_s):
            _ = self.bell

    def close(self) -> None:
        """See `LeaseStore.close`."""
        self._file.close()

    # Nodes ------------------------------------------------------------------------------------

    def step(self, asks: Sequence[Ask], now_ns: int, timeout_s: float) -> list[Answer]:
        """See `LeaseStore.step`. All asks are of one node."""
        with self._file.using(timeout_s) as hand:
            return _made(hand, lambda: Step(asks[0].node, asks, now_ns)) if asks else []

    def bury(self, node: str, remains: Sequence[Remains], now_ns: int, timeout_s: float) -> None:
        """See `LeaseStore.bury`."""
        words = [_last_word(node, each) for each in remains]
        with self._file.using(timeout_s) as hand, suppress(BuriedError):
            _made(hand, lambda: Step(node, words, now_ns), buried=node)

    def sweep(self, now_ns: int) -> None:
        """See `LeaseStore.sweep`."""
        with self._file.using(1.0) as hand:  # one by one: nobody waits for long
            hand.write(
                "delete from lease where bucket in (select id from bucket where gone_ns < ?)",
                (now_ns,),
            )
            hand.write("delete from bucket where gone_ns < ?", (now_ns,))
            hand.write("delete from exempt where until_ns < ?", (now_ns,))
            hand.write(
                "delete from buried where at_ns < (strftime('%s', 'now') - 86400) * 1000000000"
            )

    def flush(self) -> None:
        """See `LeaseStore.flush`."""
        self._file.checkpoint()

    # Operators --------------------------------------------------------------------------------

    def grant(self, bucket: Bucket, amount: int, cap: int, about: str) -> None:
        """See `LeaseStore.grant`."""
        with self._file.writing(_OPERATOR_S) as hand:
            hand.write(
                "insert or ignore into bucket (budget, payer, start_ns, end_ns, length_ns, cap, "
                "gone_ns) values (?, ?, ?, ?, ?, ?, ?)",
                (_budget(hand, bucket, about), *bucket[1:], cap, bucket.gone_ns),
            )
            hand.write(
                "update bucket set extra = extra + ?, version = version + 1 "
                "where budget = ? and payer = ? and start_ns = ?",
                (amount, _budget(hand, bucket, about), bucket.payer, bucket.start_ns),
            )

    def reset(self, bucket: Bucket) -> None:
        """See `LeaseStore.reset`. Of a rolling window: all slots that count."""
        with self._file.writing(_OPERATOR_S) as hand:
            which = "budget = ? and payer = ? and start_ns > ? and start_ns <= ?"
            first, last = bucket.counts_from_ns, bucket.counts_to_ns
            whose = (_budget(hand, bucket, ""), bucket.payer, first, last)
            hand.write(
                f"delete from lease where bucket in (select id from bucket where {which})", whose
            )
            hand.write(
                "update bucket set epoch = epoch + 1, granted = 0, spent = 0, settled = 0, "
                f"spare = 0, extra = 0, told = '[]', version = version + 1 where {which}",
                whose,
            )

    def exempt(self, bucket: Bucket, until_ns: int, about: str) -> None:
        """See `LeaseStore.exempt`."""
        with self._file.writing(_OPERATOR_S) as hand:
            hand.write(
                "insert or replace into exempt values (?, ?, ?)",
                (_budget(hand, bucket, about), bucket.payer, until_ns),
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


def _made(hand: Hand, begin: Callable[[], Step], *, buried: str | None = None) -> list[Answer]:
    """A step; of many processes that are faster, it waits for the last."""
    for _ in range(_TRIES):
        step = begin()
        step.read(hand.db)
        answers = step.decide()
        try:
            step.write(hand.write, buried=buried)
        except OvertakenError:
            continue
        return answers
    with hand.alone():
        step = begin()
        step.read(hand.db)
        answers = step.decide()
        step.write(hand.db.execute, buried=buried)
    return answers


def _budget(hand: Hand, bucket: Bucket, about: str) -> int:
    """Its row, which is made if there is none."""
    hand.write(
        "insert or ignore into budget (identity, about) values (?, ?)", (bucket.budget, about)
    )
    row = hand.db.execute("select id from budget where identity = ?", (bucket.budget,)).fetchone()
    place: int = row[0]
    return place


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
        gone_ns=bucket.gone_ns,
    )
