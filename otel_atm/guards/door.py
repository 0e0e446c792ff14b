"""The door: what all guarded transports do with a request before it is sent, and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from opentelemetry.trace import Span, get_current_span

from otel_atm.cache import Cache
from otel_atm.errors import TokenQuotaExceeded
from otel_atm.gate.wire import Wire
from otel_atm.guards.answers import Answer, read_answer
from otel_atm.guards.counts import Json
from otel_atm.guards.flight import Flight, flying
from otel_atm.guards.hosts import EVERYBODYS, Hosts
from otel_atm.guards.requests import Request, recognise
from otel_atm.guards.shape import Shape
from otel_atm.guards.streams import StreamWatch
from otel_atm.guards.whole import WholeWatch
from otel_atm.semconv import ATM_BUDGET_NAME, ATM_DECISION, ERROR_TYPE
from otel_atm.trouble import Trouble

_T = TypeVar("_T")
#: The request that a guarded transport sends in this context, maybe through another one.
_sending: Final[ContextVar[Request | None]] = ContextVar("otel_atm.sending", default=None)


class Attempt:
    """One request on its way, and its answer. Nothing here raises.

    Args:
        flight: that it belongs to.
        request: what it asks.
        trouble: counts what fails in here.
        asks: whether the request should be made to ask for its usage.
    """

    __slots__ = ("_begun", "_flight", "_request", "_trouble", "_watch", "asks")

    def __init__(
        self, flight: Flight, request: Request, trouble: Trouble, *, asks: bool = False
    ) -> None:
        self._flight, self._request, self._trouble = flight, request, trouble
        self.asks = asks
        self._watch: StreamWatch | WholeWatch | None = None
        self._begun = not request.stream  # only of a stream one asks when it began

    @contextmanager
    def sending(
        self, status_in: Callable[[BaseException], int | None] = lambda _: None
    ) -> Iterator[None]:
        """The transport sends in here; another one that it sends through is not asked again.

        Args:
            status_in: the status of an answer that the transport raises as an error; None if the
                error is none.
        """
        token = _sending.set(self._request)
        try:
            yield
        except BaseException as error:
            code = status_in(error)
            if code is None:
                self.failed(error)
            else:
                self.status(code)
            raise
        finally:
            _sending.reset(token)

    def again(self) -> None:
        """The request is sent once more, as its client made it."""
        self.asks = False
        self._flight.attempts += 1

    def failed(self, error: BaseException) -> None:
        """There was no answer."""
        self._safely(lambda: self._flight.failed(error))

    def status(self, code: int) -> bool:
        """There is an answer; whether its body tells what was used."""
        return bool(self._safely(lambda: self._flight.status(code)))

    def body(self, body: bytes) -> None:
        """The whole body of the answer."""
        self._safely(lambda: self._flight.answered(self._read(body), whole=True))

    def _read(self, body: bytes) -> Answer:
        answer = read_answer(self._request.shape, body)
        if answer.tokens is None and self._request.stream:  # that its client has read at once
            watch = StreamWatch(self._request.shape)
            watch.feed(body)
            return watch.finish()
        return answer

    def stream(self) -> None:
        """The body comes in pieces from here on."""
        watch = StreamWatch if self._request.stream else WholeWatch
        self._flight.streaming, self._watch = True, watch(self._request.shape)

    def chunk(self, chunk: bytes) -> None:
        """A piece of it, not compressed."""
        self._pass(lambda watch: watch.feed(chunk))

    def event(self, event: Json) -> None:
        """A piece of it that the transport has parsed."""
        self._pass(lambda watch: watch.take(event))

    def _pass(self, look: Callable[[StreamWatch | WholeWatch], None]) -> None:
        watch = self._watch
        if watch is None:
            return
        if not self._begun:
            self._begun = True
            self._safely(self._flight.first_chunk)
        look(watch)  # never raises
        if watch.done:
            self.end(whole=True)  # some readers stop here, and keep the answer open

    def end(self, error: BaseException | None = None, *, whole: bool = False) -> None:
        """It has ended: by itself (`whole`), by an error, or since nobody reads on."""
        watch, self._watch = self._watch, None
        if watch is not None:
            self._safely(
                lambda: self._flight.answered(
                    watch.finish(), whole=whole or watch.done, error=error
                )
            )

    def _safely(self, step: Callable[[], Any]) -> Any:
        try:
            return step()
        except Exception as error:  # noqa: BLE001 - telemetry never breaks the application
            self._trouble.note("guard", error)


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
        self.wire, self.trouble, self._hosts = wire, trouble, hosts
        self._include_usage = include_usage
        self.deaf: Cache[str, bool] = Cache(1_024)

    def send(
        self, emitter: str, method: str, host: str, path: str, body: Callable[[], bytes | None]
    ) -> Attempt | None:
        """Let a request pass; None if it asks no model, or has passed already.

        Args:
            emitter: the transport.
            method: in capitals.
            host: with its port.
            path: with its query or without.
            body: gives it, if it is known.

        Raises:
            TokenQuotaExceeded: a budget refuses it; it must not be sent.
        """

        def step() -> Attempt | None:
            request = (
                recognise(method, host, path, body(), self._hosts) if method == "POST" else None
            )
            if request is not None:
                return None if _has_passed(request) else self._pass(emitter, request)
            flight = flying.get()
            if flight is not None and flight.call is None:
                self.wire.pass_over(get_current_span().get_span_context().span_id)
            return None

        return self.safely(step)

    def safely(self, step: Callable[[], _T]) -> _T | None:
        """What a step of ours gives; None if it fails.

        Raises:
            TokenQuotaExceeded: a budget refuses what it asked for.
        """
        try:
            return step()
        except TokenQuotaExceeded:
            raise
        except Exception as error:  # noqa: BLE001 - telemetry never breaks the application
            self.trouble.note("guard", error)
            return None

    def _pass(self, emitter: str, request: Request) -> Attempt:
        flight = flying.get()
        if flight is None or flight.busy:  # what is sent while a client waits is no retry of its
            flight = Flight(self.wire)
        if flight.refusal is not None:
            raise flight.refusal
        if flight.call is None:
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
        flight.attempts += 1
        flight.busy = True
        asks = (
            self._include_usage
            and not request.tells_usage
            and request.shape is Shape.CHAT
            and self.deaf.get(request.host) is None
        )
        return Attempt(flight, request, self.trouble, asks=asks)


def _has_passed(request: Request) -> bool:
    """Whether it is what another transport sends through this one; by now it may be unreadable.

    A server in this process, or a hook, sends something else while it is waited for.
    """
    above = _sending.get()
    if above is None or (above.host, above.operation) != (request.host, request.operation):
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
