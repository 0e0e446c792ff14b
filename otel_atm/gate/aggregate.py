"""Aggregate: a span above calls, whose usage is the sum of theirs."""

from __future__ import annotations


class Aggregate:
    """The span of an agent, a workflow, a chain or a tool.

    What it tells was told by the calls beneath it, if any was seen; else it is all that is known
    of what was used, e.g. by an agent that runs elsewhere.

    Args:
        above: the next one above; None at the top.

    Attributes:
        saw_calls: whether a call was seen beneath it.
    """

    __slots__ = ("_above", "saw_calls")

    def __init__(self, above: Aggregate | None) -> None:
        self._above = above
        self.saw_calls = False

    def note_call(self) -> None:
        """A call was seen beneath."""
        aggregate: Aggregate | None = self
        while aggregate is not None and not aggregate.saw_calls:
            aggregate.saw_calls = True
            aggregate = aggregate._above
