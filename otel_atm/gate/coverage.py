"""Coverage: the calls of which emitters pass guards on their way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

#: Emitters and models that are remembered; there are few, but models are what callers say.
_MOST: Final = 4_096


class Coverage:
    """Learns from each call whether guards see what its emitter tells of.

    Of a call that a guard will see, a span holds little: the guard knows the request. Of any other
    it has to hold what such calls use, since nobody follows.

    Args:
        known: tells of emitters that nobody has seen yet.

    Attributes:
        unfollowed: emitters whose calls no guard sees, as far as is known.
    """

    def __init__(self, known: Callable[[str], bool]) -> None:
        self._known = known
        self._follows: dict[str, bool] = {}
        self.unfollowed: set[str] = set()
        self._seen: set[tuple[str, str | None]] = set()

    def follows(self, emitter: str) -> bool:
        """Whether a guard will see the call that a span of this emitter tells of."""
        follows = self._follows.get(emitter)
        if follows is None:
            follows = self._known(emitter)
            self._learn(emitter, follows=follows)
        return follows

    def has_seen(self, emitter: str, model: str | None) -> bool:
        """Whether guards see the calls of this emitter to this model."""
        return (emitter, model) in self._seen

    def see(self, emitter: str, model: str | None) -> None:
        """A guard has taken a call that this emitter tells of."""
        if (emitter, model) not in self._seen:
            if len(self._seen) >= _MOST:
                self._seen.clear()
            self._seen.add((emitter, model))
        if self._follows.get(emitter) is not True:
            self._learn(emitter, follows=True)

    def miss(self, emitter: str) -> None:
        """This emitter told of a call that no guard has seen."""
        if self._follows.get(emitter) is not False:
            self._learn(emitter, follows=False)

    def _learn(self, emitter: str, *, follows: bool) -> None:
        if len(self._follows) >= _MOST:
            self._follows.clear()
            self.unfollowed.clear()
        self._follows[emitter] = follows
        (self.unfollowed.discard if follows else self.unfollowed.add)(emitter)
