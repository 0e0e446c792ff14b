"""A step on a SQLite file: read what is asked about, decide, write; two statements.

Nothing is locked in between. What was read is checked when it is written: if somebody else was
faster, nothing is written, and the step is made again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_atm.ledger.grants import Answer, Ask, Bucket, Lease, Record, Sums, answer

#: Series: [identity, payer, first start_ns, last start_ns].
_READ: Final = """
    with series as (
        select g.id as budget, g.identity, json_extract(value, '$[1]') as payer,
               json_extract(value, '$[2]') as first_ns, json_extract(value, '$[3]') as last_ns
        from json_each(:series) join budget as g on g.identity = json_extract(value, '$[0]')
    )
    select
        (
            select json_group_array(json_array(
                s.identity, s.payer, b.start_ns, b.end_ns, b.length_ns, b.cap, b.epoch, b.granted,
                b.spent, b.settled, b.spare, b.extra, b.told, b.gone_ns, b.version,
                l.birth, l.granted, l.spent, l.settled, l.seq
            ))
            from series as s
            join bucket as b on b.budget = s.budget and b.payer = s.payer
                            and b.start_ns between s.first_ns and s.last_ns
            left join lease as l on l.bucket = b.id and l.node = :node
        ),
        (
            select json_group_array(json_array(s.identity, s.payer, e.until_ns))
            from series as s join exempt as e on e.budget = s.budget and e.payer = s.payer
            where e.until_ns > :now_ns
        )
"""
_WRITE: Final = "insert into step values (?)"

_Series = tuple[str, str]  # budget, payer


class OvertakenError(Exception):
    """Somebody else has changed what was read; nothing was written."""


class BuriedError(Exception):
    """The node was buried before; nothing was written."""


@dataclass(slots=True)
class _Row:
    """A bucket as it was read, and as it becomes."""

    bucket: Bucket
    cap: int
    epoch: int
    sums: Sums
    spare: int
    extra: int
    told: tuple[float, ...]
    gone_ns: int
    version: int
    lease: Lease
    about: str = ""
    changed: bool = False


class Step:
    """All that some asks of one node are about.

    Args:
        node: that asks.
        asks: in the order in which they are answered.
        now_ns: since the Unix epoch.
    """

    def __init__(self, node: str, asks: Sequence[Ask], now_ns: int) -> None:
        self._node, self._asks, self._now_ns = node, asks, now_ns
        # of each payer: from where to where buckets count
        self._ranges: dict[tuple[str, str, int], list[int]] = {}
        for ask in asks:
            bucket = ask.bucket
            which = bucket.budget, bucket.payer, 0 if bucket.length_ns else bucket.start_ns
            first, last = bucket.counts_from_ns + 1, bucket.counts_to_ns
            known = self._ranges.setdefault(which, [first, last])
            known[0] = min(known[0], first)
        self._rows: dict[_Series, dict[int, _Row]] = {}
        self._exempt: dict[_Series, int] = {}
        self._checks: list[list[Any]] = []

    def read(self, db: sqlite3.Connection) -> None:
        """What the store knows."""
        series = [
            (identity, payer, first, last)
            for (identity, payer, _), (first, last) in self._ranges.items()
        ]
        about = {"series": json.dumps(series), "node": self._node, "now_ns": self._now_ns}
        ((rows, exempt),) = db.execute(_READ, about).fetchall()
        for identity, payer, *fields in json.loads(rows):
            self._take(identity, payer, fields)
        for identity, payer, until_ns in json.loads(exempt):
            self._exempt[identity, payer] = until_ns
        for identity, payer, first, last in series:
            found = [
                row.version + 1
                for start_ns, row in self._rows.get((identity, payer), {}).items()
                if first <= start_ns <= last
            ]
            self._checks.append([identity, payer, first, last, sum(found)])

    def _take(self, identity: str, payer: str, fields: list[Any]) -> None:
        start_ns, end_ns, length_ns, cap, epoch, *rest = fields
        granted, spent, settled, spare, extra, told, gone_ns, version, *lease = rest
        self._rows.setdefault((identity, payer), {})[start_ns] = _Row(
            Bucket(identity, payer, start_ns, end_ns, length_ns),
            cap,
            epoch,
            Sums(granted, spent, settled),
            spare,
            extra,
            tuple(json.loads(told)) if told != "[]" else (),
            gone_ns,
            version,
            Lease(*lease) if lease[0] is not None else Lease(),
        )

    def decide(self) -> list[Answer]:
        """The answers; each sees what those before it have changed."""
        return [self._answer(ask) for ask in self._asks]

    def _answer(self, ask: Ask) -> Answer:
        bucket = ask.bucket
        series = bucket.budget, bucket.payer
        rows = self._rows.setdefault(series, {})
        row = rows.get(bucket.start_ns)
        if row is None:
            row = rows[bucket.start_ns] = _Row(
                bucket, ask.cap, ask.epoch, Sums(), 0, 0, (), ask.gone_ns, 0, Lease()
            )
        counting = [row]
        if bucket.length_ns:
            counting += [
                other
                for start_ns, other in rows.items()
                if start_ns > bucket.counts_from_ns and other is not row
            ]
        record = _record(ask, row, counting, self._exempt.get(series, 0))
        said, kept, change = answer(ask, record)
        if kept is not row.lease:
            row.spare = record.rivals + (kept.spare > 0)
            row.sums = Sums(*(a + b for a, b in zip(row.sums, change, strict=True)))
            row.cap, row.epoch, row.lease = ask.cap or row.cap, record.epoch, kept
            row.told = tuple(sorted({*row.told, *said.due}))
            row.gone_ns, row.about, row.changed = ask.gone_ns, ask.about, True
        return said

    def write(self, write: Any, *, buried: str | None = None) -> None:
        """Keep it.

        Args:
            write: executes a statement with values.
            buried: the node is dead, and is not heard of again.

        Raises:
            OvertakenError: make the step again.
            BuriedError: it was buried before.
        """
        changed = [row for rows in self._rows.values() for row in rows.values() if row.changed]
        if not changed and buried is None:
            return
        document = {
            "checks": self._checks,
            "buckets": [_as_written(row) for row in changed],
            "leases": [[*row.bucket[:3], self._node, *row.lease] for row in changed],
            "buried": buried,
        }
        try:
            write(_WRITE, (json.dumps(document),))
        except sqlite3.IntegrityError as error:
            if "overtaken" in str(error):
                raise OvertakenError from error
            if "buried" in str(error):
                raise BuriedError from error
            raise


def _record(ask: Ask, row: _Row, counting: list[_Row], exempt_ns: int) -> Record:
    bucket = ask.bucket
    sums = Sums(*(sum(each) for each in zip(*(other.sums for other in counting), strict=True)))
    told = set(row.told)
    for other in counting:
        if other.bucket.start_ns > bucket.start_ns - bucket.length_ns:
            told.update(other.told)
    slots = [(each.bucket.end_ns + bucket.length_ns, each.sums.granted) for each in counting]
    return Record(
        epoch=max(row.epoch, ask.epoch),
        lease=row.lease,
        others=sums.with_(row.lease, -1),
        rivals=row.spare - (row.lease.spare > 0),
        extra=sum(other.extra for other in counting),
        told=tuple(told),
        exempt_ns=exempt_ns,
        slots=tuple(sorted(slots)) if bucket.length_ns else (),
    )


def _as_written(row: _Row) -> list[Any]:
    identity, *where = row.bucket
    return [
        identity,
        row.about,
        *where,
        row.cap,
        row.epoch,
        *row.sums,
        row.spare,
        json.dumps(row.told),
        row.gone_ns,
    ]
