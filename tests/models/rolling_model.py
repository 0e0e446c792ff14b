"""Leases in a rolling window: "200 tokens in any 5 minutes", without the burst at a boundary.

Time is cut into slots, and credit belongs to the slot in which it was granted. The store grants in
its present slot alone, and only so much that the grants of this slot and of those before it, as far
back as the window may reach, stay within the limit. When its slot turns a node stops to spend,
gives back what it has not spent, and asks anew.

Each slot is a bucket of the lease model. A node's clock may be a little late, so it is the store's
that says when a call was admitted.

What the lease model has shown already is left out: messages may be late here but are not lost, and
credit is given back only at the turn of a slot. Calls use what was held for them: a refund would
only lower a sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.models.lease_model import Account, Fault, Known, Leases, Node, Totals, World, in_order


@dataclass(frozen=True)
class Rolling(Leases):
    """A fleet and one rolling budget.

    Args:
        slots: as many as there is time for.
        span: any so many slots, one after the other, are held to the limit.
        back: how many earlier slots the store counts together with the present one.
        lag: how many slots a node may be behind the store.
    """

    limit: int = 2
    slots: int = 4
    span: int = 2
    back: int = 2
    lag: int = 0

    @classmethod
    def of(cls, *, limit: int = 2, slots: int = 4, **others: Any) -> Rolling:
        """A model whose buckets are the slots."""
        plans = tuple((slot,) for slot in range(slots))
        return cls(
            limits=(limit,) * slots,
            plans=plans,
            sizes=(1,),
            want=0,
            on_the_way=1,
            deaths=0,
            limit=limit,
            slots=slots,
            **others,
        )

    @property
    def initial(self) -> World:
        return super().initial._replace(admitted=(0,) * self.slots)

    def steps(self, world: World) -> Iterator[tuple[str, World]]:
        """What may happen to leases, and the clock."""
        nodes, now, admitted = world
        before = _spent(nodes)
        for name, after in super().steps(world):
            if name == "window turns" and any(one.node.plan > now + 1 for one in after.nodes):
                continue
            slot = admitted[now] + _spent(after.nodes) - before
            yield name, after._replace(admitted=(*admitted[:now], slot, *admitted[now + 1 :]))
        if now + 1 < self.slots and min(one.node.plan for one in nodes) + self.lag > now:
            yield "the store's slot turns", self._turned(world)

    def _turned(self, world: World) -> World:
        """The next slot, without what is too long ago to matter to anybody."""
        now = world.epoch + 1
        gone = max(0, now - max(self.back, self.lag))
        seen = max(0, now + 1 - self.span)
        nodes = (
            self._known(one.node._replace(accounts=(Account(),) * gone + one.node.accounts[gone:]))
            for one in world.nodes
        )
        admitted = (0,) * seen + world.admitted[seen:]
        return in_order(nodes, now)._replace(admitted=admitted)

    def overspent(self, world: World) -> str | None:
        """The promise: what was admitted in any `span` slots is within the limit."""
        first = max(0, world.epoch + 1 - self.span)
        admitted = sum(world.admitted[first : world.epoch + 1])
        if admitted > self.limit:
            return f"{admitted} of {self.limit} were admitted in slots {first} to {world.epoch}"
        return None

    def _gives_back(self, node: Node) -> Iterator[tuple[str, Node]]:
        for at in range(node.plan):
            if node.accounts[at].g > node.accounts[at].c:
                for asking in self._asking(node, at, 0, 0):
                    yield f"gives back what is left of slot {at}", asking

    def _loses(self, node: Node) -> Iterator[tuple[str, Node]]:
        yield from ()

    def _admitted(self, node: Node, size: int) -> Node:
        return super()._admitted(node, size)._replace(holds=())

    def _limit(self, node: Node, others: tuple[Totals, ...], bucket: int, epoch: int) -> int:
        if bucket != epoch and self.fault is not Fault.GRANTS_IN_OLD_SLOT:
            return 0  # nothing is granted: the slot is over, or has not begun
        return self.limit - sum(
            others[slot].granted + node.accounts[slot].granted
            for slot in range(max(0, bucket - self.back), bucket)
        )


def _spent(nodes: tuple[Known, ...]) -> int:
    return sum(account.spent for known in nodes for account in known.node.accounts)
