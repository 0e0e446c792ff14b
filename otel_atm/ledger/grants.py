"""Grants: how the processes that share a budget share its credit. Pure; no clock, no file.

A store knows, of every bucket (a payer of a budget, in one window), what each node (a process) may
spend: its grant. A node admits calls within its grants without asking anybody, and asks for more
when they run short. The sum of all grants never passes the limit, so what is spent never does.

* Messages say absolute amounts, never differences: repeated and lost ones do no harm.
* They are numbered: of two of one account, the store refuses the older.
* Until it is answered, a node does not spend what the answer may take back (see `Ask.keep`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from otel_atm.window import FOREVER_NS, SECOND_NS

#: How many calls a block of credit is for, at least, while there is plenty.
FIRST_CALLS: Final = 32
#: For how many seconds a block should last at the pace of its node.
HORIZON_S: Final = 5.0
#: A block is at least this part of a node's share of the limit: 0.5 %.
LEAST_SHARE: Final = 200
#: For how long a window that is over is kept for what is settled late.
_KEEP_NS: Final = 3_600 * SECOND_NS


class Bucket(NamedTuple):
    """What one payer spends of one budget in one window, or in one slot of a rolling one.

    Attributes:
        budget: what spend belongs to (see `Budget.identity`), as canonical JSON.
        payer: the values that are counted apart, as canonical JSON.
        start_ns, end_ns: the window or slot.
        length_ns: of a rolling window; else 0.
    """

    budget: str
    payer: str
    start_ns: int
    end_ns: int
    length_ns: int = 0

    @property
    def counts_from_ns(self) -> int:
        """What starts after this, of the same payer, counts together with this one."""
        if not self.length_ns:
            return self.start_ns - 1
        return self.start_ns - self.length_ns - (self.end_ns - self.start_ns)

    @property
    def counts_to_ns(self) -> int:
        """And what starts up to this: a node whose clock is late must not forget later slots."""
        return FOREVER_NS if self.length_ns else self.start_ns

    @property
    def gone_ns(self) -> int:
        """When it may be forgotten, as far as its window says."""
        if self.end_ns >= FOREVER_NS:
            return FOREVER_NS
        return self.end_ns + 2 * self.length_ns + _KEEP_NS


@dataclass(frozen=True, slots=True)
class Ask:
    """One message of a node about one bucket.

    Attributes:
        birth: number of the node's account; a later one for the same bucket has a higher number.
        seq: number of the message; it only rises.
        epoch: of the bucket, as far as the node knows; an operator's reset begins a new one.
        spent: what the node has committed here: settled and held.
        settled: of this, for calls that are over.
        keep: the answer takes nothing of this back; ≥ `spent`, but for a debt.
        need: for the call that waits; 0: none does.
        want: beyond that, to save questions.
        call: blocks are whole multiples of this; 0: any amount.
        alone: whether the call that waits takes what is left, if nobody else has a call in flight.
        cap: the limit that the node's budgets say; 0: it does not know.
        ceiling: where the budget allows more than its limit, at most this.
        alerts: (fraction, amount) of each alert of the budget.
        about: the budget as JSON, for operators.
        gone_ns: when the store may forget the bucket.
    """

    bucket: Bucket
    node: str
    birth: int
    seq: int
    epoch: int
    spent: int
    settled: int
    keep: int
    need: int
    want: int
    call: int
    alone: bool
    cap: int
    ceiling: int
    alerts: tuple[tuple[float, int], ...]
    about: str
    gone_ns: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a store says to an `Ask`.

    Attributes:
        ok: whether `need` was granted.
        stale: the bucket has another epoch, `epoch`; nothing else was looked at.
        granted: what the node may commit, in all.
        credit: of this, within the limit.
        loose: of this, within the ceiling.
        alone: `need` does not fit, and the node has got all that is left.
        limit: with what operators granted.
        used, held: of all nodes, as far as they told; with this ask.
        spare: how much of their grants other nodes had not spent, as far as they told.
        in_flight: whether others may have calls in flight.
        told: the alerts that were told in this window; with `due`.
        due: the alerts that this node has to tell.
        exempt_ns: until when the payer is refused nothing; 0: it is not exempt.
        free_ns: when `need` fits, if nothing else is spent; 0: when the window ends.
    """

    ok: bool
    epoch: int
    granted: int = 0
    credit: int = 0
    loose: int = 0
    limit: int = 0
    used: int = 0
    held: int = 0
    spare: int = 0
    in_flight: bool = False
    alone: bool = False
    stale: bool = False
    told: tuple[float, ...] = ()
    due: tuple[float, ...] = ()
    exempt_ns: int = 0
    free_ns: int = 0


class Lease(NamedTuple):
    """What a store keeps of one node and one bucket; see `Ask`."""

    birth: int = 0
    granted: int = 0
    spent: int = 0
    settled: int = 0
    seq: int = 0

    @property
    def spare(self) -> int:
        """Granted and not spent."""
        return self.granted - self.spent


class Sums(NamedTuple):
    """Over some leases."""

    granted: int = 0
    spent: int = 0
    settled: int = 0

    def with_(self, lease: Lease, sign: int = 1) -> Sums:
        """With a lease, or without it."""
        return Sums(
            self.granted + sign * lease.granted,
            self.spent + sign * lease.spent,
            self.settled + sign * lease.settled,
        )


@dataclass(frozen=True, slots=True)
class Record:
    """What a store knows of a bucket before it answers.

    Attributes:
        lease: of the node that asks.
        others: all but that lease; in a rolling window, of all slots that count.
        rivals: how many other nodes have credit that they have not spent.
        extra: granted by operators.
        told: alerts that were told in this window.
        slots: of a rolling window: (when it stops to count, what was granted there), earliest
            first; with the node's.
    """

    epoch: int
    lease: Lease
    others: Sums
    rivals: int = 0
    extra: int = 0
    told: tuple[float, ...] = ()
    exempt_ns: int = 0
    slots: tuple[tuple[int, int], ...] = ()


def decide(
    limit: int, others: int, rivals: int, keep: int, need: int, want: int, call: int
) -> int | None:
    """A node's new grant; None: what it needs does not fit.

    Args:
        limit: of the bucket.
        others: the sum of all other nodes' grants.
        rivals: how many of them have credit left.
        keep: what the node must not lose.
        need: what it needs beyond that.
        want: what it would like beyond that.
        call: of which it should be a multiple; 0: of nothing.
    """
    low, room = keep + need, limit - others
    if low > room:
        return None
    rest, nodes = room - low, rivals + 1
    extra = min(want, rest, max(rest // nodes, limit // (LEAST_SHARE * nodes)))
    return low + (extra - extra % call if call else extra)


def answer(ask: Ask, record: Record) -> tuple[Answer, Lease, Sums]:
    """What to say, the lease to keep, and what to add to the sums of the bucket.

    These lines are the same in every store.
    """
    lease, others = record.lease, record.others
    if ask.epoch < record.epoch:
        return Answer(ok=False, epoch=record.epoch, stale=True), lease, Sums()
    if (ask.birth, ask.seq) <= (lease.birth, lease.seq):  # overtaken by another message
        return _say(ask, record, others, lease, ok=False), lease, Sums()
    before = lease
    if ask.birth > lease.birth:  # the node has forgotten an account: what it spent there stays
        before = Lease(granted=lease.spare)
        others = others.with_(lease).with_(before, -1)
    granted, ok, alone = _grant(ask, record, others)
    kept = Lease(ask.birth, granted, ask.spent, ask.settled, ask.seq)
    said = _say(ask, record, others, kept, ok=ok, alone=alone)
    return said, kept, Sums().with_(kept).with_(before, -1)


def _grant(ask: Ask, record: Record, others: Sums) -> tuple[int, bool, bool]:
    """The node's grant; whether what it needs is in it; whether it is all that is left."""
    limit, keep = ask.cap + record.extra, max(ask.keep, ask.spent)
    need, want = (0, 0) if record.exempt_ns else (ask.need, ask.want)
    for bound in (limit, limit + ask.ceiling - ask.cap):
        granted = decide(bound, others.granted, record.rivals, keep, need, want, ask.call)
        if granted is not None:
            return granted, True, False
        left = bound - others.granted
        if ask.alone and need and left > keep and others.granted == others.settled:
            return left, True, True
    return keep, not need, False


def _say(
    ask: Ask, record: Record, others: Sums, lease: Lease, *, ok: bool, alone: bool = False
) -> Answer:
    together, limit = others.with_(lease), ask.cap + record.extra
    due = tuple(
        level for level, at in ask.alerts if together.settled >= at and level not in record.told
    )
    return Answer(
        ok=ok,
        epoch=record.epoch,
        granted=lease.granted,
        credit=min(lease.granted, limit - others.granted),
        loose=min(lease.granted, limit - others.granted + ask.ceiling - ask.cap),
        limit=limit,
        used=together.settled,
        held=together.spent - together.settled,
        spare=others.granted - others.spent,
        in_flight=others.granted != others.settled,
        alone=alone,
        told=tuple(sorted({*record.told, *due})),
        due=due,
        exempt_ns=record.exempt_ns,
        free_ns=0 if ok else _free_ns(limit - together.granted, ask.need, record.slots),
    )


def _free_ns(room: int, need: int, slots: tuple[tuple[int, int], ...]) -> int:
    """When so many slots have left a rolling window that `need` fits."""
    for end_ns, granted in slots:
        room += granted
        if room >= need:
            return end_ns
    return slots[-1][0] if slots else 0
