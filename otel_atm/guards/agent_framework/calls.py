"""Calls: what one request of an agent holds, and what it has used when it is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from otel_atm.guards.agent_framework.requests import reckon, size_of
from otel_atm.guards.agent_framework.streams import StreamWatch
from otel_atm.guards.agent_framework.tellers import Told, told_by


@dataclass(slots=True)
class Call:
    """One request.

    Attributes:
        user_id, period_key: whose it is, and of when.
        model: that is asked; None where nobody says.
        streaming: whether the answer comes bit by bit.
        given: about how many tokens of input it is.
        held_input, held_output: tokens to hold for it.
        hold: the store's; None for a call that was let in without one.
    """

    user_id: str
    period_key: str
    model: str | None
    streaming: bool
    given: int
    held_input: int
    held_output: int
    hold: Any = None

    def told(self, usage: Mapping[str, Any] | None, response: Any) -> Told:
        """What a whole answer has used: as reported, else about."""
        model = getattr(response, "model", None) or self.model
        told = told_by(usage, model)
        if told is not None:
            return told
        size = media = 0
        for message in getattr(response, "messages", None) or ():
            text, more = size_of(message.contents)
            size, media = size + text, media + more
        return self._about(reckon(size, media, model), model)

    def given_up(self) -> Told:
        """What an answer has probably used of which nothing came."""
        return self._about(self.held_output, self.model)

    def broken_off(self, watch: StreamWatch) -> Told | None:
        """What a stream has used that was not read to its end; None: nothing."""
        if not watch.begun or (watch.failed and not watch.received):
            return None
        if not watch.received:
            return self.given_up()
        model = watch.model or self.model
        told = told_by(watch.usage, model)
        if told is not None and watch.finished:
            return told
        about = self._about(reckon(watch.size, watch.media, model), model)
        if told is None:
            return about
        given, made = told.given or self.given, max(told.made or 0, about.made or 0)
        return Told(given, made, given + made, model, estimated=True)

    def _about(self, made: int, model: str | None) -> Told:
        return Told(self.given, made, self.given + made, model, estimated=True)
