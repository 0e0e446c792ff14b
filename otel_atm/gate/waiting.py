"""Waiting: calls that are short of room until others end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

#: How many may wait at once; who comes after is refused at once.
MOST: Final = 10_000


class Waiters:
    """Those that want to know when a call ends. Each is told once, and asks again if need be.

    Attributes:
        waiting: what is to be called, oldest first.
    """

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], None]] = deque()

    def join(self, tell: Callable[[], None]) -> bool:
        """Have `tell` called once, from the thread of the next call that ends; False if full."""
        if len(self.waiting) >= MOST:
            return False
        self.waiting.append(tell)
        return True

    def leave(self, tell: Callable[[], None]) -> None:
        """No longer."""
        try:
            self.waiting.remove(tell)
        except ValueError:
            return  # it was told meanwhile

    def wake(self) -> None:
        """A call has ended: tell all who wait now."""
        for _ in range(len(self.waiting)):
            try:
                tell = self.waiting.popleft()
            except IndexError:
                return  # another thread tells them
            tell()
