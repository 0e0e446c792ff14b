"""The lease protocol: how the processes of a fleet share a budget without asking for each call.

The store knows, of each budget window, what every node may use: its grant. A node admits a call if
what it has committed (held or settled) and the call fit into its grant, and asks the store for more
if not. Calls cost no I/O, and the sum of all grants never passes the limit.

* Messages say absolute amounts, never differences: repeated or lost ones do no harm.
* Each has a number. The store refuses an older one than it has seen, a node an answer to an older
  one than it has sent.
* A node that has asked does not spend, until it is answered, what the answer may take back.
* What a node has committed is in a cell of a file that survives the process. Whoever finds the node
  dead (its lock on the file is free) reports the cell for it, with a number above all others.

A model holds one `Account` per node and bucket; a bucket is a budget in a window (or in an epoch,
which an operator began by a reset). Seen from outside it is one piece: the node's side, the store's
record of it, what is on its way between the two, and the truth, which nobody in the protocol sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache, cached_property
from itertools import count
from operator import attrgetter
from typing import Final, NamedTuple, TypeVar

from tests.models.explorer import show

T = TypeVar("T")

_number = attrgetter("number")

#: Above every number that a living node gives a message: the last word on a dead one.
LAST_WORD: Final = 99

#: In place of a grant: the epoch is over, there is a new one.
STALE: Final = -99


class Fault(Enum):
    """Ways to get the protocol wrong. A model with any of them must be caught."""

    STORE_TAKES_OLD_MESSAGES = "the store applies a late message over a newer one"
    NODE_TAKES_OLD_ANSWERS = "a node takes an answer to an older question than its newest"
    MESSAGES_ARE_DIFFERENCES = "messages say what was added since the last one"
    SPENDS_WHILE_ASKING = "a node goes on spending credit that the answer may take back"
    RECYCLES_DEBT = "a node in debt takes what it has committed for its grant while it asks"
    NO_LIMIT = "the store grants without looking at the limit"
    BURIES_FROM_LAST_MESSAGE = "a dead node is reported with what it last told, not from its cell"
    BURIES_THE_LIVING = "a node is buried although its lock is held"
    CELL_AFTER_THE_CALL = "the cell is written after the call was let out"
    LATE_SETTLE_IN_NEW_WINDOW = "a call is settled in the present window, not where it was admitted"
    STORE_FORGETS = "the store loses its records"
    EPOCH_IGNORED = "the store applies a message of an old epoch to the new one"
    GRANTS_IN_OLD_SLOT = "the store grants in a slot of a rolling window that is over"
    ANSWER_WITHOUT_EPOCH = "an answer of the old epoch is taken for one of the new epoch"


class Request(NamedTuple):
    """From a node: I have committed `c`, need `need` more, and would like `want` beyond that."""

    seq: int
    c: int
    need: int
    want: int


class Answer(NamedTuple):
    """From the store: your grant is now `g`."""

    seq: int
    g: int


class Account(NamedTuple):
    """One node and one bucket."""

    # the node's side
    g: int = 0  # may commit up to this
    c: int = 0  # has committed: held + settled
    cell: int = 0  # c again, where it survives the process
    seq: int = 0  # of the newest message
    asking: bool = False  # it was not answered yet
    told: int = 0  # c of the newest message; kept only where messages are differences
    # the store's record
    granted: int = 0
    reported: int = 0
    applied: int = 0  # seq of the newest message applied
    # on the way
    requests: tuple[Request, ...] = ()
    answers: tuple[Answer, ...] = ()
    # the truth
    spent: int = 0  # of all calls that were let out: held, or if settled, used
    over: int = 0  # how much calls have used beyond what was held for them


class Hold(NamedTuple):
    """A call that is out: admitted under which plan, with how much."""

    plan: int
    size: int


class Node(NamedTuple):
    """A process.

    Attributes:
        plan: number of the buckets that it charges now: its window, or its epoch.
    """

    accounts: tuple[Account, ...]
    holds: tuple[Hold, ...] = ()
    plan: int = 0
    alive: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A state of a node, once: the same node in a million worlds is compared by identity."""

    node: Node
    number: int  # in the order of discovery

    def __repr__(self) -> str:
        return show(self.node)


class World(NamedTuple):
    """All there is. Nodes are alike, so they stand in order of their states, not of names."""

    nodes: tuple[Known, ...]
    epoch: int = 0  # the store's; in a rolling window, its slot
    admitted: tuple[int, ...] = ()  # in each slot, by the store's clock: the truth


class Totals(NamedTuple):
    """Of one bucket, over some nodes."""

    granted: int  # the sum of grants
    unspent: int  # how many of them have one that is not used up


def decide(limit: int, t: int, n: int, g: int, c: int, need: int, want: int) -> int:
    """A node's new grant. These lines are the store's, in SQL and in Lua.

    Args:
        limit: of the bucket.
        t: the sum of all grants.
        n: nodes with an unspent grant.
        g: this node's grant up to now.
        c: what it has committed.
        need: for the call that waits; 0: give back what is not committed.
        want: beyond that, to save questions.
    """
    low, room = c + need, limit - (t - g)
    if low > room:
        return c  # "no", if something was needed; and if c > room: debt, recorded
    extra = min(want, (room - low) // (2 * max(n, 1)))
    if need:
        extra -= extra % need  # whole calls only
    return low + extra


@dataclass(frozen=True)
class Leases:
    """A fleet and its buckets.

    Args:
        limits: of each bucket.
        plans: the buckets that a call is charged to: one plan after the other, each a window.
        nodes: processes.
        sizes: of calls.
        want: what a node asks for beyond what it needs.
        overrun: how much calls of one node may use, in all, beyond what was held for them.
        on_the_way: requests of a node that the network holds at most.
        deaths: how many nodes may die.
        resets: plans are epochs: an operator begins the next one, the store says so.
        fault: what is wrong with it.
    """

    limits: tuple[int, ...] = (4,)
    plans: tuple[tuple[int, ...], ...] = ((0,),)
    nodes: int = 2
    sizes: tuple[int, ...] = (1, 2)
    want: int = 2
    overrun: int = 0
    on_the_way: int = 2
    deaths: int = 1
    resets: bool = False
    fault: Fault | None = None

    @property
    def initial(self) -> World:
        return World((self._known(Node((Account(),) * len(self.limits))),) * self.nodes)

    # What can happen ---------------------------------------------------------------------------

    def steps(self, world: World) -> Iterator[tuple[str, World]]:
        """All that can happen next. A step is one node's; of the others it sees sums at most."""
        nodes, epoch, _ = world
        may_die = sum(not known.node.alive for known in nodes) < self.deaths
        for at, known in enumerate(nodes):
            if at and known is nodes[at - 1]:
                continue  # its twin does the same
            others = nodes[:at] + nodes[at + 1 :]
            for name, new in self._node_steps(known, may_die):
                yield name, in_order((*others, new), epoch)
            for name, new in self._store_steps(known, others, epoch):
                yield name, in_order((*others, new), epoch)
        if self.resets and epoch + 1 < len(self.plans):
            yield "reset", in_order(map(self._forgotten, nodes), epoch + 1)
        if self.fault is Fault.STORE_FORGETS:
            yield "store forgets", in_order(map(self._forgotten, nodes), epoch)

    @cached_property
    def _known(self) -> Callable[[Node], Known]:
        number = count()
        return cache(lambda node: Known(node, next(number)))

    @cached_property
    def _node_steps(self) -> Callable[[Known, bool], list[tuple[str, Known]]]:
        @cache
        def node_steps(known: Known, may_die: bool) -> list[tuple[str, Known]]:
            return [(name, self._known(new)) for name, new in self._of_node(known.node, may_die)]

        return node_steps

    @cached_property
    def _store_steps(
        self,
    ) -> Callable[[Known, tuple[Known, ...], int], list[tuple[str, Known]]]:
        @cache
        def store_steps(
            known: Known, totals: tuple[Totals, ...], epoch: int
        ) -> list[tuple[str, Known]]:
            new_nodes = self._of_store(known.node, totals, epoch)
            return [(name, self._known(new)) for name, new in new_nodes]

        totals = cache(self._totals)
        return lambda known, others, epoch: store_steps(known, totals(others), epoch)

    @cached_property
    def _forgotten(self) -> Callable[[Known], Known]:
        return cache(lambda known: self._known(_forgotten(known.node)))

    def _totals(self, nodes: tuple[Known, ...]) -> tuple[Totals, ...]:
        """The sums of each bucket."""
        buckets = zip(*(known.node.accounts for known in nodes), strict=True)
        return tuple(
            Totals(
                sum(account.granted for account in accounts),
                sum(account.granted > account.reported for account in accounts),
            )
            for accounts in buckets
        )

    def _of_node(self, node: Node, may_die: bool) -> Iterator[tuple[str, Node]]:
        """What happens at a node without the store."""
        if node.alive:
            yield from self._calls(node)
            yield from self._settles(node)
            yield from self._gives_back(node)
            yield from self._is_answered(node)
            if not self.resets and node.plan + 1 < len(self.plans):
                yield "window turns", node._replace(plan=node.plan + 1)
            if may_die:
                yield "dies", Node(tuple(map(_dead, node.accounts)), (), node.plan, alive=False)
        if not node.alive or self.fault is Fault.BURIES_THE_LIVING:
            yield from self._is_buried(node)
        for at, account in enumerate(node.accounts):
            if account.cell != account.c and node.alive:  # only if it is not written with c
                yield "cell is written", _with(node, at, account._replace(cell=account.c))
        yield from self._loses(node)

    # The node ----------------------------------------------------------------------------------

    def _calls(self, node: Node) -> Iterator[tuple[str, Node]]:
        """A call comes. All its buckets have enough, or it waits, uncharged, until they have."""
        plan = self.plans[node.plan]
        for size in self.sizes:
            short = [at for at in plan if node.accounts[at].c + size > node.accounts[at].g]
            if not short:
                yield f"admits {size}", self._admitted(node, size)
            for at in short:
                for want in {0, self.want}:
                    for asking in self._asking(node, at, size, want):
                        yield f"asks for {size} and {want} in bucket {at}", asking

    def _admitted(self, node: Node, size: int) -> Node:
        """Charged to all buckets of the plan in one local step, under the node's lock."""
        for at in self.plans[node.plan]:
            account = node.accounts[at]
            c = account.c + size
            cell = account.cell if self.fault is Fault.CELL_AFTER_THE_CALL else c
            node = _with(node, at, account._replace(c=c, cell=cell, spent=account.spent + size))
        return node._replace(holds=tuple(sorted((*node.holds, Hold(node.plan, size)))))

    def _settles(self, node: Node) -> Iterator[tuple[str, Node]]:
        """A call ends: it used nothing, what was held, or more. Its window pays, however late."""
        for hold in set(node.holds):
            for used in (0, hold.size, hold.size + 1):
                ended = node._replace(holds=_without(node.holds, hold))
                for at in self.plans[hold.plan]:
                    ended = self._charged(ended, at, used - hold.size)
                if all(account.over <= self.overrun for account in ended.accounts):
                    yield f"settles {used} of {hold.size}", ended

    def _charged(self, node: Node, at: int, more: int) -> Node:
        account = node.accounts[at]
        truth = account._replace(spent=account.spent + more, over=account.over + max(0, more))
        node = _with(node, at, truth)
        if self.fault is Fault.LATE_SETTLE_IN_NEW_WINDOW:
            at = self.plans[node.plan][0]
        account = node.accounts[at]
        cell = account.cell if self.fault is Fault.CELL_AFTER_THE_CALL else account.c + more
        return _with(node, at, account._replace(c=account.c + more, cell=cell))

    def _gives_back(self, node: Node) -> Iterator[tuple[str, Node]]:
        """Idle credit, debt, what was settled late: all the same report, which needs nothing."""
        for at, account in enumerate(node.accounts):
            if account.g != account.c or account.asking or account.reported != account.c:
                for asking in self._asking(node, at, 0, 0):
                    yield f"reports bucket {at}", asking

    def _asking(self, node: Node, at: int, need: int, want: int) -> Iterator[Node]:
        """One message goes out. Claim nothing, while it is open, that the answer may take back."""
        if sum(len(account.requests) for account in node.accounts) >= self.on_the_way:
            return
        account = node.accounts[at]
        g = min(account.g, account.c)
        if self.fault is Fault.SPENDS_WHILE_ASKING:
            g = account.g
        elif self.fault is Fault.RECYCLES_DEBT:
            g = account.c
        differences = self.fault is Fault.MESSAGES_ARE_DIFFERENCES
        request = Request(account.seq + 1, account.c - account.told, need, want)
        asking = account._replace(
            g=g,
            seq=request.seq,
            asking=True,
            told=account.c if differences else 0,
            requests=tuple(sorted((*account.requests, request))),
        )
        yield _with(node, at, self._tidy(asking))

    def _is_answered(self, node: Node) -> Iterator[tuple[str, Node]]:
        for at, account in enumerate(node.accounts):
            for answer in set(account.answers):
                less = account._replace(answers=_without(account.answers, answer))
                if answer.g == STALE:
                    moved = _with(node, at, less._replace(asking=False))
                    plan = max(node.plan, at + 1)
                    yield "hears of the new epoch", moved._replace(plan=plan)
                elif answer.seq == account.seq or self.fault is Fault.NODE_TAKES_OLD_ANSWERS:
                    taken = less._replace(g=answer.g, asking=False)
                    yield f"is granted {answer.g}", _with(node, at, taken)
                if self.fault is Fault.ANSWER_WITHOUT_EPOCH and at < node.plan and answer.g > 0:
                    present = node.accounts[node.plan]._replace(g=answer.g, asking=False)
                    yield "mistakes an answer", _with(_with(node, at, less), node.plan, present)

    def _is_buried(self, node: Node) -> Iterator[tuple[str, Node]]:
        """A survivor, or whoever starts next, found the lock free: the node's step, in its name."""
        for at, account in enumerate(node.accounts):
            told = any(request.seq == LAST_WORD for request in account.requests)
            known = account.granted or account.cell
            if known and not told and account.applied != LAST_WORD:
                from_message = self.fault is Fault.BURIES_FROM_LAST_MESSAGE
                c = account.reported if from_message else account.cell
                requests = (*account.requests, Request(LAST_WORD, c, 0, 0))
                buried = account._replace(requests=tuple(sorted(requests)))
                yield f"is reported dead in bucket {at}", _with(node, at, buried)

    # The network -------------------------------------------------------------------------------

    def _loses(self, node: Node) -> Iterator[tuple[str, Node]]:
        """Late and out of order is what messages are anyhow: each arrives when it likes."""
        for at, account in enumerate(node.accounts):
            for request in set(account.requests):
                less = account._replace(requests=_without(account.requests, request))
                yield "request is lost", _with(node, at, less)
            for answer in set(account.answers):
                less = account._replace(answers=_without(account.answers, answer))
                yield "answer is lost", _with(node, at, less)

    # The store ---------------------------------------------------------------------------------

    def _of_store(
        self, node: Node, others: tuple[Totals, ...], epoch: int
    ) -> Iterator[tuple[str, Node]]:
        """One of the node's messages arrives: one atomic step of the store, and an answer."""
        for at, account in enumerate(node.accounts):
            for request in set(account.requests):
                requests = _without(account.requests, request)
                arrived = _with(node, at, account._replace(requests=requests))
                record = at
                if self.resets and at < epoch:
                    if self.fault is not Fault.EPOCH_IGNORED:
                        stale = self._answered(arrived, at, request.seq, STALE)
                        yield "store: that epoch is over", stale
                        continue
                    record = epoch
                elif request.seq <= account.applied and not self._takes_old:
                    continue
                limit = self._limit(node, others, record, epoch)
                granted = self._granted(arrived.accounts[record], request, limit, others[record])
                applied = _with(arrived, record, granted)
                answered = self._answered(applied, at, request.seq, granted.granted)
                yield f"store grants {granted.granted} in bucket {record}", answered

    def _limit(self, node: Node, others: tuple[Totals, ...], bucket: int, epoch: int) -> int:
        return 1000 if self.fault is Fault.NO_LIMIT else self.limits[bucket]

    def _granted(self, account: Account, request: Request, limit: int, others: Totals) -> Account:
        differences = self.fault is Fault.MESSAGES_ARE_DIFFERENCES and request.seq != LAST_WORD
        c = account.reported + request.c if differences else request.c
        g = decide(
            limit,
            others.granted + account.granted,
            others.unspent + (account.granted > account.reported),
            account.granted,
            c,
            request.need,
            request.want,
        )
        return account._replace(granted=g, reported=c, applied=request.seq)

    def _answered(self, node: Node, at: int, seq: int, g: int) -> Node:
        account = node.accounts[at]
        if node.alive:
            answers = sorted((*account.answers, Answer(seq, g)))[-2:]  # with a fault, no more
            account = account._replace(answers=tuple(answers))
        return _with(node, at, self._tidy(account))

    # The same in fewer states ------------------------------------------------------------------

    @property
    def _takes_old(self) -> bool:
        return self.fault is Fault.STORE_TAKES_OLD_MESSAGES

    def _tidy(self, account: Account) -> Account:
        """Without messages that nobody would listen to, and with the smallest possible numbers.

        Numbers are only compared, so their order is all that counts. Without this there would be
        no end of states.
        """
        requests, answers = account.requests, account.answers
        if not self._takes_old:
            requests = tuple(request for request in requests if request.seq > account.applied)
        if self.fault not in (Fault.NODE_TAKES_OLD_ANSWERS, Fault.ANSWER_WITHOUT_EPOCH):
            answers = tuple(answer for answer in answers if answer.seq == account.seq)
        used = {account.seq, account.applied}
        used.update(request.seq for request in requests)
        used.update(answer.seq for answer in answers)
        order = {seq: rank for rank, seq in enumerate(sorted(used - {LAST_WORD}))}
        order[LAST_WORD] = LAST_WORD
        return account._replace(
            seq=order[account.seq],
            applied=order[account.applied],
            requests=tuple(request._replace(seq=order[request.seq]) for request in requests),
            answers=tuple(answer._replace(seq=order[answer.seq]) for answer in answers),
        )

    # What must hold ----------------------------------------------------------------------------

    def overspent(self, world: World) -> str | None:
        """The promise: no bucket's limit is passed, but for what calls used beyond their holds."""
        for bucket, limit in enumerate(self.limits):
            admitted = 0
            for known in world.nodes:
                account = known.node.accounts[bucket]
                admitted += account.spent - account.over
            if admitted > limit:
                return f"{admitted} of {limit} were admitted in bucket {bucket}"
        return None

    def problem(self, world: World) -> str | None:
        """What is wrong with a state: the promise, and what it rests on, from near to far."""
        if problem := self.overspent(world):
            return problem
        for known in world.nodes:
            if problem := self._misunderstanding(known, world.epoch):
                return problem
        quiet = self.is_quiet(world) and not self.resets
        for bucket, limit in enumerate(self.limits):
            granted = spent = over = 0
            for known in world.nodes:
                account = known.node.accounts[bucket]
                granted += account.granted
                spent += account.spent
                over += account.over
            if granted > limit + over:
                return f"{granted} of {limit} are granted in bucket {bucket}, {over} of it debt"
            if quiet and granted != spent:
                return f"all is quiet, {spent} are spent and {granted} are granted"
        return None

    def is_quiet(self, world: World) -> bool:
        """Nothing is on its way or held, all credit is back, and the dead are buried."""
        return all(map(self._at_rest, world.nodes))

    @cached_property
    def _at_rest(self) -> Callable[[Known], bool]:
        return cache(lambda known: _at_rest(known.node))

    @cached_property
    def _misunderstanding(self) -> Callable[[Known, int], str | None]:
        @cache
        def misunderstanding(known: Known, epoch: int) -> str | None:
            accounts = known.node.accounts[epoch:]  # of old epochs there is no record
            problems = (_misunderstanding(account, known.node.alive) for account in accounts)
            return next(filter(None, problems), None)

        return misunderstanding


def _misunderstanding(account: Account, alive: bool) -> str | None:
    """Where a node, alone, and the store's record of it do not fit together."""
    if not alive:
        if account.applied == LAST_WORD and account.granted != account.spent:
            return f"a dead node spent {account.spent}, the store says {account.granted}"
        return None
    if account.c != account.spent:
        return f"a node spent {account.spent} and thinks it was {account.c}"
    if account.g > account.granted:
        return f"a node thinks that it may spend {account.g}, the store granted {account.granted}"
    if not account.asking and account.g != account.granted:
        return f"answered, a node thinks of {account.g}, the store of {account.granted}"
    return None


def _at_rest(node: Node) -> bool:
    """Nothing is on its way or held, all credit is back; if it is dead, it is buried."""
    if node.holds or any(one.requests or one.answers or one.asking for one in node.accounts):
        return False
    if node.alive:
        return all(account.g == account.c for account in node.accounts)
    return all(
        account.applied == LAST_WORD or not (account.granted or account.cell)
        for account in node.accounts
    )


def in_order(nodes: Iterable[Known], epoch: int) -> World:
    return World(tuple(sorted(nodes, key=_number)), epoch)


def _with(node: Node, at: int, account: Account) -> Node:
    return node._replace(accounts=(*node.accounts[:at], account, *node.accounts[at + 1 :]))


def _without(items: tuple[T, ...], item: T) -> tuple[T, ...]:
    at = items.index(item)
    return items[:at] + items[at + 1 :]


def _dead(account: Account) -> Account:
    """Of a process that was killed there is the cell, and whatever it has sent."""
    return account._replace(g=0, c=0, seq=0, asking=False, told=0, answers=())


def _forgotten(node: Node) -> Node:
    """The store has no record of it any more."""
    return node._replace(
        accounts=tuple(
            account._replace(granted=0, reported=0, applied=0) for account in node.accounts
        )
    )
