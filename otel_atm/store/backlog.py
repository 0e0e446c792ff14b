"""Backlog: rows that somebody keeps back for a moment, and the store asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeVar
from weakref import WeakSet

from otel_atm.trouble import Trouble

T = TypeVar("T")

#: In seconds: nobody is asked more often for what is due, nor less often.
_SHORTEST_S: Final = 0.05
LONGEST_S: Final = 1.0


class Keeper(Protocol):
    """Keeps rows back, e.g. to make one of many."""

    def write_due(self) -> float:
        """Write those that have waited long enough; in how many seconds to ask again."""
        ...

    def write_all(self) -> None:
        """Write all of them."""
        ...


class Backlog:
    """Asks all keepers of rows; never raises.

    Args:
        trouble: counts what fails.

    Attributes:
        trouble: as given; may be replaced.
    """

    def __init__(self, trouble: Trouble) -> None:
        self.trouble = trouble
        self._keepers: WeakSet[Keeper] = WeakSet()

    def join(self, keeper: Keeper) -> None:
        """Ask `keeper`, too, for as long as it lives."""
        self._keepers.add(keeper)

    def write_due(self) -> float:
        """Have rows written that have waited long enough; in how many seconds to ask again."""
        waits = [self._ask(keeper.write_due, LONGEST_S) for keeper in list(self._keepers)]
        return max(_SHORTEST_S, min(waits, default=LONGEST_S))

    def write_all(self) -> None:
        """Have all rows written."""
        for keeper in list(self._keepers):
            self._ask(keeper.write_all, None)

    def _ask(self, write: Callable[[], T], otherwise: T) -> T:
        try:
            return write()
        except Exception as error:  # noqa: BLE001 - e.g. of a clock that was given to us
            self.trouble.note("backlog", error)
            return otherwise
