"""Walks through everything that a model can do.

A model is an initial state and a function from a state to its steps: ``(name, next state)``. States
are immutable and hashable, best made of named tuples. Whatever may happen next, in whichever
process, is one step, so the walk goes through all interleavings; each state is visited once. It
goes breadth first, so that the trace to a state that breaks a rule is a shortest one.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

State = TypeVar("State", bound=Hashable)

#: What is wrong with a state; None: nothing.
Check = Callable[[State], str | None]


@dataclass(frozen=True, slots=True)
class Explored:
    """How far a walk went.

    Attributes:
        states: different ones.
        transitions: steps between them, also those that lead to a known state.
        depth: steps of the longest of all shortest ways to a state.
        ends: states that no step leads on from.
    """

    states: int
    transitions: int
    depth: int
    ends: int


class Violation(AssertionError):  # noqa: N818 - of a rule; no error of the explorer's
    """A state that breaks a rule, with a shortest way to it.

    Attributes:
        problem: what the rule says.
        trace: the names of the steps and the states they lead to, from the initial one.
    """

    def __init__(self, problem: str, trace: list[tuple[str, Any]]) -> None:
        self.problem, self.trace = problem, trace
        lines = [
            f"{number:3} {name}\n      {show(state)}" for number, (name, state) in enumerate(trace)
        ]
        super().__init__("\n".join([problem, *lines]))


def explore(
    initial: State,
    steps: Callable[[State], Iterable[tuple[str, State]]],
    invariant: Check[State],
    *,
    final: Check[State] | None = None,
    goal: Callable[[State], bool] | None = None,
    max_states: int = 1_000_000,
) -> Explored:
    """Visit every state that can be reached.

    Args:
        initial: where all begins.
        steps: what can happen in a state.
        invariant: holds in every state.
        final: holds, too, where nothing more can happen.
        goal: can be reached from everywhere: nothing that happens makes it impossible.
        max_states: more are a mistake in the model, or need a smaller one.

    Raises:
        Violation: a rule is broken.
        RuntimeError: there are more than `max_states`.
    """
    walk = _Walk(initial, max_states)
    edges = array("q")  # source, target, source, target …; kept only for a goal
    transitions = ends = 0
    for number, state in enumerate(walk.states):  # which grow while we walk
        if problem := invariant(state):
            raise Violation(problem, walk.trace(number, steps))
        before = transitions
        for _, following in steps(state):
            transitions += 1
            target = walk.reach(following, number)
            if goal is not None:
                edges.extend((number, target))
        if transitions == before:
            ends += 1
            if final is not None and (problem := final(state)):
                raise Violation(problem, walk.trace(number, steps))
    if goal is not None:
        stuck = _cut_off(bytearray(map(goal, walk.states)), edges)
        if stuck >= 0:
            raise Violation("the goal is out of reach", walk.trace(stuck, steps))
    return Explored(len(walk.states), transitions, walk.depth(), ends)


class _Walk(Generic[State]):
    """What was found up to now.

    Attributes:
        states: in the order of discovery, which is that of the distance; a state's place is its
            number.
    """

    def __init__(self, initial: State, max_states: int) -> None:
        self.states = [initial]
        self._numbers = {initial: 0}
        self._parents = array("q", [-1])
        self._max_states = max_states

    def reach(self, state: State, parent: int) -> int:
        """Number a state, that was known or is new."""
        number = self._numbers.setdefault(state, len(self.states))
        if number == len(self.states):
            if number == self._max_states:
                raise RuntimeError(f"more than {number:,} states")
            self.states.append(state)
            self._parents.append(parent)
        return number

    def trace(
        self, number: int, steps: Callable[[State], Iterable[tuple[str, State]]]
    ) -> list[tuple[str, State]]:
        """The way to a state. Names are not kept on the walk: they are asked for again."""
        trace = []
        while (parent := self._parents[number]) >= 0:
            state = self.states[number]
            name = next(name for name, after in steps(self.states[parent]) if after == state)
            trace.append((name, state))
            number = parent
        return [("initially", self.states[number]), *reversed(trace)]

    def depth(self) -> int:
        """Of the state that was found last: none is farther."""
        depth, number = 0, len(self.states) - 1
        while (number := self._parents[number]) >= 0:
            depth += 1
        return depth


def show(value: object) -> str:
    """A state in short: of named tuples only what is not as it is by default."""
    fields: tuple[str, ...] | None = getattr(value, "_fields", None)
    if fields is not None:
        defaults: dict[str, object] = value._field_defaults  # type: ignore[attr-defined]
        told = (
            f"{name}={show(item)}"
            for name, item in zip(fields, value, strict=True)  # type: ignore[call-overload]
            if name not in defaults or defaults[name] != item
        )
        return f"{type(value).__name__}({', '.join(told)})"
    if isinstance(value, tuple):
        return f"({', '.join(map(show, value))})"
    return repr(value)


def _cut_off(reaching: bytearray, edges: array[int]) -> int:
    """The first state from which no goal can be reached; -1: none.

    Args:
        reaching: by state, 1 if it is a goal; gets 1 where a goal can be reached.
        edges: source and target by turns. Goals tend to be late: backwards a few rounds are enough.
    """
    found = True
    while found:
        found = False
        for at in range(len(edges) - 2, -1, -2):
            if reaching[edges[at + 1]] and not reaching[edges[at]]:
                reaching[edges[at]] = found = True
    return reaching.find(0)
