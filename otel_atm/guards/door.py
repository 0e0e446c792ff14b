"""The door: what all guarded transports do with a request before it is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from opentelemetry.trace import Span, get_current_span

from otel_atm.cache import Cache
from otel_atm.errors import TokenQuotaExceeded
from otel_atm.gate.wire import Wire
from otel_atm.guards.attempt import Attempt, safely, sending
from otel_atm.guards.flight import Flight, flying
from otel_atm.guards.hosts import EVERYBODYS, Hosts
from otel_atm.guards.places import Places
from otel_atm.guards.requests import Request, asked_at
from otel_atm.guards.shape import Shape
from otel_atm.semconv import ATM_BUDGET_NAME, ATM_DECISION, ERROR_TYPE
from otel_atm.trouble import Trouble

_T = TypeVar("_T")


class Door:
    """Where requests of guarded transports come by.

    Args:
        wire: to the gate.
        trouble: counts what fails in here.
        hosts: whom one knows.
        include_usage: whether chat streams that would not tell their usage are asked for it.

    Attributes:
        deaf: hosts that do not understand being asked.
    """

    def __init__(
        self,
        wire: Wire,
        trouble: Trouble,
        hosts: Hosts = EVERYBODYS,
        *,
        include_usage: bool = False,
    ) -> None:
        self.wire, self.trouble, self._places = wire, trouble, Places(hosts)
        self._include_usage = include_usage
        self.deaf: Cache[str, bool] = Cache(1_024)

    def send(
        self, emitter: str, method: str, host: str, path: str, body: bytes | None
    ) -> Attempt | None:
        """Let a request pass; None if it asks no model, or has passed already.

        Args:
            emitter: the transport.
            method: in capitals.
            host: with its port.
            path: with its query or without.
            body: None: not known.

        Raises:
            TokenQuotaExceeded: a budget refuses it; it must not be sent.
        """
        try:
            place = self._places.find(host, path) if method == "POST" else None
            request = None if place is None else asked_at(place, host, body)
            if request is None:
                self._pass_over()
                return None
            above = sending.get()
            if above is not None and _has_passed(above, request):
                return None
            return self._pass(emitter, request)
        except TokenQuotaExceeded:
            raise
        except Exception as error:  # noqa: BLE001 - telemetry never breaks the application
            self.trouble.note("guard", error)
            return None

    def safely(self, step: Callable[[], _T]) -> _T | None:
        """What a step of ours gives; None if it fails.

        Raises:
            TokenQuotaExceeded: a budget refuses what it asked for.
        """
        return safely(self.trouble, step)

    def _pass_over(self) -> None:
        """Something else than a model is asked: what a client's span holds is not for it."""
        flight = flying.get()
        if flight is not None and flight.call is None and flight.frees:
            self.wire.pass_over(get_current_span().get_span_context().span_id)

    def _pass(self, emitter: str, request: Request) -> Attempt:
        flight = flying.get()
        if flight is None or flight.busy:  # what is sent while a client waits is no retry of its
            flight = Flight(self.wire)
        if flight.refusal is not None:
            raise flight.refusal
        if flight.call is None:
            self._take_off(flight, emitter, request)
        flight.attempts += 1
        flight.busy = True
        attempt = Attempt(flight, request, self.trouble)
        if self._include_usage and not request.tells_usage:
            attempt.asks = request.shape is Shape.CHAT and self.deaf.get(request.host) is None
        return attempt

    def _take_off(self, flight: Flight, emitter: str, request: Request) -> None:
        """Have the first attempt of a call admitted.

        Raises:
            TokenQuotaExceeded: a budget refuses it.
        """
        current = get_current_span()
        span = current.get_span_context()
        call = self.wire.take(
            (request.provider, request.model, request.operation),
            request.estimate[0],
            request.most_output,
            emitter=emitter,
            trace_id=span.trace_id,
            span_id=span.span_id,
        )
        if call.refusal is not None:
            _say(current, call.refusal)
            raise flight.refused(call.refusal)
        flight.call = call


def _has_passed(above: Request, request: Request) -> bool:
    """Whether it is what another transport sends through this one; by now it may be unreadable.

    A server in this process, or a hook, sends something else while it is waited for.
    """
    if (above.host, above.operation) != (request.host, request.operation):
        return False
    return request.model is None or (above.model, above.stream, above.estimate) == (
        request.model,
        request.stream,
        request.estimate,
    )


def _say(span: Span, refusal: TokenQuotaExceeded) -> None:
    """Say on the span around a request that it was refused."""
    if span.is_recording():
        span.set_attributes(
            {
                ATM_DECISION: "refused",
                ATM_BUDGET_NAME: refusal.budget,
                ERROR_TYPE: TokenQuotaExceeded.__name__,
            }
        )
